"""Clocks for tests."""

from __future__ import annotations

from datetime import datetime

from pratique.clock import Clock


def fixed_clock(moment: datetime) -> Clock:
    """A clock that always shows `moment`."""
    if moment.tzinfo is None:
        raise ValueError("a clock shows aware datetimes only")
    return lambda: moment
