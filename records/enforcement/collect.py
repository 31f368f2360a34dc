"""What an export is made of: what is admitted, as the ledger says, and whom the policy trusts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pratique.bounds import read_bounded
from pratique.digests import Digest, sha256_bytes
from pratique.errors import CouldNotDecide, InvalidInput
from records.admissions import validated_versions
from records.dsse import verify_envelope
from records.enforcement.model import AdmittedImage, SignatureForm, Signers
from records.enforcement.roots import MAX_ROOT_BYTES, SigstoreRoot, read_root
from records.reader import LedgerReader
from records.statements import ADMISSION_EXTENSION

if TYPE_CHECKING:
    from checks.provenance.trust import Trust, TrustedRootFile

_RFC3339 = "%Y-%m-%dT%H:%M:%SZ"


def admitted_images(
    ledger: LedgerReader,
    *,
    resource_uri: str | None = None,
    repositories: Mapping[str, str] | None = None,
    located: Mapping[Digest, str] | None = None,
) -> tuple[AdmittedImage, ...]:
    """Every tool admitted to `resource_uri` and not withdrawn, expired ones included.

    The repository is that of `repositories` (by tool name), else that of `located` (by digest), else unknown. Raises
    `CouldNotDecide` where the ledger or the expiry of an admission cannot be read.
    """
    by_name, by_digest = repositories or {}, located or {}
    return tuple(
        AdmittedImage(
            name=version.name,
            version=version.version,
            repository=by_name.get(version.name) or by_digest.get(version.image_digest),
            digest=version.image_digest,
            expires=_expiry(ledger, version.entry),
        )
        for version in validated_versions(ledger, resource_uri=resource_uri)
    )


def trusted_signers(trust: Trust, form: SignatureForm, moment: datetime) -> Signers:
    """Whom `trust` names, with its trusted roots read and compared with their digests.

    Raises `InvalidInput` (`policy/root-digest`, `enforcement/trusted-root`, `file/…`).
    """
    return Signers(
        identities=trust.identities,
        keys=trust.keys,
        roots=tuple(_root(root, moment) for root in trust.roots),
        need=trust.need,
        require_log_entry=trust.require_log_entry,
        require_timestamp=trust.require_timestamp,
        attestations=trust.attestations,
        form=form,
    )


def _root(root: TrustedRootFile, moment: datetime) -> SigstoreRoot:
    data = read_bounded(root.path, MAX_ROOT_BYTES)
    if sha256_bytes(data) != root.sha256:
        raise InvalidInput(
            "the trusted root is not the one that the policy pins",
            rule="policy/root-digest",
            where=str(root.path),
            next_step="Find out who changed it; if the change is right, pin its new digest in the policy.",
        )
    return read_root(data, moment)


def _expiry(ledger: LedgerReader, entry: int) -> datetime | None:
    """When the admission at `entry` ends."""
    statement = verify_envelope(ledger.entry(entry), [ledger.verifier])
    text = statement["predicate"].get(ADMISSION_EXTENSION, {}).get("expires")
    if text is None:
        return None
    try:
        return datetime.strptime(text, _RFC3339).replace(tzinfo=UTC)
    except (TypeError, ValueError) as error:
        raise CouldNotDecide(
            f"entry {entry} of the ledger does not say when the admission ends",
            cause=str(error)[:200],
            next_step="admit the tool again",
        ) from error
