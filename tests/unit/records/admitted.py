"""The versions that stand, read from the whole ledger at once: what the index must say too."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from checks.pinning import ValidatedVersion
from records.admissions import Admissions, signed_statements, standing
from records.keys import Verifier
from records.reader import LedgerReader


def validated_versions(
    ledger: LedgerReader,
    verifiers: Sequence[Verifier] | None = None,
    *,
    resource_uri: str | None = None,
    moment: datetime | None = None,
) -> list[ValidatedVersion]:
    """Every version admitted and not withdrawn, by name and version; as `standing` says."""
    admissions = Admissions()
    for entry, statement in signed_statements(ledger, verifiers):
        admissions.take_in(entry, statement)
    return standing(admissions.all(), resource_uri=resource_uri, moment=moment)
