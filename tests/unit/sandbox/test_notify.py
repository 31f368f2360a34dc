"""Denied calls with their arguments: which are handed over, what the runtime changes, what is told and what is read."""

from __future__ import annotations

import array
import errno
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.engine import Engine
from sandbox.observe import notify, notify_agent, notify_runtime
from sandbox.observe.arguments import MAX_STRING, describe, namespaces_asked_for
from sandbox.observe.calls import call_names
from sandbox.observe.notify_rules import everything_but, notified_rules
from sandbox.record import Observed
from sandbox.seccomp import default_source, parse_source, profile_json
from sandbox.seccomp.source import Condition

WORD = st.integers(min_value=0, max_value=(1 << 64) - 1)

# --- which calls -------------------------------------------------------------------------------------------------


def holds(argument: dict[str, Any], value: int) -> bool:
    """As the kernel compares."""
    match argument["op"]:
        case "SCMP_CMP_EQ":
            return bool(value == argument["value"])
        case "SCMP_CMP_GT":
            return bool(value > argument["value"])
        case "SCMP_CMP_MASKED_EQ":
            return bool(value & argument["value"] == argument["valueTwo"])
    raise AssertionError(argument)


def test_every_denied_call_is_handed_over_and_no_allowed_one() -> None:
    """Also those that the profile does not name; the default action of a filter cannot be a notification."""
    rules = notified_rules(default_source())
    plain = set(rules[0]["names"])
    allowed = {name for rule in default_source().rules if rule.allows for name in rule.names}
    denied = {name for rule in default_source().rules if not rule.allows for name in rule.names}
    assert denied <= plain
    assert not plain & allowed
    assert plain | allowed == set(call_names().values()) | denied | allowed
    some = {"chmod", "clone", "fchmod", "fchmodat", "fchmodat2", "socket", "socketpair"}
    assert {rule["names"][0] for rule in rules[1:]} == some
    assert "write" not in plain, "runc refuses it"


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["socket", "clone", "chmod", "fchmodat"]), WORD | st.integers(min_value=0, max_value=64))
def test_a_call_allowed_for_some_arguments_is_handed_over_for_all_others(name: str, value: int) -> None:
    """Never both, never neither: one comparison holds exactly where no condition does."""
    conditions = [rule.condition for rule in default_source().rules if name in rule.names and rule.condition]
    allowed = any(value & (one.mask if one.mask is not None else ~0) == one.value for one in conditions)
    index = conditions[0].index
    added = [rule["args"][0] for rule in notified_rules(default_source()) if rule["names"] == [name]]
    assert {argument["index"] for argument in added} == {index}
    assert any(holds(argument, value) for argument in added) is not allowed


UNSAYABLE: dict[str, list[Condition]] = {
    "two arguments": [Condition(0, None, 1), Condition(1, None, 1)],
    "two masks": [Condition(0, 3, 1), Condition(0, 12, 4)],
    "values far apart": [Condition(0, None, 1), Condition(0, None, 1 << 40)],
}


@pytest.mark.parametrize("what", UNSAYABLE)
def test_what_cannot_be_said_stays_denied_without_a_notification(what: str) -> None:
    """No rule at all, so the default action holds."""
    assert everything_but(UNSAYABLE[what]) == []


def test_a_call_denied_for_some_arguments_only_keeps_its_own_rule() -> None:
    """It would need two errors."""
    source = parse_source(
        "architectures x86_64\ndefault ENOSYS\n[allow] a: b\nread\n[deny EPERM if arg0 == 1] c: d\nptrace\n"
    )
    assert "ptrace" not in notified_rules(source)[0]["names"]


# --- the runtime -------------------------------------------------------------------------------------------------


def oci(default_errno: int | None = None) -> dict[str, Any]:
    """A bundle's configuration as Docker makes it of our profile."""
    profile = json.loads(profile_json())
    seccomp = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": profile["syscalls"],
        "architectures": ["SCMP_ARCH_X86_64"],
    }
    if default_errno is not None:
        seccomp["defaultErrnoRet"] = default_errno
    return {"process": {"args": ["x"]}, "linux": {"seccomp": seccomp}}


@pytest.mark.parametrize(("engine_says", "answered"), [(None, errno.EPERM), (errno.ENOSYS, errno.ENOSYS)])
def test_what_is_allowed_stays_exactly_as_it_was(engine_says: int | None, answered: int) -> None:
    """And the listener learns the error of each call as this engine's filter has it: old engines ignore the default."""
    before, after = oci(engine_says), oci(engine_says)
    notify_runtime.hand_over(after, notified_rules(default_source()), "/run/x")
    was, now = before["linux"]["seccomp"], after["linux"]["seccomp"]
    allowing = [entry for entry in was["syscalls"] if entry["action"] == "SCMP_ACT_ALLOW"]
    assert [entry for entry in now["syscalls"] if entry["action"] != "SCMP_ACT_NOTIFY"] == allowing
    assert (now["defaultAction"], now["architectures"]) == (was["defaultAction"], was["architectures"])
    assert now["listenerPath"] == "/run/x"
    answers = json.loads(now["listenerMetadata"])
    assert answers["default"] == answered
    assert (answers["errors"]["clone3"], answers["errors"]["mount"]) == (errno.ENOSYS, errno.EPERM)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle, and a listener for its container `abc`."""
    place = tmp_path / "place"
    (place / "abc").mkdir(parents=True)
    place.chmod(0o700)
    (place / "abc").chmod(0o700)
    (place / "abc" / "rules.json").write_text(json.dumps([{"names": ["mount"]}]))
    made = tmp_path / "bundle"
    made.mkdir()
    (made / "config.json").write_text(json.dumps(oci()))
    return made


def create(bundle: Path, container: str = "abc") -> list[str]:
    return ["--root", "/r", "--log", str(bundle / "log"), "create", "--bundle", str(bundle), container]


def test_the_configuration_is_changed_where_somebody_listens(bundle: Path) -> None:
    """Whole, with the mode it had, and nothing else is left in the bundle."""
    notify_runtime.prepare(create(bundle), str(bundle.parent / "place"))
    seccomp = json.loads((bundle / "config.json").read_text())["linux"]["seccomp"]
    assert seccomp["listenerPath"] == str(bundle.parent / "place/abc/listener")
    assert seccomp["syscalls"][-1] == {"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}
    assert [path.name for path in bundle.iterdir()] == ["config.json"]


@pytest.mark.parametrize("container", ["other", "../place/abc", "abc/../abc", "", "."])
def test_nothing_is_changed_for_a_container_that_nobody_listens_for(bundle: Path, container: str) -> None:
    """Nor for a name that is no container's."""
    before = (bundle / "config.json").read_bytes()
    notify_runtime.prepare(create(bundle, container), str(bundle.parent / "place"))
    assert (bundle / "config.json").read_bytes() == before


def _shared(bundle: Path) -> None:
    (bundle.parent / "place").chmod(0o777)


def _link(bundle: Path) -> None:
    home = bundle.parent / "place" / "abc"
    home.rename(bundle.parent / "elsewhere")
    home.symlink_to(bundle.parent / "elsewhere")


def _dangling(bundle: Path) -> None:
    _link(bundle)
    (bundle.parent / "elsewhere").rename(bundle.parent / "gone")


def _rules(text: str) -> Callable[[Path], None]:
    return lambda bundle: cast(None, (bundle.parent / "place/abc/rules.json").write_text(text))


def _allowing(bundle: Path) -> None:
    config = oci()
    config["linux"]["seccomp"]["defaultAction"] = "SCMP_ACT_ALLOW"
    (bundle / "config.json").write_text(json.dumps(config))


UNUSABLE: dict[str, Callable[[Path], None]] = {
    "a place that everybody can change": _shared,
    "a link": _link,
    "a link to nowhere": _dangling,
    "rules that are no JSON": _rules("{"),
    "rules nested without end": _rules("[" * 100_000),
    "rules of another form": _rules('["mount"]'),
    "no rules": lambda bundle: (bundle.parent / "place/abc/rules.json").unlink(),
    "a filter that allows by default": _allowing,
    "a container without a filter": lambda bundle: cast(None, (bundle / "config.json").write_text('{"linux": {}}')),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_a_container_whose_calls_cannot_be_handed_over_is_not_started(
    bundle: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the engine finds the reason where it looks for runc's."""
    UNUSABLE[what](bundle)
    monkeypatch.setattr(os, "execvp", lambda *_: pytest.fail("it was started"))
    with pytest.raises(SystemExit):
        notify_runtime.main(create(bundle), str(bundle.parent / "place"))
    line = json.loads((bundle / "log").read_text())
    assert line["level"] == "error"
    assert "cannot be handed over" in line["msg"]


@pytest.mark.parametrize(
    "arguments", [["--version"], ["--root", "/r", "start", "abc"], ["delete", "--force", "abc"], []]
)
def test_everything_else_is_runcs(arguments: list[str], tmp_path: Path) -> None:
    """Run as the engine runs it: an executable with nothing but the standard library."""
    script = Path(notify_runtime.__file__)
    assert script.stat().st_mode & stat.S_IXUSR
    assert script.read_text().startswith("#!/usr/bin/python3 -IS\n")
    runc = tmp_path / "runc"
    runc.write_text('#!/bin/sh\nprintf "%s\\n" "$0" "$@"\n')
    runc.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(script), *arguments],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[1:] == arguments


# --- what the arguments say --------------------------------------------------------------------------------------

TEXTS = {1: b"/dev/sda1\0", 2: b'/mnt/\xff\x1b[31m"\\\0', 3: b"x" * 5000, 4: b""}


def memory(address: int, size: int) -> bytes:
    return TEXTS.get(address, b"")[:size]


TOLD: dict[str, tuple[str, list[int], str]] = {
    "a mount": ("mount", [1, 2, 0, 9, 0, 0],
                'source="/dev/sda1" target="/mnt/\\xff\\x1b[31m\\x22\\x5c" type=null mountflags=0x9'),
    "a string without end": ("swapon", [3, 0, 0, 0, 0, 0], 'path="' + "x" * MAX_STRING + '"…'),
    "an address where nothing is": ("chroot", [(1 << 64) - 1, 0, 0, 0, 0, 0], "path=unreadable"),
    "a hypervisor's socket": ("socket", [40, 0x80001, 0, 0, 0, 0], "family=AF_VSOCK type=SOCK_STREAM protocol=0"),
    "netlink by its own name": ("socket", [16, 3, 15, 0, 0, 0], "family=AF_NETLINK type=SOCK_RAW protocol=15"),
    "a family that is to look like another": ("socket", [0x100000002, 1, 0, 0, 0, 0],
                                              "family=0x100000002 type=SOCK_STREAM protocol=0"),
    "a family of minus one": ("socket", [0xFFFFFFFF, 7, 0, 0, 0, 0], "family=-1 type=7 protocol=0"),
    "another process": ("ptrace", [16, 1, 0, 0, 0, 0], "request=PTRACE_ATTACH pid=1"),
    "a namespace": ("unshare", [0x10020000, 0, 0, 0, 0, 0], "flags=CLONE_NEWNS|CLONE_NEWUSER"),
    "a signal is no namespace": ("clone", [0x80 | 17, 0, 0, 0, 0, 0], "flags=0x0"),
    "set-user-id": ("fchmodat", [0, 1, 0o4755, 0, 0, 0], 'path="/dev/sda1" mode=0o4755'),
    "flags that cannot be read": ("clone3", [9, 88, 0, 0, 0, 0], "flags=unreadable"),
    "a call without a form": ("io_submit", [1, 2, 3, 4, 5, 6], ""),
    "no call": ("", [1, 2, 3, 4, 5, 6], ""),
}  # fmt: skip


@pytest.mark.parametrize("what", TOLD)
def test_arguments_are_told(what: str) -> None:
    """In names where there are names; what a tool wrote is escaped and cut."""
    name, values, line = TOLD[what]
    assert describe(name, values, memory) == line


def test_namespaces_of_clone3_lie_in_memory() -> None:
    """Only a reader of memory can tell a thread from a namespace."""
    flags = (0x10000000).to_bytes(8, "little")
    line = describe("clone3", [7, 88, 0, 0, 0, 0], lambda address, size: flags)
    assert namespaces_asked_for(line)
    assert not namespaces_asked_for(
        describe("clone3", [7, 88, 0, 0, 0, 0], lambda *_: (0x3D0F00).to_bytes(8, "little"))
    )


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(call_names().values())), st.lists(WORD, min_size=6, max_size=6), st.binary(max_size=300))
def test_whatever_a_tool_passes_one_short_plain_line_comes_out(name: str, values: list[int], data: bytes) -> None:
    """Any registers, any memory."""
    line = describe(name, values, lambda _, size: data[:size])
    assert line.replace("…", "").isascii()
    assert line.isprintable()
    assert len(line) < 4 * (4 * MAX_STRING + 40)


# --- the agent ---------------------------------------------------------------------------------------------------


def sent(message: bytes, descriptors: int = 1) -> tuple[int, notify_agent.Answers]:
    """What the agent makes of it when runc sends this."""
    ours, theirs = socket.socketpair()
    pipe = [os.open(os.devnull, os.O_RDONLY) for _ in range(descriptors)]
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", pipe))] if pipe else []
    theirs.sendmsg([message], rights)
    theirs.close()
    for one in pipe:
        os.close(one)
    with ours:
        return notify_agent.receive(ours)


def state(metadata: object, fds: object = ("seccompFd",)) -> bytes:
    return json.dumps({"fds": fds, "metadata": json.dumps(metadata), "state": {"id": "x"}}).encode()


def test_the_filter_and_its_answers_are_received() -> None:
    """The descriptor by its name."""
    found, answers = sent(state({"default": 38, "errors": {"mount": 1}}, ["other", "seccompFd"]), descriptors=2)
    os.close(found)
    assert (answers.of("mount"), answers.of("bpf")) == (1, 38)


@pytest.mark.parametrize("value", [0, -1, 5000, True, "1", None, 1.5], ids=repr)
def test_no_answer_is_a_success(value: object) -> None:
    """An error of 0 would let a call look as if it had worked."""
    found, answers = sent(state({"default": value, "errors": {"mount": value}}))
    os.close(found)
    assert (answers.of("mount"), answers.of("x")) == (errno.EPERM, errno.EPERM)


BROKEN: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", 1),
    "no JSON": (b"{", 1),
    "no descriptor": (state({"default": 1, "errors": {}}), 0),
    "no name": (state({"default": 1, "errors": {}}, []), 1),
    "no metadata": (b'{"fds": ["seccompFd"]}', 1),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_runc_does_not_send_ends_the_agent(what: str) -> None:
    """Then the kernel denies."""
    with pytest.raises((ValueError, LookupError, TypeError)):
        sent(*BROKEN[what])


def test_a_flood_of_different_calls_is_bounded() -> None:
    """Every call is counted, only so many combinations are told."""
    book = notify_agent.Book()
    for number in range(5000):
        book.write(f"call{number % 3}", "EPERM", f"path={number}", "/bin/x")
    value = json.loads(book.report())
    assert len(value["rows"]) <= notify_agent.MAX_ROWS + 3
    assert sum(row[4] for row in value["rows"]) == value["calls"] == 5000
    assert value["untold"] == 5000 - notify_agent.MAX_ROWS
    book.heard = True
    found = notify.parse_notices(book.report())
    assert found.notified is Observed.PARTIAL
    assert "4700 calls beyond" in found.detail


# --- the report --------------------------------------------------------------------------------------------------

ROW = ["mount", "EPERM", 'source="/x"', "/bin/x", 2, 0.5]


def report(**also: object) -> bytes:
    return json.dumps({"heard": True, "calls": 2, "rows": [ROW], "untold": 0} | also).encode()


def test_a_report_is_read() -> None:
    """Complete, where it is."""
    found = notify.parse_notices(report())
    assert found.notified is Observed.COMPLETE
    assert [(one.name, one.arguments, one.count) for one in found.calls] == [("mount", 'source="/x"', 2)]


NOT_WHOLE: dict[str, tuple[bytes, Observed]] = {
    "an agent that died": (b"", Observed.PARTIAL),
    "half a report": (report()[:-5], Observed.PARTIAL),
    "no list": (report(rows=3), Observed.PARTIAL),
    "a row of another form": (report(rows=[ROW, [1, 2]]), Observed.PARTIAL),
    "a row with a word for a number": (report(rows=[[*ROW[:4], "many", 0]]), Observed.PARTIAL),
    "too many rows": (report(rows=[ROW] * 3000), Observed.PARTIAL),
    "calls that were not told": (report(untold=3), Observed.PARTIAL),
    "a filter that never came": (report(heard=False), Observed.IMPOSSIBLE),
}


@pytest.mark.parametrize("what", NOT_WHOLE)
def test_a_report_that_is_not_whole_says_so(what: str) -> None:
    """Never complete."""
    data, expected = NOT_WHOLE[what]
    found = notify.parse_notices(data)
    assert found.notified is expected
    assert found.detail


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=7), max_leaves=12
).map(lambda rows: json.dumps({"heard": True, "rows": rows, "untold": 0}).encode()))  # fmt: skip
def test_whatever_is_reported_nothing_is_raised(data: bytes) -> None:
    """Any bytes, any rows."""
    notify.parse_notices(data)


# --- where it is possible ----------------------------------------------------------------------------------------


def engine(**also: Any) -> Engine:
    facts = {"runtimes": ("pratique-notify", "runc"), "runc_version": "1.1.5+ds1", "same_machine": True} | also
    return cast(Engine, SimpleNamespace(root_here=facts["same_machine"], facts=SimpleNamespace(**facts)))


IMPOSSIBLE: dict[str, tuple[dict[str, Any], str, str]] = {
    "not configured": ({"runtimes": ("runc",)}, "runc", "no runtime pratique-notify"),
    "not root": ({"same_machine": False}, "runc", "root"),
    "an old runc": ({"runc_version": "1.0.3"}, "runc", "older than 1.1"),
    "gVisor": ({}, "runsc", "runsc"),
    "Kata": ({}, "kata", "kata"),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_where_it_is_not_possible_there_is_a_reason(what: str) -> None:
    """For the record."""
    facts, runtime, why = IMPOSSIBLE[what]
    assert why in notify.why_not_notified(engine(**facts), runtime)


@pytest.mark.parametrize("version", ["1.1.0", "1.3.3", "2.0.0", "", "unknown"])
def test_where_it_is_there_is_none(version: str) -> None:
    """Also where the engine does not say which runc it has: the registered runtime is what counts."""
    assert notify.why_not_notified(engine(runc_version=version)) == ""
    assert notify.why_not_notified(engine(runc_version=version), "pratique-notify") == "", "it is runc"


def test_a_place_that_cannot_be_made_is_a_reason_not_an_error(tmp_path: Path) -> None:
    """The container then starts without a listener, and denies as always."""
    (tmp_path / "file").write_text("")
    listener = notify.Listener(tmp_path / "file")
    listener.listen("abc")
    found = listener.report()
    assert found.notified is Observed.IMPOSSIBLE
    assert "no listener could be placed" in found.detail
    listener.close()


def test_what_a_killed_launcher_left_goes_when_it_is_old(tmp_path: Path) -> None:
    """One that was placed just now belongs to somebody."""
    (tmp_path / "old").mkdir()
    notify.remove_old_listeners(3600, tmp_path)
    assert (tmp_path / "old").exists()
    notify.remove_old_listeners(-1, tmp_path)
    assert not (tmp_path / "old").exists()
    notify.remove_listener("gone", tmp_path)
