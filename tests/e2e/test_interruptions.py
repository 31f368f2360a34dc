"""When the world ends an inspection: no engine, an engine that dies, a full disk, Ctrl-C, somebody else at once."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pratique.digests import Digest
from sandbox.engine import Engine
from sandbox.mounts import mount_tmpfs, unmount
from tests.assets.submissions import write_submission
from tests.e2e.bench import Node, finished, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.slow]

RUN_CHECKS = ("conformance", "containment", "canaries", "determinism")


# --- the engine ------------------------------------------------------------------------------------------------------


def test_absent_engine_leaves_what_needs_it_undecided_until_it_is_back(
    node: Node, submission: Path, engine: Engine
) -> None:
    done = node.onboard(submission, DOCKER_HOST="unix:///nonexistent/docker.sock")
    assert done.code == 3, done.err
    report = done.report()
    assert report["verdict"]["outcome"] == "review"
    for name in RUN_CHECKS:
        assert report["checks"][name]["status"] == "inconclusive"
        assert report["checks"][name]["findings"][0]["fix"], "it says what to install or start"
    assert report["checks"]["manifest"]["status"] == "passed", "what needs no engine was answered"
    assert node.entries() == 1, "and recorded"
    assert (node.home / "runs" / report["run_id"] / "report.html").is_file()
    again = node.onboard(submission)
    assert again.code == 0, again.out + again.err
    assert again.report()["verdict"]["outcome"] == "admit", "nothing undecided was kept"
    assert node.entries() == 2
    assert node.leftovers(engine) == []


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:1", "nonsense://", "unix:///etc/hostname"])
def test_address_where_no_engine_is_decides_nothing(host: str, node: Node, submission: Path) -> None:
    done = node.precheck(submission, DOCKER_HOST=host)
    assert done.code == 3, done.err
    assert {done.report()["checks"][name]["status"] for name in RUN_CHECKS} == {"inconclusive"}


class DyingEngine:
    """A socket in front of the real engine that falls silent for good once a container was started."""

    def __init__(self, path: Path, real: str) -> None:
        self.address = f"unix://{path}"
        self._real = real.removeprefix("unix://")
        self._connections: list[socket.socket] = []
        self.died = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                outside, _ = self._listener.accept()
            except OSError:
                return
            inside = socket.socket(socket.AF_UNIX)
            inside.connect(self._real)
            self._connections += [outside, inside]
            threading.Thread(target=self._pass_on, args=(outside, inside, True), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(inside, outside, False), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, requests: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
                if requests and b"/start HTTP/1.1" in data[:300]:
                    threading.Timer(0.7, self.die).start()
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def die(self) -> None:
        self.died = True
        for one in [self._listener, *self._connections]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        Path(self.address.removeprefix("unix://")).unlink(missing_ok=True)


def test_engine_that_dies_in_the_middle_leaves_the_run_undecided(
    node: Node, tmp_path: Path, image: tuple[bytes, Digest], engine: Engine
) -> None:
    submission = write_submission(tmp_path / "slow", image, delay=3)
    quick = write_submission(tmp_path / "quick", image)
    dying = DyingEngine(tmp_path / "e.sock", engine.host)
    done = node.onboard(submission, DOCKER_HOST=dying.address)
    assert dying.died
    assert done.code == 3, done.err
    report = done.report()
    assert report["verdict"]["outcome"] == "review"
    assert {report["checks"][name]["status"] for name in RUN_CHECKS} == {"inconclusive"}
    assert node.entries() == 1
    again = node.precheck(quick)  # the next run sweeps up what could not be removed through a dead engine
    assert again.code == 0, again.err
    assert node.settles(engine) == []


# --- the disk --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(node: Node, server: Path) -> Iterator[Node]:
    """The node's home on a disk of 64 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    try:
        mount_tmpfs(node.home, size=64 << 20, files=5_000, uid=0)
    except OSError as error:
        pytest.skip(f"this machine lets nobody mount: {error}")
    (node.home / "server").symlink_to(server)
    yield node
    unmount(node.home)


def test_full_disk_decides_nothing_and_breaks_no_record(
    small_disk: Node, gate: Node, submission: Path, tmp_path: Path, image: tuple[bytes, Digest]
) -> None:
    assert gate.onboard(submission).code == 1
    for number, (node, left) in enumerate(((gate, 0), (gate, 24 << 10), (small_disk, 96 << 10))):
        fill(node.home, left)
        other = write_submission(tmp_path / f"other{number}", image, delay=0.1 + number)
        done = node.onboard(other)
        assert done.code == 3, done.out + done.err
        assert "Traceback" not in done.err
        assert node.entries() == 1
        (node.home / "ballast").unlink()
    assert gate.onboard(submission).code == 1
    assert gate.entries() == 2


def fill(home: Path, left: int) -> None:
    """Fill the disk of `home` until `left` bytes are free."""
    with (home / "ballast").open("wb") as stream:
        for _ in range((shutil.disk_usage(home).free - left) >> 12):
            stream.write(b"x" * 4096)


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


def interrupt_after(process: subprocess.Popen[str], line: str) -> None:
    """Press Ctrl-C as soon as the command says `line`."""
    assert process.stderr is not None
    for said in process.stderr:
        if line in said:
            break
    process.send_signal(signal.SIGINT)


def assert_clean(node: Node, process: subprocess.Popen[str], engine: Engine, entries: int = 0) -> None:
    done = finished(process)
    assert done.code == 130, f"{done.code}\n{done.err}"
    assert done.out == ""
    assert "Traceback" not in done.err
    assert node.settles(engine) == []
    assert node.entries() == entries


@pytest.mark.parametrize("line", ["reading ", "manifest", "vulnerabilities"], ids=["intake", "static", "later"])
@pytest.mark.parametrize("command", ["precheck", "onboard"])
def test_ctrl_c_before_the_tool_runs(
    command: str, line: str, node: Node, tmp_path: Path, image: tuple[bytes, Digest], engine: Engine
) -> None:
    submission = write_submission(tmp_path / "slow", image, delay=20)
    with node.start(command, submission, policy=True) as process:
        interrupt_after(process, line)
        assert_clean(node, process, engine)


@pytest.mark.parametrize(
    ("command", "number"),
    [("precheck", signal.SIGINT), ("onboard", signal.SIGINT), ("onboard", signal.SIGTERM)],
    ids=["precheck", "onboard", "onboard-terminated"],
)
def test_ctrl_c_while_the_tool_runs(
    command: str, number: signal.Signals, node: Node, tmp_path: Path, image: tuple[bytes, Digest], engine: Engine
) -> None:
    submission = write_submission(tmp_path / "slow", image, delay=20)
    with node.start(command, submission, policy=True) as process:
        wait_until(
            lambda: process.poll() is not None or any(o["State"] == "running" for o in engine.labelled(node.label))
        )
        assert process.poll() is None, finished(process)
        process.send_signal(number)
        assert_clean(node, process, engine)


INTERRUPTED_WRITER = """
import os, signal, sys
import records.durable
real, stop, calls = os.fsync, int(sys.argv.pop(1)), 0

def fsync(descriptor):
    global calls
    path = os.readlink(f"/proc/self/fd/{descriptor}")
    if "/ledger" in path:
        calls += 1
        if calls == stop:
            os.kill(os.getpid(), signal.SIGINT)
    real(descriptor)

os.fsync = fsync
from console.terminal.app import main
main()
"""


def interrupted_writer(gate: Node, submission: Path, directory: Path, stop: int) -> None:
    """Onboard, and press Ctrl-C at write number `stop` of the ledger."""
    program = directory / "writer.py"
    program.write_text(INTERRUPTED_WRITER)
    with gate.start("onboard", submission, policy=True, program=(sys.executable, program, str(stop))) as process:
        done = finished(process)
    assert done.code == 130, done.err


def test_ctrl_c_while_the_record_is_written(gate: Node, submission: Path, engine: Engine, tmp_path: Path) -> None:
    """At several of the ledger's writes to disk: the entry is there whole, or not at all."""
    assert gate.onboard(submission).code == 1
    sizes = [1]
    for stop in (1, 3, 6):
        interrupted_writer(gate, submission, tmp_path, stop)
        assert gate.settles(engine) == []
        sizes.append(gate.entries())
        assert sizes[-1] - sizes[-2] in (0, 1)
    assert sizes[-1] < 4, "some were stopped before their entry"
    assert gate.onboard(submission).code == 1
    assert gate.entries() == sizes[-1] + 1


def test_ctrl_c_while_the_first_ledger_is_made_can_be_repeated(gate: Node, submission: Path, tmp_path: Path) -> None:
    interrupted_writer(gate, submission, tmp_path, 1)
    assert gate.onboard(submission).code == 1
    assert gate.entries() == 1


# --- threads ---------------------------------------------------------------------------------------------------------


IMPORTS_WATCHED = """
import sys, threading
from pathlib import Path
kept = Path(sys.argv.pop(1))
OURS = {"checks", "console", "flows", "policies", "pratique", "records", "sandbox"}

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in OURS:
            with kept.open("a") as stream:
                print(name, threading.current_thread() is threading.main_thread(), file=stream)

sys.meta_path.insert(0, Watch())
from console.terminal.app import main
main()
"""


def test_nothing_is_imported_by_two_threads_at_once(gate: Node, submission: Path, tmp_path: Path) -> None:
    """Python tells a deadlock where two threads import modules of one package, and a check would be undecided."""
    program, kept = tmp_path / "watched.py", tmp_path / "imported"
    program.write_text(IMPORTS_WATCHED)
    command = (sys.executable, program, kept)
    with gate.start("onboard", submission, policy=True, program=command) as process:
        done = finished(process)
    assert done.code == 1, done.err
    imported = [line.split() for line in kept.read_text().splitlines()]
    assert "checks.vulnerabilities" in {name for name, _ in imported}
    assert [name for name, in_main in imported if in_main != "True"] == []


# --- at once ---------------------------------------------------------------------------------------------------------


def test_two_onboardings_of_one_submission_at_once(node: Node, submission: Path, engine: Engine) -> None:
    processes = [node.start("onboard", submission, "--format", "json", policy=True) for _ in range(2)]
    done = [finished(process) for process in processes]
    assert [one.code for one in done] == [0, 0], "".join(one.err for one in done)
    reports = [one.report() for one in done]
    assert reports[0]["run_id"] != reports[1]["run_id"]
    assert {report["ledger"]["index"] for report in reports} == {0, 1}
    assert node.entries() == 2
    assert node.leftovers(engine) == []
