"""The risk register: 28 rows, and none reads better than what was done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from checks.interface import RISKS, CheckResult, Status
from policies.load import load_policy
from policies.risks import How, Register, Risk, RiskCoverage, State, coverage, load_register
from policies.rules import CHECKS


def results(**statuses: Status | str) -> dict[str, CheckResult]:
    return {
        name: CheckResult(check=name, version="1", status=Status(status), summary="")
        for name, status in statuses.items()
    }


def row(risk: str, found: dict[str, CheckResult]) -> RiskCoverage:
    return next(item for item in coverage(found) if item.id == risk)


def test_every_row_is_there_once_and_in_order() -> None:
    """G1 to G11, T1 to T8, U1 to U9, each with its source."""
    rows = coverage({})
    expected = [f"{group}{n}" for group, count in (("G", 11), ("T", 8), ("U", 9)) for n in range(1, count + 1)]
    assert [item.id for item in rows] == expected
    assert set(expected) == RISKS
    assert {item.source for item in rows} == {"EUCAIM D3.4 §IV"}
    assert len({item.title for item in rows}) == 28


def test_nothing_checked_answers_nothing() -> None:
    """Without results no row is answered; where the node does something of its own, that is all it says."""
    for item in coverage({}):
        assert item.state in (State.UNDECIDED, State.NODE_ONLY, State.NOT_COVERED)
        assert item.how in (None, How.ENFORCED)
        assert (item.how is How.ENFORCED) is bool(item.controls)


@pytest.mark.parametrize(
    ("risk", "found", "state", "how"),
    [
        ("T3", results(canaries="passed"), State.ANSWERED, How.TESTED),
        ("T3", results(canaries="failed"), State.FAILED, None),
        ("T3", results(canaries="inconclusive"), State.UNDECIDED, None),
        ("T3", results(canaries="not applicable"), State.NOT_APPLICABLE, None),
        ("G2", results(vulnerabilities="passed"), State.UNDECIDED, How.VERIFIED),
        ("G2", results(vulnerabilities="passed", sbom="failed"), State.FAILED, How.VERIFIED),
        ("G2", results(vulnerabilities="passed", sbom="not applicable"), State.ANSWERED, How.VERIFIED),
        ("U2", results(membership="not applicable", dp_claim="passed"), State.ANSWERED, How.VERIFIED),
        ("U2", results(membership="passed", dp_claim="passed"), State.ANSWERED, How.TESTED),
        ("G8", results(dossier="passed"), State.ANSWERED, How.DECLARED),
        ("G7", {}, State.NODE_ONLY, How.ENFORCED),
        ("G4", results(**dict.fromkeys(CHECKS, "passed")), State.NOT_COVERED, None),
    ],
)
def test_a_row_says_what_its_checks_say(
    risk: str, found: dict[str, CheckResult], state: State, how: How | None
) -> None:
    """Failure before doubt, doubt before an answer, and the strength of the checks that really passed."""
    item = row(risk, found)
    assert (item.state, item.how) == (state, how)


def test_a_result_under_another_name_does_not_count() -> None:
    """A passed check never answers for another."""
    swapped = {"canaries": results(image="passed")["image"]}
    assert row("T3", swapped).state is State.UNDECIDED


@given(st.dictionaries(st.sampled_from(sorted(CHECKS)), st.sampled_from(list(Status))))
def test_a_row_never_reads_better_than_its_checks(statuses: dict[str, Status]) -> None:
    """An answered row has only passed or inapplicable checks, and at least one that passed."""
    for item in coverage(results(**statuses)):
        found = {check.status for check in item.checks}
        assert found == {statuses.get(check.check) for check in item.checks}
        if item.state is State.ANSWERED:
            assert found <= {Status.PASSED, Status.NOT_APPLICABLE}
            assert Status.PASSED in found
        if Status.FAILED in found:
            assert item.state is State.FAILED


def test_the_rules_of_the_shipped_policy_name_risks_that_their_checks_cover() -> None:
    """A rule's risks are rows that exist; every row with checks says which."""
    named = {risk for rule in load_policy().policy.rules for risk in rule.risks}
    assert named <= RISKS
    covered = {risk.id for risk in load_register().risks if risk.checks}
    assert covered - named <= {"G11", "T7", "U7"}


@pytest.mark.parametrize("attack", ["a row missing", "a row twice", "unknown check", "empty row", "tested control"])
def test_registers_that_are_refused(attack: str) -> None:
    """A register with a hole, or a row that says nothing, is a mistake of ours and never shown."""
    document = load_register().model_dump(mode="json", by_alias=True)
    rows = document["risks"]
    if attack == "a row missing":
        rows.pop()
    elif attack == "a row twice":
        rows.append(rows[0])
    elif attack == "unknown check":
        rows[0]["checks"][0]["check"] = "horoscope"
    elif attack == "tested control":
        rows[0]["controls"][0]["how"] = "tested"
    else:
        rows[3]["gap"] = ""
    with pytest.raises(ValidationError):
        Register.model_validate(document)


def test_a_row_is_frozen() -> None:
    """Nobody improves a row afterwards."""
    with pytest.raises(ValidationError):
        Risk(id="G1", title="x", gap="y").title = "z"  # type: ignore[misc]
