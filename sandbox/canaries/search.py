"""Searches bytes for thousands of patterns at once, in time that hardly depends on their number.

Every fourth 8-byte window of the data is looked up, vectorised, in a hashed table of the 8-byte windows at the first
four places of each pattern (one of which falls on a fourth byte of the data, wherever the pattern lies); what is there
is confirmed by `bytes.find`. The data is read in four views: as it is; with all but letters and digits taken away, in
which markers that were wrapped, indented, quoted, listed or written in 16-bit characters are whole; and as the
exclusive or and the difference of neighbouring bytes, which stay the same whatever one byte is combined with them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from sandbox.canaries.encodings import deflated, masked_texts, patterns
from sandbox.canaries.tokens import Canary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEY_BYTES = 8
"""Length of the windows that are looked up; no pattern is shorter."""

STRIDE = 4
"""Every so many bytes of the data a window is looked up; patterns that are too short for that, at every byte."""

SHORTEST_SPLIT = 12
"""Bytes that a pattern must keep in the letters-and-digits view to be looked for there."""

WINDOW = 8 << 20
"""Bytes searched at a time: bounds the memory of the intermediate arrays."""

_TABLE_BITS = 22
_MULTIPLIER = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: Fibonacci hashing (Knuth, TAOCP vol. 3, 6.4)

# Case is folded, and the URL-safe base64 alphabet is read as the standard one, on both sides of the comparison.
_FOLD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ-_", b"abcdefghijklmnopqrstuvwxyz+/")
_NOT_ALPHANUMERIC = bytes(byte for byte in range(256) if not (byte < 128 and chr(byte).isalnum()))


def folded(data: bytes) -> bytes:
    """`data` in one case, the URL-safe base64 alphabet read as the standard one."""
    return data.translate(_FOLD)


def squeezed(data: bytes) -> bytes:
    """The letters and digits of `data`, in one case."""
    return data.translate(_FOLD, _NOT_ALPHANUMERIC)


def exclusive_or(data: bytes) -> bytes:
    """Each byte combined with the next: the same for data and for data XOR any one byte."""
    import numpy as np

    values = np.frombuffer(data, dtype=np.uint8)
    return (values[1:] ^ values[:-1]).tobytes()


def differences(data: bytes) -> bytes:
    """Each byte less the one before, modulo 256: the same for data and for data with any one byte added to all."""
    import numpy as np

    values = np.frombuffer(data, dtype=np.uint8)
    return (values[1:] - values[:-1]).tobytes()


@dataclass(frozen=True, slots=True)
class Match:
    """A pattern found: whose it is, in which form, and at which byte of the data it begins."""

    canary: Canary
    encoding: str
    offset: int


class _Pattern(NamedTuple):
    canary: int
    encoding: str
    data: bytes


class PatternIndex:
    """The patterns of a set of canaries, prepared once and searched for in any number of buffers."""

    def __init__(self, canaries: Sequence[Canary]) -> None:
        self.canaries = tuple(canaries)
        forms = [tuple(patterns(canary)) for canary in self.canaries]
        whole = [(*listed, *deflated(canary)) for listed, canary in zip(forms, self.canaries, strict=True)]
        masked = [tuple(masked_texts(canary)) for canary in self.canaries]
        self._views = (
            _View(folded, _distinct(whole, folded, KEY_BYTES, "")),
            # Forms with zero bytes have no letters-and-digits view: their letters alone say too little.
            _View(
                squeezed,
                _distinct(forms, lambda data: squeezed(data) if b"\0" not in data else b"", SHORTEST_SPLIT, ", split"),
                shrinks=True,
            ),
            _View(exclusive_or, _distinct(masked, exclusive_or, SHORTEST_SPLIT, ", XOR with one byte"), overlap=1),
            _View(differences, _distinct(masked, differences, SHORTEST_SPLIT, ", shifted by one number"), overlap=1),
        )

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
    """One way to read the data, and the patterns to look for in it."""

    def __init__(
        self, read: Callable[[bytes], bytes], found_in: Sequence[_Pattern], *, shrinks: bool = False, overlap: int = 0
    ) -> None:
        self._read = read
        self._shrinks = shrinks
        self._overlap = overlap
        self._longest = max((len(pattern.data) for pattern in found_in), default=KEY_BYTES)
        long = [pattern for pattern in found_in if len(pattern.data) >= KEY_BYTES + STRIDE - 1]
        short = [pattern for pattern in found_in if len(pattern.data) < KEY_BYTES + STRIDE - 1]
        self._tables = tuple(_Table(some, step) for some, step in ((long, STRIDE), (short, 1)) if some)

    def search(self, data: bytes | memoryview) -> Iterator[tuple[_Pattern, int]]:
        """Each pattern that occurs, once, with the offset in `data` of its first occurrence."""
        found: set[_Pattern] = set()
        kept = b""
        for start in range(0, len(data), WINDOW):
            piece = bytes(data[max(0, start - self._overlap) : start + WINDOW])
            window = kept + self._read(piece)
            for table in self._tables:
                for pattern in table.candidates(window):
                    if pattern not in found and (at := window.find(pattern.data)) >= 0:
                        found.add(pattern)
                        yield pattern, start + self._offset(piece, at - len(kept))
            kept = window[-(self._longest - 1) :]

    def _offset(self, piece: bytes, at: int) -> int:
        """Offset in `piece` of the byte that stands at `at` in its view; negative reaches back into what was kept."""
        if at < 0 or not self._shrinks:
            return at
        low, high = 0, len(piece)
        while low < high:  # the view of a longer prefix is never shorter
            middle = (low + high) // 2
            if len(self._read(piece[:middle])) <= at:
                low = middle + 1
            else:
                high = middle
        return low - 1


class _Table:
    """The patterns by the windows that are looked up, every `step` bytes of the data."""

    def __init__(self, found_in: Sequence[_Pattern], step: int) -> None:
        import numpy as np

        self._step = step
        self._patterns = tuple(found_in)
        width = KEY_BYTES + step - 1
        heads = np.frombuffer(b"".join(pattern.data[:width] for pattern in found_in), dtype=np.uint8)
        windows = np.lib.stride_tricks.sliding_window_view(heads.reshape(-1, width), KEY_BYTES, axis=1)
        keys = np.ascontiguousarray(windows).view("<u8").ravel()
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._whose = order // step
        self._table = np.zeros(1 << _TABLE_BITS, dtype=np.bool_)
        self._table[_hashed(self._keys)] = True

    def candidates(self, window: bytes) -> list[_Pattern]:
        """The patterns of which a window that is looked up is in `window`."""
        import numpy as np

        present: set[int] = set()
        for shift in range(0, min(KEY_BYTES, len(window) - KEY_BYTES + 1), self._step):
            count = (len(window) - shift) // KEY_BYTES
            words = np.frombuffer(window, dtype="<u8", count=count, offset=shift)
            likely = np.unique(words[self._table[_hashed(words)]])
            first, last = (np.searchsorted(self._keys, likely, side) for side in ("left", "right"))
            for start, end in zip(first.tolist(), last.tolist(), strict=True):
                present.update(self._whose[start:end].tolist())
        return [self._patterns[number] for number in sorted(present)]


def _distinct(
    forms: Sequence[Sequence[tuple[str, bytes]]], read: Callable[[bytes], bytes], shortest: int, note: str
) -> list[_Pattern]:
    """The patterns of every canary in a view, each once, under the first of its encodings."""
    kept: list[_Pattern] = []
    for number, listed in enumerate(forms):
        seen = {read(data): encoding for encoding, data in reversed(listed)}
        kept += [_Pattern(number, encoding + note, data) for data, encoding in seen.items() if len(data) >= shortest]
    return kept


def _hashed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    import numpy as np

    return (words * np.uint64(_MULTIPLIER)) >> np.uint64(64 - _TABLE_BITS)
