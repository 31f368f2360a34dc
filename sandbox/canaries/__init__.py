"""Canaries and the scanner that finds them in whatever a tool lets out.

Found: the marker plain (any case), reversed, cut to its first or last 12 characters, its letters rotated (ROT13 and its
siblings), combined with one byte (XOR, addition); as base64 (every alignment, URL-safe too), base32, base85,
hexadecimal, URL-, HTML-, JSON-, Python- and quoted-printable escapes, as a list of character codes, as UTF-16, as an
array of integers or floats; wrapped over lines, with separators of any kind put in; and all of this inside gzip, zlib,
raw deflate, zip, tar, bzip2, xz, zstd, PNG (pixels and chunks), NIfTI, DICOM, pickle and npz, each forwards or back to
front, nested up to `Bounds.depth`.

**Said to be incomplete**, so that it is never taken for clean: what exceeds the bounds, formats that are not opened
(7z, rar, lz4, encrypted archives and documents, JPEG, GIF, WebP, TIFF, compressed DICOM pixels, HDF5, parquet …), and
bytes of which a block of 1 KiB cannot be told from random ones (encrypted, or compressed in an unknown way).

**Cannot be found**: less than 1 KiB of encrypted bytes, or any number that are made to look like something else; pieces
of fewer than 12 characters; what is spread over several files; what was hashed, permuted, spread over a picture's low
bits or a result's last digits, interleaved with other text (a logger's time stamp in the middle of a marker), drawn as
letters into a picture, resampled, or spelled in a code of its own. A clean scan says that none of the forms above is
there, never that nothing came out.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from pratique.errors import CouldNotDecide
from sandbox.canaries.parts import Allowance, Bounds, Part
from sandbox.canaries.pixels import BarIndex, bars
from sandbox.canaries.search import PatternIndex
from sandbox.canaries.tokens import Canary, CanaryKind, CanaryMint
from sandbox.canaries.unpack import packed_parts

__all__ = ["Allowance", "Bounds", "Canary", "CanaryKind", "CanaryMint", "Hit", "Scan", "Scanner", "bars", "scan"]

_POOLED_BELOW = 1 << 16
_POOL_BYTES = 4 << 20
_WORTH_A_LEVEL = 256
_ALONE = 32
_TOO_MUCH = "more than can be searched in all was let out"


@dataclass(frozen=True, slots=True)
class Hit:
    """A canary found: `encoding` reads from the outside in (`gzip > base64`), `offset` is in the outermost bytes.

    For what was packed the offset is where the packed part begins; for encoded text, where its 8 MiB window begins.
    """

    canary: Canary
    encoding: str
    offset: int


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found, and what could not be looked into (empty when all was): only a complete scan can be clean."""

    hits: tuple[Hit, ...]
    incomplete: tuple[str, ...] = ()


class Scanner:
    """Looks for one set of canaries in any number of buffers and files (preparing it takes about 4 ms a canary).

    Without an `allowance` shared with others, each scan has one of its own.
    """

    def __init__(
        self, canaries: Sequence[Canary], bounds: Bounds | None = None, allowance: Allowance | None = None
    ) -> None:
        self.canaries = tuple(canaries)
        self._index = PatternIndex(self.canaries)
        self._bars = BarIndex(self.canaries)
        self._bounds = bounds or Bounds()
        self._allowance = allowance

    def scan(self, data: bytes | memoryview) -> Scan:
        """Find the canaries in `data`."""
        allowance = self._allowance or Allowance()
        if not allowance.take(len(data)):
            return Scan((), (_TOO_MUCH,))
        look = _Look(self._index, self._bars, self._bounds, allowance)
        look.into(Part("", 0, data), "", lambda offset: offset, self._bounds.depth)
        return Scan(tuple(look.hits.values()), tuple(dict.fromkeys(look.incomplete)))

    def scan_file(self, path: Path) -> Scan:
        """Find the canaries in the regular file at `path`, which is mapped, not read whole.

        Raises `CouldNotDecide` where it cannot be opened or is no regular file (links are not followed).
        """
        return self.scan(_mapped(path))


def scan(data: bytes | Path, canaries: Sequence[Canary]) -> tuple[Hit, ...]:
    """Find `canaries` in bytes or a file; raises `CouldNotDecide` when none is found but not all could be read."""
    scanner = Scanner(canaries)
    result = scanner.scan_file(data) if isinstance(data, Path) else scanner.scan(data)
    if result.incomplete and not result.hits:
        raise CouldNotDecide(
            "not everything could be searched for canaries",
            cause="; ".join(result.incomplete),
            next_step="Let the tool write plain files, or archives within the scanner's bounds.",
        )
    return result.hits


@dataclass(slots=True)
class _Pool:
    """Small parts of one kind, searched together: the cost of a search is per call, not per byte."""

    parts: list[Part] = field(default_factory=list)
    size: int = 0

    def add(self, part: Part) -> None:
        self.parts.append(part)
        self.size += len(part.data) + 1

    def emptied(self) -> tuple[bytes, list[int], list[int]]:
        """The parts with a zero byte between them, where each begins in that, and where it began before."""
        data = b"\0".join(part.data for part in self.parts)
        starts = list(accumulate((len(part.data) + 1 for part in self.parts), initial=0))
        origins = [part.offset for part in self.parts]
        self.parts, self.size = [], 0
        return data, starts, origins


class _Look:
    """One scan: what it found so far, and how much more it may unpack."""

    def __init__(self, index: PatternIndex, bars: BarIndex, bounds: Bounds, allowance: Allowance) -> None:
        self.hits: dict[tuple[Canary, str], Hit] = {}
        self.incomplete: list[str] = []
        self._index = index
        self._bars = bars
        self._bounds = bounds
        self._left = bounds.total_bytes
        self._allowance = allowance
        self._seen: set[bytes] = set()

    def into(self, whole: Part, how: str, locate: Callable[[int], int], depth: int) -> None:
        """Search `whole`, then everything packed in it; `locate` turns its offsets into outermost ones."""
        self._search(whole, how, locate)
        pools: dict[tuple[str, bool], _Pool] = {}
        alone = 0
        for part in packed_parts(whole.data, self._bounds):
            if not self._admit(part, depth):
                break
            inner = f"{how} > {part.how}" if how else part.how
            alone += not part.leaf
            if part.raster is not None or len(part.data) >= _POOLED_BELOW or (not part.leaf and alone <= _ALONE):
                origin = locate(part.offset)
                self._one(part, inner, lambda _, origin=origin: origin, depth)  # type: ignore[misc]
                continue
            pool = pools.setdefault((inner, part.leaf), _Pool())
            pool.add(part)
            if pool.size > _POOL_BYTES:
                self._pooled(pool, inner, locate, depth)
        for (inner, _), pool in pools.items():
            self._pooled(pool, inner, locate, depth)

    def _one(self, part: Part, how: str, locate: Callable[[int], int], depth: int) -> None:
        """Look into `part`, once: many a guess ends at the same bytes."""
        content = hashlib.blake2b(part.data, digest_size=16).digest()
        if content in self._seen:
            return
        self._seen.add(content)
        if part.leaf:
            self._search(part, how, locate)
        else:
            self.into(part, how, locate, depth - 1)

    def _search(self, part: Part, how: str, locate: Callable[[int], int]) -> None:
        found = [(match.canary, match.encoding, match.offset) for match in self._index.search(part.data)]
        found += [(canary, "bar code", offset) for canary, offset in self._bars.search(part.data, part.raster)]
        for canary, form, offset in found:
            encoding = f"{how} > {form}" if how else form
            self.hits.setdefault((canary, encoding), Hit(canary, encoding, locate(offset)))

    def _admit(self, part: Part, depth: int) -> bool:
        """Whether `part` may be looked into and the walk go on; what is left out is noted as incomplete."""
        if part.cut:
            self.incomplete.append(part.cut)
        if depth == 0 and not part.leaf:
            if len(part.data) >= _WORTH_A_LEVEL:
                self.incomplete.append(f"packed more than {self._bounds.depth} levels deep")
            return False
        if not self._allowance.take(len(part.data)):
            self.incomplete.append(_TOO_MUCH)
            return False
        self._left -= len(part.data)
        if self._left < 0:
            self.incomplete.append(f"unpacks to more than {self._bounds.total_bytes} bytes in all")
        return self._left >= 0

    def _pooled(self, pool: _Pool, how: str, locate: Callable[[int], int], depth: int) -> None:
        if not pool.parts:
            return
        leaves = pool.parts[0].leaf
        data, starts, origins = pool.emptied()

        def outer(offset: int) -> int:
            return locate(origins[min(max(bisect_right(starts, offset) - 1, 0), len(origins) - 1)])

        self._one(Part(how, 0, data, leaf=leaves), how, outer, depth)


def _mapped(path: Path) -> memoryview:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise CouldNotDecide(f"cannot open {path.name} to search it", cause=str(error)) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise CouldNotDecide(f"{path.name} is not a regular file")
        return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) if found.st_size else b"")
    finally:
        os.close(descriptor)
