"""Reads the shape of a provider's example table, so that a synthetic one fits the tool. Bounded; nothing is trusted."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

from pratique.errors import InvalidInput
from sandbox.cohorts.model import Column, ColumnType, Role, TableShape

MOST_BYTES = 16 << 20
MOST_ROWS = 5_000
MOST_COLUMNS = 5_000
MOST_CELL = 10_000
FEW_VALUES = 10
"""A column of at most so many different values, each seen twice on average, is drawn from exactly these."""

_MISSING = frozenset({"", "na", "nan", "n/a", "null", "none", "?"})
_ISO_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_WHERE = "example table"


def shape_of(data: bytes, columns: Mapping[str, Role], *, file_name: str = "patients.csv") -> TableShape:
    """The shape of the CSV in `data`; `columns` gives the roles that the provider declared.

    Raises `InvalidInput` (`cohort/example-table`) for what is too large, not UTF-8, not rectangular, or lacks a
    declared column.
    """
    text = _text(data)
    delimiter = max(",;\t|", key=lambda mark: (text.split("\n", 1)[0].count(mark), mark == ","))
    header, rows = _table(text, delimiter)
    absent = sorted(set(columns) - set(header))
    if absent:
        raise _refused(f"the declared columns {', '.join(absent)} are not in it")
    cells = list(zip(*rows, strict=True)) or [()] * len(header)
    described = tuple(_column(name, columns.get(name), values) for name, values in zip(header, cells, strict=True))
    return TableShape(described, file_name=Path(file_name).name, delimiter=delimiter)


def _text(data: bytes) -> str:
    if len(data) > MOST_BYTES:
        raise _refused(f"it has more than {MOST_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused("it is not UTF-8", cause=str(error)) from error


def _table(text: str, delimiter: str) -> tuple[list[str], list[list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    try:
        header = next(reader, [])
        for row in reader:
            if row:
                rows.append(row)
            if len(rows) >= MOST_ROWS:
                break
    except csv.Error as error:
        raise _refused("it is not well-formed CSV", cause=str(error)) from error
    if not header or len(header) > MOST_COLUMNS or len(set(header)) != len(header):
        raise _refused("its first line must name its columns, each once")
    if not rows or any(len(row) != len(header) for row in rows):
        raise _refused("it has no rows, or rows of another length than its header")
    if any(len(cell) > MOST_CELL for row in (header, *rows) for cell in row):
        raise _refused(f"it has a cell of more than {MOST_CELL} characters")
    return header, rows


def _column(name: str, role: Role | None, cells: Sequence[str]) -> Column:
    present = [cell for cell in cells if cell.strip().lower() not in _MISSING]
    missing = round(1 - len(present) / len(cells), 4) if cells else 0.0
    numbers = [_number(cell) for cell in present]
    values = tuple(sorted(set(present)))
    few = len(values) <= FEW_VALUES and len(values) * 2 <= len(present)
    if not present:
        return Column(name, role or Role.FEATURE, ColumnType.WORD, missing=1.0)
    days = [_day(cell) for cell in present]
    if role in (None, Role.FEATURE) and all(day is not None for day in days):
        known_days = [day for day in days if day is not None]
        return Column(name, Role.FEATURE, ColumnType.DATE, low=min(known_days), high=max(known_days), missing=missing)
    if any(number is None for number in numbers):
        return Column(name, role or Role.CATEGORY, ColumnType.WORD, values=values[:MOST_ROWS], missing=missing)
    whole = all("." not in cell and "e" not in cell.lower() for cell in present)
    known = [number for number in numbers if number is not None]
    listed = values if few or role in (Role.CATEGORY, Role.OUTCOME) else ()
    return Column(
        name,
        role or Role.FEATURE,
        ColumnType.INTEGER if whole else ColumnType.DECIMAL,
        low=min(known),
        high=max(known),
        decimals=0 if whole else max(_decimals(cell) for cell in present),
        values=listed,
        missing=missing,
    )


def _day(cell: str) -> int | None:
    if not _ISO_DAY.fullmatch(cell.strip()):
        return None
    try:
        return date.fromisoformat(cell.strip()).toordinal()
    except ValueError:
        return None


def _number(cell: str) -> float | None:
    if len(cell) > 40 or not cell.strip().isascii() or "_" in cell:
        return None
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _decimals(cell: str) -> int:
    mantissa, _, exponent = cell.strip().lower().partition("e")
    digits = len(mantissa.partition(".")[2]) - (int(exponent) if exponent else 0)
    return min(max(digits, 1), 17)


def _refused(what: str, *, cause: str = "") -> InvalidInput:
    return InvalidInput(
        f"no cohort can be shaped after it: {what}",
        rule="cohort/example-table",
        where=_WHERE,
        cause=cause,
        next_step="Give a small UTF-8 CSV with a header line as example, and declare its columns by their names in it.",
    )
