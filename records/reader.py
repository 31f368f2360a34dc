"""Reading a ledger: entries and proofs, each checked against the signed checkpoint before it is handed out.

Reading needs the node's public verifier only. Full tiles never change; the lock is held only while the right edge and
the checkpoint are read, so a slow reader keeps no one from appending.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from pratique.bounds import read_bounded
from pratique.errors import CouldNotDecide, InvalidInput
from records.checkpoint import SignedCheckpoint, open_checkpoint
from records.durable import locked
from records.keys import Verifier
from records.merkle import (
    Nodes,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_at,
    root_of,
    verify_inclusion,
)
from records.note import MAX_NOTE_BYTES
from records.tiles import (
    ENTRIES,
    MAX_ENTRY_BYTES,
    TILE_WIDTH,
    Tile,
    entries_in,
    hashes_in,
    nodes_from,
    tiles_of,
)

CHECKPOINT = "checkpoint"
"""Name of the file with the signed head."""

MAX_TILE_BYTES = TILE_WIDTH * (MAX_ENTRY_BYTES + 2)
"""Largest file of a ledger."""

_CACHED_TILES = 64
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Entry:
    """One entry: its index and its bytes (RFC 8785 canonical JSON)."""

    index: int
    data: bytes


@dataclass(frozen=True)
class InclusionProof:
    """That the entry with this leaf hash stands at `index` under `checkpoint`."""

    index: int
    leaf: bytes
    hashes: tuple[bytes, ...]
    checkpoint: SignedCheckpoint


class LedgerReader:
    """A ledger directory, read with the public verifier of the node that writes it."""

    def __init__(self, root: Path, origin: str, verifier: Verifier) -> None:
        self.root = root
        self.origin = origin
        self.verifier = verifier

    def checkpoint(self) -> SignedCheckpoint:
        """The signed head; raises `CouldNotDecide` where it is missing or not this ledger's."""
        try:
            note = read_bounded(self.root / CHECKPOINT, MAX_NOTE_BYTES)
            return open_checkpoint(note, self.origin, [self.verifier])
        except InvalidInput as error:
            raise damaged(self.root, f"its checkpoint cannot be trusted: {error}") from error

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """Entries from `start` on, as of the checkpoint at the first; raises `CouldNotDecide` before a wrong one."""
        with locked(self.root, exclusive=False):
            size, leaves = self._trusted_leaves()
            bundles = [tile for tile in tiles_of(size) if tile.level == ENTRIES and tile.first + tile.width > start]
            edge = {tile: self._read(tile) for tile in bundles if tile.width < TILE_WIDTH}
        for tile in bundles:
            for offset, data in enumerate(self._split(tile, edge.get(tile))):
                index = tile.first + offset
                if leaf_hash(data) != leaves[index]:
                    raise damaged(self.root, f"entry {index} was altered")
                if index >= start:
                    yield Entry(index, data)

    def entry(self, index: int) -> bytes:
        """The entry at `index`, proven to be in the ledger; raises `InvalidInput` (`merkle/range`) without one."""
        with locked(self.root, exclusive=False):
            head = self.checkpoint().checkpoint
            hashes = inclusion_proof(index, head.size, self._nodes(head.size))
            number = index // TILE_WIDTH
            tile = Tile(ENTRIES, number, min(TILE_WIDTH, head.size - number * TILE_WIDTH))
            data = self._split(tile, None)[index % TILE_WIDTH]
        self._proven(lambda: verify_inclusion(leaf_hash(data), index, head.size, hashes, head.root_hash))
        return data

    def inclusion_proof(self, index: int) -> InclusionProof:
        """Proof for the entry at `index` under the present checkpoint."""
        with locked(self.root, exclusive=False):
            signed = self.checkpoint()
            size = signed.checkpoint.size
            nodes = self._nodes(size)
            hashes = inclusion_proof(index, size, nodes)
            leaf = nodes(0, index)
        self._proven(lambda: verify_inclusion(leaf, index, size, hashes, signed.checkpoint.root_hash))
        return InclusionProof(index, leaf, hashes, signed)

    def consistency_proof(self, first: int, second: int) -> tuple[bytes, ...]:
        """Proof that the first `first` entries are a prefix of the first `second`."""
        with locked(self.root, exclusive=False):
            head = self.checkpoint().checkpoint
            if second > head.size:
                raise InvalidInput(
                    f"the ledger has {head.size} entries only",
                    rule="merkle/range",
                    next_step="Ask for sizes within the ledger.",
                )
            nodes = self._nodes(head.size)
            if root_at(head.size, nodes) != head.root_hash:
                raise damaged(self.root, "its hash tiles do not lead to the checkpoint's root")
            return consistency_proof(first, second, nodes)

    def _trusted_leaves(self) -> tuple[int, list[bytes]]:
        """Size and all leaf hashes, checked against the checkpoint; the caller holds the lock."""
        head = self.checkpoint().checkpoint
        leaves: list[bytes] = []
        for tile in tiles_of(head.size):
            if tile.level == 0:
                leaves += self._hashes(tile)
        if root_of(leaves) != head.root_hash:
            raise damaged(self.root, "its hash tiles do not lead to the checkpoint's root")
        return head.size, leaves

    def _nodes(self, size: int) -> Nodes:
        return nodes_from(size, lru_cache(_CACHED_TILES)(self._read_hashes))

    def _read(self, tile: Tile) -> bytes:
        try:
            return read_bounded(self.root / tile.path, MAX_TILE_BYTES)
        except InvalidInput as error:
            raise damaged(self.root, str(error)) from error

    def _read_hashes(self, tile: Tile) -> bytes:
        return b"".join(self._hashes(tile))

    def _hashes(self, tile: Tile) -> list[bytes]:
        data = self._read(tile)
        return self._proven(lambda: hashes_in(tile, data))

    def _split(self, tile: Tile, data: bytes | None) -> list[bytes]:
        content = self._read(tile) if data is None else data
        return self._proven(lambda: entries_in(tile, content))

    def _proven(self, question: Callable[[], _Answer]) -> _Answer:
        """Answer to `question`; what is wrong with files of our own is damage, not bad input."""
        try:
            return question()
        except InvalidInput as error:
            raise damaged(self.root, str(error)) from error


def damaged(root: Path, what: str) -> CouldNotDecide:
    """The error for a ledger that does not hold together."""
    return CouldNotDecide(
        f"the ledger {root} is damaged",
        cause=what,
        next_step="Run `pratique log verify` to see which entries, keep the directory, and restore a backup.",
    )
