"""CycloneDX 1.6 (ECMA-424) as JSON: written byte for byte the same for the same image."""

from __future__ import annotations

import io
import json
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from checks.sbom.capabilities import bounded_edges
from checks.sbom.model import Component, Origin
from checks.sbom.python import canonical
from checks.sbom.spdx import joined
from pratique.clock import rfc3339
from pratique.digests import Digest, hex_of

SPEC = "1.6"
_NAMESPACE = uuid.UUID("6f1b4c0e-5d5f-5a55-9d0a-6c1f6c1b8a51")
_TYPES = {"library", "application", "operating-system", "machine-learning-model", "file"}


def write_document(
    components: Sequence[Component], *, image_name: str, image_digest: Digest, moment: datetime | None = None
) -> bytes:
    """The document, a component on each line.

    Its serial number follows from the image's digest; without `moment` it carries no time.

    Raises `CouldNotDecide` where the components have too many edges between them.
    """
    references = _references(components)
    root = f"image@{image_digest}"
    document: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, image_digest)}",
        "version": 1,
        "metadata": {
            **({"timestamp": rfc3339(moment)} if moment else {}),
            "tools": {"components": [{"type": "application", "name": "pratique"}]},
            "component": {
                "type": "container",
                "bom-ref": root,
                "name": image_name or "image",
                "version": image_digest,
                "hashes": [{"alg": "SHA-256", "content": hex_of(image_digest)}],
            },
        },
        "components": (_component(c, ref) for c, ref in zip(components, references, strict=True)),
        "dependencies": _dependencies(components, references, root),
    }
    return _written(document)


def _written(document: Mapping[str, Any]) -> bytes:
    """`document` as JSON, written piece by piece: as objects, a hundred thousand components take half a gigabyte."""
    out, mark = io.BytesIO(), b"{\n"
    for key, value in sorted(document.items()):
        out.write(mark + _encoded(key) + b": ")
        mark = b",\n"
        if isinstance(value, Iterator):
            between = b"[\n"
            for entry in value:
                out.write(between + _encoded(entry))
                between = b",\n"
            out.write(b"[]" if between == b"[\n" else b"\n]")
        else:
            out.write(_encoded(value))
    out.write(b"\n}\n")
    return out.getvalue()


def _encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True).encode()


def _references(components: Sequence[Component]) -> list[str]:
    """A reference for each: its purl; with the path, and then a number, where several share one."""
    used: set[str] = set()
    references: list[str] = []
    for component in components:
        base = component.purl or f"{component.kind}:{component.path or component.name}"
        reference = base if base not in used else f"{base}#{component.path}"
        number = 2
        while reference in used:
            reference, number = f"{base}#{component.path}#{number}", number + 1
        used.add(reference)
        references.append(reference)
    return references


def _component(component: Component, reference: str) -> dict[str, Any]:
    properties = [{"name": "pratique:origin", "value": component.origin.value}]
    if component.ecosystem:
        properties.append({"name": "pratique:ecosystem", "value": component.ecosystem})
    name, version = component.asked
    if (name, version) != (component.name, component.version):
        properties.append({"name": "pratique:advisory-package", "value": f"{name}@{version}"})
    entry: dict[str, Any] = {
        "type": component.kind if component.kind in _TYPES else "library",
        "bom-ref": reference,
        "name": component.name,
        "properties": properties,
    }
    if component.version:
        entry["version"] = component.version
    if component.purl:
        entry["purl"] = component.purl
    if component.sha256:
        entry["hashes"] = [{"alg": "SHA-256", "content": hex_of(component.sha256)}]
    if component.licences:
        entry["licenses"] = _licences(component.licences)
    if component.path:
        entry["evidence"] = {"occurrences": [{"location": component.path}]}
    if component.origin is Origin.DETECTED:
        entry["description"] = "Recognised from its files; no package metadata own them."
    return entry


def _licences(stated: tuple[str, ...]) -> list[dict[str, Any]]:
    """One SPDX expression where all is understood, else what the package says, by name."""
    expression = joined(stated)
    if expression is not None:
        return [{"expression": str(expression)}]
    return [{"license": {"name": licence}} for licence in stated]


def _dependencies(components: Sequence[Component], references: Sequence[str], root: str) -> Iterator[dict[str, Any]]:
    """Edges by path where a component says so, else by name: to a neighbour, or to all of that name."""
    by_name: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    by_path: dict[tuple[str, str], str] = {}
    for place, component in enumerate(components):
        by_name[component.ecosystem, _comparable(component.ecosystem, component.name)].append(place)
        by_path.setdefault((component.ecosystem, component.path), references[place])
    yield {"ref": root, "dependsOn": sorted(references)}
    count = 0
    for component, reference in zip(components, references, strict=True):
        space = component.ecosystem
        wanted = {by_path[space, path] for path in component.requires_paths if (space, path) in by_path}
        for name in component.requires:
            candidates = by_name.get((space, _comparable(space, name)), [])
            near = [place for place in candidates if _folder(components[place]) == _folder(component)]
            wanted.update(references[place] for place in near or candidates)
        wanted.discard(reference)
        count = bounded_edges(count + len(wanted))
        yield {"ref": reference, **({"dependsOn": sorted(wanted)} if wanted else {})}


def _comparable(ecosystem: str, name: str) -> str:
    return canonical(name) if ecosystem == "PyPI" else name


def _folder(component: Component) -> str:
    """Where a Python package is installed; packages of the system share their database."""
    return component.path.rpartition("/")[0]
