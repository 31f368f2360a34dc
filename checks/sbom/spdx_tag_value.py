"""SPDX 2 in its tag-value form, read into the shape that its JSON form has."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from checks.sbom.limits import MAX_COMPONENTS, MAX_TEXT, MAX_VALUES, refuse

_TAG = re.compile(r"([A-Za-z]{1,60}):[ \t]*(.*)")
_PURL = re.compile(r"PACKAGE[-_]MANAGER\s+purl\s+(\S+)", re.IGNORECASE)
_SECTIONS = frozenset(("PackageName", "FileName", "SnippetSPDXID", "LicenseID"))


def read_tag_value(data: bytes, *, where: str) -> dict[str, Any]:
    """The document's packages as `spdxVersion` in JSON has them.

    Raises `InvalidInput`: `sbom/encoding`, `sbom/format`, `sbom/too-many`, `sbom/component`.
    """
    packages: list[dict[str, Any]] = []
    version = ""
    inside = False
    references = 0
    for tag, value in _tags(data, where):
        if tag == "SPDXVersion":
            version = version or value
        if tag == "PackageName":
            packages.append({"name": value, "externalRefs": []})
            if len(packages) > MAX_COMPONENTS:
                raise refuse("too-many", where, f"more than {MAX_COMPONENTS:,} packages")
        inside = tag == "PackageName" if tag in _SECTIONS else inside
        if inside:
            references += _note(packages[-1], tag, value)
            if references > MAX_COMPONENTS:
                raise refuse("too-many", where, f"more than {MAX_COMPONENTS:,} package URLs")
    if not version.startswith("SPDX-2."):
        raise refuse("format", where, "not SPDX 2 in its tag-value form")
    return {"spdxVersion": version, "packages": packages}


def _note(package: dict[str, Any], tag: str, value: str) -> bool:
    """Take what is used of a package; whether it was a package URL."""
    found = _PURL.fullmatch(value) if tag == "ExternalRef" else None
    if found:
        package["externalRefs"].append({"referenceType": "purl", "referenceLocator": found[1]})
    elif tag == "PackageLicenseDeclared":
        package.setdefault("licenseDeclared", value)
    return found is not None


def _tags(data: bytes, where: str) -> Iterator[tuple[str, str]]:
    """Tags with their values; what stands in `<text>…</text>` is none."""
    in_text = False
    for number, line in enumerate(_lines(data, where)):
        if number > MAX_VALUES:
            raise refuse("too-many", where, f"more than {MAX_VALUES:,} lines")
        if in_text:
            in_text = "</text>" not in line
            continue
        match = _TAG.fullmatch(line)
        if match is None:
            continue
        value = match[2].strip()
        if value.startswith("<text>"):
            in_text = "</text>" not in value
            continue
        if len(value) > MAX_TEXT:
            raise refuse("component", where, f"a value of more than {MAX_TEXT:,} characters")
        yield match[1], value
    if in_text:
        raise refuse("format", where, "a <text> that never ends")


def _lines(data: bytes, where: str) -> Iterator[str]:
    """Decoded line by line: one letter makes a text take four times its bytes."""
    encoding = "utf-8-sig"
    for piece in io.BytesIO(data):
        try:
            yield piece.decode(encoding).rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise refuse("encoding", where, "not UTF-8 text") from error
        encoding = "utf-8"
