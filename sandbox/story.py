"""What has become known of a run so far, and the record that is made of it in the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pratique.digests import Digest, sha256_bytes
from sandbox.container import Placement, run_environment
from sandbox.engine_facts import EngineFacts
from sandbox.harvest import Harvest
from sandbox.host import host_facts
from sandbox.meter import Usage
from sandbox.observe.notify import NotifyReport
from sandbox.observe.parsing import Report
from sandbox.observe.traces import TraceReport
from sandbox.record import EndedBy, InputDigest, Observed, SandboxRun
from sandbox.spec import SandboxRequest, SandboxSpec

_EMPTY = sha256_bytes(b"")


@dataclass
class Story:
    """What has become known so far."""

    ended_by: EndedBy = EndedBy.NOT_STARTED
    remarks: list[str] = field(default_factory=list)
    oom_killed: bool = False
    exit_code: int | None = None
    seconds: float = 0.0
    queue_seconds: float = 0.0
    create_seconds: float = 0.0
    start_seconds: float = 0.0
    harvest_seconds: float = 0.0
    inputs: tuple[InputDigest, ...] = ()
    usage: Usage | None = None
    log_digest: Digest = _EMPTY
    log_seen: int = 0
    log_truncated: bool = False
    harvest: Harvest = field(default_factory=Harvest)
    report: Report = field(default_factory=lambda: Report(Observed.NOT_ASKED, "", ()))
    trace: TraceReport = field(default_factory=lambda: TraceReport(Observed.NOT_ASKED))
    notice: NotifyReport = field(default_factory=lambda: NotifyReport(Observed.NOT_ASKED))
    tier: int = 0

    def end(self, by: EndedBy, remark: str) -> None:
        """The run ended here, for this reason."""
        self.ended_by = by
        self.remark(remark)

    def remark(self, text: str) -> None:
        """Something a reader of the record should know."""
        if text.strip():
            self.remarks.append(text.strip())

    def lifetime(self, state: dict[str, object]) -> None:
        """Seconds between the engine's two time stamps; 0 where one is missing."""
        try:
            begun, ended = (_moment(str(state[key])) for key in ("StartedAt", "FinishedAt"))
        except (KeyError, ValueError):
            return
        self.seconds = max(0.0, ended - begun)


def write_record(
    story: Story,
    request: SandboxRequest,
    spec: SandboxSpec,
    placement: Placement,
    engine: EngineFacts,
    *,
    started: datetime,
    total_seconds: float,
) -> SandboxRun:
    """The story as a record."""
    return SandboxRun(
        run_id=placement.run_id,
        purpose=request.purpose,
        image_id=request.image_id,
        argv=request.argv,
        entrypoint=request.entrypoint,
        environment=run_environment(spec, request),
        working_dir=request.working_dir,
        spec=spec,
        spec_digest=spec.digest,
        inputs=story.inputs,
        uid=placement.uid if placement.uid >= 0 else None,
        cpuset=placement.cpuset,
        exit_code=story.exit_code,
        ended_by=story.ended_by,
        detail="; ".join(dict.fromkeys(story.remarks))[:4000],
        oom_killed=story.oom_killed,
        started=started,
        total_seconds=round(total_seconds, 6),
        **_figures(story),
        log_bytes=story.log_seen,
        log_truncated=story.log_truncated,
        log_digest=story.log_digest,
        outputs=tuple(story.harvest.outputs),
        output_bytes=story.harvest.size,
        refused=tuple(story.harvest.refused),
        refused_more=story.harvest.refused_more,
        **_seen(story),
        tier=story.tier,
        host=host_facts(engine, spec.runtime),
    )


def _figures(story: Story) -> dict[str, Any]:
    """What the run took: seconds, and resources where they were measured."""
    usage = story.usage
    return {
        "seconds": round(story.seconds, 6),
        "queue_seconds": round(story.queue_seconds, 6),
        "create_seconds": round(story.create_seconds, 6),
        "start_seconds": round(story.start_seconds, 6),
        "harvest_seconds": round(story.harvest_seconds, 6),
        "cpu_seconds": usage.cpu_seconds if usage else None,
        "peak_memory": usage.peak_memory if usage else None,
        "peak_pids": usage.peak_pids if usage else None,
        "samples": usage.samples if usage else (),
    }


def _seen(story: Story) -> dict[str, Any]:
    """What each of the three observers saw: sinkhole, tracer, listener."""
    return {
        "observed": story.report.observed,
        "observed_detail": story.report.detail,
        "observations": story.report.observations,
        "traced": story.trace.traced,
        "traced_detail": story.trace.detail,
        "programs": story.trace.programs,
        "denied": story.trace.denied,
        "opened": story.trace.opened,
        "connected": story.trace.connected,
        "notified": story.notice.notified,
        "notified_detail": story.notice.detail,
        "forbidden": story.notice.calls,
    }


def _moment(text: str) -> float:
    """RFC 3339 with nanoseconds, as Go writes it, in seconds since the epoch."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole + "+00:00").timestamp() + float(f"0.{fraction or 0}")
