"""Signed notes (C2SP signed-note): a text, an empty line, and signature lines `— name base64(key id ‖ signature)`.

Rules kept here: valid UTF-8 without control characters but the newline; signatures by unknown keys are ignored, a bad
signature by a known key refuses the whole note, and a note without a good signature by a known key is refused.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from pratique.errors import InvalidInput
from records.keys import NodeKey, Verifier, is_key_name, strict_base64

MAX_NOTE_BYTES = 1 << 20
MAX_SIGNATURES = 64
_KEY_ID_BYTES = 4


@dataclass(frozen=True)
class NoteSignature:
    """One signature line: who, which key, and the signature itself."""

    name: str
    key_id: bytes
    signature: bytes

    def line(self) -> str:
        """The line as it stands in the note."""
        return f"— {self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n"


@dataclass(frozen=True)
class Note:
    """A note taken apart; `text` ends in a newline. Nothing is verified yet."""

    text: str
    signatures: tuple[NoteSignature, ...]


@dataclass(frozen=True)
class VerifiedNote:
    """Text of a note, the verifiers whose signature is good, and the signatures by keys not known here."""

    text: str
    signers: tuple[Verifier, ...]
    unknown: tuple[NoteSignature, ...]


def parse_note(data: bytes, *, max_bytes: int = MAX_NOTE_BYTES) -> Note:
    """Take the bytes of a note apart; raises `InvalidInput` (`note/…`)."""
    if len(data) > max_bytes:
        raise _malformed(f"larger than {max_bytes} bytes")
    try:
        content = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed("not UTF-8") from error
    if any(character < " " and character != "\n" for character in content):
        raise _malformed("contains control characters")
    text, empty_line, lines = content.rpartition("\n\n")
    if not empty_line or not lines.endswith("\n"):
        raise _malformed("no empty line before the signatures, or no newline at the end")
    signatures = lines[:-1].split("\n")
    if len(signatures) > MAX_SIGNATURES:
        raise _malformed(f"more than {MAX_SIGNATURES} signatures")
    return Note(text + "\n", tuple(_signature(line) for line in signatures))


def verify_note(data: bytes, verifiers: Sequence[Verifier], *, max_bytes: int = MAX_NOTE_BYTES) -> VerifiedNote:
    """Text of the note in `data`, signed by at least one of `verifiers`; raises `InvalidInput` (`note/…`)."""
    note = parse_note(data, max_bytes=max_bytes)
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    signers: dict[Verifier, None] = {}
    unknown: list[NoteSignature] = []
    for signature in note.signatures:
        verifier = known.get((signature.name, signature.key_id))
        if verifier is None:
            unknown.append(signature)
        elif verifier.verifies(signature.signature, note.text.encode()):
            signers[verifier] = None
        else:
            raise _untrusted(f"the signature by {verifier.name} is wrong")
    if not signers:
        raise _untrusted("not signed by a trusted key")
    return VerifiedNote(note.text, tuple(signers), tuple(unknown))


def sign_note(text: str, keys: Sequence[NodeKey], *, max_bytes: int = MAX_NOTE_BYTES) -> bytes:
    """The note of `text` (which ends in a newline) signed by `keys`; raises `InvalidInput` (`note/form`)."""
    if not text.endswith("\n"):
        raise _malformed("the text does not end in a newline")
    message = text.encode()
    lines = [NoteSignature(key.name, key.verifier.key_id, key.sign(message)).line() for key in keys]
    data = message + b"\n" + "".join(lines).encode()
    if parse_note(data, max_bytes=max_bytes).text != text:
        raise _malformed("the text would be read back otherwise")
    return data


def _signature(line: str) -> NoteSignature:
    _, name, encoded = [*line.split(" "), "", ""][:3]
    raw = strict_base64(encoded)
    if line != f"— {name} {encoded}" or not is_key_name(name):
        raise _malformed("a signature line is not of the form '— name base64'")
    if raw is None or len(raw) <= _KEY_ID_BYTES:
        raise _malformed("a signature is not canonical base64 of a key id and a signature")
    return NoteSignature(name, raw[:_KEY_ID_BYTES], raw[_KEY_ID_BYTES:])


def _malformed(message: str) -> InvalidInput:
    return InvalidInput(message, rule="note/form", next_step="Get the signed note again from where it was made.")


def _untrusted(message: str) -> InvalidInput:
    return InvalidInput(
        message,
        rule="note/signature",
        next_step="Compare the node's verifier line with the one that the node published; do not trust this note.",
    )
