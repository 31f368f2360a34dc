"""What bpftrace counted in a run, read with suspicion: its keys are paths and addresses that a tool chose."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pratique.bounds import strict_json
from pratique.errors import InvalidInput
from sandbox.observe.calls import call_names
from sandbox.record import Connected, DeniedCall, FileOpened, Observed, ProgramStarted
from sandbox.seccomp import default_source

MAX_KEYS = 2000
MAX_REPORT = 4 << 20
WATCHED = (
    "/proc",
    "/sys",
    "/etc",
    "/dev",
    "/run",
    "/var/run",
    "/root/.ssh",
    "/root/.aws",
    "/root/.kube",
    "/root/.docker",
)
"""Where the engine and the kernel put files that are not the image's, and where a host keeps its secrets."""
_ASKED_WITH_CONDITIONS = frozenset(("clone", "socket"))
"""Allowed for some arguments only; to the others EPERM comes from the filter (or, for raw sockets, from the kernel)."""
_OWN_PROGRAMS = frozenset(("/sbin/docker-init", "/dev/init", "/run/podman-init"))
_WORD = (1 << 64) - 1
_PROCESS = re.compile(r"^/proc/[0-9]+(?=/|$)", re.ASCII)


@dataclass(frozen=True)
class TraceReport:
    """What was counted, and whether that is everything."""

    traced: Observed
    detail: str = ""
    programs: tuple[ProgramStarted, ...] = ()
    denied: tuple[DeniedCall, ...] = ()
    opened: tuple[FileOpened, ...] = ()
    connected: tuple[Connected, ...] = ()


def parse_trace(data: bytes, space: int | None, mounts: Sequence[str] = ()) -> TraceReport:
    """Read bpftrace's maps, those of the pid namespace `space` where one is given; never raises."""
    maps, troubles = _read_maps(data)
    if "@programs" not in maps:
        troubles.append("no program was seen to start")  # the run's own first one always is

    def counted(name: str) -> Iterator[tuple[str, int]]:
        for key, count in maps.get(name, {}).items():
            inum, _, rest = key.partition(",")
            if (space is None or _number(inum) == space) and isinstance(count, int):
                yield rest, count

    return TraceReport(
        Observed.PARTIAL if troubles else Observed.COMPLETE,
        "; ".join(dict.fromkeys(troubles)),
        _programs(counted("@programs")),
        _denied(counted("@denied")),
        _opened(counted("@opens"), counted("@mounts"), mounts),
        _connected(counted("@connects4"), counted("@connects6"), counted("@sockets")),
    )


def _read_maps(data: bytes) -> tuple[dict[str, dict[str, Any]], list[str]]:
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
    return maps, troubles


Rows = Iterable[tuple[str, int]]
"""Key, without the namespace that it begins with, and count."""


def _programs(rows: Rows) -> tuple[ProgramStarted, ...]:
    programs = _summed((path, count) for path, count in rows if path not in _OWN_PROGRAMS)
    return tuple(ProgramStarted(path=_shown(path), count=count) for path, count in sorted(programs.items()))


def _denied(rows: Rows) -> tuple[DeniedCall, ...]:
    denied: dict[tuple[str, str], int] = {}
    for key, count in rows:
        number, _, answer = key.partition(",")
        name = call_names().get(_number(number), f"call {number[:20]}")
        error = errno.errorcode.get(abs(_number(answer)), answer[:20])
        if _by_the_filter(name):
            denied[name, error] = denied.get((name, error), 0) + count
    return tuple(DeniedCall(name=name, error=error, count=count) for (name, error), count in sorted(denied.items()))


def _opened(rows: Rows, by_mount: Rows, mounts: Sequence[str]) -> tuple[FileOpened, ...]:
    """Paths of processes are told by `N`, so that each is told once."""
    places = tuple(f"{place}/" for place in WATCHED)
    whole = ((_PROCESS.sub("/proc/N", path), count) for path, count in rows if f"{path}/".startswith(places))
    found = _summed(whole)
    for index, count in by_mount:
        if 0 <= (number := _number(index)) < len(mounts):
            found[f"{mounts[number]}/…"] = count
    return tuple(FileOpened(path=_shown(path), count=count) for path, count in sorted(found.items()))


def _connected(four: Rows, six: Rows, local: Rows) -> tuple[Connected, ...]:
    """Addresses come as numbers as they lay in memory, the first with family and port."""
    found = _summed((path or "(a name that is no path)", count) for path, count in local)
    made = [Connected(address=_shown(path), count=count) for path, count in sorted(found.items())]
    for key, count in (*four, *six):
        begin, *words = (_number(part) for part in key.split(","))
        packed = b"".join((word & _WORD).to_bytes(8, sys.byteorder) for word in words)
        address = ipaddress.ip_address(packed[:4] if len(words) == 1 else packed[:16].ljust(16, b"\0"))
        made.append(Connected(address=str(address), port=socket.ntohs((begin >> 16) & 0xFFFF), count=count))
    return tuple(made)


def _summed(rows: Rows) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, count in rows:
        found[key] = found.get(key, 0) + count
    return found


def _by_the_filter(name: str) -> bool:
    """Whether it is the filter that says no to this call: the kernel itself answers EPERM to many that are allowed."""
    rules = [rule for rule in default_source().rules if name in rule.names]
    return name in _ASKED_WITH_CONDITIONS or not any(rule.allows for rule in rules)


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return -1


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
