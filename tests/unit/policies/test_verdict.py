"""Verdicts fail closed: only answered checks and a true expression satisfy a rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.interface import CheckResult, Measurement, Status
from policies.load import load_policy
from policies.model import Outcome, Policy, Rule, Stage
from policies.rules import CHECKS
from policies.verdict import RuleOutcome, Verdict, decide

SHIPPED = load_policy().policy
SEVERITY = {Outcome.ADMIT: 0, Outcome.REVIEW: 1, Outcome.REFUSE: 2}


def result(check: str, status: Status | str = Status.PASSED, **measurements: Any) -> CheckResult:
    values = tuple(Measurement(name=name, value=value) for name, value in measurements.items())
    return CheckResult(check=check, version="1", status=Status(status), summary="", measurements=values)


def results(*items: CheckResult) -> dict[str, CheckResult]:
    return {item.check: item for item in items}


def policy_of(*requires: str, **fields: Any) -> Policy:
    rules = [
        {
            "id": f"rule-{number}",
            "stage": "before-execution",
            "require": require,
            "otherwise": "refuse",
            "say": f"Rule {number} says no.",
            **fields,
        }
        for number, require in enumerate(requires)
    ]
    return Policy.model_validate({"apiVersion": "pratique/policy/v1", "name": "test", "rules": rules})


def ask(require: str, *given: CheckResult, facts: dict[str, Any] | None = None, **fields: Any) -> RuleOutcome:
    (rule,) = decide(policy_of(require, **fields), results(*given), facts=facts or {}).rules
    return rule


def passing() -> dict[str, CheckResult]:
    """Results with which the shipped policy admits."""
    found = {name: result(name) for name in CHECKS}
    found["vulnerabilities"] = result("vulnerabilities", critical=0, high=0, medium=3, low=1, unchecked=0)
    found["determinism"] = result("determinism", determinism="bitwise")
    found["code"] = result("code", hidden=0, network=2)
    return found


SIGNED = 'checks.provenance.status == "passed"'


@pytest.mark.parametrize(
    ("case", "require", "given", "satisfied", "undecided", "outcome"),
    [
        ("passed", SIGNED, [result("provenance")], True, False, "admit"),
        ("failed", SIGNED, [result("provenance", "failed")], False, False, "refuse"),
        ("inconclusive", SIGNED, [result("provenance", "inconclusive")], False, True, "review"),
        ("absent", SIGNED, [], False, True, "review"),
        ("not applicable is not passed", SIGNED, [result("provenance", "not applicable")], False, False, "refuse"),
        ("no measurement", "checks.membership.measurements.auc < 0.6", [result("membership")], False, True, "refuse"),
        (
            "a measurement that is text",
            "checks.membership.measurements.auc < 0.6",
            [result("membership", auc="low")],
            False,
            True,
            "refuse",
        ),
        (
            "not a number",
            "!(checks.membership.measurements.auc > 0.6)",
            [result("membership", auc=float("nan"))],
            False,
            True,
            "refuse",
        ),
        (
            "infinite",
            "checks.membership.measurements.auc > 0.6",
            [result("membership", auc=float("inf"))],
            False,
            True,
            "refuse",
        ),
        ("answer that is no truth value", "checks.image.status", [result("image")], False, True, "refuse"),
        ("answer that is a number", "checks.image.measurements.n", [result("image", n=1)], False, True, "refuse"),
        (
            "division by zero",
            "1 / checks.image.measurements.n == 1",
            [result("image", n=0)],
            False,
            True,
            "refuse",
        ),
        (
            "one failed, one absent",
            f'{SIGNED} && checks.pinning.status == "passed"',
            [result("provenance", "failed")],
            False,
            True,
            "refuse",
        ),
        (
            "an alternative does not hide what could not be decided",
            f'{SIGNED} || checks.pinning.status == "passed"',
            [result("provenance", "inconclusive"), result("pinning")],
            False,
            True,
            "review",
        ),
        (
            "even asking for inconclusive is undecided",
            'checks.provenance.status == "inconclusive"',
            [result("provenance", "inconclusive")],
            False,
            True,
            "review",
        ),
        ("a not that meets nothing", '!(checks.image.status == "failed")', [], False, True, "review"),
    ],
)
def test_rules_fail_closed(
    case: str, require: str, given: list[CheckResult], satisfied: bool, undecided: bool, outcome: str
) -> None:
    """Each way in which a rule is, is not, or cannot be answered."""
    rule = ask(require, *given)
    assert (rule.satisfied, rule.undecided, rule.outcome) == (satisfied, undecided, outcome), case
    assert bool(rule.why) is not satisfied


def test_a_measurement_given_twice_is_no_measurement() -> None:
    """Nobody can choose which of two values counts."""
    twice = (Measurement(name="critical", value=0), Measurement(name="critical", value=9))
    vulnerable = CheckResult(check="vulnerabilities", version="1", status=Status.PASSED, summary="", measurements=twice)
    assert not ask("checks.vulnerabilities.measurements.critical == 0", vulnerable).satisfied
    assert not ask("checks.vulnerabilities.measurements.critical == 9", vulnerable).satisfied


def test_a_result_under_another_check_s_name_is_absent() -> None:
    """A passed check never stands in for another."""
    verdict = decide(policy_of(SIGNED), {"provenance": result("image")}, facts={})
    assert (verdict.outcome, verdict.rules[0].undecided) == ("review", True)


@pytest.mark.parametrize(
    ("otherwise", "undecided", "status", "outcome"),
    [
        ("review", "refuse", "failed", "review"),
        ("review", "refuse", "inconclusive", "refuse"),
        ("refuse", "review", "inconclusive", "review"),
        ("review", "review", "failed", "review"),
    ],
)
def test_each_rule_says_what_follows(otherwise: str, undecided: str, status: str, outcome: str) -> None:
    """`otherwise` for no, `undecided` for unknown."""
    rule = ask(SIGNED, result("provenance", status), otherwise=otherwise, undecided=undecided)
    assert rule.outcome == outcome


def test_the_record_holds_every_value_the_rule_rested_on() -> None:
    """Status, measurements and facts as they were, and None for what was not there."""
    rule = ask(
        'checks.membership.measurements.auc_high < 0.6 && facts.tool.name != "x" && facts.count > 1 && facts.gone == 1',
        result("membership", auc_high=0.58, auc=0.5),
        facts={"tool": {"name": "risk-classifier"}, "count": 2},
    )
    assert rule.inputs == {
        "checks.membership.status": "passed",
        "checks.membership.measurements.auc_high": 0.58,
        "facts.tool.name": "risk-classifier",
        "facts.count": 2,
        "facts.gone": None,
    }
    assert "gone" in rule.why


@pytest.mark.parametrize("require", ['facts.name.startsWith("risk")', 'facts.tags.exists(t, t == "ct")'])
def test_facts_have_methods(require: str) -> None:
    """Strings and lists among the facts may be asked."""
    assert ask(require, facts={"name": "risk-classifier", "tags": ["mr", "ct"]}).satisfied


def test_the_worst_rule_decides_and_what_is_known_comes_before_what_is_not() -> None:
    """Refuse before review; a definite no before an open question; then the policy's own order."""
    policy = policy_of(
        'checks.image.status == "passed"',
        'checks.pinning.status == "passed"',
        'checks.provenance.status == "passed"',
        undecided="refuse",
    )
    verdict = decide(policy, results(result("image"), result("provenance", "failed")), facts={})
    assert (verdict.outcome, verdict.decided_by, verdict.why) == ("refuse", "rule-2", "Rule 2 says no.")
    assert [rule.id for rule in verdict.unsatisfied] == ["rule-2", "rule-1"]
    open_only = decide(policy, results(result("image"), result("provenance")), facts={})
    assert (open_only.decided_by, open_only.why) == ("rule-1", "Pinning was not checked.")


def test_an_empty_rule_list_refuses() -> None:
    """No rule for the stage asked, or no stage asked: nobody judges, so nobody admits."""
    policy = policy_of(SIGNED)
    given = results(result("provenance"))
    empty = policy.model_copy(update={"rules": ()})
    verdicts = [
        decide(policy, given, facts={}, stages={Stage.AFTER}),
        decide(policy, given, facts={}, stages=()),
        decide(empty, given, facts={}),
    ]
    for verdict in verdicts:
        assert (verdict.outcome, verdict.decided_by, verdict.rules) == ("refuse", None, ())
        assert verdict.why
    assert decide(policy, given, facts={}, stages=["before-execution"]).outcome == "admit"


def test_the_shipped_policy_admits_what_passes_and_gate_1_asks_only_its_own() -> None:
    """All checks passed: admitted; before execution only the static rules are asked."""
    policy = load_policy().policy
    assert decide(policy, passing(), facts={}).outcome == "admit"
    static = {name: found for name, found in passing().items() if name not in ("conformance", "membership")}
    gate = decide(policy, static, facts={}, stages={Stage.BEFORE})
    assert gate.outcome == "admit"
    assert {rule.stage for rule in gate.rules} == {Stage.BEFORE}
    assert decide(policy, static, facts={}).outcome == "review"
    assert decide(policy, {}, facts={}).outcome == "refuse"


@pytest.mark.parametrize(
    ("check", "status", "outcome", "decided_by"),
    [
        ("provenance", "failed", "refuse", "signed-by-a-trusted-identity"),
        ("provenance", "inconclusive", "refuse", "signed-by-a-trusted-identity"),
        ("pinning", "failed", "refuse", "same-version-same-image"),
        ("model_files", "failed", "refuse", "model-files-run-no-code"),
        ("model_files", "inconclusive", "review", "model-files-run-no-code"),
        ("code", "inconclusive", "review", "code-can-be-read"),
        ("code", "not applicable", "admit", None),
        ("manifest", "failed", "refuse", "manifest-is-sound"),
        ("image", "failed", "refuse", "image-is-hygienic"),
        ("vulnerabilities", "failed", "refuse", "no-known-critical-or-high-vulnerability"),
        ("vulnerabilities", "inconclusive", "review", "no-known-critical-or-high-vulnerability"),
        ("sbom", "failed", "review", "bill-of-materials-agrees"),
        ("dossier", "failed", "review", "dossier-is-complete"),
        ("conformance", "failed", "refuse", "does-what-its-manifest-says"),
        ("containment", "failed", "refuse", "stays-contained"),
        ("canaries", "failed", "refuse", "lets-no-identifier-out"),
        ("canaries", "inconclusive", "review", "lets-no-identifier-out"),
        ("determinism", "failed", "review", "gives-the-same-result-twice"),
        ("membership", "failed", "refuse", "no-evidence-of-memorised-patients"),
        ("membership", "not applicable", "admit", None),
        ("dp_claim", "failed", "refuse", "privacy-claim-adds-up"),
        ("dp_claim", "inconclusive", "review", "privacy-claim-adds-up"),
    ],
)
def test_what_the_shipped_policy_says_of_each_check(
    check: str, status: str, outcome: str, decided_by: str | None
) -> None:
    """One check answers differently, everything else passes."""
    found = passing() | {check: result(check, status, critical=0, high=0, unchecked=0, determinism="bitwise")}
    verdict = decide(load_policy().policy, found, facts={})
    assert (verdict.outcome, verdict.decided_by) == (outcome, decided_by)


@pytest.mark.parametrize(("severity", "outcome"), [("critical", "refuse"), ("high", "refuse"), ("unchecked", "review")])
def test_vulnerabilities_count_even_when_the_check_passed(severity: str, outcome: str) -> None:
    """The policy looks at the numbers too, not only at the check's own opinion."""
    counts: dict[str, Any] = {"critical": 0, "high": 0, "unchecked": 0, severity: 1}
    found = passing() | {"vulnerabilities": result("vulnerabilities", **counts)}
    assert decide(load_policy().policy, found, facts={}).outcome == outcome


def test_code_that_hides_needs_a_person() -> None:
    """Code that reaches for the network is only told; code that cannot be read is for people to judge."""
    found = passing() | {"code": result("code", hidden=1)}
    verdict = decide(SHIPPED, found, facts={})
    assert (verdict.outcome, verdict.decided_by) == ("review", "code-can-be-read")


def test_a_tool_that_admits_to_be_nondeterministic_needs_a_person() -> None:
    """Its claim is honest and its check passes; whether that will do is for people to say."""
    found = passing() | {"determinism": result("determinism", determinism="nondeterministic")}
    verdict = decide(SHIPPED, found, facts={})
    assert (verdict.outcome, verdict.decided_by) == ("review", "gives-the-same-result-twice")


STATUSES = st.sampled_from([*Status, None])


@settings(max_examples=60, deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(sorted(CHECKS), STATUSES)), st.sampled_from(sorted(CHECKS)))
def test_knowing_less_never_helps(statuses: dict[str, Status | None], forgotten: str) -> None:
    """Whatever the results, admission needs an answer to every check asked, and losing one never admits."""
    policy = SHIPPED
    found = {
        name: result(name, status, critical=0, high=0, unchecked=0, determinism="bitwise")
        for name, status in statuses.items()
        if status
    }
    verdict = decide(policy, found, facts={})
    if verdict.outcome is Outcome.ADMIT:
        answered = {Status.PASSED, Status.NOT_APPLICABLE}
        assert all(statuses[name] in answered for name in CHECKS)
    less = {name: item for name, item in found.items() if name != forgotten}
    assert decide(policy, less, facts={}).outcome is not Outcome.ADMIT
    if statuses[forgotten] is Status.PASSED:
        assert SEVERITY[decide(policy, less, facts={}).outcome] >= SEVERITY[verdict.outcome]


def test_a_verdict_is_plain_data_and_comes_back() -> None:
    """Frozen, and the same after a journey through JSON."""
    verdict = decide(load_policy().policy, passing() | {"image": result("image", "failed")}, facts={})
    again = Verdict.model_validate_json(verdict.model_dump_json())
    assert again == verdict
    assert json.loads(verdict.model_dump_json())["outcome"] == "refuse"
    with pytest.raises(ValueError, match="frozen"):
        verdict.outcome = Outcome.ADMIT  # type: ignore[misc]


def test_the_same_inputs_give_the_same_verdict(tmp_path: Path) -> None:
    """A replay decides as the first time, from a copy of the policy's file."""
    copy = tmp_path / "policy.yaml"
    copy.write_bytes(load_policy().path.read_bytes())
    again = load_policy(copy)
    assert again.digest == load_policy().digest
    assert decide(again.policy, passing(), facts={}) == decide(load_policy().policy, passing(), facts={})


def test_rules_may_be_asked_of_any_check_by_itself() -> None:
    """Every check's status can be demanded."""
    for name in sorted(CHECKS):
        rule = Rule.model_validate(
            {
                "id": "x",
                "stage": "after-execution",
                "require": f'checks.{name}.status == "passed"',
                "otherwise": "review",
                "say": "No.",
            }
        )
        assert rule.undecided is Outcome.REVIEW
