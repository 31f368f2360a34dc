"""Denied calls of a real run, heard of with their arguments; skips where the engine has no runtime for it."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandbox.launcher import Launcher
from sandbox.observe.notify import Listener, why_not_notified
from sandbox.observe.notify_runtime import PLACE
from sandbox.record import EndedBy, Observed

if TYPE_CHECKING:
    from tests.integration.sandbox.conftest import Outcome, Sandboxed

pytestmark = pytest.mark.docker
SINKHOLE = {"network": "sinkhole"}

ATTACKS = r"""
    import ctypes, errno, os, signal, socket, threading, time
    libc = ctypes.CDLL(None, use_errno=True)
    text = ctypes.create_string_buffer
    def call(name, *arguments):
        ctypes.set_errno(0)
        done = libc.syscall(*arguments)
        print(name, done, errno.errorcode.get(ctypes.get_errno()))
    def make(family, kind=1):
        try:
            socket.socket(family, kind).close()
            print("made", family)
        except OSError as error:
            print(family, errno.errorcode[error.errno])
    call("mount", 165, text(b"/dev/sda1"), text(b"/mnt/\xff\x1b[31m"), text(b"ext4"), 1, 0)
    for pointer in (1, 0xffffffffffffff00, 0x7fffffffffffffff):
        call("pointer", 165, ctypes.c_ulong(pointer), text(b"x" * 5000), 0, 0, 0)
    for family in (0, 1, 2, 3, 10, 11, 16, 17, 38, 40):
        make(family, 3 if family in (16, 17) else 1)
    call("upper bits", 41, ctypes.c_long(0x100000002), 1, 0)
    call("ptrace", 101, 16, 1, 0, 0)
    call("unshare", 272, 0x10000000)
    call("clone", 56, 0x10000000 | 17, 0, 0, 0, 0)
    flags = (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, 17)
    call("clone3", 435, ctypes.byref(flags), 88)
    call("nothing", 9999)
    call("chmod", 90, text(b"/tmp"), 0o4755)
    open("/tmp/x", "w").close()
    call("plain chmod", 90, text(b"/tmp/x"), 0o755)
    thread = threading.Thread(target=print, args=("thread",))
    thread.start()
    thread.join()
    if os.fork() == 0:
        call("keyctl of a child", 250, 0, -3, 1)
        os._exit(0)
    os.wait()
    if os.fork() == 0:
        libc.syscall(0x40000000 | 39)
        print("went on", flush=True)
        os._exit(0)
    print("x32 ends with", os.waitstatus_to_exitcode(os.wait()[1]))
    for _ in range(30):
        child = os.fork()
        if child == 0:
            while True:
                libc.syscall(103, 3)
        time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    print("thirty callers died")
    """


@pytest.fixture(scope="module", autouse=True)
def _possible(launcher: Launcher) -> None:
    """Root beside an engine that knows the runtime."""
    if why := why_not_notified(launcher.engine):
        pytest.skip(why)


def told(outcome: Outcome) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for call in outcome.run.forbidden:
        found.setdefault(call.name, []).append(call.arguments)
    return found


def test_each_attack_is_known_with_what_it_asked_for(sandboxed: Sandboxed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, paths, families, namespaces; and every call ends exactly as it does unobserved."""
    homes: list[Path] = []
    listen = Listener.listen

    def noted(self: Listener, container: str) -> None:
        homes.append(Path(PLACE, container))
        listen(self, container)

    monkeypatch.setattr(Listener, "listen", noted)
    seen, unseen = sandboxed(ATTACKS, spec=SINKHOLE), sandboxed(ATTACKS)
    assert seen.log == unseen.log, "the listener answers what the filter answers"
    run = seen.run
    assert (run.notified, run.notified_detail, run.exit_code) == (Observed.COMPLETE, "", 0)
    assert run.tier == 2
    found = told(seen)
    assert 'source="/dev/sda1" target="/mnt/\\xff\\x1b[31m" type="ext4" mountflags=0x1' in found["mount"]
    assert any(line.startswith("source=unreadable target=") for line in found["mount"])
    families = {line.split()[0] for line in found["socket"]}
    assert families == {
        "family=AF_UNSPEC", "family=AF_AX25", "family=AF_ROSE", "family=AF_NETLINK", "family=AF_PACKET",
        "family=AF_ALG", "family=AF_VSOCK", "family=0x100000002",
    }  # fmt: skip
    assert found["ptrace"] == ["request=PTRACE_ATTACH pid=1"]
    assert found["unshare"] == found["clone"] == ["flags=CLONE_NEWUSER"]
    assert "flags=CLONE_NEWUSER" in found["clone3"]
    assert found["chmod"] == ['path="/tmp" mode=0o4755']
    assert found["keyctl"] == ["operation=KEYCTL_GET_KEYRING_ID"]
    assert {call.program for call in run.forbidden if call.arguments} == {"/usr/bin/python3"}
    assert sum(call.count for call in run.forbidden if call.name == "mount") == 4
    assert set(found.get("syslog", [])) <= {"action=3", ""}, "a caller that died is not asked for its arguments"
    assert "x32 ends with -31" in seen.lines, "other architectures are not handed over, they kill"
    assert seen.lines[-1] == "thirty callers died"
    assert (unseen.run.notified, unseen.run.forbidden, unseen.run.tier) == (Observed.NOT_ASKED, (), 1)
    assert [home.exists() for home in homes] == [False], "one listener, and it is not left behind"
    if run.traced is Observed.COMPLETE:
        counted = {call.name: call.count for call in run.denied}
        heard = {name: sum(call.count for call in run.forbidden if call.name == name) for name in ("mount", "ptrace")}
        assert {name: counted[name] for name in heard} == heard, "both ways of looking agree"


def test_a_flood_is_bounded_and_meets_its_deadline(sandboxed: Sandboxed) -> None:
    """Four processes that call without end: the run ends in time, all is counted, a part is told."""
    outcome = sandboxed(
        """
        import ctypes, os
        libc = ctypes.CDLL(None)
        os.fork(), os.fork()
        number = 0
        while True:
            number += 1
            libc.syscall(165, ctypes.create_string_buffer(b"/dev/%d" % number), 0, 0, 0, 0)
        """,
        spec=SINKHOLE,
        wall_seconds=3.0,
    )
    run = outcome.run
    assert run.ended_by is EndedBy.DEADLINE
    assert run.total_seconds < 30
    assert 0 < len(run.forbidden) <= 301
    assert (run.notified is Observed.PARTIAL) == (len(run.forbidden) >= 300), "a slow machine does not get that far"
    assert len(run.model_dump_json()) < 200_000


def test_an_agent_that_dies_lets_nothing_through(sandboxed: Sandboxed) -> None:
    """The kernel denies in its place, the run goes on to its end, and the record says that not all was heard."""

    def kill() -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            time.sleep(0.02)
            if new := [pid for pid in agents() if has_filter(pid)]:
                time.sleep(0.5)
                os.kill(new[0], signal.SIGKILL)
                return

    killer = threading.Thread(target=kill)
    killer.start()
    outcome = sandboxed(
        """
        import ctypes, errno, time
        libc = ctypes.CDLL(None, use_errno=True)
        answers = set()
        end = time.monotonic() + 3
        while time.monotonic() < end and "ENOSYS" not in answers:
            done = libc.syscall(165, 0, 0, 0, 0, 0)
            answers.add("permitted" if done == 0 else errno.errorcode[ctypes.get_errno()])
            time.sleep(0.01)
        print(sorted(answers))
        """,
        spec=SINKHOLE,
    )
    killer.join()
    assert outcome.lines == ["['ENOSYS', 'EPERM']"], "denied by the agent, then by the kernel"
    run = outcome.run
    assert (run.ended_by, run.exit_code) == (EndedBy.EXIT, 0)
    assert run.notified is Observed.PARTIAL
    assert "ended early" in run.notified_detail


def agents() -> list[int]:
    """Those of this process: another's would not be ours to end."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command, status = (entry / "cmdline").read_bytes(), (entry / "status").read_text()
            except OSError:
                continue
            if b"sandbox.observe.notify_agent" in command and f"\nPPid:\t{os.getpid()}\n" in status:
                found.append(int(entry.name))
    return found


def has_filter(pid: int) -> bool:
    """Whether a filter's descriptor has been handed to this agent."""
    try:
        return any("seccomp" in os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir())  # noqa: PTH115
    except OSError:
        return False
