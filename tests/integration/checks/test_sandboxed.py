"""The sandbox checks on real containers: an honest tool passes, each other fails for its own reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from checks.interface import CheckResult, Level, Status
from checks.sandboxed.canaries import check_canaries
from checks.sandboxed.conformance import check_conformance
from checks.sandboxed.containment import check_containment
from checks.sandboxed.determinism import check_determinism

pytestmark = pytest.mark.docker

CHECKS: tuple[Callable[..., CheckResult], ...] = (
    check_conformance,
    check_canaries,
    check_containment,
    check_determinism,
)


def errors(result: CheckResult) -> set[str]:
    return {finding.rule_id for finding in result.findings if finding.level is Level.ERROR}


def test_an_honest_tool_passes(submitted: Any, store: Any) -> None:
    """All four pass, and what was measured is plausible."""
    session = submitted("honest")
    results = [check(session, store) for check in CHECKS]
    assert [(result.check, result.status, errors(result)) for result in results] == [
        (name, Status.PASSED, set()) for name in ("conformance", "canaries", "containment", "determinism")
    ]
    conformance = results[0]
    peak = conformance.measured("peak_memory")
    assert isinstance(peak, int)
    assert 1 << 20 < peak < 100 << 20
    assert conformance.measured("expected_difference") == 0.0
    assert json.loads(store.kept["resource-curve.json"])["samples"]
    assert results[3].measured("determinism") == "bitwise"


def test_a_smuggler_is_found_by_each_of_its_ways(submitted: Any, store: Any) -> None:
    """Log, encoded output and network, each with its own finding; every destination is named."""
    session = submitted("smuggler")
    leaks = check_canaries(session, store)
    assert {"canaries/in-log", "canaries/in-output-encoded", "canaries/in-network"} <= errors(leaks)
    contained = check_containment(session, store)
    assert {"containment/network-attempt", "containment/sent-data"} <= errors(contained)
    said = " ".join(finding.message for finding in contained.findings)
    assert "home.smuggler.example" in said
    assert "203.0.113.7 port 8080" in said


FAILING: dict[str, tuple[Callable[..., CheckResult], str]] = {
    "careless": (check_canaries, "canaries/in-log"),
    "random": (check_determinism, "determinism/differs"),
    "linker": (check_containment, "containment/refused-output"),
    "hungry": (check_conformance, "conformance/memory-above-declared"),
    "failing": (check_conformance, "conformance/exit-code"),
}


@pytest.mark.parametrize("behaviour", FAILING)
def test_each_fault_fails_its_check(submitted: Any, store: Any, behaviour: str) -> None:
    """A tool with one fault fails the check that is there for it."""
    check, rule = FAILING[behaviour]
    result = check(submitted(behaviour), store)
    assert result.status is Status.FAILED
    assert rule in errors(result)


def test_a_tool_that_never_ends_is_stopped(submitted: Any, store: Any) -> None:
    """The deadline is an error of the tool, not of the check."""
    result = check_conformance(submitted("slow", wall_seconds=2.0), store)
    assert errors(result) == {"conformance/too-slow"}
