"""What tests with a real engine share: the engine, and small images made of this machine's own Python."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import pytest

from pratique.digests import Digest
from pratique.errors import EngineUnavailable
from sandbox.engine import Engine, connect
from sandbox.observe.helper_image import build_archive, python_closure

TOOL_MODULES = (
    "__future__", "array", "base64", "contextlib", "ctypes", "encodings.idna", "errno", "fcntl", "hashlib", "json",
    "mmap", "multiprocessing.pool", "multiprocessing.synchronize", "os", "pathlib", "random", "re", "resource",
    "select", "selectors", "shutil", "signal", "socket", "ssl", "stat", "string", "struct", "subprocess", "sys",
    "tempfile", "threading", "time", "traceback", "typing", "zlib",
)  # fmt: skip

PRIVATE_SOCKET = Path("/var/lib/pratique/engine/docker.sock")


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The engine of DOCKER_HOST, else the one that `make` starts, else the default one; no engine fails the test."""
    host = os.environ.get("DOCKER_HOST") or (f"unix://{PRIVATE_SOCKET}" if PRIVATE_SOCKET.is_socket() else None)
    try:
        found = connect(host)
    except EngineUnavailable as error:
        pytest.fail(f"{error}. {error.next_step}")
    yield found
    found.close()


@pytest.fixture
def tool_image(engine: Engine) -> str:
    """Id of an image with Python and the modules that the attacks use."""
    return load(engine, {})


@pytest.fixture
def hostile_image(engine: Engine) -> str:
    """The same with a config that tries everything a config can try."""
    config: dict[str, object] = {
        "Entrypoint": ["/usr/bin/python3", "-c", "print('the entry point of the image')"],
        "Cmd": ["the command of the image"],
        "User": "0:0",
        "WorkingDir": "/proc/self",
        "Volumes": {"/data": {}, "/usr/share/more": {}},
        "Env": ["PATH=/usr/bin", "LD_PRELOAD=/nonexistent.so", "OMP_NUM_THREADS=64"],
        "Healthcheck": {"Test": ["CMD", "/usr/bin/python3", "-c", "print('health')"], "Interval": 1_000_000_000},
        "StopSignal": "SIGCONT",
    }
    return load(engine, config)


def load(engine: Engine, config: Mapping[str, object]) -> str:
    """The image with this `config`, in the engine: made once, loaded again where a test made the engine forget it."""
    archive, digest, diff_id = built(json.dumps(config, sort_keys=True))

    def write(stream: BinaryIO) -> None:
        stream.write(archive)

    return engine.load_archive(write, ids=(digest,), diff_ids=(diff_id,))


@lru_cache
def built(config: str) -> tuple[bytes, Digest, Digest]:
    """Archive, config digest and layer's diff id of the image whose config is this JSON."""
    return build_archive(python_closure(TOOL_MODULES), json.loads(config))
