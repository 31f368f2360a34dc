"""What a signature says: a strictly read in-toto statement about exactly one image digest.

`sigstore.dsse.Statement` refuses the nameless subject that cosign 3 writes, so the payload is parsed here: no
duplicate keys, exact types, exact predicate type (https://github.com/in-toto/attestation/tree/main/spec/v1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from checks.provenance.steps import StepFailed
from checks.provenance.trust import COSIGN_SIGN
from pratique.digests import Digest, hex_of
from pratique.errors import InvalidInput

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
OLD_STATEMENT_TYPE = "https://in-toto.io/Statement/v0.1"
"""Of attestations before 2023 and of cosign 2: the same fields. No signature of an image or model is one."""

_NEVER_OLD = frozenset({COSIGN_SIGN, "https://model_signing/signature/v1.0"})
_MAX_PAYLOAD = 16 * 1024 * 1024
_MAX_SUBJECTS = 1024
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class Statement:
    """An in-toto statement: the SHA-256 of its subjects (hex), its predicate type and predicate; the subjects' names.

    `old` says that it is of version 0.1.
    """

    subjects: tuple[str, ...]
    predicate_type: str
    predicate: Any
    names: tuple[str, ...] = ()
    old: bool = False


def parse_statement(payload_type: str, payload: bytes) -> Statement:
    """The statement in a DSSE payload; raises `StepFailed` for anything that is not exactly one."""
    from pratique.bounds import strict_json

    if payload_type != PAYLOAD_TYPE:
        raise StepFailed(f"the payload is of type {payload_type[:100]!r}, not {PAYLOAD_TYPE}")
    try:
        document = strict_json(payload, where="payload", max_bytes=_MAX_PAYLOAD)
    except InvalidInput as error:
        raise StepFailed(f"the payload is not strict JSON: {error}") from error
    version = document.get("_type") if isinstance(document, dict) else None
    if version not in (STATEMENT_TYPE, OLD_STATEMENT_TYPE):
        raise StepFailed(f"the payload is not an in-toto statement of type {STATEMENT_TYPE}")
    predicate_type = document.get("predicateType")
    if not isinstance(predicate_type, str) or not predicate_type:
        raise StepFailed("the statement has no predicate type")
    subjects: Any = document.get("subject")
    digests = _subjects(subjects)
    names = tuple(subject["name"] for subject in subjects if isinstance(subject.get("name"), str))
    return Statement(digests, predicate_type, document.get("predicate"), names, version == OLD_STATEMENT_TYPE)


def require_predicate(statement: Statement, allowed: frozenset[str]) -> str:
    """The statement's predicate type where it is one of `allowed`, compared exactly; else raises `StepFailed`."""
    if statement.predicate_type not in allowed:
        raise StepFailed(
            f"it states {statement.predicate_type[:120]!r}; what is asked for is {' or '.join(sorted(allowed))}"
        )
    if statement.old and statement.predicate_type in _NEVER_OLD:
        raise StepFailed(f"a statement of the type {statement.predicate_type} is one of {STATEMENT_TYPE}, not of v0.1")
    return statement.predicate_type


def require_subject(statement: Statement, digest: Digest) -> str:
    """The hex digest of the subject that is `digest`; raises `StepFailed` naming the subjects where none is."""
    if hex_of(digest) not in statement.subjects:
        seen = ", ".join(f"sha256:{subject}" for subject in statement.subjects[:3])
        raise StepFailed(f"it is about {seen}, not about this image ({digest})")
    return hex_of(digest)


def _subjects(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= _MAX_SUBJECTS:
        raise StepFailed(f"the statement must have 1 to {_MAX_SUBJECTS} subjects")
    found: list[str] = []
    for subject in value:
        digests = subject.get("digest") if isinstance(subject, dict) else None
        if not isinstance(digests, dict) or not all(isinstance(text, str) for text in digests.values()):
            raise StepFailed("a subject of the statement has no digest set")
        sha256 = digests.get("sha256")
        if sha256 is not None:
            if not _HEX.fullmatch(sha256):
                raise StepFailed("a subject's sha256 is not 64 lower-case hex digits")
            found.append(sha256)
    if not found:
        raise StepFailed("no subject of the statement has a sha256 digest")
    return tuple(found)
