"""A component: one thing of which software consists, however it was found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pratique.digests import Digest
from pratique.errors import CouldNotDecide


class Origin(StrEnum):
    """How a component is known."""

    METADATA = "metadata"
    """Package metadata says so, and the files bear it out."""
    DETECTED = "detected"
    """Recognised from files that no package's metadata owns."""
    DECLARED = "declared"
    """The provider says so."""


@dataclass(frozen=True)
class Component:
    """Name and version as the ecosystem writes them; `ecosystem` is OSV's word (`PyPI`, `Debian:12`), empty for none.

    `advisory_name` and `advisory_version` are what advisories speak of where that differs (Debian: the source
    package). `version` is empty where it is not known. `requires` holds names within the ecosystem, `requires_paths`
    the `path` of components within it, where these are resolved already.
    """

    name: str
    version: str
    purl: str
    ecosystem: str = ""
    kind: str = "library"
    path: str = ""
    origin: Origin = Origin.METADATA
    licences: tuple[str, ...] = ()
    sha256: Digest | None = None
    advisory_name: str = ""
    advisory_version: str = ""
    requires: tuple[str, ...] = ()
    requires_paths: tuple[str, ...] = ()

    @property
    def asked(self) -> tuple[str, str]:
        """Name and version to ask advisories about."""
        return self.advisory_name or self.name, self.advisory_version or self.version


@dataclass(frozen=True)
class Bom:
    """What an image consists of: the components and their CycloneDX document."""

    components: tuple[Component, ...]
    document: bytes = field(repr=False)
    digest: Digest


def canonical(name: str) -> str:
    """A project's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def package_url(
    kind: str, name: str, version: str, *, namespace: str = "", qualifiers: Mapping[str, str] | None = None
) -> str:
    """A package URL (ECMA-427); the library normalises names as the ecosystem does.

    Raises `CouldNotDecide` for a name of blanks and slashes alone, which no package has and nobody can look up.
    """
    from packageurl import PackageURL

    if not name.strip(" /"):
        raise CouldNotDecide(
            f"a package of the kind {kind} is called {name!r}, which is no name",
            next_step="Install the package again, so that its metadata are whole.",
        )
    return PackageURL(
        type=kind,
        namespace=namespace or None,
        name=name,
        version=version or None,
        qualifiers=dict(qualifiers or {}) or None,
    ).to_string()


def text_of(value: Any, limit: int = 400) -> str:
    """`value` as one bounded printable line; empty where it is no text."""
    if not isinstance(value, str):
        return ""
    text = value[:limit]
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return text.strip()
