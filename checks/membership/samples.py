"""The declared members and non-members, read with bounds, and their columns as numbers.

A sample file is a UTF-8 CSV with a header; both files have the same columns. The identifier column names the patient
(several rows may belong to one), the label column holds the binary outcome.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from checks.membership.statistics import Booleans, Floats
from pratique.bounds import MIB
from pratique.errors import CouldNotDecide, InvalidInput

SAMPLE_BYTES = 16 * MIB
MAX_ROWS = 20_000
MAX_COLUMNS = 500
_MAX_LEVELS = 20
_ABSENT = frozenset({"", "na", "n/a", "nan", "null", "none", "?", "inf", "-inf", "+inf"})

Row = tuple[str, ...]


def read_csv(data: bytes, *, where: str, max_rows: int = MAX_ROWS) -> tuple[Row, list[Row]]:
    """Header and rows of a CSV (RFC 4180, UTF-8), every row as long as the header.

    Raises `InvalidInput`: `csv/encoding`, `csv/syntax`, `csv/header`, `csv/ragged`, `csv/too-many-rows`, `csv/empty`.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refuse("encoding", where, "not UTF-8 text") from error
    rows: list[Row] = []
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = tuple(next(reader, []))
        if not header or len(header) > MAX_COLUMNS or len(set(header)) != len(header):
            raise _refuse("header", where, f"the header needs 1 to {MAX_COLUMNS:,} names, each of them once")
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise _refuse("ragged", f"{where}:{reader.line_num}", "a row with more or fewer fields than the header")
            if len(rows) == max_rows:
                raise _refuse("too-many-rows", where, f"more than the {max_rows:,} rows expected here")
            rows.append(tuple(row))
    except csv.Error as error:
        raise _refuse("syntax", where, "not a comma-separated table") from error
    if not rows:
        raise _refuse("empty", where, "the table has no rows")
    return header, rows


def _refuse(rule: str, where: str, message: str) -> InvalidInput:
    fix = "Write a UTF-8 CSV with a header line, one record a line, every line with the same fields."
    return InvalidInput(message, rule=f"csv/{rule}", where=where, next_step=fix)


@dataclass(frozen=True)
class Records:
    """n records, members first. `label` and `member` are (n,), `patient` (n,) numbers patients from 0."""

    header: Row
    rows: tuple[Row, ...]
    identifier: int
    label_column: int
    label: NDArray[np.int64]
    member: Booleans
    patient: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def feature_columns(self) -> tuple[int, ...]:
        """Every column but identifier and label."""
        return tuple(i for i in range(len(self.header)) if i not in (self.identifier, self.label_column))

    @cached_property
    def numbers(self) -> dict[int, Floats]:
        """Columns whose present cells are all but a few numbers, as (n,) floats with NaN where absent."""
        found = {}
        for column in self.feature_columns:
            cells = [row[column] for row in self.rows]
            values = np.array([_number(cell) for cell in cells])
            present = sum(cell.strip().lower() not in _ABSENT for cell in cells)
            if present and np.isfinite(values).sum() >= 0.95 * present:
                found[column] = values
        return found

    @cached_property
    def features(self) -> Floats:
        """Standardised numbers (median where absent), then one-hot levels of the categories: (n, d).

        Text with more than twenty distinct values is left out. Raises `CouldNotDecide` where no column is left.
        """
        columns = [column for values in self.numbers.values() for column in _standardised(values)]
        for index in self.feature_columns:
            cells = np.array([row[index].strip() for row in self.rows])
            levels = np.unique(cells)
            if index not in self.numbers and 1 < len(levels) <= _MAX_LEVELS:
                columns += [(cells == level).astype(np.float64) for level in levels]
        if not columns:
            raise CouldNotDecide(
                "the samples have no numeric or categorical column that reference models could learn from",
                next_step="Hand in the samples with the features that the tool reads.",
            )
        return np.column_stack(columns)

    def by_patient(self, values: Floats) -> tuple[Floats, Floats]:
        """Mean of `values` (n,) over each patient's records: members' patients, non-members' patients."""
        mean = np.bincount(self.patient, weights=values) / np.bincount(self.patient)
        return mean[self.member_patients], mean[~self.member_patients]

    @cached_property
    def member_patients(self) -> Booleans:
        """Whether each patient is a member: (patients,)."""
        is_member = np.zeros(int(self.patient.max()) + 1, dtype=np.bool_)
        is_member[self.patient[self.member]] = True
        return is_member


def _number(cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        return float("nan")
    return value if np.isfinite(value) else float("nan")


def _standardised(values: Floats) -> list[Floats]:
    absent = np.isnan(values)
    filled = np.where(absent, np.median(values[~absent]), values)
    # one mistyped cell must not rule the scale
    low, high = np.quantile(filled, [0.001, 0.999])
    filled = np.clip(filled, low, high)
    scale = float(filled.std())
    columns = [(filled - filled.mean()) / scale] if scale > 0 else []
    return [*columns, absent.astype(np.float64)] if absent.mean() > 0.01 else columns


def read_records(members: bytes, non_members: bytes, *, identifier: str, label: str) -> Records:
    """Both sample files (CSV) as one table.

    Raises `InvalidInput`: what `read_csv` raises, and `samples/columns`, `samples/label`, `samples/identifier`,
    `samples/overlap`.
    """
    header, first = read_csv(members, where="members")
    other, second = read_csv(non_members, where="non_members")
    if sorted(header) != sorted(other):
        raise _bad_samples("columns", "members and non-members do not have the same columns", "Write both alike.")
    absent = [name for name in (identifier, label) if name not in header]
    if absent:
        raise _bad_samples("columns", f"no column called {absent[0]!r}", "Name columns that the sample files have.")
    order = [other.index(name) for name in header]
    rows = (*first, *(tuple(row[i] for i in order) for row in second))
    member = np.arange(len(rows)) < len(first)
    key, outcome = header.index(identifier), header.index(label)
    _check_apart(first, rows[len(first) :], key)
    return Records(header, rows, key, outcome, _labels(rows, outcome, member), member, _patients(rows, key))


def _labels(rows: tuple[Row, ...], column: int, member: Booleans) -> NDArray[np.int64]:
    values = np.array([_number(row[column]) for row in rows])
    if not np.isin(values, (0.0, 1.0)).all():
        raise _bad_samples("label", "an outcome that is neither 0 nor 1", "Write binary outcomes as 0 and 1.")
    if any(len(np.unique(values[side])) < 2 for side in (member, ~member)):
        raise _bad_samples("label", "only one of the two outcomes among members or non-members", "Hand in both.")
    return values.astype(np.int64)


def _patients(rows: tuple[Row, ...], column: int) -> NDArray[np.int64]:
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(row[column], len(numbers)) for row in rows], dtype=np.int64)


def _check_apart(members: list[Row], non_members: tuple[Row, ...], key: int) -> None:
    """No patient and (where records are unique otherwise) no record may be in both lists."""
    ids = {row[key] for row in members}
    if "" in ids or any(row[key] == "" for row in non_members):
        raise _bad_samples("identifier", "a record without a patient identifier", "Give every record its identifier.")
    shared = sum(row[key] in ids for row in non_members)
    if shared:
        raise _bad_samples("overlap", f"{shared} non-member records belong to patients among the members", _APART)
    bare = [tuple(cell for i, cell in enumerate(row) if i != key) for row in (*members, *non_members)]
    known = set(bare[: len(members)])
    same = sum(row in known for row in bare[len(members) :])
    # records of a few coarse categories repeat by nature; then equal rows say nothing
    if same and len(known) == len(members) and len(set(bare[len(members) :])) == len(non_members):
        raise _bad_samples("overlap", f"{same} non-member records equal a member's record", _APART)


_APART = "Take the non-members from patients that the model never learned from."


def _bad_samples(rule: str, message: str, next_step: str) -> InvalidInput:
    return InvalidInput(message, rule=f"samples/{rule}", where="privacy", next_step=next_step)
