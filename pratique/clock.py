"""Time is handed in, never read in pure code."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the present as an aware UTC datetime."""


def system_clock() -> datetime:
    """The machine's own clock."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """`moment` as RFC 3339 in UTC with seconds, the form used in statements."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
