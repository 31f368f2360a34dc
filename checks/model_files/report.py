"""What a walk over a pickle reports, and the stand-ins it works on."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

_MAX_PROBLEMS = 20
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*+", re.ASCII)
ARRAY_KEYS: Final = frozenset(("shape", "dtype", "numpy_array_alignment_bytes"))
"""Entries of a joblib array's state that say how many bytes follow."""


@dataclass(frozen=True)
class Problem:
    """One reason against a pickle: rule, message, offset of the opcode that decided."""

    rule: str
    message: str
    offset: int


@dataclass
class Report:
    """What a walk saw: every import asked for, those that the allow-list holds, the problems, how much it followed."""

    imports: set[tuple[str, str]] = field(default_factory=set)
    listed: set[tuple[str, str]] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    pickles: int = 0
    steps: int = 0
    calls: int = 0
    torchscript: bool = False

    def add(self, rule: str, message: str, offset: int) -> None:
        """Note a problem; beyond the first twenty, more of them tell nothing."""
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(Problem(rule, message, offset))


@dataclass(frozen=True)
class Import:
    """Stand-in for an imported object."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


GETATTR: Final = Import("builtins", "getattr")
DTYPE: Final = Import("numpy", "dtype")
KNOWN_METHODS: Final = frozenset((Import("zoneinfo", "ZoneInfo._unpickle"),))
"""Class methods that pickles of plain values call, through `getattr`."""


@dataclass(eq=False, slots=True)
class Made:
    """Stand-in for what a call gave: by what, with which arguments, and the state set later."""

    by: Import
    arguments: Any
    state: Any = None


class Table(dict[str, Any]):
    """Stand-in for a dict; keeps the few entries that matter to arrays and their types."""

    __slots__ = ()


def plausible(module: str, name: str) -> bool:
    """Whether Python could import this at all; random bytes rarely read so."""
    return bool(_IDENTIFIER.fullmatch(module) and _IDENTIFIER.fullmatch(name))


def real_problems(report: Report) -> list[Problem]:
    """Problems of a walk over bytes that may be no pickle: none where no importable name was asked for and used."""
    used = report.calls or any(problem.rule == "dangerous-import" for problem in report.problems)
    return report.problems if used and any(plausible(*pair) for pair in report.imports) else []
