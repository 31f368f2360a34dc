"""The four checks against tools that are honest, careless, broken or hostile: tables by what the tool does."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from checks.interface import CheckResult, Level, Status
from checks.sandboxed.canaries import check_canaries
from checks.sandboxed.conformance import check_conformance
from checks.sandboxed.containment import check_containment
from checks.sandboxed.determinism import check_determinism
from pratique.errors import EngineUnavailable
from sandbox.record import (
    Connected,
    DeniedCall,
    EndedBy,
    FileOpened,
    ForbiddenCall,
    Observation,
    ObservationKind,
    Observed,
    ProgramStarted,
    RefusedEntry,
)
from sandbox.spec import MIB

CHECKS: dict[str, Callable[..., CheckResult]] = {
    "conformance": check_conformance,
    "canaries": check_canaries,
    "containment": check_containment,
    "determinism": check_determinism,
}


def honest(call: Any) -> int:
    return int(call.honest())


def identifiers(call: Any) -> list[str]:
    return [row.get("patient_id") or "" for row in call.rows()]


def ended(by: EndedBy, **more: Any) -> Callable[[Any], int | None]:
    def tool(call: Any) -> int | None:
        honest(call)
        call.facts |= {"ended_by": by, "exit_code": None, "detail": "as the test says"} | more
        return None

    return tool


def also(action: Callable[[Any], object]) -> Callable[[Any], int]:
    """An honest tool that does something else besides."""

    def tool(call: Any) -> int:
        code = honest(call)
        action(call)
        return code

    return tool


def errors(result: CheckResult) -> set[str]:
    return {finding.rule_id for finding in result.findings if finding.level is Level.ERROR}


def test_an_honest_tool_passes_all_four_in_five_runs(bench: Any) -> None:
    """Runs are shared: example, cohort twice, observed, broken; figures, evidence and inputs are in the results."""
    session = bench.session()
    results = {name: check(session, bench.store) for name, check in CHECKS.items()}
    assert {name: result.status for name, result in results.items()} == dict.fromkeys(CHECKS, Status.PASSED)
    assert not any(finding.level is Level.ERROR for result in results.values() for finding in result.findings)
    purposes = [call.request.purpose for call in bench.launcher.calls]
    assert sorted(purposes) == ["broken-swapped-columns", "cohort", "cohort-again", "cohort-observed", "example"]
    assert [call.network for call in bench.launcher.calls].count(True) == 1
    conformance = results["conformance"]
    assert conformance.measured("peak_memory") == 50 * MIB
    assert conformance.measured("declared_memory") == 100 * MIB
    assert conformance.measured("cpu_seconds") == 0.5
    assert conformance.measured("wall_seconds") == 1.0
    curve = json.loads(bench.store.kept["resource-curve.json"])
    assert curve["samples"][1] == {"t": 0.5, "memory": 50 * MIB, "cpu": 0.4}
    assert results["determinism"].measured("determinism") == "bitwise"
    assert results["canaries"].measured("canaries_planted") == 24
    assert results["canaries"].measured("runs_searched") == 3
    assert conformance.inputs["cohort"].startswith("sha256:")
    assert conformance.inputs["cohort_seed"] == "11"
    assert all(finding.fix for result in results.values() for finding in result.findings if finding.level != "note")


def missing_output(call: Any) -> int:
    return 0


def huge_difference(call: Any) -> int:
    call.write("scores.csv", "patient_id,score\n" + "".join(f"{name},9.0\n" for name in identifiers(call)))
    return 0


NONCONFORMING: dict[str, tuple[Callable[[Any], int | None], str]] = {
    "wrong exit code": (lambda call: 7, "exit-code"),
    "writes nothing": (missing_output, "output-missing"),
    "other numbers than expected": (huge_difference, "expected-differs"),
    "output under another name": (
        also(lambda call: (call.output / "scores.csv").rename(call.output / "x.csv")),
        "output-missing",
    ),
    "output in a directory that the glob does not name": (
        lambda call: call.write("deep/scores.csv", "patient_id,score\n") or 0,
        "output-missing",
    ),
    "output that is no table": (also(lambda call: call.write("scores.csv", b"\xff\xfe\x00")), "output-unreadable"),
    "ragged table": (also(lambda call: call.write("scores.csv", "a,b\n1\n")), "output-unreadable"),
    "volume whose dimensions lie": (
        also(
            lambda call: call.write(
                "m.nii", b"\x5c\x01\x00\x00" + bytes(36) + b"\x03\x00" + b"\xff\x7f" * 7 + bytes(300)
            )
        ),
        "output-unreadable",
    ),
    "more memory than declared": (also(lambda call: call.facts.update(peak_memory=200 * MIB)), "memory-above-declared"),
    "a worker was killed for memory": (also(lambda call: call.facts.update(oom_killed=True)), "process-out-of-memory"),
    "runs for ever": (ended(EndedBy.DEADLINE), "too-slow"),
    "out of memory": (ended(EndedBy.OUT_OF_MEMORY), "out-of-memory"),
    "floods the log": (ended(EndedBy.LOG_CAP), "log-flooded"),
    "floods the output": (ended(EndedBy.OUTPUT_CAP), "output-flooded"),
}


@pytest.mark.parametrize("case", NONCONFORMING)
def test_conformance_fails(bench: Any, case: str) -> None:
    """Each is an error with a rule of its own and a fix."""
    tool, rule = NONCONFORMING[case]
    result = check_conformance(bench.session(tool), bench.store)
    assert result.status is Status.FAILED
    assert f"conformance/{rule}" in errors(result)
    assert all(finding.fix for finding in result.findings)


@pytest.mark.parametrize("by", [EndedBy.NOT_STARTED, EndedBy.ENGINE_LOST, EndedBy.INTERRUPTED, EndedBy.KILLED])
@pytest.mark.parametrize("name", CHECKS)
def test_a_run_that_did_not_happen_is_never_a_pass(bench: Any, name: str, by: EndedBy) -> None:
    """Whatever kept the tool from running, the answer is inconclusive."""

    def tool(call: Any) -> None:
        call.facts |= {"ended_by": by, "exit_code": None, "observed": Observed.IMPOSSIBLE}

    result = CHECKS[name](bench.session(tool), bench.store)
    assert result.status is Status.INCONCLUSIVE


@pytest.mark.parametrize("name", CHECKS)
def test_no_engine_is_inconclusive(bench: Any, name: str) -> None:
    """An engine that is not there says nothing about the tool."""

    def tool(call: Any) -> int:
        raise EngineUnavailable("no engine answers", next_step="Start one.")

    result = CHECKS[name](bench.session(tool), bench.store)
    assert result.status is Status.INCONCLUSIVE
    assert result.findings[0].fix == "Start one."


NO_EXAMPLE = ("example: {inputs: {table: in/patients.csv, threshold: 0.25}, expected: out}\n", "")
COHORT = "cohort: {kind: tabular, input: table, columns: {identifier: [patient_id], text: [notes], category: [site]}}"
NO_COHORT = (f"{COHORT}\n", "")


@pytest.mark.parametrize(
    ("replace", "passing"),
    [
        ([NO_EXAMPLE], {"canaries", "containment", "determinism"}),
        ([NO_COHORT], {"containment", "determinism"}),
        ([NO_EXAMPLE, NO_COHORT], set()),
    ],
    ids=["no example", "no cohort", "neither"],
)
def test_what_was_not_handed_in_cannot_pass(bench: Any, replace: list[tuple[str, str]], passing: set[str]) -> None:
    """Without example or cohort the checks that need them are inconclusive and say what to add."""
    session = bench.session(also(lambda call: None), replace=replace)
    for name, check in CHECKS.items():
        result = check(session, bench.store)
        assert result.status is (Status.PASSED if name in passing else Status.INCONCLUSIVE), name


def test_declared_columns_must_be_in_the_example(bench: Any) -> None:
    """A cohort that cannot be shaped is the submission's fault, and said so."""
    result = check_canaries(bench.session(replace=[("text: [notes]", "text: [remarks]")]), bench.store)
    assert (result.status, errors(result)) == (Status.FAILED, {"canaries/cannot-run"})
    assert "remarks" in result.summary


def test_undeclared_resources_and_outputs_are_warnings(bench: Any) -> None:
    """They do not fail the check, but the provider reads how to mend them."""
    change = [("  - {class: ResourceRequirement, coresMin: 1, ramMin: 100}\n", "")]
    result = check_conformance(bench.session(also(lambda c: c.write("extra.log", "x")), replace=change), bench.store)
    assert result.status is Status.PASSED
    rules = {finding.rule_id for finding in result.findings}
    assert {"conformance/resources-undeclared", "conformance/output-undeclared"} <= rules


WARNED: dict[str, tuple[Callable[[Any], int | None], list[tuple[str, str]], str]] = {
    "an empty file": (also(lambda call: call.write("scores.txt", "")), [], "output-empty"),
    "three cores busy": (also(lambda call: call.facts.update(cpu_seconds=3.0)), [], "cpu-above-declared"),
    "more than the node gives": (also(lambda call: None), [("ramMin: 100", "ramMin: 4096")], "resources-above-ceiling"),
}


@pytest.mark.parametrize("case", WARNED)
def test_conformance_warns(bench: Any, case: str) -> None:
    """What a person should read, and what keeps no tool from passing."""
    tool, change, rule = WARNED[case]
    result = check_conformance(bench.session(tool, replace=change), bench.store)
    assert result.status is Status.PASSED
    assert f"conformance/{rule}" in {one.rule_id for one in result.findings if one.level is Level.WARNING}


def test_a_file_of_the_expected_output_that_was_not_written_fails(bench: Any) -> None:
    """What the provider saw come out must come out here."""
    result = check_conformance(bench.session(files=[("out/summary.csv", "a\n1\n")]), bench.store)
    assert (result.status, errors(result)) == (Status.FAILED, {"conformance/expected-missing"})


PLAIN_CWL = [
    ("class: FEMTask", "class: CommandLineTool"),
    ("label: Scorer", "label: Scorer\n$namespaces: {s: https://schema.org/}"),
    (", required: true, hidden: true,", ","),
    ("type: File, required: true,", "type: File,"),
    ("type: string,", "type: string, default: unused,"),
    ("type: float, required: false,", "type: float?,"),
    ("expectedExitCode: 0\n", ""),
    ("metadata: {author: A, version: 1.0.0, orchestrator: {network: bridge}}", "s:softwareVersion: 1.0.0"),
]


@pytest.mark.parametrize(("change", "status"), [([], Status.PASSED), (PLAIN_CWL, Status.FAILED)], ids=["FEM", "CWL"])
def test_two_files_for_an_output_of_one(bench: Any, change: list[tuple[str, str]], status: Status) -> None:
    """CWL takes them for an error; in EUCAIM's dialect they are a note."""
    glob = ("glob: $(runtime.outdir)/scores.csv", 'glob: "$(runtime.outdir)/*.csv"')
    tool = also(lambda call: call.write("more.csv", "a\n1\n"))
    result = check_conformance(bench.session(tool, replace=[glob, *change]), bench.store)
    several = next(one for one in result.findings if one.rule_id == "conformance/output-several")
    assert (result.status, several.level is Level.ERROR) == (status, status is Status.FAILED)


def test_unmeasured_memory_is_inconclusive(bench: Any) -> None:
    """No figure is not a small figure."""
    tool = also(lambda call: call.facts.update(peak_memory=None, samples=()))
    assert check_conformance(bench.session(tool), bench.store).status is Status.INCONCLUSIVE


def test_small_differences_from_the_expected_output_are_arithmetic(bench: Any) -> None:
    """The last digits may differ from machine to machine."""
    tool = also(
        lambda c: c.write("scores.csv", (c.output / "scores.csv").read_text().replace("0.4000", "0.40000000001"))
    )
    result = check_conformance(bench.session(tool), bench.store)
    assert result.status is Status.PASSED
    measured = result.measured("expected_difference")
    assert isinstance(measured, float)
    assert 0 < measured < 1e-9


# --- canaries -------------------------------------------------------------------------------------------------------


def table_with(column: str, encode: Callable[[str], str]) -> Callable[[Any], int]:
    def tool(call: Any) -> int:
        names = identifiers(call)
        rows = "".join(f"{name},0.4,{encode(name)}\n" for name in names)
        call.write("scores.csv", f"patient_id,score,{column}\n{rows}")
        return 0

    return tool


def crash(call: Any) -> int:
    """What an uncaught ValueError prints."""
    for row in call.rows():
        try:
            float(row["age"])
        except ValueError as error:
            call.print(f"Traceback (most recent call last):\nValueError: {error}\n")
            return 1
    return honest(call)


def only_when_watched(call: Any) -> int:
    if call.network:
        call.print(identifiers(call)[0])
    return honest(call)


LEAKS: dict[str, tuple[Callable[[Any], int], str]] = {
    "prints identifiers": (also(lambda call: call.print(identifiers(call)[3])), "in-log"),
    "prints the head of the table": (also(lambda call: call.print(call.input().read_bytes()[:600])), "in-log"),
    "prints a note": (also(lambda call: call.print(call.rows()[0].get("notes") or "")), "in-log"),
    "prints the cell that it could not parse": (crash, "in-log"),
    "prints only where it sees a network": (only_when_watched, "in-log"),
    "identifiers in another column": (table_with("checksum", lambda name: name), "in-output"),
    "base64 in another column": (
        table_with("checksum", lambda n: base64.b64encode(n.encode()).decode()),
        "in-output-encoded",
    ),
    "reversed in the identifier column": (
        also(lambda c: c.write("scores.csv", "patient_id,score\n" + "".join(f"{n[::-1]},1\n" for n in identifiers(c)))),
        "in-output-encoded",
    ),
    "gzip in a file": (
        also(lambda c: c.write("model.bin", gzip.compress("\n".join(identifiers(c)).encode()))),
        "in-output-encoded",
    ),
    "identifier as header": (
        also(lambda c: c.write("scores.csv", f"patient_id,{identifiers(c)[0]}\nx,1\n")),
        "in-output",
    ),
    "identifier as file name": (also(lambda c: c.write(f"{identifiers(c)[0] or 'x'}.txt", "x")), "in-file-name"),
    "sends it": (
        also(lambda c: c.tried(Observation(kind=ObservationKind.DNS, name=identifiers(c)[0].lower() + ".example"))),
        "in-network",
    ),
    "names a refused entry after it": (
        also(lambda c: c.facts.update(refused=(RefusedEntry(path=identifiers(c)[0], reason="symlink"),))),
        "in-file-name",
    ),
}


@pytest.mark.parametrize("case", LEAKS)
def test_canaries_fail(bench: Any, case: str) -> None:
    """Whichever way the marker comes out, the check fails and says how to mend it."""
    tool, rule = LEAKS[case]
    result = check_canaries(bench.session(tool), bench.store)
    assert result.status is Status.FAILED
    assert f"canaries/{rule}" in errors(result)
    assert all(finding.fix for finding in result.findings if finding.level is Level.ERROR)
    assert json.loads(bench.store.kept["canary-hits.json"])["hits"]


def test_a_column_of_identifiers_is_one_finding(bench: Any) -> None:
    """A whole column that leaks is said once, with the count."""
    session = bench.session(table_with("checksum", lambda name: name), broken=())
    found = [f for f in check_canaries(session, bench.store).findings if f.rule_id == "canaries/in-output"]
    assert [finding.message.split()[0] for finding in found] == ["20"]
    assert "the cohort with a network" in found[0].message


def test_no_canary_value_is_in_a_result(bench: Any) -> None:
    """Results say where a marker was planted, never what it is."""
    session = bench.session(also(lambda call: call.print("\n".join(identifiers(call)))))
    text = check_canaries(session, bench.store).model_dump_json()
    assert not any(canary.value in text for canary in session.cohort().canaries)


@pytest.mark.parametrize(
    "facts",
    [
        {"log_truncated": True},
        {"refused": (RefusedEntry(path="x", reason="symlink"),)},
    ],
    ids=["log cut", "refused output"],
)
def test_canaries_cannot_be_excluded_in_what_was_not_searched(bench: Any, facts: dict[str, Any]) -> None:
    """What could not be looked at is inconclusive."""
    result = check_canaries(bench.session(also(lambda call: call.facts.update(facts))), bench.store)
    assert result.status is Status.INCONCLUSIVE


def test_encrypted_archives_cannot_be_excluded(bench: Any) -> None:
    """An output that cannot be opened is not clean."""
    tool = also(lambda call: call.write("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(50)))
    assert check_canaries(bench.session(tool), bench.store).status is Status.INCONCLUSIVE


# --- containment ----------------------------------------------------------------------------------------------------


def leaves_link(*, where_there_is_a_network: bool) -> Callable[[Any], int]:
    def leave(call: Any) -> None:
        if call.network is where_there_is_a_network:
            call.facts.update(refused=(RefusedEntry(path="x", reason="symlink"),))

    return also(leave)


ATTEMPTS: dict[str, tuple[Callable[[Any], int | None], str]] = {
    "asks DNS": (
        also(lambda c: c.tried(Observation(kind=ObservationKind.DNS, name="home.example"))),
        "network-attempt",
    ),
    "connects": (
        also(lambda c: c.tried(Observation(kind=ObservationKind.TCP, address="203.0.113.7", port=443))),
        "network-attempt",
    ),
    "sends": (
        also(
            lambda c: c.tried(Observation(kind=ObservationKind.PAYLOAD, address="203.0.113.7", port=80, detail="GET /"))
        ),
        "sent-data",
    ),
    "leaves a link where it sees a network": (leaves_link(where_there_is_a_network=True), "refused-output"),
    "leaves a link where it sees none": (leaves_link(where_there_is_a_network=False), "refused-output"),
    "leaves too many": (also(lambda c: c.facts.update(refused_more=5)), "refused-output"),
    "floods the log": (ended(EndedBy.LOG_CAP), "flooded-log"),
    "floods the output": (ended(EndedBy.OUTPUT_CAP), "flooded-output"),
}


@pytest.mark.parametrize("case", ATTEMPTS)
def test_containment_fails(bench: Any, case: str) -> None:
    """Every attempt is an error."""
    tool, rule = ATTEMPTS[case]
    result = check_containment(bench.session(tool), bench.store)
    assert result.status is Status.FAILED
    assert f"containment/{rule}" in errors(result)


def test_a_hundred_destinations_are_summed_up(bench: Any) -> None:
    """Twenty are listed, the rest counted; the evidence has all."""
    seen = tuple(Observation(kind=ObservationKind.TCP, address=f"10.0.0.{n}", port=80) for n in range(100))
    result = check_containment(bench.session(also(lambda call: call.tried(*seen))), bench.store)
    assert len(result.findings) == 21
    assert "80 further" in result.findings[-1].message
    assert len(json.loads(bench.store.kept["observations.json"])["observations"]) == 100


def traced(*denied: str, programs: tuple[str, ...] = ("/usr/bin/python3",), how: str = "complete") -> Any:
    """A tool of which this was counted in the kernel."""
    facts = {
        "traced": Observed(how),
        "programs": tuple(ProgramStarted(path=path, count=2) for path in programs),
        "denied": tuple(DeniedCall(name=name, error="EPERM", count=3) for name in denied),
    }
    return also(lambda call: call.facts.update(facts) if call.network else None)


def notified(*calls: tuple[str, str], how: str = "complete", counted: str = "") -> Any:
    """A tool whose observed run was heard of to have made these calls (name, arguments), and to have one counted."""
    facts = {
        "notified": Observed(how),
        "notified_detail": "" if how == "complete" else "the agent ended early",
        "forbidden": tuple(
            ForbiddenCall(name=name, error="EPERM", arguments=arguments, program="/usr/bin/tool", count=2)
            for name, arguments in calls
        ),
        "traced": Observed.COMPLETE,
        "denied": tuple(DeniedCall(name=name, error="EPERM", count=2) for name in counted.split()),
    }
    return also(lambda call: call.facts.update(facts) if call.network else None)


def opened(*paths: str, connected: tuple[str, ...] = ()) -> Any:
    """A tool whose observed run was counted to have opened these files and connected to these sockets."""
    facts = {
        "traced": Observed.COMPLETE,
        "opened": tuple(FileOpened(path=path, count=2) for path in paths),
        "connected": tuple(Connected(address=address, count=1) for address in connected),
    }
    return also(lambda call: call.facts.update(facts) if call.network else None)


COUNTED: dict[str, tuple[Any, Status, str]] = {
    "the engine's socket": (opened(connected=("/var/run/docker.sock",)), Status.FAILED, "reached-for-the-host"),
    "its directory": (opened(connected=("/run/containerd/x.ttrpc",)), Status.FAILED, "reached-for-the-host"),
    "the first process's root": (opened("/proc/N/root/etc/passwd"), Status.FAILED, "reached-for-the-host"),
    "memory of another": (opened("/proc/N/mem"), Status.FAILED, "reached-for-the-host"),
    "core pattern": (opened("/proc/sys/kernel/core_pattern"), Status.FAILED, "reached-for-the-host"),
    "release agent": (opened("/sys/fs/cgroup/rdma/release_agent"), Status.FAILED, "reached-for-the-host"),
    "shadow": (opened("/etc/shadow"), Status.FAILED, "reached-for-the-host"),
    "a cluster's secret": (opened("/var/run/secrets/kubernetes.io/x"), Status.FAILED, "reached-for-the-host"),
    "SSH keys": (opened("/root/.ssh/id_ed25519"), Status.FAILED, "reached-for-the-host"),
    "a disk": (opened("/dev/sda1"), Status.PASSED, "reached-for-a-device"),
    "what every program opens": (
        opened(
            "/proc/self/mem",
            "/proc/N/stat",
            "/proc/meminfo",
            "/proc/cpuinfo",
            "/etc/ld.so.cache",
            "/etc/passwd",
            "/sys/devices/system/cpu/online",
            "/sys/fs/cgroup/memory.max",
            "/dev/null",
            "/dev/shm/x",
            "/dev/urandom",
            "/proc/sys/vm/overcommit_memory",
            "/etc/shadowrun",
            "/input/…",
            connected=("/tmp/x.sock", "127.0.0.1"),
        ),
        Status.PASSED,
        "files",
    ),
    "a hypervisor's socket": (
        notified(("socket", "family=AF_VSOCK type=SOCK_STREAM")),
        Status.FAILED,
        "forbidden-call",
    ),
    "packets": (notified(("socket", "family=AF_PACKET type=SOCK_RAW")), Status.FAILED, "forbidden-call"),
    "a family that misleads": (notified(("socket", "family=0x100000002 type=2")), Status.FAILED, "forbidden-call"),
    "the resolver's netlink": (notified(("socket", "family=AF_NETLINK type=SOCK_RAW")), Status.PASSED, "denied-calls"),
    "a user namespace by clone3": (notified(("clone3", "flags=CLONE_NEWUSER")), Status.FAILED, "forbidden-call"),
    "a thread by clone3": (notified(("clone3", "flags=0x3d0f00")), Status.PASSED, "denied-calls"),
    "a thread that leaves its parent's directory": (
        notified(("unshare", "flags=0x200")),
        Status.PASSED,
        "denied-calls",
    ),
    "a user namespace": (notified(("unshare", "flags=CLONE_NEWUSER")), Status.FAILED, "forbidden-call"),
    "unshare, unread": (notified(("unshare", "")), Status.FAILED, "forbidden-call"),
    "BLAS, heard": (notified(("mbind", "mode=2"), ("set_mempolicy", "mode=0")), Status.PASSED, "denied-calls"),
    "heard in part, counted whole": (notified(how="partial", counted="ptrace"), Status.FAILED, "forbidden-call"),
    "heard in part": (notified(how="partial"), Status.PASSED, "notified-in-part"),
    "not heard at all": (notified(("mount", "x"), how="impossible", counted="mbind"), Status.PASSED, "denied-calls"),
    "tracing another process": (traced("ptrace"), Status.FAILED, "forbidden-call"),
    "a mount": (traced("mount"), Status.FAILED, "forbidden-call"),
    "a program in the kernel": (traced("bpf"), Status.FAILED, "forbidden-call"),
    "a keyring": (traced("keyctl"), Status.FAILED, "forbidden-call"),
    "a module": (traced("init_module"), Status.FAILED, "forbidden-call"),
    "memory placement, which BLAS asks for": (traced("get_mempolicy", "mbind"), Status.PASSED, "denied-calls"),
    "what graphics libraries ask for": (traced("kcmp", "adjtimex", "ustat"), Status.PASSED, "denied-calls"),
    "a netlink socket, which the resolver asks for": (traced("socket"), Status.PASSED, "denied-calls"),
    "a call that nobody knows": (traced("call 99999"), Status.PASSED, "denied-calls"),
    "code from memory": (traced(programs=("/proc/self/fd/3",)), Status.FAILED, "ran-what-is-not-in-the-image"),
    "code from scratch": (traced(programs=("/tmp/x",)), Status.FAILED, "ran-what-is-not-in-the-image"),
    "code from the input": (traced(programs=("/input/a/b",)), Status.FAILED, "ran-what-is-not-in-the-image"),
    "a name that only looks like it": (traced(programs=("/tmpl/x", "/data/tmp/x")), Status.PASSED, "programs"),
    "a network program": (traced(programs=("/usr/bin/curl",)), Status.PASSED, "ran-network-program"),
    "a hundred programs": (traced(programs=tuple(f"/bin/{n}" for n in range(100))), Status.PASSED, "programs"),
    "a count that is not whole": (traced(how="partial"), Status.PASSED, "traced-in-part"),
    "a host that cannot count": (traced("mount", how="impossible"), Status.PASSED, "not-traced"),
}


@pytest.mark.parametrize("case", COUNTED)
def test_programs_and_denied_calls_become_findings(bench: Any, case: str) -> None:
    """Hostile calls and code from elsewhere are errors, what libraries do in passing is a note."""
    tool, status, rule = COUNTED[case]
    result = check_containment(bench.session(tool), bench.store)
    assert result.status is status
    assert f"containment/{rule}" in {finding.rule_id for finding in result.findings}
    assert len(result.findings) < 5


def test_a_forbidden_call_says_what_it_asked_for(bench: Any) -> None:
    """Each call once, however often and with however many arguments; a call that was also counted is not told twice."""
    calls = [("mount", f'source="/dev/{n}"') for n in range(50)]
    result = check_containment(bench.session(notified(*calls, counted="mount bpf")), bench.store)
    found = {finding.message.split()[3]: finding for finding in result.findings if "forbidden" in finding.rule_id}
    assert set(found) == {"mount", "bpf"}
    assert "(100 times)" in found["mount"].message
    assert found["mount"].where.startswith('source="/dev/0" by /usr/bin/tool (2); ')
    assert found["mount"].where.endswith("45 more")


@pytest.mark.parametrize("observed", [Observed.NOT_ASKED, Observed.PARTIAL, Observed.IMPOSSIBLE])
def test_not_seen_is_not_nothing_done(bench: Any, observed: Observed) -> None:
    """Only a complete observation can pass."""
    result = check_containment(bench.session(also(lambda call: call.facts.update(observed=observed))), bench.store)
    assert result.status is Status.INCONCLUSIVE


def test_a_tool_that_behaves_differently_when_watched(bench: Any) -> None:
    """Other results where there is a network are worth a warning."""
    tool = also(lambda call: call.write("scores.csv", f"patient_id,score\nx,{int(call.network)}\n"))
    rules = {finding.rule_id for finding in check_containment(bench.session(tool), bench.store).findings}
    assert "containment/behaves-differently" in rules


def test_a_tool_that_ends_differently_when_watched(bench: Any) -> None:
    """So is another exit code, whatever it wrote."""

    def tool(call: Any) -> int:
        return honest(call) + (5 if call.network else 0)

    rules = {finding.rule_id for finding in check_containment(bench.session(tool), bench.store).findings}
    assert "containment/behaves-differently" in rules


# --- determinism ----------------------------------------------------------------------------------------------------


def varying(*contents: str | bytes, name: str = "scores.csv") -> Callable[[Any], int]:
    """A tool whose output is another one in each run."""
    turns = itertools.cycle(contents)

    def tool(call: Any) -> int:
        call.write(name, next(turns))
        return 0

    return tool


CSV = "patient_id,score\nx,{}\n"
EXACT, NEAR, RANDOM = "bitwise", "within-tolerance", "nondeterministic"
DETERMINISM: dict[str, tuple[Callable[[Any], int], str, float, str, Status]] = {
    "the same bytes": (honest, EXACT, 0.0, EXACT, Status.PASSED),
    "last digits": (varying(CSV.format(0.5), CSV.format(0.5000001)), EXACT, 0.0, RANDOM, Status.FAILED),
    "last digits, as claimed": (
        varying(CSV.format(0.5), CSV.format(0.5000001)),
        NEAR,
        1e-5,
        NEAR,
        Status.PASSED,
    ),
    "beyond the tolerance": (
        varying(CSV.format(0.5), CSV.format(0.6)),
        NEAR,
        1e-5,
        RANDOM,
        Status.FAILED,
    ),
    "random, as claimed": (
        varying(CSV.format(0.5), CSV.format(0.6)),
        RANDOM,
        0.0,
        RANDOM,
        Status.PASSED,
    ),
    "another row": (
        varying(CSV.format(1), CSV.format(1) + "y,1\n"),
        NEAR,
        9.0,
        RANDOM,
        Status.FAILED,
    ),
    "another word": (varying("a\nx\n", "a\ny\n"), NEAR, 9.0, RANDOM, Status.FAILED),
    "NaN twice": (
        varying(CSV.format("nan"), CSV.format("NaN")),
        NEAR,
        0.0,
        NEAR,
        Status.PASSED,
    ),
    "other bytes, same numbers": (
        varying(CSV.format("0.5"), CSV.format("0.50")),
        EXACT,
        0.0,
        NEAR,
        Status.FAILED,
    ),
    "json": (
        varying('{"a":[1,{"b":0.5}]}', '{"a":[1,{"b":0.5000001}]}', name="r.json"),
        NEAR,
        1e-5,
        NEAR,
        Status.PASSED,
    ),
    "json of another structure": (
        varying('{"a":1}', '{"b":1}', name="r.json"),
        NEAR,
        9.0,
        RANDOM,
        Status.FAILED,
    ),
    "bytes of no known format": (
        varying(b"\x00", b"\x01", name="r.bin"),
        NEAR,
        9.0,
        RANDOM,
        Status.FAILED,
    ),
}


@pytest.mark.parametrize("case", DETERMINISM)
def test_determinism(bench: Any, case: str) -> None:
    """The label measured against the label claimed."""
    tool, claimed, tolerance, measured, status = DETERMINISM[case]
    change = [("determinism: bitwise", f"determinism: {claimed}, tolerance: {tolerance}")]
    result = check_determinism(bench.session(tool, replace=change), bench.store)
    assert (result.measured("determinism"), result.status) == (measured, status)


def test_a_failing_tool_has_no_determinism(bench: Any) -> None:
    """Nothing to compare is inconclusive, and conformance is who says that it fails."""
    result = check_determinism(bench.session(lambda call: 9), bench.store)
    assert result.status is Status.INCONCLUSIVE
    assert not errors(result)


def test_no_output_has_no_determinism(bench: Any) -> None:
    """Two empty directories are equal, which says nothing."""
    assert check_determinism(bench.session(lambda call: 0), bench.store).status is Status.INCONCLUSIVE


@pytest.mark.parametrize("name", CHECKS)
def test_a_disk_that_fails_is_inconclusive(bench: Any, name: str) -> None:
    """A work directory that cannot be written ends in a result, not in an exception."""
    session = bench.session()
    (bench.root / "work").write_text("in the way")
    assert CHECKS[name](session, bench.store).status is Status.INCONCLUSIVE


# --- the session ----------------------------------------------------------------------------------------------------


def test_checks_side_by_side_share_runs(bench: Any) -> None:
    """Four checks in four threads still make five runs."""
    session = bench.session()
    threads = [threading.Thread(target=check, args=(session, bench.store)) for check in CHECKS.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bench.launcher.calls) == 5


def test_images_get_volumes_and_a_picture(bench: Any) -> None:
    """A NIfTI tool gets a directory of volumes; the slice with most of its mask is kept."""
    import nibabel as nib
    import numpy as np

    new_image: Any = nib.Nifti1Image

    def segment(call: Any) -> int:
        for path in sorted(Path(call.input()).glob("*.nii.gz")):
            image: Any = nib.load(path)
            mask = (np.asarray(image.dataobj) > 120).astype(np.uint8)
            result = new_image(mask, image.affine)
            call.write(path.name.replace(".nii", "_mask.nii"), gzip.compress(result.to_bytes(), mtime=0))
        return 0

    change = [
        ("type: File, required: true", "type: Directory, required: true"),
        (
            "type: File, outputBinding: {glob: $(runtime.outdir)/scores.csv}",
            "type: File, outputBinding: {glob: '*_mask.nii.gz'}",
        ),
        (COHORT, "cohort: {kind: nifti, input: table}"),
        NO_EXAMPLE,
    ]
    session = bench.session(segment, replace=change, broken=("nan",))
    result = check_conformance(session, bench.store)
    assert not errors(result)
    picture = json.loads(bench.store.kept["slice.json"])
    assert len(picture["image"]) == len(picture["mask"]) == 48
    assert sum(map(sum, picture["mask"])) > 20
    assert check_canaries(session, bench.store).status is Status.PASSED


def test_a_tool_gets_pictures_of_the_modality_it_asks_for(bench: Any) -> None:
    """One series of MR in a directory, of which a copy of the pixels is seen whatever it is called."""
    import pydicom

    seen: list[str] = []

    def copy(call: Any) -> int:
        images = [pydicom.dcmread(path) for path in sorted(Path(call.input()).glob("*.dcm"))]
        seen.extend({image.Modality for image in images})
        call.write("features.bin", (images[0].pixel_array * 0.5 + 7).astype("<f4").tobytes())
        return 0

    change = [
        ("type: File, required: true", "type: Directory, required: true"),
        (COHORT, "cohort: {kind: dicom, input: table, modality: MR}"),
        NO_EXAMPLE,
    ]
    result = check_canaries(bench.session(copy, replace=change, broken=()), bench.store)
    assert set(seen) == {"MR"}
    assert errors(result) == {"canaries/in-output-encoded"}
    assert "bar code" in result.findings[0].message


def test_a_patient_who_is_in_broken_input_alone_is_looked_for_too(bench: Any) -> None:
    """Broken variants bring markers of their own: here those of a second patient among the images of a first."""
    import pydicom

    known: set[str] = set()

    def tell_strangers(call: Any) -> int:
        images = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(Path(call.input()).glob("*.dcm"))]
        found = {str(image.PatientID) for image in images}
        call.print(" ".join(found - known) if known else "")
        known.update(found)
        return 0

    change = [
        ("type: File, required: true", "type: Directory, required: true"),
        (COHORT, "cohort: {kind: dicom, input: table}"),
        NO_EXAMPLE,
    ]
    result = check_canaries(bench.session(tell_strangers, replace=change, broken=("mixed-series",)), bench.store)
    assert errors(result) == {"canaries/in-log"}
    assert "broken input (mixed-series)" in result.findings[0].message


def test_a_copied_header_is_a_leak(bench: Any) -> None:
    """A mask saved with the input's header carries its free text out."""
    import nibabel as nib
    import numpy as np

    new_image: Any = nib.Nifti1Image

    def segment(call: Any) -> int:
        for path in sorted(Path(call.input()).glob("*.nii.gz")):
            image: Any = nib.load(path)
            voxels = np.asarray(image.dataobj) * 0
            mask = new_image(voxels, image.affine, image.header)
            call.write(path.name, gzip.compress(mask.to_bytes(), mtime=0))
        return 0

    change = [
        ("type: File, required: true", "type: Directory, required: true"),
        (COHORT, "cohort: {kind: nifti, input: table}"),
        NO_EXAMPLE,
    ]
    result = check_canaries(bench.session(segment, replace=change, broken=()), bench.store)
    assert errors(result) == {"canaries/in-output-encoded"}
    assert "gzip > plain" in result.findings[0].message
