"""What both runners share: the gates between the stages, and how answers become a report."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, Protocol

from checks.interface import CheckResult
from flows.report import ImageFacts, LedgerPosition, PolicyFacts, Report, ToolFacts
from flows.steps import AFTER, left_out
from flows.weaknesses import not_to_be_run
from policies.model import Outcome, Stage
from policies.risks import coverage
from policies.verdict import Verdict, decide

if TYPE_CHECKING:
    from flows.case import Case

REFUSED_BEFORE = "not run: refused before execution"
"""How the checks that gate 1 leaves out say so."""


class Progress(Protocol):
    """Told what happens; the terminal shows it."""

    def say(self, text: str) -> None:
        """One line about what happens now."""

    def started(self, name: str) -> None:
        """A check begins."""

    def finished(self, result: CheckResult, *, cached: bool = False) -> None:
        """A check ended."""


class Inspection:
    """The answers of one inspection as they come in, and the verdicts on them."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.results: dict[str, CheckResult] = {}
        self.cached: list[str] = []
        self._begun = monotonic()

    def add(self, result: CheckResult, *, cached: bool = False) -> None:
        """Take in one answer."""
        self.results[result.check] = result
        if cached:
            self.cached.append(result.check)

    def facts(self) -> dict[str, Any]:
        """What rules may refer to beside the checks."""
        case = self.case
        document = case.submission.document
        return {
            "tool": {"name": document.tool.name, "version": document.tool.version},
            "provider": {"organisation": document.provider.organisation},
            "image": {"digest": case.image.manifest_digest, "digest_origin": case.image.digest_origin.value},
        }

    def gate(self) -> Verdict:
        """What the policy says of the static checks: unless it refuses, the tool may be run in the sandbox."""
        return decide(self.case.node.policy.policy, self.results, facts=self.facts(), stages=[Stage.BEFORE])

    def closed(self, *, gated: bool = True) -> bool:
        """Whether gate 1, the policy's sandbox section or the node keeps the tool from being run; its checks say so.

        Without `gated` gate 1 is not asked: a provider runs their own tool on their own machine.
        """
        verdict = self.gate()
        if not gated or verdict.outcome is not Outcome.REFUSE:
            why, fix = not_to_be_run(self.case)
            if why:
                self.leave_out(why, fix)
            return bool(why)
        for step in AFTER:
            why = f"{REFUSED_BEFORE} by the rule {verdict.decided_by}"
            self.add(left_out(step, why, "Mend what that rule names and submit again."))
        return True

    def leave_out(self, why: str, fix: str) -> None:
        """Answer every check that was not asked as *inconclusive*, with the reason."""
        for step in AFTER:
            if step.name not in self.results:
                self.add(left_out(step, why, fix))

    def verdict(self) -> Verdict:
        """What the policy says of everything."""
        return decide(self.case.node.policy.policy, self.results, facts=self.facts())

    def report(self, kind: Literal["onboard", "precheck"], *, ledger: LedgerPosition | None = None) -> Report:
        """The report as it stands."""
        case, results = self.case, self.results
        document, policy = case.submission.document, case.node.policy
        return Report(
            kind=kind,
            run_id=case.run_id,
            finished=case.node.clock(),
            tool=ToolFacts(
                name=document.tool.name,
                version=document.tool.version,
                organisation=document.provider.organisation,
                submitter=document.provider.submitter,
                label=case.submission.manifest.label,
                profile=case.submission.profile,
            ),
            submission_digest=case.submission.digest,
            image=ImageFacts.of(case.image),
            policy=PolicyFacts(name=policy.policy.name, digest=policy.digest),
            verdict=self.verdict(),
            checks=_in_order(results),
            cached=tuple(self.cached),
            risks=coverage(results),
            ledger=ledger,
            seconds=monotonic() - self._begun,
            tool_seconds=case.tool_seconds,
        )


def _in_order(results: Mapping[str, CheckResult]) -> dict[str, CheckResult]:
    from flows.steps import STEPS

    return {step.name: results[step.name] for step in STEPS if step.name in results}
