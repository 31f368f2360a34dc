"""Regular expressions from a manifest, used only where they cannot take exponential time.

Python's engine backtracks, and a hostile pattern could hold a check for years. So a pattern may not repeat a group,
refer back or look around, and its work is bounded: with at most `q` open choices over `n` characters it takes in the
order of n^q steps, which the limits below keep under about a second.
"""

from __future__ import annotations

import re
import warnings

from pratique.errors import InvalidInput

_PATTERN_LENGTH = 500
_CHOICES = 6
_LONGEST = {0: 10_000, 1: 10_000, 2: 1_000, 3: 200, 4: 100, 5: 50, 6: 32}
_GROUPS = frozenset({"(?"})
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?:|\(\?|\)\s*[*+{]|\{\d+\}|[*+?{][+?]?|.", re.DOTALL | re.ASCII)
"""An escape, a class, the start of a group, a repeated group, a fixed count, a quantifier, or one character."""


def check_pattern(pattern: str, *, where: str) -> None:
    """Refuse a pattern that is not a regular expression or may take too long (`manifest/pattern`)."""
    tokens = _TOKEN.findall(pattern) if len(pattern) <= _PATTERN_LENGTH else None
    if tokens is None or any(_forbidden(token) for token in tokens) or _choices(tokens) > _CHOICES:
        raise InvalidInput(
            "the pattern may take too long to match",
            rule="manifest/pattern",
            where=where,
            cause=repr(pattern[:100]),
            next_step="Write it without repeated groups, look-around and back references, or use an enum.",
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # what a later Python would read differently
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError, FutureWarning) as error:
        raise InvalidInput(
            "the pattern is not a regular expression",
            rule="manifest/pattern",
            where=where,
            cause=str(error)[:200],
            next_step="Correct the pattern; Python's syntax is used and the whole value must match.",
        ) from error


def matches(pattern: str, text: str) -> bool:
    """Whether the checked `pattern` matches the whole of `text`; text too long to try does not match."""
    choices = _choices(_TOKEN.findall(pattern))
    return len(text) <= _LONGEST[choices] and re.fullmatch(pattern, text) is not None


def _forbidden(token: str) -> bool:
    return token in _GROUPS or (token[0] == ")" and len(token) > 1) or (token[0] == "\\" and token[1:].isdigit())


def _choices(tokens: list[str]) -> int:
    return sum(1 for token in tokens if token[0] in "*+?{|" and not re.fullmatch(r"\{\d+\}", token))
