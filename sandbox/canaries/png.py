"""Reads the pixels of PNG pictures (W3C PNG, second edition) out of any buffer, with bounds, for the canary scanner.

No picture library is given bytes of a tool: the few rules needed are here, and nothing is trusted (dimensions only
say where a row ends).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

SLOW_BYTES = 4 << 20
"""Bytes of pixels with the filters Average and Paeth that are undone (they go byte by byte)."""

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def png_parts(data: bytes | memoryview, at: int, limit: int) -> Iterator[tuple[str, bytes, str]]:
    """(how, bytes, why cut) of the picture at `at`: its rows as filtered, its pixels, and each colour plane alone."""
    header, packed = _chunks(data, at + 8, limit)
    rows = _inflated(packed, limit)
    if not rows:
        return
    yield "png", rows, f"a png unpacks to more than {limit} bytes" if len(rows) >= limit else ""
    if len(header) < 13:
        return
    width, _, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", header[:13])
    channels = _CHANNELS.get(colour, 1)
    row_bytes = (width * depth * channels + 7) // 8
    if interlace or not width or depth not in (1, 2, 4, 8, 16) or row_bytes >= len(rows):
        return
    pixels, cut = _unfiltered(rows, row_bytes, max(1, depth * channels // 8))
    yield "png", pixels, cut
    sample = depth // 8
    if channels > 1 and sample == 1:
        for channel in range(channels):
            yield "png", pixels[channel::channels], ""


def _chunks(data: bytes | memoryview, position: int, limit: int) -> tuple[bytes, bytes]:
    """The IHDR chunk and the IDAT chunks put together."""
    header, packed = b"", bytearray()
    while position + 8 <= len(data) and len(packed) < limit:
        length, kind = struct.unpack(">I4s", bytes(data[position : position + 8]))
        body = bytes(data[position + 8 : position + 8 + min(length, limit)])
        if kind == b"IHDR":
            header = body
        elif kind == b"IDAT":
            packed += body
        elif kind == b"IEND":
            break
        position += 12 + length
    return header, bytes(packed)


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


def _unfiltered(rows: bytes, row_bytes: int, pixel_bytes: int) -> tuple[bytes, str]:
    """Undo the row filters (PNG 9.2)."""
    import numpy as np

    out = bytearray()
    above = bytes(row_bytes)
    slow = 0
    for start in range(0, len(rows) - row_bytes, row_bytes + 1):
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
