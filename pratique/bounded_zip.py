"""Opening zip archives that come from outside: `zipfile` reads the whole list of members into memory at once."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from typing import BinaryIO, cast

MAX_LIST = 8 * 1024**2
"""Bytes of the list of members (the central directory) that are read; an entry has 46 and its name."""


class LongList(zipfile.BadZipFile):
    """The list of members is longer than allowed."""


class _FirstReads:
    """A seekable stream that gives no more than `most` bytes at once and tells `took` of them, until it is `free`."""

    def __init__(self, stream: BinaryIO, most: int, took: Callable[[int], None] | None) -> None:
        self._stream = stream
        self._most = most
        self._took = took
        self.free = False

    def read(self, size: int = -1) -> bytes:
        if size > self._most and not self.free:
            raise LongList(f"a list of members of more than {self._most:,} bytes")
        data = self._stream.read(size)
        if self._took and not self.free:
            self._took(len(data))
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        """Leave the stream to whoever opened it."""


def open_zip(stream: BinaryIO, most: int = MAX_LIST, *, took: Callable[[int], None] | None = None) -> zipfile.ZipFile:
    """The archive in `stream`, for reading; its list of members has at most `most` bytes.

    `took` hears how many bytes were read, before they are made into a list. Raises what `zipfile.ZipFile` and `took`
    do, and `LongList`.
    """
    source = _FirstReads(stream, most, took)
    opened = zipfile.ZipFile(cast(BinaryIO, source))
    source.free = True
    return opened
