"""One vulnerability has several names (PYSEC, GHSA, CVE): matches that share one become one group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from checks.advisories import Decision, Match, Severity
from checks.advisories.severity import worst
from checks.advisories.versions import later
from checks.sbom.model import Component

_ORDER = ("MAL-", "PYSEC-", "CVE-", "GHSA-")


@dataclass(frozen=True)
class Vulnerability:
    """One vulnerability of one component, whatever it is called."""

    component: Component
    identifiers: tuple[str, ...]
    severity: Severity
    decision: Decision
    fixed: str
    summary: str
    vector: str

    @property
    def id(self) -> str:
        """The name it goes by: PYSEC before CVE before the rest, as pip-audit orders them."""
        return self.identifiers[0]

    @property
    def aliases(self) -> tuple[str, ...]:
        """Its other names."""
        return self.identifiers[1:]


def group(component: Component, matches: Sequence[Match]) -> list[Vulnerability]:
    """Matches of one component joined over shared identifiers, transitively."""
    groups: list[tuple[set[str], list[Match]]] = []
    for match in matches:
        names, members = {match.id, *match.aliases}, [match]
        apart: list[tuple[set[str], list[Match]]] = []
        for known, others in groups:
            if known & names:
                names, members = names | known, others + members
            else:
                apart.append((known, others))
        groups = [*apart, (names, members)]
    found = [_vulnerability(component, names, members) for names, members in groups]
    return sorted(found, key=lambda vulnerability: vulnerability.id)


def _vulnerability(component: Component, names: set[str], members: list[Match]) -> Vulnerability:
    sure = [match for match in members if match.decision is Decision.AFFECTED]
    fixed = ""
    for match in sure or members:
        fixed = later(component.ecosystem, fixed, match.fixed) if fixed and match.fixed else fixed or match.fixed
    severity = worst(match.severity for match in members)
    rated = next((match.vector for match in members if match.vector and match.severity is severity), "")
    return Vulnerability(
        component=component,
        identifiers=tuple(sorted(names, key=_name_order)),
        severity=severity,
        decision=Decision.AFFECTED if sure else Decision.UNDECIDED,
        fixed=fixed,
        summary=next((match.summary for match in members if match.summary), ""),
        vector=rated,
    )


def _name_order(name: str) -> tuple[int, str]:
    rank = next((i for i, prefix in enumerate(_ORDER) if name.startswith(prefix)), len(_ORDER))
    return rank, name
