"""The in-toto attestation framework's own forms: Statement v1 and ResourceDescriptor v1, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from checks.interface import Evidence
from pratique.digests import Digest, hex_of, parse_digest
from pratique.errors import InvalidInput
from records.dsse import STATEMENT_TYPE

Statement = dict[str, Any]
Descriptor = dict[str, Any]
"""An in-toto ResourceDescriptor."""


def statement(subjects: Sequence[Descriptor], predicate_type: str, predicate: Mapping[str, Any]) -> Statement:
    """An in-toto Statement v1; raises `InvalidInput` (`statement/subject`) without subjects that have digests."""
    if not subjects or not all(subject.get("digest") for subject in subjects):
        raise InvalidInput(
            "a statement needs subjects with digests",
            rule="statement/subject",
            next_step="Name what the statement is about by its digest.",
        )
    return {
        "_type": STATEMENT_TYPE,
        "subject": [dict(subject) for subject in subjects],
        "predicateType": predicate_type,
        "predicate": dict(predicate),
    }


def descriptor(
    *,
    name: str = "",
    uri: str = "",
    digest: Digest | None = None,
    media_type: str = "",
    annotations: Mapping[str, Any] | None = None,
) -> Descriptor:
    """An in-toto ResourceDescriptor of the fields given; raises `InvalidInput` (`statement/descriptor`, …)."""
    if not uri and digest is None:
        raise InvalidInput(
            f"{name or 'a resource'} has neither a URI nor a digest",
            rule="statement/descriptor",
            next_step="Name it by its digest.",
        )
    fields: Descriptor = {
        "name": name,
        "uri": uri,
        "digest": {"sha256": hex_of(parse_digest(digest))} if digest is not None else None,
        "mediaType": media_type,
        "annotations": dict(annotations) if annotations else None,
    }
    return {field: value for field, value in fields.items() if value}


def digest_in(resource: object) -> Digest | None:
    """The SHA-256 by which a ResourceDescriptor names something; None for whatever states none."""
    digests = resource.get("digest") if isinstance(resource, dict) else None
    try:
        return parse_digest(f"sha256:{digests.get('sha256')}") if isinstance(digests, dict) else None
    except InvalidInput:
        return None


def described(evidence: Evidence) -> Descriptor:
    """A file in the store as a statement names it."""
    return descriptor(
        name=evidence.name,
        digest=evidence.digest,
        media_type=evidence.media_type,
        annotations={"size": evidence.size},
    )
