"""Findings as SARIF 2.1.0 (OASIS), for editors and code hosts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from checks.interface import CheckResult, Finding, Status

if TYPE_CHECKING:
    from flows.report import Report

_FILE_AND_LINE = re.compile(r"/(?P<path>.+):(?P<line>[1-9][0-9]{0,7})")
SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def to_sarif(report: Report) -> str:
    """One run with a result a finding; `partialFingerprints` stay the same while the finding does."""
    findings = [finding for result in report.checks.values() for finding in result.findings]
    facts = {"runId": report.run_id, "verdict": report.verdict.outcome, "image": report.image.manifest_digest}
    return sarif_of(findings, facts, complete=all_answered(report.checks.values()))


def all_answered(results: Iterable[CheckResult]) -> bool:
    """Whether every check could decide: where one could not, that nothing is listed does not mean that nothing is."""
    return all(result.status is not Status.INCONCLUSIVE for result in results)


def sarif_of(findings: Sequence[Finding], facts: Mapping[str, Any], *, complete: bool) -> str:
    """`findings` as one run, with `facts` about all of it; an incomplete one is a run that did not succeed."""
    driver = {
        "name": "pratique",
        "informationUri": "https://pypi.org/project/pratique/",
        "rules": [{"id": rule} for rule in sorted({finding.rule_id for finding in findings})],
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": complete}],
        "originalUriBaseIds": {"IMAGE": {"description": {"text": "The root of the image."}}},
        "results": [_result(finding) for finding in findings],
        "properties": dict(facts),
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _place(where: str) -> dict[str, Any]:
    """File and line, where a finding has them; the path counts from the image's root."""
    found = _FILE_AND_LINE.fullmatch(where)
    if found is None:
        return {}
    artifact = {"uri": quote(found["path"]), "uriBaseId": "IMAGE"}
    return {"physicalLocation": {"artifactLocation": artifact, "region": {"startLine": int(found["line"])}}}


def _result(finding: Finding) -> dict[str, Any]:
    identity = "\0".join((finding.rule_id, finding.where, finding.message))
    result: dict[str, Any] = {
        "ruleId": finding.rule_id,
        "level": finding.level.value,
        "message": {"text": finding.message + (f" Fix: {finding.fix}" if finding.fix else "")},
        "partialFingerprints": {"pratique/v1": hashlib.sha256(identity.encode()).hexdigest()},
    }
    if finding.where:
        result["locations"] = [{"logicalLocations": [{"fullyQualifiedName": finding.where}], **_place(finding.where)}]
    if finding.risks:
        result["properties"] = {"risks": list(finding.risks)}
    return result
