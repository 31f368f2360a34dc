"""`pratique sandbox run`: one JSON record whatever happens, and an exit code that follows from it."""

from __future__ import annotations

import io
import json
import os
import platform
import tarfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from console.terminal.app import app
from pratique.digests import sha256_bytes
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
    "an output directory with something in it": (("--output", "{full}"), "not an empty directory"),
    "an output that is a file": (("--output", "{file}"), "not an empty directory"),
    "nothing to run": (("--entrypoint", ""), "nothing to run"),
}


@pytest.mark.parametrize("what", list(USAGE), ids=str)
def test_wrong_usage_is_code_2_with_a_record(command: Command, tmp_path: Path, what: str) -> None:
    """Nothing is run and nothing is overwritten."""
    options, words = USAGE[what]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("keep")
    places = {"full": str(tmp_path / "full"), "file": str(tmp_path / "full" / "mine")}
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
    assert not answer.run.succeeded
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
