"""Programs and denied calls of a real run, counted in the kernel; skips where the host does not allow it."""

from __future__ import annotations

import os
import subprocess
import textwrap
from typing import TYPE_CHECKING

import pytest

from sandbox.observe.tracer import Tracer, why_impossible
from sandbox.record import Observed

if TYPE_CHECKING:
    from sandbox.launcher import Launcher
    from tests.integration.sandbox.conftest import Sandboxed

pytestmark = pytest.mark.docker
SINKHOLE = {"network": "sinkhole"}

SOURCE = """
    import ctypes, os, socket
    libc = ctypes.CDLL(None)
    for _ in range(5):
        libc.syscall(165, 0, 0, 0, 0, 0)
    libc.syscall(250, 0, -3, 1)
    try:
        socket.socket(16, 3)
    except OSError:
        pass
    for _ in range(3):
        if os.fork() == 0:
            os.execv("/usr/bin/python3", ["python3", "-S", "-c", "pass"])
        os.wait()
    if os.fork() == 0:
        os.execv("/usr/bin/nothing-here", ["x"])
    os.wait()
    for path in ("/etc/shadow", "/proc/1/mem", "/proc/self/status", "/usr/nothing", "/dev/shm/x", "/output/a",
                 "/output/b"):
        try:
            open(path, "w" if "output" in path else "r").close()
        except OSError:
            pass
    for family, address in ((2, ("10.1.2.3", 81)), (10, ("2001:db8::1", 82)), (1, "/var/run/docker.sock")):
        try:
            socket.socket(family).connect(address)
        except OSError:
            pass
    """


@pytest.fixture(scope="module", autouse=True)
def _possible() -> None:
    """Root, BTF and bpftrace, and a kernel that lets it attach."""
    if why := why_impossible():
        pytest.skip(why)
    tracer = Tracer(uid=1, seconds=1)
    tracer.wait_until_ready()
    found = tracer.report()
    if found.traced is Observed.IMPOSSIBLE:
        pytest.skip(found.detail)


def test_programs_files_connections_and_denied_calls_are_counted(sandboxed: Sandboxed) -> None:
    """Each as often as it happened, those of the run alone."""
    run = sandboxed(SOURCE, spec=SINKHOLE).run
    assert run.traced is Observed.COMPLETE, run.traced_detail
    assert {one.path: one.count for one in run.programs} == {"/usr/bin/python3": 4}
    counts = {one.name: one.count for one in run.denied}
    assert (counts["mount"], counts["keyctl"], counts["socket"]) == (5, 1, 1)
    assert {one.error for one in run.denied if one.name in ("mount", "keyctl")} == {"EPERM"}
    opened = {one.path: one.count for one in run.opened}
    assert (opened["/etc/shadow"], opened["/proc/N/mem"], opened["/proc/self/status"], opened["/output/…"]) == (
        1,
        1,
        1,
        2,
    )
    assert not {"/usr/nothing", "/dev/shm/x"} & opened.keys(), "the image's own files and scratch are not counted"
    assert {(one.address, one.port, one.count) for one in run.connected} == {
        ("10.1.2.3", 81, 1), ("2001:db8::1", 82, 1), ("/var/run/docker.sock", 0, 1),
    }  # fmt: skip


def test_a_run_as_root_is_known_by_its_pid_namespace(sandboxed: Sandboxed) -> None:
    """The gosu profile has no uid of its own."""
    run = sandboxed(f"import time; time.sleep(0.3)\n{textwrap.dedent(SOURCE)}", spec=SINKHOLE | {"profile": "gosu"}).run
    assert run.traced is Observed.COMPLETE, run.traced_detail
    assert {one.path: one.count for one in run.programs} == {"/usr/bin/python3": 4}
    assert {one.name: one.count for one in run.denied}["mount"] == 5
    assert {one.path for one in run.opened} >= {"/etc/shadow", "/output/…"}


def test_where_nothing_can_be_traced_or_notified_the_run_goes_on(
    sandboxed: Sandboxed, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the record says that it was not, and which tier it was."""
    monkeypatch.setattr("sandbox.observe.tracer.why_impossible", lambda: "no bpftrace")
    monkeypatch.setattr("sandbox.surroundings.why_not_notified", lambda *_: "the engine has no runtime x")
    run = sandboxed(SOURCE, spec=SINKHOLE).run
    assert (run.traced, run.traced_detail, run.programs, run.exit_code) == (Observed.IMPOSSIBLE, "no bpftrace", (), 0)
    assert (run.notified, run.notified_detail) == (Observed.IMPOSSIBLE, "the engine has no runtime x")
    assert run.tier == (1 if launcher.engine.root_here else 0)


def test_where_the_kernel_takes_less_less_is_counted_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another kernel may refuse the longer program; programs and denied calls are counted all the same."""
    monkeypatch.setattr("sandbox.observe.tracer._FURTHER", "tracepoint:syscalls:sys_enter_nothing {{ @x = 1; }}\n")
    tracer = Tracer(uid=os.getuid(), seconds=5)
    tracer.wait_until_ready()
    subprocess.run(["true"], check=True)
    found = tracer.report()
    assert found.traced is Observed.PARTIAL
    assert "files and connections were not counted" in found.detail
    assert any(one.path.endswith("/true") for one in found.programs)


def test_the_counted_run_is_not_traced(sandboxed: Sandboxed) -> None:
    """Its figures are the tool's own."""
    run = sandboxed("pass").run
    assert (run.traced, run.programs, run.denied) == (Observed.NOT_ASKED, (), ())
