"""The container whose network the tool joins when it is to be observed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pratique.errors import CouldNotDecide
from sandbox.container import Placement, confinement
from sandbox.engine import Engine, EngineError
from sandbox.logs import LogCapture
from sandbox.observe.helper_image import PYTHON, ensure_helper_image
from sandbox.observe.parsing import Report, is_ready, parse_report
from sandbox.record import Observed
from sandbox.spec import MIB

READY_SECONDS = 20.0
REPORT_BYTES = 8 * MIB
_POLL = 0.005


class Sinkhole:
    """Started before the tool, ended after it; `report` says what was tried."""

    def __init__(self, engine: Engine, state_dir: Path, workspace: Path, placement: Placement) -> None:
        self._engine = engine
        self._state_dir = state_dir
        self._file = workspace / "sinkhole.jsonl"
        self._placement = placement
        self._capture: LogCapture | None = None
        self.name = f"pratique-{placement.run_id}-sinkhole"
        self.container = ""

    def start(self) -> str:
        """Start it and wait until it listens; returns the container's id. Raises `CouldNotDecide`."""
        image = ensure_helper_image(self._engine, self._state_dir)
        body = sinkhole_body(image, self._placement)
        self.container = self._engine.create(body, self.name)
        self._capture = LogCapture(
            self._engine.attach(self.container), self._file, cap=REPORT_BYTES, on_cap=lambda: None
        )
        try:
            self._engine.start(self.container)
        except EngineError as error:
            raise _unobservable(error.cause) from error
        end = time.monotonic() + READY_SECONDS
        while not is_ready(self._file.read_bytes()[:256]):
            if time.monotonic() > end or self._capture.ended:
                raise _unobservable(self._file.read_bytes()[-500:].decode("utf-8", "replace") or "it did not answer")
            time.sleep(_POLL)
        return self.container

    def report(self) -> Report:
        """End it and read what it saw."""
        if self._capture is None:
            return Report(Observed.IMPOSSIBLE, "the sinkhole was not started", ())
        try:
            self._engine.kill(self.container, "SIGTERM")
        except CouldNotDecide as error:
            self._capture.close(0.1)
            return Report(Observed.PARTIAL, str(error), parse_report(self._file.read_bytes()).observations)
        self._capture.close(5.0)
        return parse_report(self._file.read_bytes())

    def remove(self) -> None:
        """Remove the container."""
        if self._capture is not None:
            self._capture.shut()
        self._engine.remove(self.name)


def sinkhole_body(image: str, placement: Placement) -> dict[str, Any]:
    """The body of `POST /containers/create` for the sinkhole.

    It alone has CAP_NET_ADMIN (to make every address local), CAP_NET_RAW (to see packets) and CAP_NET_BIND_SERVICE
    (port 53), all of them over its own empty network; no input, no output, nothing else.
    """
    program = Path(__file__).with_name("sinkhole_program.py").read_text(encoding="utf-8")
    host = confinement("runc", None) | {
        "CapAdd": ["NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE"],
        "NetworkMode": "none",
        "Memory": 256 * MIB,
        "MemorySwap": 256 * MIB,
        "PidsLimit": 32,
        "Dns": ["198.18.0.53"],
        "DnsSearch": ["."],
        "Sysctls": {
            "net.ipv4.ip_unprivileged_port_start": "1024",  # else the tool could take port 53
            "net.ipv6.conf.all.disable_ipv6": "0",
            "net.ipv6.conf.default.disable_ipv6": "0",
        },
    }
    return {
        "Image": image,
        "Entrypoint": [PYTHON, "-I", "-S", "-c"],
        "Cmd": [program],
        "User": "0:0",
        "Hostname": "sandbox",
        "AttachStdout": True,
        "AttachStderr": True,
        "Labels": placement.labels("sinkhole"),
        "HostConfig": host,
    }


def _unobservable(cause: str) -> CouldNotDecide:
    return CouldNotDecide(
        "the sinkhole could not be started, so what the tool reaches for cannot be observed",
        cause=cause[:500],
        next_step="Run `pratique doctor`; the engine must allow network sysctls in a container.",
    )
