"""The content-addressed store: files under the SHA-256 of their bytes, verified whenever they are read.

`sha256/<first two hex digits>/<64 hex digits>`; a file is complete and durable before it has its name.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from checks.interface import Evidence
from pratique.bounds import read_bounded
from pratique.digests import Digest, hex_of, parse_digest, sha256_bytes, sha256_file
from pratique.errors import CouldNotDecide, InvalidInput
from records.durable import Disk

MAX_BLOB_BYTES = 1 << 30
"""Largest file that `get` reads into memory; larger ones are streamed from `path_of`."""

_CHUNK = 1 << 20
_DRAFTS = "drafts"


class Store:
    """Keeps evidence and other bulk outside the ledger; implements `checks.interface.EvidenceStore`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, data: bytes, *, name: str, media_type: str) -> Evidence:
        """Keep `data`; the same bytes are kept once. Raises `CouldNotDecide` when the disk fails."""
        digest = sha256_bytes(data)
        if not self._holds(digest):
            self._write(data, digest)
        return Evidence(name=name, digest=digest, media_type=media_type, size=len(data))

    def get(self, digest: Digest) -> bytes:
        """The bytes with this digest; raises `CouldNotDecide` where they are missing or altered."""
        try:
            data = read_bounded(self._place(digest), MAX_BLOB_BYTES)
        except InvalidInput as error:
            raise _lost(digest, str(error)) from error
        if sha256_bytes(data) != digest:
            raise _lost(digest, "its bytes were altered")
        return data

    def path_of(self, digest: Digest) -> Path:
        """Path of the file with this digest, verified now, for streaming; raises `CouldNotDecide`."""
        if not self._holds(digest):
            raise _lost(digest, "it is missing or its bytes were altered")
        return self._place(digest)

    def digests(self) -> Iterator[Digest]:
        """Digests of everything kept, in order, not verified."""
        for path in sorted((self.root / "sha256").glob("??/*")):
            yield Digest(f"sha256:{path.name}")

    def _place(self, digest: Digest) -> Path:
        name = hex_of(parse_digest(digest))
        return self.root / "sha256" / name[:2] / name

    def _holds(self, digest: Digest) -> bool:
        path = self._place(digest)
        try:
            return not path.is_symlink() and sha256_file(path) == digest
        except OSError:
            return False

    def _write(self, data: bytes, digest: Digest) -> None:
        with _disk_errors(self.root):
            drafts = self.root / _DRAFTS
            drafts.mkdir(parents=True, exist_ok=True)
            draft = drafts / secrets.token_hex(16)
            try:
                _write_durably(draft, data)
                place = self._place(digest)
                place.parent.mkdir(parents=True, exist_ok=True)
                draft.replace(place)
                Disk().sync(place.parent)
            finally:
                draft.unlink(missing_ok=True)


def _write_durably(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640), "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CouldNotDecide(
            f"evidence cannot be kept in or read from {path}",
            cause=str(error),
            next_step="Make room on the disk, check permissions, and run it again.",
        ) from error


def _lost(digest: Digest, why: str) -> CouldNotDecide:
    return CouldNotDecide(
        f"the evidence {digest} is not in the store as it was",
        cause=why,
        next_step="Restore the store from a backup; what rests on this evidence cannot be verified without it.",
    )
