"""How bad an advisory is: CVSS vectors (v2, v3.x, v4.0) to one of five words."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache

_MAX_VECTOR = 512


class Severity(StrEnum):
    """Qualitative rating of CVSS v3.1 section 5, which v4.0 keeps; `UNKNOWN` where nobody rated it."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    UNKNOWN = "unknown"


_RANK = {
    Severity.UNKNOWN: 0,
    Severity.LOW: 1,
    Severity.MEDIUM: 2,
    Severity.HIGH: 3,
    Severity.CRITICAL: 4,
}
_WORDS = {
    "critical": Severity.CRITICAL,
    "high": Severity.HIGH,
    "important": Severity.HIGH,
    "moderate": Severity.MEDIUM,
    "medium": Severity.MEDIUM,
    "low": Severity.LOW,
    "negligible": Severity.LOW,
    "unimportant": Severity.LOW,
}


def worst(severities: Iterable[Severity]) -> Severity:
    """The gravest of `severities`; `UNKNOWN` only where none is rated."""
    return max(severities, key=_RANK.__getitem__, default=Severity.UNKNOWN)


def at_least(severity: Severity, threshold: Severity) -> bool:
    """Whether a rated `severity` reaches `threshold`; an unknown one never does."""
    return severity is not Severity.UNKNOWN and _RANK[severity] >= _RANK[threshold]


def from_word(word: object) -> Severity:
    """Severity that a database states in a word (`MODERATE`, Red Hat's `Important`, Debian's `medium**` …)."""
    return _WORDS.get(word.rstrip("*").lower(), Severity.UNKNOWN) if isinstance(word, str) else Severity.UNKNOWN


def from_score(score: float) -> Severity:
    """Rating of a CVSS base score between 0.0 and 10.0."""
    for floor, severity in ((9.0, Severity.CRITICAL), (7.0, Severity.HIGH), (4.0, Severity.MEDIUM)):
        if score >= floor:
            return severity
    return Severity.LOW


@lru_cache(maxsize=4096)
def base_score(vector: str) -> float | None:
    """Base score of a CVSS `vector`; None where it is not one."""
    from cvss import CVSS2, CVSS3, CVSS4
    from cvss.exceptions import CVSSError

    if len(vector) > _MAX_VECTOR:
        return None
    kind = CVSS4 if vector.startswith("CVSS:4") else CVSS3 if vector.startswith("CVSS:3") else CVSS2
    try:
        return float(kind(vector).base_score)
    except (CVSSError, ValueError, KeyError, ArithmeticError):
        # besides its own errors the library lets a few internal ones through on odd vectors
        return None
