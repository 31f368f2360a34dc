"""gVisor (`runsc`, Debian's package) as runtime, in an engine of the test's own.

That engine has its own data, sockets and containerd, and a network namespace of its own: the bridge and the packet
filter that it sets up are in there, so those of an engine that runs on this machine already are never touched.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from console.terminal.app import app
from flows.decide import admit
from flows.health import examine_node
from policies.model import Outcome
from pratique.errors import EngineUnavailable
from sandbox.engine import Engine, connect
from sandbox.launcher import Launcher
from sandbox.mounts import mounted_below, unmount
from sandbox.record import EndedBy, Observed
from sandbox.spec import MIB
from tests.assets.submissions import EXPECTED, runnable_archive, write_submission
from tests.integration.conftest import load
from tests.integration.flows.gate import ANNA, node_of, onboarded, run_command
from tests.integration.sandbox.conftest import assert_nothing_left

if TYPE_CHECKING:
    from tests.integration.sandbox.conftest import Sandboxed

pytestmark = [pytest.mark.docker, pytest.mark.slow]
START_SECONDS = 40
RUNSC = {"runtime": "runsc"}


@pytest.fixture(scope="module")
def gvisor() -> Iterator[Engine]:
    """An engine with runsc; ended by its own pid."""
    missing = [name for name in ("runsc", "dockerd", "unshare") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and {', '.join(missing) or 'nothing else'} (Debian: runsc, docker.io, util-linux)")
    place = Path(tempfile.mkdtemp(prefix="pratique-gvisor-"))
    socket = place / "docker.sock"
    # newer kernels look to this old gVisor as if every network namespace were the machine's own, so it makes none
    runtime = {"path": shutil.which("runsc"), "runtimeArgs": ["--network=none"]}
    (place / "daemon.json").write_text(json.dumps({"runtimes": {"runsc": runtime}}))
    with (place / "log").open("wb") as log:
        # unshare(1) becomes the daemon: the pid that is ended is the one that was started
        daemon = subprocess.Popen(
            [
                *("unshare", "--net", "--", "dockerd", f"--data-root={place}/data", f"--exec-root={place}/exec"),
                *(f"--host=unix://{socket}", f"--pidfile={place}/pid", "--log-level=warn"),
                f"--config-file={place}/daemon.json",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield _answering(f"unix://{socket}", daemon, place / "log")
    finally:
        daemon.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            daemon.wait(30)
        if daemon.poll() is None:
            daemon.kill()
            daemon.wait(10)
        _end_orphans(place)
        for point in mounted_below(place):
            unmount(point)
        shutil.rmtree(place, ignore_errors=True)


def _end_orphans(place: Path) -> None:
    """A start that fails in runsc leaves its shim behind; what names this engine's own directory was started by it."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and f"{place}/".encode() in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)


def _answering(host: str, daemon: subprocess.Popen[bytes], log: Path) -> Engine:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and daemon.poll() is None:
        with suppress(EngineUnavailable):
            return connect(host)
        time.sleep(0.2)
    pytest.skip(f"no second engine starts here: {log.read_text(errors='replace')[-600:]}")


@pytest.fixture(scope="module")
def gvisor_launcher(gvisor: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """A launcher for it, after which nothing may be left."""
    made = Launcher(gvisor, tmp_path_factory.mktemp("gvisor-state"))
    yield made
    made.close()
    assert_nothing_left(gvisor, made.state_dir)


@pytest.fixture(scope="module")
def gvisor_image(gvisor: Engine) -> str:
    """The tool image there."""
    return load(gvisor, {})


def test_a_tool_runs_in_gvisor(sandboxed: Sandboxed, gvisor_launcher: Launcher, gvisor_image: str) -> None:
    """Its kernel is gVisor's, its user and its limits are ours, its outputs are taken over, the runtime is recorded."""
    outcome = sandboxed(
        """
        import os
        print(open("/proc/version").read().split()[2], os.getuid() >= 1_000_000_000)
        open("/output/result.csv", "w").write("id,volume")
        for path in ("/usr/x", "/input/x"):
            try:
                open(path, "w")
            except OSError:
                print("no")
        """,
        by=gvisor_launcher,
        image=gvisor_image,
        spec=RUNSC,
        memory=256 * MIB,
    )
    run = outcome.run
    assert (run.ended_by, run.exit_code) == (EndedBy.EXIT, 0), run.detail + outcome.log
    assert outcome.lines == ["4.4.0 True", "no", "no"]
    assert [file.path for file in run.outputs] == ["result.csv"]
    assert run.host.runtime == "runsc"


def test_a_tool_in_gvisor_meets_its_deadline(
    sandboxed: Sandboxed, gvisor_launcher: Launcher, gvisor_image: str
) -> None:
    """The whole sandbox is ended."""
    outcome = sandboxed(
        "while True: pass",
        by=gvisor_launcher,
        image=gvisor_image,
        spec=RUNSC,
        memory=256 * MIB,
        wall_seconds=4.0,
    )
    assert outcome.run.ended_by is EndedBy.DEADLINE
    assert outcome.run.total_seconds < 20


def test_gvisor_has_no_network_either(sandboxed: Sandboxed, gvisor_launcher: Launcher, gvisor_image: str) -> None:
    """No interface but loopback, and no socket of another family."""
    outcome = sandboxed(
        """
        import socket
        print([line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line])
        for family in (17, 38, 40):
            try:
                socket.socket(family, 3)
                print("made", family)
            except OSError:
                pass
        """,
        by=gvisor_launcher,
        image=gvisor_image,
        spec=RUNSC,
        memory=256 * MIB,
    )
    assert outcome.lines == ["['lo']"], outcome.log


def test_what_gvisor_hides_is_not_taken_for_nothing(
    sandboxed: Sandboxed, gvisor_launcher: Launcher, gvisor_image: str
) -> None:
    """Its network and its calls stay inside it: the record says that nothing could be observed."""
    run = sandboxed(
        "print('ran')",
        by=gvisor_launcher,
        image=gvisor_image,
        spec=RUNSC | {"network": "sinkhole"},
        memory=256 * MIB,
    ).run
    assert run.exit_code == 0
    assert (run.observed, run.traced, run.notified) == (Observed.IMPOSSIBLE,) * 3
    assert "runsc" in run.observed_detail
    assert "runsc" in run.notified_detail


def test_a_policy_that_demands_gvisor_gets_it_from_the_gate_to_the_run(
    gvisor: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inspected, admitted and run under runsc, which the record names; the doctor sees that it is there."""
    monkeypatch.setenv("DOCKER_HOST", gvisor.host)
    submission = write_submission(tmp_path / "submission", runnable_archive(tmp_path))
    node = node_of(tmp_path, sandbox={"runtime": "runsc"})
    points = {point.subject: point for point in examine_node(node.settings)}
    assert points["sandbox profile default"].good
    assert "engine weakness shared-kernel (low)" not in points
    report = onboarded(node, submission)
    assert report.verdict.outcome is Outcome.ADMIT, report.checks["conformance"]
    admit(node, report.run_id, ANNA)
    called = CliRunner().invoke(app, run_command(node, submission / "in/patients.csv", tmp_path / "out"))
    assert called.exit_code == 0, called.output
    assert (tmp_path / "out" / "scores.csv").read_text() == EXPECTED
    (papers,) = node.settings.runs.glob("*/sandbox-run.json")
    run = json.loads(papers.read_text())["run"]
    assert (run["spec"]["runtime"], run["host"]["runtime"]) == ("runsc", "runsc")
