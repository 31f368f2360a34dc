"""Hears of every denied call of a container, writes it down, and denies it.

    python -m sandbox.observe.notify_agent DESCRIPTOR

The descriptor is a listening Unix socket, to which runc sends the filter's own descriptor. Each call is answered with
the error that the filter would have given and never let through; where this process dies, the kernel answers ENOSYS.
Ends when no process of the container is left, or told by SIGTERM, and then prints one JSON object:

    {"heard": true, "calls": N, "rows": [[call, error, arguments, program, count, seconds], …], "untold": N}

A process of its own, because a hostile tool keeps it busy: the launcher's deadline must not wait for it.
"""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import json
import os
import platform
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.mounts import libc
from sandbox.observe.arguments import describe, printable
from sandbox.observe.calls import call_names

MAX_ROWS = 300
"""Different combinations that are written down; calls beyond them are counted as `untold`."""
MAX_TOLD = 20_000
"""Calls whose arguments are looked at; later ones are answered and counted by name alone."""
PAUSE_SECONDS = 0.0005
"""Later ones also wait so long for their answer: a flood keeps its tool waiting, not this machine."""
MAX_STATE = 1 << 20
START_SECONDS, STATE_SECONDS = 300.0, 10.0
MAX_PROGRAM = 200

# <linux/seccomp.h>: struct seccomp_notif (80 bytes) and seccomp_notif_resp (24 bytes), and the ioctls on them
_NOTIFICATION, _RESPONSE = struct.Struct("=QII iIQ6Q"), struct.Struct("=QqiI")
_RECEIVE, _SEND, _VALID = 0xC0502100, 0xC0182101, 0x40082102
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_PR_SET_PDEATHSIG = 1


class _Told(Exception):
    """SIGTERM: enough."""


@dataclass
class Book:
    """What was counted, bounded in rows."""

    begun: float = field(default_factory=time.monotonic)
    rows: dict[tuple[str, str, str, str], list[float]] = field(default_factory=dict)
    heard: bool = False
    """Whether a filter was handed over at all."""
    calls: int = 0
    untold: int = 0

    def write(self, name: str, error: str, arguments: str, program: str) -> None:
        """Count one call."""
        self.calls += 1
        key = (name, error, arguments, program)
        row = self.rows.get(key)
        if row is None and len(self.rows) >= MAX_ROWS:
            self.untold += 1
            key = (name, error, "", "")  # at most one such row for each call that there is
            row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = [0, time.monotonic() - self.begun]
        row[0] += 1

    def report(self) -> bytes:
        """As JSON."""
        rows = [[*key, int(count), round(first, 3)] for key, (count, first) in self.rows.items()]
        found = {"heard": self.heard, "calls": self.calls, "rows": rows, "untold": self.untold}
        return json.dumps(found).encode()


@dataclass(frozen=True)
class Answers:
    """The error of each denied call, as the filter has it."""

    default: int
    errors: Mapping[str, int]

    def of(self, name: str) -> int:
        """Never 0: an answer without an error would be a success."""
        return self.errors.get(name, self.default)


def receive(connection: socket.socket) -> tuple[int, Answers]:
    """The filter's descriptor and the answers, from what runc sends. Raises `ValueError` for anything else."""
    data, descriptors = bytearray(), array.array("i")
    while True:
        chunk, ancillary, _, _ = connection.recvmsg(65_536, socket.CMSG_SPACE(16 * descriptors.itemsize))
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(payload[: len(payload) - len(payload) % descriptors.itemsize])
        data += chunk
        if not chunk or len(data) > MAX_STATE:
            break
    state = json.loads(bytes(data))
    metadata = json.loads(state["metadata"])
    found = list(descriptors)[list(state["fds"]).index("seccompFd")]
    errors = {str(name): _denial(value) for name, value in dict(metadata["errors"]).items()}
    return found, Answers(_denial(metadata["default"]), errors)


def _denial(value: object) -> int:
    return value if isinstance(value, int) and 0 < value < 4096 else errno.EPERM


class Agent:
    """Answers the notifications of one filter."""

    def __init__(self, listener: int, answers: Answers, book: Book) -> None:
        self._listener = listener
        self._answers = answers
        self._book = book
        self._names = call_names()
        self._architecture = _ARCHITECTURES.get(platform.machine())

    def serve(self) -> None:
        """Until no process has the filter any more."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        while True:
            for _, event in poll.poll():
                if event & select.POLLIN:
                    self._answer_one()
                elif event & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
                    return

    def _answer_one(self) -> None:
        notice = bytearray(_NOTIFICATION.size)
        try:
            fcntl.ioctl(self._listener, _RECEIVE, notice)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):
                return  # the caller died, or was called away by a signal
            raise
        identity, pid, _, number, architecture, _, *values = _NOTIFICATION.unpack(notice)
        name = self._names.get(number) if architecture == self._architecture else None
        denial = self._answers.of(name or "")
        arguments = program = ""
        if self._book.calls < MAX_TOLD:
            arguments, program = self._look(identity, pid, name or "", values)
        else:
            time.sleep(PAUSE_SECONDS)
        self._book.write(name or f"call {number}", errno.errorcode.get(denial, str(denial)), arguments, program)
        with suppress(FileNotFoundError):  # it died meanwhile
            fcntl.ioctl(self._listener, _SEND, _RESPONSE.pack(identity, 0, -denial, 0))

    def _look(self, identity: int, pid: int, name: str, values: list[int]) -> tuple[str, str]:
        """Arguments and program of the caller; neither where another process may have its number by now."""
        try:
            memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return "", ""
        try:
            arguments = describe(name, values, lambda address, size: _read(memory, address, size))
            program = _program(pid)
            fcntl.ioctl(self._listener, _VALID, struct.pack("=Q", identity))
        except OSError:
            return "", ""
        finally:
            os.close(memory)
        return arguments, program


def _read(memory: int, address: int, size: int) -> bytes:
    try:
        return os.pread(memory, size, address)
    except (OSError, OverflowError):  # not mapped, or no address that a process can have
        return b""


def _program(pid: int) -> str:
    target = os.fsencode(Path(f"/proc/{pid}/exe").readlink())[:MAX_PROGRAM]
    return "".join(printable(byte) for byte in target)


def _enough(*_: object) -> None:
    raise _Told


def main() -> None:
    """Serve the listening socket whose descriptor is the only argument."""
    libc().prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
    book = Book()
    try:
        signal.signal(signal.SIGTERM, _enough)
        with socket.socket(fileno=int(sys.argv[1])) as listening:
            listening.settimeout(START_SECONDS)  # a launcher that died before this process asked to die with it
            connection, _ = listening.accept()
        with connection:
            connection.settimeout(STATE_SECONDS)
            listener, answers = receive(connection)
        book.heard, book.begun = True, time.monotonic()
        os.nice(5)
        Agent(listener, answers, book).serve()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except _Told:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdout.buffer.write(book.report())


if __name__ == "__main__":
    main()
