"""Says what in a buffer cannot be looked into: formats that we do not open, and bytes that look encrypted.

Fail closed: where a format can hold what no search sees, its presence makes a scan incomplete.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sandbox.canaries.parts import Part

_FORMATS: tuple[tuple[bytes, bytes, str], ...] = (
    (b"7z\xbc\xaf\x27\x1c", b"", "a 7z archive"),
    (b"Rar!\x1a\x07", b"", "a rar archive"),
    (b"\x04\x22\x4d\x18", rb"[\x40-\x7f][\x40\x50\x60\x70]", "an lz4 stream"),
    (b"\xff\x06\x00\x00sNaPpY", b"", "a snappy stream"),
    (b"\x89LZO\x00\r\n\x1a\n", b"", "an lzo stream"),
    (b"LZIP\x01", b"", "an lzip stream"),
    (b"\x89HDF\r\n\x1a\n", b"", "an HDF5 file (its filters may hide what is in it)"),
    (b"PAR1\x15", b"", "a parquet file (its pages are encoded)"),
    (b"ARROW1\x00\x00", b"", "an Arrow file (its buffers may be compressed)"),
    (b"avro.schema", b"", "an Avro file (its blocks may be compressed)"),
    (b"\xff\xd8\xff\xe0", rb"..JFIF\x00", "the pixels of a JPEG picture"),
    (b"\xff\xd8\xff\xe1", rb"..Exif\x00", "the pixels of a JPEG picture"),
    (b"jP  \r\n\x87\n", b"", "the pixels of a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51\x00", b"", "the pixels of a JPEG 2000 picture"),
    (b"GIF87a", b"", "the pixels of a GIF picture"),
    (b"GIF89a", b"", "the pixels of a GIF picture"),
    (b"WEBPVP8", b"", "the pixels of a WebP picture"),
    (b"ftyp", rb"isom|iso[2-9]|mp4|avif|heic|qt  |M4V", "the samples of a film or an HEIF picture"),
    (b"\x02\x00\x10\x00UI", rb".\x001\.2\.840\.10008\.1\.2\.[4-7]", "compressed pixels of a DICOM file"),
    (b"-----BEGIN ", rb"PGP MESSAGE|AGE ENCRYPTED FILE|CMS|ENCRYPTED", "an encrypted message"),
    (b"age-encryption.org/v1", b"", "an encrypted file"),
    (b"Salted__", b"", "an encrypted file"),
    (b"$ANSIBLE_VAULT;", b"", "an encrypted file"),
    ("EncryptedPackage".encode("utf-16-le"), b"", "an encrypted office document"),
    (b"/Encrypt", rb" [0-9]+ [0-9]+ R| ?<<", "an encrypted PDF"),
)
"""What a format begins with (or holds), what follows it, and how it is called."""

_AT_THE_BEGINNING = (
    (b"\x1f\x9d", "a stream of compress"),
    (b"\x1f\xa0", "a stream of compress"),
    (b"\xff\xd8\xff", "the pixels of a JPEG picture"),
    (b"II*\x00", "the pixels of a TIFF picture"),
    (b"MM\x00*", "the pixels of a TIFF picture"),
)
_FOLLOWS = 64
_OCCURRENCES = 1000

BLOCK = 1 << 10
"""Bytes whose distribution is tested at a time."""

_LOWEST, _HIGHEST = 120, 400
"""Chi-squared of 1024 bytes over 256 values against "all equally often": 255 in the mean, standard deviation 22.6."""

_WINDOW = 1 << 20


def opaque_parts(data: bytes | memoryview) -> Iterator[Part]:
    """One empty part for each kind of thing in `data` that cannot be looked into."""
    seen = {what for magic, what in _AT_THE_BEGINNING if bytes(data[: len(magic)]) == magic}
    for start in range(0, len(data), _WINDOW):
        window = bytes(data[start : start + _WINDOW + _FOLLOWS])
        seen |= {what for magic, follows, what in _FORMATS if what not in seen and _holds(window, magic, follows)}
    for what in sorted(seen):
        yield Part("opaque", 0, b"", cut=f"{what} cannot be searched")


def _holds(window: bytes, magic: bytes, follows: bytes) -> bool:
    at = window.find(magic)
    for _ in range(_OCCURRENCES):
        if at < 0:
            return False
        if re.match(follows, window[at + len(magic) : at + len(magic) + _FOLLOWS], re.DOTALL):
            return True
        at = window.find(magic, at + 1)
    return True  # so many beginnings without what must follow them are there to hide one


def random_looking(data: bytes | memoryview, covered: Sequence[tuple[int, int]]) -> Iterator[Part]:
    """One empty part when bytes outside the streams that were opened look like random ones: encrypted, or unknown."""
    place = count = 0
    first = -1
    for start, end in (*sorted(covered), (len(data), len(data))):
        for at, found in _uniform(data, place, start):
            first = at if first < 0 else first
            count += found
        place = max(place, end)
    if count:
        say = f"{count * BLOCK} bytes or more look encrypted, or compressed in an unknown way"
        yield Part("opaque", first, b"", cut=say)


def _uniform(data: bytes | memoryview, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where blocks between `start` and `end` hold all byte values equally often, and how many they are."""
    import numpy as np

    for begin in range(start, end - BLOCK + 1, _WINDOW):
        blocks = min(_WINDOW, end - begin) // BLOCK
        values = np.frombuffer(data[begin : begin + blocks * BLOCK], dtype=np.uint8).reshape(blocks, BLOCK)
        keys = values + (np.arange(blocks, dtype=np.intp) << 8)[:, np.newaxis]
        counts = np.bincount(keys.ravel(), minlength=blocks << 8).reshape(blocks, 256)
        chi_squared = (counts * counts).sum(axis=1) // 4 - BLOCK
        uniform = np.flatnonzero((chi_squared > _LOWEST) & (chi_squared < _HIGHEST))
        if uniform.size:
            yield begin + int(uniform[0]) * BLOCK, int(uniform.size)
