"""The program that has rescans done again and again, kept running beside the local server (`pratique up`).

It keeps the time itself and starts each rescan (`flows.scheduled`) as a process of its own, so that it stays small and
a rescan that breaks ends nothing but itself. What counts is when the last rescan ended, by whomever it was started: a
machine that was off catches up, and one by hand puts the next off.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flows import server
from flows.background import end, is_ours, launched, locked, read_state, write_state
from flows.prefect_environment import enter_prefect_environment
from flows.rescan import last_rescan, note_broken_rescan
from pratique.settings import Settings

_MODULE = "flows.scheduler"
_STATE = "scheduler.json"
_LOG = "scheduler.log"
_LONGEST_SLEEP = 60.0
_LONGEST_RESCAN = timedelta(hours=6)


def running(settings: Settings) -> timedelta | None:
    """How often rescans are done; None where the program does not run."""
    state = read_state(settings.server / _STATE)
    pid, seconds = state.get("pid"), state.get("every")
    if isinstance(pid, int) and isinstance(seconds, int) and is_ours(pid, _marks(settings)):
        return timedelta(seconds=seconds)
    return None


def start(settings: Settings, every: timedelta) -> None:
    """Start it; one that runs with the same policy and rhythm goes on, one with others is ended first."""
    wanted = {"policy": str(settings.policy or ""), "every": int(every.total_seconds())}
    with locked(settings.server, "scheduler.lock"):
        state = read_state(settings.server / _STATE)
        if running(settings) is not None and {key: state.get(key) for key in wanted} == wanted:
            return
        _stop(settings)
        arguments = [str(settings.home), str(wanted["policy"]), str(wanted["every"])]
        with launched([sys.executable, "-m", _MODULE, *arguments], {}, settings.server / _LOG) as process:
            write_state(settings.server / _STATE, {"pid": process.pid, **wanted})


def stop(settings: Settings) -> bool:
    """End it; False where it did not run."""
    with locked(settings.server, "scheduler.lock"):
        return _stop(settings)


def seconds_left(settings: Settings, every: timedelta, now: datetime) -> float:
    """Seconds until the next rescan is due; 0 where it is, as it is where there never was one."""
    last = last_rescan(settings)
    if last is None or last.finished > now + every:  # a clock that was put back must not put rescans off for ever
        return 0.0
    return max(0.0, (last.finished + every - now).total_seconds())


def keep(
    settings: Settings,
    every: timedelta,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], None] = time.sleep,
    once: Callable[[Settings], int] | None = None,
) -> None:
    """Have rescans done for ever; one that breaks is noted and done again when the next is due."""
    while True:
        left = seconds_left(settings, every, now())
        if left:
            sleep(min(left, _LONGEST_SLEEP))
            continue
        before = last_rescan(settings)
        code = (once or _in_its_own_process)(settings)
        if last_rescan(settings) == before:
            note_broken_rescan(settings, now(), f"it broke off (exit code {code}), see {settings.server / _LOG}")


def _in_its_own_process(settings: Settings) -> int:
    """Exit code of one rescan on Prefect."""
    command = [sys.executable, "-m", _MODULE, "once", str(settings.home), str(settings.policy or "")]
    try:
        return subprocess.run(command, check=False, timeout=_LONGEST_RESCAN.total_seconds()).returncode
    except subprocess.TimeoutExpired:
        return -1


def rescan_once(settings: Settings) -> None:
    """One rescan as a run of the Prefect flow, on the node's own server where that answers."""
    present = server.running(settings.server)
    enter_prefect_environment(settings.server, present.api_url if present else None)
    from flows.scheduled import rescan

    rescan(str(settings.home), str(settings.policy) if settings.policy else None)


def _stop(settings: Settings) -> bool:
    pid = read_state(settings.server / _STATE).get("pid")
    ours = isinstance(pid, int) and is_ours(pid, _marks(settings))
    if ours and isinstance(pid, int):
        end(pid, _marks(settings))
    (settings.server / _STATE).unlink(missing_ok=True)
    return ours


def _marks(settings: Settings) -> tuple[bytes, ...]:
    return _MODULE.encode(), str(settings.home).encode()


def _settings(home: str, policy: str) -> Settings:
    return Settings(home=Path(home), policy=Path(policy) if policy else None)


if __name__ == "__main__":
    if sys.argv[1] == "once":
        rescan_once(_settings(*sys.argv[2:4]))
    else:
        keep(_settings(*sys.argv[1:3]), timedelta(seconds=int(sys.argv[3])))
