"""Figures with bounds that hold: AUC, true-positive rate at a false-positive rate, and Holm's correction.

Scores are one-dimensional float arrays, a higher score says "member". Every bound is one-sided: `low` and `high` each
hold with confidence 1 - alpha. Nothing here reads files, time or global randomness.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class Bounded:
    """An estimate between two one-sided confidence bounds (no unit)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Auc:
    """Area under the ROC curve with DeLong's variance, from `members` and `non_members` independent units."""

    value: float
    variance: float
    members: int
    non_members: int

    def bounds(self, alpha: float) -> Bounded:
        """Normal one-sided bounds, cut to [0, 1]."""
        half = _normal_quantile(1.0 - alpha) * float(np.sqrt(self.variance))
        return Bounded(self.value, max(0.0, self.value - half), min(1.0, self.value + half))

    def p_above(self, limit: float) -> float:
        """One-sided p-value of the null hypothesis that the area is `limit` or less."""
        if self.variance == 0.0:
            return 0.0 if self.value > limit else 1.0
        from scipy.stats import norm

        return float(norm.sf((self.value - limit) / np.sqrt(self.variance)))


def auc(members: Floats, non_members: Floats) -> Auc:
    """AUC as the Mann-Whitney statistic (ties count half), its variance after DeLong 1988 by midranks (Sun 2014).

    Both arrays need two values at least (`ValueError`).
    """
    m, n = len(members), len(non_members)
    if m < 2 or n < 2:
        raise ValueError("an area under the curve needs two members and two non-members")
    from scipy.stats import rankdata

    together = rankdata(np.concatenate([members, non_members]))
    above = (together[:m] - rankdata(members)) / n  # share of non-members below each member
    below = 1.0 - (together[m:] - rankdata(non_members)) / m  # share of members above each non-member
    variance = float(np.var(above, ddof=1) / m + np.var(below, ddof=1) / n)
    return Auc(float(above.mean()), variance, m, n)


def clopper_pearson(successes: int, trials: int, alpha: float) -> Bounded:
    """Exact one-sided binomial bounds, each at confidence 1 - alpha (Clopper and Pearson 1934)."""
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError("successes lie between 0 and a positive number of trials")
    from scipy.stats import beta

    low = 0.0 if successes == 0 else float(beta.ppf(alpha, successes, trials - successes + 1))
    high = 1.0 if successes == trials else float(beta.ppf(1.0 - alpha, successes + 1, trials - successes))
    return Bounded(successes / trials, low, high)


@dataclass(frozen=True)
class TailCounts:
    """How many members score above the k-th highest held-out non-member, for every k.

    The non-members only set the threshold, the members only measure, so given a threshold the count is binomial. Above
    the k-th highest of n non-members the false-positive rate is Beta(k, n - k + 1), whatever the scores' distribution;
    that uncertainty of the threshold is spent out of alpha together with Clopper-Pearson's. Ties are broken at random.
    """

    counts: NDArray[np.int64]  # counts[k - 1], k = 1..n
    members: int

    @property
    def non_members(self) -> int:
        """Number of held-out non-members, n."""
        return len(self.counts)

    def at_fpr(self, fpr: float, alpha: float) -> Bounded | None:
        """True-positive rate at `fpr`; None where n is too small to place a threshold (n + 1 < 1 / fpr)."""
        k = int(np.floor(fpr * (self.non_members + 1) + 1e-9))
        if k == 0:
            return None
        value = int(self.counts[k - 1]) / self.members
        return Bounded(value, min(value, self._low(fpr, alpha)), max(value, self._high(fpr, alpha)))

    def p_above(self, limit: float, fpr: float, threshold_alpha: float) -> float:
        """P-value of "the rate at `fpr` is `limit` or less", `threshold_alpha` of it kept for the threshold."""
        k, spent = self._strict_threshold(fpr, threshold_alpha)
        if k == 0:
            return 1.0
        from scipy.stats import binom

        return min(1.0, spent + float(binom.sf(self.counts[k - 1] - 1, self.members, limit)))

    def _low(self, fpr: float, alpha: float) -> float:
        k, spent = self._strict_threshold(fpr, alpha / 2)
        if k == 0:  # too few non-members for half of alpha: the highest one may still do for nearly all of it
            k, spent = self._strict_threshold(fpr, 0.98 * alpha)
        if k == 0:
            return 0.0
        return clopper_pearson(int(self.counts[k - 1]), self.members, alpha - spent).low

    def _high(self, fpr: float, alpha: float) -> float:
        from scipy.stats import binom

        k = int(binom.isf(alpha / 2, self.non_members, fpr)) + 1  # smallest k with P(Bin(n, fpr) >= k) <= alpha / 2
        if k > self.non_members:
            return 1.0
        spent = float(binom.sf(k - 1, self.non_members, fpr))
        return clopper_pearson(int(self.counts[k - 1]), self.members, alpha - spent).high

    def _strict_threshold(self, fpr: float, alpha: float) -> tuple[int, float]:
        """Largest k whose false-positive rate exceeds `fpr` with a probability below `alpha`, and that probability."""
        from scipy.stats import binom

        k = int(binom.ppf(alpha, self.non_members, fpr))  # P(Bin(n, fpr) < k) < alpha
        return k, float(binom.cdf(k - 1, self.non_members, fpr)) if k else 0.0


def tail_counts(members: Floats, held_out: Floats, generator: np.random.Generator) -> TailCounts:
    """Count members above each of the `held_out` non-members' scores; `generator` breaks ties."""
    scores = np.concatenate([members, held_out])
    order = np.lexsort((generator.random(len(scores)), scores))[::-1]
    is_member = order < len(members)
    members_so_far = np.cumsum(is_member)
    return TailCounts(members_so_far[~is_member].astype(np.int64), len(members))


CROSS_VALIDATED = 2.0
"""Factor on DeLong's variance for scores of a cross-validated classifier told who is a member.

Two records in different folds each bear on the other's score, so without a leak every pair counts twice; DeLong takes
scores for independent. Simulated at n = 150 and 600: 1.4 to 1.9, where 1 would call four samples in a hundred unequal
instead of one.
"""


@dataclass(frozen=True)
class Separation:
    """How well one score tells members from non-members."""

    members: Floats
    non_members: Floats
    seed: int
    variance_factor: float = 1.0

    @cached_property
    def auc(self) -> Auc:
        """Area under the curve of these scores."""
        found = auc(self.members, self.non_members)
        return replace(found, variance=found.variance * self.variance_factor)

    @cached_property
    def tail(self) -> TailCounts:
        """Counts for rates at low false-positive rates."""
        return tail_counts(self.members, self.non_members, np.random.default_rng(self.seed))

    def roc(self, points: int = 200) -> tuple[tuple[float, float], ...]:
        """At most `points` + 2 points (false-positive rate, true-positive rate) from (0, 0) to (1, 1), for drawing."""
        scores = np.concatenate([self.members, self.non_members])
        values, inverse = np.unique(-scores, return_inverse=True)
        m = len(self.members)
        tpr = np.cumsum(np.bincount(inverse[:m], minlength=len(values))) / m
        fpr = np.cumsum(np.bincount(inverse[m:], minlength=len(values))) / len(self.non_members)
        keep = np.unique(np.linspace(0, len(values) - 1, min(points, len(values))).round().astype(int))
        return ((0.0, 0.0), *((float(x), float(y)) for x, y in zip(fpr[keep], tpr[keep], strict=True)))


def holm(p_values: Mapping[Any, float], alpha: float) -> frozenset[Any]:
    """Keys whose null hypotheses Holm's step-down procedure (1979) rejects at family-wise level `alpha`."""
    rejected = set()
    ordered = sorted(p_values.items(), key=lambda item: item[1])
    for step, (key, p_value) in enumerate(ordered):
        if p_value > alpha / (len(ordered) - step):
            break
        rejected.add(key)
    return frozenset(rejected)


def deciding_size(estimate: Auc, limit: float, alpha: float) -> int:
    """Members (and as many non-members) from which an unchanged AUC would lie provably on its side of `limit`.

    Capped at one million; for an estimate on the limit no size would do.
    """
    gap = abs(estimate.value - limit)
    if gap == 0.0:
        return 1_000_000
    smaller = min(estimate.members, estimate.non_members)
    needed = smaller * estimate.variance * (_normal_quantile(1.0 - alpha) / gap) ** 2
    return min(1_000_000, int(np.ceil(needed)))


def _normal_quantile(probability: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(probability))
