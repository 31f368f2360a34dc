"""The newest head of its ledger that a node has seen, so that a ledger put back to an older state is noticed.

A ledger that somebody replaced by a copy of last week is whole and signed, and knows nothing of this week's
withdrawals. The mark lies beside the node's key, not beside the ledger; it only ever moves forward, and only along a
proof that the new head continues the old one.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from pratique.bounds import read_bounded
from pratique.errors import CouldNotDecide, InvalidInput
from records.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint
from records.durable import locked
from records.merkle import verify_consistency
from records.note import MAX_NOTE_BYTES
from records.reader import LedgerReader


class RolledBack(CouldNotDecide):
    """The ledger is older than, or other than, what this node has seen before."""


class Mark:
    """The newest head seen of `ledger`, kept in the file at `path`."""

    def __init__(self, path: Path, ledger: LedgerReader) -> None:
        self._path = path
        self._ledger = ledger

    def check(self) -> Checkpoint:
        """The ledger's present head, which continues the newest one seen and is now the newest one itself.

        Raises `RolledBack`, and `CouldNotDecide` where ledger or mark cannot be read or written. Without a mark (the
        first time) the present head is taken.
        """
        with locked(self._path.parent, exclusive=True):
            seen = self._seen()
            present = self._ledger.checkpoint()
            if seen is not None:
                self._require_continuation(seen, present.checkpoint)
            if seen is None or seen.size < present.checkpoint.size:
                self._write(present)
            return present.checkpoint

    def require(self) -> None:
        """Raise as `check` does, and write nothing: also for a copy of a node that may only be read."""
        seen = self._seen()
        if seen is not None:
            self._require_continuation(seen, self._ledger.checkpoint().checkpoint)

    def _require_continuation(self, seen: Checkpoint, present: Checkpoint) -> None:
        if present.size < seen.size:
            raise _rolled_back(f"{seen.size} entries were there before, now {present.size}")
        if present.size == seen.size:
            if present.root_hash != seen.root_hash:
                raise _rolled_back(f"its {present.size} entries are others than before")
            return
        proof = self._ledger.consistency_proof(seen.size, present.size)
        try:
            verify_consistency(seen.size, present.size, proof, seen.root_hash, present.root_hash)
        except InvalidInput as error:
            raise _rolled_back(f"its first {seen.size} entries are others than before") from error

    def _seen(self) -> Checkpoint | None:
        if not os.path.lexists(self._path):
            return None
        try:
            note = read_bounded(self._path, MAX_NOTE_BYTES)
            return open_checkpoint(note, self._ledger.origin, [self._ledger.verifier]).checkpoint
        except InvalidInput as error:
            raise CouldNotDecide(
                f"the newest head seen cannot be read from {self._path}",
                cause=str(error),
                next_step="Restore this file from the backup of the node's keys; without it a ledger that was put back "
                "cannot be told from the present one.",
            ) from error

    def _write(self, head: SignedCheckpoint) -> None:
        draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as stream:
                stream.write(head.note)
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(self._path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise CouldNotDecide(
                f"the newest head cannot be kept in {self._path}",
                cause=str(error),
                next_step="Make room on the disk and check permissions, then try again.",
            ) from error


def _rolled_back(what: str) -> RolledBack:
    return RolledBack(
        "the ledger is not the one that this node has seen before: it was put back or replaced",
        cause=what,
        next_step="Keep it as it is, restore the newest backup, and compare both with `pratique log verify`. Until "
        "then nothing is admitted or run, since withdrawals may be missing.",
    )
