"""CycloneDX in XML, read into the shape that its JSON form has; no entities, no DTD, nothing fetched, no tree built."""

from __future__ import annotations

from typing import Any
from xml.parsers import expat

from checks.sbom.limits import MAX_COMPONENTS, MAX_DEPTH, MAX_TEXT, refuse

_SPACE = "http://cyclonedx.org/schema/bom/1."
_CHUNK = 1 << 16
_MAX_TAG = 1 << 20
_KEPT = frozenset(("purl", "name", "version", "expression", "id"))


def read_xml(data: bytes, *, where: str) -> dict[str, Any]:
    """The document's components as `bomFormat: CycloneDX` in JSON has them.

    Raises `InvalidInput`: `sbom/xml` (not well-formed, with a DTD or entities), `sbom/format`, `sbom/too-many`,
    `sbom/too-deep`, `sbom/component`.
    """
    reader = _Reader(where)
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.refuse_dtd
    parser.EntityDeclHandler = reader.refuse_dtd
    try:
        for at in range(0, len(data), _CHUNK):
            parser.Parse(data[at : at + _CHUNK], False)
            if at - parser.CurrentByteIndex > _MAX_TAG:  # held back until its end comes, then taken in whole
                raise refuse("component", where, f"a tag of more than {_MAX_TAG:,} bytes")
        parser.Parse(b"", True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # the latter two for an encoding that is none
        raise refuse("xml", where, f"not XML that can be read: {error}"[:200]) from error
    if reader.spec is None:
        raise refuse("format", where, "XML without CycloneDX's <bom>")
    return {
        "bomFormat": "CycloneDX",
        "specVersion": reader.spec,
        "components": reader.components,
        "metadata": {"component": {"version": reader.subject}},
    }


class _Reader:
    """Follows the parser: a stack of element names, and of the components that are open."""

    def __init__(self, where: str) -> None:
        self.spec: str | None = None
        self.components: list[dict[str, Any]] = []
        self.subject = ""
        self._where = where
        self._path: list[str] = []
        self._open: list[dict[str, Any]] = []
        self._text: list[str] = []
        self._length = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        space, _, local = name.rpartition(" ")
        if not self._path:
            if local != "bom" or not space.startswith(_SPACE):
                raise refuse("format", self._where, "XML that is no CycloneDX document")
            self.spec = space.removeprefix("http://cyclonedx.org/schema/bom/")
        if len(self._path) >= MAX_DEPTH:
            raise refuse("too-deep", self._where, f"nested deeper than {MAX_DEPTH} levels")
        self._path.append(local)
        self._text, self._length = [], 0
        if local == "component":
            self._begin({"type": attributes.get("type", "library"), "licenses": []})

    def _begin(self, component: dict[str, Any]) -> None:
        if len(self.components) >= MAX_COMPONENTS:
            raise refuse("too-many", self._where, f"more than {MAX_COMPONENTS:,} components")
        self._open.append(component)
        if self._path[:2] == ["bom", "components"]:
            self.components.append(component)

    def end(self, name: str) -> None:
        local = self._path.pop()
        if local == "component":
            ended = self._open.pop()
            if self._path == ["bom", "metadata"]:
                self.subject = str(ended.get("version", ""))
        elif local in _KEPT and self._open:
            self._keep(local, "".join(self._text).strip())
        self._text, self._length = [], 0

    def text(self, data: str) -> None:
        if self._path and self._path[-1] in _KEPT:
            self._length += len(data)
            if self._length > MAX_TEXT:
                raise refuse("component", self._where, f"a text of more than {MAX_TEXT:,} characters")
            self._text.append(data)

    def refuse_dtd(self, *_: Any) -> None:
        raise refuse("xml", self._where, "a document type or entities, which no SBOM needs")

    def _keep(self, key: str, value: str) -> None:
        component, parent = self._open[-1], self._path[-1]
        if parent == "component" and key in ("purl", "name", "version"):
            if key in component:
                raise refuse("component", self._where, f"a component with two of {key}")
            component[key] = value
        elif parent == "licenses" and key == "expression":
            component["licenses"].append({"expression": value})
        elif parent == "license" and key in ("id", "name"):
            component["licenses"].append({"license": {key: value}})
