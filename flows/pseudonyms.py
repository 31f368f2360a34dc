"""Names of persons and datasets as they may stand in a ledger that strangers read: salted, so that nobody guesses them.

The salt is a secret of the node, so the node can ask its ledger "what ran on this dataset" and nobody else can. Without
the salt the names are gone.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from pratique.bounds import read_bounded
from pratique.errors import CouldNotDecide, InvalidInput
from records.durable import create_secret

_BYTES = 32


class Pseudonyms:
    """Names under the salt in the file at `path`, made there (mode 0600) when there is none."""

    def __init__(self, path: Path) -> None:
        self._salt = _load_or_create(path)

    def of(self, kind: str, text: str) -> str:
        """`text`, which is of `kind` (person, dataset, input), as HMAC-SHA-256 under the node's salt."""
        message = f"{kind}\0{text}".encode()
        return "hmac-sha256:" + hmac.new(self._salt, message, hashlib.sha256).hexdigest()


def _load_or_create(path: Path) -> bytes:
    """The salt; two processes that come first at once end up with the same one. Raises `CouldNotDecide`."""
    try:
        if not os.path.lexists(path):
            create_secret(path, secrets.token_bytes(_BYTES))
        salt = read_bounded(path, _BYTES)
    except (OSError, InvalidInput) as error:
        raise _unusable(path, str(error)) from error
    if len(salt) != _BYTES or path.stat().st_mode & 0o077:
        raise _unusable(path, "it is not 32 bytes that only its owner may read")
    return salt


def _unusable(path: Path, cause: str) -> CouldNotDecide:
    return CouldNotDecide(
        f"the salt of the node in {path} cannot be used",
        cause=cause,
        next_step="Restore it from the backup of the node's keys; with another salt earlier runs of a dataset are not "
        "found any more.",
    )
