"""Whom a node trusts to have signed an image: plain data, handed in by the policy.

Nothing here is read from a user's cache or from the network: a trusted root is a file whose SHA-256 the policy pins.
An empty trust refuses everything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from pratique.digests import Digest
from pratique.errors import InvalidInput

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

    With `regexp` both are regular expressions that must match in full; otherwise both are compared exactly.
    `claims` are further (name, value) pairs that the certificate must carry exactly, by their names in
    `checks.provenance.signer.CLAIMS` (e.g. `source-repository`), as GitHub and GitLab workflows have them.
    Raises `InvalidInput` (`provenance/identity-form`).
    """

    subject: str
    issuer: str
    regexp: bool = False
    claims: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.subject or not self.issuer:
            raise _bad_identity(self, "subject and issuer must both be given")
        if self.regexp:
            try:
                re.compile(self.subject)
                re.compile(self.issuer)
            except re.error as error:
                raise _bad_identity(self, f"not a regular expression: {error}") from error

    def accepts(self, subject: str, issuer: str) -> bool:
        """Whether `subject` and `issuer` are this identity's (claims are compared by the caller)."""
        if self.regexp:
            return bool(re.fullmatch(self.subject, subject) and re.fullmatch(self.issuer, issuer))
        return subject == self.subject and issuer == self.issuer

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

    def __str__(self) -> str:
        return f"the key {self.name}"


@dataclass(frozen=True)
class Trust:
    """What signatures a policy demands.

    `need`: how many of `identities` and `keys` must have signed, or `"all"` of them. `attestations`: predicate types
    of which a verified attestation must be there too. `refuse_broken`: a submitted signature that is forged or damaged
    fails the check even beside a good one (one by a signer who is merely not trusted only warns).
    """

    roots: tuple[TrustedRootFile, ...] = ()
    identities: tuple[Identity, ...] = ()
    keys: tuple[ManagedKey, ...] = ()
    require_log_entry: bool = True
    require_timestamp: bool = False
    need: int | Literal["all"] = 1
    attestations: tuple[str, ...] = ()
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
