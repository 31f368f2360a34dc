"""What is exported: admitted images, whom to trust, and the text for the platform with what had to be left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from pratique.clock import rfc3339
from pratique.digests import Digest, parse_digest
from pratique.errors import InvalidInput
from records.enforcement.references import parse_repository, quoted

if TYPE_CHECKING:
    from checks.provenance.trust import Identity, ManagedKey
    from records.enforcement.roots import SigstoreRoot


class Target(StrEnum):
    """Platforms that an admission can be exported to."""

    VANTAGE6 = "vantage6"
    KYVERNO = "kyverno"
    KYVERNO_CEL = "kyverno-cel"
    POLICY_CONTROLLER = "policy-controller"
    CONTAINERS_POLICY = "containers-policy"
    EUCAIM_LAUNCHER = "eucaim-launcher"


class SignatureForm(StrEnum):
    """How signatures lie in the registry."""

    BUNDLE = "bundle"
    """Sigstore bundles as OCI referrers, as cosign 3 writes them."""
    TAG = "tag"
    """`sha256-….sig` tags, as cosign 2 and older write them."""


@dataclass(frozen=True)
class AdmittedImage:
    """An admitted tool: which image (by digest), in which repository it lies (None: unknown), until when it may run.

    Raises `InvalidInput` (`digest/form`, `enforcement/repository`, `enforcement/expiry`) for values that no export
    could carry safely. Name and version may be any text; they are only ever shown.
    """

    name: str
    version: str
    repository: str | None
    digest: Digest
    expires: datetime | None = None

    def __post_init__(self) -> None:
        parse_digest(self.digest, where=f"the image of {quoted(self.name[:80])}")
        if self.repository is not None and parse_repository(self.repository) != self.repository:
            raise InvalidInput(
                f"the repository of {quoted(self.name[:80])} is not written in full",
                rule="enforcement/repository",
                where=self.repository[:200],
                next_step="Normalise it with `parse_repository`.",
            )
        if self.expires is not None and self.expires.tzinfo is None:
            raise InvalidInput(f"the expiry of {quoted(self.name[:80])} has no time zone", rule="enforcement/expiry")

    @property
    def reference(self) -> str | None:
        """`repository@digest`; None where the repository is unknown."""
        return f"{self.repository}@{self.digest}" if self.repository is not None else None

    @property
    def label(self) -> str:
        """Name and version, each in quotes: they may hold anything."""
        return f"{quoted(self.name)} {quoted(self.version)}"

    @property
    def where(self) -> str:
        """The reference, or the digest where the repository is unknown."""
        return self.reference or self.digest


@dataclass(frozen=True)
class Signers:
    """Whose signatures the platform must find again: `need` of `identities` and `keys`, or all of them.

    `roots` are the trusted roots that certificates and log entries are verified against, `form` is how the registry
    keeps the signatures. Timestamps and `attestations` (predicate types) were demanded at the admission; no platform is
    told to look for them again, and a warning says so.
    """

    identities: tuple[Identity, ...] = ()
    keys: tuple[ManagedKey, ...] = ()
    roots: tuple[SigstoreRoot, ...] = ()
    need: int | Literal["all"] = 1
    require_log_entry: bool = True
    require_timestamp: bool = False
    attestations: tuple[str, ...] = ()
    form: SignatureForm = SignatureForm.BUNDLE


@dataclass(frozen=True)
class Export:
    """The text to install at the platform, how many images it lets run, and what it could not say.

    With none every image is denied.
    """

    text: str
    allowed: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Selection:
    """The images that may run at a moment, sorted, and the warnings about those that may not."""

    images: tuple[AdmittedImage, ...]
    warnings: tuple[str, ...]

    @property
    def located(self) -> tuple[str, ...]:
        """References of the images whose repository is known, sorted, each once."""
        return tuple(sorted({image.reference for image in self.images if image.reference is not None}))

    @property
    def unlocated(self) -> tuple[Digest, ...]:
        """Digests of the images whose repository is unknown, sorted, each once."""
        return tuple(sorted({image.digest for image in self.images if image.repository is None}))

    @property
    def valid_until(self) -> datetime | None:
        """When the first of these admissions expires."""
        return min((image.expires for image in self.images if image.expires is not None), default=None)


def select(images: Sequence[AdmittedImage], moment: datetime) -> Selection:
    """Those of `images` that have not expired at `moment`, in an order that does not depend on the order given."""
    ordered = sorted(set(images), key=lambda image: (image.name, image.version, image.digest, image.repository or ""))
    expired = [image for image in ordered if image.expires is not None and image.expires <= moment]
    warnings = [
        f"{image.label} is left out: its admission expired on {rfc3339(image.expires)}"
        for image in expired
        if image.expires is not None
    ]
    return Selection(tuple(image for image in ordered if image not in expired), tuple(warnings))
