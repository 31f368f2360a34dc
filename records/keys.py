"""The node's Ed25519 key, which signs checkpoints and statements, and the verifier that others get.

A verifier is written as the field writes it (`vkey` of C2SP signed-note):
`<name>+<key id, 8 hex digits>+<base64 of type byte and public key>`.
One key serves both formats: a checkpoint's text ends in a newline, the pre-authentication encoding of a statement
(`DSSEv1 …`) never does, so no signature of one can pass for the other.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from pratique.bounds import read_bounded
from pratique.errors import CouldNotDecide, InvalidInput
from records.durable import create_secret

ED25519 = b"\x01"
"""Signature type of plain Ed25519 notes."""

_VKEY = re.compile(r"(?P<name>[^+\s]+)\+(?P<id>[0-9a-f]{8})\+(?P<key>[A-Za-z0-9+/]+={0,2})")
_KEY_FILE_BYTES = 4096


@dataclass(frozen=True)
class Verifier:
    """Name and public key (32 bytes) of a signer of notes and statements."""

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        if not is_key_name(self.name):
            raise _bad_verifier("a key's name must be non-empty, without spaces, control characters or '+'")
        if len(self.public_key) != 32:
            raise _bad_verifier("an Ed25519 public key has 32 bytes")

    @cached_property
    def key_id(self) -> bytes:
        """The four bytes that precede this key's note signatures."""
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.public_key).digest()[:4]

    @property
    def vkey(self) -> str:
        """The one-line form to publish, read by `parse_verifier`."""
        encoded = base64.b64encode(ED25519 + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` over `message` was made by this key."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class NodeKey:
    """The private key of a node; its representation never shows the key."""

    verifier: Verifier
    _private: Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"NodeKey({self.verifier.vkey})"

    @property
    def name(self) -> str:
        """Name under which this node signs."""
        return self.verifier.name

    def sign(self, message: bytes) -> bytes:
        """Ed25519 signature (64 bytes) over `message`."""
        return self._private.sign(message)


def is_key_name(name: str) -> bool:
    """Whether `name` may stand in a signature line of a note."""
    return bool(name) and not any(c == "+" or c.isspace() or ord(c) < 0x20 for c in name)


def strict_base64(text: str) -> bytes | None:
    """Bytes of canonical standard base64 (padded, no spare bits), None for anything else."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        return None
    return data if base64.b64encode(data).decode() == text else None


def parse_verifier(text: str) -> Verifier:
    """The verifier of a `vkey` line; raises `InvalidInput` (`key/verifier`)."""
    match = _VKEY.fullmatch(text.strip("\n"))
    key = strict_base64(match["key"]) if match else None
    if match is None or key is None or key[:1] != ED25519:
        raise _bad_verifier("not an Ed25519 verifier of the form name+id+base64")
    verifier = Verifier(match["name"], key[1:])
    if verifier.key_id.hex() != match["id"]:
        raise _bad_verifier("the key id does not belong to this name and key")
    return verifier


def load_or_create_key(path: Path, name: str) -> NodeKey:
    """The node's key from the PEM file at `path`, made there (mode 0600) when there is none.

    Two processes that come first at once end up with the same key. Raises `InvalidInput` (`key/permissions`,
    `key/form`, and those of `read_bounded`) and `CouldNotDecide` when the file cannot be written.
    """
    if not os.path.lexists(path):
        _create_key(path)
    return load_key(path, name)


def load_key(path: Path, name: str) -> NodeKey:
    """The node's key from the PEM file at `path`; raises as `load_or_create_key` does."""
    data = read_bounded(path, _KEY_FILE_BYTES)
    if path.stat().st_mode & 0o077:
        raise InvalidInput(
            "others may read or replace this private key",
            rule="key/permissions",
            where=str(path),
            next_step=f"Run `chmod 600 {path}`, and make a new key if others use this machine.",
        )
    try:
        private = load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise _bad_key_file(path, "not an unencrypted PEM private key") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise _bad_key_file(path, "not an Ed25519 key")
    return NodeKey(Verifier(name, private.public_key().public_bytes_raw()), private)


def _create_key(path: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        create_secret(path, pem)
    except OSError as error:
        raise CouldNotDecide(
            f"cannot create the node's key {path}",
            cause=str(error),
            next_step="Choose a directory that this user may write, on a file system with hard links.",
        ) from error


def _bad_verifier(message: str) -> InvalidInput:
    return InvalidInput(message, rule="key/verifier", next_step="Get the verifier line from the node again.")


def _bad_key_file(path: Path, message: str) -> InvalidInput:
    return InvalidInput(
        message,
        rule="key/form",
        where=str(path),
        next_step="Restore the node's key from its backup; a new key starts a new identity.",
    )
