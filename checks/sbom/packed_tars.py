"""Tars inside the image, plain or in a compressed stream, by the reader that layers are read with: it has bounds."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from pratique.intake.image.model import Kind
from pratique.intake.image.streams import ByteSource
from pratique.intake.image.tar import BLOCK, TarReader

_CHUNK = 1 << 20


class TarMember(NamedTuple):
    """A regular file of a tar, and its data, to be read before the next one."""

    name: str
    size: int
    data: MemberData


class MemberData:
    """Data of a member as something to read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = b""

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, fewer only at the end."""
        parts, missing = [], size
        while missing and (chunk := self._held or next(self._chunks, b"")):
            parts.append(chunk[:missing])
            self._held = chunk[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)


class _Source(ByteSource):
    """See `ByteSource`; `took` hears how many bytes came, what is passed over in a plain file excepted."""

    def __init__(self, stream: BinaryIO, took: Callable[[int], None], *, plain: bool) -> None:
        self._stream = stream
        self._took = took
        self._plain = plain
        self._held = b""

    def peek(self, count: int) -> bytes:
        self._held = self.read(count)
        return self._held

    def some(self, limit: int) -> bytes:
        data, self._held = self._held[:limit], self._held[limit:]
        if not data:
            data = self._stream.read(min(limit, _CHUNK))
            self._took(len(data))
        return data

    def skip(self, count: int) -> int:
        if not self._plain or self._held:
            return super().skip(count)
        here = self._stream.tell()
        passed = min(count, self._stream.seek(0, os.SEEK_END) - here)
        self._stream.seek(here + passed)
        return passed


def members_of(
    stream: BinaryIO, where: str, took: Callable[[int], None], *, plain: bool, certain: bool
) -> Iterator[TarMember | None]:
    """Every member of the tar in `stream`, None for one without data; nothing where the bytes are no tar.

    Raises `InvalidInput` for a tar that cannot be read to its end, `tarfile.ReadError` where the bytes are no tar
    although that is `certain`, and what the stream and `took` raise.
    """
    source = _Source(stream, took, plain=plain)
    head = source.peek(BLOCK)
    if not head.strip(b"\0"):
        return
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        if certain:
            raise tarfile.ReadError(str(error)) from error
        return
    reader = TarReader(source, where=where)
    for entry in reader:
        regular = entry.kind is Kind.FILE and not entry.hard_link
        name = entry.name.decode("utf-8", "replace")
        yield TarMember(name, entry.size, MemberData(reader.chunks())) if regular else None
