"""Known vulnerabilities for people, SARIF, CycloneDX 1.6 with vulnerabilities, and in-toto's vulns predicate."""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from checks.advisories.severity import base_score
from checks.interface import CheckResult, Status
from console.plain import plain
from console.report.contents import result_in_words
from console.report.sarif import sarif_of
from flows.vulnerabilities import LookedUp, scan_predicate
from pratique.clock import rfc3339
from pratique.digests import Digest
from pratique.errors import CouldNotDecide
from records.intoto import descriptor, statement
from records.statements import VULNS

_NAMESPACE = uuid.UUID("1f3c6f0a-3a53-5f1e-8c55-0d9f9d7cf6a5")
_METHODS = (("CVSS:4", "CVSSv4"), ("CVSS:3.1", "CVSSv31"), ("CVSS:3.0", "CVSSv3"))


def render_vulnerabilities(answer: LookedUp, form: str) -> str:
    """`answer` as `human`, `json`, `sarif`, `cyclonedx` or `in-toto`; JSON in ASCII, since names may be made to drive
    the screen that shows it."""
    if form == "human":
        head = f"{answer.status.value.upper()}  {plain(answer.name)}  {answer.digest}"
        return "\n".join([head, "", *result_in_words(answer.result)])
    if form == "sarif":
        facts = {"subject": answer.digest, "status": answer.status.value}
        return sarif_of(answer.result.findings, facts, complete=answer.status is not Status.INCONCLUSIVE)
    document = {"json": as_json, "cyclonedx": as_cyclonedx, "in-toto": as_statement}[form](answer)
    return json.dumps(document, indent=2)


def as_json(answer: LookedUp) -> dict[str, Any]:
    """The whole answer."""
    return {
        "api_version": "pratique/vulnerabilities/v1",
        "subject": {"name": answer.name, "digest": answer.digest},
        "status": answer.status.value,
        "components": len(answer.components),
        "unidentified": answer.unidentified,
        "result": answer.result.model_dump(mode="json"),
        **answer.document,
    }


def as_cyclonedx(answer: LookedUp) -> dict[str, Any]:
    """CycloneDX 1.6: the components, and their vulnerabilities with analysis where one was waived."""
    urls = sorted({c.purl for c in answer.components if c.purl})
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, answer.digest + rfc3339(answer.asked))}",
        "version": 1,
        "metadata": {
            "timestamp": rfc3339(answer.asked),
            "tools": {"components": [{"type": "application", "name": "pratique"}]},
            "component": {
                "type": "container",
                "bom-ref": answer.digest,
                "name": answer.name or "image",
                "version": answer.digest,
            },
            "properties": _answered(answer.status, answer.result),
        },
        "components": [_component(url) for url in urls],
        "vulnerabilities": _vulnerabilities(answer.document, {url: [url] for url in urls}),
    }


def bom_with_vulnerabilities(bom: bytes, found: dict[str, Any], result: CheckResult, digest: Digest) -> str:
    """The SBOM `bom` of the image `digest` with the vulnerabilities that `result`'s document `found` lists."""
    document: dict[str, Any] = json.loads(bom)
    references: defaultdict[str, list[str]] = defaultdict(list)
    for component in document["components"]:
        references[component.get("purl", "")].append(component["bom-ref"])
    asked = found.get("asked", "")
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(_NAMESPACE, f'{digest} as a whole {asked}')}"
    document["metadata"] |= {"timestamp": asked} if asked else {}
    document["metadata"]["properties"] = _answered(result.status, result)
    document["vulnerabilities"] = _vulnerabilities(found, references)
    return json.dumps(document, indent=2)


def _answered(status: Status, result: CheckResult) -> list[dict[str, str]]:
    """Whether it was answered: a list without entries must not read as "none" where nothing could be."""
    return [
        {"name": "pratique:status", "value": status.value},
        {"name": "pratique:summary", "value": result.summary},
    ]


def _vulnerabilities(document: dict[str, Any], references: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    """By id; `references` has the entries of the components with a package URL."""
    grouped: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for found in document.get("vulnerabilities", []):
        grouped[found["id"]].append(found)
    return [_vulnerability(name, found, references) for name, found in sorted(grouped.items())]


def _component(url: str) -> dict[str, Any]:
    from packageurl import PackageURL

    parsed = PackageURL.from_string(url)
    version = {"version": parsed.version} if parsed.version else {}
    return {"type": "library", "bom-ref": url, "name": parsed.name, **version, "purl": url}


def _vulnerability(name: str, found: list[dict[str, Any]], references: Mapping[str, list[str]]) -> dict[str, Any]:
    first = found[0]
    rating: dict[str, Any] = {"severity": first["severity"]}
    if first["vector"]:
        rating |= {"vector": first["vector"], "method": _method(first["vector"])}
    entry: dict[str, Any] = {
        "id": name,
        "ratings": [rating],
        "description": first["summary"],
        "affects": [
            {"ref": ref}
            for url in dict.fromkeys(item["purl"] for item in found if item["purl"])
            for ref in references.get(url, [])
        ],
    }
    if first["aliases"]:
        entry["references"] = [{"id": alias, "source": {"name": alias.partition("-")[0]}} for alias in first["aliases"]]
    fixes = sorted({f"{item['component']} {item['fixed']}" for item in found if item["fixed"]})
    if fixes:
        entry["recommendation"] = f"Install {', '.join(fixes)} or later."
    used = _in_use(first)
    if used:
        entry["properties"] = [{"name": f"pratique:{key}", "value": str(value)} for key, value in used.items()]
    if all(item["waived"] for item in found):
        waived = first["waived"]
        detail = f"Waived by {waived['by']} until {waived['until']}: {waived['reason']}"
        entry["analysis"] = {"state": "exploitable", "response": ["will_not_fix"], "detail": detail}
    elif first["decision"] == "undecided":
        entry["analysis"] = {"state": "in_triage"}
    return entry


def _in_use(found: dict[str, Any]) -> dict[str, Any]:
    """What lists of exploited vulnerabilities say of it; nothing where none was imported."""
    named = {"known_exploited_since": found["known_exploited_since"] or None, "epss": found["epss"]}
    return {key: value for key, value in named.items() if value is not None}


def _method(vector: str) -> str:
    return next((method for start, method in _METHODS if vector.startswith(start)), "CVSSv2")


def as_statement(answer: LookedUp) -> dict[str, Any]:
    """An unsigned in-toto statement with the predicate vulns/v0.2: scanner, its database, results, when.

    Raises `CouldNotDecide` where nothing was answered: by the specification an empty list says that there are none.
    """
    if not answer.document:
        raise CouldNotDecide(
            "no statement is written: nothing was looked up, and an empty list would say that nothing is there",
            cause=answer.result.summary,
            next_step=next((finding.fix for finding in answer.result.findings if finding.fix), ""),
        )
    results = [_scanned(found) for found in answer.document.get("vulnerabilities", [])]
    annotations = {
        "status": answer.status.value,
        "unidentified": answer.unidentified,
        "unchecked": answer.result.measured("unchecked"),
    }
    subject = descriptor(name=answer.name or "image", digest=answer.digest)
    return statement([subject], VULNS, scan_predicate(answer, results, annotations))


def _scanned(found: dict[str, Any]) -> dict[str, Any]:
    annotations = {
        "package": found["purl"] or found["component"],
        **{key: found[key] for key in ("aliases", "decision", "fixed", "waived", "vector")},
        **_in_use(found),
    }
    return {"id": found["id"], "severity": _severities(found), "annotations": [annotations]}


def _severities(found: dict[str, Any]) -> list[dict[str, str]]:
    severities = [{"method": "qualitative", "score": found["severity"]}]
    score = base_score(found["vector"]) if found["vector"] else None
    return severities + ([{"method": _method(found["vector"]), "score": str(score)}] if score is not None else [])
