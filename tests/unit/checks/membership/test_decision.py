"""The rule: pass, refuse or inconclusive, and never a pass for want of evidence."""

from __future__ import annotations

import numpy as np
import pytest

from checks.membership import PrivacyLimits
from checks.membership.attacks import Attack
from checks.membership.controls import Control
from checks.membership.decision import Outcome, decide
from checks.membership.statistics import Bounded, Separation

LIMITS = PrivacyLimits()
GOOD = Control("blind", Bounded(0.5, 0.47, 0.53), holds=True, say="")
BAD = Control("blind", Bounded(0.6, 0.55, 0.65), holds=False, say="members and non-members differ already")


def attack(shift: float, size: int, *, name: str = "rmia", seed: int = 1, outliers: float = 0.0) -> Attack:
    """Normal scores, members moved by `shift`; a share `outliers` of members stands far out."""
    generator = np.random.default_rng(seed)
    members = generator.normal(shift, 1, size)
    members[: int(outliers * size)] += 10
    scores = np.concatenate([members, generator.normal(0, 1, size)])
    return Attack(name, scores, Separation(scores[:size], scores[size:], seed=seed))


@pytest.mark.parametrize(
    ("what", "primary", "outcome", "rule"),
    [
        ("no leak, 1,000 patients", attack(0.0, 1_000), Outcome.PASS, "below-limits"),
        ("no leak, 500 patients", attack(0.0, 500, seed=2), Outcome.PASS, "below-limits"),
        ("no leak, 250 patients", attack(0.0, 250), Outcome.INCONCLUSIVE, "too-few-samples"),
        ("no leak, 90 patients", attack(0.0, 90), Outcome.INCONCLUSIVE, "too-few-samples"),
        ("plain leak, 90 patients", attack(3.0, 90), Outcome.INCONCLUSIVE, "too-few-samples"),
        ("plain leak, 120 patients", attack(1.5, 120), Outcome.REFUSE, "auc-above-limit"),
        ("leak at the limit", attack(0.36, 1_000, seed=3), Outcome.INCONCLUSIVE, "bound-open"),
        ("a few patients given away", attack(0.0, 1_000, outliers=0.12), Outcome.REFUSE, "tpr-above-limit"),
    ],
)
def test_the_primary_attack_decides(what: str, primary: Attack, outcome: Outcome, rule: str) -> None:
    """Bounds, not estimates, are held against the limits."""
    decision = decide(primary, (), (GOOD,), LIMITS)
    assert decision.outcome is outcome, what
    assert rule in {reason.rule for reason in decision.reasons}


def test_a_secondary_attack_refuses_after_correction() -> None:
    """One strong secondary attack is enough; noise in several is not."""
    quiet = [attack(0.0, 1_000, name=f"quiet{i}", seed=10 + i) for i in range(3)]
    loud = attack(1.0, 1_000, name="loud")
    refused = decide(attack(0.0, 1_000), [*quiet, loud], (GOOD,), LIMITS)
    assert refused.outcome is Outcome.REFUSE
    assert [reason.rule for reason in refused.reasons] == ["secondary-attack"]
    assert "loud" in refused.reasons[0].message
    assert decide(attack(0.0, 1_000), quiet, (GOOD,), LIMITS).outcome is Outcome.PASS


def test_a_secondary_attack_above_a_limit_keeps_from_passing() -> None:
    """Above, though not provably: the question stays open."""
    doubtful = attack(0.40, 400, name="doubtful", seed=4)
    assert doubtful.separation.auc.value > LIMITS.auc_limit
    decision = decide(attack(0.0, 1_000), [doubtful], (GOOD,), LIMITS)
    assert decision.outcome is Outcome.INCONCLUSIVE
    assert "secondary-open" in {reason.rule for reason in decision.reasons}


@pytest.mark.parametrize("shift", [0.0, 2.0], ids=["no leak", "a leak"])
def test_a_broken_control_makes_any_result_invalid(shift: float) -> None:
    """Neither a pass nor a refusal stands on an instrument that failed its own test."""
    decision = decide(attack(shift, 1_000), (), (GOOD, BAD), LIMITS)
    assert decision.outcome is Outcome.INCONCLUSIVE
    assert [reason.rule for reason in decision.reasons] == ["control-blind"]


def test_randomised_answers_do_not_pass() -> None:
    """Asked once they hide, asked often they do not."""
    decision = decide(attack(0.0, 1_000), (), (GOOD,), LIMITS, unrepeatable=0.05)
    assert decision.outcome is Outcome.INCONCLUSIVE
    assert decision.reasons[0].rule == "not-repeatable"


def test_an_open_question_says_how_many_patients_would_close_it() -> None:
    """The size follows from the estimate and is never below what a pass needs."""
    assert decide(attack(0.0, 120), (), (GOOD,), LIMITS).deciding_size == 300
    assert decide(attack(0.30, 300, seed=5), (), (GOOD,), LIMITS).deciding_size > 300


def test_small_samples_without_a_leak_are_rarely_called_leaks() -> None:
    """Over 200 samples of 120 patients, hardly any is refused."""
    refused = [
        decide(attack(0.0, 120, seed=100 + i), (), (GOOD,), LIMITS).outcome is Outcome.REFUSE for i in range(200)
    ]
    assert sum(refused) <= 1
