"""Quantities as people write them in a policy: `4GiB`, `10m`, `7d`. Anything else is refused, never guessed."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator

_SIZE = re.compile(r"([1-9][0-9]{0,8})(B|KiB|MiB|GiB|TiB)", re.ASCII)
_SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_DURATION = re.compile(r"([1-9][0-9]{0,5})(s|m|h|d)", re.ASCII)
_DURATIONS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _parse_size(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a size is written as a number and B, KiB, MiB, GiB or TiB, e.g. 4GiB")
    return int(match[1]) * _SIZES[match[2]]


def _parse_duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a time is written as a number and s, m, h or d, e.g. 10m")
    return timedelta(seconds=int(match[1]) * _DURATIONS[match[2]])


def size_in_words(bytes_: float) -> str:
    """A size in bytes as a policy writes it, in the largest unit of which it is a whole number."""
    return _in_words(bytes_, _SIZES)


def duration_in_words(seconds: float) -> str:
    """A time in seconds as a policy writes it, in the largest unit of which it is a whole number."""
    return _in_words(seconds, _DURATIONS)


def _in_words(amount: float, units: dict[str, int]) -> str:
    unit = next((name for name, value in reversed(units.items()) if amount % value == 0), next(iter(units)))
    return f"{amount / units[unit]:g}{unit}"


Size = Annotated[int, BeforeValidator(_parse_size)]
"""Bytes, written as `4GiB`."""

Duration = Annotated[timedelta, BeforeValidator(_parse_duration)]
"""A length of time, written as `10m`."""
