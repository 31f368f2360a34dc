"""How a layer's tar is packed, and unpacking it in bounded steps.

A step gives at most a few MiB, whatever the input: gzip is asked for no more, zstd is fed block by block (RFC 8878: a
block stands for 128 KiB at most), because its decompressor knows no limit. What is cut, damaged, or followed by
something else is refused.
"""

from __future__ import annotations

import zlib
from enum import StrEnum
from typing import TYPE_CHECKING, BinaryIO, Protocol

from pratique.errors import InvalidInput

if TYPE_CHECKING:
    from zstandard import ZstdDecompressionObj

CHUNK = 1 << 20
GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
MAX_WINDOW = 128 << 20
"""Memory that a zstd frame may ask for: what the zstd program takes by default too."""

MAX_FRAMES = 500_000
"""Members or frames that one layer may consist of; builders that pack each file by itself make one a file."""

_PACKED_CHUNK = 1 << 16
_BLOCK = 128 << 10
_RAW, _RUN, _COMPRESSED = 0, 1, 2
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)
_DICTIONARY_BYTES, _LONG_SIZE_BYTES = (0, 1, 2, 4), (0, 2, 4, 8)
_AGAIN = "Copy or export the image again; do not edit the files of a layout or an archive."


class Packing(StrEnum):
    """What is around a tar."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


def packing_of_bytes(head: bytes) -> Packing:
    """What the first four bytes of a file say."""
    if head.startswith(GZIP_MAGIC):
        return Packing.GZIP
    return Packing.ZSTD if head.startswith(ZSTD_MAGIC) else Packing.NONE


class Unpacking(Protocol):
    """Steps of unpacked bytes; `ended` once there are no more."""

    ended: bool

    def next(self) -> bytes:
        """The next step, which may be empty before the end; raises `InvalidInput`."""


def unpacking(blob: BinaryIO, packing: Packing, *, where: str) -> Unpacking:
    """Unpack `blob`; raises `InvalidInput`: `image/truncated`, `image/gzip-damaged`, `image/zstd-damaged`,
    `image/zstd-window`, `image/too-many-frames`."""
    kinds: dict[Packing, type[_Plain | _Gzip | _Zstd]] = {
        Packing.NONE: _Plain,
        Packing.GZIP: _Gzip,
        Packing.ZSTD: _Zstd,
    }
    return kinds[packing](blob, where)


class _Plain:
    def __init__(self, blob: BinaryIO, where: str) -> None:
        self._blob = blob
        self._where = where
        self.ended = False

    def next(self) -> bytes:
        data = self._blob.read(CHUNK)
        self.ended = not data
        return data


class _Gzip:
    def __init__(self, blob: BinaryIO, where: str) -> None:
        self._blob = blob
        self._where = where
        self._inflate = zlib.decompressobj(wbits=31)
        self._members = 1
        self.ended = False

    def next(self) -> bytes:
        if self._inflate.eof:
            return self._next_member()
        packed = self._inflate.unconsumed_tail or self._blob.read(_PACKED_CHUNK)
        if not packed:
            raise _refusal("truncated", "the compressed layer ends in the middle", self._where)
        return self._inflated(packed, "the layer cannot be decompressed")

    def _next_member(self) -> bytes:
        """A gzip file may be several members in a row, as engines accept it; anything else after one is refused."""
        packed = self._inflate.unused_data or self._blob.read(_PACKED_CHUNK)
        if not packed:
            self.ended = True
            return b""
        self._members += 1
        _check_frames(self._members, self._where)
        self._inflate = zlib.decompressobj(wbits=31)
        return self._inflated(packed, "the layer has bytes after its compressed end")

    def _inflated(self, packed: bytes, complaint: str) -> bytes:
        try:
            return self._inflate.decompress(packed, CHUNK)
        except zlib.error as error:
            raise _refusal("gzip-damaged", complaint, self._where, str(error)) from error


class _Zstd:
    """Frames and skippable frames in a row, each block handed to the library by itself."""

    def __init__(self, blob: BinaryIO, where: str) -> None:
        self._blob = blob
        self._where = where
        self._held = b""
        self._at = 0
        self._frame: ZstdDecompressionObj | None = None
        self._checksum = False
        self._frames = self._headers = 0
        self.ended = False

    def next(self) -> bytes:
        if self._frame is None:
            self._open_frame()
        parts, size = [], 0
        while self._frame is not None and size < CHUNK:
            parts.append(self._block(self._frame))
            size += len(parts[-1])
        return b"".join(parts)

    def _open_frame(self) -> None:
        """Go to the next frame with data, or to the end."""
        magic = self._at_most(4)
        if not magic and self._frames:
            self.ended = True
            return
        if len(magic) < 4:
            raise self._cut()
        self._headers += 1
        _check_frames(self._headers, self._where)
        if int.from_bytes(magic, "little") in _SKIPPABLE:
            self._pass_over(int.from_bytes(self._exactly(4), "little"))
        elif magic != ZSTD_MAGIC:
            raise self._damaged("neither a frame nor the end follows")
        else:
            self._frame = self._decompressor(magic)
            self._frames += 1

    def _decompressor(self, magic: bytes) -> ZstdDecompressionObj:
        import zstandard

        descriptor = self._exactly(1)[0]
        single, self._checksum = descriptor >> 5 & 1, bool(descriptor >> 2 & 1)
        sizes = _LONG_SIZE_BYTES[descriptor >> 6] or single
        rest = self._exactly((0 if single else 1) + _DICTIONARY_BYTES[descriptor & 3] + sizes)
        header = magic + bytes([descriptor]) + rest
        try:
            window = zstandard.get_frame_parameters(header).window_size
            if descriptor & 3 or window > MAX_WINDOW:
                raise _refusal(
                    "zstd-window",
                    f"a zstd frame needs a dictionary, or more than the {MAX_WINDOW >> 20} MiB of memory allowed",
                    self._where,
                    f"{window:,} bytes",
                )
            made = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).decompressobj()
            made.decompress(header)
        except zstandard.ZstdError as error:
            raise self._damaged(str(error)) from error
        return made

    def _block(self, frame: ZstdDecompressionObj) -> bytes:
        import zstandard

        head = self._exactly(3)
        value = int.from_bytes(head, "little")
        last, kind, size = value & 1, value >> 1 & 3, value >> 3
        if kind not in (_RAW, _RUN, _COMPRESSED) or size > _BLOCK:
            raise self._damaged("a block of an unknown kind or size")
        packed = head + self._exactly(1 if kind == _RUN else size)
        if last and self._checksum:
            packed += self._exactly(4)
        try:
            data = frame.decompress(packed)
        except zstandard.ZstdError as error:
            raise self._damaged(str(error)) from error
        if last:
            if not frame.eof:
                raise self._damaged("a frame without an end")
            self._frame = None
        return data

    def _pass_over(self, count: int) -> None:
        while count:
            data = self._at_most(min(count, _PACKED_CHUNK))
            if not data:
                raise self._cut()
            count -= len(data)

    def _exactly(self, count: int) -> bytes:
        data = self._at_most(count)
        if len(data) < count:
            raise self._cut()
        return data

    def _at_most(self, count: int) -> bytes:
        """`count` bytes, fewer only at the end of the blob."""
        while len(self._held) - self._at < count:
            more = self._blob.read(_PACKED_CHUNK)
            if not more:
                break
            self._held, self._at = self._held[self._at :] + more, 0
        data = self._held[self._at : self._at + count]
        self._at += len(data)
        return data

    def _cut(self) -> InvalidInput:
        return _refusal("truncated", "the compressed layer ends in the middle", self._where)

    def _damaged(self, cause: str) -> InvalidInput:
        return _refusal("zstd-damaged", "the layer cannot be decompressed", self._where, cause)


def _check_frames(count: int, where: str) -> None:
    if count > MAX_FRAMES:
        raise _refusal("too-many-frames", f"the layer is packed in more than {MAX_FRAMES:,} pieces", where)


def _refusal(rule: str, message: str, where: str, cause: str = "") -> InvalidInput:
    return InvalidInput(message, rule=f"image/{rule}", where=where, cause=cause, next_step=_AGAIN)
