"""Tools that are honest, and what makes them something else besides; what the tests of all four checks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from checks.interface import CheckResult, Level
from checks.sandboxed.canaries import check_canaries
from checks.sandboxed.conformance import check_conformance
from checks.sandboxed.containment import check_containment
from checks.sandboxed.determinism import check_determinism
from sandbox.record import EndedBy

CHECKS: dict[str, Callable[..., CheckResult]] = {
    "conformance": check_conformance,
    "canaries": check_canaries,
    "containment": check_containment,
    "determinism": check_determinism,
}


def honest(call: Any) -> int:
    return int(call.honest())


def identifiers(call: Any) -> list[str]:
    return [row.get("patient_id") or "" for row in call.rows()]


def ended(by: EndedBy, **more: Any) -> Callable[[Any], int | None]:
    def tool(call: Any) -> int | None:
        honest(call)
        call.facts |= {"ended_by": by, "exit_code": None, "detail": "as the test says"} | more
        return None

    return tool


def also(action: Callable[[Any], object]) -> Callable[[Any], int]:
    """An honest tool that does something else besides."""

    def tool(call: Any) -> int:
        code = honest(call)
        action(call)
        return code

    return tool


def errors(result: CheckResult) -> set[str]:
    return {finding.rule_id for finding in result.findings if finding.level is Level.ERROR}


NO_EXAMPLE = ("example: {inputs: {table: in/patients.csv, threshold: 0.25}, expected: out}\n", "")

COHORT = "cohort: {kind: tabular, input: table, columns: {identifier: [patient_id], text: [notes], category: [site]}}"

NO_COHORT = (f"{COHORT}\n", "")
