"""One local Prefect server per installation, kept running between commands (`pratique up`, `pratique down`)."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from flows.background import end, is_ours, launched, locked, read_state, write_state
from flows.prefect_environment import prefect_environment
from pratique.errors import CouldNotDecide

START_SECONDS = 120
BUSY_SECONDS = 20
"""How long one that is there may take to answer: taken for absent, it would get a second one beside it."""


@dataclass(frozen=True)
class Server:
    """A server that this installation started."""

    pid: int
    url: str

    @property
    def api_url(self) -> str:
        """Where Prefect's client finds it."""
        return f"{self.url}/api"

    @property
    def marks(self) -> tuple[bytes, ...]:
        """Words on its command line."""
        return b"prefect", b"server", self.url.rpartition(":")[2].encode()


def _state_file(directory: Path) -> Path:
    return directory / "server.json"


def _recorded(directory: Path) -> Server | None:
    state = read_state(_state_file(directory))
    try:
        return Server(pid=int(state["pid"]), url=str(state["url"]))
    except (KeyError, TypeError, ValueError):
        return None


def _answers(server: Server) -> bool:
    import httpx

    timeout = httpx.Timeout(BUSY_SECONDS, connect=2)
    try:
        return httpx.get(f"{server.api_url}/health", timeout=timeout, trust_env=False).status_code == httpx.codes.OK
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def running(directory: Path) -> Server | None:
    """The server whose state lies in `directory`, None where none answers."""
    server = _recorded(directory)
    return server if server is not None and is_ours(server.pid, server.marks) and _answers(server) else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(directory: Path, say: Callable[[str], None]) -> Server:
    """Start the server, or return the one that runs; raises `CouldNotDecide` when it does not come up.

    One that hangs is ended before: two would share one database.
    """
    with locked(directory):
        present = running(directory)
        if present is not None:
            return present
        _end(directory)
        port = _free_port()
        say("starting the local server (about 20 seconds)")
        log = directory / "server.log"
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        with launched(command, prefect_environment(directory, None), log) as process:
            server = Server(pid=process.pid, url=f"http://127.0.0.1:{port}")
            write_state(_state_file(directory), asdict(server))
            deadline = time.monotonic() + START_SECONDS
            while time.monotonic() < deadline and process.poll() is None:
                if _answers(server):
                    return server
                time.sleep(0.2)
            _state_file(directory).unlink(missing_ok=True)
            raise CouldNotDecide(
                "the local server did not start",
                cause=f"see the end of {log}",
                next_step="`pratique onboard` works without it (slower); or mend what the log names, and `pratique up`",
            )


def stop(directory: Path) -> bool:
    """Stop the server; False where none ran."""
    with locked(directory):
        return _end(directory)


def _end(directory: Path) -> bool:
    """With the lock held."""
    server = _recorded(directory)
    ours = server is not None and is_ours(server.pid, server.marks)
    if server is not None and ours:
        end(server.pid, server.marks)
    _state_file(directory).unlink(missing_ok=True)
    return ours
