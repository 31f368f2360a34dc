"""Licences: may the node run what the tool brings along? SPDX expressions against the policy's lists (risk G9)."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from checks.interface import CheckResult, Finding, Level, Measurement, Status, status_of
from checks.sbom.model import Component
from checks.sbom.spdx import joined, parse

if TYPE_CHECKING:
    from license_expression import LicenseExpression

CHECK = "licenses"
VERSION = "2"
_RISKS = ("G9",)
_SHOWN = 8
_MAX_FINDINGS = 200


@dataclass(frozen=True)
class LicenseLists:
    """SPDX identifiers; a `*` at the end stands for any ending. Nothing in `allowed` allows all that is not denied.

    `accept_unknown` says that a licence that nobody could read is shown, but leaves the answer standing.
    """

    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    accept_unknown: bool = False

    def permits(self, key: str) -> bool:
        """Whether a single licence may be used."""
        return not _listed(key, self.denied) and (not self.allowed or _listed(key, self.allowed))


def _listed(key: str, names: tuple[str, ...]) -> bool:
    key = key.lower()
    return any(key == n.lower() or (n.endswith("*") and key.startswith(n[:-1].lower())) for n in names)


def check_licenses(components: Sequence[Component], lists: LicenseLists) -> CheckResult:
    """Do the licences of the components let the node run them?

    Failed where one has a licence that the lists do not permit, taking the better side of every OR. Of several licences
    of one component those that are understood count, whatever stands beside them. Components that state none, or one
    that SPDX does not know, are warnings and make the answer inconclusive unless the lists accept them. Measurements:
    `licensed`, `not_permitted`, `unknown`.
    """
    started = time.monotonic()
    judged = [c for c in components if c.purl]
    unknown = [component for component in judged if joined(component.licences) is None]
    refused = [(component, keys) for component in judged if (keys := _refused(component, lists))]
    findings = [_refusal(component, keys) for component, keys in refused[:_MAX_FINDINGS]]
    if len(refused) > _MAX_FINDINGS:
        message = f"{len(refused) - _MAX_FINDINGS} more components are not listed"
        findings.append(Finding(rule_id=f"{CHECK}/more", level=Level.NOTE, message=message))
    findings += _unknown(unknown)
    status = status_of(findings)
    if status is Status.PASSED and unknown and not lists.accept_unknown:
        status = Status.INCONCLUSIVE
    return CheckResult(
        check=CHECK,
        version=VERSION,
        status=Status.NOT_APPLICABLE if not judged else status,
        summary=_summary(len(judged) - len(unknown), len(refused), len(unknown)),
        findings=tuple(findings),
        measurements=(
            Measurement(
                name="licensed",
                value=len(judged) - len(unknown),
                unit="components",
                method="SPDX expression of the package",
            ),
            Measurement(name="not_permitted", value=len(refused), unit="components", method="policy lists"),
            Measurement(name="unknown", value=len(unknown), unit="components", method="no SPDX expression"),
        ),
        seconds=time.monotonic() - started,
    )


def _refused(component: Component, lists: LicenseLists) -> tuple[str, ...]:
    """Licences of the component that stand in the way, of those that are understood."""
    known = (expression for licence in component.licences if (expression := parse(licence)) is not None)
    return tuple(dict.fromkeys(key for expression in known for key in _not_permitted(expression, lists)))


def _not_permitted(expression: LicenseExpression, lists: LicenseLists) -> tuple[str, ...]:
    """Licences that stand in the way; of an OR, those of the side with the fewest."""
    operator = getattr(expression, "operator", "").strip()
    if operator == "OR":
        return min((_not_permitted(side, lists) for side in expression.args), key=len)
    if operator == "AND":
        return tuple(dict.fromkeys(key for side in expression.args for key in _not_permitted(side, lists)))
    key = expression.render("{symbol.key}")
    base, _, exception = key.partition(" WITH ")
    return () if lists.permits(base) or (exception and key in lists.allowed) else (key,)


def _refusal(component: Component, keys: tuple[str, ...]) -> Finding:
    stated = " AND ".join(component.licences)[:300]
    return Finding(
        rule_id=f"{CHECK}/not-permitted",
        level=Level.ERROR,
        message=f"{component.name} {component.version} is licensed under {stated}: this node does not permit "
        f"{', '.join(keys)}",
        where=component.purl,
        fix=f"Replace {component.name}, or show the node that you may hand it on under another licence.",
        risks=_RISKS,
    )


def _unknown(components: Sequence[Component]) -> list[Finding]:
    """One finding for each ecosystem and what is stated there."""
    groups: defaultdict[tuple[str, str], list[Component]] = defaultdict(list)
    for component in components:
        groups[component.ecosystem, " and ".join(component.licences)].append(component)
    return [_unknown_group(stated, members) for (_, stated), members in sorted(groups.items())][:_MAX_FINDINGS]


def _unknown_group(stated: str, members: Sequence[Component]) -> Finding:
    names = ", ".join(sorted({c.name for c in members})[:_SHOWN])
    more = f" and {len(members) - _SHOWN} more" if len(members) > _SHOWN else ""
    what = f"states {stated[:120]!r}, which is no SPDX expression" if stated else "states no licence in its metadata"
    return Finding(
        rule_id=f"{CHECK}/unknown",
        level=Level.WARNING,
        message=f"{names}{more}: the package {what}",
        where=members[0].purl,
        fix="Read the package's licence text, or use a release whose metadata have a License-Expression.",
        risks=_RISKS,
    )


def _summary(known: int, refused: int, unknown: int) -> str:
    parts = [f"{known} components with a known licence"]
    parts += [f"{refused} not permitted"] if refused else []
    parts += [f"{unknown} without a licence that could be read"] if unknown else []
    return ", ".join(parts) if known or unknown else "no components with a licence of their own"
