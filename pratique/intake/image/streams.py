"""Byte streams that check themselves while they are read: stored blobs, and the tar inside a layer."""

from __future__ import annotations

import hashlib
import io
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, BinaryIO

from pratique.digests import Digest
from pratique.errors import InvalidInput
from pratique.intake.image.packing import Packing, packing_of_bytes, unpacking

if TYPE_CHECKING:
    from typing_extensions import Buffer

_CHUNK = 1 << 20
_LEAST = 1 << 16
"""Bytes of a step of unpacking, but for the last."""
_AGAIN = "Copy or export the image again; do not edit the files of a layout or an archive."


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
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes (all that are left when negative); empty at the end."""
        if size < 0:
            return self.readall()
        wanted = min(size, self._left)
        if wanted == 0:
            return b""
        data = self._source.read(wanted)
        if not data:
            raise InvalidInput(
                "the blob is truncated",
                rule="image/truncated",
                where=self._where,
                cause=f"{self._size - self._left:,} of {self._size:,} bytes are there",
                next_step=_AGAIN,
            )
        self._hash.update(data)
        self._left -= len(data)
        if self._left == 0:
            self._finish()
        return data

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
                cause=f"more than {self._size:,} bytes",
                next_step=_AGAIN,
            )
        found = Digest("sha256:" + self._hash.hexdigest())
        if found != self._digest:
            raise InvalidInput(
                "the blob's bytes are not what its digest says",
                rule="image/blob-digest",
                where=self._where,
                cause=f"expected {self._digest}, found {found}",
                next_step=_AGAIN,
            )


class Budget:
    """What is left of an image's unpacked bytes and entries, shared by all its layers.

    `plausible` is what the stored bytes may unpack to: a bomb is refused there, long before the ceiling.
    """

    def __init__(self, bytes_: int, entries: int, *, plausible: int | None = None) -> None:
        self.bytes_left = bytes_
        self.entries_left = entries
        self._bytes = bytes_
        self._entries = entries
        self._plausible = bytes_ if plausible is None else plausible

    def take_bytes(self, count: int, *, where: str) -> None:
        """Count unpacked bytes; raises `InvalidInput` (`image/too-many-bytes`, `image/compression-ratio`)."""
        self.bytes_left -= count
        if self.bytes_left >= 0 and self.bytes_taken > self._plausible:
            raise InvalidInput(
                f"the image unpacks to more than {self._plausible:,} bytes, which so few stored bytes never do",
                rule="image/compression-ratio",
                where=where,
                next_step="Remove large files of zeros or of one repeated pattern and let the tool make them, or ask "
                "the node to raise `image.ratio` in its policy.",
            )
        if self.bytes_left < 0:
            raise InvalidInput(
                f"the image unpacks to more than the {self._bytes:,} bytes allowed",
                rule="image/too-many-bytes",
                where=where,
                next_step="Make the image smaller, or ask the node to raise its ceiling for unpacked bytes.",
            )

    def take_entry(self, *, where: str) -> None:
        """Count one file system entry; raises `InvalidInput` (`image/too-many-entries`) beyond the ceiling."""
        self.entries_left -= 1
        if self.entries_left < 0:
            raise InvalidInput(
                f"the image holds more than the {self._entries:,} files and directories allowed",
                rule="image/too-many-entries",
                where=where,
                next_step="Remove files the tool does not need, or ask the node to raise its ceiling for entries.",
            )

    @property
    def bytes_taken(self) -> int:
        """Unpacked bytes so far."""
        return self._bytes - self.bytes_left

    @property
    def entries_taken(self) -> int:
        """Entries so far."""
        return self._entries - self.entries_left


class ByteSource(ABC):
    """What a tar is read from, from its beginning to its end."""

    @abstractmethod
    def some(self, limit: int) -> bytes:
        """Between 1 and `limit` bytes, whatever is at hand; empty at the end."""

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes, fewer only at the end."""
        data = self.some(count)
        if len(data) == count:
            return data
        parts, missing = [data], count - len(data)
        while missing and (data := self.some(missing)):
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def skip(self, count: int) -> int:
        """Pass over `count` bytes; returns how many there were."""
        passed = 0
        while passed < count and (data := self.some(count - passed)):
            passed += len(data)
        return passed


class Steps(ByteSource):
    """Bytes that come in steps of whatever is at hand."""

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0

    @abstractmethod
    def _next(self) -> bytes:
        """The bytes that come next, however many; empty at the end."""

    @abstractmethod
    def _digest_of_all(self) -> Digest:
        """Digest of everything, once the end has been reached."""

    def some(self, limit: int) -> bytes:
        """Between 1 and `limit` bytes, whatever is at hand; empty at the end."""
        if self._at >= len(self._buffer):
            self._buffer, self._at = self._next(), 0
        data = self._buffer[self._at : self._at + limit]
        self._at += len(data)
        return data

    def finish(self) -> Digest:
        """Read what is left and return the digest of everything unpacked."""
        while self.some(_CHUNK):
            pass
        return self._digest_of_all()

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes, fewer only at the end."""
        if not self._has(count):
            return super().read(count)
        self._at += count
        return self._buffer[self._at - count : self._at]

    def skip(self, count: int) -> int:
        """Pass over `count` bytes; returns how many there were."""
        if not self._has(count):
            return super().skip(count)
        self._at += count
        return count

    def _has(self, count: int) -> bool:
        """Whether so many bytes are at hand."""
        return count <= len(self._buffer) - self._at


class UnpackedLayer(Steps):
    """The tar inside a layer's blob, unpacked in bounded steps, hashed and counted on the way.

    Nothing is produced beyond the budget: a bomb stops at the ceiling. Raises `InvalidInput`: `image/media-type`,
    `image/too-many-bytes`, `image/compression-ratio`, what `unpacking` and the stored blob's stream raise.

    `verified` is the digest of a blob that is stored plain and whose stream verifies it to its end: the same bytes are
    not hashed a second time.
    """

    def __init__(
        self, blob: BinaryIO, *, packing: Packing, budget: Budget, where: str, verified: Digest | None = None
    ) -> None:
        super().__init__()
        self._verified = verified if packing is Packing.NONE else None
        self._unpacking = unpacking(blob, packing, where=where)
        self._budget = budget
        self._where = where
        self._hash = hashlib.sha256()
        self._buffer = self._next()
        if packing_of_bytes(self._buffer[:4]) is not Packing.NONE:
            raise InvalidInput(
                "the layer is compressed although its media type says it is a plain tar"
                if packing is Packing.NONE
                else "the layer is compressed twice",
                rule="image/media-type",
                where=where,
                next_step=_AGAIN,
            )

    def _next(self) -> bytes:
        """The next bytes; small ones are put together, so that a layer of tiny frames costs no more than another."""
        parts, size = [], 0
        while size < _LEAST and not self._unpacking.ended:
            parts.append(self._unpacking.next())
            size += len(parts[-1])
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._budget.take_bytes(size, where=self._where)
        if self._verified is None:
            self._hash.update(data)
        return data

    def _digest_of_all(self) -> Digest:
        return self._verified or Digest("sha256:" + self._hash.hexdigest())
