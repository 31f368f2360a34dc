"""What every check speaks: a question asked of a submission and its answer.

A check is a plain function over typed input that returns a `CheckResult`. It raises only for programming errors;
whatever a submission, the engine or the disk can do to it ends in a result whose status says so.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field

from pratique.digests import Digest

RISKS = frozenset([f"G{n}" for n in range(1, 12)] + [f"T{n}" for n in range(1, 9)] + [f"U{n}" for n in range(1, 10)])
"""Identifiers of the 28 rows of EUCAIM's risk register (deliverable D3.4, section IV)."""


class Status(StrEnum):
    """Answer of a check; anything unknown, unparsable, timed out, skipped or stale is `INCONCLUSIVE`."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not applicable"


class Level(StrEnum):
    """SARIF 2.1.0 levels: an error fails its check, a warning and a note do not."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Finding(_Frozen):
    """One thing found: stable `rule_id` (`<check>/<kebab-case>`), what, where, how to mend it, which risks."""

    rule_id: Annotated[str, Field(pattern=r"^[a-z_]+/[a-z0-9-]+$")]
    level: Level
    message: str
    where: str = ""
    fix: str = ""
    risks: tuple[str, ...] = ()


class Measurement(_Frozen):
    """A number (or short text) that a verdict may rest on, with its unit (`1` for none) and method."""

    name: str
    value: bool | int | float | str
    unit: str = "1"
    method: str = ""


class Evidence(_Frozen):
    """A file in the content-addressed store."""

    name: str
    digest: Digest
    media_type: str
    size: int


class EvidenceStore(Protocol):
    """Where checks leave their evidence (`records.store.Store` is the real one)."""

    def put(self, data: bytes, *, name: str, media_type: str) -> Evidence:
        """Keep `data`; putting the same bytes twice keeps them once."""

    def get(self, digest: Digest) -> bytes:
        """The bytes with this digest; raises `CouldNotDecide` where they are missing or altered."""


class CheckResult(_Frozen):
    """What a check found out, and why."""

    check: str
    version: str
    status: Status
    summary: str
    findings: tuple[Finding, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    inputs: dict[str, str] = Field(default_factory=dict)
    seconds: float = 0.0

    def measured(self, name: str) -> bool | int | float | str | None:
        """Value of the measurement called `name`, None where there is none."""
        return next((m.value for m in self.measurements if m.name == name), None)


def status_of(findings: tuple[Finding, ...] | list[Finding]) -> Status:
    """`FAILED` when any finding is an error, else `PASSED`."""
    return Status.FAILED if any(f.level is Level.ERROR for f in findings) else Status.PASSED


def inconclusive(check: str, version: str, why: str, *, fix: str = "", risks: tuple[str, ...] = ()) -> CheckResult:
    """A result that says why `check` could not be answered."""
    finding = Finding(rule_id=f"{check}/could-not-decide", level=Level.WARNING, message=why, fix=fix, risks=risks)
    return CheckResult(check=check, version=version, status=Status.INCONCLUSIVE, summary=why, findings=(finding,))
