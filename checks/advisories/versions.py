"""Is a version affected? Order of versions by ecosystem, and the evaluation of OSV ranges and version lists.

The algorithm is the OSV schema's (https://ossf.github.io/osv-schema/#evaluation). Where a record cannot be evaluated
for a version the answer is `UNDECIDED`, never "not affected".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

MAX_VERSION = 256
Event = tuple[str, str]
"""Kind (`introduced`, `fixed`, `last_affected`, `limit`) and version."""

_RELEASE = re.compile(r"v?([0-9]{1,18}(?:\.[0-9]{1,18}){0,9})", re.ASCII)
# at one version a range first ends, then starts again: feeds write consecutive ranges so
_ORDER = {"fixed": 0, "limit": 0, "last_affected": 1, "introduced": 2}


class Decision(StrEnum):
    """Whether an advisory concerns an installed version."""

    AFFECTED = "affected"
    NOT_AFFECTED = "not affected"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Point:
    """A version in its ecosystem's order; not `exact` where only its leading numbers could be read."""

    key: Any
    exact: bool = True


@dataclass(frozen=True)
class Judgement:
    """The decision, and the first version after the installed one that is free of the flaw (empty: none named)."""

    decision: Decision
    fixed: str = ""


def base_ecosystem(ecosystem: str) -> str:
    """`Debian` of `Debian:12`."""
    return ecosystem.partition(":")[0]


def package_name(ecosystem: str, name: str) -> str:
    """`name` in the form in which the ecosystem compares names."""
    return re.sub(r"[-_.]+", "-", name).lower() if base_ecosystem(ecosystem) == "PyPI" else name


def version_text(ecosystem: str, version: str) -> str:
    """`version` in the form in which listed versions are compared (PyPI: canonical, without a local part)."""
    if base_ecosystem(ecosystem) != "PyPI":
        return version
    from packaging.utils import canonicalize_version

    point = _pypi(version)
    return canonicalize_version(point.key) if point is not None and point.exact else version


def judge(
    ecosystem: str, version: str, ranges: Sequence[Sequence[Event]], *, listed: bool, decidable: bool
) -> Judgement:
    """What OSV `ranges` (and `listed`: whether the version list names it) say of `version`.

    `decidable` is False for a record that gives neither ranges in version numbers nor a list of versions.
    """
    point = _parse(ecosystem, version)
    outcomes = [_in_range(ecosystem, point, events) for events in ranges]
    affected = listed or any(outcome is Decision.AFFECTED for outcome in outcomes)
    undecided = not decidable or Decision.UNDECIDED in outcomes or (point is None and not ranges and not listed)
    fixed = _next_fixed(ecosystem, point, ranges) if affected or undecided else ""
    if affected:
        return Judgement(Decision.AFFECTED, fixed)
    return Judgement(Decision.UNDECIDED if undecided else Decision.NOT_AFFECTED, fixed)


def readable(ecosystem: str, version: str) -> bool:
    """Whether `version` has a place in its ecosystem's order."""
    point = _parse(ecosystem, version)
    return point is not None and point.exact


def later(ecosystem: str, first: str, second: str) -> str:
    """The later of two versions; `first` where they cannot be compared."""
    one, two = _parse(ecosystem, first), _parse(ecosystem, second)
    return second if one is not None and two is not None and two.key > one.key else first


def _in_range(ecosystem: str, point: Point | None, events: Sequence[Event]) -> Decision:
    placed = _placed(base_ecosystem(ecosystem), tuple(events))
    if placed is None or point is None or not point.exact:
        return Decision.UNDECIDED
    # a range whose start is missing is read as starting at zero: the cautious way to read a broken record
    affected = placed.from_zero
    key = point.key
    if placed.inexact and any(_same_release(bound, key) for bound in placed.inexact):
        return Decision.UNDECIDED
    for bound, kind in placed.bounds:
        if key < bound:
            break
        if kind == "introduced":
            affected = True
        elif kind != "last_affected" or key > bound:
            affected = False
    return Decision.AFFECTED if affected else Decision.NOT_AFFECTED


@dataclass(frozen=True)
class _Placed:
    """A range ready to be asked: bounds in order, those of which only the leading numbers are known, and its start."""

    bounds: tuple[tuple[Any, str], ...]
    inexact: tuple[Any, ...]
    from_zero: bool


@lru_cache(maxsize=32768)
def _placed(ecosystem: str, events: tuple[Event, ...]) -> _Placed | None:
    """The range's bounds in the ecosystem's order; None where one of them has no place in it."""
    placed: list[tuple[Point, str]] = []
    for kind, text in events:
        place = _parse(ecosystem, text) if text != "0" else None
        if place is None and text != "0":
            return None
        if place is not None:
            placed.append((place, kind))
    ordered = sorted(placed, key=lambda item: (item[0].key, _ORDER[item[1]]))
    return _Placed(
        bounds=tuple((place.key, kind) for place, kind in ordered),
        inexact=tuple(place.key for place, _ in placed if not place.exact),
        from_zero=("introduced", "0") in events or all(kind != "introduced" for kind, _ in events),
    )


def _next_fixed(ecosystem: str, point: Point | None, ranges: Sequence[Sequence[Event]]) -> str:
    if point is None:
        return ""
    fixes = [text for events in ranges for kind, text in events if kind == "fixed"]
    places = [(place.key, text) for text in fixes if (place := _parse(ecosystem, text)) is not None and place.exact]
    later_ones = [(key, text) for key, text in places if key > point.key]
    return min(later_ones, key=lambda item: item[0])[1] if later_ones else ""


def _same_release(one: Any, two: Any) -> bool:
    return _without_zeros(one.release) == _without_zeros(two.release)


def _without_zeros(release: tuple[int, ...]) -> tuple[int, ...]:
    while release and release[-1] == 0:
        release = release[:-1]
    return release


# --- the order of versions in each ecosystem -------------------------------------------------------------------------


def _parse(ecosystem: str, version: str) -> Point | None:
    parser = _PARSERS.get(base_ecosystem(ecosystem))
    return parser(version) if parser and 0 < len(version) <= MAX_VERSION else None


def known_ecosystem(ecosystem: str) -> bool:
    """Whether the order of versions of `ecosystem` is known here."""
    return base_ecosystem(ecosystem) in _PARSERS


@lru_cache(maxsize=65536)
def _pypi(text: str) -> Point | None:
    from packaging.version import InvalidVersion, Version

    try:
        version = Version(text)
    except InvalidVersion:
        # feeds contain bounds such as "2.6.0-NA": their leading numbers still decide for most versions
        numbers = _RELEASE.match(text)
        return Point(Version(numbers[1]), exact=False) if numbers else None
    return Point(Version(version.public) if version.local else version)


@lru_cache(maxsize=65536)
def _debian(text: str) -> Point | None:
    from univers.debian import Version

    try:
        return Point(Version.from_string(text))  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, AttributeError):
        return None


@lru_cache(maxsize=16384)
def _alpine(text: str) -> Point | None:
    from univers.versions import AlpineLinuxVersion

    return _univers(AlpineLinuxVersion, text)


@lru_cache(maxsize=16384)
def _rpm(text: str) -> Point | None:
    from univers.versions import RpmVersion

    return _univers(RpmVersion, text)


@lru_cache(maxsize=16384)
def _semver(text: str) -> Point | None:
    from univers.versions import SemverVersion

    return _univers(SemverVersion, text)


def _univers(kind: Callable[[str], Any], text: str) -> Point | None:
    try:
        return Point(kind(text))
    except (ValueError, TypeError, AttributeError):
        # `univers` raises InvalidVersion (a ValueError) and, on odd text, errors of its parsers
        return None


_PARSERS: dict[str, Callable[[str], Point | None]] = {
    "PyPI": _pypi,
    "Debian": _debian,
    "Ubuntu": _debian,
    "Alpine": _alpine,
    "Wolfi": _alpine,
    "Chainguard": _alpine,
    "npm": _semver,
    "AlmaLinux": _rpm,
    "Rocky Linux": _rpm,
    "Red Hat": _rpm,
    "SUSE": _rpm,
    "openSUSE": _rpm,
}
