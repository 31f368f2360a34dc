"""Synthetic tables: strata balanced over sex, age band and site, missing and rare values, canaries in every row.

The default one has every sort of column that tables of hospitals have: identifiers, categories (ordered, rare, not in
ASCII), whole and decimal numbers, numbers with their unit in the cell, dates, free text, an outcome.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import date
from itertools import product

from sandbox.canaries import CanaryKind, CanaryMint
from sandbox.cohorts.draw import Draw
from sandbox.cohorts.model import CohortFiles, CohortRequest, Column, ColumnType, Role, TableShape

DEFAULT_ROWS = 90
TEXT_EVERY = 5
"""Every so many rows the free text carries a marker (the first row always, for tools that print a table's head)."""

CROSSED = 3
"""So many category columns are crossed in full (each combination equally often); further ones are balanced alone."""

RARE_ROWS = 2
"""Rows in which each rare value stands."""


def _day(year: int, month: int, day: int) -> int:
    return date(year, month, day).toordinal()


DEFAULT_SHAPE = TableShape(
    (
        Column("patient_id", Role.IDENTIFIER, ColumnType.WORD),
        Column("site", Role.CATEGORY, ColumnType.WORD, values=("north", "south", "Orléans")),
        Column("sex", Role.CATEGORY, ColumnType.WORD, values=("F", "M")),
        Column("age_band", Role.CATEGORY, ColumnType.WORD, values=("18-39", "40-64", "65-90")),
        Column("age", Role.FEATURE, ColumnType.INTEGER, low=18, high=90),
        Column("admitted", Role.FEATURE, ColumnType.DATE, low=_day(2018, 1, 1), high=_day(2023, 12, 31), missing=0.03),
        Column(
            "smoking", Role.CATEGORY, ColumnType.WORD, values=("never", "former", "current"), rare=("keine Angabe (ä)",)
        ),
        Column("weight", Role.FEATURE, ColumnType.DECIMAL, low=45.0, high=120.0, decimals=1, unit="kg", missing=0.05),
        Column("stage", Role.CATEGORY, ColumnType.WORD, values=("I", "II", "III", "IV"), missing=0.05),
        Column("lesion_volume_ml", Role.FEATURE, ColumnType.DECIMAL, low=0.2, high=85.0, decimals=2),
        Column("ca125", Role.FEATURE, ColumnType.DECIMAL, low=2.0, high=640.0, decimals=1, missing=0.08),
        Column("psa", Role.FEATURE, ColumnType.DECIMAL, low=0.1, high=40.0, decimals=2, missing=0.08),
        Column("notes", Role.TEXT, ColumnType.WORD),
        Column("outcome", Role.OUTCOME, ColumnType.INTEGER, low=0, high=1, values=("0", "1")),
    )
)

Table = list[list[str]]


def make_tabular(request: CohortRequest) -> CohortFiles:
    """One CSV of `request.size` rows in the shape asked for, or in a default one; its truth: the outcome and strata."""
    shape = request.table_shape or DEFAULT_SHAPE
    files = CohortFiles()
    table = make_table(request, files)
    files.inputs[shape.file_name] = as_csv(shape, table)
    told = [
        index
        for index, column in enumerate(shape.columns)
        if column.role in (Role.IDENTIFIER, Role.CATEGORY, Role.OUTCOME)
    ]
    kept = TableShape(tuple(shape.columns[index] for index in told))
    files.truth[shape.file_name] = (shape.file_name, as_csv(kept, [[row[i] for i in told] for row in table]))
    return files


def make_table(request: CohortRequest, files: CohortFiles) -> Table:
    """The rows as text; the canaries in them are kept in `files`."""
    shape = request.table_shape or DEFAULT_SHAPE
    rows = request.size or DEFAULT_ROWS
    mint = CanaryMint(request.seed)
    strata = _strata(shape.columns, rows, Draw(request.seed, "strata"))
    columns = [
        _cells(column, rows, strata.get(column.name), request.seed, mint, files, shape.file_name)
        for column in shape.columns
    ]
    table = [list(row) for row in zip(*columns, strict=True)]
    if shape is DEFAULT_SHAPE:
        _age_within_band(table, Draw(request.seed, "age"))
    return table


def as_csv(shape: TableShape, table: Table) -> bytes:
    """The table as UTF-8 CSV with a header and `\\n` line ends."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=shape.delimiter, lineterminator="\n")
    writer.writerow([column.name for column in shape.columns])
    writer.writerows(table)
    return text.getvalue().encode("utf-8")


def _strata(columns: Sequence[Column], rows: int, draw: Draw) -> dict[str, list[str]]:
    """Balanced cells of the category and outcome columns."""
    listed = [column for column in columns if column.values and column.role in (Role.CATEGORY, Role.OUTCOME)]
    crossed, alone = listed[:CROSSED], listed[CROSSED:]
    combinations = draw.shuffled(list(product(*(column.values for column in crossed))))
    repeated = draw.shuffled([combinations[row % len(combinations)] for row in range(rows)])
    cells = {column.name: [row[index] for row in repeated] for index, column in enumerate(crossed)}
    for column in alone:
        cells[column.name] = draw.shuffled([column.values[row % len(column.values)] for row in range(rows)])
    return cells


def _cells(
    column: Column,
    rows: int,
    stratum: list[str] | None,
    seed: int,
    mint: CanaryMint,
    files: CohortFiles,
    file_name: str,
) -> list[str]:
    draw = Draw(seed, f"column {column.name}")
    if column.role is Role.IDENTIFIER:
        make = mint.number if column.type is ColumnType.INTEGER else mint.token
        return [files.plant(make(CanaryKind.IDENTIFIER, f"{file_name}#{column.name}:{row + 1}")) for row in range(rows)]
    if column.role is Role.TEXT:
        return [
            _note(draw, files.plant(mint.token(CanaryKind.TEXT, f"{file_name}#{column.name}:{row + 1}")))
            if row % TEXT_EVERY == 0
            else _note(draw, "")
            for row in range(rows)
        ]
    cells = list(stratum) if stratum else [_cell(column, draw) for _ in range(rows)]
    for value in column.rare:
        for _ in range(RARE_ROWS):
            cells[draw.below(rows)] = value
    return ["" if draw.unit() < column.missing else cell for cell in cells]


def _cell(column: Column, draw: Draw) -> str:
    if column.values:
        return draw.one_of(column.values)
    if column.type is ColumnType.WORD:
        return ""
    if column.type is ColumnType.DATE:
        return date.fromordinal(draw.between(int(column.low), int(column.high))).isoformat()
    if column.type is ColumnType.INTEGER:
        number = str(draw.between(int(column.low), int(column.high)))
    else:
        number = f"{draw.bell(column.low, column.high):.{column.decimals}f}"
    return f"{number} {column.unit}" if column.unit else number


def _note(draw: Draw, marker: str) -> str:
    course = draw.one_of(("stable disease", "partial response", "progression", "état inchangé"))
    return f"Follow-up visit; {course}; contact {marker}" if marker else f"Follow-up visit; {course}"


def _age_within_band(table: Table, draw: Draw) -> None:
    names = [column.name for column in DEFAULT_SHAPE.columns]
    band, age = names.index("age_band"), names.index("age")
    for row in table:
        low, high = row[band].split("-")
        row[age] = str(draw.between(int(low), int(high)))
