"""The provider's SBOM (CycloneDX or SPDX, JSON): read with bounds and compared with what was found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from checks.sbom.model import Component, Origin, text_of
from checks.sbom.python import canonical
from pratique.bounds import strict_json
from pratique.errors import InvalidInput

MAX_SIZE = 64 * 1024**2
MAX_COMPONENTS = 100_000
_MAX_TEXT = 2000
_ECOSYSTEMS = {"pypi": "PyPI", "npm": "npm", "deb": "Debian", "apk": "Alpine"}


@dataclass(frozen=True)
class Difference:
    """One disagreement: rule (`undeclared`, `not-found`, `version-differs`), component, message."""

    rule: str
    message: str
    where: str


def read_declared(data: bytes, *, where: str = "sbom") -> tuple[Component, ...]:
    """Components with a package URL that the provider's document lists.

    Raises `InvalidInput` (`json/…`, `sbom/format`, `sbom/too-many`, `sbom/component`).
    """
    document = strict_json(data, where=where, max_bytes=MAX_SIZE, max_depth=128)
    if not isinstance(document, dict):
        raise _refuse("format", where, "neither CycloneDX nor SPDX in JSON")
    if document.get("bomFormat") == "CycloneDX":
        urls = [entry.get("purl") for entry in _cyclonedx_entries(document, where)]
    elif isinstance(document.get("spdxVersion"), str):
        urls = _spdx_urls(document, where)
    else:
        raise _refuse("format", where, "neither CycloneDX nor SPDX in JSON")
    return tuple(_component(url, where) for url in urls if url is not None)


def _cyclonedx_entries(document: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """Components of all levels."""
    if not str(document.get("specVersion", "")).startswith("1."):
        raise _refuse("format", where, "an unknown version of CycloneDX")
    entries: list[dict[str, Any]] = []
    pending = [document.get("components", [])]
    while pending:
        listed = pending.pop()
        if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
            raise _refuse("component", where, "components are not a list of objects")
        entries += listed
        if len(entries) > MAX_COMPONENTS:
            raise _refuse("too-many", where, f"more than {MAX_COMPONENTS:,} components")
        pending += [entry["components"] for entry in listed if "components" in entry]
    return entries


def _spdx_urls(document: dict[str, Any], where: str) -> list[Any]:
    packages = document.get("packages", [])
    if not isinstance(packages, list) or len(packages) > MAX_COMPONENTS:
        raise _refuse("too-many", where, f"packages are not a list of at most {MAX_COMPONENTS:,}")
    urls: list[Any] = []
    for package in packages:
        references = package.get("externalRefs", []) if isinstance(package, dict) else None
        if not isinstance(references, list):
            raise _refuse("component", where, "a package that is no object")
        urls += [
            r.get("referenceLocator") for r in references if isinstance(r, dict) and r.get("referenceType") == "purl"
        ]
    return urls


def _component(url: Any, where: str) -> Component:
    from packageurl import PackageURL

    try:
        if not isinstance(url, str) or len(url) > _MAX_TEXT:
            raise ValueError("not a package URL")
        parsed = PackageURL.from_string(url)
    except ValueError as error:
        raise _refuse("component", where, f"{text_of(str(url), 120)!r} is not a package URL") from error
    namespace = f"{parsed.namespace}/" if parsed.namespace and parsed.type == "npm" else ""
    return Component(
        name=namespace + parsed.name,
        version=parsed.version or "",
        purl=url,
        ecosystem=_ECOSYSTEMS.get(parsed.type, parsed.type),
        origin=Origin.DECLARED,
    )


def compare(found: Sequence[Component], declared: Sequence[Component]) -> list[Difference]:
    """How `found` and `declared` disagree, within the ecosystems that the declaration speaks of."""
    spoken_of = {c.ecosystem for c in declared}
    here = _versions(c for c in found if _base(c) in spoken_of)
    there = _versions(declared)
    differences: list[Difference] = []
    for key in sorted(here.keys() | there.keys()):
        ecosystem, name = key
        if key not in there:
            message = f"{name} {_join(here[key])} ({ecosystem}) is in the image but not in the declared SBOM"
            differences.append(Difference("undeclared", message, name))
        elif key not in here and ecosystem in _ECOSYSTEMS.values():
            message = f"{name} {_join(there[key])} ({ecosystem}) is declared but not in the image"
            differences.append(Difference("not-found", message, name))
        elif key in here and not _agree(here[key], there[key]):
            message = f"{name} ({ecosystem}): the image has {_join(here[key])}, the declared SBOM {_join(there[key])}"
            differences.append(Difference("version-differs", message, name))
    return differences


def _versions(components: Any) -> dict[tuple[str, str], set[str]]:
    result: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for component in components:
        name = canonical(component.name) if component.ecosystem == "PyPI" else component.name
        result[_base(component), name].add(component.version)
    return dict(result)


def _base(component: Component) -> str:
    return component.ecosystem.partition(":")[0]


def _agree(one: set[str], two: set[str]) -> bool:
    """A version that is not known contradicts nothing."""
    return one - {""} == two - {""} or "" in one or "" in two


def _join(versions: set[str]) -> str:
    return ", ".join(sorted(versions - {""})) or "of unknown version"


def _refuse(rule: str, where: str, message: str) -> InvalidInput:
    return InvalidInput(
        message,
        rule=f"sbom/{rule}",
        where=where,
        next_step="Write the SBOM again as CycloneDX 1.4 to 1.6 or SPDX 2.3 JSON, with package URLs.",
    )
