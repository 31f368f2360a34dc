"""Which versions are admitted, as the ledger says: the last admission of a name and version counts.

Only statements signed by the node (or by the verifiers given) count; anything else in the ledger admits nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from checks.pinning import ValidatedVersion
from pratique.digests import parse_digest
from pratique.errors import InvalidInput
from records.dsse import verify_envelope
from records.keys import Verifier
from records.reader import LedgerReader
from records.statements import DECISION, VSA, Action


def validated_versions(
    ledger: LedgerReader, verifiers: Sequence[Verifier] | None = None, *, resource_uri: str | None = None
) -> list[ValidatedVersion]:
    """Every version admitted and not withdrawn, by name and version.

    A later admission of the same name and version takes the place of an earlier one; a withdrawal, or a failed
    verification, of the same image takes it back. With `resource_uri`, admissions to other places do not count.
    Raises `CouldNotDecide` when the ledger cannot be trusted.
    """
    admitted: dict[tuple[str, str], ValidatedVersion] = {}
    for entry, statement in signed_statements(ledger, verifiers):
        predicate = statement["predicate"]
        if statement["predicateType"] == DECISION and predicate.get("decision") == Action.WITHDRAW:
            _take_back(admitted, statement)
        if statement["predicateType"] != VSA:
            continue
        if predicate.get("verificationResult") != "PASSED":
            _take_back(admitted, statement)
        elif resource_uri is None or predicate.get("resourceUri") == resource_uri:
            for version in _subjects(statement, entry):
                admitted[version.name, version.version] = version
    return [admitted[key] for key in sorted(admitted)]


def signed_statements(
    ledger: LedgerReader, verifiers: Sequence[Verifier] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Index and statement of every entry signed by `verifiers` (the node itself where none are given)."""
    trusted = [ledger.verifier] if verifiers is None else verifiers
    for entry in ledger.entries():
        try:
            statement = verify_envelope(entry.data, trusted)
        except InvalidInput:
            continue
        yield entry.index, statement


def _take_back(admitted: dict[tuple[str, str], ValidatedVersion], statement: dict[str, Any]) -> None:
    for taken in _subjects(statement, -1):
        key = taken.name, taken.version
        if key in admitted and admitted[key].image_digest == taken.image_digest:
            del admitted[key]


def _subjects(statement: dict[str, Any], entry: int) -> Iterator[ValidatedVersion]:
    """The tools that a statement is about; a subject without name, version or SHA-256 is none."""
    for subject in statement["subject"]:
        name, annotations = subject.get("name"), subject.get("annotations")
        version = annotations.get("version") if isinstance(annotations, dict) else None
        try:
            digest = parse_digest(f"sha256:{subject['digest'].get('sha256')}")
        except InvalidInput:
            continue
        if isinstance(name, str) and isinstance(version, str):
            yield ValidatedVersion(name, version, digest, entry)
