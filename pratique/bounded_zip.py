"""Opening zip archives that come from outside: `zipfile` reads the whole list of members into memory at once."""

from __future__ import annotations

import zipfile
from typing import BinaryIO, cast

MAX_LIST = 8 * 1024**2
"""Bytes of the list of members (the central directory) that are read; an entry has 46 and its name."""


class _FirstReads:
    """A seekable stream that gives no more than `MAX_LIST` bytes at once, until it is `free`."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.free = False

    def read(self, size: int = -1) -> bytes:
        if size > MAX_LIST and not self.free:
            raise zipfile.BadZipFile(f"a list of members of more than {MAX_LIST:,} bytes")
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        """Leave the stream to whoever opened it."""


def open_zip(stream: BinaryIO) -> zipfile.ZipFile:
    """The archive in `stream`, for reading; its list of members has at most `MAX_LIST` bytes.

    Raises what `zipfile.ZipFile` does, `BadZipFile` for a longer list too.
    """
    source = _FirstReads(stream)
    opened = zipfile.ZipFile(cast(BinaryIO, source))
    source.free = True
    return opened
