"""Attack scores against the formulas written out record by record."""

from __future__ import annotations

import numpy as np
import pytest

from checks.membership.attacks import lira_offline, of_label, rmia_offline, shrunk_variance, signal, smoothed
from checks.membership.statistics import auc

GENERATOR = np.random.default_rng(1)
TARGET = GENERATOR.uniform(0.05, 0.95, 40)
OUT = GENERATOR.uniform(0.05, 0.95, (8, 40))


def test_rmia_is_the_ratio_to_the_offline_marginal() -> None:
    """p(x | target) / ((1 + a) P_out + 1 - a) * 2 with a = 0.3."""
    for i in range(40):
        marginal = 0.5 * (1.3 * np.mean([OUT[k, i] for k in range(8)]) + 0.7)
        assert rmia_offline(TARGET, OUT)[i] == pytest.approx(np.log(TARGET[i] / marginal))


def test_the_ratio_ranks_as_the_share_of_beaten_population_records_does() -> None:
    """RMIA's score with gamma = 1 over a population gives the same area under the curve."""
    ratio = np.exp(rmia_offline(TARGET, OUT))
    share = np.array([np.mean(x / ratio >= 1.0) for x in ratio])
    assert auc(share[:20], share[20:]).value == pytest.approx(auc(ratio[:20], ratio[20:]).value)


def test_lira_shrinks_each_variance_towards_the_pooled_one() -> None:
    """nu = 6 degrees of the pooled within-record variance, K - 1 of the record's own."""
    own = np.array([np.var(OUT[:, i], ddof=1) for i in range(40)])
    expected = (6 * own.mean() + 7 * own) / 13
    assert shrunk_variance(OUT) == pytest.approx(expected)
    assert lira_offline(TARGET, OUT) == pytest.approx((TARGET - OUT.mean(axis=0)) / np.sqrt(expected))


def test_lira_survives_references_that_agree() -> None:
    """No spread at all gives large scores, not infinite ones."""
    assert np.isfinite(lira_offline(TARGET, np.full((8, 40), 0.5))).all()


def test_votes_are_smoothed_and_fine_probabilities_are_not() -> None:
    """(100 p + 1/2) / 101 for counted votes or answers at the ends."""
    assert smoothed(np.array([0.0, 0.25, 1.0])) == pytest.approx([0.5 / 101, 25.5 / 101, 100.5 / 101])
    fine = np.array([0.123456, 0.7654321])
    assert smoothed(fine).tolist() == fine.tolist()


def test_signals_of_certain_answers_stay_finite() -> None:
    """Probabilities that round to 0 or 1 give large log odds of the right sign."""
    certain = np.array([1e-300, 1 - 1e-16, 0.5000001])
    found = signal(certain, np.array([1, 1, 0]))
    assert np.isfinite(found).all()
    assert found[0] < -600
    assert found[1] > 30
    assert of_label(certain, np.array([0, 0, 1])).min() > 0
