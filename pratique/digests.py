"""SHA-256 digests in the OCI form `sha256:<64 lower-case hex digits>` and canonical JSON (RFC 8785)."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, NewType

from pratique.errors import InvalidInput

Digest = NewType("Digest", str)

_FORM = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


def parse_digest(text: object, *, where: str = "") -> Digest:
    """Check that `text` is a SHA-256 digest in the OCI form; raises `InvalidInput` (`digest/form`)."""
    if not isinstance(text, str) or not _FORM.fullmatch(text):
        raise InvalidInput(
            "not a digest of the form sha256:<64 hex digits>",
            rule="digest/form",
            where=where,
            cause=f"got {str(text)[:80]!r}",
            next_step="Write sha256: and the 64 lower-case hex digits of the digest that is meant.",
        )
    return Digest(text)


def sha256_bytes(data: bytes) -> Digest:
    """Digest of `data`."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def sha256_file(path: Path) -> Digest:
    """Digest of the file at `path`, read in one streamed pass."""
    with path.open("rb") as stream:
        return Digest("sha256:" + hashlib.file_digest(stream, "sha256").hexdigest())


def hex_of(digest: Digest) -> str:
    """The 64 hex digits of `digest`, as in-toto subjects write them."""
    return digest.removeprefix("sha256:")


def canonical_json(value: Any) -> bytes:
    """RFC 8785 canonical JSON of plain data (dict, list, str, int, float, bool, None)."""
    import rfc8785

    return rfc8785.dumps(value)


def sha256_json(value: Any) -> Digest:
    """Digest of the canonical JSON of `value`."""
    return sha256_bytes(canonical_json(value))
