"""What the sandbox checks share: how a run ended as findings, what was measured, and how a result is put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from checks.interface import (
    CheckResult,
    Evidence,
    EvidenceStore,
    Finding,
    Level,
    Measurement,
    Status,
    inconclusive,
    status_of,
)
from checks.sandboxed.plan import ToolRun
from checks.sandboxed.session import SandboxSession
from pratique.errors import CouldNotDecide, Refused
from sandbox.record import UNDECIDED, EndedBy, SandboxRun

LOG_SHOWN = 600
"""Bytes of the end of a log that a finding shows; the whole log is evidence."""

_ENDED: dict[EndedBy, tuple[str, str, str]] = {
    EndedBy.DEADLINE: (
        "too-slow",
        "was still running after {limits.wall_seconds:g} s and was stopped",
        "Make it finish within the node's time limit on data of this size, or ask the node for more time.",
    ),
    EndedBy.OUT_OF_MEMORY: (
        "out-of-memory",
        "needed more than its {limits.memory} bytes of memory",
        "Lower the memory it needs, or state the need in ResourceRequirement.ramMin.",
    ),
    EndedBy.LOG_CAP: (
        "log-flooded",
        "printed more than {limits.log_bytes} bytes and was stopped",
        "Print progress and errors only; write results to the output directory.",
    ),
    EndedBy.OUTPUT_CAP: (
        "output-flooded",
        "wrote more than {limits.output_bytes} bytes of output",
        "Write results only, and put intermediate files into /tmp.",
    ),
}


@dataclass
class Judgement:
    """A check's answer while it is being made. `undecided` reasons keep a check without errors from passing."""

    check: str
    version: str
    findings: list[Finding] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)

    def add(
        self, rule: str, level: Level, message: str, *, where: str = "", fix: str = "", risks: Sequence[str] = ()
    ) -> None:
        """Note a finding of this check."""
        self.findings.append(
            Finding(
                rule_id=f"{self.check}/{rule}",
                level=level,
                message=message,
                where=where,
                fix=fix,
                risks=tuple(risks),
            )
        )

    def cannot_say(self, rule: str, why: str, *, fix: str = "", where: str = "") -> None:
        """Note what could not be found out."""
        self.undecided.append(why)
        self.add(rule, Level.WARNING, why, where=where, fix=fix)

    def measure(self, name: str, value: bool | int | float | str | None, unit: str = "1", method: str = "") -> None:
        """Note a number; None (not measured) is left out, never written as zero."""
        if value is not None:
            self.measurements.append(Measurement(name=name, value=value, unit=unit, method=method))

    def result(self, session: SandboxSession, *, passed: str, failed: str) -> CheckResult:
        """The result: failed with any error, else inconclusive with anything undecided, else passed."""
        status = status_of(self.findings)
        if status is Status.PASSED and self.undecided:
            status = Status.INCONCLUSIVE
        summaries = {Status.PASSED: passed, Status.FAILED: failed}
        return CheckResult(
            check=self.check,
            version=self.version,
            status=status,
            summary=summaries.get(status) or "; ".join(self.undecided)[:500],
            findings=tuple(self.findings),
            measurements=tuple(self.measurements),
            evidence=tuple(self.evidence),
            inputs=session.facts(),
        )


def answered(check: str, version: str, risks: Sequence[str], judge: Callable[[], CheckResult]) -> CheckResult:
    """Run `judge` and turn what stands in its way into a result; the time it took goes into the result."""
    begun = time.monotonic()
    try:
        result = judge()
    except CouldNotDecide as error:
        result = inconclusive(check, version, str(error), fix=error.next_step, risks=tuple(risks))
    except OSError as error:
        why = f"A file of the run could not be read or written: {error}"
        result = inconclusive(check, version, why, fix="See that the disk has room and try again.", risks=tuple(risks))
    except Refused as error:
        finding = Finding(
            rule_id=f"{check}/cannot-run",
            level=Level.ERROR,
            message=f"The tool cannot be run as its submission says: {error}",
            fix=error.next_step,
            risks=tuple(risks),
        )
        result = CheckResult(
            check=check, version=version, status=Status.FAILED, summary=str(error), findings=(finding,)
        )
    return result.model_copy(update={"seconds": round(time.monotonic() - begun, 3)})


def judge_end(judgement: Judgement, run: ToolRun, expected: Sequence[int], on_what: str) -> bool:
    """Findings for a run that did not end as the manifest says; True when it did."""
    record = run.sandbox_run
    if record.ended_by in UNDECIDED:
        judgement.cannot_say(
            "not-run",
            f"The run on {on_what} could not be carried out ({record.ended_by.value}): {record.detail[:400]}",
            fix="See that the image's entry point exists and runs on this platform, and that the engine is in order.",
        )
        return False
    if record.ended_by in _ENDED:
        rule, said, fix = _ENDED[record.ended_by]
        judgement.add(
            rule,
            Level.ERROR,
            f"On {on_what} the tool {said.format(limits=record.spec.limits)}.",
            fix=fix,
            risks=("G5", "G6"),
        )
        return False
    if record.exit_code not in expected:
        wanted = " or ".join(str(code) for code in expected)
        judgement.add(
            "exit-code",
            Level.ERROR,
            f"On {on_what} the tool ended with exit code {record.exit_code}, its manifest expects {wanted}.",
            where=f"the log ends: {log_tail(run)}",
            fix="Mend the tool or the example, or state the code in `expectedExitCode`.",
            risks=("G6",),
        )
        return False
    if record.oom_killed:
        judgement.add(
            "process-out-of-memory",
            Level.ERROR,
            f"On {on_what} a process of the tool was killed for memory, though the tool ended normally.",
            fix="Check the exit status of worker processes, and state the memory needed in ResourceRequirement.ramMin.",
            risks=("G5", "G6"),
        )
        return False
    return True


def keep_run(judgement: Judgement, store: EvidenceStore, name: str, run: ToolRun) -> None:
    """Keep the whole record of a run as evidence, so that every figure can be traced and the run replayed."""
    record = run.sandbox_run.model_dump_json().encode()
    judgement.evidence.append(store.put(record, name=name, media_type="application/json"))


def log_tail(run: ToolRun) -> str:
    """The last characters of the log, unprintable ones escaped."""
    try:
        with run.log.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - LOG_SHOWN))
            data = stream.read(LOG_SHOWN)
    except OSError as error:
        return f"(the log cannot be read: {error})"
    text = data.decode("utf-8", "backslashreplace").strip()
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text) or "(nothing was printed)"


def peak_memory(record: SandboxRun) -> int | None:
    """Highest memory use in bytes, from the control group or the samples; None where neither knows."""
    sampled = max((sample.memory for sample in record.samples), default=None)
    return record.peak_memory if record.peak_memory is not None else sampled
