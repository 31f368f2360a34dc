"""Finding, starting and ending the private engine, without any engine: `apt-get` and `dockerd` are stand-ins."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra import engine

SCRIPT = Path(engine.__file__)

DOCKERD = """\
#!{python}
import http.server, json, os, signal, socketserver, sys, time
options = dict(part.split("=", 1) for part in sys.argv[1:] if "=" in part)
{behaviour}
runtimes = {{}}
def read_config(*_):
    runtimes.clear()
    runtimes.update(json.load(open(options["--config-file"])).get("runtimes", {{}}))
signal.signal(signal.SIGHUP, read_config)
read_config()
class Server(socketserver.ThreadingUnixStreamServer):
    def get_request(self):
        request, _ = super().get_request()
        return request, ("local", 0)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({{"Runtimes": runtimes}}).encode() if self.path == "/info" else b"OK")
    def log_message(self, *_):
        pass
open(options["--pidfile"], "w").write(str(os.getpid()))
path = options["--host"].removeprefix("unix://")
if os.path.exists(path):
    os.unlink(path)
Server(path, Handler).serve_forever()
"""


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory of its own, no DOCKER_HOST, no default socket, and a machine without engine."""
    directory = tmp_path / "engine"
    monkeypatch.setenv("PRATIQUE_ENGINE_STATE", str(directory))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine, "DEFAULT_SOCKET", tmp_path / "no.sock")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    return directory


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.fixture
def as_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def put_program(directory: Path, name: str, text: str) -> None:
    path = directory / name
    path.write_text(text)
    path.chmod(0o755)


def put_dockerd(tmp_path: Path, behaviour: str = "") -> None:
    put_program(tmp_path / "bin", "dockerd", DOCKERD.format(python=sys.executable, behaviour=behaviour))


class Listener:
    """Something that listens on a unix socket and answers every request with `answer`."""

    def __init__(self, path: Path, answer: bytes) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._answer = answer
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            connection.recv(4096)
            connection.sendall(self._answer)
            connection.close()

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK", True),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", False),
        (b"SSH-2.0-OpenSSH\r\n", False),
        (b"\x00\xff" * 100, False),
        (b"", False),
    ],
    ids=["engine", "broken engine", "ssh", "binary", "silent"],
)
def test_answers_is_true_of_an_engine_alone(answer: bytes, expected: bool, tmp_path: Path) -> None:
    listener = Listener(tmp_path / "e.sock", answer)
    assert engine.answers(f"unix://{tmp_path / 'e.sock'}") is expected
    listener.close()


@pytest.mark.parametrize(
    "address",
    [
        "",
        "nonsense",
        "unix://",
        "unix:///nonexistent",
        "tcp://127.0.0.1:1",
        "tcp://",
        "tcp://127.0.0.1:nonsense",
        "ssh://host",
        "unix://" + "x" * 500,
        "unix:///etc",
        "unix:///tmp/\x00",
        "tcp://\x00",
        "tcp://[",
    ],
)
def test_nobody_answers(address: str) -> None:
    assert engine.answers(address) is False


def test_docker_host_that_answers_is_taken(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener(tmp_path / "e.sock", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path / 'e.sock'}")
    assert engine.ensure() == f"unix://{tmp_path / 'e.sock'}"
    assert not state.exists(), "nothing was made"
    listener.close()


def test_docker_host_that_is_dead_is_said_and_nothing_is_started(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_root: None
) -> None:
    put_dockerd(tmp_path)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    with pytest.raises(SystemExit) as exit_:
        engine.ensure()
    assert "unset DOCKER_HOST" in str(exit_.value.code)
    assert not state.exists()


def test_default_socket_is_taken(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener(tmp_path / "e.sock", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")
    monkeypatch.setattr(engine, "DEFAULT_SOCKET", tmp_path / "e.sock")
    assert engine.ensure() == f"unix://{tmp_path / 'e.sock'}"
    assert not state.exists()
    listener.close()


@pytest.mark.usefixtures("as_user")
def test_who_is_not_root_is_told_what_to_install(state: Path, tmp_path: Path) -> None:
    put_program(tmp_path / "bin", "apt-get", "#!/bin/sh\necho never >> $0.ran\n")
    with pytest.raises(SystemExit) as exit_:
        engine.ensure()
    said = str(exit_.value.code)
    assert "apt-get install docker.io" in said
    assert "docker group" in said or "-aG docker" in said
    assert not (tmp_path / "bin" / "apt-get.ran").exists()
    assert not state.exists()


@pytest.mark.usefixtures("as_root")
def test_machine_without_apt_is_told_what_to_install(state: Path) -> None:
    with pytest.raises(SystemExit) as exit_:
        engine.ensure()
    assert "docs.docker.com" in str(exit_.value.code)


@pytest.mark.usefixtures("as_root")
def test_failing_installation_shows_what_apt_said(state: Path, tmp_path: Path) -> None:
    put_program(tmp_path / "bin", "apt-get", "#!/bin/sh\necho 'E: no such package' >&2\nexit 100\n")
    with pytest.raises(SystemExit) as exit_:
        engine.ensure()
    assert "E: no such package" in str(exit_.value.code)


@pytest.mark.usefixtures("as_root")
def test_private_engine_is_started_once_and_stopped_by_pid(
    state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_dockerd(tmp_path)
    address = engine.ensure()
    assert address == f"unix://{state / 'docker.sock'}"
    pid = int((state / "docker.pid").read_text())
    assert engine.ensure() == address
    assert int((state / "docker.pid").read_text()) == pid, "not a second one"
    engine.stop()
    assert not engine.answers(address)
    engine.stop()
    said = capsys.readouterr()
    assert f"stopped the private engine (pid {pid})" in said.err
    assert "no private engine runs" in said.err
    assert said.out == ""


@pytest.fixture
def running(state: Path, tmp_path: Path, as_root: None) -> Iterator[str]:
    """A private engine that runs, in its own process."""
    put_dockerd(tmp_path)
    yield engine.ensure()
    engine.stop()


def test_private_engine_knows_the_runtime_that_tells_denied_calls(state: Path, running: str) -> None:
    """The program lies beside the engine, names its interpreter, and root alone can change it."""
    settings = json.loads((state / "daemon.json").read_text())
    program = state / "notify-runtime"
    assert settings == {"runtimes": {"pratique-notify": {"path": str(program)}}}
    assert program.read_text().startswith(f"#!{Path(sys.executable).resolve()} -IS\n")
    assert program.stat().st_mode & 0o777 == 0o755
    compile(program.read_text(), "notify-runtime", "exec")


@pytest.mark.parametrize("named", [True, False], ids=["by DOCKER_HOST", "found"])
def test_a_running_private_engine_learns_it_without_being_started_again(
    state: Path, running: str, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What else its configuration says stays; asked again, nothing happens."""
    pid = int((state / "docker.pid").read_text())
    (state / "daemon.json").write_text('{"debug": true, "runtimes": {"runsc": {"path": "/usr/bin/runsc"}}}')
    os.kill(pid, signal.SIGHUP)
    if named:
        monkeypatch.setenv("DOCKER_HOST", running)
    assert engine.ensure() == running
    settings = json.loads((state / "daemon.json").read_text())
    assert (settings["debug"], sorted(settings["runtimes"])) == (True, ["pratique-notify", "runsc"])
    assert set(json.loads(engine._ask(running, "/info") or b"")["Runtimes"]) == {"pratique-notify", "runsc"}
    changed = (state / "daemon.json").stat().st_mtime_ns
    assert engine.ensure() == running
    assert (state / "daemon.json").stat().st_mtime_ns == changed
    assert int((state / "docker.pid").read_text()) == pid


def test_a_newer_runtime_takes_the_place_of_the_old_one(state: Path, running: str) -> None:
    """Whole, because the engine may start it at any moment."""
    (state / "notify-runtime").write_text("#!/bin/sh\nold\n")
    engine.ensure()
    assert "old" not in (state / "notify-runtime").read_text().splitlines()
    assert not [path for path in state.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("config", ["{", "[]", '{"runtimes": 3}', ""])
def test_a_configuration_that_cannot_be_read_is_said_and_left_alone(
    state: Path, tmp_path: Path, as_root: None, config: str
) -> None:
    """It is somebody's."""
    put_dockerd(tmp_path)
    state.mkdir()
    (state / "daemon.json").write_text(config)
    with pytest.raises(SystemExit, match="mend or remove it"):
        engine.ensure()
    assert (state / "daemon.json").read_text() == config


@pytest.mark.usefixtures("as_root")
def test_engine_that_ends_at_once_shows_its_log(state: Path, tmp_path: Path) -> None:
    put_dockerd(tmp_path, 'sys.exit("failed to mount overlay: operation not permitted")')
    with pytest.raises(SystemExit) as exit_:
        engine.ensure()
    assert "failed to mount overlay" in str(exit_.value.code)


@pytest.mark.usefixtures("as_root")
def test_engine_that_never_answers_is_ended(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "START_SECONDS", 1)
    put_dockerd(tmp_path, f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)")
    with pytest.raises(SystemExit) as exit_:
        engine.ensure()
    assert "did not answer within 1 s" in str(exit_.value.code)
    pid = int((tmp_path / "pid").read_text())
    assert not _runs(pid)


@pytest.mark.usefixtures("as_root")
def test_stale_pid_is_cleared(state: Path, tmp_path: Path) -> None:
    state.mkdir()
    (state / "docker.pid").write_text("4194000")
    put_dockerd(tmp_path)
    engine.ensure()
    assert (state / "docker.pid").read_text() != "4194000"
    engine.stop()


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """Another engine, with a data directory of its own."""
    code = "import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, "dockerd", "--data-root=/var/lib/docker"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("content", ["{pid}", "{pid}\n", "", "garbage", "-1", "0", "1", "9" * 40, "1.5", "{pid} {pid}"])
def test_foreign_or_odd_pid_is_never_killed(
    content: str, state: Path, bystander: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    state.mkdir()
    (state / "docker.pid").write_text(content.format(pid=bystander.pid))
    engine.stop()
    assert bystander.poll() is None
    assert "no private engine runs" in capsys.readouterr().err


def test_stop_where_nothing_was_ever_started_makes_nothing(state: Path) -> None:
    engine.stop()
    assert not state.exists()


def test_script_prints_the_address_alone(tmp_path: Path) -> None:
    listener = Listener(tmp_path / "e.sock", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK")
    address = f"unix://{tmp_path / 'e.sock'}"
    done = _script("ensure", DOCKER_HOST=address)
    assert done.stdout == address + "\n"
    assert done.returncode == 0
    listener.close()


def test_script_fails_with_a_message_and_without_a_traceback() -> None:
    done = _script("ensure", DOCKER_HOST="unix:///nonexistent.sock")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("pratique: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [(), ("nope",), ("ensure", "--nope")])
def test_script_knows_its_actions(arguments: tuple[str, ...]) -> None:
    assert _script(*arguments).returncode == 2


def _script(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script as `make` calls it: without the virtual environment's packages."""
    return subprocess.run(
        [sys.executable, "-I", "-S", str(SCRIPT), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
