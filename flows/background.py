"""Programs that go on running after the command that started them: their state files, and how they are told and ended.

The system may give the number of a process that ended to another one, and anybody may start one with the same words
on its command line. So a process counts as ours only while it is of our user and its command line has the marks that
ours has.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.files import write_whole
from pratique.bounds import read_bounded, strict_json
from pratique.errors import InvalidInput
from sandbox.interrupts import undisturbed

STOP_SECONDS = 20
_STATE_BYTES = 64 * 1024


def read_state(path: Path) -> dict[str, Any]:
    """What a state file holds; nothing where it is missing or garbage."""
    try:
        state = strict_json(read_bounded(path, _STATE_BYTES), where=path.name, max_bytes=_STATE_BYTES)
    except InvalidInput:
        return {}
    return state if isinstance(state, dict) else {}


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Put `state` in the place of what is there, at once."""
    write_whole(path, json.dumps(state))


@contextlib.contextmanager
def locked(directory: Path, name: str = "lock") -> Iterator[None]:
    """Held by one command at a time; makes the directory."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (directory / name).open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def is_ours(pid: int, marks: Sequence[bytes]) -> bool:
    """Whether the process still is the one that was started with these words on its command line."""
    return _is_of_our_user(pid) and all(marks) and set(marks) <= set(_command_line(pid))


def _is_of_our_user(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}").stat().st_uid == os.geteuid()
    except OSError:
        return False


def _command_line(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def launch(command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start it as the leader of a session of its own; what it says goes to `log`."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    while process.poll() is None and not any(_command_line(process.pid)):
        time.sleep(0.01)  # the kernel shows it a moment after the program began
    return process


@contextlib.contextmanager
def launched(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Launch it, and go on to where it is recorded and answers; with an error or Ctrl-C on the way there it is ended.

    Nobody would find it again otherwise.
    """
    with undisturbed() as shelter:
        process = launch(command, environment, log)
        kept = False
        try:
            with shelter.open():
                yield process
            kept = True
        finally:
            if not kept:
                end(process.pid, (os.fsencode(command[0]),))


def end(pid: int, marks: Sequence[bytes]) -> None:
    """End the process and what it started: it leads a process group of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline and is_ours(pid, marks):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
