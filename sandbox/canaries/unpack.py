"""Finds what is packed inside bytes: compressed streams, PNG pictures and encoded text, at any offset, with bounds.

Streams are recognised by their magic bytes wherever they begin, so an entry of a damaged zip file, a NIfTI.gz behind
other bytes and a zlib stream in a pickle are all found. A stream that breaks in the middle counts as far as it went.
"""

from __future__ import annotations

import base64
import bz2
import lzma
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sandbox.canaries.png import png_parts

WINDOW = 8 << 20
"""Bytes of text read at a time when looking for encoded runs."""

LZMA_MEMORY = 128 << 20

_MAGIC = re.compile(
    rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]|PK\x03\x04|BZh[1-9]1AY&SY|\xfd7zXZ\x00"
    rb"|\x5d\x00\x00[\x00-\xff]{2}\xff{8}|\x89PNG\r\n\x1a\n"
)
_OPAQUE = {b"\x28\xb5\x2f\xfd": "zstd", b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "rar", b"\x04\x22\x4d\x18": "lz4"}
_ZIP_METHODS = frozenset({*range(21), *range(93, 100)})
_ZIP_VERSION = 100
_ZIP_NAME = 4096
_FIRST_PIECE = 1 << 12
_PIECE = 1 << 16
_GAIN = 1 << 20
_LEAST_OUTPUT = 8

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/]{32,}")
_BASE64_OF_PACKED = re.compile(rb"H4sI|eJ[wxyz]|eAE|eF4|eNo|UEsDB|QlpoOT|/Td6WFo|iVBORw0KGgo")
_EVERY_ALIGNMENT_BELOW = 1 << 16
_SAMPLE = 1 << 10
_URLSAFE = bytes.maketrans(b"-_", b"+/")
_HEX = b"0123456789abcdefABCDEF"
_HEX_RUN = re.compile(rb"[0-9a-fA-F]{48,}")
_BLOCK = 16
_SPACING = b" \t\r\n\v\f"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far unpacking goes: bytes unpacked in all, bytes of one part, nesting, streams tried in one buffer."""

    total_bytes: int = 256 << 20
    part_bytes: int = 64 << 20
    depth: int = 4
    tries: int = 50_000


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes found packed in others: how (`gzip`, `base64` …), where they began, and why they are not whole, if so."""

    how: str
    offset: int
    data: bytes | memoryview
    cut: str = ""


def packed_parts(data: bytes | memoryview, bounds: Bounds) -> Iterator[Part]:
    """Every compressed stream in `data` and every long run of base64 or hexadecimal in it, unpacked one level."""
    for magic, how in _OPAQUE.items():
        if bytes(data[: len(magic)]) == magic:
            yield Part(how, 0, b"", cut=f"{how} archives cannot be opened")
    yield from _compressed(data, bounds)
    yield from _runs(data, _BASE64_RUN, _BASE64, _SPACING, bounds.part_bytes, _from_base64)
    yield from _runs(data, _HEX_RUN, _HEX, _SPACING + b":", bounds.part_bytes, _from_hex)


# --- compressed streams ---------------------------------------------------------------------------------------------


def _compressed(data: bytes | memoryview, bounds: Bounds) -> Iterator[Part]:
    end_of_last = tries = 0
    for found in _MAGIC.finditer(data):
        at = found.start()
        if at < end_of_last:  # lies inside a stream that was read to its end
            continue
        tries += 1
        if tries > bounds.tries:
            yield Part("stream", at, b"", cut=f"more than {bounds.tries} places look like compressed streams")
            return
        magic = bytes(found.group())
        if magic.startswith(b"\x89PNG"):
            for how, pixels, cut in png_parts(data, at, bounds.part_bytes):
                yield Part(how, at, pixels, cut)
            continue
        part, end_of_last = _opened(data, at, magic, bounds.part_bytes)
        if part is not None:
            yield part


def _opened(data: bytes | memoryview, at: int, magic: bytes, limit: int) -> tuple[Part | None, int]:
    """What the stream at `at` holds, and where it ends (0 when it broke)."""
    if magic.startswith(b"PK"):
        return _zip_entry(data, at, limit)
    if magic.startswith(b"\x1f"):
        return _inflated("gzip", data, at, at, 31, limit)
    if magic.startswith(b"\x78"):
        return _inflated("zlib", data, at, at, 15, limit)
    if magic.startswith(b"BZh"):
        return _drained("bzip2", data, at, at, bz2.BZ2Decompressor(), limit)
    kind = lzma.FORMAT_XZ if magic.startswith(b"\xfd") else lzma.FORMAT_ALONE
    return _drained("xz", data, at, at, lzma.LZMADecompressor(kind, memlimit=LZMA_MEMORY), limit)


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
    if method not in (0, 12):  # bzip2 (12) is found by its own magic
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
    start: int,
    stream: bz2.BZ2Decompressor | lzma.LZMADecompressor,
    limit: int,
) -> tuple[Part | None, int]:
    """As `_inflated` for bzip2 and xz, whose decompressors take input only when they ask for it."""
    out = bytearray()
    position = start
    try:
        while not stream.eof and len(out) <= limit:
            piece = bytes(data[position : position + _PIECE]) if stream.needs_input else b""
            if stream.needs_input and not piece:
                break
            out += stream.decompress(piece, min(_PIECE, limit + 1 - len(out)))
            position += len(piece)
    except (OSError, lzma.LZMAError, EOFError):
        return _part(how, at, out, limit), 0
    return _part(how, at, out, limit), position - len(stream.unused_data) if stream.eof else 0


def _part(how: str, at: int, out: bytearray, limit: int) -> Part | None:
    if len(out) < _LEAST_OUTPUT:
        return None
    cut = f"a {how} stream unpacks to more than {limit} bytes" if len(out) > limit else ""
    return Part(how, at, memoryview(out)[:limit], cut)


# --- encoded text ---------------------------------------------------------------------------------------------------


def _runs(
    data: bytes | memoryview,
    run: re.Pattern[bytes],
    alphabet: bytes,
    spacing: bytes,
    limit: int,
    decode: Callable[[bytes, int], Iterator[Part]],
) -> Iterator[Part]:
    """Decode every run of `alphabet` in `data`, wrapped and indented ones too; offsets are those of the window."""
    carried, carried_from = bytearray(), 0
    for start in range(0, len(data), WINDOW):
        text = bytes(data[start : start + WINDOW]).translate(_URLSAFE, spacing)
        begin = carried_from if carried else start
        last = start + WINDOW >= len(data)
        if not last and not text.translate(None, alphabet):  # nothing ends in this window
            carried_from = begin
            carried += text
            text = b""
        else:
            text, carried = bytes(carried + text), bytearray()
        whole = len(text) if last else len(text.rstrip(alphabet))
        if whole < len(text):  # a run that touches the end goes on in the next window
            carried, carried_from = bytearray(text[whole:]), begin
        if _holds_run(text, alphabet):
            for found in run.finditer(text, 0, whole):
                yield from decode(found.group(), begin)
        if len(carried) > limit:
            yield Part("text", begin, b"", cut=f"encoded text of more than {limit} bytes in one piece")
            carried.clear()


def _holds_run(text: bytes, alphabet: bytes) -> bool:
    """Whether a run of at least 32 bytes of `alphabet` can be in `text`: it fills one aligned block of 16, at least."""
    import numpy as np

    belongs = np.zeros(256, dtype=np.bool_)
    belongs[list(alphabet)] = True
    blocks = len(text) // _BLOCK
    inside = belongs[np.frombuffer(text, dtype=np.uint8, count=blocks * _BLOCK)]
    return bool(inside.reshape(blocks, _BLOCK).all(axis=1).any())


def _from_base64(run: bytes, offset: int) -> Iterator[Part]:
    """Decoded from its beginning; short runs at all four alignments, long ones where something packed begins."""
    alignments = set(range(4)) if len(run) < _EVERY_ALIGNMENT_BELOW else {0}
    for found in _BASE64_OF_PACKED.finditer(run) if len(alignments) < 4 else ():
        at = found.start()
        if at % 4 not in alignments and _worth_decoding(run[at : at + _SAMPLE]):
            alignments.add(at % 4)
    for alignment in sorted(alignments):
        yield Part("base64", offset, _decoded(run[alignment:]))


def _worth_decoding(run: bytes) -> bool:
    """False where what looks like the beginning of a zlib stream is none (two bytes come about by chance)."""
    if not run.startswith(b"e"):
        return True
    try:
        zlib.decompressobj().decompress(_decoded(run))
    except zlib.error:
        return False
    return True


def _decoded(run: bytes) -> bytes:
    usable = len(run) - (len(run) % 4 == 1)  # one character alone holds no byte
    return base64.b64decode(run[:usable] + b"=" * (-usable % 4))


def _from_hex(run: bytes, offset: int) -> Iterator[Part]:
    for alignment in range(2):
        text = run[alignment : alignment + (len(run) - alignment) // 2 * 2]
        yield Part("hex", offset, bytes.fromhex(text.decode("ascii")))
