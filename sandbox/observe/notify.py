"""Denied calls of a run with their arguments, by seccomp's user notification; the launcher's side of it.

The engine cannot name a listener in a container's configuration, so a runtime of its own (`notify_runtime`) does at
start: it finds the listener by the container's id. Between create and start the launcher puts it there, with an agent
(`notify_agent`) behind it. Where the engine has no such runtime, or the runtime is another one, nothing is notified
and the record says so. The filter denies the calls in any case; where the agent ends, the kernel denies what is left.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pratique.bounds import strict_json
from pratique.errors import InvalidInput
from sandbox.engine import Engine
from sandbox.flaws import version_of
from sandbox.observe.calls import call_names
from sandbox.observe.notify_agent import MAX_ROWS
from sandbox.observe.notify_rules import notified_rules
from sandbox.observe.notify_runtime import LISTENER, PLACE, RULES, RUNTIME
from sandbox.record import ForbiddenCall, Observed
from sandbox.seccomp import default_source

PLAIN_RUNTIME = "runc"
"""The one runtime that `notify_runtime` becomes."""
END_SECONDS = 10.0
MAX_REPORT = 8 << 20
_LEAST_RUNC = (1, 1)


@dataclass(frozen=True)
class NotifyReport:
    """What was heard, and whether that is everything."""

    notified: Observed
    detail: str = ""
    calls: tuple[ForbiddenCall, ...] = ()


def why_not_notified(engine: Engine, runtime: str = PLAIN_RUNTIME) -> str:
    """Why denied calls are not told with their arguments here; empty where they are."""
    if runtime not in (PLAIN_RUNTIME, RUNTIME):
        return f"the runtime {runtime} hands no calls over"
    if not engine.root_here:
        return "listening needs root beside the engine"
    if RUNTIME not in engine.facts.runtimes:
        return f"the engine has no runtime {RUNTIME}"
    if not call_names():
        return "no table of system calls for this architecture"
    if (version := version_of(engine.facts.runc_version)) is not None and version[:2] < _LEAST_RUNC:
        return f"runc {engine.facts.runc_version} is older than 1.1"
    return ""


class Listener:
    """Made for a run, placed for its container before the start, heard after the end. Never raises."""

    def __init__(self, place: Path = Path(PLACE)) -> None:
        self._place = place
        self._home: Path | None = None
        self._agent: subprocess.Popen[bytes] | None = None
        self._trouble = "the container was not made"

    def listen(self, container: str) -> None:
        """Put the listener where the runtime looks for it; where that fails, the container starts without one."""
        home = self._place / container
        try:
            self._place.mkdir(mode=0o700, exist_ok=True)
            home.mkdir(mode=0o700)
            self._home = home
            (home / RULES).write_text(json.dumps(notified_rules(default_source())))
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(str(home / LISTENER))
                listening.listen(1)
                self._agent = _start_agent(listening.fileno())
        except OSError as error:
            self._trouble = f"no listener could be placed: {error}"
            self._leave()

    def report(self) -> NotifyReport:
        """End the agent and read what it heard."""
        if self._agent is None:
            return NotifyReport(Observed.IMPOSSIBLE, self._trouble)
        with suppress(ProcessLookupError):
            self._agent.terminate()
        try:
            data, said = self._agent.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self._agent.kill()
            data, said = self._agent.communicate()
        self._agent = None
        return parse_notices(data, said)

    def close(self) -> None:
        """Nothing of it stays."""
        if self._agent is not None:
            self._agent.kill()
            self._agent.communicate()
            self._agent = None
        self._leave()

    def _leave(self) -> None:
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None


def _start_agent(listening: int) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).resolve().parent.parent.parent)
    return subprocess.Popen(
        [sys.executable, "-m", "sandbox.observe.notify_agent", str(listening)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.defpath, "PYTHONPATH": root},
        pass_fds=(listening,),
        start_new_session=True,
    )


def remove_listener(container: str, place: Path = Path(PLACE)) -> None:
    """Remove what a killed launcher left for this container."""
    shutil.rmtree(place / container, ignore_errors=True)


def remove_old_listeners(age: float, place: Path = Path(PLACE)) -> None:
    """Remove what was placed more than `age` seconds ago: the descriptor was handed over long since, or never will."""
    for home in place.glob("*"):
        with suppress(OSError):
            if time.time() - home.lstat().st_mtime > age:
                shutil.rmtree(home, ignore_errors=True)


def parse_notices(data: bytes, said: bytes = b"") -> NotifyReport:
    """Read the agent's report; never raises."""
    value = _object(data)
    if value is None:
        complaint = said[-300:].decode("utf-8", "replace").strip()
        return NotifyReport(Observed.PARTIAL, f"the agent ended early: {complaint or 'it said nothing'}")
    if value.get("heard") is not True:
        return NotifyReport(Observed.IMPOSSIBLE, "the runtime handed no filter over")
    rows = value.get("rows")
    calls = [_call(row) for row in rows[: 2 * MAX_ROWS]] if isinstance(rows, list) else []
    troubles = []
    if not isinstance(rows, list) or len(rows) > 2 * MAX_ROWS or None in calls:
        troubles.append("a record of an unknown form")
    if value.get("untold") != 0:
        troubles.append(f"{value.get('untold')} calls beyond those whose arguments are written down")
    found = sorted((call for call in calls if call is not None), key=lambda one: (one.t, one.name, one.arguments))
    return NotifyReport(Observed.PARTIAL if troubles else Observed.COMPLETE, "; ".join(troubles), tuple(found))


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = strict_json(data, where="notify agent", max_bytes=MAX_REPORT, max_depth=4)
    except InvalidInput:
        return None
    return value if isinstance(value, dict) else None


def _call(row: object) -> ForbiddenCall | None:
    if not isinstance(row, list) or len(row) != 6:
        return None
    try:
        name, error, arguments, program, count, first = row
        return ForbiddenCall(name=name, error=error, arguments=arguments, program=program, count=count, t=first)
    except ValidationError:
        return None
