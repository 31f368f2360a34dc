"""pip-audit's auditor over the local advisories.

pip-audit's own services answer from the network and its command takes an unreachable one for "no known
vulnerabilities"; here the service is the local store, any failure of it is an error, and every package that goes in
must come out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from packaging.version import InvalidVersion, Version
from pip_audit._audit import Auditor  # type: ignore[import-untyped]
from pip_audit._dependency_source.interface import DependencySource  # type: ignore[import-untyped]
from pip_audit._fix import ResolvedFixVersion  # type: ignore[import-untyped]
from pip_audit._service.interface import (  # type: ignore[import-untyped]
    Dependency,
    ResolvedDependency,
    ServiceError,
    SkippedDependency,
    VulnerabilityID,
    VulnerabilityResult,
    VulnerabilityService,
)

from checks.advisories import AdvisoryStore, Match
from checks.sbom.model import Component
from pratique.errors import CouldNotDecide

_ECOSYSTEM = "PyPI"


class StoreService(VulnerabilityService):  # type: ignore[misc]
    """A vulnerability service that answers from an `AdvisoryStore`.

    `answers` keeps every match whole: the auditor joins aliases pairwise and forgets the name of what it joins.
    """

    def __init__(self, store: AdvisoryStore) -> None:
        self._store = store
        self.answers: dict[str, list[Match]] = {}

    def query(self, spec: Dependency) -> tuple[Dependency, list[VulnerabilityResult]]:
        """Advisories for one package; raises `ServiceError` where the store cannot answer."""
        if not isinstance(spec, ResolvedDependency):
            return spec, []
        try:
            found = self._store.matches(_ECOSYSTEM, spec.name, str(spec.version))
        except CouldNotDecide as error:
            raise ServiceError(str(error)) from error
        self.answers[_key(spec)] = found
        return spec, [_result(match) for match in found]


class ComponentSource(DependencySource):  # type: ignore[misc]
    """The Python components of a bill of materials; one whose version no installer could have made is skipped."""

    def __init__(self, components: Sequence[Component]) -> None:
        self._components = components

    def collect(self) -> Iterator[Dependency]:
        """One dependency a component, in the order given."""
        for component in self._components:
            try:
                yield ResolvedDependency(component.name, Version(component.version))
            except InvalidVersion:
                yield SkippedDependency(name=component.name, skip_reason=f"version {component.version!r}")

    def fix(self, fix_version: ResolvedFixVersion) -> None:
        """Images are mended by their providers; raises `NotImplementedError`."""
        raise NotImplementedError("an image is not changed here")


def audit(components: Sequence[Component], store: AdvisoryStore) -> list[tuple[Component, list[Match]]]:
    """Matches for each of the Python `components`, through pip-audit's auditor.

    Raises `CouldNotDecide` where the service fails or the auditor returns another number of packages than went in.
    """
    service = StoreService(store)
    answered: list[tuple[Component, list[Match]]] = []
    try:
        audited = list(Auditor(service).audit(ComponentSource(components)))
    except ServiceError as error:
        raise CouldNotDecide("the advisories could not be asked", cause=str(error)) from error
    if len(audited) != len(components):
        raise CouldNotDecide(f"{len(components)} packages were asked about, {len(audited)} answered")
    for component, (dependency, results) in zip(components, audited, strict=True):
        if isinstance(dependency, SkippedDependency):
            answered.append((component, store.matches(_ECOSYSTEM, component.name, component.version)))
            continue
        found = service.answers.get(_key(dependency), [])
        if not {result.id for result in results} <= {match.id for match in found}:
            raise CouldNotDecide(f"the auditor's answer for {component.name} is not the advisories'")
        answered.append((component, found))
    return answered


def _result(match: Match) -> VulnerabilityResult:
    return VulnerabilityResult(
        id=VulnerabilityID(match.id),
        description=match.summary,
        fix_versions=_versions(match.fixed),
        aliases={VulnerabilityID(alias) for alias in match.aliases},
        published=_moment(match.published),
    )


def _versions(text: str) -> list[Version]:
    try:
        return [Version(text)] if text else []
    except InvalidVersion:
        return []


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def _key(dependency: Dependency) -> str:
    version = dependency.version if isinstance(dependency, ResolvedDependency) else ""
    return f"{dependency.canonical_name}@{version}"
