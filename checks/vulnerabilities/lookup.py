"""Which vulnerabilities do the components have, and which of them could not be asked about?

What could not be asked about is told apart from what was found to be free of known flaws: a provider who can make a
component unanswerable must gain nothing by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from checks.advisories import AdvisorySource, Severity
from checks.advisories.ecosystems import base_ecosystem, is_rpm, of_every_release, possible_name
from checks.advisories.orders import known_ecosystem
from checks.advisories.source import NotKnown
from checks.sbom.bundled import GENERIC
from checks.sbom.model import Component, Origin
from checks.vulnerabilities.groups import Vulnerability, group
from checks.vulnerabilities.limits import Limited, NotAsked, in_fair_order

_ORDER = {severity: place for place, severity in enumerate(Severity)}


@dataclass(frozen=True)
class Unanswered:
    """A component that the advisories could not be asked about, why, and what helps."""

    component: Component
    why: str
    fix: str = "Install the package under the name and version that its index has, and build the image again."


@dataclass(frozen=True)
class Lookup:
    """What was found, gravest first; how many components there are of each ecosystem that nothing speaks of, and of
    each distribution that were held against every release of it, since they name none.

    `unanswered` are components of ecosystems that are spoken of.
    """

    found: tuple[Vulnerability, ...]
    uncovered: Counter[str]
    unanswered: tuple[Unanswered, ...]
    of_every_release: Counter[str]


def look_up(components: Sequence[Component], source: AdvisorySource) -> Lookup:
    """Vulnerabilities of `components`, one for each group of aliases; raises `CouldNotDecide`.

    Components without an ecosystem are none that anybody writes advisories about: models, files.
    """
    packages = [component for component in components if component.ecosystem]
    covered = {name: _covers(source, name) for name in dict.fromkeys(c.ecosystem for c in packages)}
    asked = in_fair_order([component for component in packages if covered[component.ecosystem]])
    limited = Limited(source)
    python = [component for component in asked if component.ecosystem == "PyPI"]
    answers: list[tuple[Component, list[Vulnerability] | NotKnown]] = _audited(python, limited) if python else []
    answers += [(c, _answer(c, limited)) for c in asked if c.ecosystem != "PyPI"]
    found = [v for _, answer in answers if not isinstance(answer, NotKnown) for v in answer]
    unanswered = [_unanswered(c, answer) for c, answer in answers if isinstance(answer, NotKnown)]
    unanswered += [Unanswered(c, why) for c in asked if (why := _impossible(c))]
    return Lookup(
        found=tuple(sorted(found, key=lambda v: (_ORDER[v.severity], v.component.name, v.component.version, v.id))),
        uncovered=Counter(c.ecosystem for c in packages if not covered[c.ecosystem]),
        unanswered=tuple(unanswered),
        of_every_release=Counter(c.ecosystem for c in asked if of_every_release(c.ecosystem)),
    )


def lacking(source: AdvisorySource, components: Sequence[Component], wanted: Sequence[str] | None) -> list[str]:
    """Ecosystems (without release) that must be spoken of and are not; without `wanted`, all there are must be.

    Libraries that wheels bundle are none: there are no advisories by such versions that a node could import. They are
    counted as not looked up, and leave what can be decided decided.
    """
    present: dict[str, set[str]] = {}
    for component in components:
        if component.ecosystem and not (component.ecosystem == GENERIC and component.origin is Origin.DETECTED):
            present.setdefault(base_ecosystem(component.ecosystem), set()).add(component.ecosystem)
    needed = present.keys() if wanted is None else {base_ecosystem(name) for name in wanted}
    return sorted(base for base in needed if not any(_covers(source, name) for name in present.get(base, {base})))


def _covers(source: AdvisorySource, ecosystem: str) -> bool:
    return known_ecosystem(ecosystem) and source.covering(ecosystem) is not None


def _audited(
    components: Sequence[Component], source: Limited
) -> list[tuple[Component, list[Vulnerability] | NotKnown]]:
    from checks.vulnerabilities.python_audit import audit

    return audit(components, source)


def _answer(component: Component, source: Limited) -> list[Vulnerability] | NotKnown:
    """By the name that advisories speak of; records of RPM packages name the source, the binary or both."""
    itself = component.name, component.version
    try:
        found = source.matches(component.ecosystem, *component.asked)
        if is_rpm(component.ecosystem) and itself != component.asked:
            found = found + source.matches(component.ecosystem, *itself)
    except NotKnown as unknown:
        return unknown
    return group(component, found)


def _unanswered(component: Component, unknown: NotKnown) -> Unanswered:
    if isinstance(unknown, NotAsked):
        return Unanswered(component, str(unknown), NotAsked.FIX)
    return Unanswered(component, str(unknown))


def _impossible(component: Component) -> str:
    """Why no advisory can speak of the component; empty where one can."""
    for name in dict.fromkeys((component.name, component.asked[0])):
        if not possible_name(component.ecosystem, name):
            return f"{base_ecosystem(component.ecosystem)} has no package called {name[:80]!r}"
    return ""
