"""Claims of differential privacy: the arithmetic, its limits, and what happens without the accountants."""

from __future__ import annotations

import sys

import pytest

import checks.dp_claim
from checks.dp_claim import Recomputed, check_dp_claim, recompute
from checks.interface import CheckResult, Status
from pratique.errors import CouldNotDecide
from pratique.intake.document import DifferentialPrivacyClaim


def claim(
    epsilon: float, sigma: float = 1.0, rate: float = 0.01, steps: int = 1_000, delta: float = 1e-5
) -> CheckResult:
    """The check's answer to one claim."""
    return check_dp_claim(parameters(epsilon, sigma, rate, steps, delta), training_records=10_000)


def parameters(epsilon: float, sigma: float, rate: float, steps: int, delta: float) -> DifferentialPrivacyClaim:
    """A claim."""
    return DifferentialPrivacyClaim(epsilon=epsilon, delta=delta, noise_multiplier=sigma, sample_rate=rate, steps=steps)


def rules(result: CheckResult) -> list[str]:
    """Rule ids of the findings."""
    return [finding.rule_id for finding in result.findings]


def test_no_claim_is_not_applicable() -> None:
    """Nothing claimed, nothing checked."""
    assert check_dp_claim(None).status is Status.NOT_APPLICABLE


def test_without_the_extra_the_answer_is_open_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a pass for want of a library."""
    monkeypatch.setitem(sys.modules, "opacus.accountants", None)
    monkeypatch.setitem(sys.modules, "opacus", None)
    result = claim(8.0)
    assert result.status is Status.INCONCLUSIVE
    assert "pip install 'pratique[privacy]'" in result.findings[0].fix


@pytest.mark.parametrize(
    ("epsilon", "status"), [(1.90, "passed"), (1.838, "passed"), (1.82, "passed"), (1.81, "failed"), (1.618, "failed")]
)
def test_a_claim_is_held_against_the_recomputed_value(
    epsilon: float, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tolerance 0.02 at this size; the Gaussian approximation's 1.618 is refused."""
    monkeypatch.setattr(checks.dp_claim, "recompute", lambda claim: Recomputed(1.838, 1.828))
    result = claim(epsilon)
    assert result.status.value == status
    assert ("dp_claim/epsilon-too-low" in rules(result)) == (status == "failed")
    assert result.measured("epsilon_prv") == 1.838


def test_a_delta_that_gives_a_record_away_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delta must be below one in the number of training records."""
    monkeypatch.setattr(checks.dp_claim, "recompute", lambda claim: Recomputed(1.0, 1.0))
    assert rules(claim(1.0, delta=1e-3)) == ["dp_claim/delta-too-large"]
    assert claim(1.0, delta=1e-3).status is Status.FAILED


def test_a_missing_cross_check_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """PRV alone decides, with a warning."""
    monkeypatch.setattr(checks.dp_claim, "recompute", lambda claim: Recomputed(1.838, None))
    result = claim(1.9)
    assert result.status is Status.PASSED
    assert rules(result) == ["dp_claim/not-cross-checked"]


def test_tolerance_is_relative_for_large_epsilon() -> None:
    """The larger of 0.02 and 1 %."""
    assert Recomputed(1.0, None).tolerance == 0.02
    assert Recomputed(8.0, None).tolerance == pytest.approx(0.08)


# --- with the privacy extra ----------------------------------------------------------------------------------------


@pytest.mark.privacy
@pytest.mark.parametrize(
    ("sigma", "rate", "steps", "delta", "prv", "pld"),
    [(1.0, 0.01, 1_000, 1e-5, 1.838, 1.828), (1.1, 0.01, 1_000, 1e-5, 1.525, 1.515), (2.0, 1.0, 10, 1e-6, 8.33, 8.306)],
)
def test_the_accountants_give_the_published_values(
    sigma: float, rate: float, steps: int, delta: float, prv: float, pld: float
) -> None:
    """PRV by Opacus, PLD by dp-accounting."""
    pytest.importorskip("opacus", reason="needs the privacy extra")
    pytest.importorskip("dp_accounting", reason="needs the privacy extra")
    found = recompute(parameters(8.0, sigma, rate, steps, delta))
    assert found.prv == pytest.approx(prv, abs=0.002)
    assert found.pld == pytest.approx(pld, abs=0.002)


@pytest.mark.privacy
@pytest.mark.parametrize(
    ("what", "sigma", "rate", "steps", "delta"),
    [
        ("hardly any noise", 0.01, 0.5, 10_000, 1e-5),
        ("too much to compute", 1.1, 0.01, 10**8, 1e-5),
        ("a delta that rounding drowns", 1.0, 0.01, 1_000, 1e-300),
    ],
)
def test_what_cannot_be_computed_is_open(what: str, sigma: float, rate: float, steps: int, delta: float) -> None:
    """No answer rather than a wrong one."""
    pytest.importorskip("opacus", reason="needs the privacy extra")
    with pytest.raises(CouldNotDecide) as caught:
        recompute(parameters(1.0, sigma, rate, steps, delta))
    assert caught.value.next_step, what


@pytest.mark.privacy
def test_the_gaussian_approximation_is_refused_by_the_real_accountants() -> None:
    """The claim 1.618 that GDP would give for these parameters."""
    pytest.importorskip("opacus", reason="needs the privacy extra")
    assert claim(1.618).status is Status.FAILED
    assert claim(1.84).status is Status.PASSED
