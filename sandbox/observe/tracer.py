"""What a run executed, opened and connected to, and which calls its filter denied, counted in the kernel by bpftrace.

The kernel adds up; nothing is sent for each event, so a busy tool loses nothing and costs little. It is on in the
observation run only, where root and the kernel allow. Events are those of the run's own uid, which no other process of
the machine has; where the uid is not the run's alone (the `gosu` profile, remapped users), those of its pid namespace.

Of files, those are counted that are not the image's own: by path below `WATCHED`, as the path was given, and by mount
for inputs and output, which may have any number of files. The image's own files are thousands and say nothing.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from sandbox.mounts import libc
from sandbox.observe.calls import call_names
from sandbox.observe.traces import MAX_KEYS, WATCHED, TraceReport, parse_trace
from sandbox.record import Observed

BTF = Path("/sys/kernel/btf/vmlinux")
READY_SECONDS = 15.0
END_SECONDS = 10.0

_COUNTS = """
tracepoint:sched:sched_process_exec /{ours}/ {{ @programs[{space}, str(args->filename)] = count(); }}
tracepoint:raw_syscalls:sys_exit /({ours}) && (args->ret == -{eperm} || args->ret == -{enosys})/
{{ @denied[{space}, args->id, args->ret] = count(); }}
"""
_FURTHER = """
{opens} /{ours}/ {{
  $begin = *(uint64 *)args->filename;
  if (!({own}) && ({watched})) {{ @opens[{space}, str(args->filename)] = count(); }}
  {mounts}
}}
tracepoint:syscalls:sys_enter_connect /{ours}/ {{
  $to = (uint64)args->uservaddr;
  $begin = *(uint32 *)$to;
  $family = $begin & 0xffff;
  if ($family == {inet}) {{ @connects4[{space}, $begin, *(uint32 *)($to + 4)] = count(); }}
  if ($family == {inet6}) {{ @connects6[{space}, $begin, *(uint64 *)($to + 8), *(uint64 *)($to + 16)] = count(); }}
  if ($family == {unix}) {{ @sockets[{space}, str($to + 2)] = count(); }}
}}
"""
_MARKERS = """
tracepoint:raw_syscalls:sys_exit /args->id == {marker_call}/ {{ printf("calls\\n"); }}
tracepoint:sched:sched_process_exec /str(args->filename) == "{marker_program}"/ {{ printf("programs\\n"); }}
interval:s:{seconds} {{ exit(); }}
"""
OWN_SCRATCH = "/dev/shm"  # noqa: S108 (in the container)
"""Scratch space of the run itself, where libraries for processes make thousands of files; just eight bytes long."""
_OPENING = ("open", "openat", "openat2")
_PLAIN = re.compile(r"/[A-Za-z0-9._/-]+", re.ASCII)
MOST_PLACES, LONGEST_PLACE = 4, 24
"""Mounts are compared in a program that the kernel takes: its stack holds few words, and copies none of a file name."""
_MARKS = frozenset((b"calls", b"programs"))
_SPACE = "curtask->nsproxy->pid_ns_for_children->ns.inum"


def why_impossible() -> str:
    """Why nothing can be traced here; empty when it can."""
    if os.geteuid() != 0:
        return "tracing needs root"
    if not BTF.exists():
        return "the kernel describes its types nowhere (no BTF)"
    if not call_names():
        return "no table of system calls for this architecture"
    if shutil.which("bpftrace") is None:
        return "bpftrace is not installed"
    return ""


class Tracer:
    """Started before the run, told the run's first process, ended after it. Never raises."""

    def __init__(self, *, uid: int | None, seconds: float, mounts: Sequence[str] = ()) -> None:
        self._marker_call = 1_000_000 + secrets.randbelow(1_000_000_000)
        self._marker_program = "/proc/self/root" + (shutil.which("true") or "/bin/true")
        self._mounts = places(mounts)
        self._by_uid = uid is not None
        self._space: int | None = None
        self._dismissed = False
        self._lacking = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._trouble = why_impossible()
        if self._trouble:
            return
        self._values = self._script_values(uid, seconds)
        self._start(_COUNTS + _FURTHER + _MARKERS)

    def _script_values(self, uid: int | None, seconds: float) -> dict[str, object]:
        own = Path("/proc/self/ns/pid").stat().st_ino
        known = set(call_names().values())
        return {
            "ours": f"uid == {uid}" if self._by_uid else f"{_SPACE} != {own}",
            "space": _SPACE,
            "eperm": errno.EPERM,
            "enosys": errno.ENOSYS,
            "inet": int(socket.AF_INET),
            "inet6": int(socket.AF_INET6),
            "unix": int(socket.AF_UNIX),
            "opens": ",".join(f"tracepoint:syscalls:sys_enter_{name}" for name in _OPENING if name in known),
            "watched": " || ".join(f"({_begins(place)})" for place in WATCHED),
            "own": f"$begin == {int.from_bytes(OWN_SCRATCH.encode(), 'little'):#x}",
            "mounts": " ".join(
                f"if ({_begins(mount)}) {{ @mounts[{_SPACE}, {index}] = count(); }}"
                for index, mount in enumerate(self._mounts)
            ),
            "marker_call": self._marker_call,
            "marker_program": self._marker_program,
            "seconds": int(seconds) + 120,  # ends by itself, should nobody end it
        }

    def _start(self, script: str) -> None:
        root = str(Path(__file__).resolve().parent.parent.parent)
        command = [sys.executable, "-m", "sandbox.observe.tracer_entry", "bpftrace", "-f", "json", "-e"]
        try:
            self._process = subprocess.Popen(
                [*command, script.format(**self._values)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={
                    "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
                    "PYTHONPATH": root,
                    "BPFTRACE_STRLEN": "180",
                    "BPFTRACE_MAP_KEYS_MAX": str(MAX_KEYS),
                },
                start_new_session=True,
            )
        except OSError as error:
            self._trouble = f"bpftrace cannot be started: {error}"

    def wait_until_ready(self) -> None:
        """Wait until it is seen to count; where the kernel does not take all of it, start it with less."""
        if self._attached() or self._process is None:
            return
        why = self._give_up()
        self._dismissed = False
        self._start(_COUNTS + _MARKERS)
        if self._attached():
            self._lacking = f"files and connections were not counted: {why}"
        elif self._process is not None:
            self._trouble = f"bpftrace did not attach: {self._give_up()}"

    def _give_up(self) -> str:
        why = self._end()[1][-300:].decode("utf-8", "replace").strip()
        self._process = None
        return why

    def _attached(self) -> bool:
        """Whether both marks are seen; bpftrace says that it attached before it has."""
        if self._process is None or self._process.stdout is None:
            return False
        os.set_blocking(self._process.stdout.fileno(), False)
        end = time.monotonic() + READY_SECONDS
        said = b""
        while time.monotonic() < end and self._process.poll() is None:
            if b"attached_probes" in said:
                self._make_marks()
            if select.select([self._process.stdout], [], [], 0.02)[0]:
                said += self._process.stdout.read(65_536) or b""
            if all(mark in said for mark in _MARKS):
                os.set_blocking(self._process.stdout.fileno(), True)
                return True
        return False

    def _make_marks(self) -> None:
        """One call that does not exist and one program that does nothing."""
        libc().syscall(ctypes.c_long(self._marker_call))
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run([self._marker_program], check=False, timeout=5)

    def note_process(self, pid: int) -> None:
        """The first process of the run, by which its pid namespace is known."""
        with suppress(OSError):
            self._space = Path(f"/proc/{pid}/ns/pid").stat().st_ino

    def dismiss(self) -> None:
        """Begin to end it, which takes bpftrace a moment; nothing that happens from now on is counted."""
        if self._process is not None and not self._dismissed:
            self._dismissed = True  # a second signal would end it before it has reported
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)

    def report(self) -> TraceReport:
        """End it and read what was counted."""
        if self._process is None:
            return TraceReport(Observed.IMPOSSIBLE, self._trouble)
        data, _ = self._end()
        self._process = None
        if self._space is None and not self._by_uid:
            return TraceReport(Observed.IMPOSSIBLE, "the run ended before its pid namespace was known")
        found = parse_trace(data, None if self._by_uid else self._space, self._mounts)
        if not self._lacking:
            return found
        detail = "; ".join(filter(None, (found.detail, self._lacking)))
        return replace(found, traced=Observed.PARTIAL, detail=detail)

    def close(self) -> None:
        """End it, whatever it has."""
        if self._process is not None:
            self._end()
            self._process = None

    def _end(self) -> tuple[bytes, bytes]:
        if self._process is None:
            return b"", b""
        self.dismiss()
        try:
            return self._process.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.communicate()


def places(mounts: Sequence[str]) -> tuple[str, ...]:
    """Where to count what is opened below inputs and output: the mounts, or above them where those are many or long."""
    found = {mount for mount in mounts if _PLAIN.fullmatch(mount)}
    while found:
        worst = max(found, key=lambda place: (len(place) > LONGEST_PLACE, place.count("/"), place))
        if len(worst) <= LONGEST_PLACE and len(found) <= MOST_PLACES:
            break
        above = worst.rpartition("/")[0]
        if not above:
            return tuple(sorted(place[:LONGEST_PLACE] for place in found))[:MOST_PLACES]
        found = {place for place in found if not place.startswith(f"{above}/")} | {above}
    return tuple(sorted(found))


def _begins(place: str) -> str:
    """Whether the file name begins so, compared in words of eight bytes: a copy of it has no room on the stack."""
    parts = []
    for start in range(0, len(place), 8):
        word = place[start : start + 8].encode()
        value, mask = int.from_bytes(word, "little"), (1 << 8 * len(word)) - 1
        read = f"*(uint64 *)(args->filename + {start})" if start else "$begin"
        parts.append(f"({read} & {mask:#x}) == {value:#x}")
    return " && ".join(parts)
