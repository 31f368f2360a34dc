"""A process outside the launcher that ends runs when the launcher cannot: killed, hung, out of memory.

The launcher tells it over a pipe which runs live and until when. When the pipe breaks, the launcher is dead and its
runs are removed at once; when a deadline has passed by `GRACE_SECONDS`, the launcher hangs and that run is removed.
Run as `python -m sandbox.watchdog HOST STATE_DIR`; it is in a session of its own, so that Ctrl-C does not reach it.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path

from pratique.errors import CouldNotDecide

GRACE_SECONDS = 30.0
_ATTEMPTS = 5


class Watchdog:
    """The launcher's end of the pipe. When the process cannot be started, runs go on without it."""

    def __init__(self, host: str, state_dir: Path) -> None:
        root = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
        self._process: subprocess.Popen[bytes] | None
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sandbox.watchdog", host, str(state_dir)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )
        except OSError:
            self._process = None

    @property
    def alive(self) -> bool:
        """Whether somebody watches."""
        return self._process is not None and self._process.poll() is None

    def begin(self, run_id: str, deadline: float) -> None:
        """A run lives until `deadline` (seconds since the epoch)."""
        self._tell(f"begin {run_id} {deadline:.0f}\n")

    def end(self, run_id: str) -> None:
        """A run has ended and nothing of it is left."""
        self._tell(f"end {run_id}\n")

    def close(self) -> None:
        """Let the process go."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait(timeout=30)

    def _tell(self, line: str) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            self._process = None  # it was killed; the reaper of the next launcher is what remains


def watch(host: str, state_dir: Path, stream: int) -> None:
    """Read the launcher's lines from the descriptor `stream` until it breaks; end what must be ended."""
    runs: dict[str, float] = {}
    rest = b""
    while True:
        timeout = max(0.0, min(runs.values()) + GRACE_SECONDS - time.time()) if runs else None
        ready, _, _ = select.select([stream], [], [], timeout)
        if ready:
            data = os.read(stream, 65_536)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                _apply(line.decode("ascii", "replace").split(), runs)
        overdue = [run for run, deadline in runs.items() if deadline + GRACE_SECONDS <= time.time()]
        _end(host, state_dir, overdue)
        for run in overdue:
            del runs[run]
    _end(host, state_dir, list(runs))


def _apply(words: list[str], runs: dict[str, float]) -> None:
    if words[:1] == ["begin"] and len(words) == 3:
        runs[words[1]] = float(words[2])
    elif words[:1] == ["end"] and len(words) == 2:
        runs.pop(words[1], None)


def _end(host: str, state_dir: Path, runs: list[str]) -> None:
    if not runs:
        return
    from sandbox.engine import connect
    from sandbox.reaper import remove_run

    for attempt in range(_ATTEMPTS):
        try:
            engine = connect(host)
            for run in runs:
                remove_run(engine, state_dir, run)
        except CouldNotDecide:
            time.sleep(0.5 * 2**attempt)
        else:
            return


if __name__ == "__main__":
    watch(sys.argv[1], Path(sys.argv[2]), sys.stdin.fileno())
