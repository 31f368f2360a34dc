"""The words that every rendered form shares: what the verdict means, and which findings made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from checks.interface import CheckResult, Finding, Level, Status

if TYPE_CHECKING:
    from flows.report import Report
    from policies.risks import RiskCoverage
    from policies.verdict import RuleOutcome

HEADLINE = {"admit": "Admit", "review": "Review by people", "refuse": "Refuse"}
MEANING = {
    "admit": "Every rule of the policy is satisfied. Nothing is admitted until people decide so.",
    "review": "Something could not be decided or needs people's judgement. This is not a pass.",
    "refuse": "At least one rule refuses. Nothing of this submission may run on the node.",
}
MARKS = {
    Status.PASSED: "✓",
    Status.FAILED: "✗",
    Status.INCONCLUSIVE: "?",
    Status.NOT_APPLICABLE: "–",
}
_LEVELS = (Level.ERROR, Level.WARNING, Level.NOTE)


@dataclass(frozen=True)
class Reason:
    """A rule that is not satisfied, with the findings of the checks that it rests on."""

    rule: RuleOutcome
    results: tuple[CheckResult, ...]
    findings: tuple[Finding, ...]

    def remedies(self, most: int) -> tuple[tuple[tuple[Finding, ...], str], ...]:
        """The first `most` findings, those with one fix together, each group with that fix."""
        groups: dict[str, list[Finding]] = {}
        for finding in self.findings[:most]:
            groups.setdefault(finding.fix, []).append(finding)
        return tuple((tuple(findings), fix) for fix, findings in groups.items())

    @property
    def headline(self) -> str:
        """What stands in the way, in a sentence; a rule that nobody could answer says nothing against the tool."""
        return f"Could not be decided. {self.rule.why}".rstrip() if self.rule.undecided else self.rule.say

    @property
    def was_not_asked(self) -> bool:
        """Whether none of its checks was asked; one that was, and could not run the tool, says what is amiss."""
        from flows.steps import NOT_ASKED

        return bool(self.results) and all(finding.rule_id.endswith(f"/{NOT_ASKED}") for finding in self.findings)


def reasons(report: Report) -> tuple[Reason, ...]:
    """What stands in the way, the deciding rule first; without the rules that could not be asked for that reason."""
    found = (_reason(rule, report) for rule in report.verdict.unsatisfied)
    return tuple(reason for reason in found if not reason.was_not_asked)


def not_asked(report: Report) -> str:
    """Which rules were not asked, in a sentence; empty text when all were."""
    names = [rule.id for rule in report.verdict.unsatisfied if _reason(rule, report).was_not_asked]
    if not names:
        return ""
    return f"Not asked, because the checks that they rest on were not run: {', '.join(names)}."


def why_not_asked(report: Report) -> str:
    """Why the tool was not run, as the first check says that was not asked for it; empty text when all were."""
    from flows.steps import NOT_ASKED

    found = (f for result in report.checks.values() for f in result.findings if f.rule_id.endswith(f"/{NOT_ASKED}"))
    return next((finding.message for finding in found), "")


def _reason(rule: RuleOutcome, report: Report) -> Reason:
    named = dict.fromkeys(key.split(".")[1] for key in rule.inputs if key.startswith("checks."))
    results = tuple(report.checks[name] for name in named if name in report.checks)
    serious = [f for result in results for f in ordered(result) if f.level is not Level.NOTE]
    return Reason(rule, results, tuple(serious))


def risk_evidence(row: RiskCoverage) -> str:
    """What was done about a risk in this inspection, in a few words."""
    done = [f"{item.check} {item.status or 'not asked'} ({item.how})" for item in row.checks]
    return "; ".join([*done, *row.controls, *([f"open: {row.gap}"] if row.gap else [])])


def ordered(result: CheckResult) -> tuple[Finding, ...]:
    """Findings of one check, errors first."""
    return tuple(sorted(result.findings, key=lambda finding: _LEVELS.index(finding.level)))


def short(digest: str) -> str:
    """A digest as people compare it: algorithm and twelve digits."""
    return digest[:19] + "…" if len(digest) > 20 else digest


def size(count: int) -> str:
    """Bytes with a decimal unit."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
