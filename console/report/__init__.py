"""Renders a report from its JSON, the one truth, in the form that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.report import Report


def render(report: Report, form: str, store: Path) -> str:
    """`report` as `human`, `json`, `sarif`, `markdown` or `html`; pictures need the evidence in `store`."""
    if form == "json":
        return report.to_json()
    if form == "sarif":
        from console.report.sarif import to_sarif

        return to_sarif(report)
    if form == "html":
        from console.report.html import to_html

        return to_html(report, store)
    if form == "markdown":
        from console.report.text import to_markdown

        return to_markdown(report)
    from console.report.text import to_human

    return to_human(report)
