"""The output of a run where Pratique may not mount: a capped tmpfs volume of the engine, held open by a helper.

Such a volume lives while a container uses it; the helper does, so that the output outlives the tool until it is taken
over as a tar stream.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from sandbox.container import Placement, confinement
from sandbox.engine import Engine
from sandbox.harvest import Harvest, harvest_archive
from sandbox.observe.helper_image import PYTHON, ensure_helper_image
from sandbox.spec import MIB, Limits

_WAIT = "import signal; signal.signal(signal.SIGTERM, lambda *_: exit()); signal.pause()"
_OUTPUT = "/output"


class OutputHolder:
    """Volume and helper container of one run."""

    def __init__(self, engine: Engine, state_dir: Path, placement: Placement) -> None:
        self._engine = engine
        self._state_dir = state_dir
        self._placement = placement
        self._name = f"pratique-{placement.run_id}-holder"
        self.volume = f"pratique-{placement.run_id}"

    def start(self, limits: Limits) -> None:
        """Make the volume and hold it; raises `CouldNotDecide`.

        The directory is open to every uid of the container: where users are remapped, the mount option would name
        another uid than the container's.
        """
        options = f"size={limits.output_bytes},nr_inodes={2 * limits.output_files + 64},mode=1777,nosuid,nodev,noexec"
        image = ensure_helper_image(self._engine, self._state_dir)
        self._engine.create_tmpfs_volume(self.volume, options, self._placement.labels("output"))
        body = {
            "Image": image,
            "Entrypoint": [PYTHON, "-I", "-S", "-c"],
            "Cmd": [_WAIT],
            "User": "65534:65534",
            "Labels": self._placement.labels("holder"),
            "HostConfig": confinement("runc", None)
            | {
                "NetworkMode": "none",
                "Memory": 64 * MIB,
                "MemorySwap": 64 * MIB,
                "PidsLimit": 16,
                "Mounts": [
                    {"Type": "volume", "Source": self.volume, "Target": _OUTPUT, "VolumeOptions": {"NoCopy": True}}
                ],
            },
        }
        self._engine.create(body, self._name)
        self._engine.start(self._name)

    def harvest(self, destination: Path, limits: Limits) -> Harvest:
        """Take over what the tool left."""
        stream = cast(BinaryIO, io.BufferedReader(_Chunks(self._engine.archive(self._name, _OUTPUT))))
        return harvest_archive(stream, destination, limits)

    def remove(self) -> None:
        """Remove helper and volume."""
        self._engine.remove(self._name)
        self._engine.remove_volume(self.volume)


class _Chunks(io.RawIOBase):
    """Chunks as a raw stream."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the stub's Buffer has no slices
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = chunk
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
