"""One attempt at a run, step by step; `sandbox.launcher` calls the steps in order.

What is around the container is prepared by `sandbox.surroundings`, the running container is watched by
`sandbox.watch`, and what becomes known is told by `sandbox.story`.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from pratique.clock import Clock
from pratique.errors import CouldNotDecide, Refused
from sandbox.container import Placement, container_body
from sandbox.engine import Engine, EngineError
from sandbox.logs import LogCapture
from sandbox.meter import Meter, files_of_process
from sandbox.observe.parsing import Report
from sandbox.outcome import KILLED_BY_SIGNAL_9, Facts, decide
from sandbox.record import EndedBy, Observed, SandboxRun
from sandbox.spec import Network, SandboxRequest, SandboxSpec
from sandbox.story import Story, write_record
from sandbox.support import refuse_unsupported
from sandbox.surroundings import Surroundings
from sandbox.watch import Watch
from sandbox.workspace import Workspace

_STOP_SECONDS = 3.0
"""How long an engine that is being stopped goes on answering after it killed its containers, at most."""


class Attempt:
    """The state of one run between its steps."""

    def __init__(
        self, engine: Engine, state_dir: Path, request: SandboxRequest, spec: SandboxSpec, run_id: str, clock: Clock
    ) -> None:
        self.engine = engine
        self.request = request
        self.spec = spec
        self.run_id = run_id
        self.started: datetime = clock()
        self.story = Story()
        if spec.network is Network.SINKHOLE:
            self.story.report = Report(Observed.IMPOSSIBLE, "the sinkhole was not started", ())
        nowhere = Placement(run_id=run_id, uid=-1, cpuset="", deadline=0, state=str(state_dir))
        self._around = Surroundings(engine, spec, self.story, nowhere)
        self._watch = Watch(engine, self.story)
        self._name = f"pratique-{run_id}-tool"
        self._container = ""
        self._appearing = False
        self._meter: Meter | None = None
        self._capture: LogCapture | None = None

    @property
    def deadline(self) -> float:
        """When the run is over at the latest, in seconds since the epoch."""
        return self._around.deadline

    def refuse_unsupported(self) -> None:
        """Raise `CouldNotDecide` for what this engine cannot do or is not asked to do."""
        refuse_unsupported(self.engine, self.spec)

    def prepare(self, workspace: Workspace, cpuset: str, cleanup: ExitStack) -> None:
        """Uid, private inputs, output, control group, sinkhole: everything around the container."""
        self._around.prepare(workspace, self.request, cpuset, cleanup)

    def create(self, log: Path, cleanup: ExitStack) -> None:
        """The container, not started, with its log attached."""
        begun = time.monotonic()
        cleanup.callback(self._around.eventually, self._remove)
        body = container_body(self.spec, self.request, self._around.placement)
        self._appearing = True
        try:
            self._container = self.engine.create(body, self._name)
        except EngineError:
            self._appearing = False
            raise
        self._appearing = False
        self._refuse_disk()
        self._around.listen(self._container)
        attached = self.engine.attach(self._container)
        try:
            self._capture = LogCapture(attached, log, cap=self.spec.limits.log_bytes, on_cap=self._watch.on_log_cap)
        except OSError as error:
            attached.close()
            raise CouldNotDecide("the log file cannot be written", cause=str(error), next_step="Free space.") from error
        self.story.create_seconds = time.monotonic() - begun

    def _refuse_disk(self) -> None:
        """Raise `Refused` where the engine gave the container room on its disk: no tmpfs could go over every VOLUME.

        The engine is asked, because what it takes a declared path to mean is not for us to guess.
        """
        mounts = self.engine.inspect(self._container).get("Mounts") or []
        ours = self._around.placement.output_volume
        found = [m.get("Destination", "") for m in mounts if m.get("Type") == "volume" and m.get("Name") != ours]
        if found:
            raise Refused(
                "the image declares a VOLUME that the engine would keep on its disk, without a limit",
                cause=", ".join(ascii(path)[:80] for path in sorted(found)[:5]),
                next_step="Build the image without it, or under an absolute, normal path outside /proc, /sys and /dev "
                "without a colon or a comma.",
            )

    def start_and_watch(self) -> None:
        """Start, then sample until the tool ends or must be ended."""
        begun = time.monotonic()
        self.engine.start(self._container)
        self.story.start_seconds = time.monotonic() - begun
        self.story.ended_by = EndedBy.KILLED  # until something better is known, it was running and is not any more
        if self._around.tracer is not None:
            self._around.tracer.note_process(self._pid())
        self._meter = self._around.meter or Meter(files_of_process(self._pid()))
        self._watch.until_the_end(self._container, self._meter, begun + self.spec.limits.wall_seconds)

    def _pid(self) -> int:
        return int((self.engine.inspect(self._container).get("State") or {}).get("Pid") or 0)

    def collect(self, output: Path) -> None:
        """What is left of it: state, figures, log, attempts, files."""
        begun = time.monotonic()
        self._around.dismiss_observers()
        state = self._final_state()
        story = self.story
        story.usage = self._meter.finish() if self._meter else None
        if self._capture is not None:
            self._capture.close()
            story.log_seen, story.log_truncated = self._capture.seen, self._capture.truncated
            story.log_digest = self._capture.digest
            story.remark(self._capture.problem)
        facts = Facts(
            stopped=self._watch.stopped,
            exit_code=state.get("ExitCode"),
            engine_says_oom=bool(state.get("OOMKilled")),
            oom_kills=story.usage.oom_kills if story.usage else 0,
            output_full=self._around.output_full(),
            vanished=not state,
        )
        story.ended_by, story.oom_killed, remark = decide(facts)
        story.exit_code = facts.exit_code
        story.lifetime(state)
        story.remark(remark)
        story.remark(str(state.get("Error") or ""))
        self._around.harvest(output)
        self._around.hear_observers()
        story.harvest_seconds = time.monotonic() - begun

    def _final_state(self) -> dict[str, Any]:
        try:
            state = dict(self.engine.inspect(self._container).get("State") or {})
        except EngineError:
            return {}
        if state.get("ExitCode") == KILLED_BY_SIGNAL_9 and not state.get("OOMKilled") and self._watch.stopped is None:
            self._outlast_a_stop()
        return state

    def _outlast_a_stop(self) -> None:
        """Raises `EngineUnavailable` where the engine goes: one that is stopped kills its containers just before."""
        end = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < end:
            self.engine.ping()
            time.sleep(0.1)

    def _remove(self) -> None:
        """Remove the container; one whose creation was interrupted may still be about to appear."""
        if self._capture is not None:
            self._capture.shut()
        gone = self.engine.remove(self._name)
        for _ in range(20 if self._appearing and not gone else 0):
            time.sleep(0.05)
            if self.engine.remove(self._name):
                break

    def record(self, *, total_seconds: float) -> SandboxRun:
        """The story as a record."""
        return write_record(
            self.story,
            self.request,
            self.spec,
            self._around.placement,
            self.engine.facts,
            started=self.started,
            total_seconds=total_seconds,
        )
