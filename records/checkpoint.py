"""Checkpoints (C2SP tlog-checkpoint): the signed head of a ledger, as a note of origin, tree size and root hash."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from pratique.errors import InvalidInput
from records.keys import NodeKey, Verifier, strict_base64
from records.merkle import EMPTY_ROOT, HASH_SIZE
from records.note import NoteSignature, sign_note, verify_note

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_MAX_SIZE = (1 << 63) - 1


@dataclass(frozen=True)
class Checkpoint:
    """Head of the tree of the first `size` entries of the ledger called `origin`."""

    origin: str
    size: int
    root_hash: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """The note's text; raises `InvalidInput` (`checkpoint/form`) for what could not be read back."""
        root = base64.b64encode(self.root_hash).decode()
        text = "".join(f"{line}\n" for line in (self.origin, str(self.size), root, *self.extensions))
        if parse_checkpoint(text) != self:
            raise _malformed("the checkpoint would be read back otherwise")
        return text


@dataclass(frozen=True)
class SignedCheckpoint:
    """A checkpoint, its bytes, who signed it, and the signatures by keys not known here."""

    checkpoint: Checkpoint
    note: bytes
    signers: tuple[Verifier, ...]
    unknown: tuple[NoteSignature, ...] = ()


def parse_checkpoint(text: str) -> Checkpoint:
    """The checkpoint in a note's text, strictly; raises `InvalidInput` (`checkpoint/form`)."""
    if not text.endswith("\n"):
        raise _malformed("does not end in a newline")
    lines = text[:-1].split("\n")
    if len(lines) < 3 or not all(lines):
        raise _malformed("not at least three non-empty lines")
    origin, size, root, *extensions = lines
    if not _SIZE.fullmatch(size) or int(size) > _MAX_SIZE:
        raise _malformed("the tree size is not a plain decimal number")
    root_hash = strict_base64(root)
    if root_hash is None or len(root_hash) != HASH_SIZE:
        raise _malformed("the root hash is not canonical base64 of 32 bytes")
    if int(size) == 0 and root_hash != EMPTY_ROOT:
        raise _malformed("the empty tree has another root hash")
    return Checkpoint(origin, int(size), root_hash, tuple(extensions))


def open_checkpoint(note: bytes, origin: str, verifiers: Sequence[Verifier]) -> SignedCheckpoint:
    """The checkpoint of the ledger `origin`, signed by at least one of `verifiers`.

    Raises `InvalidInput` (`note/…`, `checkpoint/form`, `checkpoint/origin`).
    """
    verified = verify_note(note, verifiers)
    checkpoint = parse_checkpoint(verified.text)
    if checkpoint.origin != origin:
        raise InvalidInput(
            f"a checkpoint of another ledger, {checkpoint.origin[:200]!r}",
            rule="checkpoint/origin",
            next_step=f"Give the checkpoint of {origin}.",
        )
    return SignedCheckpoint(checkpoint, note, verified.signers, verified.unknown)


def sign_checkpoint(checkpoint: Checkpoint, key: NodeKey) -> SignedCheckpoint:
    """`checkpoint` signed by `key`."""
    return SignedCheckpoint(checkpoint, sign_note(checkpoint.text(), [key]), (key.verifier,))


def _malformed(message: str) -> InvalidInput:
    return InvalidInput(message, rule="checkpoint/form", next_step="Get the ledger's checkpoint again.")
