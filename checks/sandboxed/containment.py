"""What did the tool try, that it has no business to try: reach a network, call the kernel, leave what is no result?

One run in a sinkhole: a network where every address is local, every attempt is written down and nothing leaves. That
nothing was observed counts only where the observation was complete.
"""

from __future__ import annotations

import json
from collections import defaultdict

from checks.interface import CheckResult, EvidenceStore, Level
from checks.sandboxed.compare import Likeness, compare_trees
from checks.sandboxed.executed import judge_executed
from checks.sandboxed.forbidden import judge_forbidden
from checks.sandboxed.judging import Judgement, answered, keep_run
from checks.sandboxed.plan import ToolRun
from checks.sandboxed.session import SandboxSession
from sandbox.record import UNDECIDED, EndedBy, Observation, ObservationKind, Observed, SandboxRun

CHECK = "containment"
VERSION = "4"
RISKS = ("G1", "T2", "U6")

MOST_LISTED = 20
"""Destinations that get a finding of their own; all of them are in the evidence."""

_SAID = {
    ObservationKind.DNS: "asked for the address of",
    ObservationKind.TCP: "tried to connect to",
    ObservationKind.UDP: "sent a datagram to",
    ObservationKind.IP: "sent packets to",
    ObservationKind.PAYLOAD: "sent data to",
}


def check_containment(session: SandboxSession, store: EvidenceStore) -> CheckResult:
    """Run once in the sinkhole and report every attempt. Evidence: `observations.json`."""
    return answered(CHECK, VERSION, RISKS, lambda: _judge(session, store))


def _judge(session: SandboxSession, store: EvidenceStore) -> CheckResult:
    judgement = Judgement(CHECK, VERSION)
    observed, counted = session.observed(), session.counted()
    record = observed.sandbox_run
    if record.ended_by in UNDECIDED:
        judgement.cannot_say(
            "not-run",
            f"The observed run could not be carried out ({record.ended_by.value}): {record.detail[:400]}",
            fix="Run `pratique doctor` and see that the engine is in order.",
        )
    else:
        _judge_network(judgement, session, record)
        judge_executed(judgement, record)
        judge_forbidden(judgement, record)
        _judge_end(judgement, session, record)
    for run in (observed, counted):
        _judge_excess(judgement, run.sandbox_run)
        _judge_refused(judgement, run.sandbox_run)
    _judge_difference(judgement, session, observed, counted)
    judgement.measure("network_attempts", len(record.observations), "1", "sinkhole: DNS questions and addresses")
    judgement.measure("observation_tier", record.tier)
    judgement.measure("observed", record.observed.value)
    seen = {
        "observed": record.observed.value,
        "detail": record.observed_detail,
        "tier": record.tier,
        "observations": [one.model_dump(mode="json") for one in record.observations],
        "traced": record.traced.value,
        "traced_detail": record.traced_detail,
        "programs": [one.model_dump(mode="json") for one in record.programs],
        "denied": [one.model_dump(mode="json") for one in record.denied],
        "opened": [one.model_dump(mode="json") for one in record.opened],
        "connected": [one.model_dump(mode="json") for one in record.connected],
        "notified": record.notified.value,
        "notified_detail": record.notified_detail,
        "forbidden": [one.model_dump(mode="json") for one in record.forbidden],
    }
    data = json.dumps(seen, sort_keys=True, separators=(",", ":")).encode()
    judgement.evidence.append(store.put(data, name="observations.json", media_type="application/json"))
    keep_run(judgement, store, "run-observed.json", observed)
    return judgement.result(
        session,
        passed=f"The tool tried to reach nothing and left results only (observation tier {record.tier}).",
        failed="The tool tried what it has no business to try.",
    )


def _judge_network(judgement: Judgement, session: SandboxSession, record: SandboxRun) -> None:
    attempts = _by_destination(record.observations)
    declared = session.runner.manifest.requirements.network
    for (kind, destination), seen in list(attempts.items())[:MOST_LISTED]:
        times = f" ({len(seen)} times)" if len(seen) > 1 else ""
        first = f" first bytes: {seen[0].detail[:120]}" if kind is ObservationKind.PAYLOAD and seen[0].detail else ""
        judgement.add(
            "sent-data" if kind is ObservationKind.PAYLOAD else "network-attempt",
            Level.ERROR,
            f"The tool {_SAID[kind]} {destination}{times}.",
            where=f"{seen[0].t:.2f} s after the start{first}",
            fix="Take the call out: a node gives no network, whatever the manifest asks for. Put models and data that "
            "the tool downloads into the image." + (" The manifest declares network access." if declared else ""),
            risks=("T2", "U6", "G1"),
        )
    if len(attempts) > MOST_LISTED:
        judgement.add(
            "network-attempt",
            Level.ERROR,
            f"It tried {len(attempts) - MOST_LISTED} further destinations.",
            fix="See observations.json for all of them.",
            risks=("T2",),
        )
    if record.observed is not Observed.COMPLETE:
        judgement.cannot_say(
            "not-observed",
            f"What the tool reaches for was not seen to the end ({record.observed.value}): {record.observed_detail}",
            fix="Run `pratique doctor`; the engine must be able to run the sinkhole.",
        )


def _judge_end(judgement: Judgement, session: SandboxSession, record: SandboxRun) -> None:
    """What a tool does that waits, or gives up, where it sees a network was not seen."""
    ended, expected = record.ended_by, session.runner.manifest.expected_exit_codes
    if ended in (EndedBy.DEADLINE, EndedBy.OUT_OF_MEMORY):
        why = f"it was stopped ({ended.value})"
    elif ended is EndedBy.EXIT and record.exit_code not in expected:
        why = f"it ended with exit code {record.exit_code}"
    else:
        return
    judgement.cannot_say(
        "not-finished",
        f"The tool did not come to the end of its work in the observed run: {why}.",
        fix="Let it end where there is a network as it does where there is none, in the node's time and memory.",
    )


def _by_destination(observations: tuple[Observation, ...]) -> dict[tuple[ObservationKind, str], list[Observation]]:
    found: defaultdict[tuple[ObservationKind, str], list[Observation]] = defaultdict(list)
    for one in observations:
        found[(one.kind, _destination(one))].append(one)
    return found


def _destination(one: Observation) -> str:
    if one.kind is ObservationKind.DNS and one.name:
        return one.name  # the address is the sinkhole's own name server
    place = f"{one.name} ({one.address})" if one.name and one.address else one.name or one.address or "somewhere"
    return f"{place} port {one.port}" if one.port else place


def _judge_excess(judgement: Judgement, record: SandboxRun) -> None:
    """Floods that only a cap ended."""
    if record.ended_by is EndedBy.LOG_CAP:
        judgement.add(
            "flooded-log",
            Level.ERROR,
            f"The tool printed {record.log_bytes} bytes and was stopped ({record.purpose}).",
            fix="Print progress and errors only.",
            risks=("G5", "G6"),
        )
    if record.ended_by is EndedBy.OUTPUT_CAP:
        judgement.add(
            "flooded-output",
            Level.ERROR,
            f"The tool filled the output directory ({record.purpose}).",
            fix="Write results only, and put intermediate files into /tmp.",
            risks=("G5", "G6"),
        )


def _judge_refused(judgement: Judgement, record: SandboxRun) -> None:
    by_reason: defaultdict[str, list[str]] = defaultdict(list)
    for entry in record.refused:
        by_reason[entry.reason].append(entry.path)
    for reason, paths in by_reason.items():
        judgement.add(
            "refused-output",
            Level.ERROR,
            f"The tool left {len(paths)} entries in its output directory that are not taken over: {reason} "
            f"({record.purpose}).",
            where=", ".join(paths[:5]),
            fix="Write plain files with plain ASCII names: no links, devices, pipes, sparse files or special bits.",
            risks=("G1", "G7"),
        )
    if record.refused_more:
        judgement.add(
            "refused-output",
            Level.ERROR,
            f"A further {record.refused_more} entries were refused ({record.purpose}).",
            fix="Write fewer files, with plain names.",
            risks=("G1",),
        )


def _judge_difference(judgement: Judgement, session: SandboxSession, observed: ToolRun, counted: ToolRun) -> None:
    """A tool that gives other results where it sees a network behaves differently when it believes it is elsewhere."""
    if session.submission.document.claims.determinism == "nondeterministic":
        return
    if any(run.sandbox_run.ended_by is not EndedBy.EXIT for run in (observed, counted)):
        return
    tolerance = session.submission.document.claims.tolerance
    differing = [
        name
        for name, difference in compare_trees(counted.output, observed.output, tolerance).items()
        if difference.likeness is Likeness.DIFFERENT
    ]
    if differing or observed.sandbox_run.exit_code != counted.sandbox_run.exit_code:
        judgement.cannot_say(
            "behaves-differently",
            "The tool behaves differently where it sees a network, on the same input, so its watched run says little.",
            where=", ".join(differing[:5])
            or f"exit codes {counted.sandbox_run.exit_code} without and "
            f"{observed.sandbox_run.exit_code} with a network",
            fix="Make the results depend on the input alone.",
        )
