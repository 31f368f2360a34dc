"""The figures against independent formulas, known values and simulated coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from checks.membership.statistics import Separation, auc, clopper_pearson, deciding_size, holm, tail_counts

SCORES = st.lists(st.integers(0, 6), min_size=2, max_size=12)


@given(SCORES, SCORES)
@settings(max_examples=60, deadline=None)
def test_auc_and_its_variance_equal_the_pairwise_definitions(members: list[int], non_members: list[int]) -> None:
    """DeLong's structural components, written out as sums over pairs."""
    x, y = np.array(members, dtype=float), np.array(non_members, dtype=float)
    wins = (x[:, None] > y[None, :]) + 0.5 * (x[:, None] == y[None, :])
    expected = wins.mean(axis=1).var(ddof=1) / len(x) + wins.mean(axis=0).var(ddof=1) / len(y)
    found = auc(x, y)
    assert found.value == pytest.approx(wins.mean())
    assert found.variance == pytest.approx(expected, abs=1e-12)


def test_auc_bounds_cover_as_often_as_they_say() -> None:
    """Each one-sided 95 % bound misses the true area in about 5 % of samples."""
    generator = np.random.default_rng(5)
    truth = float(norm.cdf(0.4 / np.sqrt(2)))
    bounds = [auc(generator.normal(0.4, 1, 150), generator.normal(0, 1, 150)).bounds(0.05) for _ in range(400)]
    assert 0.02 <= np.mean([b.low > truth for b in bounds]) <= 0.09
    assert 0.02 <= np.mean([b.high < truth for b in bounds]) <= 0.09


@pytest.mark.parametrize(
    ("successes", "trials", "alpha", "low", "high"),
    [
        (0, 10, 0.05, 0.0, 1 - 0.05**0.1),
        (10, 10, 0.05, 0.05**0.1, 1.0),
        (5, 10, 0.025, 0.187086, 0.812914),
        (1, 100, 0.025, 0.000253, 0.054459),
    ],
)
def test_clopper_pearson_gives_published_values(
    successes: int, trials: int, alpha: float, low: float, high: float
) -> None:
    """Values of the exact interval as tables print them."""
    bounds = clopper_pearson(successes, trials, alpha)
    assert (bounds.low, bounds.high) == pytest.approx((low, high), abs=1e-6)


def test_tail_bounds_cover_although_the_threshold_is_estimated() -> None:
    """At a true rate of exactly 5 % at 1 % false positives each bound errs in at most 5 % of samples."""
    generator = np.random.default_rng(6)
    shift = float(norm.isf(0.01) - norm.isf(0.05))
    bounds = []
    for _ in range(300):
        counts = tail_counts(generator.normal(shift, 1, 500), generator.normal(0, 1, 500), generator)
        bounded = counts.at_fpr(0.01, 0.05)
        assert bounded is not None
        bounds.append(bounded)
    assert np.mean([b.low > 0.05 for b in bounds]) <= 0.07
    assert np.mean([b.high < 0.05 for b in bounds]) <= 0.07
    assert 0.03 <= np.mean([b.value for b in bounds]) <= 0.07


def test_tied_scores_are_no_leak() -> None:
    """A tool that answers everybody alike finds 1 % of members at 1 % false positives, not all or none."""
    separation = Separation(np.zeros(5_000), np.zeros(5_000), seed=1)
    rate = separation.tail.at_fpr(0.01, 0.05)
    assert rate is not None
    assert rate.value == pytest.approx(0.01, abs=0.006)
    assert separation.auc.bounds(0.05).high == 0.5


def test_few_non_members_place_no_threshold() -> None:
    """Below 99 non-members there is no rate at 1 % false positives to speak of."""
    scores = np.arange(98, dtype=float)
    assert tail_counts(scores, scores, np.random.default_rng(0)).at_fpr(0.01, 0.05) is None
    assert tail_counts(scores, scores, np.random.default_rng(0)).p_above(0.05, 0.01, 0.01) == 1.0


def test_naive_thresholds_would_cry_wolf_where_the_bounds_do_not() -> None:
    """At n = 100 without a leak, estimates pass 5 % now and then; lower bounds never do."""
    generator = np.random.default_rng(7)
    found = [
        tail_counts(generator.normal(size=100), generator.normal(size=100), generator).at_fpr(0.01, 0.05)
        for _ in range(200)
    ]
    assert any(b is not None and b.value > 0.05 for b in found)
    assert not any(b is not None and b.low > 0.05 for b in found)


def test_roc_runs_from_corner_to_corner_and_encloses_the_auc() -> None:
    """The drawn curve is monotone and its area is the area reported, ties included."""
    generator = np.random.default_rng(8)
    separation = Separation(generator.normal(0.5, 1, 300).round(1), generator.normal(0, 1, 400).round(1), seed=0)
    points = np.array(separation.roc())
    assert points[0].tolist() == [0, 0]
    assert points[-1].tolist() == [1, 1]
    assert (np.diff(points, axis=0) >= 0).all()
    assert np.trapezoid(points[:, 1], points[:, 0]) == pytest.approx(separation.auc.value, abs=1e-9)


def test_holm_rejects_step_by_step() -> None:
    """The textbook example: two of four hypotheses fall at 5 %."""
    p_values = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}
    assert holm(p_values, 0.05) == {"a", "d"}
    assert holm({}, 0.05) == frozenset()


def test_the_deciding_size_decides() -> None:
    """With the size asked for, an unchanged estimate lies below the limit with its upper bound just so."""
    generator = np.random.default_rng(9)
    estimate = auc(generator.normal(0.2, 1, 120), generator.normal(0, 1, 120))
    needed = deciding_size(estimate, 0.60, 0.05)
    grown = estimate.variance * 120 / needed
    assert estimate.value + 1.645 * np.sqrt(grown) == pytest.approx(0.60, abs=0.002)
