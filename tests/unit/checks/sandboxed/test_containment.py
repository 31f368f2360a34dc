"""What did the tool try? Tables by the attempt."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from checks.interface import Status
from checks.sandboxed.containment import check_containment
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
from tests.unit.checks.sandboxed.tools import also, ended, errors, honest


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
    """It knows that it is watched, so what it does then is no answer."""
    tool = also(lambda call: call.write("scores.csv", f"patient_id,score\nx,{int(call.network)}\n"))
    result = check_containment(bench.session(tool), bench.store)
    assert result.status is Status.INCONCLUSIVE
    assert "containment/behaves-differently" in {finding.rule_id for finding in result.findings}


@pytest.mark.parametrize("end", [EndedBy.DEADLINE, EndedBy.OUT_OF_MEMORY])
def test_a_tool_that_waits_while_it_is_watched_has_not_been_observed(bench: Any, end: EndedBy) -> None:
    tool = also(lambda call: call.facts.update(ended_by=end) if call.network else None)
    result = check_containment(bench.session(tool), bench.store)
    assert result.status is Status.INCONCLUSIVE
    assert "containment/not-finished" in {finding.rule_id for finding in result.findings}


def test_a_tool_that_ends_differently_when_watched(bench: Any) -> None:
    """So is another exit code, whatever it wrote."""

    def tool(call: Any) -> int:
        return honest(call) + (5 if call.network else 0)

    result = check_containment(bench.session(tool), bench.store)
    assert result.status is Status.INCONCLUSIVE
    assert {"containment/behaves-differently", "containment/not-finished"} <= {f.rule_id for f in result.findings}
