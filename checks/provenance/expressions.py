"""Regular expressions of a policy against text that a stranger wrote: matched in full, and never for long.

A certificate's subject is up to its owner, so an expression with nested repetitions could keep the gate busy for hours.
"""

from __future__ import annotations

import re

import regex

SECONDS = 0.5
"""How long one comparison may take; what takes longer does not match."""


def flaw_of(pattern: str) -> str:
    """Why `pattern` is no usable expression; empty where it is one.

    It must mean the same to Python's own module and to `regex`, which alone has a time limit: a brace that is no
    repetition is approximate matching to `regex`.
    """
    if re.search(r"(?<!\\)(?:\\\\)*\{(?!\d+(?:,\d*)?\}|,\d+\})", pattern):
        return "a brace that counts nothing must be written \\{"
    try:
        re.compile(pattern)
        regex.compile(pattern)
    except (re.error, regex.error) as error:
        return f"not a regular expression: {error}"
    return ""


def matches_in_full(pattern: str, text: str) -> bool:
    """Whether the whole of `text` is what `pattern` says; False also where that could not be told in time."""
    try:
        return regex.fullmatch(pattern, text, timeout=SECONDS) is not None
    except TimeoutError:
        return False
