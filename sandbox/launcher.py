"""Running one untrusted container: start, watch, cap, kill, harvest, and leave nothing behind.

    launcher = Launcher(connect(), state_dir)
    run = launcher.run(request, spec, output=empty_directory, log=log_file)

Whatever the tool does ends in a `SandboxRun`; what stands in its way before it starts ends in one too, with
`ended_by` "not-started". Only the absence of an engine is an exception. A launcher may be used from several threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from pratique.clock import Clock, system_clock
from pratique.digests import sha256_bytes
from pratique.errors import CouldNotDecide, EngineUnavailable, Refused
from sandbox.admission import claim
from sandbox.attempt import Attempt
from sandbox.engine import Engine
from sandbox.interrupts import undisturbed
from sandbox.reaper import reap
from sandbox.record import EndedBy, SandboxRun
from sandbox.spec import SandboxRequest, SandboxSpec
from sandbox.watchdog import Watchdog
from sandbox.workspace import new_run_id, open_workspace

Progress = Callable[[str], None]
"""Told what is happening: `waiting`, `preparing`, `running`, `collecting`, `done`."""

QUEUE_SECONDS = 3600.0


class Launcher:
    """Runs containers of one engine; everything it writes on this machine lies in `state_dir`."""

    def __init__(
        self,
        engine: Engine,
        state_dir: Path,
        clock: Clock = system_clock,
        *,
        queue_seconds: float = QUEUE_SECONDS,
    ) -> None:
        self.engine = engine
        self.state_dir = state_dir.resolve()
        self._clock = clock
        self._queue_seconds = queue_seconds
        self._lock = threading.Lock()
        self._watchdog: Watchdog | None = None
        self.reaped: tuple[str, ...] = ()
        """Leftovers of earlier launchers that were removed before the first run."""

    def run(
        self,
        request: SandboxRequest,
        spec: SandboxSpec,
        *,
        output: Path,
        log: Path,
        on_progress: Progress | None = None,
    ) -> SandboxRun:
        """Run the tool once; its accepted files go to `output` (an empty directory), what it printed to `log`.

        Raises `EngineUnavailable` when there is no engine at all, and `KeyboardInterrupt` after everything is gone.
        """
        watchdog = self._get_ready()
        attempt = Attempt(self.engine, self.state_dir, request, spec, new_run_id(), self._clock)
        tell = on_progress or (lambda stage: None)
        begun = time.monotonic()
        with undisturbed() as sheltered, ExitStack() as cleanup:
            try:
                with sheltered.open():
                    self._carry_out(attempt, cleanup, watchdog, tell, output, log)
            except EngineUnavailable as error:
                attempt.story.end(EndedBy.ENGINE_LOST, f"{error}. {error.next_step}")
            except (CouldNotDecide, Refused) as error:
                attempt.story.end(EndedBy.NOT_STARTED, f"{error}. {error.next_step}")
        if not log.exists():
            log.write_bytes(b"")
            attempt.story.log_digest = sha256_bytes(b"")
        tell("done")
        return attempt.record(total_seconds=time.monotonic() - begun)

    def close(self) -> None:
        """Let the watchdog go; a launcher that is not closed does so when its process ends."""
        with self._lock:
            if self._watchdog is not None:
                self._watchdog.close()
                self._watchdog = None

    def _carry_out(
        self, attempt: Attempt, cleanup: ExitStack, watchdog: Watchdog, tell: Progress, output: Path, log: Path
    ) -> None:
        """The steps of a run; each leaves on `cleanup` what undoes it."""
        tell("waiting")
        attempt.refuse_unsupported()
        workspace = open_workspace(self.state_dir, attempt.run_id)
        cleanup.callback(watchdog.end, attempt.run_id)
        cleanup.callback(workspace.close)
        waited = time.monotonic()
        cpuset = claim(workspace, attempt.spec.limits, self.engine.facts, patience=self._queue_seconds)
        attempt.story.queue_seconds = time.monotonic() - waited
        tell("preparing")
        attempt.prepare(workspace, cpuset, cleanup)
        watchdog.begin(attempt.run_id, attempt.deadline)
        attempt.create(log, cleanup)
        tell("running")
        attempt.start_and_watch()
        tell("collecting")
        attempt.collect(output)

    def _get_ready(self) -> Watchdog:
        """Somebody answers; before the first run: leftovers away, watchdog up."""
        self.engine.ping()
        with self._lock:
            if self._watchdog is None:
                self.reaped += reap(self.engine, self.state_dir)
            if self._watchdog is None or not self._watchdog.alive:
                self._watchdog = Watchdog(self.engine.host, self.state_dir)
            return self._watchdog
