"""VEX: somebody says of a vulnerability that a product is not affected by it. OpenVEX 0.2 and CycloneDX 1.4 to 1.6.

A statement counts only where the node's policy adopts the document, by its digest, for a time and in a person's name;
the statement then is a waiver for exactly the product that it names. What the statement leaves open (under
investigation, in triage) or confirms waives nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

from checks.sbom.model import text_of
from checks.vulnerabilities.waivers import Waiver
from pratique.bounds import strict_json
from pratique.digests import Digest, parse_digest
from pratique.errors import InvalidInput

MAX_SIZE = 16 * 1024**2
_MAX_STATEMENTS = 20_000
_MAX_PRODUCTS = 20_000
_OPENVEX = "https://openvex.dev/ns"
_CLEARING = {"not_affected": "not affected", "fixed": "fixed"}
_CLEARING_STATES = {"not_affected": "not affected", "false_positive": "not affected", "resolved": "fixed"}


@dataclass(frozen=True)
class Adoption:
    """Who adopts a document for the node, until when, and what the document is called."""

    by: str
    until: date
    name: str


def read_vex(data: bytes, adoption: Adoption) -> tuple[Waiver, ...]:
    """Waivers that the document's statements are; raises `InvalidInput` (`json/…`, `vex/format`, `vex/statement`)."""
    document = strict_json(data, where=adoption.name, max_bytes=MAX_SIZE)
    if not isinstance(document, dict):
        raise _refuse("format", adoption.name, "neither OpenVEX nor CycloneDX")
    context = document.get("@context")
    if isinstance(context, str) and context.startswith(_OPENVEX):
        found = list(_openvex(document, adoption))
    elif document.get("bomFormat") == "CycloneDX":
        found = list(_cyclonedx(document, adoption))
    else:
        raise _refuse("format", adoption.name, "neither OpenVEX nor CycloneDX")
    return tuple(dict.fromkeys(found))


# --- OpenVEX (https://github.com/openvex/spec) -----------------------------------------------------------------------


def _openvex(document: dict[str, Any], adoption: Adoption) -> Iterator[Waiver]:
    author = text_of(document.get("author"), 120) or "its author"
    for statement in _dicts(document, "statements", _MAX_STATEMENTS, adoption.name):
        status = _CLEARING.get(str(statement.get("status")))
        why = text_of(statement.get("justification"), 80) or text_of(statement.get("impact_statement"), 300)
        if status is None or (status == "not affected" and not why):
            continue  # the specification asks for a justification or an impact statement
        names = _openvex_names(statement, adoption.name)
        for product, image in _openvex_products(statement, adoption.name):
            reason = f"{author} says {status}{f': {why}' if why else ''}"
            for name in names:
                yield Waiver(name, adoption.until, adoption.by, reason, "", product, image, adoption.name)


def _openvex_names(statement: dict[str, Any], where: str) -> list[str]:
    vulnerability = statement.get("vulnerability")
    if isinstance(vulnerability, str):
        return [vulnerability]
    if not isinstance(vulnerability, dict):
        raise _refuse("statement", where, "a statement names no vulnerability")
    aliases = vulnerability.get("aliases", [])
    names = [vulnerability.get("name"), *(aliases if isinstance(aliases, list) else [])]
    known = [name for name in names if isinstance(name, str) and name]
    if not known:
        raise _refuse("statement", where, "a statement names no vulnerability")
    return known


def _openvex_products(statement: dict[str, Any], where: str) -> Iterator[tuple[str, Digest | None]]:
    """Package URL, and the image that it must be part of where the product is an image with subcomponents."""
    for product in _entries(statement, "products", where):
        url = _product_url(product)
        parts = _entries(product, "subcomponents", where) if isinstance(product, dict) else []
        if not parts:
            if url.startswith("pkg:") and not url.startswith("pkg:oci/"):
                yield url, None
            continue
        image = _image_digest(url)
        for part in parts if image else ():
            if _product_url(part).startswith("pkg:"):
                yield _product_url(part), image


def _entries(holder: dict[str, Any], key: str, where: str) -> list[Any]:
    value = holder.get(key, [])
    if not isinstance(value, list) or len(value) > _MAX_PRODUCTS:
        raise _refuse("statement", where, f"{key} is not a list of at most {_MAX_PRODUCTS:,}")
    return value


def _product_url(product: Any) -> str:
    """A product is an identifier, or an object with `@id` and identifiers."""
    if not isinstance(product, dict):
        return text_of(product, 2000)
    identifiers = product.get("identifiers")
    stated = identifiers.get("purl") if isinstance(identifiers, dict) else None
    return text_of(stated, 2000) or text_of(product.get("@id"), 2000)


def _image_digest(url: str) -> Digest | None:
    """Digest of `pkg:oci/name@sha256:…`; None where the product is no image by digest."""
    if not url.startswith("pkg:oci/"):
        return None
    text = url.partition("@")[2].partition("?")[0].replace("%3A", ":").replace("%3a", ":")
    try:
        return parse_digest(text)
    except InvalidInput:
        return None


# --- CycloneDX (ECMA-424, vulnerabilities with analysis) -------------------------------------------------------------


def _cyclonedx(document: dict[str, Any], adoption: Adoption) -> Iterator[Waiver]:
    urls = {
        entry["bom-ref"]: text_of(entry.get("purl"), 2000)
        for entry in _dicts(document, "components", _MAX_PRODUCTS, adoption.name)
        if isinstance(entry.get("bom-ref"), str)
    }
    for entry in _dicts(document, "vulnerabilities", _MAX_STATEMENTS, adoption.name):
        analysis = entry.get("analysis")
        state = _CLEARING_STATES.get(str(analysis.get("state"))) if isinstance(analysis, dict) else None
        if state is None or not isinstance(analysis, dict):
            continue
        why = text_of(analysis.get("justification"), 80) or text_of(analysis.get("detail"), 300)
        if state == "not affected" and not why:
            continue
        references = _dicts(entry, "references", _MAX_PRODUCTS, adoption.name)
        names = [n for n in (entry.get("id"), *(r.get("id") for r in references)) if isinstance(n, str) and n]
        for target in _dicts(entry, "affects", _MAX_PRODUCTS, adoption.name):
            reference = text_of(target.get("ref"), 2000)
            url = urls.get(reference.rpartition("#")[2]) or urls.get(reference) or reference
            if not url.startswith("pkg:"):
                continue
            reason = f"{adoption.name} says {state}{f': {why}' if why else ''}"
            for name in names:
                yield Waiver(name, adoption.until, adoption.by, reason, "", url, None, adoption.name)


def _dicts(document: dict[str, Any], key: str, limit: int, where: str) -> list[dict[str, Any]]:
    value = document.get(key, [])
    if not isinstance(value, list) or len(value) > limit or not all(isinstance(entry, dict) for entry in value):
        raise _refuse("statement", where, f"{key} is not a list of at most {limit:,} objects")
    return value


def _refuse(rule: str, where: str, message: str) -> InvalidInput:
    return InvalidInput(
        message,
        rule=f"vex/{rule}",
        where=where,
        next_step="Give an OpenVEX 0.2 document (vexctl writes it), or CycloneDX with vulnerabilities and analysis.",
    )
