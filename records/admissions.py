"""Which versions are admitted, as the ledger says: the last admission of a name and version counts.

Only statements signed by the node (or by the verifiers given) count; anything else in the ledger admits nothing.
Another verifier's admission or withdrawal list counts from the entry on with which the node took it in.
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
from records.intoto import digest_in
from records.keys import Verifier, strict_base64
from records.reader import LedgerReader
from records.statements import ACCEPTANCE, ADMISSION_EXTENSION, DECISION, VSA, WITHDRAWAL_LIST, Action

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
    config_digest: Digest | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """What a later admission must share to take the place of this one."""
        return self.name, self.version, self.resource_uri

    @property
    def images(self) -> frozenset[Digest]:
        """Digests that the same image has, packed once more or not: its manifest's and its config's."""
        return frozenset(one for one in (self.image_digest, self.config_digest) if one is not None)


@dataclass(frozen=True)
class KnownList:
    """The newest withdrawal list of one origin that this node took in; `digest` is that of the note in the store."""

    origin: str
    size: int
    root: bytes
    issued: datetime
    digest: Digest


class Admissions:
    """What the entries of a ledger, taken in one after the other, leave admitted."""

    def __init__(
        self, known: Sequence[AdmittedVersion] = (), withdrawals: int = 0, lists: Sequence[KnownList] = ()
    ) -> None:
        self._known = {version.key: version for version in known}
        self.withdrawals = withdrawals
        """How many withdrawals there have been; it never gets less."""
        self.lists = {one.origin: one for one in lists}
        """The newest withdrawal list of each origin."""

    def take_in(self, entry: int, statement: dict[str, Any]) -> tuple[AdmittedVersion, ...]:
        """Take in the signed statement at `entry`; what it takes back (what is no withdrawal takes back nothing)."""
        kind, predicate = statement["predicateType"], statement["predicate"]
        if kind == DECISION and predicate.get("decision") == Action.WITHDRAW:
            self.withdrawals += 1
            return self._take_back(entry, statement)
        if kind == VSA and predicate.get("verificationResult") != "PASSED":
            return self._take_back(entry, statement)
        if kind == WITHDRAWAL_LIST:
            return self._take_in_list(entry, statement)
        if kind == VSA:
            self._admit(entry, statement, expiry_of(predicate))
        elif kind == ACCEPTANCE:
            self._admit(entry, statement, moment_of(predicate.get("expires")))
        return ()

    def _admit(self, entry: int, statement: dict[str, Any], expires: datetime | None) -> None:
        place = str(statement["predicate"].get("resourceUri"))
        for name, version, digest, config in _subjects(statement):
            admitted = AdmittedVersion(name, version, digest, entry, place, expires, config_digest=config)
            self._known[admitted.key] = admitted

    def _take_in_list(self, entry: int, statement: dict[str, Any]) -> tuple[AdmittedVersion, ...]:
        listed = _known_list(statement["predicate"])
        if listed is not None:
            self.lists[listed.origin] = listed
        images = {digest for _, _, digest, _ in _subjects(statement)}
        return self._mark(entry, [one for one in self._known.values() if one.image_digest in images])

    def all(self) -> list[AdmittedVersion]:
        """Every admission, those taken back too, by name, version and place."""
        return [self._known[key] for key in sorted(self._known)]

    def _take_back(self, entry: int, statement: dict[str, Any]) -> tuple[AdmittedVersion, ...]:
        named = {(name, version, digest) for name, version, digest, _ in _subjects(statement)}
        return self._mark(
            entry, [one for one in self._known.values() if (one.name, one.version, one.image_digest) in named]
        )

    def _mark(self, entry: int, found: Sequence[AdmittedVersion]) -> tuple[AdmittedVersion, ...]:
        marked = tuple(replace(one, taken_back=entry) for one in found if one.taken_back is None)
        self._known |= {one.key: one for one in marked}
        return marked


def standing(
    versions: Sequence[AdmittedVersion], *, resource_uri: str | None = None, moment: datetime | None = None
) -> list[ValidatedVersion]:
    """Those of `versions` that nobody took back, by name and version.

    A later admission of the same name and version takes the place of an earlier one. With `resource_uri`, admissions to
    other places do not count; with `moment`, neither do those that have expired then. Without it they do: a version
    stays bound to its image after its admission has expired.
    """
    last: dict[tuple[str, str], AdmittedVersion] = {}
    for version in sorted(versions, key=lambda one: one.entry):
        elsewhere = resource_uri is not None and version.resource_uri != resource_uri
        expired = moment is not None and version.expires is not None and version.expires <= moment
        if version.taken_back is None and not elsewhere and not expired:
            last[version.name, version.version] = version
    return [
        ValidatedVersion(found.name, found.version, found.image_digest, found.entry, found.config_digest)
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


def _known_list(predicate: dict[str, Any]) -> KnownList | None:
    """The list that a node took in, as it wrote it down itself; None for anything else."""
    origin, size, root = predicate.get("origin"), predicate.get("size"), strict_base64(str(predicate.get("root")))
    digest = digest_in(predicate.get("list"))
    if not isinstance(origin, str) or type(size) is not int or root is None or digest is None:
        return None
    return KnownList(origin, size, root, moment_of(predicate.get("issuedOn")), digest)


def inspection_of(predicate: dict[str, Any]) -> Digest | None:
    """The inspection that an admission rests on, the first statement that it names; None where it names none."""
    named = predicate.get("inputAttestations")
    return digest_in(named[0]) if isinstance(named, list) and named else None


def images_of(statement: dict[str, Any]) -> frozenset[Digest]:
    """The digests, of manifests and configs, of the images that a statement is about."""
    return frozenset(one for _, _, *digests in _subjects(statement) for one in digests if one is not None)


def _subjects(statement: dict[str, Any]) -> Iterator[tuple[str, str, Digest, Digest | None]]:
    """Name, version, image and, where it is stated, config of the tools that a statement is about.

    A subject without name, version or SHA-256 is none.
    """
    for subject in statement["subject"]:
        name, annotations = subject.get("name"), subject.get("annotations")
        stated = annotations if isinstance(annotations, dict) else {}
        version, config = stated.get("version"), stated.get("configDigest")
        try:
            digest = parse_digest(f"sha256:{subject['digest'].get('sha256')}")
            config = parse_digest(config) if config is not None else None
        except InvalidInput:
            continue
        if isinstance(name, str) and isinstance(version, str):
            yield name, version, digest, config
