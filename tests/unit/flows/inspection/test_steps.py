"""The checks as both runners walk them: what a cached answer depends on, and what stops a check from answering."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import flows.steps
from checks.interface import CheckResult, Level, Status
from flows.case import Case
from flows.direct import inspect
from flows.inspection import Inspection
from flows.node import Node
from flows.steps import AFTER, BEFORE, NOT_ASKED, STEPS, Step, answer, left_out
from policies.load import load_policy
from policies.model import Outcome, Stage
from policies.rules import CHECKS
from pratique.errors import CouldNotDecide, EngineUnavailable, InvalidInput, NotAuthorised, Refused, UsageError
from tests.assets.images import made
from tests.unit.flows.inspection.conftest import Opened

KEPT = [step.name for step in STEPS if step.keeps]
ON_IMAGE = {"image", "model_files", "code"}
ON_PAPERS = {"manifest", "sbom", "dp_claim"}
ON_RUNS = {"conformance", "containment", "canaries", "determinism"}
ON_PRIVACY = {"membership"}


def keys(case: Case) -> dict[str, str]:
    return {step.name: step.cache_key(case) for step in STEPS if step.keeps}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_groups_name_every_kept_step() -> None:
    assert set(KEPT) == ON_IMAGE | ON_PAPERS | ON_RUNS | ON_PRIVACY


def test_every_step_is_a_check_that_policies_know() -> None:
    assert {step.name for step in STEPS} <= set(CHECKS)
    assert len({step.name for step in STEPS}) == len(STEPS)
    assert (*BEFORE, *AFTER) == STEPS, "what runs nothing comes first"
    assert all(step.version for step in STEPS)


def test_the_reference_lists_every_check_in_its_order() -> None:
    text = (Path(__file__).parents[4] / "docs/reference/submission.md").read_text()
    table = text.partition("## What is checked, in this order")[2]
    listed = re.findall(r"^\| (?:`([a-z_]+)`|\*gate 1\*) \|", table, re.MULTILINE)
    assert listed == [*(step.name for step in BEFORE), "", *(step.name for step in AFTER)]


def test_what_depends_on_the_moment_is_never_kept() -> None:
    assert {"provenance", "pinning", "vulnerabilities"} & set(KEPT) == set()


def test_same_inputs_give_the_same_keys(opened: Opened) -> None:
    first, second = keys(opened()), keys(opened())
    assert first == second
    assert len(set(first.values())) == len(first), "no two checks share one"


def test_keys_change_with_the_release(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer of a release with a hole must not outlive the one that closes it."""
    before = keys(opened())
    monkeypatch.setattr(flows.steps, "_program", lambda: "another")
    assert changed(before, keys(opened())) == set(KEPT)


def test_keys_change_with_the_image(opened: Opened, submission: Path, other_image: tuple[bytes, str]) -> None:
    before = keys(opened())
    text = (submission / "submission.yaml").read_text()
    digest = text.split('digest: "')[1].split('"')[0]
    (submission / "submission.yaml").write_text(text.replace(digest, other_image[1]))
    (submission / "image.tar").write_bytes(other_image[0])
    assert changed(before, keys(opened())) == set(KEPT)


@pytest.mark.parametrize("name", ["in/patients.csv", "out/scores.csv", "scorer.cwl", "submission.yaml", "new.txt"])
def test_keys_change_with_each_paper(name: str, opened: Opened, submission: Path) -> None:
    before = keys(opened())
    path = submission / name
    path.write_bytes((path.read_bytes() if path.exists() else b"") + b"\n")
    assert changed(before, keys(opened())) == ON_PAPERS | ON_RUNS | ON_PRIVACY


def test_the_code_is_asked_again_where_the_manifest_starts_another_program(opened: Opened, submission: Path) -> None:
    """Also where only an argument or a default says which."""
    before = keys(opened())
    path = submission / "scorer.cwl"
    path.write_text(path.read_text().replace("baseCommand: []", "baseCommand: []\narguments: [/app/weights.dat]"))
    assert "code" in changed(before, keys(opened()))


def test_keys_change_when_a_paper_is_renamed(opened: Opened, submission: Path) -> None:
    (submission / "note-a.md").write_text("x")
    before = keys(opened())
    (submission / "note-a.md").rename(submission / "note-b.md")
    assert changed(before, keys(opened())) == ON_PAPERS | ON_RUNS | ON_PRIVACY


def test_keys_stay_when_only_a_signature_changes(opened: Opened, submission: Path) -> None:
    text = (submission / "submission.yaml").read_text()
    (submission / "submission.yaml").write_text(text + "signatures: [bundle.json]\n")
    (submission / "bundle.json").write_text("{}")
    before = keys(opened())
    (submission / "bundle.json").write_text("[]")
    assert changed(before, keys(opened())) == set()


@pytest.mark.parametrize(
    ("place", "also"),
    [
        ("scorer.cwl", "signatures: [scorer.cwl]"),
        ("scorer.cwl", "signatures: [./scorer.cwl]"),
        ("submission.yaml", "signatures: [submission.yaml]"),
        ("in/patients.csv", "signatures: [in/patients.csv]"),
        ("None/index.json", "documents: [{kind: note, path: None/index.json}]"),
        ("out/scores.csv", "signatures: [out/scores.csv]"),
    ],
)
def test_keys_change_with_a_paper_that_is_called_a_signature_too(
    place: str, also: str, opened: Opened, submission: Path
) -> None:
    """Else an answer about another manifest, or about other data, would be taken for the one about this."""
    (submission / place).parent.mkdir(exist_ok=True)
    (submission / place).touch()
    (submission / "submission.yaml").write_text((submission / "submission.yaml").read_text() + also + "\n")
    before = keys(opened())
    (submission / place).write_bytes((submission / place).read_bytes() + b"\n")
    assert changed(before, keys(opened())) == ON_PAPERS | ON_RUNS | ON_PRIVACY


def test_a_declared_sbom_that_changed_after_it_was_hashed_fails(opened: Opened, submission: Path) -> None:
    """Else an answer about one would be kept under the digest of another."""
    (submission / "submission.yaml").write_text((submission / "submission.yaml").read_text() + "sbom: sbom.json\n")
    (submission / "sbom.json").write_text("{}")
    case = opened()
    (submission / "sbom.json").write_text("[]")
    result = answer(next(step for step in STEPS if step.name == "sbom"), case)
    assert (result.status, result.findings[0].rule_id) == (Status.FAILED, "sbom/invalid-input")


def test_keys_change_with_a_paper_that_hides_among_the_blobs(opened: Opened, submission: Path) -> None:
    """A file there that is not what its name says is no part of the image, so nothing else vouches for it."""
    image = made(("app/main.py", b"print()"))
    top = image.manifest()
    image.write_layout(submission / "image", [top])
    text = (submission / "submission.yaml").read_text()
    place = f'image: {{layout: image, digest: "{top["digest"]}"}}'
    text = re.sub(r"image: \{.*\}", place, text).replace("in/patients.csv", "image/blobs/sha256/table")
    (submission / "submission.yaml").write_text(text)
    (submission / "image/blobs/sha256/table").write_text("patient_id,age\n1,2\n")
    before = keys(opened())
    (submission / "image/blobs/sha256/table").write_text("patient_id,age\n1,3\n")
    assert changed(before, keys(opened())) == ON_PAPERS | ON_RUNS | ON_PRIVACY


@pytest.mark.parametrize(
    ("section", "value", "expected"),
    [
        ("image", {"layers": 5}, ON_IMAGE),
        ("sandbox", {"ceilings": {"memory": "1GiB"}}, ON_RUNS | ON_PRIVACY),
        ("privacy", {"auc_limit": 0.7}, ON_PRIVACY),
        ("name", "another-name", set()),
    ],
)
def test_keys_change_with_what_the_policy_says_of_the_check(
    section: str, value: object, expected: set[str], opened: Opened, under: Callable[..., Node]
) -> None:
    before = keys(opened(under=under()))
    assert changed(before, keys(opened(under=under(**{section: value})))) == expected


def test_keys_change_with_the_version_of_the_check(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(opened())
    monkeypatch.setattr("checks.manifest.VERSION", "next")
    assert changed(before, keys(opened())) == {"manifest"}
    monkeypatch.undo()
    monkeypatch.setattr(flows.steps, "FORMAT", "next")
    assert changed(before, keys(opened())) == set(KEPT)


def test_seed_is_of_this_node_and_this_submission(opened: Opened, submission: Path) -> None:
    case = opened()
    assert case.seed("cohort") == opened().seed("cohort")
    assert case.seed("cohort") != case.seed("membership")
    (submission / "new.txt").write_text("x")
    assert case.seed("cohort") != opened().seed("cohort")


# --- what stops a check from answering -------------------------------------------------------------------------------


def asking(error: BaseException, name: str = "manifest") -> Step:
    def ask(_case: Case) -> CheckResult:
        raise error

    step = next(step for step in STEPS if step.name == name)
    return dataclasses.replace(step, ask=ask)


STOPPED: dict[str, tuple[BaseException, Status]] = {
    "bad input": (InvalidInput("bad", rule="a/b", where="there", next_step="mend it"), Status.FAILED),
    "refused": (Refused("no", next_step="mend it"), Status.INCONCLUSIVE),
    "undecided": (CouldNotDecide("hm", next_step="mend it"), Status.INCONCLUSIVE),
    "no engine": (EngineUnavailable("gone", next_step="mend it"), Status.INCONCLUSIVE),
    "usage": (UsageError("hm", next_step="mend it"), Status.INCONCLUSIVE),
    "not authorised": (NotAuthorised("hm", next_step="mend it"), Status.INCONCLUSIVE),
    "disk full": (OSError(28, "No space left on device"), Status.INCONCLUSIVE),
    "not permitted": (PermissionError("not yours"), Status.INCONCLUSIVE),
    "memory": (MemoryError(), Status.INCONCLUSIVE),
}


@pytest.mark.parametrize(("error", "status"), STOPPED.values(), ids=STOPPED)
def test_what_stops_a_check_never_passes_and_says_what_to_do(
    error: BaseException, status: Status, opened: Opened
) -> None:
    result = answer(asking(error), opened())
    assert result.check == "manifest"
    assert result.status is status
    assert result.summary
    (finding,) = result.findings
    assert finding.fix
    assert (finding.level is Level.ERROR) == (status is Status.FAILED)


def test_ctrl_c_is_no_answer(opened: Opened) -> None:
    with pytest.raises(KeyboardInterrupt):
        answer(asking(KeyboardInterrupt()), opened())


def test_bug_is_no_answer(opened: Opened) -> None:
    """A programming error must be seen, and not look like an answer."""
    with pytest.raises(ZeroDivisionError):
        answer(asking(ZeroDivisionError()), opened())


def test_engine_that_is_not_there_leaves_the_sandbox_checks_undecided(opened: Opened) -> None:
    case = opened()
    for step in AFTER:
        result = answer(step, case)
        assert result.status in (Status.INCONCLUSIVE, Status.NOT_APPLICABLE), step.name
        if step.name in ON_RUNS:
            assert "no container engine answers" in result.summary
            assert "docker" in result.findings[0].fix.lower()


def test_static_checks_need_no_engine(opened: Opened) -> None:
    case = opened()
    for step in BEFORE:
        assert answer(step, case).check == step.name


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_not_run_is_inconclusive_and_says_why(step: Step) -> None:
    result = left_out(step, "because", "do this")
    assert result.status is Status.INCONCLUSIVE
    assert result.findings[0].rule_id == f"{step.name}/{NOT_ASKED}"
    assert result.findings[0].fix == "do this"


# --- gates -----------------------------------------------------------------------------------------------------------


class Told:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def say(self, text: str) -> None:
        assert text

    def started(self, name: str) -> None:
        self.names.append(name)

    def finished(self, result: CheckResult, *, cached: bool = False) -> None:
        assert result.check == self.names[-1]


def test_gate_1_keeps_a_refused_tool_from_being_run(node: Node, submission: Path) -> None:
    """Under the shipped policy nobody is trusted: refused, and no check that would run the tool was asked."""
    told = Told()
    report = inspect(node, submission, told)
    assert report.verdict.outcome is Outcome.REFUSE
    assert report.verdict.decided_by == "signed-by-a-trusted-identity"
    assert set(told.names) == {step.name for step in BEFORE}
    for step in AFTER:
        (finding,) = report.checks[step.name].findings
        assert finding.rule_id == f"{step.name}/{NOT_ASKED}"
        assert "signed-by-a-trusted-identity" in finding.message
    assert report.tool_seconds == 0


def test_static_precheck_never_admits(submission: Path, under: Callable[..., Node]) -> None:
    """Even where every static rule is satisfied, what was not asked stays open."""
    rule = {
        "id": "only-rule",
        "stage": "before-execution",
        "require": 'checks.manifest.status == "passed"',
        "otherwise": "refuse",
        "say": "x",
    }
    after = {**rule, "id": "runs-well", "stage": "after-execution", "require": 'checks.conformance.status == "passed"'}
    report = inspect(under(rules=[rule, after]), submission, Told(), static_only=True)
    assert report.verdict.outcome is Outcome.REVIEW
    assert report.verdict.decided_by == "runs-well"
    assert all(report.checks[step.name].status is Status.INCONCLUSIVE for step in AFTER)


def test_open_gate_lets_the_tool_be_run(submission: Path, under: Callable[..., Node]) -> None:
    rule = {
        "id": "only-rule",
        "stage": "before-execution",
        "require": 'checks.manifest.status == "passed"',
        "otherwise": "refuse",
        "say": "x",
    }
    told = Told()
    inspect(under(rules=[rule]), submission, told)
    assert set(told.names) == {step.name for step in STEPS}


def test_report_has_the_checks_in_order_and_all_risks(node: Node, submission: Path) -> None:
    report = inspect(node, submission, Told(), static_only=True)
    assert list(report.checks) == [step.name for step in STEPS]
    assert len(report.risks) == 28
    assert report.ledger is None
    assert report.kind == "precheck"


def test_gate_without_answers_is_closed(opened: Opened) -> None:
    inspection = Inspection(opened())
    assert inspection.gate().outcome is Outcome.REFUSE
    assert inspection.verdict().outcome is Outcome.REFUSE
    assert inspection.closed()
    assert all(rule.stage is Stage.BEFORE for rule in inspection.gate().rules)


def test_scratch_is_gone_whatever_happens(node: Node, submission: Path, opened: Opened) -> None:
    (submission / "image.tar").write_bytes(b"no image")
    with pytest.raises(InvalidInput):
        opened()
    assert list(node.settings.work.iterdir()) == []


def test_shipped_policy_names_only_steps_that_exist() -> None:
    named = {
        part.split(".")[1] for rule in load_policy().policy.rules for part in rule.require.split() if "checks." in part
    }
    assert {name.strip("()") for name in named} <= {step.name for step in STEPS}
