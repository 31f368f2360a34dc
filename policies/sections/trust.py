"""Whose signatures, attestations and models count."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from policies.sections.base import PinnedDigest, Section, Text


class TrustRoot(Section):
    """A Sigstore trusted root file, relative to the policy, and the digest it must have."""

    file: Text
    sha256: PinnedDigest


class TrustIdentity(Section):
    """Who may sign: certificate subject, issuer and claims, exactly or (with `regexp`) as full-match expressions."""

    issuer: Text
    subject: Text
    regexp: bool = False
    claims: dict[str, str] = Field(default_factory=dict)


class TrustKey(Section):
    """A signer's public key (PEM file, relative to the policy), the digest of that file and the key's window."""

    name: Text
    file: Text
    sha256: PinnedDigest
    not_before: datetime | None = None
    not_after: datetime | None = None


class TrustCertificate(Section):
    """An authority of one's own whose certificates may sign models: its roots (PEM file, relative to the policy).

    `sha256` is the file's; `subject`, where not everybody whom it certifies may sign, the one who may.
    """

    name: Text
    file: Text
    sha256: PinnedDigest
    subject: str = ""


class ModelTrustSection(Section):
    """Whose signatures of models count, without anybody named those of images; and whether each model needs one."""

    required: bool = False
    identities: tuple[TrustIdentity, ...] = ()
    keys: tuple[TrustKey, ...] = ()
    certificates: tuple[TrustCertificate, ...] = ()


class TrustAttestation(Section):
    """An attestation that must be there: its predicate type, who alone may make it (else: whoever may sign the image).

    `builders` and `sources` are what SLSA provenance must name, one of each, exactly or (with `regexp`) in full.
    """

    type: Text
    identities: tuple[TrustIdentity, ...] = ()
    builders: tuple[Text, ...] = ()
    sources: tuple[Text, ...] = ()
    regexp: bool = False


class TrustSection(Section):
    """Whose signatures count. An empty one refuses every image."""

    roots: tuple[TrustRoot, ...] = ()
    identities: tuple[TrustIdentity, ...] = ()
    keys: tuple[TrustKey, ...] = ()
    require_log_entry: bool = True
    require_timestamp: bool = False
    need: Annotated[int, Field(ge=1)] | Literal["all"] = 1
    attestations: tuple[Text | TrustAttestation, ...] = ()
    refuse_broken: bool = True
    models: ModelTrustSection = ModelTrustSection()

    def demanded(self) -> tuple[TrustAttestation, ...]:
        """The attestations that must be there, those too that are written as their type alone."""
        return tuple(TrustAttestation(type=one) if isinstance(one, str) else one for one in self.attestations)
