"""Statements in signed envelopes (DSSE v1.0.2), read strictly.

securesystemslib computes what is signed and verifies it; what it lets pass is refused here before: unknown or
duplicate JSON keys, base64 that is not canonical, another payload type, several signatures with one key id, and a bad
signature beside a good one. An envelope is RFC 8785 canonical JSON, so that it can be a ledger entry as it is.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pratique.bounds import strict_json
from pratique.digests import canonical_json
from pratique.errors import InvalidInput
from records.keys import NodeKey, Verifier, strict_base64

if TYPE_CHECKING:
    from securesystemslib.signer._key import SSlibKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
ENVELOPE_MEDIA_TYPE = "application/vnd.dsse.envelope.v1+json"

MAX_ENVELOPE_BYTES = 1 << 22
MAX_SIGNATURES = 16
_WHERE = "signed statement"


@dataclass(frozen=True)
class VerifiedStatement:
    """A statement and the verifiers whose signature over it is good (at least one)."""

    statement: dict[str, Any]
    signers: tuple[Verifier, ...]


def sign_statement(statement: dict[str, Any], *keys: NodeKey) -> bytes:
    """The in-toto statement as a DSSE envelope signed by each of `keys`, in canonical JSON.

    Raises `InvalidInput` (`dsse/statement`) for what `verify_envelope` would refuse.
    """
    from securesystemslib.dsse import Envelope

    payload = canonical_json(statement)
    _check_statement(payload)
    message = Envelope(payload, PAYLOAD_TYPE, {}).pae()
    signatures = [(dsse_key_id(key.verifier), base64.b64encode(key.sign(message)).decode()) for key in keys]
    return canonical_json(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": key_id, "sig": signature} for key_id, signature in signatures],
        }
    )


def verify_envelope(data: bytes, verifiers: Sequence[Verifier], *, predicate_type: str | None = None) -> dict[str, Any]:
    """The in-toto statement in an envelope signed by one of `verifiers`; see `open_envelope`."""
    return open_envelope(data, verifiers, predicate_type=predicate_type).statement


def open_envelope(
    data: bytes, verifiers: Sequence[Verifier], *, predicate_type: str | None = None
) -> VerifiedStatement:
    """The statement in an envelope, and who signed it.

    Every signature with the key id of one of `verifiers` must be good, and there must be one; others are ignored, as
    DSSE asks. With `predicate_type`, a statement of any other kind is refused. Raises `InvalidInput` (`dsse/form`,
    `dsse/payload-type`, `dsse/signature`, `dsse/statement`, `dsse/predicate-type`, `json/…`).
    """
    payload, signatures = _parse_envelope(data)
    signers = _verify(payload, signatures, verifiers)
    statement = _check_statement(payload)
    if predicate_type is not None and statement["predicateType"] != predicate_type:
        raise _refused(
            "predicate-type", f"a {str(statement['predicateType'])[:200]} statement instead of a {predicate_type} one"
        )
    return VerifiedStatement(statement, signers)


def dsse_key_id(verifier: Verifier) -> str:
    """Key id that names this key in envelopes (securesystemslib's default: a digest of the public key)."""
    return str(_dsse_key(verifier).keyid)


@lru_cache(maxsize=64)
def _dsse_key(verifier: Verifier) -> SSlibKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

    key: SSlibKey = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(verifier.public_key))
    return key


def _verify(payload: bytes, signatures: dict[str, bytes], verifiers: Sequence[Verifier]) -> tuple[Verifier, ...]:
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import Signature  # type: ignore[attr-defined]

    known = [verifier for verifier in verifiers if dsse_key_id(verifier) in signatures]
    if not known:
        raise _refused("signature", "not signed by a trusted key")
    keys = {dsse_key_id(verifier): _dsse_key(verifier) for verifier in known}
    named = {key_id: Signature(key_id, signatures[key_id].hex()) for key_id in keys}
    try:
        Envelope(payload, PAYLOAD_TYPE, named).verify(list(keys.values()), threshold=len(keys))
    except VerificationError as error:
        raise _refused("signature", "a signature by a trusted key is wrong") from error
    return tuple(known)


def _parse_envelope(data: bytes) -> tuple[bytes, dict[str, bytes]]:
    """Payload and signatures by key id."""
    envelope = strict_json(data, where=_WHERE, max_bytes=MAX_ENVELOPE_BYTES)
    if not isinstance(envelope, dict) or envelope.keys() != {"payload", "payloadType", "signatures"}:
        raise _refused("form", "not an envelope of exactly payload, payloadType and signatures")
    if envelope["payloadType"] != PAYLOAD_TYPE:
        raise _refused("payload-type", f"the payload is not of type {PAYLOAD_TYPE}")
    items = envelope["signatures"]
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_SIGNATURES:
        raise _refused("form", f"not between 1 and {MAX_SIGNATURES} signatures")
    signatures: dict[str, bytes] = {}
    for item in items:
        if not isinstance(item, dict) or item.keys() != {"keyid", "sig"} or not isinstance(item["keyid"], str):
            raise _refused("form", "a signature is not exactly a keyid and a sig")
        if item["keyid"] in signatures:
            raise _refused("form", "two signatures have the same key id")
        signatures[item["keyid"]] = _base64("a signature", item["sig"])
    return _base64("the payload", envelope["payload"]), signatures


def _base64(what: str, text: object) -> bytes:
    data = strict_base64(text) if isinstance(text, str) else None
    if data is None:
        raise _refused("form", f"{what} is not canonical base64")
    return data


def _check_statement(payload: bytes) -> dict[str, Any]:
    """The in-toto Statement v1 in `payload`, with the fields that the rest of the program relies on."""
    statement = strict_json(payload, where=_WHERE, max_bytes=MAX_ENVELOPE_BYTES)
    if not isinstance(statement, dict) or statement.get("_type") != STATEMENT_TYPE:
        raise _refused("statement", f"not a statement of type {STATEMENT_TYPE}")
    subjects = statement.get("subject")
    if not isinstance(subjects, list) or not subjects or not all(_is_subject(subject) for subject in subjects):
        raise _refused("statement", "not every subject has digests, or there is none")
    if not isinstance(statement.get("predicateType"), str) or not isinstance(statement.get("predicate"), dict):
        raise _refused("statement", "no predicate, or one without a type")
    return statement


def _is_subject(subject: object) -> bool:
    digest = subject.get("digest") if isinstance(subject, dict) else None
    return isinstance(digest, dict) and bool(digest) and all(isinstance(value, str) for value in digest.values())


def _refused(rule: str, message: str) -> InvalidInput:
    return InvalidInput(
        message,
        rule=f"dsse/{rule}",
        where=_WHERE,
        next_step="Do not rely on this statement; get it again from the node or person who made it.",
    )
