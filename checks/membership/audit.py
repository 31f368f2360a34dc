"""The one table that the tool is asked about, and its answers.

Members, non-members, slightly changed copies (augmentations) and a few exact duplicates are mixed under opaque
identifiers, without the label, so that neither order nor identifiers tell who was a member.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from checks.membership.samples import Records, read_csv
from checks.membership.statistics import Floats
from pratique.bounds import read_bounded
from pratique.errors import InvalidInput

AUGMENTATIONS = 2
DUPLICATES = 20
_NOISE = 0.05  # standard deviations of a column; small enough that a smooth model hardly moves
_BYTES_PER_ANSWER = 1_024


@dataclass(frozen=True)
class AuditTable:
    """q queries: their opaque identifiers, the record behind each, and its kind.

    `kind` is 0 for the record as it is, 1 to `AUGMENTATIONS` for changed copies, -1 for duplicates; all are (q,).
    """

    data: bytes
    identifiers: tuple[str, ...]
    record: NDArray[np.int64]
    kind: NDArray[np.int64]


@dataclass(frozen=True)
class Answers:
    """Probabilities of class 1 for n records: `plain` (n,), `changed` (A, n), and of duplicates."""

    plain: Floats
    changed: Floats
    repeated: Floats
    repeated_record: NDArray[np.int64]

    @property
    def unrepeatable(self) -> float:
        """Largest difference between the answers to one record asked twice."""
        if not len(self.repeated):
            return 0.0
        return float(np.abs(self.repeated - self.plain[self.repeated_record]).max())


def build_audit(records: Records, seed: int) -> AuditTable:
    """The audit table of `records`, the same bytes for the same seed."""
    generator = np.random.default_rng([seed, 1])
    n = len(records)
    twice = generator.choice(n, size=min(DUPLICATES, n), replace=False)
    record = np.concatenate([np.tile(np.arange(n), 1 + AUGMENTATIONS), twice])
    kind = np.concatenate([np.repeat(np.arange(1 + AUGMENTATIONS), n), np.full(len(twice), -1)])
    order = generator.permutation(len(record))
    record, kind = record[order], kind[order]
    identifiers = _opaque_identifiers(len(record), generator)
    changed = [_changed_cells(records, generator) for _ in range(AUGMENTATIONS)]

    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    columns = [i for i in range(len(records.header)) if i != records.label_column]
    writer.writerow([records.header[i] for i in columns])
    for name, index, copy in zip(identifiers, record, kind, strict=True):
        cells = dict(enumerate(records.rows[index])) | {records.identifier: name}
        if copy > 0:
            cells |= {column: values[index] for column, values in changed[copy - 1].items() if cells[column].strip()}
        writer.writerow([cells[i] for i in columns])
    return AuditTable(stream.getvalue().encode(), identifiers, record, kind)


def _opaque_identifiers(count: int, generator: np.random.Generator) -> tuple[str, ...]:
    numbers: dict[int, None] = {}
    while len(numbers) < count:
        numbers.update(dict.fromkeys(generator.integers(0, 2**48, size=count - len(numbers)).tolist()))
    return tuple(f"q{number:012x}" for number in numbers)


def _changed_cells(records: Records, generator: np.random.Generator) -> dict[int, list[str]]:
    """Numeric columns with a little noise, each written with as many decimals as the column has."""
    changed = {}
    for column, values in records.numbers.items():
        decimals = max(len(row[column].partition(".")[2]) for row in records.rows)
        spread = float(np.nanstd(values))
        moved = values + generator.normal(scale=_NOISE * spread, size=len(values)) if spread > 0 else values
        changed[column] = [
            row[column] if np.isnan(value) else f"{value:.{min(decimals, 9)}f}"
            for row, value in zip(records.rows, moved, strict=True)
        ]
    return changed


def read_answers(path: Path, table: AuditTable, *, identifier: str, probability: str, where: str) -> Answers:
    """The tool's answers, one for each query of `table`, in any order.

    Raises `InvalidInput`: what `read_bounded` and `read_csv` raise, and `predictions/columns`,
    `predictions/unknown-identifier`, `predictions/duplicate-identifier`,
    `predictions/missing-rows`, `predictions/not-a-probability`.
    """
    queries = len(table.identifiers)
    data = read_bounded(path, _BYTES_PER_ANSWER * (queries + 64))
    header, rows = read_csv(data, where=where, max_rows=queries)
    if identifier not in header or probability not in header:
        raise _bad_answers("columns", where, f"no columns {identifier!r} and {probability!r}")
    key, value = header.index(identifier), header.index(probability)
    place = {name: i for i, name in enumerate(table.identifiers)}
    answers = np.full(queries, np.nan)
    for row in rows:
        query = place.get(row[key])
        if query is None:
            raise _bad_answers("unknown-identifier", where, "an answer to a record that was not asked about")
        if not np.isnan(answers[query]):
            raise _bad_answers("duplicate-identifier", where, "two answers to one record")
        answers[query] = _probability(row[value], where)
    missing = int(np.isnan(answers).sum())
    if missing:
        raise _bad_answers("missing-rows", where, f"no answer to {missing:,} of {queries:,} records")
    return _sorted_out(answers, table)


def _sorted_out(answers: Floats, table: AuditTable) -> Answers:
    n = int(table.record.max()) + 1
    by_kind = np.empty((1 + AUGMENTATIONS, n))
    for kind in range(1 + AUGMENTATIONS):
        chosen = table.kind == kind
        by_kind[kind, table.record[chosen]] = answers[chosen]
    twice = table.kind == -1
    return Answers(by_kind[0], by_kind[1:], answers[twice], table.record[twice])


def _probability(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0.0 <= value <= 1.0:  # also false for NaN
        raise _bad_answers("not-a-probability", where, "a value that is not a number from 0 to 1")
    return float(f"{value:.9g}")  # as it is kept in the evidence, so that figures follow from the record exactly


def _bad_answers(rule: str, where: str, message: str) -> InvalidInput:
    fix = "Write one row for each row of the input, with its identifier as given and the probability of class 1."
    return InvalidInput(message, rule=f"predictions/{rule}", where=where, next_step=fix)
