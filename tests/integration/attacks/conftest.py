"""Each attack twice: with Docker's defaults, and in a container of ours. Many probes share one container start."""

from __future__ import annotations

import json
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sandbox.engine import Engine
from sandbox.launcher import Launcher
from sandbox.record import SandboxRun
from sandbox.spec import MIB, Limits, SandboxRequest, SandboxSpec
from tests.integration.attacks.images import PYTHON, Extra, load_image
from tests.integration.conftest import TOOL_MODULES
from tests.integration.sandbox.conftest import assert_nothing_left

LABEL = "org.pratique.test.attack"
LINKS = {
    "etc": "/etc", "settings": "/proc/sys", "self": "/proc/self", "dev": "/dev", "proc": "/proc",
    "climbs": "../" * 9 + "tmp",
}  # fmt: skip
"""Links of the image below `/to`, where something of ours is to be mounted."""
NET_RAW = bytes.fromhex("0100000200200000000000000000000000000000")
"""CAP_NET_RAW, permitted and effective, as `setcap cap_net_raw+ep` writes it."""
PROGRAM = Path(__file__).with_name("program.py")
VOLUMES = ("/data",)
LIMITS = Limits(
    memory=256 * MIB, pids=64, wall_seconds=90.0, output_bytes=8 * MIB, output_files=500,
    tmp_bytes=16 * MIB, tmp_files=1000, shm_bytes=8 * MIB,
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """Whether an attack worked, and how that showed."""

    worked: bool
    detail: str


@dataclass(frozen=True)
class Ended:
    """A container with Docker's defaults that has ended: what it printed, and what the engine knows of it."""

    log: bytes
    state: dict[str, Any]


@pytest.fixture(scope="session")
def attack_image(engine: Engine) -> str:
    """Python, a set-user-id copy of it, a VOLUME, and a configuration that tries what a configuration can try."""
    program = Path(sys.executable).resolve().read_bytes()
    return load_image(
        engine,
        TOOL_MODULES,
        {
            "/opt/setuid-python": Extra(program, 0o4755),
            "/opt/capable-python": Extra(program, 0o755, {"security.capability": NET_RAW}),
            "/opt/disk": Extra(b"", 0o666, device=(tarfile.BLKTYPE, 254, 0)),
            "/opt/memory": Extra(b"", 0o666, device=(tarfile.CHRTYPE, 1, 1)),
            "/data/shipped": Extra(b"shipped", 0o666),
            **{f"/to/{name}": Extra(b"", link=target) for name, target in LINKS.items()},
        },
        {
            "Entrypoint": [PYTHON, "-S", "-c", "print('the entry point of the image')"],
            "User": "0:0",
            "WorkingDir": "/proc/self",
            "Volumes": {volume: {} for volume in VOLUMES},
            "Env": ["PATH=/usr/bin", "LD_PRELOAD=libc.so.6", "PYTHONHASHSEED=7"],
            "Healthcheck": {"Test": ["CMD", PYTHON, "-S", "-c", "open('/tmp/health', 'w')"], "Interval": 500_000_000},
            "StopSignal": "SIGCONT",
        },
    )


Plainly = Callable[..., Ended]


@pytest.fixture(scope="session")
def plainly(engine: Engine, attack_image: str) -> Iterator[Plainly]:
    """Run Python with Docker's defaults; `host` goes over the (empty) HostConfig, `body` over the rest."""

    def run(
        source: str, *, image: str = attack_image, host: Mapping[str, Any] | None = None, seconds: float = 120.0,
        **body: Any,
    ) -> Ended:  # fmt: skip
        request = {
            "Image": image,
            "Entrypoint": [PYTHON, "-S", "-c"],
            "Cmd": [source],
            "Labels": {LABEL: "default"},
            "HostConfig": dict(host or {}),
            **body,
        }
        container = engine.create(request, f"pratique-attack-{time.monotonic_ns()}")
        try:
            engine.start(container)
            end = time.monotonic() + seconds
            while (state := engine.inspect(container))["State"]["Running"] and time.monotonic() < end:
                time.sleep(0.05)
            return Ended(bytes(engine._client.logs(container)), state)
        finally:
            engine.remove(container)

    yield run
    assert engine.labelled(LABEL) == []


@pytest.fixture(scope="session")
def launcher(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """A launcher whose state directory must be empty at the end."""
    made = Launcher(engine, tmp_path_factory.mktemp("state"))
    yield made
    made.close()
    assert_nothing_left(engine, made.state_dir)


@dataclass(frozen=True)
class Confined:
    """A run of ours: record, log, harvested files."""

    run: SandboxRun
    log: bytes
    output: Path


Confine = Callable[..., Confined]


@pytest.fixture(scope="session")
def confined(launcher: Launcher, attack_image: str, tmp_path_factory: pytest.TempPathFactory) -> Confine:
    """Run Python in the sandbox; `limits` and `request` go over the defaults of these tests."""

    def run(
        source: str, *, image: str = attack_image, spec: dict[str, Any] | None = None,
        request: dict[str, Any] | None = None, **limits: Any,
    ) -> Confined:  # fmt: skip
        place = tmp_path_factory.mktemp("run")
        asked = {
            "image_id": image,
            "entrypoint": (PYTHON, "-S", "-c"),
            "argv": (source,),
            "image_volumes": VOLUMES,
            **(request or {}),
        }
        record = launcher.run(
            SandboxRequest(**asked),
            SandboxSpec(limits=LIMITS.model_copy(update=limits), **(spec or {})),
            output=place / "output",
            log=place / "log",
        )
        return Confined(record, (place / "log").read_bytes(), place / "output")

    return run


@pytest.fixture(scope="session")
def by_default(plainly: Plainly) -> dict[str, Answer]:
    """What every probe made of Docker's defaults."""
    return read_answers(plainly(PROGRAM.read_text()).log)


@pytest.fixture(scope="session")
def by_ours(confined: Confine) -> dict[str, Answer]:
    """What every probe made of the sandbox."""
    return read_answers(confined(PROGRAM.read_text()).log)


def read_answers(log: bytes) -> dict[str, Answer]:
    """The lines of the program, by the name of the attack."""
    rows = [json.loads(line) for line in log.decode("utf-8", "replace").splitlines() if line.startswith("{")]
    return {row["name"]: Answer(row["worked"], row["detail"]) for row in rows}
