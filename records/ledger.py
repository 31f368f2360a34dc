"""The append-only transparency ledger: RFC 6962 tree, C2SP tiles, signed checkpoint, one directory.

An append writes new tiles beside the old ones, then replaces the checkpoint, which is the commit: before it the ledger
has the old entries, after it the new ones, and nothing in between. What is written outside its final place lies in
`.unfinished/`, together with an intent file named `<old size>-<new size>`. The next opening of the ledger finds it
there, and removes whatever the checkpoint does not speak of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pratique.bounds import strict_json
from pratique.digests import canonical_json
from pratique.errors import CouldNotDecide, InvalidInput
from records.checkpoint import Checkpoint, SignedCheckpoint, sign_checkpoint
from records.durable import Disk, locked
from records.edge import Edge
from records.keys import NodeKey
from records.merkle import EMPTY_ROOT
from records.reader import CHECKPOINT, LedgerReader, damaged
from records.tiles import ENTRIES, MAX_ENTRY_BYTES, TILE_WIDTH, Tile, added, edge_of, superseded

UNFINISHED = ".unfinished"
"""Directory of drafts and of the intent of an append under way."""

_INTENT = re.compile(r"(0|[1-9][0-9]{0,18})-([1-9][0-9]{0,18})", re.ASCII)


@dataclass(frozen=True)
class Appended:
    """Where an entry went, and the first checkpoint that covers it."""

    index: int
    checkpoint: SignedCheckpoint


class Overtaken(CouldNotDecide):
    """The ledger has grown since it was looked at."""


class Ledger(LedgerReader):
    """A ledger that this node writes; made when `root` is empty, repaired when an append was torn."""

    def __init__(self, root: Path, origin: str, key: NodeKey, *, disk: Disk | None = None) -> None:
        super().__init__(root, origin, key.verifier)
        self._key = key
        self._disk = disk or Disk()
        with _disk_errors(root):
            self._disk.make_directory(root)
            with locked(root, exclusive=True):
                self._create_or_recover()

    def append(self, entry: bytes) -> Appended:
        """Add one entry: RFC 8785 canonical JSON of an object, at most 65,535 bytes. Durable when this returns.

        Raises `InvalidInput` (`ledger/entry-…`) for another form and `CouldNotDecide` when the disk fails or the
        ledger is damaged; the entry is then in the ledger whole or not at all.
        """
        return self.extend([entry])[0]

    def extend(self, entries: Sequence[bytes], *, after: int | None = None) -> tuple[Appended, ...]:
        """Add several entries under one checkpoint; all of them or none.

        With `after`, only while the ledger has just so many entries: what rests on them is not added to others. Raises
        `Overtaken` otherwise.
        """
        for entry in entries:
            check_entry(entry)
        if not entries:
            return ()
        with _disk_errors(self.root), locked(self.root, exclusive=True):
            edge = self._recover()
            size = edge.size
            if after is not None and size != after:
                raise Overtaken(
                    "somebody else wrote to the ledger at the same time",
                    cause=f"it had {after} entries and now has {size}",
                    next_step="Run the command again.",
                )
            try:
                signed = self._write(edge, entries)
            except BaseException:
                # also on Ctrl-C: what the next opening would clean up is cleaned up now, if the disk lets us
                with suppress(OSError, CouldNotDecide):
                    self._recover()
                raise
        return tuple(Appended(size + offset, signed) for offset in range(len(entries)))

    # --- writing, with the lock held ---

    def _write(self, edge: Edge, entries: Sequence[bytes]) -> SignedCheckpoint:
        size = edge.size
        for entry in entries:
            edge.add(entry)
        intent = self.root / UNFINISHED / f"{size}-{edge.size}"
        self._disk.write(intent, b"")
        self._disk.sync(intent.parent)
        tiles = list(added(size, edge.size))
        for tile in tiles:
            self._disk.make_directory((self.root / tile.path).parent)
            self._put(tile.path, edge.content(tile))
        for directory in {(self.root / tile.path).parent for tile in tiles}:
            self._disk.sync(directory)
        signed = self._commit(Checkpoint(self.origin, edge.size, edge.root()))
        self._remove(superseded(size, edge.size))
        self._disk.remove(intent)
        return signed

    def _commit(self, checkpoint: Checkpoint) -> SignedCheckpoint:
        signed = sign_checkpoint(checkpoint, self._key)
        self._put(CHECKPOINT, signed.note)
        self._disk.sync(self.root)
        return signed

    def _put(self, relative: str, data: bytes) -> None:
        draft = self.root / UNFINISHED / "draft"
        self._disk.write(draft, data)
        self._disk.rename(draft, self.root / relative)

    def _remove(self, tiles: Iterable[Tile]) -> None:
        for tile in tiles:
            self._disk.remove(self.root / tile.path)

    # --- opening and repairing, with the lock held ---

    def _create_or_recover(self) -> None:
        self._disk.make_directory(self.root / UNFINISHED)
        if not (self.root / CHECKPOINT).exists() and not (self.root / "tile").exists():
            (self.root / UNFINISHED / "draft").unlink(missing_ok=True)
            self._commit(Checkpoint(self.origin, 0, EMPTY_ROOT))
        self._recover()

    def _recover(self) -> Edge:
        """Undo what a torn append left, and check that what is there is what the checkpoint says."""
        checkpoint = self.checkpoint().checkpoint
        size = checkpoint.size
        for path in sorted((self.root / UNFINISHED).iterdir()):
            intent = _INTENT.fullmatch(path.name)
            if intent:
                self._undo(size, int(intent[1]), int(intent[2]))
            self._disk.remove(path)
        self._refuse_entries_beyond(size)
        return self._load_edge(checkpoint)

    def _undo(self, size: int, before: int, after: int) -> None:
        if size not in (before, after) or before >= after:
            raise damaged(self.root, f"an append from {before} to {after} entries, but the checkpoint says {size}")
        self._remove(added(before, after) if size == before else superseded(before, after))

    def _refuse_entries_beyond(self, size: int) -> None:
        """Tiles that no append left, wider than the checkpoint says: the checkpoint was taken back."""
        for level in (ENTRIES, 0):
            full = self.root / Tile(level, size // TILE_WIDTH, TILE_WIDTH).path
            partial = full.with_name(f"{full.name}.p")
            widths = {path.name for path in partial.iterdir()} if partial.is_dir() else set()
            if full.exists() or widths - {str(size % TILE_WIDTH)}:
                raise damaged(self.root, f"there are entries beyond the {size} that the checkpoint covers")

    def _load_edge(self, checkpoint: Checkpoint) -> Edge:
        tiles = {tile: self._read(tile) for tile in edge_of(checkpoint.size)}
        edge = self._proven(lambda: Edge(checkpoint.size, tiles))
        if edge.root() != checkpoint.root_hash:
            raise damaged(self.root, "its last hash tiles do not lead to the checkpoint's root")
        return edge


def check_entry(entry: bytes) -> None:
    """Raise `InvalidInput` (`ledger/entry-…`) unless `entry` is canonical JSON of an object, small enough."""
    if len(entry) > MAX_ENTRY_BYTES:
        raise InvalidInput(
            f"an entry of {len(entry):,} bytes; at most {MAX_ENTRY_BYTES:,} fit",
            rule="ledger/entry-size",
            next_step="Put the bulk into the content-addressed store and name it by digest.",
        )
    value = strict_json(entry, where="ledger entry", max_bytes=MAX_ENTRY_BYTES)
    if not isinstance(value, dict) or not _is_canonical(value, entry):
        raise InvalidInput(
            "an entry is the RFC 8785 canonical JSON of an object",
            rule="ledger/entry-form",
            next_step="Write it with `pratique.digests.canonical_json`.",
        )


def _is_canonical(value: dict[str, object], data: bytes) -> bool:
    try:
        return canonical_json(value) == data
    except ValueError:  # numbers that JSON can write and RFC 8785 cannot
        return False


@contextmanager
def _disk_errors(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CouldNotDecide(
            f"the ledger {root} cannot be written",
            cause=str(error),
            next_step="Make room on the disk and check permissions; nothing is half-written, so just try again.",
        ) from error
