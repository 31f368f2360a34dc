"""Reports for a terminal and as Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from console.plain import plain
from console.report.wording import HEADLINE, MARKS, MEANING, not_asked, reasons, risk_evidence, short, size

if TYPE_CHECKING:
    from checks.interface import Finding
    from flows.report import Report

MAX_FINDINGS = 8
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~&]|:(?=//)|(?<=www)\.)", re.IGNORECASE)


def to_human(report: Report) -> str:
    """What a person at a terminal needs: the verdict, why, what to mend, and where the rest is."""
    tool, verdict = report.tool, report.verdict
    lines = [
        f"{HEADLINE[verdict.outcome].upper()}  {plain(tool.name)} {plain(tool.version)} ({plain(tool.organisation)})",
        f"  {MEANING[verdict.outcome]}",
        f"  image {report.image.manifest_digest}, policy {report.policy.name} {short(report.policy.digest)}",
        "",
    ]
    for reason in reasons(report):
        lines.append(f"{'✗' if reason.rule.outcome == 'refuse' else '?'} {reason.rule.id}: {plain(reason.headline)}")
        for result in reason.results:
            lines.append(f"    {result.check} {result.status}: {plain(result.summary)}")
        for findings, fix in reason.remedies(MAX_FINDINGS):
            lines += [_finding(finding) for finding in findings]
            lines += [f"      fix: {plain(fix)}"] if fix else []
        if len(reason.findings) > MAX_FINDINGS:
            lines.append(f"    … and {len(reason.findings) - MAX_FINDINGS} more findings (see the JSON or HTML report)")
        lines.append("")
    if not_asked(report):
        lines += [not_asked(report), ""]
    lines += [
        f"  {MARKS[result.status]} {name:<17} {result.status:<15} {plain(result.summary)}"
        for name, result in report.checks.items()
    ]
    lines += ["", f"run {report.run_id}, {report.seconds:.1f} s of which the tool ran {report.tool_seconds:.1f} s"]
    if report.ledger is not None:
        lines.append(
            f"ledger entry {report.ledger.index}, root {report.ledger.root_hash[:16]}… of {report.ledger.origin}"
        )
    return "\n".join(lines)


def _finding(finding: Finding) -> str:
    where = f" [{plain(finding.where)}]" if finding.where else ""
    return f"    - {plain(finding.message)}{where} ({finding.rule_id})"


def to_markdown(report: Report) -> str:
    """The same for an issue tracker or a pull request."""
    tool, verdict = report.tool, report.verdict
    lines = [
        f"# {HEADLINE[verdict.outcome]}: {_escaped(tool.name)} {_escaped(tool.version)}",
        "",
        MEANING[verdict.outcome],
        "",
        f"Image `{report.image.manifest_digest}` ({size(report.image.size)}), run `{report.run_id}`.",
        f"Policy {_escaped(report.policy.name)} `{report.policy.digest}`.",
        "",
    ]
    if reasons(report):
        lines += ["## Why", ""]
    for reason in reasons(report):
        lines.append(f"- **{_escaped(reason.rule.id)}** ({reason.rule.outcome}): {_escaped(reason.headline)}")
        for finding in reason.findings[:MAX_FINDINGS]:
            fix = f" *Fix:* {_escaped(finding.fix)}" if finding.fix else ""
            lines.append(f"  - `{finding.rule_id}` {_escaped(finding.message)}{fix}")
        if len(reason.findings) > MAX_FINDINGS:
            lines.append(f"  - … and {len(reason.findings) - MAX_FINDINGS} more findings")
    lines += ["", not_asked(report)] if not_asked(report) else []
    lines += ["", "## Checks", "", "| check | answer | why |", "|---|---|---|"]
    lines += [
        f"| {name} | {MARKS[result.status]} {result.status} | {_escaped(result.summary)} |"
        for name, result in report.checks.items()
    ]
    lines += ["", "## Risks (EUCAIM D3.4)", "", "| risk | | answer | by |", "|---|---|---|---|"]
    lines += [
        f"| {row.id} | {_escaped(row.title)} | {row.state} | {_escaped(risk_evidence(row))} |" for row in report.risks
    ]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """`text` as words: no markup, no table cell's end, no address that becomes a link."""
    return _MARKDOWN.sub(r"\\\1", plain(text))
