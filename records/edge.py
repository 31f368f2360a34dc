"""The right edge of a tree, in memory: what an append needs to know of everything before it.

Pure. It holds the hashes of the partial tile of each level and the entries of the partial bundle, takes entries, and
gives the bytes of every tile that is new.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from pratique.errors import InvalidInput
from records.merkle import Frontier, leaf_hash, root_of
from records.tiles import ENTRIES, TILE_HEIGHT, TILE_WIDTH, Tile, bundle, edge_of, entries_in, hashes_in


class Edge:
    """Right edge of a tree of `size` entries, from the bytes of the tiles in `tiles.edge_of(size)`.

    Raises `InvalidInput` (`tile/form`, `tile/entries`) where these do not fit together.
    """

    def __init__(self, size: int, tiles: Mapping[Tile, bytes]) -> None:
        self.size = size
        self._rows: defaultdict[int, list[bytes]] = defaultdict(list)
        self._bundle: list[bytes] = []
        self._completed: dict[Tile, bytes] = {}
        for tile in edge_of(size):
            if tile.level == ENTRIES:
                self._bundle = entries_in(tile, tiles[tile])
            else:
                self._rows[tile.level] = hashes_in(tile, tiles[tile])
        if [leaf_hash(entry) for entry in self._bundle] != self._rows[0]:
            raise InvalidInput("the last entries do not have the hashes in their tile", rule="tile/entries")

    def add(self, entry: bytes) -> None:
        """Append an entry."""
        self._bundle.append(entry)
        if len(self._bundle) == TILE_WIDTH:
            self._completed[Tile(ENTRIES, self.size // TILE_WIDTH, TILE_WIDTH)] = bundle(self._bundle)
            self._bundle = []
        self._push(0, leaf_hash(entry))
        self.size += 1

    def _push(self, level: int, subtree: bytes) -> None:
        row = self._rows[level]
        row.append(subtree)
        if len(row) == TILE_WIDTH:
            tile = Tile(level, self.size // TILE_WIDTH ** (level + 1), TILE_WIDTH)
            self._completed[tile] = b"".join(row)
            self._rows[level] = []
            self._push(level + 1, root_of(row))

    def content(self, tile: Tile) -> bytes:
        """Bytes of a tile that the entries added made new."""
        if tile.width == TILE_WIDTH:
            return self._completed[tile]
        return bundle(self._bundle) if tile.level == ENTRIES else b"".join(self._rows[tile.level])

    def root(self) -> bytes:
        """Root of the tree as it stands."""
        frontier = Frontier()
        for level in sorted(self._rows, reverse=True):
            for subtree in self._rows[level]:
                frontier.add(subtree, TILE_HEIGHT * level)
        return frontier.root()
