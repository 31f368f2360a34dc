"""The report as one HTML file: verdict first, then why, then evidence; no script, nothing loaded from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from console.plain import plain
from console.report.pictures import pictures
from console.report.wording import HEADLINE, MARKS, MEANING, not_asked, ordered, reasons, risk_evidence, short, size

if TYPE_CHECKING:
    from flows.report import Report

TEMPLATES = Path(__file__).parent / "templates"


def to_html(report: Report, store: Path) -> str:
    """`report` as a page that can be mailed or kept; everything from the submission is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=_shown,
    )
    environment.filters |= {"short": short, "size": size}
    return environment.get_template("report.html").render(
        report=report,
        headline=HEADLINE[report.verdict.outcome],
        meaning=MEANING[report.verdict.outcome],
        reasons=reasons(report),
        not_asked=not_asked(report),
        ordered=ordered,
        risk_evidence=risk_evidence,
        marks=MARKS,
        pictures=pictures(report, store),
    )


def _shown(value: Any) -> Any:
    """What the template puts out: texts as people may see them; what was made safe here stays as it is."""
    return plain(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
