"""Licences: may the node run what the tool brings along? SPDX expressions against the policy's lists (risk G9)."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from checks.interface import CheckResult, Finding, Level, Measurement, Status, status_of
from checks.sbom.model import Component
from checks.sbom.spdx import is_listed, is_reference, parse, parse_loosely

if TYPE_CHECKING:
    from license_expression import LicenseExpression

CHECK = "licenses"
VERSION = "4"
_RISKS = ("G9",)
_SHOWN = 8
_MAX_FINDINGS = 200


@dataclass(frozen=True)
class LicenseLists:
    """SPDX identifiers; a `*` at the end stands for any ending. Nothing in `allowed` allows all that is not denied.

    A licence that SPDX does not list (`LicenseRef-…`) is unknown unless a list names it. `accept_unknown` says that a
    licence that nobody could read is shown, but leaves the answer standing.
    """

    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    accept_unknown: bool = False

    def judge(self, key: str) -> Answer:
        """Whether a single licence may be used; one with an exception is one by itself, or else its licence."""
        base, _, exception = key.partition(" WITH ")
        if exception:
            if key.lower() in (name.lower() for name in self.allowed):
                return Answer.PERMITTED
            if _names(self.denied, key):
                return Answer.REFUSED
            answer = self.judge(base)
            return answer if is_listed(exception) or answer is Answer.REFUSED else Answer.UNKNOWN
        base = base.removesuffix("+") if is_listed(base.removesuffix("+")) else base  # of it and later ones, that one
        if _names(self.denied, base):
            return Answer.REFUSED
        if is_listed(base):
            return Answer.PERMITTED if not self.allowed or _names(self.allowed, base) else Answer.REFUSED
        named = tuple(name for name in self.allowed if name != "*")
        return Answer.PERMITTED if _names(named, base) else Answer.UNKNOWN


class Answer(Enum):
    """Whether a licence may be used; the one that counts more stands further down."""

    PERMITTED = 0
    UNKNOWN = 1
    REFUSED = 2


def _names(names: tuple[str, ...], key: str) -> bool:
    key = key.lower()
    return any(key == n.lower() or (n.endswith("*") and key.startswith(n[:-1].lower())) for n in names)


def check_licenses(components: Sequence[Component], lists: LicenseLists) -> CheckResult:
    """Do the licences of the components let the node run them?

    Failed where one has a licence that the lists do not permit: of an OR one side must be permitted, of an AND all of
    them, and of several licences of one component all. What is refused counts, whatever nobody can read stands beside
    it. Components that state none, or one that SPDX does not list, are warnings and make the answer inconclusive unless
    the lists accept them. Measurements: `licensed`, `not_permitted`, `unknown`.
    """
    started = time.monotonic()
    judged = [c for c in components if c.purl]
    answers = [(component, [_judge_text(text, lists) for text in component.licences]) for component in judged]
    unknown = [one for one, stated in answers if not stated or any(answer is Answer.UNKNOWN for answer, _ in stated)]
    refused = [(one, keys) for one, stated in answers if (keys := _in_the_way(stated))]
    findings = [_refusal(component, keys) for component, keys in refused[:_MAX_FINDINGS]]
    if len(refused) > _MAX_FINDINGS:
        message = f"{len(refused) - _MAX_FINDINGS} more components are not listed"
        findings.append(Finding(rule_id=f"{CHECK}/more", level=Level.NOTE, message=message))
    findings += _unknown(unknown)
    idle = [name for name in lists.denied if not _denies_something(name)]
    findings += [_denies_nothing(name) for name in idle[:_SHOWN]]
    status = status_of(findings)
    if status is Status.PASSED and (idle or (unknown and not lists.accept_unknown)):
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


Judged = tuple[Answer, tuple[str, ...]]
"""The answer, and the licences that stand in the way."""


def _judge_text(text: str, lists: LicenseLists) -> Judged:
    expression = parse(text)
    if expression is not None:
        return _judge(expression, lists)
    expression = parse_loosely(text)
    answer, keys = _judge(expression, lists) if expression is not None else (Answer.UNKNOWN, ())
    if answer is Answer.PERMITTED and expression is not None and not all(map(_means_something, _names_in(expression))):
        return Answer.UNKNOWN, ()  # "MIT or later" is no choice
    return answer, keys


def _names_in(expression: LicenseExpression) -> list[str]:
    return [symbol.render("{symbol.key}") for symbol in expression.symbols]


def _means_something(name: str) -> bool:
    """Whether `name` is one that SPDX lists or lets people make up: any other stands for no licence."""
    base, _, exception = name.partition(" WITH ")
    known = is_listed(base.removesuffix("+")) or is_reference(base.rstrip("*") + "x" * base.endswith("*"))
    return known and (not exception or is_listed(exception))


def _denies_something(name: str) -> bool:
    """Whether a licence can be read as `name`: what ends in `+` is read as the licence that stands before it."""
    return _means_something(name) and not name.partition(" WITH ")[0].endswith("+")


def _judge(expression: LicenseExpression, lists: LicenseLists) -> Judged:
    operator = getattr(expression, "operator", "").strip()
    if operator == "OR":
        return min((_judge(side, lists) for side in expression.args), key=lambda one: (one[0].value, len(one[1])))
    if operator == "AND":
        sides = [_judge(side, lists) for side in expression.args]
        return max((answer for answer, _ in sides), key=lambda answer: answer.value), _in_the_way(sides)
    key = expression.render("{symbol.key}")
    answer = lists.judge(key)
    return answer, (key,) if answer is Answer.REFUSED else ()


def _in_the_way(judged: Sequence[Judged]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key for _, keys in judged for key in keys))


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


def _denies_nothing(name: str) -> Finding:
    return Finding(
        rule_id=f"{CHECK}/denied-name",
        level=Level.WARNING,
        message=f"the policy denies {name[:80]!r}, which is no identifier of SPDX today: nothing is denied by it",
        fix="Write the identifier of the licence as spdx.org/licenses has it, such as GPL-3.0-only or AGPL-3.0-*.",
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
    what = f"states {stated[:120]!r}, which SPDX does not list" if stated else "states no licence in its metadata"
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
