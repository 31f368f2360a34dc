"""VEX: somebody says of a vulnerability that a product is not affected by it. OpenVEX 0.2 and CycloneDX 1.4 to 1.6.

A statement counts only where the node's policy adopts the document, by its digest, for a time and in a person's name;
the statement then is a waiver for exactly the product that it names. What a statement leaves open (under investigation,
in triage) or confirms waives nothing, and takes back what an earlier one of the same document says. A statement dated
in the future waives nothing before its day; what it takes back, it takes back at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice
from itertools import product as pairs
from typing import Any

from checks.sbom.model import text_of
from checks.vulnerabilities.waivers import Waiver, package_of, with_version
from pratique.bounds import strict_json
from pratique.digests import Digest, parse_digest
from pratique.errors import InvalidInput

MAX_SIZE = 16 * 1024**2
_MAX_STATEMENTS = 20_000
_MAX_PRODUCTS = 20_000
_MAX_SAID = 200_000
"""Pairs of a vulnerability's name and a product, of all statements together."""
_OPENVEX = "https://openvex.dev/ns"
_CLEARING = {"not_affected": "not affected", "fixed": "fixed"}
_OPEN = frozenset(("affected", "under_investigation"))
_JUSTIFICATIONS = frozenset(
    (
        "component_not_present",
        "vulnerable_code_not_present",
        "vulnerable_code_not_in_execute_path",
        "vulnerable_code_cannot_be_controlled_by_adversary",
        "inline_mitigations_already_exist",
    )
)
_CLEARING_STATES = {
    "not_affected": "not affected",
    "false_positive": "not affected",
    "resolved": "fixed",
    "resolved_with_pedigree": "fixed",
}
_OPEN_STATES = frozenset(("exploitable", "in_triage"))
_STATE_JUSTIFICATIONS = frozenset(
    (
        "code_not_present",
        "code_not_reachable",
        "requires_configuration",
        "requires_dependency",
        "requires_environment",
        "protected_by_compiler",
        "protected_at_runtime",
        "protected_at_perimeter",
        "protected_by_mitigating_control",
    )
)
_FIRST = datetime.min.replace(tzinfo=UTC)
_ANY = "*", "any"
"""Stands for every version, or every image, that something is said of."""


@dataclass(frozen=True)
class Adoption:
    """Who adopts a document for the node, until when, and what the document is called."""

    by: str
    until: date
    name: str


@dataclass(frozen=True)
class _Said:
    """What a document says of a vulnerability in a product at a time; without a waiver it clears nothing."""

    name: str
    product: str
    image: Digest | None
    at: datetime
    waiver: Waiver | None


def read_vex(data: bytes, adoption: Adoption) -> tuple[Waiver, ...]:
    """Waivers that the document's statements are; raises `InvalidInput` (`json/…`, `vex/format`, `vex/statement`)."""
    document = strict_json(data, where=adoption.name, max_bytes=MAX_SIZE)
    if not isinstance(document, dict):
        raise _refuse("format", adoption.name, "neither OpenVEX nor CycloneDX")
    context = document.get("@context")
    if isinstance(context, str) and context.startswith(_OPENVEX):
        found = list(islice(_openvex(document, adoption), _MAX_SAID + 1))
    elif document.get("bomFormat") == "CycloneDX":
        found = list(islice(_cyclonedx(document, adoption), _MAX_SAID + 1))
    else:
        raise _refuse("format", adoption.name, "neither OpenVEX nor CycloneDX")
    if len(found) > _MAX_SAID:
        raise _refuse("statement", adoption.name, f"more than {_MAX_SAID:,} vulnerabilities of products")
    return tuple(dict.fromkeys(_standing(found)))


def _standing(said: list[_Said]) -> Iterator[Waiver]:
    """The waivers that nothing said at the same time or later, of the same thing or a part of it, takes back."""
    latest: dict[tuple[object, ...], datetime] = {}
    for one in said:
        if one.waiver is None:
            package, version = package_of(one.product)
            for key in pairs({version, _ANY}, {one.image, _ANY}):
                place = (one.name, package, *key)
                latest[place] = max(one.at, latest.get(place, _FIRST))
    for one in said:
        if one.waiver is not None:
            package, version = package_of(one.product)
            versions = (_ANY,) if version is None else (version, None)
            images = (_ANY,) if one.image is None else (one.image, None)
            against = (latest.get((one.name, package, *key)) for key in pairs(versions, images))
            if not any(at is not None and at >= one.at for at in against):
                yield one.waiver


# --- OpenVEX (https://github.com/openvex/spec) -----------------------------------------------------------------------


def _openvex(document: dict[str, Any], adoption: Adoption) -> Iterator[_Said]:
    author = text_of(document.get("author"), 120) or "its author"
    written = _moment(document.get("timestamp")) or _FIRST
    for statement in _dicts(document, "statements", _MAX_STATEMENTS, adoption.name):
        stated = str(statement.get("status"))
        status = _CLEARING.get(stated)
        justification = text_of(statement.get("justification"), 80)
        why = justification if justification in _JUSTIFICATIONS else text_of(statement.get("impact_statement"), 300)
        unexplained = status == "not affected" and not why  # the specification asks for one of the two
        if (status is None and stated not in _OPEN) or unexplained:
            continue
        names = _openvex_names(statement, adoption.name)
        at = _moment(statement.get("last_updated")) or _moment(statement.get("timestamp")) or written
        reason = f"{author} says {status}{f': {why}' if why else ''}"
        for url, image in _openvex_products(statement, adoption.name):
            for name in names:
                waiver = Waiver(name, adoption.until, adoption.by, reason, "", url, image, adoption.name, _day(at))
                yield _Said(name, url, image, at, waiver if status else None)


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


def _cyclonedx(document: dict[str, Any], adoption: Adoption) -> Iterator[_Said]:
    urls = {
        entry["bom-ref"]: text_of(entry.get("purl"), 2000)
        for entry in _dicts(document, "components", _MAX_PRODUCTS, adoption.name)
        if isinstance(entry.get("bom-ref"), str)
    }
    for entry in _dicts(document, "vulnerabilities", _MAX_STATEMENTS, adoption.name):
        analysis = entry.get("analysis")
        stated = str(analysis.get("state")) if isinstance(analysis, dict) else ""
        state = _CLEARING_STATES.get(stated)
        if not isinstance(analysis, dict) or (state is None and stated not in _OPEN_STATES):
            continue
        justification = text_of(analysis.get("justification"), 80)
        why = justification if justification in _STATE_JUSTIFICATIONS else text_of(analysis.get("detail"), 300)
        if state == "not affected" and not why:
            continue
        references = _dicts(entry, "references", _MAX_PRODUCTS, adoption.name)
        names = [n for n in (entry.get("id"), *(r.get("id") for r in references)) if isinstance(n, str) and n]
        at = _moment(analysis.get("lastUpdated")) or _moment(analysis.get("firstIssued")) or _FIRST
        reason = f"{adoption.name} says {state}{f': {why}' if why else ''}"
        for url in _targets(entry, urls, adoption.name):
            for name in names:
                waiver = Waiver(name, adoption.until, adoption.by, reason, "", url, None, adoption.name, _day(at))
                yield _Said(name, url, None, at, waiver if state else None)


def _targets(entry: dict[str, Any], urls: dict[str, str], where: str) -> Iterator[str]:
    """Package URLs that the analysis speaks of; where versions are listed, those alone (no ranges of them)."""
    for target in _dicts(entry, "affects", _MAX_PRODUCTS, where):
        reference = text_of(target.get("ref"), 2000)
        url = urls.get(reference.rpartition("#")[2]) or urls.get(reference) or reference
        if not url.startswith("pkg:"):
            continue
        if "versions" not in target:
            yield url
            continue
        for item in _dicts(target, "versions", _MAX_PRODUCTS, where):
            version = text_of(item.get("version"), 200)
            exact = with_version(url, version) if version else ""
            if exact:
                yield exact


def _moment(value: Any) -> datetime | None:
    """A time with its zone; None for anything else."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None


def _day(moment: datetime) -> date:
    """Its day in UTC."""
    try:
        return moment.astimezone(UTC).date()
    except OverflowError:  # in the first or last hours that there are
        return moment.date()


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
