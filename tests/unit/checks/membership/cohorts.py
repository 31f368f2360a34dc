"""Small cohorts as the CSV files that a provider would hand in."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from checks.membership import TableRun
from checks.membership.samples import Records, read_records

HEADER = "patient_id,site,age,crp,volume,score,outcome"


def table(generator: np.random.Generator, size: int, prefix: str, *, shift: float = 0.0, noise: float = 1.0) -> bytes:
    """`size` patients; `shift` moves their features, `noise` 0 makes the outcome follow from them."""
    features = generator.normal(shift, 1.0, size=(size, 4))
    odds = features @ np.array([1.0, -0.8, 0.6, 0.0]) - shift
    chance = 1.0 / (1.0 + np.exp(-1.5 * odds)) if noise else (odds > 0).astype(float)
    outcome = (generator.random(size) < chance).astype(int)
    lines = [
        f"{prefix}{i},{'north' if generator.random() < 0.6 else 'south'},"
        + ",".join(f"{value:.4f}" for value in features[i])
        + f",{outcome[i]}"
        for i in range(size)
    ]
    return "\n".join([HEADER, *lines, ""]).encode()


def records_of(seed: int, size: int, *, shift: float = 0.0, noise: float = 1.0) -> Records:
    """`size` members and as many non-members of one cohort; `shift` sets the members apart."""
    generator = np.random.default_rng(seed)
    members = table(generator, size, "m", shift=shift, noise=noise)
    return read_records(members, table(generator, size, "n", noise=noise), identifier="patient_id", label="outcome")


class Model:
    """A stand-in for a submitted tool: reads the audit table, answers for each row by `predict` on its four numbers.

    `spoil` may change the finished file's text, as a faulty tool would.
    """

    def __init__(
        self,
        predict: Callable[[NDArray[np.float64]], NDArray[np.float64]],
        directory: Path,
        *,
        spoil: Callable[[str], str] = str,
    ) -> None:
        self._predict = predict
        self._directory = directory
        self._spoil = spoil
        self.runs = 0

    def answer(self, data: str) -> str:
        """`predictions.csv` for the table in `data`."""
        rows = list(csv.DictReader(io.StringIO(data)))
        numbers = np.array([[float(row[name]) for name in ("age", "crp", "volume", "score")] for row in rows])
        lines = [f"{row['patient_id']},{p!r}" for row, p in zip(rows, self._predict(numbers).tolist(), strict=True)]
        return "\n".join(["patient_id,probability", *lines, ""])

    def run_table(self, input_id: str, table: Path) -> TableRun:
        """As the sandbox would: a fresh output directory each time."""
        assert input_id == "table"
        self.runs += 1
        output = self._directory / f"output{self.runs}"
        output.mkdir()
        (output / "predictions.csv").write_text(self._spoil(self.answer(table.read_text())))
        return TableRun(output)


def learned(records: Records, *, memorise: bool) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """A model trained on the members' four numbers: a memorising forest or a regularised logistic regression."""
    numbers = np.column_stack([records.numbers[column] for column in sorted(records.numbers)])
    chosen = (
        RandomForestClassifier(25, bootstrap=False, random_state=0) if memorise else LogisticRegression(C=0.1)
    ).fit(numbers[records.member], records.label[records.member])
    return lambda asked: np.asarray(chosen.predict_proba(asked)[:, 1], dtype=np.float64)
