"""From attacks and controls to pass, refuse or inconclusive; the rule is fixed before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from checks.membership.attacks import Attack
from checks.membership.controls import Control
from checks.membership.limits import PrivacyLimits
from checks.membership.statistics import Bounded, deciding_size, holm

LOW_FPR = 0.01
REPORT_ONLY_BELOW = 100
"""Patients on the smaller side below which figures are reported and nothing is decided."""
TO_PASS = 300
"""Patients on the smaller side from which a pass is possible."""
LARGEST_UNREPEATABLE = 1e-3
"""Difference between two answers to one record from which answers count as randomised."""


class Outcome(StrEnum):
    """What the probe concludes."""

    PASS = "pass"  # noqa: S105 a verdict, not a password
    REFUSE = "refuse"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Reason:
    """One reason of a decision: a stable identifier and a sentence."""

    rule: str
    message: str


@dataclass(frozen=True)
class Decision:
    """The outcome, why, and how many patients on each side would decide (0 where that is not the matter)."""

    outcome: Outcome
    reasons: tuple[Reason, ...]
    deciding_size: int = 0


def exceeds(attack: Attack, limits: PrivacyLimits) -> tuple[Reason, ...]:
    """Limits that the attack's figures exceed provably (lower bounds at 1 - alpha)."""
    reasons = []
    area = attack.separation.auc.bounds(limits.alpha)
    if area.low > limits.auc_limit:
        message = f"AUC {area.value:.3f}, at least {area.low:.3f}, above the limit {limits.auc_limit:.2f}"
        reasons.append(Reason("auc-above-limit", f"{attack.name} tells members from non-members: {message}"))
    tail = attack.separation.tail.at_fpr(LOW_FPR, limits.alpha)
    if tail is not None and tail.low > limits.tpr_limit:
        message = f"{tail.value:.1%}, at least {tail.low:.1%}, above the limit {limits.tpr_limit:.1%}"
        reasons.append(Reason("tpr-above-limit", f"{attack.name} finds members at 1 % false alarms: {message}"))
    return tuple(reasons)


def significant(attacks: Sequence[Attack], limits: PrivacyLimits) -> tuple[Reason, ...]:
    """Secondary attacks that exceed a limit after Holm's correction over all of them."""
    if not attacks:
        return ()
    tests: dict[tuple[str, str], float] = {}
    for attack in attacks:
        tests[attack.name, "AUC"] = attack.separation.auc.p_above(limits.auc_limit)
        kept = limits.alpha / (4 * len(attacks))
        tests[attack.name, "TPR at 1 % FPR"] = attack.separation.tail.p_above(limits.tpr_limit, LOW_FPR, kept)
    rejected = holm(tests, limits.alpha)
    reasons = []
    for attack in attacks:
        figures = [
            f"{figure} (p at most {max(tests[key], 1e-9):.2g})"
            for key in sorted(rejected)
            if key[0] == attack.name
            for figure in key[1:]
        ]
        if figures:
            message = f"{attack.name} exceeds the limit on {' and '.join(figures)}, corrected after Holm"
            reasons.append(Reason("secondary-attack", message))
    return tuple(reasons)


def decide(
    primary: Attack,
    secondary: Sequence[Attack],
    controls: Sequence[Control],
    limits: PrivacyLimits,
    *,
    unrepeatable: float = 0.0,
) -> Decision:
    """Apply the rule: broken controls make the result invalid, then refuse, then pass, else inconclusive."""
    smaller = min(primary.separation.auc.members, primary.separation.auc.non_members)
    needed = max(TO_PASS, deciding_size(primary.separation.auc, limits.auc_limit, limits.alpha))
    broken = tuple(Reason(f"control-{control.name}", control.say) for control in controls if not control.holds)
    if smaller < REPORT_ONLY_BELOW:
        few = Reason("too-few-samples", f"{smaller} patients on the smaller side; nothing is decided below 100")
        return Decision(Outcome.INCONCLUSIVE, (few, *broken), needed)
    if broken:
        return Decision(Outcome.INCONCLUSIVE, broken)
    leaks = exceeds(primary, limits) + significant(secondary, limits)
    if leaks:
        return Decision(Outcome.REFUSE, leaks)
    doubts = _doubts(primary, secondary, limits, smaller, unrepeatable)
    if doubts:
        return Decision(Outcome.INCONCLUSIVE, doubts, needed)
    return Decision(Outcome.PASS, (Reason("below-limits", "no evidence of leakage above the limits"),))


def _doubts(
    primary: Attack, secondary: Sequence[Attack], limits: PrivacyLimits, smaller: int, unrepeatable: float
) -> tuple[Reason, ...]:
    doubts = []
    area = primary.separation.auc.bounds(limits.alpha)
    tail = primary.separation.tail.at_fpr(LOW_FPR, limits.alpha)
    if smaller < TO_PASS:
        doubts.append(
            Reason("too-few-samples", f"{smaller} patients on the smaller side; {TO_PASS} are needed to pass")
        )
    if area.high >= limits.auc_limit:
        doubts.append(Reason("bound-open", f"the AUC may be as high as {area.high:.3f}"))
    if tail is None or tail.high >= limits.tpr_limit:
        highest = "anything" if tail is None else f"as high as {tail.high:.1%}"
        doubts.append(Reason("bound-open", f"the true-positive rate at 1 % false alarms may be {highest}"))
    for attack in secondary:
        rate: Bounded | None = attack.separation.tail.at_fpr(LOW_FPR, limits.alpha)
        if attack.separation.auc.value > limits.auc_limit or (rate is not None and rate.value > limits.tpr_limit):
            doubts.append(Reason("secondary-open", f"{attack.name} lies above a limit, though not significantly"))
    if unrepeatable > LARGEST_UNREPEATABLE:
        message = f"answers to one record differ by up to {unrepeatable:.3g}: asking often would average the noise out"
        doubts.append(Reason("not-repeatable", message))
    return tuple(doubts)
