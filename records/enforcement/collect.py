"""What an export is made of: what the ledger admits here and now, and whom the policy trusts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from checks.pinning import ValidatedVersion
from pratique.bounds import read_bounded
from pratique.digests import Digest, sha256_bytes
from pratique.errors import InvalidInput
from records.admissions import AdmittedVersion
from records.enforcement.model import AdmittedImage, SignatureForm, Signers
from records.enforcement.references import quoted
from records.enforcement.roots import MAX_ROOT_BYTES, SigstoreRoot, read_root
from records.standing import Admitted, NotAdmitted

if TYPE_CHECKING:
    from checks.provenance.trust import Trust, TrustedRootFile

Version = TypeVar("Version", bound=ValidatedVersion | AdmittedVersion)
Locate = Callable[[str, Digest], str | None]
"""The repository of a tool's image, by the tool's name and the digest; None where it is unknown."""


@dataclass(frozen=True)
class Collected:
    """The images that may run, and the admissions that do not count, each with the reason."""

    images: tuple[AdmittedImage, ...]
    warnings: tuple[str, ...]


def admitted_images(versions: Sequence[Version], check: Callable[[Version], Admitted], locate: Locate) -> Collected:
    """Those of `versions` whose admission `check` finds to hold: what the node itself would run, and nothing else."""
    images, warnings = [], []
    for version in versions:
        try:
            admitted = check(version)
        except NotAdmitted as refusal:
            warnings.append(f"{quoted(version.name)} {quoted(version.version)} is left out: {refusal}")
            continue
        tool = admitted.tool
        repository = locate(tool.name, tool.image_digest)
        images.append(AdmittedImage(tool.name, tool.version, repository, tool.image_digest, admitted.expires))
    return Collected(tuple(images), tuple(warnings))


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
        attestations=tuple(one.type for one in trust.attestations),
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
