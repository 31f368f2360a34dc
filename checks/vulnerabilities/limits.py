"""How much is asked: no image has as many versions of one package, or as many vulnerabilities, as a hostile SBOM lists.

What is left out is told, component by component; nothing that was not asked about ever passes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from checks.advisories import AdvisorySource, Match
from checks.advisories.ecosystems import package_name
from checks.advisories.source import NotKnown
from checks.sbom.model import Component

MAX_VERSIONS = 1000
"""Versions of one package that are asked about; real images have a few, real SBOMs of many images some dozens."""
MAX_MATCHES = 50_000
"""Advisories that concern components, after which no more is asked."""

_Package = tuple[str, str]


class NotAsked(NotKnown):
    """The question was not asked, because there were too many before it."""

    FIX = "List what is installed in one image, each package once; ask about other images on their own."


class Limited:
    """Asks a source of advisories as long as that is within the limits."""

    def __init__(self, source: AdvisorySource, *, versions: int = MAX_VERSIONS, matches: int = MAX_MATCHES) -> None:
        self._source = source
        self._most_versions = versions
        self._matches_left = matches
        self._versions: dict[_Package, set[str]] = {}

    def matches(self, ecosystem: str, name: str, version: str) -> list[Match]:
        """As the source answers; raises `NotAsked` beyond the limits, and what the source raises."""
        if self._matches_left <= 0:
            raise NotAsked("too many vulnerabilities were found in others before it")
        versions = self._versions.setdefault(_package(ecosystem, name), set())
        versions.add(version)
        if len(versions) > self._most_versions:
            raise NotAsked(f"{self._most_versions:,} other versions of the package are listed too")
        found = self._source.matches(ecosystem, name, version)
        self._matches_left -= len(found)
        return found


def in_fair_order(components: Sequence[Component]) -> list[Component]:
    """Packages of which there are few first, so that nobody can hide one behind many; those of one name together."""
    packages = [_package(component.ecosystem, component.asked[0]) for component in components]
    count = Counter(packages)
    keyed = zip(packages, components, strict=True)
    return [one for _, one in sorted(keyed, key=lambda item: (count[item[0]], item[0], item[1].asked[1]))]


def _package(ecosystem: str, name: str) -> _Package:
    return ecosystem, package_name(ecosystem, name)
