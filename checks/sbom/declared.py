"""The provider's SBOM (CycloneDX or SPDX): read with bounds and compared with what was found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from checks.sbom.cyclonedx_xml import read_xml
from checks.sbom.limits import MAX_COMPONENTS, MAX_DEPTH, MAX_SIZE, MAX_TEXT, MAX_VALUES, refuse
from checks.sbom.model import Component, Origin, text_of
from checks.sbom.python import canonical
from checks.sbom.rpm_packages import source_package
from checks.sbom.spdx_tag_value import read_tag_value
from pratique.bounds import strict_json

__all__ = ["MAX_SIZE", "Difference", "Listing", "compare", "is_document", "read_declared", "read_listing"]

_READ = frozenset(
    [
        "PyPI",
        "npm",
        "Debian",
        "Ubuntu",
        "Alpine",
        "Wolfi",
        "Chainguard",
        "Red Hat",
        "Rocky Linux",
        "AlmaLinux",
        "SUSE",
        "openSUSE",
        "rpm",
    ]
)
"""Ecosystems that are read from images, so that what is declared and not found is not there."""
_MARK = b"\xef\xbb\xbf"
_BLANK = _MARK + b" \t\r\n"
_STARTS = (b"{", b"<", b"SPDXVersion:")
_MAX_URL = 2000
_NOT_PACKAGES = frozenset(("file", "machine-learning-model", "data", "operating-system", "cryptographic-asset"))
"""Kinds of CycloneDX components that no package URL is expected of."""


@dataclass(frozen=True)
class Difference:
    """One disagreement: rule (`undeclared`, `not-found`, `version-differs`), component, message."""

    rule: str
    message: str
    where: str


@dataclass(frozen=True)
class Listing:
    """What a document lists: components with a package URL, and how many parts it names without one."""

    components: tuple[Component, ...]
    unidentified: int
    subject: str = ""
    """The image that it speaks of, as a digest where it gives one."""


def read_declared(data: bytes, *, where: str = "sbom") -> tuple[Component, ...]:
    """Components with a package URL that the provider's document lists; raises as `read_listing` does."""
    return read_listing(data, where=where).components


def read_listing(data: bytes, *, where: str = "sbom") -> Listing:
    """What a CycloneDX or SPDX document lists.

    Raises `InvalidInput` (`json/…`, `sbom/…`).
    """
    document = _document(data, where)
    if document.get("bomFormat") == "CycloneDX":
        entries = _cyclonedx_entries(document, where)
        urls = [entry.get("purl") for entry in entries]
        nameless = sum(entry.get("purl") is None and entry.get("type") not in _NOT_PACKAGES for entry in entries)
        licences = [_stated_licences(entry) for entry in entries]
        origins = [_stated_origin(entry) for entry in entries]
    elif str(document.get("spdxVersion", "")).startswith("SPDX-2."):
        found = _spdx_urls(document, where)
        urls, nameless = [url for url, _ in found], sum(url is None for url, _ in found)
        licences = [stated for _, stated in found]
        origins = [Origin.DECLARED] * len(found)
    elif "@context" in document:
        raise refuse("format", where, "SPDX 3, which is not read here")
    else:
        raise refuse("format", where, "neither CycloneDX nor SPDX 2")
    listed = tuple(
        _component(url, stated, origin, where)
        for url, stated, origin in zip(urls, licences, origins, strict=True)
        if url is not None
    )
    return Listing(listed, nameless, _subject(document))


def is_document(start: bytes) -> bool:
    """Whether bytes that begin with `start` may be an SBOM in one of the forms that are read."""
    return start.lstrip(_BLANK).startswith(_STARTS)


def _document(data: bytes, where: str) -> dict[str, Any]:
    """The document in the shape of its JSON form, whatever form it has."""
    if len(data) > MAX_SIZE:
        raise refuse("too-large", where, f"larger than the {MAX_SIZE:,} bytes allowed here")
    start = data[:4096].lstrip(_BLANK)
    if start.startswith(b"SPDXVersion:"):
        return read_tag_value(data, where=where)
    if b"<rdf:RDF" in start:
        raise refuse("format", where, "SPDX in RDF/XML, which is not read here")
    if start.startswith(b"<"):
        return read_xml(data, where=where)
    if data.count(b",") > MAX_VALUES:
        raise refuse("too-many", where, f"more than {MAX_VALUES:,} values")
    document = strict_json(data.removeprefix(_MARK), where=where, max_bytes=MAX_SIZE, max_depth=MAX_DEPTH)
    if not isinstance(document, dict):
        raise refuse("format", where, "neither CycloneDX nor SPDX 2")
    return document


def _subject(document: dict[str, Any]) -> str:
    """Digest of what a CycloneDX document describes; empty where it gives none."""
    metadata = document.get("metadata")
    component = metadata.get("component") if isinstance(metadata, dict) else None
    version = component.get("version") if isinstance(component, dict) else None
    return version if isinstance(version, str) and version.startswith("sha256:") else ""


def _stated_licences(entry: dict[str, Any]) -> tuple[str, ...]:
    """Licences of a CycloneDX component: expressions, identifiers or names."""
    found: list[str] = []
    listed = entry.get("licenses")
    for item in listed[:32] if isinstance(listed, list) else ():
        licence = item.get("license") if isinstance(item, dict) else None
        stated = item.get("expression") if isinstance(item, dict) else None
        if isinstance(licence, dict):
            stated = licence.get("id") or licence.get("name")
        found += [text_of(stated, MAX_TEXT)] if text_of(stated) else []
    return tuple(found)


def _stated_origin(entry: dict[str, Any]) -> Origin:
    """*Detected* where Pratique wrote that it recognised the component from its files."""
    properties = entry.get("properties")
    stated = {"name": "pratique:origin", "value": Origin.DETECTED.value}
    return Origin.DETECTED if isinstance(properties, list) and stated in properties[:8] else Origin.DECLARED


def _cyclonedx_entries(document: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """Components of all levels."""
    if not str(document.get("specVersion", "")).startswith("1."):
        raise refuse("format", where, "an unknown version of CycloneDX")
    entries: list[dict[str, Any]] = []
    pending = [document.get("components", [])]
    while pending:
        listed = pending.pop()
        if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
            raise refuse("component", where, "components are not a list of objects")
        entries += listed
        if len(entries) > MAX_COMPONENTS:
            raise refuse("too-many", where, f"more than {MAX_COMPONENTS:,} components")
        pending += [entry["components"] for entry in listed if "components" in entry]
    return entries


def _spdx_urls(document: dict[str, Any], where: str) -> list[tuple[Any, tuple[str, ...]]]:
    """Package URL (None where a package has none) and licences of each package."""
    packages = document.get("packages", [])
    if not isinstance(packages, list) or len(packages) > MAX_COMPONENTS:
        raise refuse("too-many", where, f"packages are not a list of at most {MAX_COMPONENTS:,}")
    found: list[tuple[Any, tuple[str, ...]]] = []
    for package in packages:
        references = package.get("externalRefs", []) if isinstance(package, dict) else None
        if not isinstance(references, list):
            raise refuse("component", where, "a package that is no object")
        urls = [
            r.get("referenceLocator") for r in references if isinstance(r, dict) and r.get("referenceType") == "purl"
        ]
        stated = text_of(package.get("licenseDeclared"), MAX_TEXT)
        licences = (stated,) if stated not in ("", "NOASSERTION", "NONE") else ()
        found += [(url, licences) for url in urls] or [(None, licences)]
        if len(found) > MAX_COMPONENTS:
            raise refuse("too-many", where, f"more than {MAX_COMPONENTS:,} package URLs")
    return found


def _component(url: Any, licences: tuple[str, ...], origin: Origin, where: str) -> Component:
    from packageurl import PackageURL

    from checks.advisories.ecosystems import of_package

    try:
        if not isinstance(url, str) or len(url) > _MAX_URL:
            raise ValueError("not a package URL")
        parsed = PackageURL.from_string(url)
    except ValueError as error:
        raise refuse("component", where, f"{text_of(str(url), 120)!r} is not a package URL") from error
    namespace = f"{parsed.namespace}/" if parsed.namespace and parsed.type == "npm" else ""
    qualifiers = parsed.qualifiers if isinstance(parsed.qualifiers, dict) else {}
    source, source_version = _source(parsed.type, qualifiers)
    return Component(
        name=namespace + parsed.name,
        version=_with_epoch(parsed.version or "", str(qualifiers.get("epoch", ""))),
        purl=url,
        ecosystem=of_package(parsed.type, parsed.namespace or "", str(qualifiers.get("distro", ""))),
        origin=origin,
        licences=licences,
        advisory_name=source,
        advisory_version=source_version,
    )


def _source(kind: str, qualifiers: dict[str, Any]) -> tuple[str, str]:
    """Name and version of the source package, which generators write under `upstream`; empty where they do not."""
    upstream = str(qualifiers.get("upstream", ""))
    if kind == "rpm":
        return source_package(upstream, str(qualifiers.get("epoch", "")))
    name, _, version = upstream.partition("@")
    return name, version


def _with_epoch(version: str, epoch: str) -> str:
    """Some generators write a Debian or RPM epoch beside the version instead of in it."""
    return f"{epoch}:{version}" if epoch.isdecimal() and epoch != "0" and ":" not in version else version


def compare(found: Sequence[Component], declared: Sequence[Component]) -> list[Difference]:
    """How `found` and `declared` disagree, within the ecosystems that the declaration speaks of."""
    spoken_of = {_base(c) for c in declared}
    here = _versions(c for c in found if _base(c) in spoken_of)
    there = _versions(declared)
    differences: list[Difference] = []
    for key in sorted(here.keys() | there.keys()):
        ecosystem, name = key
        if key not in there:
            message = f"{name} {_join(here[key])} ({ecosystem}) is in the image but not in the declared SBOM"
            differences.append(Difference("undeclared", message, name))
        elif key not in here and ecosystem in _READ:
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
