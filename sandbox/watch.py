"""Watching a container that runs: samples, its deadline, its log cap, and the kill that ends it for good."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from pratique.errors import CouldNotDecide, EngineUnavailable
from sandbox.engine import Engine, EngineError
from sandbox.meter import Meter
from sandbox.record import EndedBy
from sandbox.story import Story

DEATH_SECONDS = 30.0
"""How long a killed container may take to be gone."""


class Watch:
    """Over one container from its start to its end."""

    def __init__(self, engine: Engine, story: Story) -> None:
        self._engine = engine
        self._story = story
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._wait_error: CouldNotDecide | None = None
        self.stopped: EndedBy | None = None
        """Why Pratique killed it; None when it did not."""

    def on_log_cap(self) -> None:
        """The log has reached its cap: called by the thread that reads it, also before the watch begins."""
        self.stopped = EndedBy.LOG_CAP
        self._wake.set()

    def until_the_end(self, container: str, meter: Meter, end: float) -> None:
        """Sample until the container ends by itself or must be ended, at `end` (monotonic) at the latest.

        Raises `EngineUnavailable` where the engine went away meanwhile.
        """
        threading.Thread(target=self._wait, args=(container,), name="container-wait", daemon=True).start()
        meter.start()
        while not self._ended.is_set() and self.stopped is None:
            meter.sample()
            left = end - time.monotonic()
            if left <= 0:
                self.stopped = EndedBy.DEADLINE
                break
            self._wake.wait(min(meter.interval, left))
        if not self._ended.is_set():
            self._kill(container)
        if isinstance(self._wait_error, EngineUnavailable):
            raise self._wait_error

    def _wait(self, container: str) -> None:
        try:
            self._engine.wait(container)
        except CouldNotDecide as error:
            self._wait_error = error
        self._ended.set()
        self._wake.set()

    def _kill(self, container: str) -> None:
        """End the container for good; an unread log stream would hang the kill, so it is being read or shut."""
        with suppress(EngineError):  # it may end this very moment
            self._engine.unthrottle(container)
        end = time.monotonic() + DEATH_SECONDS
        while time.monotonic() < end:
            self._engine.kill(container)
            if self._ended.wait(2.0):
                return
        self._story.remark(f"the container did not end within {DEATH_SECONDS:.0f} s of being killed")
