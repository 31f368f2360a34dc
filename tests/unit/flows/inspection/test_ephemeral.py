"""The server of one command: Ctrl-C at the terminal reaches the command alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flows.ephemeral import ephemeral_server, unreached
from pratique.errors import CouldNotDecide

WAITS = "import time; print('here', flush=True); time.sleep(60)"


def test_ctrl_c_at_the_terminal_does_not_reach_what_is_begun_there() -> None:
    """A terminal sends it to every process of the command."""
    begun: list[subprocess.Popen[bytes]] = []
    unreached(lambda: begun.append(subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE)))
    (child,) = begun
    assert child.stdout is not None
    child.stdout.readline()
    child.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.3)
    child.terminate()
    assert child.wait(10) == -signal.SIGTERM, "what ends it still does"
    child.stdout.close()


def test_whoever_waits_for_it_can_be_interrupted() -> None:
    ended = threading.Event()
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        unreached(lambda: ended.wait(60))
    ended.set()


def test_server_that_does_not_start_leaves_it_undecided() -> None:
    def start() -> None:
        raise RuntimeError("Timed out")

    with pytest.raises(CouldNotDecide, match="did not start"):
        unreached(start)


def test_none_is_begun_beside_one_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = children.read_text() if children.exists() else ""
    with ephemeral_server():
        assert (children.read_text() if children.exists() else "") == before
