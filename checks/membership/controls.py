"""Controls that every run carries; where one breaks, the run says nothing about the tool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from checks.membership.attacks import (
    PRIMARY,
    Attack,
    Observed,
    closest,
    cross_validated,
    cross_validated_separation,
    simple_attacks,
)
from checks.membership.samples import Records
from checks.membership.statistics import Auc, Bounded, Floats
from checks.membership.surrogates import References, coarse_forest, fit, linear, memorising, predict

_FALSE_ALARM = 0.01
"""Chance that a control breaks by accident, each."""
_RANDOM_MODELS = 12


@dataclass(frozen=True)
class Control:
    """A control's AUC with 99 % bounds, whether it holds, and what it means if not."""

    name: str
    auc: Bounded
    holds: bool
    say: str


def blind(records: Records, seed: int) -> Control:
    """Classifiers on the inputs and outcomes alone must not tell members from non-members.

    A linear and a tree classifier, each at half the false-alarm rate; the better one is reported.
    """
    features = np.column_stack([records.features, records.label])
    separations = []
    for make in (linear, coarse_forest):
        scores = cross_validated(make, features, records, seed)
        separations.append(cross_validated_separation(scores, records, seed))
    bounds = max((separation.auc.bounds(_FALSE_ALARM / 2) for separation in separations), key=lambda b: b.low)
    return Control(
        "blind",
        bounds,
        bounds.low <= 0.5,
        f"members and non-members differ in their inputs already (AUC {bounds.value:.3f} without asking the tool)",
    )


def positive(
    records: Records, families: tuple[References, ...], seed: int, flagged: Callable[[Attack], bool]
) -> Control:
    """A reference that learned the declared members by heart must be `flagged` by the primary attack."""
    model = fit(memorising(seed), records.features[records.member], records.label[records.member])
    primary = _primary_on(predict(model, records.features), records, families, seed)
    return Control(
        "positive",
        primary.separation.auc.bounds(_FALSE_ALARM),
        flagged(primary),
        "a model that knows its training data by heart was not found out: the probe has no power on these samples",
    )


def data_independent(records: Records, families: tuple[References, ...], seed: int) -> Control:
    """Models with random weights know nobody: the primary attack must stay near 0.50 on them.

    The mean over several models is held against the bounds of a single one, so that only a bias of the comparison
    shows, not the accident of one direction.
    """
    generator = np.random.default_rng([seed, 4])
    width = records.features.shape[1]
    areas = []
    for _ in range(_RANDOM_MODELS):
        odds = records.features @ generator.normal(size=width) / np.sqrt(width)
        areas.append(_primary_on(1.0 / (1.0 + np.exp(-odds)), records, families, seed).separation.auc)
    mean = float(np.mean([area.value for area in areas]))
    variance = float(np.mean([area.variance for area in areas]))
    bounds = Auc(mean, variance, areas[0].members, areas[0].non_members).bounds(_FALSE_ALARM / 2)
    return Control(
        "data-independent",
        bounds,
        bounds.low <= 0.5 <= bounds.high,
        f"models that never learned from data seem to leak (AUC {mean:.3f}): the comparison is biased",
    )


def _primary_on(answers: Floats, records: Records, families: tuple[References, ...], seed: int) -> Attack:
    nothing_changed = np.empty((0, len(records)))
    observed = Observed(records, answers, nothing_changed, closest(families, answers, records))
    return next(attack for attack in simple_attacks(observed, seed) if attack.name == PRIMARY)
