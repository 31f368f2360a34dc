"""What is inside an image, for people and for other programs; rendered from the checks' results."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from checks.interface import CheckResult, Finding, Level
from console.plain import plain
from console.report.wording import MARKS, ordered, size

if TYPE_CHECKING:
    from checks.model_files.tree import Scanned
    from flows.contents import ContentsReport
    from flows.rescan import Rescanned

MAX_FINDINGS = 40


def render_contents(report: ContentsReport, form: str) -> str:
    """`report` as `human`, `json` or `sarif`; JSON in ASCII, since files may be named to drive the screen."""
    if form == "json":
        return report.model_dump_json(indent=2, ensure_ascii=True)
    if form == "sarif":
        from console.report.sarif import all_answered, sarif_of

        findings = [finding for result in report.checks.values() for finding in result.findings]
        facts = {"image": report.image.manifest_digest, "status": report.status.value}
        return sarif_of(findings, facts, complete=all_answered(report.checks.values()))
    return _contents_in_words(report)


def _contents_in_words(report: ContentsReport) -> str:
    inventory, image = report.inventory, report.image
    layers = f"{image.layers} layers, {size(image.size)} ({size(inventory.bytes_unpacked)} unpacked)"
    lines = [
        f"{report.status.value.upper()}  {plain(report.name)}",
        f"  image {image.manifest_digest}, config {image.config_digest}",
        f"  {layers}, {inventory.paths:,} paths, {inventory.hidden:,} hidden",
        "",
    ]
    for result in report.checks.values():
        lines += result_in_words(result)
    return "\n".join(lines)


def result_in_words(result: CheckResult, whole: str = "see --format json") -> Iterable[str]:
    """A line for the check, then its errors and warnings with how to mend them; notes are counted only.

    `whole` says where all of it can be read.
    """
    yield f"{MARKS[result.status]} {result.check}: {result.status.value}, {plain(result.summary)}"
    serious = [finding for finding in ordered(result) if finding.level is not Level.NOTE]
    for finding in serious[:MAX_FINDINGS]:
        yield from _finding_in_words(finding)
    if len(serious) > MAX_FINDINGS:
        yield f"    … and {len(serious) - MAX_FINDINGS} more ({whole})"
    notes = len(result.findings) - len(serious)
    if notes:
        yield f"    {notes} note{'s' if notes > 1 else ''} ({whole})"


def _finding_in_words(finding: Finding) -> Iterable[str]:
    mark = "✗" if finding.level is Level.ERROR else "!"
    yield f"    {mark} {plain(finding.message)} ({finding.rule_id})"
    if finding.fix:
        yield f"      fix: {plain(finding.fix)}"


def render_models(scanned: Sequence[Scanned], skipped: int, form: str) -> str:
    """The verdicts as `human`, `json` or `sarif`."""
    if form == "json":
        return models_as_json(scanned, skipped)
    if form == "human":
        return models_in_words(scanned, skipped)
    from console.report.sarif import sarif_of

    findings = [
        Finding(rule_id=f"model_files/{reason.rule}", level=Level.ERROR, message=reason.message, where=where)
        for one in scanned
        if one.verdict.verdict.value != "safe"
        for reason in one.verdict.reasons
        for where in [f"{one.path} {reason.member}".rstrip()]
    ]
    return sarif_of(findings, {"files": len(scanned), "skipped": skipped}, complete=bool(scanned))


def models_as_json(scanned: Iterable[Scanned], skipped: int) -> str:
    """One verdict a file, with the opcode or member that decided and what other scanners say."""
    files = [
        {
            "path": one.path,
            "verdict": one.verdict.verdict.value,
            "formats": list(one.verdict.formats),
            "reasons": [{"rule": r.rule, "message": r.message, "member": r.member} for r in one.verdict.reasons],
            "imports": list(one.verdict.imports),
            "opinions": [
                {
                    "scanner": o.scanner,
                    "says": o.says.value,
                    "about": list(o.about),
                    "agrees": o not in one.verdict.disagreements,
                }
                for o in one.verdict.opinions
            ],
        }
        for one in scanned
    ]
    return json.dumps({"api_version": "pratique/models/v1", "files": files, "skipped": skipped}, indent=2)


def models_in_words(scanned: Iterable[Scanned], skipped: int) -> str:
    """A line a file, why where it is not safe, and who says otherwise."""
    from checks.model_files.opinion import disagreement

    lines: list[str] = []
    for one in scanned:
        path, verdict = one.path, one.verdict
        formats = f" ({', '.join(verdict.formats)})" if verdict.formats else ""
        lines.append(f"{verdict.verdict.value:<11} {plain(path)}{formats}")
        lines += [f"            {plain(r.message)} [{plain(r.member)}]" for r in verdict.reasons[:5]]
        lines += [f"            {plain(disagreement(other))}" for other in verdict.disagreements]
    if skipped:
        lines.append(f"{skipped} other files hold no model")
    return "\n".join(lines)


def rescan_as_json(rescanned: Iterable[Rescanned]) -> str:
    """Every admitted tool with the answer of today."""
    return json.dumps({"api_version": "pratique/rescan/v1", "tools": [one.as_json() for one in rescanned]}, indent=2)


def rescan_in_words(rescanned: Iterable[Rescanned]) -> str:
    """A line a tool, and what is new."""
    lines: list[str] = []
    for one in rescanned:
        lines.append(f"{MARKS[one.status]} {plain(one.name)} {plain(one.version)}: {plain(one.summary)}")
        if one.new:
            lines.append(f"    new: {', '.join(one.new[:MAX_FINDINGS])}")
        if one.withdrawn:
            lines.append("    withdrawn, as the policy says")
        if one.problem:
            lines.append(f"    next: {plain(one.problem)}")
    return "\n".join(lines) or "no tool is admitted"
