"""What a policy says of check results. Pure: the same policy, results and facts give the same verdict for ever."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from checks.interface import CheckResult
from policies.model import Outcome, Policy, Rule, Stage
from policies.rules import Scalar, evaluate

ALL_STAGES = frozenset(Stage)
_SEVERITY = {Outcome.ADMIT: 0, Outcome.REVIEW: 1, Outcome.REFUSE: 2}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RuleOutcome(_Frozen):
    """What one rule said: its demand, the values it rested on, and why it was not satisfied."""

    id: str
    stage: Stage
    satisfied: bool
    outcome: Outcome
    undecided: bool
    say: str
    require: str
    why: str = ""
    inputs: dict[str, Scalar]
    risks: tuple[str, ...] = ()


class Verdict(_Frozen):
    """What the policy says: the worst outcome of its rules, and the rule that decided it (None when none speaks)."""

    outcome: Outcome
    policy: str
    stages: tuple[Stage, ...]
    rules: tuple[RuleOutcome, ...]
    decided_by: str | None = None
    why: str

    @property
    def unsatisfied(self) -> tuple[RuleOutcome, ...]:
        """The rules that speak against, worst first."""
        against = [rule for rule in self.rules if not rule.satisfied]
        return tuple(sorted(against, key=_gravity))


def decide(
    policy: Policy,
    results: Mapping[str, CheckResult],
    *,
    facts: Mapping[str, Any],
    stages: Collection[Stage | str] = ALL_STAGES,
) -> Verdict:
    """The verdict of the rules of `policy` at `stages` over `results` (by check name) and `facts`.

    Fails closed: a rule is satisfied only when every check it names was answered and its expression is `true`. A rule
    that cannot be answered has its `undecided` outcome, or the stricter of both when one of its checks failed or its
    expression broke. Where no rule is asked at all, the verdict is *refuse*.
    """
    asked = [stage for stage in Stage if stage in {Stage(stage) for stage in stages}]
    rules = tuple(_ask(rule, results, facts) for rule in policy.rules if rule.stage in asked)
    against = sorted((rule for rule in rules if not rule.satisfied), key=_gravity)
    if not rules:
        outcome, why = Outcome.REFUSE, "The policy has no rule for this stage; what nobody judges is refused."
    elif not against:
        outcome, why = Outcome.ADMIT, f"All {len(rules)} rules are satisfied."
    else:
        outcome, why = against[0].outcome, _reason(against[0])
    return Verdict(
        outcome=outcome,
        policy=policy.name,
        stages=tuple(asked),
        rules=rules,
        decided_by=against[0].id if against else None,
        why=why,
    )


def _ask(rule: Rule, results: Mapping[str, CheckResult], facts: Mapping[str, Any]) -> RuleOutcome:
    answer = evaluate(rule.require, results, facts)
    return RuleOutcome(
        id=rule.id,
        stage=rule.stage,
        satisfied=answer.satisfied,
        outcome=_outcome(rule, satisfied=answer.satisfied, undecided=answer.undecided, strict=answer.strict),
        undecided=answer.undecided,
        say=rule.say,
        require=rule.require,
        why=answer.why,
        inputs=answer.inputs,
        risks=rule.risks,
    )


def _outcome(rule: Rule, *, satisfied: bool, undecided: bool, strict: bool) -> Outcome:
    if satisfied:
        return Outcome.ADMIT
    if not undecided:
        return rule.otherwise
    candidates = (rule.otherwise, rule.undecided) if strict else (rule.undecided,)
    return max(candidates, key=_SEVERITY.__getitem__)


def _gravity(rule: RuleOutcome) -> tuple[int, bool]:
    """Sorting key: the worst outcome first, and within it what is known before what could not be decided."""
    return -_SEVERITY[rule.outcome], rule.undecided


def _reason(rule: RuleOutcome) -> str:
    return rule.why if rule.undecided else rule.say
