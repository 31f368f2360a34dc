"""Scheduled rescans: done when they are due, caught up, noted when they break, and shown by `doctor`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows import scheduler
from flows.health import Point, examine_node
from flows.rescan import last_rescan, note_broken_rescan, rescan_all
from flows.scheduler import keep, seconds_left
from pratique.errors import CouldNotDecide
from pratique.settings import Settings
from tests.unit.flows.node.homes import Home

DAY = timedelta(days=1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Enough(Exception):
    """Ends a loop that has no end."""


class Clock:
    """Time that passes only while somebody sleeps; ends after so many sleeps."""

    def __init__(self, sleeps: int) -> None:
        self.moment = NOON
        self.sleeps = sleeps

    def now(self) -> datetime:
        return self.moment

    def sleep(self, seconds: float) -> None:
        self.sleeps -= 1
        if self.sleeps < 0:
            raise Enough
        assert 0 < seconds <= 60
        self.moment += timedelta(seconds=seconds)


@pytest.fixture
def settings(home: Home) -> Settings:
    return home.node().settings


def kept(settings: Settings, every: timedelta, sleeps: int, *, breaks: bool = False) -> list[datetime]:
    """When rescans were done."""
    clock, done = Clock(sleeps), list[datetime]()

    def once(_: Settings) -> int:
        done.append(clock.moment)
        if not breaks:
            state = {"tools": 1, "failed": 0, "undecided": 0, "new": 0, "problems": []}
            finished = clock.moment.isoformat()
            (settings.home / "rescan.json").write_text(json.dumps({"finished": finished, **state}))
        return -9 if breaks else 0

    with pytest.raises(Enough):
        keep(settings, every, now=clock.now, sleep=clock.sleep, once=once)
    return done


def test_a_rescan_is_done_at_once_and_then_as_often_as_it_should(settings: Settings) -> None:
    assert kept(settings, timedelta(minutes=5), 10) == [NOON, NOON + timedelta(minutes=5), NOON + timedelta(minutes=10)]


def test_one_that_breaks_is_noted_and_done_again_when_the_next_is_due(settings: Settings) -> None:
    assert len(kept(settings, timedelta(minutes=5), 6, breaks=True)) == 2
    last = last_rescan(settings)
    assert last is not None
    assert "broke off (exit code -9)" in last.in_words()


def test_what_was_done_by_hand_counts_and_what_was_missed_is_caught_up(home: Home, settings: Settings) -> None:
    assert seconds_left(settings, DAY, home.moment) == 0.0
    rescan_all(home.node())
    assert seconds_left(settings, DAY, home.moment + timedelta(hours=1)) == 23 * 3600
    assert seconds_left(settings, DAY, home.moment + timedelta(days=9)) == 0.0
    assert seconds_left(settings, DAY, home.moment - timedelta(days=400)) == 0.0, "a clock that was put back"


@pytest.mark.parametrize("state", ["", "{", "[]", "7", '{"finished": 7}', '{"finished": "soon"}', "x" * 200_000])
def test_a_note_that_cannot_be_read_is_none(state: str, settings: Settings) -> None:
    (settings.home / "rescan.json").write_text(state)
    assert last_rescan(settings) is None
    assert seconds_left(settings, DAY, NOON) == 0.0


def test_a_rescan_that_cannot_trust_the_ledger_is_noted(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    node = home.node()
    node.settings.ledger.mkdir(parents=True)

    def broken(_: object) -> None:
        raise CouldNotDecide("the ledger was put back")

    monkeypatch.setattr("flows.node.Node.head", broken)
    with pytest.raises(CouldNotDecide):
        rescan_all(node)
    last = last_rescan(node.settings)
    assert last is not None and last.problems == ("the ledger was put back",)


# --- the program -----------------------------------------------------------------------------------------------------


@pytest.fixture
def program(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """A process with the command line of the real one."""
    code = "import time; time.sleep(60)"
    words = [sys.executable, "-c", code, "flows.scheduler", str(settings.home)]
    process = subprocess.Popen(words, start_new_session=True)
    while not Path(f"/proc/{process.pid}/cmdline").read_bytes():
        time.sleep(0.01)
    yield process
    process.kill()
    process.wait()


def recorded(settings: Settings, pid: int, every: int = 86_400) -> None:
    settings.server.mkdir(parents=True, exist_ok=True)
    state = {"pid": pid, "every": every, "policy": str(settings.policy)}
    (settings.server / "scheduler.json").write_text(json.dumps(state))


def test_the_program_is_told_by_its_command_line(settings: Settings, program: subprocess.Popen[bytes]) -> None:
    recorded(settings, os.getpid())
    assert scheduler.running(settings) is None
    recorded(settings, program.pid)
    assert scheduler.running(settings) == DAY
    scheduler.start(settings, DAY)
    assert program.poll() is None, "the one that runs as it should goes on"
    assert scheduler.stop(settings)
    assert program.wait(timeout=5) == -signal.SIGTERM
    assert not scheduler.stop(settings)


def test_another_rhythm_starts_it_anew(settings: Settings, program: subprocess.Popen[bytes]) -> None:
    recorded(settings, program.pid)
    note_broken_rescan(settings, datetime.now(UTC), "so that nothing is due")
    scheduler.start(settings, 2 * DAY)
    try:
        assert program.wait(timeout=5) == -signal.SIGTERM
        assert scheduler.running(settings) == 2 * DAY
    finally:
        scheduler.stop(settings)
    assert scheduler.running(settings) is None


# --- what doctor says ------------------------------------------------------------------------------------------------


def point(home: Home) -> Point:
    return next(point for point in examine_node(home.node().settings) if point.subject == "rescan")


def test_doctor_says_when_the_last_one_was(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.health._LOOKS", {"rescan": __import__("flows.health").health._rescan})
    assert (point(home).good, point(home).message) == (None, "not scheduled; never done")
    home.policy["advisories"] = {"rescan_every": "1d"}
    assert (point(home).good, point(home).fix) == (False, "pratique up")
    monkeypatch.setattr("flows.scheduler.running", lambda _: DAY)
    assert point(home).good is True
    home.moment = datetime.now(UTC)
    rescan_all(home.node())
    assert point(home).good is True
    assert "0 tools, 0 failed" in point(home).message
    rescan_all(home.node(), problems=["PyPI: the server answers 500"])
    assert point(home).good is None
    assert "the server answers 500" in point(home).message
    home.moment -= timedelta(days=3)
    rescan_all(home.node())
    assert (point(home).good, "overdue" in point(home).message) == (False, True)


# --- with Prefect ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_flow_really_runs_and_fetches_before_it_asks(home: Home) -> None:
    """One rescan as the program starts it, on Prefect's ephemeral server, with something that cannot be fetched."""
    home.policy["advisories"] = {"rescan_every": "1d", "fetch": True, "ecosystems": ["no/ecosystem"]}
    settings = home.node().settings
    command = [sys.executable, "-m", "flows.scheduler", "once", str(settings.home), str(settings.policy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    last = last_rescan(settings)
    assert last is not None
    assert (last.tools, last.problems) == (0, ("'no/ecosystem' is no ecosystem of OSV",))
