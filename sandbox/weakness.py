"""What a weakness of a host is; `sandbox.doctor` finds them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much it matters for running hostile containers."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True)
class Weakness:
    """One thing that is weaker than it could be; `id` is stable."""

    id: str
    title: str
    fix: str
    severity: Severity
