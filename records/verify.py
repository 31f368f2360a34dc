"""Verification of a whole ledger directory, with nothing but the node's public verifier.

Every byte of every file is accounted for: the checkpoint by its signature, entries by their leaf hashes, hash tiles by
recomputation, and the directory by the exact set of files that a tree of this size has. Where entries and hash tiles
disagree, the signed root says which of them was altered.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pratique.bounds import read_bounded
from pratique.errors import InvalidInput
from records.checkpoint import Checkpoint, open_checkpoint
from records.durable import locked
from records.keys import Verifier
from records.ledger import UNFINISHED, check_entry
from records.merkle import EMPTY_ROOT, HASH_SIZE, leaf_hash, root_of
from records.note import MAX_NOTE_BYTES
from records.reader import CHECKPOINT, MAX_TILE_BYTES
from records.tiles import ENTRIES, TILE_WIDTH, Tile, split_bundle, tiles_of

MAX_PROBLEMS = 1000
"""Problems listed before the rest is only counted."""


@dataclass(frozen=True)
class LedgerProblem:
    """One thing wrong; `entry` is the index of the entry concerned, None where it concerns the whole."""

    entry: int | None
    message: str


@dataclass(frozen=True)
class LedgerReport:
    """What `verify_ledger` found: the signed size and root (hex, empty when unsigned) and what is wrong."""

    size: int
    root_hash: str
    problems: tuple[LedgerProblem, ...]

    @property
    def verified(self) -> bool:
        """Whether nothing at all is wrong."""
        return not self.problems


def verify_ledger(root: Path, verifier: Verifier, *, origin: str | None = None) -> LedgerReport:
    """Check every byte of the ledger in `root`; `origin` is the verifier's name where none is given.

    What is wrong with the ledger is in the report, never raised; `CouldNotDecide` means that there is no such directory
    or that a writer keeps it locked. Reads only.
    """
    audit = _Audit(root)
    with locked(root, exclusive=False):
        checkpoint = audit.head(origin or verifier.name, verifier)
        if checkpoint is not None:
            audit.files(checkpoint.size)
            audit.tree(checkpoint)
    problems = tuple(audit.problems[:MAX_PROBLEMS])
    if len(audit.problems) > MAX_PROBLEMS:
        problems += (LedgerProblem(None, f"and {len(audit.problems) - MAX_PROBLEMS} more problems"),)
    if checkpoint is None:
        return LedgerReport(0, "", problems)
    return LedgerReport(checkpoint.size, checkpoint.root_hash.hex(), problems)


@dataclass
class _Audit:
    """One pass over the directory, gathering problems."""

    root: Path
    problems: list[LedgerProblem] = field(default_factory=list)
    absent: set[str] = field(default_factory=set)

    def note(self, message: str, entry: int | None = None) -> None:
        self.problems.append(LedgerProblem(entry, message))

    def head(self, origin: str, verifier: Verifier) -> Checkpoint | None:
        """The signed checkpoint, None (and a problem) where it cannot be trusted."""
        try:
            note = read_bounded(self.root / CHECKPOINT, MAX_NOTE_BYTES)
            signed = open_checkpoint(note, origin, [verifier])
        except InvalidInput as error:
            self.note(f"{CHECKPOINT}: {error}; without it nothing else can be verified")
            return None
        for signature in signed.unknown:
            self.note(f"{CHECKPOINT}: a signature by a key that is not known here ({signature.name})")
        return signed.checkpoint

    def files(self, size: int) -> None:
        """Exactly the files that a ledger of `size` entries has."""
        expected = {tile.path: tile for tile in tiles_of(size)}
        found = set(self._walk())
        for path in sorted(found - expected.keys() - {CHECKPOINT}):
            if path.startswith(f"{UNFINISHED}/"):
                self.note(f"{path}: left by an append that did not finish; opening the ledger to write clears it")
            else:
                self.note(f"{path}: a file that does not belong to a ledger of {size} entries")
        self.absent = expected.keys() - found
        for path in sorted(self.absent):
            tile = expected[path]
            self.note(f"{path}: missing; it covers entries {tile.first} to {tile.end - 1}", tile.first)

    def _walk(self) -> Iterator[str]:
        """Every path below the root that is not a directory; links are listed, never followed."""
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(self.root / folder) as found:
                    entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
            except OSError as error:
                self.note(f"{_printable(folder)}: {error.strerror}")
                continue
            for name, is_folder in entries:
                path = f"{folder}/{name}" if folder else name
                if is_folder:
                    waiting.append(path)
                else:
                    yield _printable(path)

    def tree(self, checkpoint: Checkpoint) -> None:
        """Entries, leaf hashes and the levels above them against each other and the signed root."""
        rows: dict[int, list[bytes | None]] = {}
        for tile in tiles_of(checkpoint.size):
            row = rows.setdefault(tile.level, [])
            row += self._leaves_of(tile) if tile.level == ENTRIES else self._hashes_of(tile)
        from_entries, stored = rows.get(ENTRIES, []), rows.get(0, [])
        entries_hold = _root(from_entries) == checkpoint.root_hash
        tiles_hold = _root(stored) == checkpoint.root_hash
        self._compare_leaves(from_entries, stored, entries_hold=entries_hold, tiles_hold=tiles_hold)
        self._compare_levels(rows)
        if not entries_hold and not tiles_hold:
            self.note("neither the entries nor the hash tiles lead to the signed root")

    def _leaves_of(self, tile: Tile) -> list[bytes | None]:
        """Leaf hash of each entry in a bundle; None for what cannot be read."""
        data = self._read(tile)
        entries, end = split_bundle(data, tile.width)
        if data and (len(entries) < tile.width or end != len(data)):
            self.note(f"{tile.path}: not exactly {tile.width} entries", tile.first + len(entries))
        for offset, entry in enumerate(entries):
            try:
                check_entry(entry)
            except InvalidInput as error:
                self.note(f"{tile.path}: {error}", tile.first + offset)
        leaves: list[bytes | None] = [leaf_hash(entry) for entry in entries]
        return leaves + [None] * (tile.width - len(leaves))

    def _hashes_of(self, tile: Tile) -> list[bytes | None]:
        data = self._read(tile)
        if data and len(data) != tile.width * HASH_SIZE:
            self.note(f"{tile.path}: {len(data)} bytes instead of {tile.width * HASH_SIZE}", tile.first)
        chunks = [data[start : start + HASH_SIZE] for start in range(0, tile.width * HASH_SIZE, HASH_SIZE)]
        return [chunk if len(chunk) == HASH_SIZE else None for chunk in chunks]

    def _read(self, tile: Tile) -> bytes:
        if tile.path in self.absent:
            return b""
        try:
            data = read_bounded(self.root / tile.path, MAX_TILE_BYTES)
        except InvalidInput as error:
            self.note(f"{tile.path}: {error}", tile.first)
            return b""
        if not data:
            self.note(f"{tile.path}: empty", tile.first)
        return data

    def _compare_leaves(
        self, computed: list[bytes | None], stored: list[bytes | None], *, entries_hold: bool, tiles_hold: bool
    ) -> None:
        for index, (ours, theirs) in enumerate(zip(computed, stored, strict=True)):
            if ours == theirs or ours is None or theirs is None:
                continue
            if tiles_hold:
                self.note("was altered: it does not have the hash under the signed root", index)
            elif entries_hold:
                self.note(f"the hash of entry {index} in its tile was altered; the entry itself is genuine", index)
            else:
                self.note("it and its hash disagree, and one of them was altered", index)

    def _compare_levels(self, rows: dict[int, list[bytes | None]]) -> None:
        for level in range(1, max(rows, default=0) + 1):
            below = rows[level - 1]
            for index, stored in enumerate(rows[level]):
                part = below[index * TILE_WIDTH : (index + 1) * TILE_WIDTH]
                computed = root_of(item for item in part if item) if all(part) else None
                if stored is not None and computed is not None and stored != computed:
                    width = TILE_WIDTH**level
                    where = f"entries {index * width} to {(index + 1) * width - 1}"
                    self.note(f"tile/{level}: hash {index} is not that of the tile below it ({where})", index * width)


def _printable(path: str) -> str:
    """`path` as it can be shown and stored: a name need not be UTF-8, a ledger's own names are ASCII."""
    return path.encode("ascii", "backslashreplace").decode()


def _root(leaves: list[bytes | None]) -> bytes | None:
    """Root over the leaves, None where one of them is missing."""
    known = [leaf for leaf in leaves if leaf is not None]
    if len(known) < len(leaves):
        return None
    return root_of(known) if known else EMPTY_ROOT
