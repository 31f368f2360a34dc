"""Whom a node trusts to have signed an image: plain data, handed in by the policy.

Nothing here is read from a user's cache or from the network: a trusted root is a file whose SHA-256 the policy pins.
An empty trust refuses everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from checks.provenance.expressions import flaw_of, matches_in_full
from pratique.digests import Digest
from pratique.errors import InvalidInput

CLAIMS = {
    "github-workflow-trigger": "2",
    "github-workflow-sha": "3",
    "github-workflow-name": "4",
    "github-workflow-repository": "5",
    "github-workflow-ref": "6",
    "build-signer-uri": "9",
    "build-signer-digest": "10",
    "runner-environment": "11",
    "source-repository": "12",
    "source-repository-digest": "13",
    "source-repository-ref": "14",
    "source-repository-identifier": "15",
    "source-repository-owner": "16",
    "source-repository-owner-identifier": "17",
    "build-config-uri": "18",
    "build-config-digest": "19",
    "build-trigger": "20",
    "run-invocation-uri": "21",
    "source-repository-visibility": "22",
}
"""Names of the workflow claims that an identity may demand, and the last arc of their OID in Fulcio's certificates."""

COSIGN_SIGN = "https://sigstore.dev/cosign/sign/v1"
"""Predicate type of an image signature made by cosign 3; any other is an attestation, not a signature."""


@dataclass(frozen=True)
class TrustedRootFile:
    """A Sigstore trusted root (CAs, logs, timestamp authorities) at `path`, whose bytes must have digest `sha256`."""

    path: Path
    sha256: Digest


@dataclass(frozen=True)
class Identity:
    """A signer: the certificate's subject and the issuer that vouched for it.

    `claims` are further (name, value) pairs that the certificate must carry, by their names in `CLAIMS` (e.g.
    `source-repository`), as GitHub and GitLab workflows have them. With `regexp` all of these are regular expressions
    that must match in full; otherwise they are compared exactly. Raises `InvalidInput` (`provenance/identity-form`).
    """

    subject: str
    issuer: str
    regexp: bool = False
    claims: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.subject or not self.issuer:
            raise _bad_identity(self, "subject and issuer must both be given")
        unknown = sorted({name for name, _ in self.claims} - set(CLAIMS))
        if unknown:
            raise _bad_identity(self, f"no claims of certificates: {', '.join(unknown)}; {', '.join(CLAIMS)} are")
        patterns = (self.subject, self.issuer, *(value for _, value in self.claims)) if self.regexp else ()
        for flaw in filter(None, map(flaw_of, patterns)):
            raise _bad_identity(self, flaw)

    def accepts(self, subject: str, issuer: str) -> bool:
        """Whether `subject` and `issuer` are this identity's."""
        return self._is(self.subject, subject) and self._is(self.issuer, issuer)

    def unmet(self, claims: Mapping[str, str]) -> list[str]:
        """What of the demanded claims a certificate with `claims` lacks, in words; nothing where all are met."""
        return [
            f"{name} is {claims.get(name)!r}, not {wanted!r}"
            for name, wanted in self.claims
            if name not in claims or not self._is(wanted, claims[name])
        ]

    def _is(self, wanted: str, found: str) -> bool:
        return matches_in_full(wanted, found) if self.regexp else wanted == found

    def __str__(self) -> str:
        return f"{self.subject} (issuer {self.issuer})" + (" as regular expressions" if self.regexp else "")


@dataclass(frozen=True)
class ManagedKey:
    """A signer's own public key (`public_key` in PEM), trusted for signatures made within its window (inclusive).

    Raises `InvalidInput` (`provenance/key-form`) for a window whose ends have no time zone.
    """

    name: str
    public_key: bytes
    not_before: datetime | None = None
    not_after: datetime | None = None

    def __post_init__(self) -> None:
        if any(end is not None and end.tzinfo is None for end in (self.not_before, self.not_after)):
            raise InvalidInput(
                f"the window of the key {self.name!r} has no time zone",
                rule="provenance/key-form",
                where="trust.keys",
                next_step="Write the times with their zone, e.g. 2026-01-31T00:00:00Z.",
            )

    def covers(self, time: datetime) -> bool:
        """Whether `time` lies in the key's window."""
        early = self.not_before is not None and time < self.not_before
        return not early and (self.not_after is None or time <= self.not_after)

    def __str__(self) -> str:
        return f"the key {self.name}"


@dataclass(frozen=True)
class Attestation:
    """An attestation that must be there: its predicate type, who may make it, and what it must say.

    Without `identities` whoever may sign the image may attest it; with them they alone, and they may not sign it for
    that. `builders` and `sources` (SLSA provenance) are compared exactly, or with `regexp` in full: one of each must
    be the attestation's. Raises `InvalidInput` (`provenance/attestation-form`).
    """

    type: str
    identities: tuple[Identity, ...] = ()
    builders: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    regexp: bool = False

    def __post_init__(self) -> None:
        cause = "" if self.type and self.type != COSIGN_SIGN else "this is no attestation's type"
        if self.regexp:
            cause = next(filter(None, map(flaw_of, (*self.builders, *self.sources))), cause)
        if cause:
            raise InvalidInput(
                "a demanded attestation that cannot be used",
                rule="provenance/attestation-form",
                where="trust.attestations",
                cause=f"{self.type!r}: {cause}",
                next_step="Give the predicate type, e.g. https://slsa.dev/provenance/v1, and usable patterns.",
            )

    def __str__(self) -> str:
        return self.type


@dataclass(frozen=True)
class Trust:
    """What signatures a policy demands.

    `need`: how many different ones of `identities` and `keys` must have signed, or `"all"` of them, each for an entry
    of its own. `attestations` must be there too, verified. `refuse_broken`: a submitted signature that is forged or
    damaged fails the check even beside a good one (one by a signer who is merely not trusted only warns).
    """

    roots: tuple[TrustedRootFile, ...] = ()
    identities: tuple[Identity, ...] = ()
    keys: tuple[ManagedKey, ...] = ()
    require_log_entry: bool = True
    require_timestamp: bool = False
    need: int | Literal["all"] = 1
    attestations: tuple[Attestation, ...] = ()
    refuse_broken: bool = True

    @property
    def signers(self) -> tuple[Identity | ManagedKey, ...]:
        """Everyone who may sign."""
        return (*self.identities, *self.keys)

    def emptiness(self) -> str:
        """Why this trust can accept nothing; empty text when it can."""
        if not self.signers:
            return "The policy names no identity and no key that may sign."
        if not self.roots and (self.identities or self.require_log_entry or self.require_timestamp):
            return "The policy names no trusted root, so no certificate, log or timestamp can be believed."
        if self.need != "all" and not 1 <= self.need <= len(self.signers):
            return f"The policy asks for {self.need} signers but names {len(self.signers)}."
        return ""


def _bad_identity(identity: Identity, cause: str) -> InvalidInput:
    return InvalidInput(
        "an identity that cannot be used",
        rule="provenance/identity-form",
        where="trust.identities",
        cause=f"{identity.subject!r}, {identity.issuer!r}: {cause}",
        next_step="Give subject and issuer exactly as the signing certificate has them, or regexp: true.",
    )
