"""What happens when things end badly: Ctrl-C, a killed launcher, a lost engine, bad input. Nothing stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pratique.errors import EngineUnavailable
from sandbox.container import LABEL_STATE
from sandbox.engine import Engine, connect
from sandbox.launcher import Launcher
from sandbox.meter import CGROUP_ROOT
from sandbox.reaper import reap
from sandbox.record import EndedBy
from sandbox.spec import GIB, Mount, SandboxRequest, SandboxSpec
from tests.integration.engine_proxy import Proxy
from tests.integration.sandbox.conftest import assert_nothing_left

if TYPE_CHECKING:
    from tests.integration.sandbox.conftest import Sandboxed

pytestmark = pytest.mark.docker

CHILD = """
import sys
from pathlib import Path
from sandbox.engine import connect
from sandbox.launcher import Launcher
from sandbox.meter import CGROUP_ROOT
from sandbox.spec import Limits, SandboxRequest, SandboxSpec
host, state, image, place = sys.argv[1:]
launcher = Launcher(connect(host), Path(state))
request = SandboxRequest(image_id=image, argv=("/usr/bin/python3", "-S", "-c", "import time; time.sleep(60)"))
spec = SandboxSpec(limits=Limits(memory=64 << 20, wall_seconds=60))
try:
    place = Path(place)
    launcher.run(request, spec, output=place / "out", log=place / "log", on_progress=lambda s: print(s, flush=True))
except KeyboardInterrupt:
    print("interrupted", flush=True)
    raise SystemExit(130)
"""


@pytest.fixture
def child(engine: Engine, tool_image: str, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process with a launcher whose tool sleeps; it is running when the test begins."""
    (tmp_path / "state").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, engine.host, str(tmp_path / "state"), tool_image, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "running":
            break
    yield process
    with suppress(ProcessLookupError):
        process.kill()
    process.wait()
    process.stdout.close()


def watchdog_of(pid: int) -> int:
    """The process that watches over the launcher `pid`."""
    listing = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return next(int(one) for one in listing if b"sandbox.watchdog" in Path(f"/proc/{one}/cmdline").read_bytes())


def wait_until_gone(engine: Engine, state: Path, seconds: float) -> None:
    end = time.monotonic() + seconds
    while engine.labelled(f"{LABEL_STATE}={state}") or any((state / "runs").iterdir()):
        assert time.monotonic() < end, "something of the run is still there"
        time.sleep(0.05)


@pytest.mark.parametrize("delay", [0.0, 0.35])
def test_ctrl_c_leaves_nothing_and_goes_on(
    child: subprocess.Popen[str], engine: Engine, tmp_path: Path, delay: float
) -> None:
    """Container, mount, directory and control group are gone when KeyboardInterrupt reaches the caller."""
    time.sleep(delay)
    child.send_signal(signal.SIGINT)
    assert child.wait(20) == 130
    assert_nothing_left(engine, tmp_path / "state")


def test_a_killed_launcher_is_cleaned_up_after_by_the_watchdog(
    child: subprocess.Popen[str], engine: Engine, tmp_path: Path
) -> None:
    """kill -9 in the middle: a process outside removes the run at once."""
    child.kill()
    child.wait()
    wait_until_gone(engine, tmp_path / "state", 15)
    assert_nothing_left(engine, tmp_path / "state")


def test_with_the_watchdog_killed_too_the_next_launcher_reaps(
    child: subprocess.Popen[str], engine: Engine, tmp_path: Path
) -> None:
    """A living run is left alone; once its launcher is dead, `reap` finds container, mount and directory."""
    state = tmp_path / "state"
    assert reap(engine, state) == ()
    os.kill(watchdog_of(child.pid), signal.SIGKILL)
    child.kill()
    child.wait()
    removed = reap(engine, state)
    assert [line.split()[0] for line in removed] == ["container", "directory"]
    assert_nothing_left(engine, state)
    assert reap(engine, state) == ()


def test_an_engine_that_goes_away_in_the_middle_is_recorded(
    engine: Engine, sandboxed: Sandboxed, tmp_path: Path
) -> None:
    """The record says so, no file is taken over, and the next run removes what could not be removed."""
    if not engine.host.startswith("unix://"):
        pytest.skip("the engine has no Unix socket to stand in front of")
    proxy = Proxy(tmp_path / "proxy.sock", engine.host.removeprefix("unix://"))
    launcher = Launcher(connect(proxy.host), tmp_path / "state")
    threading.Timer(1.2, proxy.cut).start()
    outcome = sandboxed("import time; time.sleep(30)", by=launcher)
    assert outcome.run.ended_by is EndedBy.ENGINE_LOST
    assert outcome.run.outputs == ()
    assert not outcome.run.ended_well()
    with pytest.raises(EngineUnavailable):
        Launcher(launcher.engine, tmp_path / "state").run(
            SandboxRequest(image_id=outcome.run.image_id, argv=("true",)),
            SandboxSpec(),
            output=tmp_path / "o",
            log=tmp_path / "l",
        )
    assert reap(engine, tmp_path / "state") != ()
    assert_nothing_left(engine, tmp_path / "state")
    assert list(CGROUP_ROOT.glob(f"*/pratique/{outcome.run.run_id}")) == []


def test_where_nothing_listens_the_error_says_what_to_do(tmp_path: Path) -> None:
    """No engine at all is an exception, with a next step."""
    with pytest.raises(EngineUnavailable) as caught:
        connect(f"unix://{tmp_path}/none.sock")
    assert "docker.io" in caught.value.next_step


class WithoutRoot(Engine):
    """An engine beside which we may not mount."""

    root_here = False


def test_without_root_the_engine_keeps_the_output_under_the_same_caps(
    engine: Engine, sandboxed: Sandboxed, tmp_path: Path
) -> None:
    """A tmpfs volume held by a helper: bytes and inodes capped, links refused, tier 0, figures sampled."""
    launcher = Launcher(WithoutRoot(connect(engine.host)._client, engine.host), tmp_path / "state")
    outcome = sandboxed(
        """
        import os, time
        os.makedirs("/output/sub")
        open("/output/sub/a.csv", "w").write("x" * 1000)
        os.symlink("/etc/passwd", "/output/link")
        open("/output/one", "w").close(); os.link("/output/one", "/output/two")
        size = 0
        try:
            with open("/output/big", "wb", buffering=0) as out:
                while size < 64 << 20:
                    size += out.write(bytes(1 << 20))
        except OSError:
            os.unlink("/output/big")
        time.sleep(0.2)
        print(size <= 8 << 20)
        """,
        by=launcher,
    )
    run = outcome.run
    assert outcome.log == "True\n"
    assert (run.tier, run.exit_code) == (0, 0)
    assert run.peak_memory is not None
    assert (outcome.output / "sub/a.csv").read_bytes() == b"x" * 1000
    assert {entry.path: entry.reason for entry in run.refused}.keys() >= {"link"}
    assert len(run.samples) > 3
    assert_nothing_left(engine, launcher.state_dir)


BAD_INPUTS = {
    "a symbolic link": "link",
    "a pipe": "pipe",
    "nothing there": "missing",
    "too many files": "many",
    "too many bytes": "large",
}


@pytest.mark.parametrize("what", list(BAD_INPUTS), ids=str)
def test_an_input_that_cannot_be_copied_is_a_record_not_a_crash(
    sandboxed: Sandboxed, tmp_path: Path, what: str
) -> None:
    """Nothing is run, and the record says which file."""
    source = tmp_path / "input"
    if what != "nothing there":
        source.mkdir()
    if what == "a symbolic link":
        (source / "link").symlink_to("/etc/passwd")
    elif what == "a pipe":
        os.mkfifo(source / "pipe")
    elif what == "too many files":
        for number in range(40):
            (source / str(number)).touch()
    elif what == "too many bytes":
        (source / "large").write_bytes(bytes(100_000))
    outcome = sandboxed(
        "print('ran')", inputs=[Mount(source=source, target="/input/table")], input_files=30, input_bytes=50_000
    )
    assert outcome.run.ended_by is EndedBy.NOT_STARTED
    assert outcome.log == ""
    assert str(source) in outcome.run.detail


def test_inputs_keep_their_names_and_are_read_only(sandboxed: Sandboxed, tmp_path: Path) -> None:
    """Also names that are no ASCII; the source may be readable for its owner alone."""
    source = tmp_path / "série"
    (source / "été").mkdir(parents=True)
    (source / "été" / "größe.csv").write_text("1")
    (source / "été" / "größe.csv").chmod(0o600)
    outcome = sandboxed(
        """
        import os
        print(open("/input/table/été/größe.csv").read())
        for path in ("/input/table/x", "/input/table/été/größe.csv"):
            try:
                open(path, "w")
            except OSError as error:
                print(error.errno)
        """,
        inputs=[Mount(source=source, target="/input/table")],
        request={"environment": {"PYTHONUTF8": "1"}},
    )
    assert outcome.lines == ["1", "30", "30"]
    assert (outcome.run.inputs[0].files, outcome.run.inputs[0].size) == (1, 1)


CANNOT_START: dict[str, tuple[dict[str, Any], str]] = {
    "an image that is gone": ({"request": {"image_id": "sha256:" + "0" * 64}}, "No such image"),
    "a runtime that is not there": ({"spec": {"runtime": "runsc-nowhere"}}, "runsc-nowhere"),
    "a machine too small": ({"memory": 900 * GIB}, "smaller than"),
    "a graphics card where there is none": ({"spec": {"profile": "gpu"}}, "GPU"),
    "another seccomp profile": ({"spec": {"seccomp_digest": "sha256:" + "1" * 64}}, "seccomp"),
}


@pytest.mark.parametrize("what", list(CANNOT_START), ids=str)
def test_what_cannot_be_started_as_asked_is_not_started(sandboxed: Sandboxed, what: str) -> None:
    """Never with less than was asked for."""
    arguments, words = CANNOT_START[what]
    outcome = sandboxed("print('ran')", **arguments)
    assert outcome.run.ended_by is EndedBy.NOT_STARTED
    assert words in outcome.run.detail
    assert outcome.log == ""


def test_a_program_that_is_not_in_the_image_ends_with_127(sandboxed: Sandboxed) -> None:
    """The init process says so in the log."""
    outcome = sandboxed("", request={"entrypoint": ("/no/such/program",)})
    assert (outcome.run.ended_by, outcome.run.exit_code) == (EndedBy.EXIT, 127)


def test_two_runs_at_once_get_cpus_of_their_own(sandboxed: Sandboxed, launcher: Launcher) -> None:
    """One waits when there are not enough; none shares."""
    outcomes: list[tuple[float, float, str]] = []

    def one() -> None:
        begun = time.monotonic()
        run = sandboxed("import time; time.sleep(0.5)", cpus=float(launcher.engine.facts.cpus)).run
        outcomes.append((begun + run.queue_seconds, time.monotonic(), run.cpuset))

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (_, first_end, _), (second_start, _, _) = sorted(outcomes)
    assert second_start >= first_end - 0.3
