"""Names of system calls by their numbers, for what the kernel reports."""

from __future__ import annotations

import platform
from functools import cache
from importlib import resources

_COLUMNS = {"x86_64": 1, "aarch64": 2}


@cache
def call_names(machine: str = "") -> dict[int, str]:
    """Number → name on `machine` (this one by default); empty for an architecture that is not in the table."""
    column = _COLUMNS.get(machine or platform.machine())
    if column is None:
        return {}
    text = resources.files(__package__).joinpath("calls.txt").read_text(encoding="utf-8")
    rows = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return {int(row[column]): row[0] for row in rows if row[column] != "-"}
