"""Opens compressed streams wherever they begin in a buffer: gzip, zlib, raw deflate, zip, bzip2, xz, zstd, PNG.

Streams are recognised by their magic bytes, so an entry of a damaged zip file, a NIfTI.gz behind other bytes and a
zlib stream in a pickle are all found. Raw deflate has none: a block with codes of its own is recognised by its header
(`sandbox.canaries.deflate`). A stream that breaks in the middle counts as far as it went.
"""

from __future__ import annotations

import bz2
import lzma
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace

from sandbox.canaries.deflate import EVERYWHERE_BELOW, deflate_starts
from sandbox.canaries.parts import Bounds, Part
from sandbox.canaries.png import png_parts

STREAM_MEMORY = 128 << 20
"""Bytes that a decompressor may ask for its window or dictionary."""

_MAGIC = re.compile(
    rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]|PK\x03\x04|(?:BZh[1-9])?1AY&SY|\xfd7zXZ\x00"
    rb"|[\x5d\x5e\x66]\x00\x00[\x00-\xff]{2}\xff{8}|\x28\xb5\x2f\xfd|\x89PNG\r\n\x1a\n"
)
_BEGINNINGS = (
    b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"PK", b"BZ", b"1A", b"\xfd7", b"\x5d\x00",
    b"\x5e\x00", b"\x66\x00", b"\x28\xb5", b"\x89P",
)  # fmt: skip
_LONGEST_MAGIC = 16
_WINDOW = 8 << 20
_ZIP_METHODS = frozenset({*range(21), *range(93, 100)})
_ZIP_VERSION = 100
_ZIP_NAME = 4096
_FIRST_PIECE = 1 << 12
_PIECE = 1 << 16
_ZSTD_PIECE = 1 << 8  # a few bytes of zstd can stand for 128 KiB, and its decompressor knows no limit
_GAIN = 1 << 20
_LEAST_OUTPUT = 8
_SHORT = 256
_TRAILER = 16
_TEXT = b"\t\r\n" + bytes(range(0x20, 0x7F))
_LEAST_TEXT = 16


def streams_in_rubbish(
    data: bytes, how: str, offset: int, bounds: Bounds, *, headerless: bool = True
) -> Iterator[Part]:
    """The streams in `data`, which may be rubbish: whole, or making sense, or from a short buffer."""
    for part in Streams(data, bounds, everywhere_below=_SHORT).parts(headerless=headerless):
        if not part.leaf or len(data) <= _SHORT:
            yield replace(part, how=f"{how} > {part.how}", offset=offset)


class Streams:
    """The compressed streams of one buffer; `covered` says, once they were read, which bytes they take up."""

    def __init__(self, data: bytes | memoryview, bounds: Bounds, *, everywhere_below: int = EVERYWHERE_BELOW) -> None:
        self.covered: list[tuple[int, int]] = []
        self._data = data
        self._limit = bounds.part_bytes
        self._tries = bounds.tries
        self._everywhere_below = everywhere_below

    def parts(self, *, headerless: bool = True) -> Iterator[Part]:
        """Every stream unpacked one level; after `tries` places that look like one, a part that says so."""
        end_of_last = tries = 0
        for at, magic in _places(self._data):
            if at < end_of_last:  # lies inside a stream that was read to its end
                continue
            tries += 1
            if tries > self._tries:
                yield Part("stream", at, b"", cut=f"more than {self._tries} places look like compressed streams")
                return
            if magic.startswith(b"\x89PNG"):
                yield from self._png(at)
                continue
            part, end_of_last = _opened(self._data, at, magic, self._limit)
            if end_of_last:
                self.covered.append((at, end_of_last))
            if part is not None:
                yield part if end_of_last or part.cut or _convincing(part.data) else replace(part, leaf=True)
        if headerless:
            yield from self._headerless()

    def _png(self, at: int) -> Iterator[Part]:
        for part, end in png_parts(self._data, at, self._limit):
            self.covered.append((at, end))
            yield part

    def _headerless(self) -> Iterator[Part]:
        inside = iter(sorted(self.covered))
        start, end = next(inside, (len(self._data), len(self._data)))
        for at in deflate_starts(self._data, self._everywhere_below):
            while at >= end < len(self._data):
                start, end = next(inside, (len(self._data), len(self._data)))
            if start <= at < end:
                continue
            part, end_of_stream = _inflated("deflate", self._data, at, at, -15, self._limit)
            if end_of_stream:
                self.covered.append((at, end_of_stream))
                start, end = at, end_of_stream
            if part is not None:
                # What makes no sense came about by chance: it is searched, but not taken for something packed.
                yield part if self._is_meant(part, end_of_stream) else replace(part, leaf=True)

    def _is_meant(self, part: Part, end: int) -> bool:
        """Whether a stream without a header is one: with codes of its own, or in the fixed code to the buffer's end."""
        if self._data[part.offset] & 6 == 4:
            return (end > 0 and len(part.data) >= _LEAST_TEXT) or _convincing(part.data)
        return len(self._data) - _TRAILER <= end and _convincing(part.data)


def _places(data: bytes | memoryview) -> Iterator[tuple[int, bytes]]:
    """Where the magic bytes of a stream stand, and which; the first two bytes are looked up for all places at once."""
    import numpy as np

    begins = np.zeros(1 << 16, dtype=np.bool_)
    begins[[int.from_bytes(pair, "big") for pair in _BEGINNINGS]] = True
    for start in range(0, len(data) - 1, _WINDOW):
        window = np.frombuffer(data[start : start + _WINDOW + 1], dtype=np.uint8)
        pairs = (window[:-1].astype(np.uint16) << np.uint16(8)) | window[1:]
        for at in (start + np.flatnonzero(begins[pairs])).tolist():
            found = _MAGIC.match(bytes(data[at : at + _LONGEST_MAGIC]))
            if found is not None:
                yield at, found.group()


def _convincing(output: bytes | memoryview) -> bool:
    """Whether a stream that broke, or has no header, gave more than chance does."""
    return len(output) >= _FIRST_PIECE or makes_sense(bytes(output[:_SHORT]))


def makes_sense(data: bytes) -> bool:
    """Whether bytes that may have come about by chance begin with a stream of their own, or are text."""
    found = _MAGIC.match(data)
    if found is not None and not found.group().startswith(b"\x78"):
        return True
    if len(data) < _LEAST_TEXT or len(data.translate(None, _TEXT)) * 20 > len(data):
        return False
    # Rubbish is full of repetitions: a few bits of it say "copy the last bytes 200 times".
    return len({data[place : place + 3] for place in range(len(data) - 2)}) * 2 >= len(data)


def _opened(data: bytes | memoryview, at: int, magic: bytes, limit: int) -> tuple[Part | None, int]:
    """What the stream at `at` holds, and where it ends (0 when it broke)."""
    if magic.startswith(b"PK"):
        return _zip_entry(data, at, limit)
    if magic.startswith(b"\x1f"):
        return _inflated("gzip", data, at, at, 31, limit)
    if magic.startswith(b"\x78"):
        return _inflated("zlib", data, at, at, 15, limit)
    if magic.startswith(b"\x28"):
        return _zstd(data, at, limit)
    if magic.startswith((b"BZh", b"1AY")):
        return _drained("bzip2", data, at, bz2.BZ2Decompressor(), limit, b"" if magic[:1] == b"B" else b"BZh9")
    kind = lzma.FORMAT_XZ if magic.startswith(b"\xfd") else lzma.FORMAT_ALONE
    return _drained("xz", data, at, lzma.LZMADecompressor(kind, memlimit=STREAM_MEMORY), limit)


def _zip_entry(data: bytes | memoryview, at: int, limit: int) -> tuple[Part | None, int]:
    """The entry whose local header (APPNOTE 4.3.7) begins at `at`; stored entries are in plain sight already."""
    header = bytes(data[at : at + 30])
    if len(header) < 30:
        return None, 0
    version, flags, method = struct.unpack_from("<HHH", header, 4)
    name_length, extra_length = struct.unpack_from("<HH", header, 26)
    if version & 0xFF > _ZIP_VERSION or method not in _ZIP_METHODS or name_length > _ZIP_NAME:
        return None, 0  # four bytes that came about by chance
    start = at + 30 + name_length + extra_length
    if flags & 1:
        return Part("zip", at, b"", cut="an encrypted zip entry cannot be opened"), 0
    if method == 8:
        return _inflated("zip", data, at, start, -15, limit)
    if method == 14:  # LZMA (APPNOTE 5.8.8): two bytes of version, the length of the properties, the properties
        alone = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=STREAM_MEMORY)
        return _drained("zip", data, at, alone, limit, bytes(data[start + 4 : start + 9]) + b"\xff" * 8, start + 9)
    if method not in (0, 12, 93, 95):  # bzip2, zstd and xz are found by their own magic
        return Part("zip", at, b"", cut=f"a zip entry of compression method {method} cannot be opened"), 0
    return None, 0


def _inflated(
    how: str, data: bytes | memoryview, at: int, start: int, wbits: int, limit: int
) -> tuple[Part | None, int]:
    """Inflate from `start`; what came before an error is kept to the last byte."""
    stream = zlib.decompressobj(wbits)
    out = bytearray()
    position = start
    while not stream.eof and position < len(data) and len(out) <= limit:
        piece = bytes(data[position : position + (_PIECE if out else _FIRST_PIECE)])
        before = stream.copy()
        try:
            out += stream.decompress(piece, min(_GAIN, limit + 1 - len(out)))
        except zlib.error:
            out += _until_error(before, piece, limit + 1 - len(out))
            return _part(how, at, out, limit), 0
        position += len(piece) - len(stream.unconsumed_tail) - len(stream.unused_data)
    if not stream.eof and not stream.unconsumed_tail:
        out += stream.flush()  # a few hundred bytes that were waiting for room
    return _part(how, at, out, limit), position if stream.eof else 0


def _until_error(stream: zlib._Decompress, piece: bytes, limit: int) -> bytes:
    out = bytearray()
    for place in range(len(piece)):
        try:
            out += stream.decompress(piece[place : place + 1], max(1, limit - len(out)))
        except zlib.error:
            break
        if len(out) > limit:
            break
    return bytes(out)


def _drained(
    how: str,
    data: bytes | memoryview,
    at: int,
    stream: bz2.BZ2Decompressor | lzma.LZMADecompressor,
    limit: int,
    header: bytes = b"",
    start: int = -1,
) -> tuple[Part | None, int]:
    """As `_inflated` for bzip2 and xz, whose decompressors take input only when they ask for it."""
    out = bytearray()
    position = at if start < 0 else start
    try:
        while not stream.eof and len(out) <= limit:
            piece = header + bytes(data[position : position + _PIECE]) if stream.needs_input else b""
            if stream.needs_input and not piece:
                break
            out += stream.decompress(piece, min(_PIECE, limit + 1 - len(out)))
            position += len(piece) - len(header)
            header = b""
    except (OSError, lzma.LZMAError, EOFError):
        return _part(how, at, out, limit), 0
    return _part(how, at, out, limit), position - len(stream.unused_data) if stream.eof else 0


def _zstd(data: bytes | memoryview, at: int, limit: int) -> tuple[Part | None, int]:
    """As `_inflated` for a frame of zstd (RFC 8878); one that needs a dictionary or a huge window is said to be cut."""
    import zstandard

    try:
        frame = zstandard.get_frame_parameters(bytes(data[at : at + 18]))
    except zstandard.ZstdError:
        return None, 0
    if frame.dict_id:
        return Part("zstd", at, b"", cut="a zstd stream with a dictionary cannot be opened"), 0
    stream = zstandard.ZstdDecompressor(max_window_size=STREAM_MEMORY).decompressobj()
    out = bytearray()
    position = at
    try:
        while not stream.eof and position < len(data) and len(out) <= limit:
            piece = bytes(data[position : position + _ZSTD_PIECE])
            out += stream.decompress(piece)
            position += len(piece)
    except zstandard.ZstdError as error:
        if "memory" in str(error):
            return Part("zstd", at, b"", cut=f"a zstd stream needs a window of more than {STREAM_MEMORY} bytes"), 0
        return _part("zstd", at, out, limit), 0
    return _part("zstd", at, out, limit), position - len(stream.unused_data) if stream.eof else 0


def _part(how: str, at: int, out: bytearray, limit: int) -> Part | None:
    if len(out) < _LEAST_OUTPUT:
        return None
    cut = f"a {how} stream unpacks to more than {limit} bytes" if len(out) > limit else ""
    return Part(how, at, memoryview(out)[:limit], cut)
