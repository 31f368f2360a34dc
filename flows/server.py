"""One local Prefect server per installation, kept running between commands (`pratique up`, `pratique down`)."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from flows.prefect_environment import prefect_environment
from pratique.bounds import read_bounded, strict_json
from pratique.errors import CouldNotDecide, InvalidInput

START_SECONDS = 120
STOP_SECONDS = 20
_STATE_BYTES = 64 * 1024


@dataclass(frozen=True)
class Server:
    """A server that this installation started."""

    pid: int
    url: str

    @property
    def api_url(self) -> str:
        """Where Prefect's client finds it."""
        return f"{self.url}/api"


def _state_file(directory: Path) -> Path:
    return directory / "server.json"


def _recorded(directory: Path) -> Server | None:
    try:
        state = strict_json(
            read_bounded(_state_file(directory), _STATE_BYTES), where="server.json", max_bytes=_STATE_BYTES
        )
        return Server(pid=int(state["pid"]), url=str(state["url"]))
    except (InvalidInput, KeyError, TypeError, ValueError):
        return None


def _is_ours(server: Server) -> bool:
    """Whether the recorded pid still is the server at this port: the system may have given the number to another."""
    try:
        command = Path(f"/proc/{server.pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    port = server.url.rpartition(":")[2].encode()
    return bool(port) and {b"prefect", b"server", port} <= set(command)


def _answers(server: Server) -> bool:
    import httpx

    try:
        return httpx.get(f"{server.api_url}/health", timeout=2, trust_env=False).status_code == httpx.codes.OK
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def running(directory: Path) -> Server | None:
    """The server whose state lies in `directory`, None where none answers."""
    server = _recorded(directory)
    return server if server is not None and _is_ours(server) and _answers(server) else None


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (directory / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(directory: Path, say: Callable[[str], None]) -> Server:
    """Start the server, or return the one that runs; raises `CouldNotDecide` when it does not come up."""
    with _locked(directory):
        present = running(directory)
        if present is not None:
            return present
        port = _free_port()
        say("starting the local server (about 20 seconds)")
        log = directory / "server.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
                env={**os.environ, **prefect_environment(directory, None)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        server = Server(pid=process.pid, url=f"http://127.0.0.1:{port}")
        _state_file(directory).write_text(json.dumps(asdict(server)))
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            if _answers(server):
                return server
            time.sleep(0.2)
        _end(server)
        _state_file(directory).unlink(missing_ok=True)
        raise CouldNotDecide(
            "the local server did not start",
            cause=f"see the end of {log}",
            next_step="run `pratique onboard` without it (slower), or mend what the log names and run `pratique up`",
        )


def _end(server: Server) -> None:
    """End the server and what it started: it leads a process group of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline and _is_ours(server):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(server.pid, os.WNOHANG)
        time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)


def stop(directory: Path) -> bool:
    """Stop the server; False where none ran."""
    with _locked(directory):
        server = _recorded(directory)
        if server is None or not _is_ours(server):
            _state_file(directory).unlink(missing_ok=True)
            return False
        _end(server)
        _state_file(directory).unlink(missing_ok=True)
        return True
