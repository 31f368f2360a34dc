"""Searches bytes for thousands of patterns at once, in time that hardly depends on their number.

Every 8-byte window of the data is looked up, vectorised, in a hashed table of the patterns' first 8 bytes; what is
there is confirmed by `bytes.find`. The data is read in two views: as it is, and with all but letters and digits
taken away, in which markers that were wrapped, indented, quoted, listed or written in 16-bit characters are whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox.canaries.encodings import patterns
from sandbox.canaries.tokens import Canary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEY_BYTES = 8
"""Length of the windows that are looked up; no pattern is shorter."""

SHORTEST_SPLIT = 12
"""Bytes that a pattern must keep in the letters-and-digits view to be looked for there."""

WINDOW = 8 << 20
"""Bytes searched at a time: bounds the memory of the intermediate arrays."""

_TABLE_BITS = 22
_MULTIPLIER = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: Fibonacci hashing (Knuth, TAOCP vol. 3, 6.4)

# Case is folded, and the URL-safe base64 alphabet is read as the standard one, on both sides of the comparison.
_FOLD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ-_", b"abcdefghijklmnopqrstuvwxyz+/")
_NOT_ALPHANUMERIC = bytes(byte for byte in range(256) if not (byte < 128 and chr(byte).isalnum()))


@dataclass(frozen=True, slots=True)
class Match:
    """A pattern found: whose it is, in which form, and at which byte of the data it begins."""

    canary: Canary
    encoding: str
    offset: int


@dataclass(frozen=True, slots=True)
class _Pattern:
    canary: int
    encoding: str
    data: bytes


class PatternIndex:
    """The patterns of a set of canaries, prepared once and searched for in any number of buffers."""

    def __init__(self, canaries: Sequence[Canary]) -> None:
        self.canaries = tuple(canaries)
        whole: list[_Pattern] = []
        split: list[_Pattern] = []
        for number, canary in enumerate(self.canaries):
            forms = tuple(patterns(canary))
            folded = {data.translate(_FOLD): encoding for encoding, data in reversed(forms)}
            whole += [_Pattern(number, encoding, data) for data, encoding in folded.items()]
            squeezed = {_squeezed(data): encoding for encoding, data in reversed(forms)}
            split += [
                _Pattern(number, f"{encoding}, split", data)
                for data, encoding in squeezed.items()
                if len(data) >= SHORTEST_SPLIT
            ]
        self._views = (_View(whole, b""), _View(split, _NOT_ALPHANUMERIC))

    def search(self, data: bytes | memoryview) -> Iterator[Match]:
        """The first match of each (canary, encoding) in `data`; split forms only of canaries not found whole."""
        if not self.canaries:
            return
        seen: set[int] = set()
        for view in self._views:
            found = {pattern: offset for pattern, offset in view.search(data) if pattern.canary not in seen}
            reported: dict[tuple[int, str], int] = {}
            for pattern, offset in found.items():
                key = pattern.canary, pattern.encoding
                reported[key] = min(offset, reported.get(key, offset))
            seen |= {canary for canary, _ in reported}
            for (canary, encoding), offset in sorted(reported.items()):
                # A marker found whole is not reported again as a part of itself.
                if "truncated " in encoding and (canary, encoding.replace("truncated ", "")) in reported:
                    continue
                yield Match(self.canaries[canary], encoding, offset)


class _View:
    """One way to read the data (bytes of `drop` taken away) with the patterns to look for in it."""

    def __init__(self, found_in: Iterable[_Pattern], drop: bytes) -> None:
        import numpy as np

        self._drop = drop
        self._by_key: defaultdict[int, list[_Pattern]] = defaultdict(list)
        self._longest = KEY_BYTES
        for pattern in dict.fromkeys(found_in):
            self._by_key[int.from_bytes(pattern.data[:KEY_BYTES], "little")].append(pattern)
            self._longest = max(self._longest, len(pattern.data))
        self._keys = np.array(sorted(self._by_key), dtype=np.uint64)
        self._table = np.zeros(1 << _TABLE_BITS, dtype=np.bool_)
        self._table[_hashed(self._keys)] = True

    def search(self, data: bytes | memoryview) -> Iterator[tuple[_Pattern, int]]:
        """Each pattern that occurs, once, with the offset in `data` of its first occurrence."""
        found: set[_Pattern] = set()
        kept = b""
        for start in range(0, len(data), WINDOW):
            piece = bytes(data[start : start + WINDOW])
            window = kept + piece.translate(_FOLD, self._drop)
            for key in self._keys_in(window):
                for pattern in self._by_key[key]:
                    if pattern not in found and (at := window.find(pattern.data)) >= 0:
                        found.add(pattern)
                        yield pattern, start + self._offset(piece, at - len(kept))
            kept = window[-(self._longest - 1) :]

    def _keys_in(self, window: bytes) -> list[int]:
        """The keys that occur in `window` at any offset."""
        import numpy as np

        present: set[int] = set()
        for shift in range(min(KEY_BYTES, len(window) - KEY_BYTES + 1)):
            count = (len(window) - shift) // KEY_BYTES
            words = np.frombuffer(window, dtype="<u8", count=count, offset=shift)
            likely = words[self._table[_hashed(words)]]
            if likely.size:
                places = np.minimum(np.searchsorted(self._keys, likely), self._keys.size - 1)
                present.update(np.unique(likely[self._keys[places] == likely]).tolist())
        return sorted(present)

    def _offset(self, piece: bytes, at: int) -> int:
        """Offset in `piece` of the byte that stands at `at` in its view; negative reaches back into what was kept."""
        if at < 0 or not self._drop:
            return at
        low, high = 0, len(piece)
        while low < high:  # the view of a longer prefix is never shorter
            middle = (low + high) // 2
            if len(piece[:middle].translate(None, self._drop)) <= at:
                low = middle + 1
            else:
                high = middle
        return low - 1


def _squeezed(data: bytes) -> bytes:
    """`data` in the letters-and-digits view. Forms with zero bytes have none: their letters alone say too little."""
    return b"" if b"\0" in data else data.translate(_FOLD, _NOT_ALPHANUMERIC)


def _hashed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    import numpy as np

    return (words * np.uint64(_MULTIPLIER)) >> np.uint64(64 - _TABLE_BITS)
