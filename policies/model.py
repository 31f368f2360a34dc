"""The policy of a node (`apiVersion: pratique/policy/v1`), as DESIGN shows it: every field known, every value in range.

Sections that a check or the sandbox needs give themselves in its own words (`limits()`), so that a check never has to
know a policy.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from checks.interface import RISKS
from policies.rules import check_expression
from policies.sections.base import Name, Section, Text
from policies.sections.decisions import AdmissionSection, ApprovalSection, FederationSection
from policies.sections.findings import AdvisorySection, LicenseSection, PrivacySection
from policies.sections.running import ImageSection, SandboxSection
from policies.sections.trust import TrustSection

API_VERSION = "pratique/policy/v1"


class Stage(StrEnum):
    """When a rule is asked: before anything of the submission runs, or after the sandbox runs."""

    BEFORE = "before-execution"
    AFTER = "after-execution"


class Outcome(StrEnum):
    """What a rule or a verdict says: nothing against it, people must look, or no."""

    ADMIT = "admit"
    REVIEW = "review"
    REFUSE = "refuse"


def _known_risks(risks: tuple[str, ...]) -> tuple[str, ...]:
    unknown = sorted(set(risks) - RISKS)
    if unknown:
        raise ValueError(f"not risks of the register: {', '.join(unknown)}")
    return risks


class Rule(Section):
    """One demand: `require` (CEL) must be true of the check results, otherwise the verdict is at least `otherwise`.

    Where a check that `require` names is missing or could not decide, it is at least `undecided`.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=80)]
    risks: Annotated[tuple[str, ...], AfterValidator(_known_risks)] = ()
    stage: Stage
    require: Annotated[str, AfterValidator(check_expression)]
    otherwise: Literal[Outcome.REFUSE, Outcome.REVIEW]
    undecided: Literal[Outcome.REFUSE, Outcome.REVIEW] = Outcome.REVIEW
    say: Text


class Policy(Section):
    """What a node demands. Without a rule that is asked before execution it is no policy."""

    api_version: Literal["pratique/policy/v1"] = Field(alias="apiVersion")
    name: Name
    description: str = ""
    trust: TrustSection = TrustSection()
    sandbox: SandboxSection = SandboxSection()
    image: ImageSection = ImageSection()
    advisories: AdvisorySection = Field(default_factory=AdvisorySection)
    licenses: LicenseSection = LicenseSection()
    privacy: PrivacySection = PrivacySection()
    approvals: ApprovalSection = ApprovalSection()
    admissions: AdmissionSection = Field(default_factory=AdmissionSection)
    federation: FederationSection = FederationSection()
    rules: Annotated[tuple[Rule, ...], Field(min_length=1, max_length=500)]

    @model_validator(mode="after")
    def _rules_hold(self) -> Policy:
        ids = [rule.id for rule in self.rules]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"two rules have one id: {', '.join(twice)}")
        if not any(rule.stage is Stage.BEFORE for rule in self.rules):
            raise ValueError("no rule is asked before execution, so anything would be run")
        return self
