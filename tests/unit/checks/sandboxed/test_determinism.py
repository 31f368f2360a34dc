"""Does the tool give the same twice? A table by what differs."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from checks.interface import Status
from checks.sandboxed.determinism import check_determinism
from tests.unit.checks.sandboxed.tools import errors, honest


def varying(*contents: str | bytes, name: str = "scores.csv") -> Callable[[Any], int]:
    """A tool whose output is another one in each run."""
    turns = itertools.cycle(contents)

    def tool(call: Any) -> int:
        call.write(name, next(turns))
        return 0

    return tool


CSV = "patient_id,score\nx,{}\n"

EXACT, NEAR, RANDOM = "bitwise", "within-tolerance", "nondeterministic"

DETERMINISM: dict[str, tuple[Callable[[Any], int], str, float, str, Status]] = {
    "the same bytes": (honest, EXACT, 0.0, EXACT, Status.PASSED),
    "last digits": (varying(CSV.format(0.5), CSV.format(0.5000001)), EXACT, 0.0, RANDOM, Status.FAILED),
    "last digits, as claimed": (
        varying(CSV.format(0.5), CSV.format(0.5000001)),
        NEAR,
        1e-5,
        NEAR,
        Status.PASSED,
    ),
    "beyond the tolerance": (
        varying(CSV.format(0.5), CSV.format(0.6)),
        NEAR,
        1e-5,
        RANDOM,
        Status.FAILED,
    ),
    "random, as claimed": (
        varying(CSV.format(0.5), CSV.format(0.6)),
        RANDOM,
        0.0,
        RANDOM,
        Status.PASSED,
    ),
    "another row": (
        varying(CSV.format(1), CSV.format(1) + "y,1\n"),
        NEAR,
        9.0,
        RANDOM,
        Status.FAILED,
    ),
    "another word": (varying("a\nx\n", "a\ny\n"), NEAR, 9.0, RANDOM, Status.FAILED),
    "NaN twice": (
        varying(CSV.format("nan"), CSV.format("NaN")),
        NEAR,
        0.0,
        NEAR,
        Status.PASSED,
    ),
    "other bytes, same numbers": (
        varying(CSV.format("0.5"), CSV.format("0.50")),
        EXACT,
        0.0,
        NEAR,
        Status.FAILED,
    ),
    "json": (
        varying('{"a":[1,{"b":0.5}]}', '{"a":[1,{"b":0.5000001}]}', name="r.json"),
        NEAR,
        1e-5,
        NEAR,
        Status.PASSED,
    ),
    "json of another structure": (
        varying('{"a":1}', '{"b":1}', name="r.json"),
        NEAR,
        9.0,
        RANDOM,
        Status.FAILED,
    ),
    "bytes of no known format": (
        varying(b"\x00", b"\x01", name="r.bin"),
        NEAR,
        9.0,
        RANDOM,
        Status.FAILED,
    ),
}


@pytest.mark.parametrize("case", DETERMINISM)
def test_determinism(bench: Any, case: str) -> None:
    """The label measured against the label claimed."""
    tool, claimed, tolerance, measured, status = DETERMINISM[case]
    change = [("determinism: bitwise", f"determinism: {claimed}, tolerance: {tolerance}")]
    result = check_determinism(bench.session(tool, replace=change), bench.store)
    assert (result.measured("determinism"), result.status) == (measured, status)


def test_a_failing_tool_has_no_determinism(bench: Any) -> None:
    """Nothing to compare is inconclusive, and conformance is who says that it fails."""
    result = check_determinism(bench.session(lambda call: 9), bench.store)
    assert result.status is Status.INCONCLUSIVE
    assert not errors(result)


def test_no_output_has_no_determinism(bench: Any) -> None:
    """Two empty directories are equal, which says nothing."""
    assert check_determinism(bench.session(lambda call: 0), bench.store).status is Status.INCONCLUSIVE
