"""pip-audit's auditor over the advisories.

pip-audit's command takes an unreachable service for "no known vulnerabilities"; here the service is an
`Limited` source of advisories, any failure of it is an error, and every package that goes in must come out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pip_audit._audit import Auditor  # type: ignore[import-untyped]
from pip_audit._dependency_source.interface import DependencySource  # type: ignore[import-untyped]
from pip_audit._fix import ResolvedFixVersion  # type: ignore[import-untyped]
from pip_audit._service.interface import (  # type: ignore[import-untyped]
    Dependency,
    ResolvedDependency,
    ServiceError,
    SkippedDependency,
    VulnerabilityResult,
    VulnerabilityService,
)

from checks.advisories.orders import place
from checks.advisories.source import NotKnown
from checks.sbom.model import Component
from checks.vulnerabilities.groups import Vulnerability, group
from checks.vulnerabilities.limits import Limited
from pratique.errors import CouldNotDecide

_ECOSYSTEM = "PyPI"


@dataclass(frozen=True)
class Installed(ResolvedDependency):  # type: ignore[misc]
    """A dependency that remembers its component, whose version may be written in another way."""

    component: Component


@dataclass(frozen=True)
class Odd(SkippedDependency):  # type: ignore[misc]
    """A dependency whose version no installer could have made: pip-audit skips it, the advisories are asked anyway."""

    component: Component


@dataclass(frozen=True)
class Joined(VulnerabilityResult):  # type: ignore[misc]
    """A result whose names are joined already, so that two are the same only where their ids are."""

    def alias_of(self, other: VulnerabilityResult) -> bool:
        """Whether it is the same vulnerability."""
        return bool(self.id == other.id)

    def merge_aliases(self, other: VulnerabilityResult) -> VulnerabilityResult:
        """Itself: it has all its names."""
        return self


class SourceService(VulnerabilityService):  # type: ignore[misc]
    """A vulnerability service that answers from advisories.

    `answers` keeps what was found of each package in the order of the questions: the auditor keeps names alone.
    """

    def __init__(self, source: Limited) -> None:
        self._source = source
        self.answers: list[tuple[Component, list[Vulnerability] | NotKnown]] = []

    def query(self, spec: Dependency) -> tuple[Dependency, list[VulnerabilityResult]]:
        """Vulnerabilities of one package; raises `ServiceError` where the source cannot answer."""
        component: Component = spec.component
        try:
            found = group(component, self._source.matches(_ECOSYSTEM, component.name, component.version))
        except NotKnown as unknown:
            self.answers.append((component, unknown))
            return spec, []
        except CouldNotDecide as error:
            raise ServiceError(str(error)) from error
        self.answers.append((component, found))
        return spec, [_result(vulnerability) for vulnerability in found]


class ComponentSource(DependencySource):  # type: ignore[misc]
    """The Python components of a bill of materials."""

    def __init__(self, components: Sequence[Component]) -> None:
        self._components = components

    def collect(self) -> Iterator[Dependency]:
        """One dependency a component, in the order given."""
        for component in self._components:
            point = place(_ECOSYSTEM, component.version)
            if point is not None and point.exact:
                yield Installed(component.name, point.key, component)
            else:
                yield Odd(component.name, f"version {component.version[:80]!r}", component)

    def fix(self, fix_version: ResolvedFixVersion) -> None:
        """Asked for by pip-audit's interface and never called: images are mended by their providers."""
        raise NotImplementedError("an image is not changed here")


def audit(components: Sequence[Component], source: Limited) -> list[tuple[Component, list[Vulnerability] | NotKnown]]:
    """Vulnerabilities of each of the Python `components`, through pip-audit's auditor.

    Raises `CouldNotDecide` where the service fails, or the auditor returns other packages or other names than went in.
    """
    service = SourceService(source)
    try:
        audited = list(Auditor(service).audit(ComponentSource(components)))
    except ServiceError as error:
        raise CouldNotDecide("the advisories could not be asked", cause=str(error)) from error
    if len(audited) != len(components) or len(service.answers) != len(components):
        raise CouldNotDecide(f"{len(components)} packages were asked about, {len(audited)} answered")
    for (dependency, results), (component, found) in zip(audited, service.answers, strict=True):
        names = [] if isinstance(found, NotKnown) else [_name(vulnerability) for vulnerability in found]
        if dependency.component is not component or sorted(result.id for result in results) != sorted(names):
            raise CouldNotDecide(f"the auditor's answer for {component.name} is not the advisories'")
    return service.answers


def _result(vulnerability: Vulnerability) -> VulnerabilityResult:
    return Joined(_name(vulnerability), vulnerability.summary, [], set(vulnerability.identifiers[:-1]))


def _name(vulnerability: Vulnerability) -> str:
    """The last of its names: the auditor looks for each result named PYSEC among all others once more."""
    return vulnerability.identifiers[-1]
