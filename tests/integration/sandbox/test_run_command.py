"""`pratique sandbox run`: one JSON record whatever happens, and an exit code that follows from it."""

from __future__ import annotations

import io
import json
import os
import platform
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from console.terminal.app import app
from pratique.digests import sha256_bytes
from sandbox.container import LABEL_STATE
from sandbox.engine import Engine, connect
from sandbox.launcher import Launcher
from sandbox.observe.helper_image import build_archive, python_closure
from sandbox.record import EndedBy, SandboxRun
from tests.assets.images import LAYER, MadeImage
from tests.integration.engine_proxy import Proxy
from tests.integration.sandbox.conftest import assert_nothing_left

pytestmark = pytest.mark.docker

CODE = ("--entrypoint", "/usr/bin/python3", "--", "-S", "-c")
SMALL = {"memory": 128 << 20, "wall_seconds": 20, "output_bytes": 1 << 20, "output_files": 10, "log_bytes": 65_536}


@dataclass(frozen=True)
class Answer:
    """What the command said."""

    code: int
    record: dict[str, Any]
    complaint: str

    @property
    def run(self) -> SandboxRun:
        return SandboxRun.model_validate(self.record)


Command = Callable[..., Answer]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def command(engine: Engine, home: Path, tool_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the command with a small spec; the first argument is Python for the tool, the others are options."""
    monkeypatch.setenv("DOCKER_HOST", engine.host)

    def call(
        source: str | None, *options: str, limits: dict[str, Any] | None = None, image: str = tool_image
    ) -> Answer:
        spec = tmp_path / "spec.json"
        spec.write_text(json.dumps({"limits": {**SMALL, **(limits or {})}}))
        arguments = ["sandbox", "run", "--json", "--home", str(home), "--spec", str(spec), "--image", image, *options]
        result = CliRunner().invoke(app, [*arguments, *(() if source is None else (*CODE, source))])
        lines = result.stdout.splitlines()
        assert len(lines) == 1, result.output
        return Answer(result.exit_code, json.loads(lines[0]), result.stderr)

    return call


def test_one_record_with_everything(command: Command, engine: Engine, home: Path, tmp_path: Path) -> None:
    """Exit code, flags, figures, log head, outputs; the files are where they were asked for, and nothing stays."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "table.csv").write_text("1,2")
    out, log = tmp_path / "out", tmp_path / "log"
    answer = command(
        "print(open('/input/table.csv').read()); open('/output/sum', 'w').write('3')",
        *("--input", str(tmp_path / "in"), "--output", str(out), "--log", str(log)),
    )
    run = answer.run
    assert (answer.code, run.ended_by, run.exit_code, run.log_head) == (0, EndedBy.EXIT, 0, "1,2\n")
    assert (run.inputs[0].target, run.inputs[0].files) == ("/input", 1)
    assert [file.path for file in run.outputs] == ["sum"]
    assert (out / "sum").read_text() == "3"
    assert sha256_bytes(log.read_bytes()) == run.log_digest
    assert_nothing_left(engine, home / "sandbox")


BEHAVIOUR: dict[str, tuple[str, EndedBy, int]] = {
    "a tool that fails": ("raise SystemExit(7)", EndedBy.EXIT, 1),
    "a tool that runs for ever": ("while True: pass", EndedBy.DEADLINE, 1),
    "a tool that needs too much memory": ("x = bytearray(500 << 20)", EndedBy.OUT_OF_MEMORY, 1),
    "an output larger than the cap": (
        "import os; d = os.open('/output/x', 65); [os.write(d, bytes(1 << 20)) for _ in range(9)]",
        EndedBy.OUTPUT_CAP,
        1,
    ),
    "a log that floods": ("print('x' * (1 << 20))", EndedBy.LOG_CAP, 1),
    "a link among the outputs": ("import os; os.symlink('/etc/shadow', '/output/x')", EndedBy.EXIT, 1),
    "a log that is no UTF-8": ("import os; os.write(1, bytes(range(128, 256)))", EndedBy.EXIT, 0),
    "a tool that never reads its input": ("print('done')", EndedBy.EXIT, 0),
    "a tool that waits for stdin": ("import sys; sys.stdin.read(); print('end of file')", EndedBy.EXIT, 0),
    "a tool that forks and exits": (
        "import os, time\nif os.fork() == 0:\n    os.setsid(); time.sleep(60)\nprint('left')",
        EndedBy.EXIT,
        0,
    ),
}


@pytest.mark.parametrize("what", list(BEHAVIOUR), ids=str)
def test_whatever_the_tool_does_the_record_says_so(command: Command, what: str) -> None:
    """And the exit code: 0 for a good end, 1 for every other."""
    source, ended_by, code = BEHAVIOUR[what]
    answer = command(source, limits={"wall_seconds": 3})
    assert (answer.run.ended_by, answer.code) == (ended_by, code), answer.run.detail
    assert answer.run.total_seconds < 10


def test_bytes_of_a_log_that_is_no_text_are_escaped(command: Command) -> None:
    """The head is text that a terminal can take; the log file keeps the bytes."""
    run = command("import os; os.write(1, b'\\xff\\x1b[31m\\n')").run
    assert run.log_head == "\\xff\\x1b[31m\n"
    assert run.log_bytes == 7


BAD_SPECS = {
    "a limit out of range": ('{"limits": {"pids": 1}}', "limits.pids"),
    "no number at all": ('{"limits": {"memory": "a lot"}}', "limits.memory"),
    "not a finite number": ('{"limits": {"wall_seconds": .inf}}', "spec.yaml"),
    "an unknown field": ('{"privileged": true}', "privileged"),
    "an unknown profile": ('{"profile": "root"}', "profile"),
    "an environment that is none": ('{"environment": {"A=B": "x"}}', "environment"),
    "a number in quotes": ('limits:\n  memory: "2147483648"\n', "line 2, limits.memory"),
    "not a document": ("[1, 2]", "spec.yaml"),
    "not YAML": ("{", "spec.yaml"),
    "an alias bomb": ("a: &a [x]\nb: *a", "spec.yaml"),
    "empty": ("", "spec.yaml"),
}


@pytest.mark.parametrize("what", list(BAD_SPECS), ids=str)
def test_a_spec_that_cannot_be_used_is_a_record_too(command: Command, tmp_path: Path, what: str) -> None:
    """Refused, with the field and a next step."""
    text, where = BAD_SPECS[what]
    (tmp_path / "spec.yaml").write_text(text)
    answer = command("print('ran')", "--spec", str(tmp_path / "spec.yaml"))
    assert (answer.code, answer.record["ended_by"], answer.record["exit_code"]) == (1, "not-started", None)
    assert where in answer.record["detail"]
    assert answer.record["rule"].startswith(("spec/", "yaml/"))
    assert answer.record["next_step"]


def _a_link(place: Path) -> None:
    place.mkdir()
    (place / "link").symlink_to("/etc/passwd")


def _a_pipe(place: Path) -> None:
    place.mkdir()
    os.mkfifo(place / "pipe")


def _a_crowd(place: Path) -> None:
    place.mkdir()
    source = place / "0"
    source.touch()
    for number in range(1, 100_000):  # links are quick to make, and count like other files
        os.link(source, place / str(number)) if number % 60_000 else (source := place / str(number)).touch()


def _nothing(place: Path) -> None:
    assert not place.exists()


def _unreadable(place: Path) -> None:
    place.mkdir()
    (place / "self").symlink_to("self")


INPUTS = {
    "not there": _nothing,
    "a link": _a_link,
    "a pipe": _a_pipe,
    "a link to itself": _unreadable,
    "100,000 files": _a_crowd,
}


@pytest.mark.parametrize("what", list(INPUTS), ids=str)
def test_an_input_that_cannot_be_handed_over_runs_nothing(command: Command, tmp_path: Path, what: str) -> None:
    """The record names it."""
    INPUTS[what](tmp_path / "input")
    answer = command("print('ran')", "--input", str(tmp_path / "input"))
    assert (answer.run.ended_by, answer.code) == (EndedBy.NOT_STARTED, 3)
    assert str(tmp_path / "input") in answer.run.detail
    assert answer.run.log_bytes == 0
    assert answer.run.total_seconds < 8


def test_an_input_that_may_not_be_read_runs_nothing(command: Command, tmp_path: Path) -> None:
    """A file that not even root can read."""
    answer = command("print('ran')", "--input", "/proc/sysrq-trigger")
    assert (answer.run.ended_by, answer.code) == (EndedBy.NOT_STARTED, 3)
    assert "cannot be read" in answer.run.detail


USAGE: dict[str, tuple[tuple[str, ...], str]] = {
    "no such image": (("--image", "no-such-image:latest"), "no image"),
    "an image id that the engine has not": (("--image", "sha256:" + "0" * 64), "no image"),
    "an image without a name": (("--image", ""), "no image"),
    "a name that can be none": (("--image", "oci:layout:latest"), "no image"),
    "a name with the id of another image": (("--image", "{image}@sha256:" + "0" * 64), "no image"),
    "an output directory with something in it": (("--output", "{full}"), "not an empty directory"),
    "an output that is a file": (("--output", "{file}"), "cannot go there"),
    "an output below a file": (("--output", "{file}/deeper"), "cannot go there"),
    "an output that leads nowhere": (("--output", "{dangling}"), "cannot go there"),
    "an output where nothing can be made": (("--output", "/proc/out"), "cannot go there"),
    "a log that is a directory": (("--log", "{full}"), "cannot go there"),
    "a log in no directory": (("--log", "{full}/none/log"), "there is no directory"),
    "nothing to run": (("--entrypoint", ""), "nothing to run"),
    "an option that there is not": (("--privileged",), "--privileged"),
    "an option without its value": (("--spec",), "--spec"),
    "bytes that are no text": (("--", os.fsdecode(b"\xff")), "not UTF-8"),
    "an argument too long": (("--", "x" * 70_000), "longer than 64 KiB"),
    "too many arguments": (("--", *map(str, range(5000))), "more than 4096"),
}


@pytest.mark.parametrize("what", list(USAGE), ids=str)
def test_wrong_usage_is_code_2_with_a_record(command: Command, tool_image: str, tmp_path: Path, what: str) -> None:
    """Nothing is run and nothing is overwritten."""
    options, words = USAGE[what]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("keep")
    (tmp_path / "dangling").symlink_to("nowhere")
    names = {"full": "full", "file": "full/mine", "dangling": "dangling"}
    places = {name: str(tmp_path / path) for name, path in names.items()} | {"image": tool_image}
    answer = command(None, *(option.format(**places) for option in options))
    assert (answer.code, answer.record["ended_by"]) == (2, "not-started")
    assert words in answer.record["detail"]
    assert (tmp_path / "full" / "mine").read_text() == "keep"


def test_an_image_that_goes_between_check_and_run(
    command: Command, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there when it was looked up and is removed before the container is made."""
    files = {name: path for name, path in python_closure(("sys",)).items() if name.startswith("/usr/bin")}
    archive, digest, diff_id = build_archive(files, {"Labels": {"test": "gone"}})
    image = engine.load_archive(lambda out: _write(out, archive), ids=(digest,), diff_ids=(diff_id,))
    run = Launcher.run

    def late(self: Launcher, *args: Any, **kwargs: Any) -> SandboxRun:
        connect(engine.host)._client.remove_image(image, force=True)
        return run(self, *args, **kwargs)

    monkeypatch.setattr(Launcher, "run", late)
    answer = command("print('ran')", image=image)
    assert (answer.run.ended_by, answer.code) == (EndedBy.NOT_STARTED, 3)
    assert "No such image" in answer.run.detail


def test_an_archive_is_read_verified_and_loaded(command: Command, tmp_path: Path) -> None:
    """Its one image is meant; the entry point of the image is given the arguments."""
    files = python_closure(("sys",))
    archive, _, _ = build_archive(files, {"Labels": {"test": "by path"}, "Entrypoint": ["/usr/bin/python3", "-S"]})
    (tmp_path / "image.tar").write_bytes(archive)
    answer = command(None, "--", "-c", "print('from an archive')", image=str(tmp_path / "image.tar"))
    assert answer.code == 0
    assert answer.run.log_head.endswith("from an archive\n")
    (tmp_path / "image.tar").write_bytes(archive[:5000])
    broken = command(None, "--", "-c", "1", image=str(tmp_path / "image.tar"))
    assert (broken.code, broken.record["ended_by"]) == (1, "not-started")


def test_an_engine_that_is_restarted_in_the_middle(
    command: Command, engine: Engine, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record says that the engine was lost, nothing counts as output, and nothing stays once it is back."""
    if not engine.host.startswith("unix://"):
        pytest.skip("the engine has no Unix socket to stand in front of")
    proxy = Proxy(tmp_path / "proxy.sock", engine.host.removeprefix("unix://"))
    monkeypatch.setenv("DOCKER_HOST", proxy.host)
    timer = threading.Timer(2.0, proxy.restart)
    timer.start()
    answer = command("import time; open('/output/x', 'w').write('x'); time.sleep(15)")
    timer.join()
    assert (answer.run.ended_by, answer.code) == (EndedBy.ENGINE_LOST, 3)
    assert not answer.run.ended_well()
    assert answer.run.outputs == ()
    assert_nothing_left(engine, home / "sandbox")


def test_where_no_engine_answers_there_is_a_record(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to do next."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    answer = command("print('ran')")
    assert (answer.code, answer.record["ended_by"]) == (3, "not-started")
    assert "docker.io" in answer.record["next_step"]


def test_places_by_relative_and_linked_paths(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell gives them; an output directory that is not there is made, and an existing log replaced."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "table.csv").write_text("1,2")
    (tmp_path / "in").symlink_to("real")
    (tmp_path / "log").write_text("an older and longer log")
    source = "print(open('/input/table.csv').read()); open('/output/x', 'w').close()"
    answer = command(source, "--input", "in", "--output", "new/deep", "--log", "./log")
    assert answer.code == 0, answer.run.detail
    assert (tmp_path / "new" / "deep" / "x").is_file()
    assert (tmp_path / "log").read_text() == "1,2\n"


def test_a_file_as_input_lies_in_the_input_directory(command: Command, tmp_path: Path) -> None:
    """Under its own name, also where the image has a directory of that path."""
    (tmp_path / "table.csv").write_text("1,2")
    answer = command("print(open('/input/table.csv').read())", "--input", str(tmp_path / "table.csv"))
    assert (answer.code, answer.run.log_head) == (0, "1,2\n"), answer.run.detail
    assert answer.run.inputs[0].target == "/input/table.csv"


def test_an_input_whose_path_is_no_text_is_a_record(command: Command, tmp_path: Path) -> None:
    """A record is UTF-8 whatever the path."""
    answer = command("print('ran')", "--input", f"{tmp_path}/{os.fsdecode(bytes([255]))}")
    assert (answer.run.ended_by, answer.code) == (EndedBy.NOT_STARTED, 3)
    assert "\\udcff" in answer.run.detail or "\\xff" in answer.run.detail


def test_names_of_one_image(command: Command, engine: Engine, tool_image: str, tmp_path: Path) -> None:
    """By id whole and short, by name, by name with its id, and as an archive behind a link."""
    client = engine._client
    client.tag(tool_image, "pratique-test-names", "one")
    short = tool_image.removeprefix("sha256:")[:12]
    saved = tmp_path / "saved.tar"
    with saved.open("wb") as out:
        for chunk in client.get_image(tool_image):
            out.write(chunk)
    (tmp_path / "linked.tar").symlink_to(saved)
    named = "pratique-test-names:one"
    try:
        for name in (tool_image, short, named, f"{named}@{tool_image}", str(tmp_path / "linked.tar")):
            assert command("pass", image=name).run.image_id == tool_image, name
    finally:
        client.remove_image(named, noprune=True)


def sleeping(engine: Engine, home: Path, image: str) -> subprocess.Popen[str]:
    """The command, as a person or a supervisor starts it, with a tool that sleeps."""
    options = ["--json", "--home", str(home), "--image", image]
    return subprocess.Popen(
        [Path(sys.executable).with_name("pratique"), "sandbox", "run", *options, *CODE, "import time; time.sleep(60)"],
        env={**os.environ, "DOCKER_HOST": engine.host},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("when", ["running", "preparing"])
def test_a_signal_in_the_middle_leaves_a_record_and_nothing_else(
    engine: Engine, home: Path, tool_image: str, number: signal.Signals, when: str
) -> None:
    """Ctrl-C, and what a supervisor sends: exit code 130, one record that says interrupted, no container."""
    process = sleeping(engine, home, tool_image)
    label = f"{LABEL_STATE}={(home / 'sandbox').resolve()}"
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = [one["State"] for one in engine.labelled(label)]
        if (when == "running" and "running" in found) or (when == "preparing" and (home / "sandbox/runs").is_dir()):
            break
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert [json.loads(line)["ended_by"] for line in out.splitlines()] == ["interrupted"]
    assert_nothing_left(engine, home / "sandbox")


def test_a_killed_command_is_cleaned_up_after_and_the_next_run_is_fine(
    command: Command, engine: Engine, home: Path, tool_image: str
) -> None:
    """kill -9 of the launcher and of its watchdog: the next run removes what is left, then runs."""
    process = sleeping(engine, home, tool_image)
    label = f"{LABEL_STATE}={(home / 'sandbox').resolve()}"
    end = time.monotonic() + 30
    while "running" not in [one["State"] for one in engine.labelled(label)]:
        assert time.monotonic() < end
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    watchdogs = [one for one in children if b"sandbox.watchdog" in Path(f"/proc/{one}/cmdline").read_bytes()]
    for one in watchdogs:
        os.kill(int(one), signal.SIGKILL)
    process.kill()
    process.communicate()
    assert len(engine.labelled(label)) == 1
    assert command("print('next')").run.log_head == "next\n"
    assert_nothing_left(engine, home / "sandbox")


def test_in_words(engine: Engine, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --json, for people: with Pratique's own image when none is named."""
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    arguments = ["sandbox", "run", "--home", str(home), "--", "-S", "-c", "print('hello'); open('/output/x', 'w')"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "ended by: exit, exit code 0" in result.stdout
    assert "output: x  0 bytes" in result.stdout
    assert result.stdout.endswith("hello\n")


def _write(out: Any, data: bytes) -> None:
    out.write(data)


@pytest.mark.parametrize("packing", ["plain", "gzip", "zstd"])
def test_a_layout_is_run_however_its_layers_are_packed(command: Command, tmp_path: Path, packing: str) -> None:
    """Also on an engine that does not know zstd: it is handed the plain tar, by the digest that the config names."""
    archive, _, _ = build_archive(python_closure(("sys",)))
    with tarfile.open(fileobj=io.BytesIO(archive)) as outer:
        layer = outer.extractfile("layer.tar")
        assert layer is not None
        tar = layer.read()
    label = {"Labels": {"packing": packing}, "Entrypoint": ["/usr/bin/python3", "-S"]}
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    media_type = LAYER if packing == "plain" else f"{LAYER}+{packing}"
    image = MadeImage([tar], media_type=media_type, run=label, architecture=machine)
    layout = image.write_layout(tmp_path / "layout", [image.manifest()])
    answer = command(None, "--", "-c", "print('from a layout')", image=str(layout))
    assert answer.code == 0, answer.complaint
    assert answer.run.log_head.endswith("from a layout\n")
