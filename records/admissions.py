"""Which versions are admitted, as the ledger says: the last admission of a name and version counts.

Only statements signed by the node (or by the verifiers given) count; anything else in the ledger admits nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from checks.pinning import ValidatedVersion
from pratique.digests import Digest, parse_digest
from pratique.errors import InvalidInput
from records.dsse import verify_envelope
from records.keys import Verifier
from records.reader import LedgerReader
from records.statements import ADMISSION_EXTENSION, DECISION, VSA, Action

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""The end of an admission whose own words about its end cannot be read."""


@dataclass(frozen=True)
class AdmittedVersion:
    """The last admission of a name and version to one place: what it admitted, until when, and whether it stands."""

    name: str
    version: str
    image_digest: Digest
    entry: int
    resource_uri: str
    expires: datetime | None = None
    taken_back: int | None = None
    """Entry of the withdrawal (or of the failed verification) that took it back."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What a later admission must share to take the place of this one."""
        return self.name, self.version, self.resource_uri


class Admissions:
    """What the entries of a ledger, taken in one after the other, leave admitted."""

    def __init__(self, known: Sequence[AdmittedVersion] = (), withdrawals: int = 0) -> None:
        self._known = {version.key: version for version in known}
        self.withdrawals = withdrawals
        """How many withdrawals there have been; it never gets less."""

    def take_in(self, entry: int, statement: dict[str, Any]) -> None:
        """Take in the signed statement at `entry`; what is neither admission nor withdrawal changes nothing."""
        predicate = statement["predicate"]
        if statement["predicateType"] == DECISION and predicate.get("decision") == Action.WITHDRAW:
            self.withdrawals += 1
            self._take_back(entry, statement)
        if statement["predicateType"] != VSA:
            return
        if predicate.get("verificationResult") != "PASSED":
            self._take_back(entry, statement)
            return
        place, expires = str(predicate.get("resourceUri")), expiry_of(predicate)
        for name, version, digest in _subjects(statement):
            admitted = AdmittedVersion(name, version, digest, entry, place, expires)
            self._known[admitted.key] = admitted

    def all(self) -> list[AdmittedVersion]:
        """Every admission, those taken back too, by name, version and place."""
        return [self._known[key] for key in sorted(self._known)]

    def _take_back(self, entry: int, statement: dict[str, Any]) -> None:
        for name, version, digest in _subjects(statement):
            for known in list(self._known.values()):
                if (known.name, known.version, known.image_digest) == (name, version, digest):
                    self._known[known.key] = replace(known, taken_back=known.taken_back or entry)


def validated_versions(
    ledger: LedgerReader,
    verifiers: Sequence[Verifier] | None = None,
    *,
    resource_uri: str | None = None,
    moment: datetime | None = None,
) -> list[ValidatedVersion]:
    """Every version admitted and not withdrawn, by name and version.

    A later admission of the same name and version takes the place of an earlier one; a withdrawal, or a failed
    verification, of the same image takes it back. With `resource_uri`, admissions to other places do not count; with
    `moment`, neither do those that have expired then. Without it they do: a version stays bound to its image after its
    admission has expired. Raises `CouldNotDecide` when the ledger cannot be trusted.
    """
    admissions = Admissions()
    for entry, statement in signed_statements(ledger, verifiers):
        admissions.take_in(entry, statement)
    return standing(admissions.all(), resource_uri=resource_uri, moment=moment)


def standing(
    versions: Sequence[AdmittedVersion], *, resource_uri: str | None = None, moment: datetime | None = None
) -> list[ValidatedVersion]:
    """Those of `versions` that nobody took back, the last of each name and version; see `validated_versions`."""
    last: dict[tuple[str, str], AdmittedVersion] = {}
    for version in sorted(versions, key=lambda one: one.entry):
        elsewhere = resource_uri is not None and version.resource_uri != resource_uri
        expired = moment is not None and version.expires is not None and version.expires <= moment
        if version.taken_back is None and not elsewhere and not expired:
            last[version.name, version.version] = version
    return [
        ValidatedVersion(found.name, found.version, found.image_digest, found.entry)
        for _, found in sorted(last.items())
    ]


def signed_statements(
    ledger: LedgerReader, verifiers: Sequence[Verifier] | None = None, *, start: int = 0
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Index and statement of every entry from `start` on that `verifiers` (or, without them, the node) signed."""
    trusted = [ledger.verifier] if verifiers is None else verifiers
    for entry in ledger.entries(start):
        try:
            statement = verify_envelope(entry.data, trusted)
        except InvalidInput:
            continue
        yield entry.index, statement


def expiry_of(predicate: dict[str, Any]) -> datetime | None:
    """When the admission with this predicate ends, None where it says nothing; `LONG_AGO` for an unreadable end."""
    extension = predicate.get(ADMISSION_EXTENSION)
    text = extension.get("expires") if isinstance(extension, dict) else None
    return None if text is None else moment_of(text)


def moment_of(text: object) -> datetime:
    """The moment in a statement (RFC 3339 in UTC, with seconds); `LONG_AGO` for anything else."""
    try:
        return datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return LONG_AGO


def _subjects(statement: dict[str, Any]) -> Iterator[tuple[str, str, Digest]]:
    """The tools that a statement is about; a subject without name, version or SHA-256 is none."""
    for subject in statement["subject"]:
        name, annotations = subject.get("name"), subject.get("annotations")
        version = annotations.get("version") if isinstance(annotations, dict) else None
        try:
            digest = parse_digest(f"sha256:{subject['digest'].get('sha256')}")
        except InvalidInput:
            continue
        if isinstance(name, str) and isinstance(version, str):
            yield name, version, digest
