"""Membership attacks: from what a tool answered to a score for each record, higher for "was in the training data".

Sources: Attack-P, Ye et al. 2022; LiRA, Carlini et al. 2022; RMIA, Zarifzadeh et al. 2024; the worst case as in SACRO.
Shapes: n records, K references, A changed copies; probabilities are of class 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from checks.membership.samples import Records
from checks.membership.statistics import CROSS_VALIDATED, Floats, Separation
from checks.membership.surrogates import References, coarse_forest, fit, predict

PRIMARY = "rmia"
"""Declared beforehand; the others are secondary and corrected for their number."""

_VOTES = 100
_RMIA_OFFLINE_A = 0.3
_PRIOR_WEIGHT = 6  # nu of the shrunk variance
_FOLDS = 5


def smoothed(probability: Floats) -> Floats:
    """Probabilities off 0 and 1: counted votes (100 p + 1/2) / 101 where the answers are coarse or reach the ends."""
    coarse = np.abs(probability * 1_000 - np.rint(probability * 1_000)).max() < 1e-6
    if coarse or probability.min() <= 0.0 or probability.max() >= 1.0:
        return (_VOTES * probability + 0.5) / (_VOTES + 1)
    return probability


def of_label(probability: Floats, label: NDArray[np.int64]) -> Floats:
    """Probability of each record's own label, smoothed; `probability` is (…, n), `label` (n,)."""
    one = smoothed(probability)
    return np.where(label == 1, one, 1.0 - one)


def log_odds(probability: Floats) -> Floats:
    """ln p - ln(1 - p) of class 1, smoothed."""
    one = smoothed(probability)
    odds: Floats = np.log(one) - np.log1p(-one)
    return odds


def signal(probability: Floats, label: NDArray[np.int64]) -> Floats:
    """The same of each record's own label, the signal of Carlini 2022; `probability` is (…, n), `label` (n,)."""
    odds = log_odds(probability)
    return np.where(label == 1, odds, -odds)


def rmia_offline(target: Floats, out: Floats) -> Floats:
    """Logarithm of RMIA's ratio r(x) = p(x | target) / P(x), P = ((1 + a) P_out + 1 - a) / 2, a = 0.3.

    `target` (n,) and `out` (K, n) are probabilities of the own label. With one ratio a record, the share of population
    records z with r(x) / r(z) >= gamma rises with r(x) alone: r(x) ranks records as RMIA does, with fewer ties.
    """
    marginal = 0.5 * ((1.0 + _RMIA_OFFLINE_A) * out.mean(axis=0) + 1.0 - _RMIA_OFFLINE_A)
    ratio: Floats = np.log(target) - np.log(marginal)
    return ratio


def shrunk_variance(signals: Floats) -> Floats:
    """Variance of each record over K signals (K, n), shrunk towards the pooled within-record variance: (n,)."""
    own = signals.var(axis=0, ddof=1)
    degrees = len(signals) - 1
    shrunk: Floats = (_PRIOR_WEIGHT * own.mean() + degrees * own) / (_PRIOR_WEIGHT + degrees)
    return shrunk


def lira_offline(target: Floats, out: Floats) -> Floats:
    """(t - mean_out) / sigma_out of the log-odds signals `target` (n,), `out` (K, n); K is 2 at least."""
    score: Floats = (target - out.mean(axis=0)) / np.sqrt(np.maximum(shrunk_variance(out), 1e-12))
    return score


@dataclass(frozen=True)
class Observed:
    """What an attacker sees: answers `plain` (n,) and `changed` (A, n), labels and membership in `records`."""

    records: Records
    plain: Floats
    changed: Floats
    references: References

    @cached_property
    def own(self) -> Floats:
        """Probability that the target gives the own label."""
        return of_label(self.plain, self.records.label)

    @cached_property
    def own_out(self) -> Floats:
        """The same by each reference that never saw the record."""
        return of_label(self.references.out, self.records.label)

    @cached_property
    def signal(self) -> Floats:
        """Log odds of the own label by the target."""
        return signal(self.plain, self.records.label)

    @cached_property
    def signal_out(self) -> Floats:
        """The same by each reference that never saw the record."""
        return signal(self.references.out, self.records.label)

    @cached_property
    def lira(self) -> Floats:
        """LiRA offline, (n,)."""
        return lira_offline(self.signal, self.signal_out)

    @cached_property
    def traits(self) -> Floats:
        """What the worst-case classifier learns from: answers, beside references and changed copies: (n, 7 or 5)."""
        columns = [self.signal, log_odds(self.plain), self.records.label.astype(np.float64)]
        columns += [self.signal_out.mean(axis=0), self.lira]
        if len(self.changed):
            moved = self.signal - signal(self.changed, self.records.label)
            columns += [moved.mean(axis=0), np.abs(moved).mean(axis=0)]
        return np.column_stack(columns)


@dataclass(frozen=True)
class Attack:
    """One attack's scores (n,) and how well they separate patients."""

    name: str
    scores: Floats
    separation: Separation


def closest(families: tuple[References, ...], plain: Floats, records: Records) -> References:
    """The family whose judgements go most with the target's answers on the non-members, as an attacker would choose."""
    theirs = log_odds(plain)[~records.member]

    def agreement(family: References) -> float:
        ours = log_odds(family.out).mean(axis=0)[~records.member]
        if ours.std() == 0.0 or theirs.std() == 0.0:
            return 0.0
        return float(np.corrcoef(ours, theirs)[0, 1])

    return max(families, key=agreement)


def simple_attacks(observed: Observed, seed: int) -> tuple[Attack, ...]:
    """RMIA (the primary), Attack-P and LiRA."""
    scores = {
        PRIMARY: rmia_offline(observed.own, observed.own_out),
        "attack_p": observed.signal,
        "lira": observed.lira,
    }
    return tuple(_attack(name, values, observed.records, seed) for name, values in scores.items())


def worst_case(observed: Observed, seed: int) -> Attack:
    """A classifier told who is a member, cross-validated over patients: what could be learned from the outputs at most.

    Its scores are ranks within their fold, so that folds compare.
    """
    scores = cross_validated(coarse_forest, observed.traits, observed.records, seed)
    return Attack("worst_case", scores, cross_validated_separation(scores, observed.records, seed))


def cross_validated(make: Callable[[int], Any], features: Floats, records: Records, seed: int) -> Floats:
    """Ranks within their fold (0 to 1) of membership scores by a classifier that never saw the patient: (n,)."""
    from scipy.stats import rankdata

    generator = np.random.default_rng([seed, 3])
    fold = np.empty(len(records.member_patients), dtype=np.int64)
    for group in (records.member_patients, ~records.member_patients):
        patients = generator.permutation(np.flatnonzero(group))
        fold[patients] = np.arange(len(patients)) % _FOLDS
    fold_of = fold[records.patient]
    scores = np.empty(len(records))
    for left_out in range(_FOLDS):
        inside = fold_of != left_out
        model = fit(make(seed), features[inside], records.member[inside].astype(np.int64))
        scores[~inside] = rankdata(predict(model, features[~inside])) / float((~inside).sum())
    return scores


def cross_validated_separation(scores: Floats, records: Records, seed: int) -> Separation:
    """The separation of `cross_validated` scores, with the variance that they have."""
    return Separation(*records.by_patient(scores), seed=seed, variance_factor=CROSS_VALIDATED)


def _attack(name: str, scores: Floats, records: Records, seed: int) -> Attack:
    return Attack(name, scores, Separation(*records.by_patient(scores), seed=seed))
