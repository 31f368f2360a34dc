"""The local server's state file, when it is garbage or names somebody else's process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from flows import background, server
from flows.prefect_environment import enter_prefect_environment, prefect_environment
from pratique.errors import CouldNotDecide

GARBAGE: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"{",
    "binary": bytes(range(256)),
    "number": b"7",
    "list": b"[]",
    "null": b"null",
    "no pid": b'{"url": "http://127.0.0.1:1"}',
    "no url": b'{"pid": 1}',
    "pid of text": b'{"pid": "one", "url": "http://127.0.0.1:1"}',
    "pid zero, our own group": b'{"pid": 0, "url": "http://127.0.0.1:1"}',
    "negative pid, every process": b'{"pid": -1, "url": "http://127.0.0.1:1"}',
    "huge pid": b'{"pid": 99999999999999999999999, "url": "http://127.0.0.1:1"}',
    "pid as list": b'{"pid": [1], "url": "http://127.0.0.1:1"}',
    "pid not finite": b'{"pid": NaN, "url": "http://127.0.0.1:1"}',
    "pid of a fraction": b'{"pid": 1e308, "url": "http://127.0.0.1:1"}',
    "pid twice": b'{"pid": 1, "pid": 1, "url": "http://127.0.0.1:1"}',
    "deep": b"[" * 100_000,
    "enormous": b'{"pid": 1, "url": "' + b"x" * 200_000 + b'"}',
}


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of ours."""
    yield from _sleeping("sleeper")


@pytest.fixture
def lookalike() -> Iterator[subprocess.Popen[bytes]]:
    """Somebody else's Prefect server, by its command line."""
    yield from _sleeping("prefect", "server", "start", "--port", "4200")


def _sleeping(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    code = "import time; time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], start_new_session=True)
    while not Path(f"/proc/{process.pid}/cmdline").read_bytes():
        time.sleep(0.01)  # the kernel shows it a moment after the program began
    yield process
    process.kill()
    process.wait()


def record(directory: Path, pid: int, url: str = "http://127.0.0.1:9") -> None:
    (directory / "server.json").write_text(json.dumps({"pid": pid, "url": url}))


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_no_server_and_nobody_is_killed(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "server.json").write_bytes(content)
    assert server.running(tmp_path) is None
    assert server.stop(tmp_path) is False
    assert not (tmp_path / "server.json").exists(), "it is cleared away"


def test_state_file_that_is_a_directory_is_no_server(tmp_path: Path) -> None:
    (tmp_path / "server.json").mkdir()
    assert server.running(tmp_path) is None


def test_state_file_that_leads_elsewhere_is_no_server(tmp_path: Path) -> None:
    (tmp_path / "server.json").symlink_to("/dev/zero")
    assert server.running(tmp_path) is None


def test_foreign_process_under_the_recorded_pid_lives_on(tmp_path: Path, bystander: subprocess.Popen[bytes]) -> None:
    record(tmp_path, bystander.pid)
    assert server.running(tmp_path) is None
    assert server.stop(tmp_path) is False
    assert bystander.poll() is None


def test_we_ourselves_live_on(tmp_path: Path) -> None:
    record(tmp_path, os.getpid())
    assert server.stop(tmp_path) is False


def test_another_installations_server_lives_on(tmp_path: Path, lookalike: subprocess.Popen[bytes]) -> None:
    """The system gave the number to a server of somebody else: another port than ours."""
    record(tmp_path, lookalike.pid, "http://127.0.0.1:4201")
    assert server.running(tmp_path) is None
    assert server.stop(tmp_path) is False
    assert lookalike.poll() is None


def test_a_server_of_another_user_is_not_ours(
    tmp_path: Path, lookalike: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever gets the number of ours, once it has ended, may use its command line and answer at its port."""
    record(tmp_path, lookalike.pid)
    marks = server.Server(lookalike.pid, "http://127.0.0.1:4200").marks
    assert background.is_ours(lookalike.pid, marks)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert not background.is_ours(lookalike.pid, marks)
    assert server.stop(tmp_path) is False


@pytest.mark.parametrize(
    "url", ["", "nonsense", "http://[", "http://127.0.0.1:4200\x00", "file:///etc/passwd", "http://a" * 50]
)
def test_url_that_is_none_is_no_server(url: str, tmp_path: Path, lookalike: subprocess.Popen[bytes]) -> None:
    record(tmp_path, lookalike.pid, url)
    assert server.running(tmp_path) is None


class _Answers(BaseHTTPRequestHandler):
    status = 200
    busy = 0.0

    def do_GET(self) -> None:
        time.sleep(self.busy)
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.mark.parametrize(
    ("status", "busy", "there"),
    [(200, 0.0, True), (200, 2.5, True), (500, 0.0, False), (302, 0.0, False)],
    ids=["healthy", "busy", "broken", "elsewhere"],
)
def test_server_is_there_when_it_is_ours_and_healthy(
    status: int, busy: float, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy one is no absent one; one that is broken is ended before another takes its place."""
    handler = type("Handler", (_Answers,), {"status": status, "busy": busy})
    with HTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        port = str(http.server_port)
        for process in _sleeping("prefect", "server", "start", "--host", "127.0.0.1", "--port", port):
            record(tmp_path, process.pid, f"http://127.0.0.1:{port}")
            assert (server.running(tmp_path) is not None) == there
            if there:
                assert server.start(tmp_path, print).pid == process.pid, "it is not started twice"
                assert server.stop(tmp_path) is True
            else:
                monkeypatch.setattr(sys, "executable", "/bin/false")
                with pytest.raises(CouldNotDecide):
                    server.start(tmp_path, print)
            assert process.wait(timeout=5) != 0
        http.shutdown()


def test_server_that_does_not_start_is_said_and_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(CouldNotDecide) as caught:
        server.start(tmp_path, lambda _text: None)
    assert "server.log" in caught.value.cause
    assert caught.value.next_step
    assert not (tmp_path / "server.json").exists()


def test_stopping_twice_is_no_error(tmp_path: Path) -> None:
    assert server.stop(tmp_path) is False
    assert server.stop(tmp_path) is False


def test_users_own_settings_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "https://cloud.example/api")
    monkeypatch.setenv("PREFECT_PROFILE", "cloud")
    for name in prefect_environment(tmp_path, None):
        monkeypatch.setenv(name, "theirs")
    enter_prefect_environment(tmp_path / "server", None)
    assert "PREFECT_API_URL" not in os.environ
    assert "PREFECT_PROFILE" not in os.environ
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1"
    assert (tmp_path / "server").is_dir()
    enter_prefect_environment(tmp_path / "server", "http://127.0.0.1:1/api")
    assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:1/api"


@pytest.mark.parametrize(
    "broken", [KeyboardInterrupt, OSError, CouldNotDecide], ids=["ctrl-c", "full disk", "no answer"]
)
def test_server_that_nobody_could_find_again_is_ended(broken: type[BaseException], tmp_path: Path) -> None:
    """Between its start and its record, and until it answers."""
    begun = []
    with (
        pytest.raises(broken),
        background.launched([sys.executable, "-c", "import time; time.sleep(60)"], {}, tmp_path / "log") as process,
    ):
        begun.append(process)
        raise broken("stopped here")
    assert begun[0].wait(10) is not None


def test_server_that_is_recorded_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with background.launched(command, {}, tmp_path / "log") as process:
        pass
    assert process.poll() is None
    background.end(process.pid, (os.fsencode(sys.executable),))
    assert process.wait(10) is not None
