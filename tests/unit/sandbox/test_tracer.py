"""What bpftrace counted, read with suspicion: keys are paths that a tool chose."""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.observe.calls import call_names
from sandbox.observe.tracer import LONGEST_PLACE, MOST_PLACES, places
from sandbox.observe.traces import MAX_KEYS, parse_trace
from sandbox.record import Observed
from sandbox.seccomp import default_source


def lines(**maps: dict[str, Any]) -> bytes:
    """As bpftrace -f json writes maps."""
    rows = [{"type": "attached_probes", "data": {"probes": 3}}]
    rows += [{"type": "map", "data": {f"@{name}": value}} for name, value in maps.items()]
    return b"\n\n".join(json.dumps(row).encode() for row in rows) + b"\n"


NUMBERS = {name: number for number, name in call_names("x86_64").items()}


def test_counts_of_one_pid_namespace_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours' are left out, the init process of the container too, calls that the kernel itself denies too."""
    monkeypatch.setattr("sandbox.observe.calls.platform.machine", lambda: "x86_64")
    data = lines(
        programs={"7,/usr/bin/python3": 2, "8,/bin/neighbour": 5, "7,/sbin/docker-init": 1, "7,/a,b": 1},
        denied={f"7,{NUMBERS['mount']},-1": 4, f"7,{NUMBERS['epoll_ctl']},-1": 9, "7,99999,-38": 1,
                f"8,{NUMBERS['bpf']},-1": 1, f"7,{NUMBERS['socket']},-1": 2},
    )  # fmt: skip
    found = parse_trace(data, 7)
    assert found.traced is Observed.COMPLETE
    assert [(one.path, one.count) for one in found.programs] == [("/a,b", 1), ("/usr/bin/python3", 2)]
    assert [(one.name, one.error, one.count) for one in found.denied] == [
        ("call 99999", "ENOSYS", 1), ("mount", "EPERM", 4), ("socket", "EPERM", 2),
    ]  # fmt: skip
    everybody = parse_trace(data, None)
    assert {one.path for one in everybody.programs} == {"/usr/bin/python3", "/bin/neighbour", "/a,b"}


def test_files_and_connections_are_read() -> None:
    """Processes' directories are told once, names that only begin alike are left out, addresses are numbers."""
    port = socket.htons(443) << 16
    local = int.from_bytes(bytes(15) + b"\x01", sys.byteorder)
    data = lines(
        programs={"7,/x": 1},
        opens={"7,/proc/12/mem": 1, "7,/proc/345/mem": 2, "7,/process/x": 9, "7,/etc/a,b": 1, "8,/etc/shadow": 1,
               "7,/proc/self/maps": 1, "7,/proc": 1, "7,/proc/99": 1},
        mounts={"7,0": 5000, "7,1": 2, "7,9": 1, "8,0": 1},
        connects4={f"7,{port | 2},{int.from_bytes(bytes([10, 1, 2, 3]), sys.byteorder)}": 3},
        connects6={f"7,{port | 10},{local & (1 << 64) - 1},{local >> 64}": 1},
        sockets={"7,/var/run/docker.sock": 1, "7,": 2},
    )  # fmt: skip
    found = parse_trace(data, 7, ("/input", "/data"))
    assert found.traced is Observed.COMPLETE
    assert {one.path: one.count for one in found.opened} == {
        "/proc/N/mem": 3, "/etc/a,b": 1, "/proc/self/maps": 1, "/proc": 1, "/proc/N": 1, "/input/…": 5000, "/data/…": 2,
    }  # fmt: skip
    assert [(one.address, one.port, one.count) for one in found.connected] == [
        ("(a name that is no path)", 0, 2), ("/var/run/docker.sock", 0, 1), ("10.1.2.3", 443, 3), ("::1", 443, 1),
    ]  # fmt: skip


PLACES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "few": (("/input", "/output"), ("/input", "/output")),
    "none": ((), ()),
    "many below one": ((*(f"/input/packages/{n}" for n in range(14)), "/input/tool/x.py", "/output"),
                       ("/input/packages", "/input/tool", "/output")),
    "many beside each other": (tuple(f"/{n}" for n in range(9)), ("/0", "/1", "/2", "/3")),
    "a long one": (("/data/" + "x" * 60, "/output"), ("/data", "/output")),
    "a long one at the top": (("/" + "x" * 60,), ("/" + "x" * 23,)),
    "one that would end the script": (('/a", 1) == 0) { system("id") } //', "/output"), ("/output",)),
}  # fmt: skip


@pytest.mark.parametrize("what", PLACES)
def test_mounts_are_counted_where_the_kernel_can(what: str) -> None:
    """Few and short, and nothing that is no plain path."""
    mounts, expected = PLACES[what]
    assert places(mounts) == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet="ab/.", min_size=1, max_size=40).map("/".__add__), max_size=12))
def test_any_mounts_are_few_and_short(mounts: list[str]) -> None:
    """Always an end."""
    found = places(mounts)
    assert len(found) <= MOST_PLACES
    assert all(len(place) <= LONGEST_PLACE for place in found)


NOT_WHOLE: dict[str, bytes] = {
    "nothing": b"",
    "no map of programs": lines(denied={}),
    "a line that is no JSON": lines(programs={"7,/x": 1}) + b"{]\n",
    "a key twice": b'{"type": "map", "type": "map", "data": {}}\n',
    "as many keys as are counted": lines(programs={f"7,/{n}": 1 for n in range(MAX_KEYS)}),
    "lost events": lines(programs={"7,/x": 1}) + b'{"type": "lost_events", "data": {"events": 3}}\n',
    "too much": lines(programs={"7,/x": 1}) + b" " * (5 << 20),
}


@pytest.mark.parametrize("what", list(NOT_WHOLE), ids=str)
def test_what_is_not_whole_says_so(what: str) -> None:
    """Never complete."""
    found = parse_trace(NOT_WHOLE[what], 7)
    assert found.traced is Observed.PARTIAL
    assert found.detail


def test_a_path_cannot_change_a_terminal() -> None:
    """Control characters are escaped."""
    assert parse_trace(lines(programs={"7,/x\x1b[31m": 1}), 7).programs[0].path == "/x\\x1b[31m"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400) | st.recursive(
    st.none() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=10,
).map(lambda value: json.dumps({"type": "map", "data": {
    "@programs": value, "@denied": value, "@opens": value, "@mounts": value, "@connects4": value, "@connects6": value,
    "@sockets": value}}).encode()))  # fmt: skip
def test_whatever_is_reported_nothing_is_raised(data: bytes) -> None:
    """Any bytes, any JSON."""
    parse_trace(data, 7, ("/input",))


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="0123456789,-.:/ax", max_size=40))
def test_whatever_the_keys_are_nothing_is_raised(key: str) -> None:
    """A tool chooses some of them."""
    names = ("programs", "denied", "opens", "mounts", "connects4", "connects6", "sockets")
    parse_trace(lines(**{name: {f"7,{key}": 1} for name in names}), 7, ("/input",))


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_call_of_the_profile_has_a_number_somewhere(machine: str) -> None:
    """The table knows what the profile names, by the kernel's own headers."""
    known = set(call_names("x86_64").values()) | set(call_names("aarch64").values())
    named = {name for rule in default_source().rules for name in rule.names}
    assert named <= known
    assert len(call_names(machine)) > 300
    assert call_names("riscv64") == {}
