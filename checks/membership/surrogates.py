"""Reference models that an attacker can train: on declared non-members, with scikit-learn, in one thread.

For each of several random halvings of the non-members two models are trained, one on each half. A non-member is judged
by the model of the half it is not in, a member by one of the two at random: so every record has the same number of
judgements by models that never saw it, and without a leak members and non-members are treated alike.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from checks.membership.samples import Records
from checks.membership.statistics import Booleans, Floats
from pratique.errors import CouldNotDecide

HALVINGS = 8
_LARGEST_TRAINING = 2_000


@dataclass(frozen=True)
class References:
    """Probability of class 1 by models that never saw the record: `out` is (HALVINGS, n)."""

    family: str
    out: Floats


@contextmanager
def single_thread() -> Iterator[None]:
    """One thread for BLAS and OpenMP, so that results do not depend on the machine's cores; no convergence chatter."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def linear(seed: int) -> Any:
    """A mildly regularised logistic regression."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1.0, max_iter=300, random_state=seed)


def forest(seed: int) -> Any:
    """A random forest that is neither shallow nor memorising."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(30, min_samples_leaf=3, random_state=seed)


def coarse_forest(seed: int) -> Any:
    """A forest of large leaves, for telling two groups apart."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(30, min_samples_leaf=20, random_state=seed)


def memorising(seed: int) -> Any:
    """A forest that knows every training record by heart, for the positive control."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(25, bootstrap=False, random_state=seed)


FAMILIES: dict[str, Callable[[int], Any]] = {"linear": linear, "forest": forest}


def train_references(records: Records, seed: int) -> tuple[References, ...]:
    """Cross-fitted references of every family; raises `CouldNotDecide` where a half has only one outcome."""
    halves = [_halving(records, np.random.default_rng([seed, 2, i])) for i in range(HALVINGS)]
    return tuple(
        References(name, np.stack([_judge(records, make, half, seed + i) for i, half in enumerate(halves)]))
        for name, make in FAMILIES.items()
    )


def _halving(records: Records, generator: np.random.Generator) -> Booleans:
    """A coin for each patient, heads for half of the non-members and half of the members: (n,) by record."""
    side = np.zeros(len(records.member_patients), dtype=np.bool_)
    for group in (records.member_patients, ~records.member_patients):
        patients = generator.permutation(np.flatnonzero(group))
        side[patients[: len(patients) // 2]] = True
    return side[records.patient]


def _judge(records: Records, make: Callable[[int], Any], side: Booleans, seed: int) -> Floats:
    judged = np.empty(len(records))
    for half in (True, False):
        learned_from = ~records.member & (side == half)
        judged[side != half] = predict(
            fit(make(seed), records.features[learned_from], records.label[learned_from]), records.features[side != half]
        )
    return judged


def fit(model: Any, features: Floats, labels: Any) -> Any:
    """`model` fitted on binary `labels` (of a long table, on the first records by a fixed shuffle).

    Raises `CouldNotDecide` where there is only one label.
    """
    if len(labels) > _LARGEST_TRAINING:
        chosen = np.random.default_rng(len(labels)).choice(len(labels), _LARGEST_TRAINING, replace=False)
        features, labels = features[chosen], labels[chosen]
    if len(np.unique(labels)) < 2:
        raise CouldNotDecide(
            "too few records of one outcome to train reference models",
            next_step="Hand in more samples of the rarer outcome.",
        )
    return model.fit(features, labels)


def predict(model: Any, features: Floats) -> Floats:
    """Probability of class 1, (n,)."""
    return np.asarray(model.predict_proba(features)[:, 1], dtype=np.float64)
