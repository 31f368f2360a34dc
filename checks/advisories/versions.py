"""Is a version affected? The evaluation of OSV ranges and version lists.

The algorithm is the OSV schema's (https://ossf.github.io/osv-schema/#evaluation). Where a record cannot be evaluated
for a version the answer is `UNDECIDED`, never "not affected".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from checks.advisories.ecosystems import base_ecosystem
from checks.advisories.orders import Point, place

Event = tuple[str, str]
"""Kind (`introduced`, `fixed`, `last_affected`, `limit`) and version."""

# at one version a range first ends, then starts again: feeds write consecutive ranges so
_ORDER = {"fixed": 0, "limit": 0, "last_affected": 1, "introduced": 2}


class Decision(StrEnum):
    """Whether an advisory concerns an installed version."""

    AFFECTED = "affected"
    NOT_AFFECTED = "not affected"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Judgement:
    """The decision, and the first version after the installed one that is free of the flaw (empty: none named)."""

    decision: Decision
    fixed: str = ""


@dataclass(frozen=True)
class Span:
    """A range ready to be asked: its bounds in order, those of which only the leading numbers are known, its start.

    `fixes` are the versions that it names as fixed, with their places. Not `whole` where a bound has no place.
    """

    bounds: tuple[tuple[Any, str], ...]
    inexact: tuple[Any, ...]
    from_zero: bool
    fixes: tuple[tuple[Any, str], ...]
    whole: bool = True


_NOT_AFFECTED = Judgement(Decision.NOT_AFFECTED)


@lru_cache(maxsize=65536)
def version_text(ecosystem: str, version: str) -> str:
    """`version` in the form in which listed versions are compared.

    PyPI: canonical, without a local part. npm: three numbers, without a build (`v1.0.0+x` is 1.0.0, as its registry has
    it). Distributions: without the epoch that is meant where there is none.
    """
    base = base_ecosystem(ecosystem)
    if base == "npm":
        return _npm_text(version)
    if base != "PyPI":
        return version.removeprefix("0:")
    from packaging.utils import canonicalize_version

    point = place(ecosystem, version)
    return canonicalize_version(point.key) if point is not None and point.exact else version


def _npm_text(version: str) -> str:
    if place("npm", version) is None:
        return version
    numbers, dash, suffix = version.partition("+")[0].removeprefix("v").partition("-")
    release = [str(int(number)) for number in numbers.split(".")]
    return ".".join((*release, "0", "0")[:3]) + dash + suffix


def span_of(ecosystem: str, events: Sequence[Event]) -> Span:
    """The range of `events`, ready to be asked."""
    # "introduced 0" is the start of all versions; "fixed 0" is a version, by which feeds say that none is affected
    placed = [(place(ecosystem, text), kind, text) for kind, text in events if (kind, text) != ("introduced", "0")]
    there = [(point, kind, text) for point, kind, text in placed if point is not None]
    ordered = _with_last_limit(sorted(there, key=lambda item: (item[0].key, _ORDER[item[1]])))
    return Span(
        bounds=tuple((point.key, kind) for point, kind, _ in ordered),
        inexact=tuple(point.key for point, _, _ in there if not point.exact),
        # a range whose start is missing is read as starting at zero: the cautious way to read a broken record
        from_zero=("introduced", "0") in events or all(kind != "introduced" for kind, _ in events),
        fixes=tuple((point.key, text) for point, kind, text in ordered if kind == "fixed" and point.exact),
        whole=len(there) == len(placed),
    )


def _with_last_limit(ordered: list[tuple[Point, str, str]]) -> list[tuple[Point, str, str]]:
    """Without the limits before the last: what is below any of them is within the range."""
    limits = [number for number, (_, kind, _) in enumerate(ordered) if kind == "limit"]
    return [item for number, item in enumerate(ordered) if item[1] != "limit" or number == limits[-1]]


def judge(
    ecosystem: str, version: str, ranges: Sequence[Sequence[Event]], *, listed: bool, decidable: bool
) -> Judgement:
    """What OSV `ranges` (and `listed`: whether the version list names it) say of `version`.

    `decidable` is False for a record that gives neither ranges in version numbers nor a list of versions.
    """
    spans = [span_of(ecosystem, events) for events in ranges]
    return judge_at(place(ecosystem, version), spans, listed=listed, decidable=decidable)


def judge_at(point: Point | None, spans: Sequence[Span], *, listed: bool, decidable: bool) -> Judgement:
    """`judge` for a version and ranges that have their places already."""
    placed = point is not None and point.exact
    affected, undecided = listed, not decidable or not (placed or spans or listed)
    for span in spans:
        outcome = _within(point, span)
        affected = affected or outcome is Decision.AFFECTED
        undecided = undecided or outcome is Decision.UNDECIDED
    if not affected and not undecided:
        return _NOT_AFFECTED
    return Judgement(Decision.AFFECTED if affected else Decision.UNDECIDED, _next_fixed(point, spans))


def later(ecosystem: str, first: str, second: str) -> str:
    """The later of two versions; `first` where they cannot be compared."""
    one, two = place(ecosystem, first), place(ecosystem, second)
    return second if one is not None and two is not None and two.key > one.key else first


def _within(point: Point | None, span: Span) -> Decision:
    if point is None or not point.exact or not span.whole:
        return Decision.UNDECIDED
    affected, key = span.from_zero, point.key
    if span.inexact and any(_same_numbers(bound, key) for bound in span.inexact):
        return Decision.UNDECIDED
    for bound, kind in span.bounds:
        if key < bound:
            break
        if kind == "introduced":
            affected = True
        elif kind != "last_affected" or key > bound:
            affected = False
    return Decision.AFFECTED if affected else Decision.NOT_AFFECTED


def _next_fixed(point: Point | None, spans: Sequence[Span]) -> str:
    if point is None:
        return ""
    nearest: tuple[Any, str] | None = None
    for span in spans:
        for fix in span.fixes:  # in order
            if fix[0] > point.key:
                nearest = fix if nearest is None or fix[0] < nearest[0] else nearest
                break
    return nearest[1] if nearest else ""


def _same_numbers(one: Any, two: Any) -> bool:
    return _without_zeros(one.release) == _without_zeros(two.release)


def _without_zeros(release: tuple[int, ...]) -> tuple[int, ...]:
    while release and release[-1] == 0:
        release = release[:-1]
    return release
