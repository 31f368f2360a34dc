"""Finds where raw deflate (RFC 1951) may begin in a buffer: it has no magic bytes, but hardly anything else is valid.

A block with codes of its own begins with the lengths of a prefix code that must be complete: one place in some
hundreds of random bytes passes that, tested for all places at once, and of these hardly one passes zlib's own tests.
A block in the fixed code can be told from nothing: it is tried at the beginning, and everywhere in short buffers.
(Markers in such blocks are also found as they are, see `sandbox.canaries.encodings.deflated`.)
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EVERYWHERE_BELOW = 1 << 10
"""Buffers of at most so many bytes are worth a try at every place."""

_WINDOW = 1 << 22
_HEADER = 10  # bytes: 17 bits, and 19 lengths of 3 bits
_SAMPLE = 1 << 9
_LONGEST_HEADER = 300  # bytes: 320 lengths in a code of at most seven bits
_REMEMBERED = 1 << 15
_TOLD_BY_CHANCE = 12


def deflate_starts(data: bytes | memoryview, everywhere_below: int) -> Iterator[int]:
    """The places, ascending, at which zlib accepts a block and gets bytes out of it.

    What begins with bytes that zlib refused before is not tried again, so data that repeat themselves cost little.
    """
    if len(data) <= everywhere_below:
        yield from (at for at in range(len(data)) if _begins(data, at, _TOLD_BY_CHANCE))
        return
    if _begins(data, 0, _SAMPLE // 8):
        yield 0
    refused: set[bytes] = set()
    for at in _likely(data):
        header = bytes(data[at : at + _LONGEST_HEADER])
        if header in refused:
            continue
        if _begins(data, at, 1):
            yield at
        elif len(refused) < _REMEMBERED:
            refused.add(header)


def _begins(data: bytes | memoryview, at: int, least: int) -> bool:
    try:
        return len(zlib.decompressobj(-15).decompress(bytes(data[at : at + _SAMPLE]), least)) >= least
    except zlib.error:
        return False


def _likely(data: bytes | memoryview) -> Iterator[int]:
    """The places of blocks whose lengths of the code-length code make a complete code (RFC 1951 3.2.7)."""
    import numpy as np

    for start in range(0, len(data), _WINDOW):
        window = np.frombuffer(data[start : start + _WINDOW + _HEADER], dtype=np.uint8)
        if window.size <= _HEADER:
            return
        first = window[:-_HEADER]
        places = np.flatnonzero(((first & 6) == 4) & (first < 30 << 3) & ((window[1 : -_HEADER + 1] & 31) < 30))
        for block in np.array_split(places, max(1, places.size >> 18)):
            yield from (start + block[_complete(window, block)]).tolist()


def _complete(window: NDArray[np.uint8], places: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether the code at each of `places` is complete: the sum of 2**-length is one."""
    import numpy as np

    bits = np.zeros(places.size, dtype=np.uint64)
    for byte in range(8):
        bits |= window[places + 1 + byte].astype(np.uint64) << np.uint64(8 * byte)
    used = np.uint64(3) * (((bits >> np.uint64(5)) & np.uint64(15)) + np.uint64(4))
    # The 64 bits from the second byte on hold 55 bits of lengths; the last two of 57 are in the byte behind them.
    lengths = (bits >> np.uint64(9)) | (window[places + 9].astype(np.uint64) << np.uint64(55))
    lengths &= (np.uint64(1) << used) - np.uint64(1)
    weights = _weights()
    total = np.zeros(places.size, dtype=np.uint16)
    for shift in range(0, 60, 12):
        total += weights[((lengths >> np.uint64(shift)) & np.uint64(4095)).astype(np.intp)]
    one_byte = (bits & np.uint64(255)) * np.uint64(0x0101010101010101)  # a run of one byte is no header
    return np.asarray((total == 128) & (bits != one_byte))


@cache
def _weights() -> NDArray[np.uint16]:
    """For four lengths of three bits: the sum of 2**(7 - length) over those that are not zero."""
    import numpy as np

    one = np.array([0, 64, 32, 16, 8, 4, 2, 1], dtype=np.uint16)
    value = np.arange(4096)
    return np.asarray(sum(one[(value >> shift) & 7] for shift in (0, 3, 6, 9)), dtype=np.uint16)
