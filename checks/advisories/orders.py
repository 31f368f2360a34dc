"""The order of versions in each ecosystem."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from checks.advisories.ecosystems import base_ecosystem

MAX_VERSION = 256

_RELEASE = re.compile(r"v?([0-9]{1,18}(?:\.[0-9]{1,18}){0,9})", re.ASCII)
_SEMVER = re.compile(
    r"[v=]?[0-9]{1,18}(?:\.[0-9]{1,18}){0,2}(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(?:\+[0-9A-Za-z.-]+)?", re.ASCII
)
_APK = re.compile(
    r"([0-9]+(?:\.[0-9]+)*)([a-z]?)((?:_(?:alpha|beta|pre|rc|cvs|svn|git|hg|p)[0-9]*)*)(?:~[0-9a-f]+)?(?:-r([0-9]+))?",
    re.ASCII,
)
_APK_SUFFIX = re.compile(r"_([a-z]+)([0-9]*)")
_APK_RANKS = {"alpha": -4, "beta": -3, "pre": -2, "rc": -1, "cvs": 1, "svn": 2, "git": 3, "hg": 4, "p": 5}
_APK_END = (0, 0)


@dataclass(frozen=True)
class Point:
    """A version in its ecosystem's order; not `exact` where only its leading numbers could be read."""

    key: Any
    exact: bool = True


def place(ecosystem: str, version: str) -> Point | None:
    """Where `version` stands; None where it has no place, or the order is not known here."""
    parser = _PARSERS.get(base_ecosystem(ecosystem))
    return parser(version) if parser and 0 < len(version) <= MAX_VERSION else None


def known_ecosystems() -> tuple[str, ...]:
    """The ecosystems whose order of versions is known here, without releases."""
    return tuple(_PARSERS)


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


@lru_cache(maxsize=65536)
def _alpine(text: str) -> Point | None:
    """As apk-tools 3 orders (its `version.c`); `univers` knows no `_git` and no `_cvs`, which Alpine's musl has.

    A number with a leading zero is compared as text, which puts it before every other.
    """
    match = _APK.fullmatch(text)
    if match is None:
        return None
    first, *others = match[1].split(".")
    numbers = ((1, int(first), ""), *((0, 0, part) if part[0] == "0" else (1, int(part), "") for part in others))
    suffixes = tuple((_APK_RANKS[name], int(number or 0)) for name, number in _APK_SUFFIX.findall(match[3]))
    return Point((numbers, match[2], (*suffixes, _APK_END), int(match[4]) if match[4] else -1))


@lru_cache(maxsize=65536)
def _rpm(text: str) -> Point | None:
    from univers.versions import RpmVersion

    return _univers(RpmVersion, text)


@lru_cache(maxsize=65536)
def _semver(text: str) -> Point | None:
    from univers.versions import SemverVersion

    return _univers(SemverVersion, text) if _SEMVER.fullmatch(text) else None


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
