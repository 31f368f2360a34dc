"""Byte streams that check themselves while they are read."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, BinaryIO

from pratique.digests import Digest
from pratique.errors import InvalidInput

if TYPE_CHECKING:
    from typing_extensions import Buffer


class VerifiedStream(io.RawIOBase):
    """Reads `source` and refuses, before its last bytes are handed out, what is not `size` bytes of `digest`.

    So bytes that came out of a stream read to its end are the bytes that were pinned, at the moment of use.
    Raises `InvalidInput`: `image/truncated` (source ends early), `image/blob-size` (source goes on),
    `image/blob-digest`.
    """

    def __init__(self, source: BinaryIO, digest: Digest, size: int, *, where: str) -> None:
        super().__init__()
        self._source = source
        self._digest = digest
        self._left = size
        self._size = size
        self._where = where
        self._hash = hashlib.sha256()
        if size == 0:
            self._finish()

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        """Read at most `len(buffer)` bytes; 0 at the end."""
        view = memoryview(buffer).cast("B")
        if self._left == 0 or len(view) == 0:
            return 0
        data = self._source.read(min(len(view), self._left))
        if not data:
            raise InvalidInput(
                "the blob is truncated",
                rule="image/truncated",
                where=self._where,
                cause=f"{self._size - self._left} of {self._size} bytes are there",
                next_step="Export the image again and compare the size of the file with the original.",
            )
        self._hash.update(data)
        self._left -= len(data)
        if self._left == 0:
            self._finish()
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the source too."""
        if not self.closed:
            self._source.close()
        super().close()

    def _finish(self) -> None:
        if self._source.read(1):
            raise InvalidInput(
                "the blob is longer than its descriptor says",
                rule="image/blob-size",
                where=self._where,
                cause=f"more than {self._size} bytes",
                next_step="Export the image again; do not edit the files of a layout.",
            )
        found = Digest("sha256:" + self._hash.hexdigest())
        if found != self._digest:
            raise InvalidInput(
                "the blob's bytes are not what its digest says",
                rule="image/blob-digest",
                where=self._where,
                cause=f"expected {self._digest}, found {found}",
                next_step="Export the image again; do not edit the files of a layout.",
            )
