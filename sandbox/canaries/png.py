"""Reads the pixels of PNG pictures (W3C PNG, second edition) out of any buffer, with bounds, for the canary scanner.

No picture library is given bytes of a tool: the few rules needed are here, and nothing is trusted (dimensions only
say where a row ends).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from sandbox.canaries.parts import Part, Raster

SLOW_BYTES = 4 << 20
"""Bytes of pixels with the filters Average and Paeth that are undone (they go byte by byte)."""

MOST_ROWS = 1 << 16

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PALETTE = 3


@dataclass(slots=True)
class _Picture:
    """The chunks of a picture that say how its pixels look, and where it ends."""

    header: bytes = b""
    palette: bytes = b""
    packed: bytearray = field(default_factory=bytearray)
    animated: bool = False
    end: int = 0


def png_parts(data: bytes | memoryview, at: int, limit: int) -> Iterator[tuple[Part, int]]:
    """The parts of the picture at `at`, each with its end: rows as filtered, pixels, and each colour plane alone."""
    picture = _read(data, at + 8, limit)
    if picture.animated:
        yield Part("png", at, b"", cut="the later pictures of an animated png cannot be searched"), picture.end
    rows = _inflated(bytes(picture.packed), limit)
    if not rows:
        return
    cut = f"a png unpacks to more than {limit} bytes" if len(rows) >= limit else ""
    yield Part("png", at, rows, cut), picture.end
    if len(picture.header) < 13:
        return
    width, _, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", picture.header[:13])
    channels = _CHANNELS.get(colour, 1)
    row_bytes = (width * depth * channels + 7) // 8
    if interlace:
        yield Part("png", at, b"", cut="an interlaced png cannot be searched"), picture.end
    if interlace or not width or depth not in (1, 2, 4, 8, 16) or row_bytes >= len(rows):
        return
    pixels, cut = _unfiltered(rows, row_bytes, max(1, depth * channels // 8))
    sample = ">u2" if depth == 16 else "u1"
    yield Part("png", at, pixels, cut, raster=Raster(sample, 0, (channels, channels * width))), picture.end
    if depth < 8 and len(pixels) > SLOW_BYTES:
        yield (
            Part("png", at, b"", cut=f"a png has more than {SLOW_BYTES} bytes of samples below eight bits"),
            picture.end,
        )
        return
    for plane in _planes(pixels, row_bytes, depth, channels, picture.palette if colour == _PALETTE else b""):
        yield Part("png", at, plane, leaf=True, raster=Raster(sample, 0, (1, width))), picture.end


def _read(data: bytes | memoryview, position: int, limit: int) -> _Picture:
    picture = _Picture()
    while position + 8 <= len(data) and len(picture.packed) < limit:
        length, kind = struct.unpack(">I4s", bytes(data[position : position + 8]))
        body = bytes(data[position + 8 : position + 8 + min(length, limit)])
        position += 12 + length
        if kind == b"IHDR":
            picture.header = body
        elif kind == b"PLTE":
            picture.palette = body
        elif kind == b"IDAT":
            picture.packed += body
        elif kind == b"fdAT":
            picture.animated = True
        elif kind == b"IEND":
            break
    picture.end = min(position, len(data))
    return picture


def _inflated(packed: bytes, limit: int) -> bytes:
    stream = zlib.decompressobj()
    out = bytearray()
    for start in range(0, len(packed), 4096):
        try:
            out += stream.decompress(packed[start : start + 4096], limit - len(out))
        except zlib.error:
            break
        if len(out) >= limit or stream.eof:
            break
    return bytes(out)


def _planes(pixels: bytes, row_bytes: int, depth: int, channels: int, palette: bytes) -> Iterator[bytes]:
    """Each channel alone, whole bytes a sample; of a picture with a palette, each channel of the colours shown."""
    import numpy as np

    values = np.frombuffer(pixels, dtype=np.uint8)
    if depth < 8:
        rows = values[: values.size // row_bytes * row_bytes].reshape(-1, row_bytes)
        bits = np.unpackbits(rows, axis=1)
        weights = (1 << np.arange(depth - 1, -1, -1)).astype(np.uint8)
        values = (bits.reshape(-1, depth) @ weights).ravel()
        yield values.tobytes()
    if palette:
        colours = np.zeros((256, 3), dtype=np.uint8)
        listed = np.frombuffer(palette[: len(palette) // 3 * 3][:768], dtype=np.uint8).reshape(-1, 3)
        colours[: len(listed)] = listed
        for channel in range(3):
            yield colours[values, channel].tobytes()
    elif channels > 1:
        width = depth // 8
        samples = np.frombuffer(pixels[: len(pixels) // (channels * width) * channels * width], dtype=f"V{width}")
        for channel in range(channels):
            yield samples[channel::channels].tobytes()


def _unfiltered(rows: bytes, row_bytes: int, pixel_bytes: int) -> tuple[bytes, str]:
    """Undo the row filters (PNG 9.2)."""
    import numpy as np

    out = bytearray()
    above = bytes(row_bytes)
    slow = 0
    for number, start in enumerate(range(0, len(rows) - row_bytes, row_bytes + 1)):
        if number == MOST_ROWS:
            return bytes(out), f"a png has more than {MOST_ROWS} rows"
        kind, line = rows[start], rows[start + 1 : start + 1 + row_bytes]
        if kind == 1:
            padded = np.frombuffer(line + bytes(-row_bytes % pixel_bytes), dtype=np.uint8).reshape(-1, pixel_bytes)
            line = np.cumsum(padded, axis=0, dtype=np.uint8).tobytes()[:row_bytes]
        elif kind == 2:
            line = (np.frombuffer(line, dtype=np.uint8) + np.frombuffer(above, dtype=np.uint8)).tobytes()
        elif kind in (3, 4):
            slow += row_bytes
            if slow > SLOW_BYTES:
                return bytes(out), f"a png has more than {SLOW_BYTES} bytes of filtered pixels"
            line = _slowly(kind, line, above, pixel_bytes)
        out += line
        above = line
    return bytes(out), ""


def _slowly(kind: int, line: bytes, above: bytes, pixel_bytes: int) -> bytes:
    out = bytearray(line)
    for place, value in enumerate(line):
        left = out[place - pixel_bytes] if place >= pixel_bytes else 0
        corner = above[place - pixel_bytes] if place >= pixel_bytes else 0
        up = above[place]
        predicted = (left + up) // 2 if kind == 3 else _paeth(left, up, corner)
        out[place] = (value + predicted) & 255
    return bytes(out)


def _paeth(left: int, up: int, corner: int) -> int:
    estimate = left + up - corner
    to_left, to_up, to_corner = abs(estimate - left), abs(estimate - up), abs(estimate - corner)
    if to_left <= to_up and to_left <= to_corner:
        return left
    return up if to_up <= to_corner else corner
