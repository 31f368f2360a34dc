"""Layout of a ledger on disk and on the wire (C2SP tlog-tiles): which files a tree of some size has, and their bytes.

Hash tiles `tile/<L>/<N>[.p/<W>]` hold up to 256 hashes of 32 bytes; a hash at level L+1 is the root of a *full* tile at
level L. Entry bundles `tile/entries/<N>[.p/<W>]` hold up to 256 entries, each after its length (big-endian uint16).
`<N>` is written in groups of three digits, all but the last after an `x`; `.p/<W>` marks a tile that is not full yet.
A narrower partial tile is a prefix of a wider one, so only the widest is kept.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pratique.errors import InvalidInput
from records.merkle import HASH_SIZE, Nodes, root_of

TILE_WIDTH = 256
"""Hashes or entries of a full tile."""

TILE_HEIGHT = 8
"""Levels of the tree in one tile: 256 = 2^8."""

MAX_ENTRY_BYTES = 65_535
"""Largest entry, in bytes: its length is a uint16."""

ENTRIES = -1
"""The `level` of entry bundles."""


@dataclass(frozen=True, order=True)
class Tile:
    """One tile: `level` (or `ENTRIES`), index within the level, width (1 to 256)."""

    level: int
    index: int
    width: int

    @property
    def path(self) -> str:
        """Path relative to the ledger, as tlog-tiles writes it."""
        groups = [f"{self.index % 1000:03d}"]
        rest = self.index // 1000
        while rest:
            groups.insert(0, f"x{rest % 1000:03d}")
            rest //= 1000
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        level = "entries" if self.level == ENTRIES else str(self.level)
        return f"tile/{level}/{'/'.join(groups)}{partial}"

    @property
    def first(self) -> int:
        """Index of the first ledger entry below this tile."""
        return self.index * TILE_WIDTH * self._span

    @property
    def end(self) -> int:
        """Index after the last ledger entry below this tile."""
        return self.first + self.width * self._span

    @property
    def _span(self) -> int:
        return 1 << TILE_HEIGHT * max(self.level, 0)


def tiles_of(size: int) -> Iterator[Tile]:
    """Every tile of a tree of `size` entries, partial ones at their exact width; bundles first, then level by level."""
    yield from _row(ENTRIES, size)
    level = 0
    while size:
        yield from _row(level, size)
        level, size = level + 1, size // TILE_WIDTH


def edge_of(size: int) -> tuple[Tile, ...]:
    """The partial tiles of a tree of `size` entries: its right edge, highest hash level first, the bundle last."""
    edge = []
    level, rest = 0, size
    while rest:
        if rest % TILE_WIDTH:
            edge.append(Tile(level, rest // TILE_WIDTH, rest % TILE_WIDTH))
        level, rest = level + 1, rest // TILE_WIDTH
    bundle = [Tile(ENTRIES, size // TILE_WIDTH, size % TILE_WIDTH)] if size % TILE_WIDTH else []
    return (*reversed(edge), *bundle)


def added(first: int, second: int) -> Iterator[Tile]:
    """Tiles of the tree of `second` entries that the one of `first` (not more) does not have."""
    for level, before, after in _grown_rows(first, second):
        yield from _row(level, after, start=before // TILE_WIDTH)


def superseded(first: int, second: int) -> Iterator[Tile]:
    """Partial tiles of the tree of `first` entries that are part of a wider one in that of `second`."""
    for level, before, _ in _grown_rows(first, second):
        if before % TILE_WIDTH:
            yield Tile(level, before // TILE_WIDTH, before % TILE_WIDTH)


def _grown_rows(first: int, second: int) -> Iterator[tuple[int, int, int]]:
    """Each level whose number of hashes (or entries) differs, with both numbers."""
    level = ENTRIES
    while first != second:
        yield level, first, second
        level += 1
        if level > 0:
            first, second = first // TILE_WIDTH, second // TILE_WIDTH


def _row(level: int, count: int, *, start: int = 0) -> Iterator[Tile]:
    for index in range(start, count // TILE_WIDTH):
        yield Tile(level, index, TILE_WIDTH)
    if count % TILE_WIDTH:
        yield Tile(level, count // TILE_WIDTH, count % TILE_WIDTH)


def hashes_in(tile: Tile, data: bytes) -> list[bytes]:
    """The hashes in a hash tile; raises `InvalidInput` (`tile/form`) where their number is not the tile's width."""
    if len(data) != tile.width * HASH_SIZE:
        raise _malformed(tile, f"{len(data)} bytes instead of {tile.width * HASH_SIZE}")
    return [data[start : start + HASH_SIZE] for start in range(0, len(data), HASH_SIZE)]


def bundle(entries: Sequence[bytes]) -> bytes:
    """Bytes of an entry bundle."""
    return b"".join(struct.pack(">H", len(entry)) + entry for entry in entries)


def entries_in(tile: Tile, data: bytes) -> list[bytes]:
    """The entries in a bundle; raises `InvalidInput` (`tile/form`)."""
    entries, end = split_bundle(data, tile.width)
    if len(entries) != tile.width or end != len(data):
        raise _malformed(tile, f"does not hold exactly {tile.width} entries")
    return entries


def split_bundle(data: bytes, width: int) -> tuple[list[bytes], int]:
    """As many whole entries as there are, at most `width`, and where they end."""
    entries: list[bytes] = []
    position = 0
    while len(entries) < width and position + 2 <= len(data):
        (length,) = struct.unpack_from(">H", data, position)
        if position + 2 + length > len(data):
            break
        entries.append(data[position + 2 : position + 2 + length])
        position += 2 + length
    return entries, position


def nodes_from(size: int, read: Callable[[Tile], bytes]) -> Nodes:
    """The perfect subtrees of a tree of `size` entries, read from its hash tiles."""

    def node(level: int, index: int) -> bytes:
        tile_level, height = divmod(level, TILE_HEIGHT)
        start = index << height
        tile = _tile_at(tile_level, start // TILE_WIDTH, size)
        offset = start % TILE_WIDTH
        return root_of(hashes_in(tile, read(tile))[offset : offset + (1 << height)])

    return node


def _tile_at(level: int, index: int, size: int) -> Tile:
    """The tile at `level` and `index` as wide as a tree of `size` entries has it."""
    hashes = size // TILE_WIDTH**level
    return Tile(level, index, min(TILE_WIDTH, hashes - index * TILE_WIDTH))


def _malformed(tile: Tile, message: str) -> InvalidInput:
    return InvalidInput(
        message,
        rule="tile/form",
        where=tile.path,
        next_step="Run `pratique log verify` and restore the ledger from its backup.",
    )
