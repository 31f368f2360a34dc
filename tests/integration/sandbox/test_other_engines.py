"""Engines as other nodes have them: users remapped, control groups of version 2, restarted in the middle of a run.

Each is a second `dockerd` in namespaces of its own (network, mounts, and for version 2 control groups), with its own
data and sockets, and whoever asks it is in there too: nothing of this machine's own engine, network or /etc is touched.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.mounts import mounted_below, unmount
from sandbox.spec import MIB

pytestmark = [pytest.mark.docker, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[3]
SECONDS = 90

INSIDE = """
import json, os, signal, subprocess, sys, time
from pathlib import Path

place, config, setup, asked = sys.argv[1:]
for command in json.loads(setup):
    subprocess.run(command, check=True)
(Path(place) / "daemon.json").write_text(config)
def start():
    return subprocess.Popen(
        ["dockerd", f"--data-root={place}/data", f"--exec-root={place}/exec", f"--host=unix://{place}/docker.sock",
         f"--pidfile={place}/pid", f"--config-file={place}/daemon.json"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(f"{place}/log", "a"),
    )
daemon = start()
os.environ["DOCKER_HOST"] = f"unix://{place}/docker.sock"
from pratique.errors import EngineUnavailable
from sandbox.engine import connect
from sandbox.mounts import mounted_below, unmount
def answering():
    end = time.monotonic() + 40
    while True:
        try:
            return connect()
        except EngineUnavailable:
            if time.monotonic() > end or daemon.poll() is not None:
                raise
            time.sleep(0.1)
def disturb(number, running):
    global daemon
    while "running" not in [one["State"] for one in engine.labelled("org.pratique.role=tool")]:
        if running.poll() is not None:
            raise SystemExit(running.communicate()[0])
        time.sleep(0.05)
    daemon.send_signal(number)
    daemon.wait(30)
    for stale in ("exec/containerd/containerd.pid", "pid"):  # a killed one leaves them, and waits for whom they name
        (Path(place) / stale).unlink(missing_ok=True)
    daemon = start()
try:
    engine = answering()
    print(json.dumps({"cgroups": engine.facts.cgroup_version, "remaps": engine.facts.remaps_users}))
    for arguments in json.loads(asked):
        command = [str(Path(sys.executable).with_name("pratique")), *arguments]
        number = command.pop() if isinstance(command[-1], int) else 0
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if number:
            disturb(number, running)
        out, err = running.communicate()
        left = len(answering().labelled("org.pratique.run"))
        print(json.dumps({"code": running.returncode, "out": out, "err": err, "left": left}), flush=True)
finally:
    daemon.terminate()
    daemon.wait(30)
    for point in mounted_below(Path(place)):
        unmount(point)
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A short path for the engine's sockets; skips where such an engine cannot be started."""
    missing = [name for name in ("dockerd", "unshare", "ip", "mount") if shutil.which(name) is None]
    if missing or os.geteuid() != 0 or not os.environ.get("DOCKER_HOST", "unix://").startswith("unix://"):
        pytest.skip(f"needs root and {', '.join(missing) or 'an engine of this machine'}")
    made = Path(tempfile.mkdtemp(prefix="pratique-engine-"))
    yield made
    for point in mounted_below(made):
        unmount(point)
    shutil.rmtree(made, ignore_errors=True)


def ask(
    place: Path, config: dict[str, Any], setup: list[list[str]], *commands: list[Any], cgroups: bool = False
) -> Any:
    """Start the engine in namespaces of its own, call Pratique's command there; what the engine is, and each answer.

    A signal at the end of a command ends the engine while its tool runs; then it is started again.
    """
    # a process namespace too, which ends with its first process: nothing in there outlives a test that is broken off
    namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation=private"]
    unshare = ["unshare", *namespaces, *(["--cgroup"] if cgroups else []), "--"]
    arguments = [str(place), json.dumps(config), json.dumps([["ip", "link", "set", "lo", "up"], *setup])]
    done = subprocess.run(
        [*unshare, sys.executable, "-c", INSIDE, *arguments, json.dumps(commands)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    if not lines:
        log = (place / "log").read_text()[-400:] if (place / "log").exists() else ""
        pytest.skip(f"no such engine starts here: {done.stderr[-400:]} {log}")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in lines]


def sandboxed(place: Path, source: str, spec: dict[str, Any] | None = None, *options: str) -> list[str]:
    """The command that runs this Python in the sandbox."""
    path = place / f"spec-{abs(hash(source))}.json"
    path.write_text(json.dumps({"limits": {"memory": 128 * MIB}, **(spec or {})}))
    given = ["--home", str(place / "home"), "--spec", str(path), "--json", *options]
    return ["sandbox", "run", *given, "--", "-S", "-c", source]


WHO = """
import os
print(os.getuid(), open("/proc/self/uid_map").read().split(), open("/input/table.csv").read())
open("/output/result.csv", "w").write("1")
os.symlink("/etc/passwd", "/output/link")
try:
    open("/input/table.csv", "w")
except OSError as error:
    print(error.errno)
"""
DROP = "import os; os.setgid(1234); os.setuid(1234); open('/output/mine', 'w').write('1'); print(os.getuid())"


def test_where_users_are_remapped_everything_holds_and_root_is_nobody(place: Path) -> None:
    """Inputs are read, outputs taken over, peaks exact; root of the gosu profile is a user without name outside."""
    for name in ("passwd", "group"):
        shutil.copy(f"/etc/{name}", place / name)
    with (place / "passwd").open("a") as users, (place / "group").open("a") as groups:
        users.write("pratiqueremap:x:990:990::/nonexistent:/usr/sbin/nologin\n")
        groups.write("pratiqueremap:x:990:\n")
    for name in ("subuid", "subgid"):
        (place / name).write_text("pratiqueremap:700000:65536\n")
    setup = [["mount", "--bind", str(place / name), f"/etc/{name}"] for name in ("passwd", "group", "subuid", "subgid")]
    place.chmod(0o711)
    (place / "in").mkdir()
    (place / "in" / "table.csv").write_text("a,b")
    options = ("--input", str(place / "in"), "--output", str(place / "out"))
    engine, plain, gosu, doctor = ask(
        place, {"userns-remap": "pratiqueremap"}, setup,
        sandboxed(place, WHO, None, *options),
        sandboxed(place, DROP, {"profile": "gosu"}, "--output", str(place / "gosu")),
        ["doctor", "--home", str(place / "home"), "--format", "json"],
    )  # fmt: skip
    assert engine["remaps"]
    run = json.loads(plain["out"])
    assert run["log_head"].splitlines()[0] == f"{run['uid']} ['0', '700000', '65536'] a,b"
    assert run["log_head"].splitlines()[1] == "30"
    assert 2_000 <= run["uid"] < 65_536
    assert [file["path"] for file in run["outputs"]] == ["result.csv"]
    assert run["refused"] == [{"path": "link", "reason": "symlink"}]
    assert run["tier"] >= 1
    assert run["peak_memory"] > MIB
    dropped = json.loads(gosu["out"])
    assert (dropped["exit_code"], dropped["log_head"]) == (0, "1234\n")
    assert (place / "gosu" / "mine").read_text() == "1"
    subjects = [point["subject"] for point in json.loads(doctor["out"])]
    assert not any("no-user-namespace" in subject for subject in subjects)


def test_where_control_groups_of_version_2_limit_nothing_nothing_is_run(place: Path) -> None:
    """On a machine whose controllers are bound to version 1, an engine that sees version 2 alone cannot limit."""
    controllers = Path("/sys/fs/cgroup/unified/cgroup.controllers")
    if not controllers.exists() or "memory" in controllers.read_text():
        pytest.skip("the controllers of this machine are those of version 2, or there is no hybrid hierarchy")
    setup = [["mount", "-t", "cgroup2", "none", "/sys/fs/cgroup"]]
    engine, answer = ask(place, {}, setup, sandboxed(place, "print('ran')"), cgroups=True)
    assert engine["cgroups"] == "2"
    run = json.loads(answer["out"])
    assert (answer["code"], run["ended_by"], run["log_bytes"]) == (3, "not-started", 0)
    assert "cannot enforce the limits" in run["detail"]
    assert "memory" in run["detail"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_an_engine_that_is_really_restarted_in_the_middle(place: Path, number: signal.Signals) -> None:
    """The record says that the engine was lost; nothing is left, and the next run is fine."""
    source = "import time; open('/output/half', 'w').write('x'); time.sleep(30)"
    _, disturbed, after = ask(
        place, {}, [], [*sandboxed(place, source), int(number)], sandboxed(place, "print('next')")
    )
    run = json.loads(disturbed["out"])
    assert (run["ended_by"], disturbed["code"]) == ("engine-lost", 3), run["detail"]
    assert run["outputs"] == []
    assert json.loads(after["out"])["log_head"] == "next\n"
    assert after["left"] == 0
    assert mounted_below(place / "home") == ()
