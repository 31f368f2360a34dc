"""What a run executed and which calls its filter denied, counted inside the kernel by bpftrace (eBPF).

The kernel adds up; nothing is sent for each event, so a busy tool loses nothing and costs little. It is on in the
observation run only, where root and the kernel allow. Events are those of the run's own uid, which no other process of
the machine has; where the uid is not the run's alone (the `gosu` profile, remapped users), those of its pid namespace.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pratique.bounds import strict_json
from pratique.errors import InvalidInput
from sandbox.mounts import libc
from sandbox.observe.calls import call_names
from sandbox.record import DeniedCall, Observed, ProgramStarted
from sandbox.seccomp import default_source

_ASKED_WITH_CONDITIONS = frozenset(("clone", "socket"))
"""Allowed for some arguments only; to the others EPERM comes from the filter (or, for raw sockets, from the kernel)."""

BTF = Path("/sys/kernel/btf/vmlinux")
READY_SECONDS = 15.0
END_SECONDS = 10.0
MAX_KEYS = 2000
MAX_REPORT = 4 << 20
_OWN_PROGRAMS = frozenset(("/sbin/docker-init", "/dev/init", "/run/podman-init"))

_SCRIPT = """
tracepoint:sched:sched_process_exec /{ours}/ {{ @programs[{space}, str(args->filename)] = count(); }}
tracepoint:raw_syscalls:sys_exit /({ours}) && (args->ret == -{eperm} || args->ret == -{enosys})/
{{ @denied[{space}, args->id, args->ret] = count(); }}
tracepoint:raw_syscalls:sys_exit /args->id == {marker_call}/ {{ printf("calls\\n"); }}
tracepoint:sched:sched_process_exec /str(args->filename) == "{marker_program}"/ {{ printf("programs\\n"); }}
interval:s:{seconds} {{ exit(); }}
"""
_MARKS = frozenset((b"calls", b"programs"))
_SPACE = "curtask->nsproxy->pid_ns_for_children->ns.inum"


@dataclass(frozen=True)
class TraceReport:
    """What was counted, and whether that is everything."""

    traced: Observed
    detail: str = ""
    programs: tuple[ProgramStarted, ...] = ()
    denied: tuple[DeniedCall, ...] = ()


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

    def __init__(self, *, uid: int | None, seconds: float) -> None:
        own = Path("/proc/self/ns/pid").stat().st_ino
        self._marker_call = 1_000_000 + secrets.randbelow(1_000_000_000)
        self._marker_program = "/proc/self/root" + (shutil.which("true") or "/bin/true")
        self._by_uid = uid is not None
        self._space: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._trouble = why_impossible()
        if self._trouble:
            return
        script = _SCRIPT.format(
            ours=f"uid == {uid}" if self._by_uid else f"{_SPACE} != {own}",
            space=_SPACE,
            eperm=errno.EPERM,
            enosys=errno.ENOSYS,
            marker_call=self._marker_call,
            marker_program=self._marker_program,
            seconds=int(seconds) + 120,  # ends by itself, should nobody end it
        )
        root = str(Path(__file__).resolve().parent.parent.parent)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sandbox.observe.tracer_entry", "bpftrace", "-f", "json", "-e", script],
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
        """Wait until both probes are seen to count; bpftrace says that it attached before it has."""
        if self._process is None or self._process.stdout is None:
            return
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
                return
        self._trouble = "bpftrace did not attach: " + self._end()[1][-300:].decode("utf-8", "replace").strip()
        self._process = None

    def _make_marks(self) -> None:
        """One call that does not exist and one program that does nothing."""
        libc().syscall(ctypes.c_long(self._marker_call))
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run([self._marker_program], check=False, timeout=5)

    def note_process(self, pid: int) -> None:
        """The first process of the run, by which its pid namespace is known."""
        with suppress(OSError):
            self._space = Path(f"/proc/{pid}/ns/pid").stat().st_ino

    def report(self) -> TraceReport:
        """End it and read what was counted."""
        if self._process is None:
            return TraceReport(Observed.IMPOSSIBLE, self._trouble)
        data, _ = self._end()
        self._process = None
        if self._space is None and not self._by_uid:
            return TraceReport(Observed.IMPOSSIBLE, "the run ended before its pid namespace was known")
        return parse_trace(data, None if self._by_uid else self._space)

    def close(self) -> None:
        """End it, whatever it has."""
        if self._process is not None:
            self._end()
            self._process = None

    def _end(self) -> tuple[bytes, bytes]:
        if self._process is None:
            return b"", b""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.communicate()


def parse_trace(data: bytes, space: int | None) -> TraceReport:
    """Read bpftrace's maps, those of the pid namespace `space` where one is given; never raises."""
    maps: dict[str, dict[str, Any]] = {}
    troubles: list[str] = [] if len(data) <= MAX_REPORT else ["more was reported than is read"]
    for line in data[:MAX_REPORT].split(b"\n"):
        if not line.strip():
            continue
        try:
            value = strict_json(line.decode("utf-8", "replace"), where="bpftrace", max_bytes=MAX_REPORT, max_depth=6)
        except InvalidInput:
            troubles.append("a line that cannot be read")
            continue
        if isinstance(value, dict) and value.get("type") == "map" and isinstance(value.get("data"), dict):
            maps.update({name: rows for name, rows in value["data"].items() if isinstance(rows, dict)})
        elif isinstance(value, dict) and value.get("type") == "lost_events":
            troubles.append("events were lost")
    if any(len(rows) >= MAX_KEYS for rows in maps.values()):
        troubles.append("more different events than are counted")
    if "@programs" not in maps:
        troubles.append("no program was seen to start")  # the run's own first one always is
    programs: dict[str, int] = {}
    for key, count in maps.get("@programs", {}).items():
        inum, _, path = key.partition(",")
        if _counts(inum, space) and isinstance(count, int) and path not in _OWN_PROGRAMS:
            programs[path] = programs.get(path, 0) + count
    denied: dict[tuple[str, str], int] = {}
    for key, count in maps.get("@denied", {}).items():
        parts = key.split(",")
        if len(parts) == 3 and _counts(parts[0], space) and isinstance(count, int):
            name = call_names().get(_number(parts[1]), f"call {parts[1][:20]}")
            error = errno.errorcode.get(abs(_number(parts[2])), parts[2][:20])
            if _by_the_filter(name):
                denied[name, error] = denied.get((name, error), 0) + count
    return TraceReport(
        Observed.PARTIAL if troubles else Observed.COMPLETE,
        "; ".join(dict.fromkeys(troubles)),
        tuple(ProgramStarted(path=_shown(path), count=count) for path, count in sorted(programs.items())),
        tuple(DeniedCall(name=name, error=error, count=count) for (name, error), count in sorted(denied.items())),
    )


def _by_the_filter(name: str) -> bool:
    """Whether it is the filter that says no to this call: the kernel itself answers EPERM to many that are allowed."""
    rules = [rule for rule in default_source().rules if name in rule.names]
    return name in _ASKED_WITH_CONDITIONS or not any(rule.allows for rule in rules)


def _counts(inum: str, space: int | None) -> bool:
    return space is None or _number(inum) == space


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return -1


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
