"""Reports built by hand, as hostile as a report can be."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from checks.interface import CheckResult, Evidence, Finding, Level, Measurement, Status
from flows.report import ImageFacts, LedgerPosition, PolicyFacts, Report, ToolFacts
from policies.model import Outcome, Stage
from policies.risks import coverage
from policies.verdict import RuleOutcome, Verdict
from pratique.digests import Digest

DIGEST = Digest("sha256:" + "ab" * 32)

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><svg/onload=alert(3)> {{ 7*7 }} {% raw %}"
ANSI = "\x1b[2J\x1b[31mred\x1b]0;title\x07\x9b1m\r\b\x00"
BIDI = "admitted\u202edetimda\u202c \u2066x\u2069\u200b\ufeff"
MARKDOWN = (
    "| a | b |\n|---|---|\n# heading\n- item\n[x](javascript:alert(1)) ![p](http://evil.example/p.png) "
    "`code` **b** ~~s~~ &lt;"
)
HOSTILE = {"script": SCRIPT, "ansi": ANSI, "bidi": BIDI, "markdown": MARKDOWN, "all": SCRIPT + ANSI + BIDI + MARKDOWN}


def finding(text: str, level: Level = Level.ERROR) -> Finding:
    """A finding that says `text` wherever it can."""
    return Finding(rule_id="manifest/odd", level=level, message=text, where=text, fix=text, risks=("G5",))


def result(
    text: str, *, status: Status = Status.FAILED, evidence: Iterable[Evidence] = (), **changes: Any
) -> CheckResult:
    """An answer of the manifest check that says `text` wherever it can."""
    fields: dict[str, Any] = {
        "check": "manifest",
        "version": "1",
        "status": status,
        "summary": text,
        "findings": (finding(text),),
        "measurements": (Measurement(name="odd", value=text, unit=text, method=text),),
        "evidence": tuple(evidence),
        "inputs": {"odd": text},
    }
    return CheckResult(**{**fields, **changes})


def report(text: str = "fine", *, outcome: Outcome = Outcome.REFUSE, **changes: Any) -> Report:
    """A report that says `text` wherever a provider's words can come in."""
    answers = {"manifest": result(text)}
    rule = RuleOutcome(
        id="manifest-is-sound",
        stage=Stage.BEFORE,
        satisfied=outcome is Outcome.ADMIT,
        outcome=outcome,
        undecided=False,
        say="The manifest is not sound.",
        require='checks.manifest.status == "passed"',
        inputs={"checks.manifest.status": text},
        risks=("G5",),
    )
    fields: dict[str, Any] = {
        "kind": "onboard",
        "run_id": "20260102T030405-0badcafe",
        "finished": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "tool": ToolFacts(name=text, version=text, organisation=text, submitter=text, label=text),
        "submission_digest": DIGEST,
        "image": ImageFacts(
            manifest_digest=DIGEST, config_digest=DIGEST, digest_origin="manifest", layers=1, size=1_234_567
        ),
        "policy": PolicyFacts(name="node", digest=DIGEST),
        "verdict": Verdict(
            outcome=outcome, policy="node", stages=(Stage.BEFORE,), rules=(rule,), decided_by=rule.id, why="because"
        ),
        "checks": answers,
        "cached": ("manifest",),
        "risks": coverage(answers),
        "ledger": LedgerPosition(
            origin="node.example/log", index=3, size=4, root_hash="cd" * 32, statement_digest=DIGEST
        ),
        "seconds": 1.5,
        "tool_seconds": 0.5,
    }
    return Report(**{**fields, **changes})
