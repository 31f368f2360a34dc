"""One vulnerability has several names (PYSEC, GHSA, CVE): matches that share one become one group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from checks.advisories import Decision, Match, Severity
from checks.advisories.severity import worst
from checks.advisories.versions import later
from checks.sbom.model import Component

_ORDER = ("MAL-", "PYSEC-", "CVE-", "GHSA-")


@dataclass(frozen=True)
class Vulnerability:
    """One vulnerability of one component, whatever it is called.

    `upstream` are CVEs that it is about without being one of them: an erratum of a distribution mends several.
    """

    component: Component
    identifiers: tuple[str, ...]
    severity: Severity
    decision: Decision
    fixed: str
    summary: str
    vector: str
    upstream: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The name it goes by: PYSEC before CVE before the rest, as pip-audit orders them."""
        return self.identifiers[0]

    @property
    def aliases(self) -> tuple[str, ...]:
        """Its other names."""
        return self.identifiers[1:]

    @property
    def malicious(self) -> bool:
        """Whether the package itself is the attack."""
        return self.id.startswith("MAL-")


def group(component: Component, matches: Sequence[Match]) -> list[Vulnerability]:
    """Matches of one component joined over shared identifiers, transitively."""
    if not matches:
        return []
    leader: dict[str, str] = {}
    for match in matches:
        first = _leader(leader, match.id)
        for name in match.aliases:
            leader[_leader(leader, name)] = first
    members: dict[str, list[Match]] = {}
    for match in matches:
        members.setdefault(_leader(leader, match.id), []).append(match)
    return sorted((_vulnerability(component, found) for found in members.values()), key=lambda found: found.identifiers)


def _leader(leader: dict[str, str], name: str) -> str:
    """The name that stands for all that `name` is joined with; paths are halved on the way (union-find)."""
    above = leader.setdefault(name, name)
    while above != name:
        leader[name] = leader[above]
        name, above = above, leader[above]
    return name


def _vulnerability(component: Component, members: Sequence[Match]) -> Vulnerability:
    sure = [match for match in members if match.decision is Decision.AFFECTED]
    fixed = ""
    for match in sure or members:
        if match.fixed and match.fixed != fixed:
            fixed = later(component.ecosystem, fixed, match.fixed) if fixed else match.fixed
    severity = members[0].severity if len(members) == 1 else worst([match.severity for match in members])
    names: set[str] = set()
    upstream: set[str] = set()
    summary = vector = ""
    for match in members:
        names.add(match.id)
        names.update(match.aliases)
        upstream.update(match.upstream)
        summary = summary or match.summary
        vector = vector or (match.vector if match.severity is severity else "")
    return Vulnerability(
        component=component,
        identifiers=tuple(sorted(names, key=_name_order)),
        severity=severity,
        decision=Decision.AFFECTED if sure else Decision.UNDECIDED,
        fixed=fixed,
        summary=summary,
        vector=vector,
        upstream=tuple(sorted(upstream - names)),
    )


@lru_cache(maxsize=32768)
def _name_order(name: str) -> tuple[int, str]:
    rank = next((i for i, prefix in enumerate(_ORDER) if name.startswith(prefix)), len(_ORDER))
    return rank, name
