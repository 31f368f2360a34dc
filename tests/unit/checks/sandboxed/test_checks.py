"""What all four checks answer alike: shared runs, and runs that did not happen."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from checks.interface import Level, Status
from pratique.errors import EngineUnavailable
from sandbox.record import EndedBy, Observed
from sandbox.spec import MIB
from tests.unit.checks.sandboxed.tools import CHECKS, NO_COHORT, NO_EXAMPLE, also


def test_an_honest_tool_passes_all_four_in_five_runs(bench: Any) -> None:
    """Runs are shared: example, cohort twice, observed, broken; figures, evidence and inputs are in the results."""
    session = bench.session()
    results = {name: check(session, bench.store) for name, check in CHECKS.items()}
    assert {name: result.status for name, result in results.items()} == dict.fromkeys(CHECKS, Status.PASSED)
    assert not any(finding.level is Level.ERROR for result in results.values() for finding in result.findings)
    purposes = [call.request.purpose for call in bench.launcher.calls]
    assert sorted(purposes) == ["broken-swapped-columns", "cohort", "cohort-again", "cohort-observed", "example"]
    assert [call.network for call in bench.launcher.calls].count(True) == 1
    conformance = results["conformance"]
    assert conformance.measured("peak_memory") == 50 * MIB
    assert conformance.measured("declared_memory") == 100 * MIB
    assert conformance.measured("cpu_seconds") == 0.5
    assert conformance.measured("wall_seconds") == 1.0
    curve = json.loads(bench.store.kept["resource-curve.json"])
    assert curve["samples"][1] == {"t": 0.5, "memory": 50 * MIB, "cpu": 0.4}
    assert results["determinism"].measured("determinism") == "bitwise"
    assert results["canaries"].measured("canaries_planted") == 24
    assert results["canaries"].measured("runs_searched") == 3
    assert conformance.inputs["cohort"].startswith("sha256:")
    assert conformance.inputs["cohort_seed"] == "11"
    assert all(finding.fix for result in results.values() for finding in result.findings if finding.level != "note")


@pytest.mark.parametrize("by", [EndedBy.NOT_STARTED, EndedBy.ENGINE_LOST, EndedBy.INTERRUPTED, EndedBy.KILLED])
@pytest.mark.parametrize("name", CHECKS)
def test_a_run_that_did_not_happen_is_never_a_pass(bench: Any, name: str, by: EndedBy) -> None:
    """Whatever kept the tool from running, the answer is inconclusive."""

    def tool(call: Any) -> None:
        call.facts |= {"ended_by": by, "exit_code": None, "observed": Observed.IMPOSSIBLE}

    result = CHECKS[name](bench.session(tool), bench.store)
    assert result.status is Status.INCONCLUSIVE


@pytest.mark.parametrize("name", CHECKS)
def test_no_engine_is_inconclusive(bench: Any, name: str) -> None:
    """An engine that is not there says nothing about the tool."""

    def tool(call: Any) -> int:
        raise EngineUnavailable("no engine answers", next_step="Start one.")

    result = CHECKS[name](bench.session(tool), bench.store)
    assert result.status is Status.INCONCLUSIVE
    assert result.findings[0].fix == "Start one."


@pytest.mark.parametrize(
    ("replace", "passing"),
    [
        ([NO_EXAMPLE], {"canaries", "containment", "determinism"}),
        ([NO_COHORT], {"containment", "determinism"}),
        ([NO_EXAMPLE, NO_COHORT], set()),
    ],
    ids=["no example", "no cohort", "neither"],
)
def test_what_was_not_handed_in_cannot_pass(bench: Any, replace: list[tuple[str, str]], passing: set[str]) -> None:
    """Without example or cohort the checks that need them are inconclusive and say what to add."""
    session = bench.session(also(lambda call: None), replace=replace)
    for name, check in CHECKS.items():
        result = check(session, bench.store)
        assert result.status is (Status.PASSED if name in passing else Status.INCONCLUSIVE), name


@pytest.mark.parametrize("name", CHECKS)
def test_a_disk_that_fails_is_inconclusive(bench: Any, name: str) -> None:
    """A work directory that cannot be written ends in a result, not in an exception."""
    session = bench.session()
    (bench.root / "work").write_text("in the way")
    assert CHECKS[name](session, bench.store).status is Status.INCONCLUSIVE


def test_checks_side_by_side_share_runs(bench: Any) -> None:
    """Four checks in four threads still make five runs."""
    session = bench.session()
    threads = [threading.Thread(target=check, args=(session, bench.store)) for check in CHECKS.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bench.launcher.calls) == 5
