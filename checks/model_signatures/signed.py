"""What an OpenSSF model signature lists: files, or pieces of files, and the hash of each.

Format: the predicate `https://model_signing/signature/v1.0` that `model-signing` 1.x writes
(https://github.com/sigstore/model-transparency). Read strictly and with bounds: a name that leaves the model's
directory, a name twice, pieces that do not cover their file without a gap, and hashes of unknown kinds are refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from checks.provenance.statement import Statement
from checks.provenance.steps import StepFailed
from pratique.digests import Digest

PREDICATE = "https://model_signing/signature/v1.0"
OLD_PREDICATE = "https://model_signing/Digests/v0.1"
SIZES = {"sha256": 32, "blake2b": 64, "blake3": 32}
"""The hashes that `model-signing` makes, and their bytes."""

MAX_RESOURCES = 100_000
_MAX_NAME = 4096
_MAX_SHARD = 1 << 50
_HEX = re.compile(r"(?:[0-9a-f]{2})+", re.ASCII)
_SHARD = re.compile(r"(.+):(0|[1-9][0-9]{0,17}):([1-9][0-9]{0,17})", re.ASCII | re.DOTALL)


@dataclass(frozen=True)
class Piece:
    """Bytes `start` to `end` (not included; None: the file's end) of a file, and their hash."""

    start: int
    end: int | None
    digest: bytes


@dataclass(frozen=True)
class SignedModel:
    """A signed list: pieces by path (relative to the model's directory; `.` is a model of one file), and how made.

    `ignored` are paths that the signer left out on purpose; `empty_left_out` whether files without bytes are not
    listed (pieces have none).
    """

    name: str
    algorithm: str
    symlinks: bool
    ignored: frozenset[str]
    files: Mapping[str, tuple[Piece, ...]]
    empty_left_out: bool

    def ignores(self, path: str) -> bool:
        """Whether the signer left `path` out on purpose, itself or a directory above it."""
        parts = path.split("/")
        return any("/".join(parts[:count]) in self.ignored for count in range(1, len(parts) + 1))


def read_signed(statement: Statement) -> tuple[SignedModel, Digest]:
    """The list in a statement, and the digest over all its hashes, which is what the statement's subject must have.

    Raises `StepFailed`.
    """
    if statement.predicate_type == OLD_PREDICATE:
        raise StepFailed(
            "a model signature of the experimental form before 1.0", fix="Sign again with model-signing 1.x."
        )
    if statement.predicate_type != PREDICATE:
        raise StepFailed(f"it states {statement.predicate_type[:120]!r}, which is no model signature")
    try:
        predicate = statement.predicate
        serialization, resources = predicate["serialization"], predicate["resources"]
        if not isinstance(resources, list) or not 1 <= len(resources) <= MAX_RESOURCES:
            raise StepFailed(f"the signature must list 1 to {MAX_RESOURCES:,} resources")
        return _read(_model_name(statement), serialization, resources)
    except (LookupError, TypeError, AttributeError) as error:
        raise StepFailed(f"the predicate has not the form of a model signature: {str(error)[:100]}") from error


def _model_name(statement: Statement) -> str:
    """The signed name of the model: a plain file name, or none."""
    names = statement.names
    name = names[0] if len(names) == 1 else ""
    return name if name not in ("", ".", "..") and "/" not in name and name.isprintable() else ""


def _read(name: str, how: Mapping[str, Any], resources: list[Any]) -> tuple[SignedModel, Digest]:
    method, algorithm = how["method"], how["hash_type"]
    if method not in ("files", "shards") or algorithm not in SIZES:
        raise StepFailed(f"the method {str(method)[:40]!r} with the hash {str(algorithm)[:40]!r} is not known")
    stated = algorithm if method == "files" else f"{algorithm}-sharded-{_shard_size(how['shard_size'])}"
    files: dict[str, list[Piece]] = {}
    whole = hashlib.sha256()
    for resource in resources:
        digest = resource["digest"]
        if resource["algorithm"] != stated or not isinstance(digest, str) or not _HEX.fullmatch(digest):
            raise StepFailed(f"a resource's hash is not by {stated}")
        raw = bytes.fromhex(digest)
        if len(raw) != SIZES[algorithm]:
            raise StepFailed(f"a resource's hash is not {SIZES[algorithm]} bytes long")
        whole.update(raw)
        path, piece = _piece(resource["name"], raw, sharded=method == "shards")
        if path in files and method == "files":
            raise StepFailed(f"it lists {path[:200]!r} twice")
        files.setdefault(path, []).append(piece)
    model = SignedModel(
        name=name,
        algorithm=algorithm,
        symlinks=how["allow_symlinks"] is True,
        ignored=_ignored(how.get("ignore_paths", [])),
        files={path: _in_order(path, pieces) for path, pieces in files.items()},
        empty_left_out=method == "shards",
    )
    return model, Digest(f"sha256:{whole.hexdigest()}")


def _shard_size(value: Any) -> int:
    """A whole number that protobuf's JSON may have written as a float."""
    whole = value.is_integer() if isinstance(value, float) else isinstance(value, int) and not isinstance(value, bool)
    if not whole:
        raise StepFailed("the size of the pieces is not a whole number")
    if not 1 <= value <= _MAX_SHARD:
        raise StepFailed("the size of the pieces is out of range")
    return int(value)


def _piece(name: Any, digest: bytes, *, sharded: bool) -> tuple[str, Piece]:
    if not isinstance(name, str) or len(name) > _MAX_NAME:
        raise StepFailed("a resource has no usable name")
    if not sharded:
        return _plain(name), Piece(0, None, digest)
    parts = _SHARD.fullmatch(name)
    if parts is None:
        raise StepFailed(f"the piece {name[:200]!r} is not written as name:start:end")
    return _plain(parts[1]), Piece(int(parts[2]), int(parts[3]), digest)


def _plain(path: str) -> str:
    """`path` where it stays inside the model's directory, written in the one way that it can be."""
    parts = path.split("/")
    if path != "." and (any(part in ("", ".", "..") for part in parts) or "\0" in path or "\\" in path):
        raise StepFailed(f"the name {path[:200]!r} leaves the model's directory, or is not a plain path")
    return path


def _in_order(path: str, pieces: list[Piece]) -> tuple[Piece, ...]:
    """Pieces that follow each other from the first byte; whether the last ends with the file is for the comparison."""
    ordered = sorted(pieces, key=lambda piece: piece.start)
    expected: int | None = 0
    for piece in ordered:
        if piece.start != expected or (piece.end is not None and piece.end <= piece.start):
            raise StepFailed(f"the pieces of {path[:200]!r} overlap, repeat or leave a gap")
        expected = piece.end
    return tuple(ordered)


def _ignored(value: Any) -> frozenset[str]:
    """Paths left out; one that would leave out the whole model, or lies elsewhere, leaves out nothing."""
    if not isinstance(value, list) or len(value) > MAX_RESOURCES or not all(isinstance(item, str) for item in value):
        raise StepFailed("the list of ignored paths is none")
    kept = (item.rstrip("/") for item in value)
    return frozenset(path for path in kept if not any(part in ("", ".", "..") for part in path.split("/")))
