"""The register of risks, and what an inspection says of each: a row never reads better than what was done."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from checks.interface import RISKS, CheckResult, Status
from policies.rules import CHECKS
from pratique.bounded_yaml import load_yaml
from pratique.bounds import read_bounded

REGISTER = Path(__file__).with_name("risks.yaml")
_MAX_BYTES = 1 << 18


class How(StrEnum):
    """How strong an answer to a risk is, strongest first."""

    TESTED = "tested"
    VERIFIED = "verified"
    ENFORCED = "enforced"
    DECLARED = "declared"


class State(StrEnum):
    """What this inspection says of a risk."""

    ANSWERED = "answered"
    """Every check that covers it was answered and none failed."""
    FAILED = "failed"
    UNDECIDED = "undecided"
    """A check that covers it could not decide, or was not made."""
    NOT_APPLICABLE = "not applicable"
    """The checks that cover it do not apply to this tool."""
    NODE_ONLY = "node controls only"
    """Nothing about this submission was checked; the node's own controls hold for every tool."""
    NOT_COVERED = "not covered"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _known_check(name: str) -> str:
    if name not in CHECKS:
        raise ValueError(f"there is no check called {name}")
    return name


class Cover(_Frozen):
    """A check that answers a risk, and how strongly."""

    check: Annotated[str, AfterValidator(_known_check)]
    how: How


class Control(_Frozen):
    """Something that a node does whatever the tool is."""

    control: Annotated[str, Field(min_length=1)]
    how: Literal[How.ENFORCED]


class Risk(_Frozen):
    """A row of the register; `gap` says what stays open."""

    id: str
    title: Annotated[str, Field(min_length=1)]
    checks: tuple[Cover, ...] = ()
    controls: tuple[Control, ...] = ()
    gap: str = ""

    @model_validator(mode="after")
    def _is_honest(self) -> Risk:
        if not self.checks and not self.controls and not self.gap:
            raise ValueError(f"{self.id} is not covered and does not say what is missing")
        return self


class Register(_Frozen):
    """All 28 rows, each once, in the register's order."""

    api_version: Literal["pratique/risks/v1"] = Field(alias="apiVersion")
    source: str
    groups: dict[str, str]
    risks: tuple[Risk, ...]

    @model_validator(mode="after")
    def _is_whole(self) -> Register:
        ids = [risk.id for risk in self.risks]
        if sorted(ids) != sorted(RISKS) or {name[0] for name in ids} != self.groups.keys():
            raise ValueError("the register does not hold each of the 28 risks once")
        return self


class CoverStatus(_Frozen):
    """A covering check and its status in this inspection; None when it was not made."""

    check: str
    how: How
    status: Status | None


class RiskCoverage(_Frozen):
    """One row of a report: the risk, what was done about it here, and what stays open.

    `how` is the strongest answer that this inspection really gave; None where it gave none.
    """

    id: str
    group: str
    title: str
    source: str
    state: State
    how: How | None
    checks: tuple[CoverStatus, ...]
    controls: tuple[str, ...]
    gap: str


@lru_cache(maxsize=1)
def load_register() -> Register:
    """The register shipped with the program."""
    return Register.model_validate(load_yaml(read_bounded(REGISTER, _MAX_BYTES), where=REGISTER.name))


def coverage(results: Mapping[str, CheckResult]) -> tuple[RiskCoverage, ...]:
    """All 28 rows, with the status of the checks that cover each in `results` (by check name)."""
    register = load_register()
    return tuple(_row(risk, register, results) for risk in register.risks)


def _row(risk: Risk, register: Register, results: Mapping[str, CheckResult]) -> RiskCoverage:
    checks = tuple(
        CoverStatus(check=cover.check, how=cover.how, status=_status(results.get(cover.check), cover.check))
        for cover in risk.checks
    )
    return RiskCoverage(
        id=risk.id,
        group=register.groups[risk.id[0]],
        title=risk.title,
        source=register.source,
        state=_state(checks, has_controls=bool(risk.controls)),
        how=_strength(checks, has_controls=bool(risk.controls)),
        checks=checks,
        controls=tuple(control.control for control in risk.controls),
        gap=risk.gap,
    )


def _status(result: CheckResult | None, name: str) -> Status | None:
    return result.status if result is not None and result.check == name else None


def _state(checks: tuple[CoverStatus, ...], *, has_controls: bool) -> State:
    statuses = {item.status for item in checks}
    if Status.FAILED in statuses:
        return State.FAILED
    if statuses & {None, Status.INCONCLUSIVE}:
        return State.UNDECIDED
    if Status.PASSED in statuses:
        return State.ANSWERED
    if statuses:
        return State.NOT_APPLICABLE
    return State.NODE_ONLY if has_controls else State.NOT_COVERED


def _strength(checks: tuple[CoverStatus, ...], *, has_controls: bool) -> How | None:
    given = {item.how for item in checks if item.status is Status.PASSED} | ({How.ENFORCED} if has_controls else set())
    return next((how for how in How if how in given), None)
