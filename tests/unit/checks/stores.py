"""An evidence store in memory."""

from __future__ import annotations

from checks.interface import Evidence
from pratique.digests import Digest, sha256_bytes
from pratique.errors import CouldNotDecide


class MemoryStore:
    """Keeps evidence in a dict."""

    def __init__(self) -> None:
        self.kept: dict[Digest, bytes] = {}

    def put(self, data: bytes, *, name: str, media_type: str) -> Evidence:
        """Keep `data`."""
        digest = sha256_bytes(data)
        self.kept[digest] = data
        return Evidence(name=name, digest=digest, media_type=media_type, size=len(data))

    def get(self, digest: Digest) -> bytes:
        """The bytes with this digest."""
        if digest not in self.kept:
            raise CouldNotDecide("missing")
        return self.kept[digest]
