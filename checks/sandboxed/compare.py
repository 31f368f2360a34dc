"""Compares two outputs: byte for byte first, then by content within a tolerance.

Two numbers a and b are equal within t when |a - b| <= t * max(1, |a|, |b|): absolute for small numbers, relative for
large ones. NaN equals NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from checks.sandboxed.formats import TABLES, VOLUMES, Voxels, read_json, read_table, read_volume
from pratique.digests import sha256_file
from pratique.errors import InvalidInput

_DEEPEST = 64


class Likeness(StrEnum):
    """How alike two files are; `SAME_CONTENT` is other bytes with the same values (a time stamp in a gzip header)."""

    IDENTICAL = "identical"
    SAME_CONTENT = "same content"
    WITHIN_TOLERANCE = "within tolerance"
    DIFFERENT = "different"


@dataclass(frozen=True)
class Difference:
    """How two files compare: the largest difference as measured above (infinite where no number says it), and where."""

    likeness: Likeness
    largest: float = 0.0
    where: str = ""


class _Unlike(Exception):
    """The two contents cannot be compared number by number: another structure, or another text."""

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self.where = where


def compare_files(one: Path, other: Path, tolerance: float) -> Difference:
    """Compare two regular files by digest, then as what their name says (tables, JSON, NIfTI)."""
    if sha256_file(one) == sha256_file(other):
        return Difference(Likeness.IDENTICAL)
    try:
        largest, where = _largest_difference(one, other)
    except InvalidInput as error:
        return Difference(Likeness.DIFFERENT, math.inf, f"not comparable: {error}")
    except _Unlike as unlike:
        return Difference(Likeness.DIFFERENT, math.inf, unlike.where)
    if largest == 0.0:
        return Difference(Likeness.SAME_CONTENT)
    return Difference(Likeness.WITHIN_TOLERANCE if largest <= tolerance else Likeness.DIFFERENT, largest, where)


def compare_trees(one: Path, other: Path, tolerance: float) -> dict[str, Difference]:
    """Compare every file of two output directories by relative path; a file in one alone is different."""
    names = sorted({*file_names(one), *file_names(other)})
    return {name: _compare_named(one / name, other / name, tolerance) for name in names}


def file_names(root: Path) -> list[str]:
    """Relative paths of the regular files under `root`, sorted; links are not followed."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def _compare_named(one: Path, other: Path, tolerance: float) -> Difference:
    if not one.is_file() or not other.is_file():
        return Difference(Likeness.DIFFERENT, math.inf, "only in one of the two")
    return compare_files(one, other, tolerance)


def _largest_difference(one: Path, other: Path) -> tuple[float, str]:
    name = one.name.lower()
    if name.endswith(VOLUMES):
        return _volumes(read_volume(one), read_volume(other))
    if name.endswith(TABLES):
        return _largest(_cells(read_table(one), read_table(other)))
    if name.endswith(".json"):
        return _largest(_members(read_json(one), read_json(other), "", _DEEPEST))
    raise _Unlike("other bytes")


def _largest(pairs: Iterator[tuple[float, float, str]]) -> tuple[float, str]:
    largest, place = 0.0, ""
    for a, b, where in pairs:
        distance = _distance(a, b)
        if distance > largest:
            largest, place = distance, where
    return largest, place


def _distance(a: float, b: float) -> float:
    if a == b or (math.isnan(a) and math.isnan(b)):
        return 0.0
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.inf
    return abs(a - b) / max(1.0, abs(a), abs(b))


def _cells(one: list[list[str]], other: list[list[str]]) -> Iterator[tuple[float, float, str]]:
    if len(one) != len(other) or one[0] != other[0]:
        raise _Unlike("other columns, or another number of rows")
    for number, (left, right) in enumerate(zip(one[1:], other[1:], strict=True), start=1):
        for name, a, b in zip(one[0], left, right, strict=True):
            if a == b:
                continue
            where = f"row {number}, column {name[:60]}"
            yield _number(a, where), _number(b, where), where


def _number(cell: str, where: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise _Unlike(where) from None


def _members(one: Any, other: Any, where: str, depth: int) -> Iterator[tuple[float, float, str]]:
    numbers = (int, float)
    if isinstance(one, bool) or isinstance(other, bool):
        if one is not other:
            raise _Unlike(where)
    elif isinstance(one, numbers) and isinstance(other, numbers):
        yield float(one), float(other), where
    elif isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys() and depth:
        for key in one:
            yield from _members(one[key], other[key], f"{where}/{key[:60]}", depth - 1)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other) and depth:
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from _members(left, right, f"{where}/{number}", depth - 1)
    elif one != other:
        raise _Unlike(where)


def _volumes(one: Voxels, other: Voxels) -> tuple[float, str]:
    import numpy as np

    if one.values.shape != other.values.shape:
        raise _Unlike("another shape")
    if one.values.dtype.kind not in "iuf" or other.values.dtype.kind not in "iuf":
        raise _Unlike("voxels that are no plain numbers")
    largest, place = _largest((a, b, "geometry") for a, b in zip(one.geometry, other.geometry, strict=True))
    for index in range(one.values.shape[-1]):  # slice by slice bounds the memory of the intermediate arrays
        a = one.values[..., index].astype(np.float64) * one.slope + one.intercept
        b = other.values[..., index].astype(np.float64) * other.slope + other.intercept
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        if bool(same.all()):
            continue
        with np.errstate(invalid="ignore"):
            relative = np.abs(a - b) / np.maximum(1.0, np.maximum(np.abs(a), np.abs(b)))
        relative = np.where(same, 0.0, np.where(np.isnan(relative), np.inf, relative))
        found = float(relative.max())
        if found > largest:
            largest, place = found, f"slice {index}"
    return largest, place
