"""What remains of an inspection: the signed statement, its entry, the report; whole, or not at all."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from flows.case import Case
from flows.files import write_whole
from flows.inspection import Inspection
from flows.node import Node, ledger_verifier
from flows.record import record_inspection
from flows.report import Report, load_report
from flows.steps import BEFORE, answer
from pratique.digests import sha256_bytes
from pratique.errors import CouldNotDecide, UsageError
from records.admissions import signed_statements
from records.statements import INSPECTION_EXTENSION, TEST_RESULT
from records.verify import verify_ledger
from tests.unit.flows.inspection.conftest import Opened


def inspected(case: Case) -> Inspection:
    """The static checks asked, the rest refused by gate 1."""
    inspection = Inspection(case)
    for step in BEFORE:
        inspection.add(answer(step, case))
    assert inspection.closed()
    return inspection


def size(node: Node) -> int:
    found = verify_ledger(node.settings.ledger, ledger_verifier(node.settings, None))
    assert found.verified, found.problems
    return found.size


def test_statement_report_and_entry_agree(node: Node, opened: Opened) -> None:
    report = record_inspection(inspected(opened()))
    assert report.ledger is not None
    ((index, statement),) = signed_statements(node.ledger)
    assert (index, statement["predicateType"]) == (report.ledger.index, TEST_RESULT)
    assert sha256_bytes(node.ledger.entry(index)) == report.ledger.statement_digest
    extension = statement["predicate"][INSPECTION_EXTENSION]
    assert extension["runId"] == report.run_id
    assert extension["verdict"]["outcome"] == report.verdict.outcome == "refuse"
    assert extension["submission"]["sha256"] == report.submission_digest.removeprefix("sha256:")
    assert statement["subject"][0]["digest"]["sha256"] == report.image.manifest_digest.removeprefix("sha256:")
    assert statement["predicate"]["configuration"][0]["digest"]["sha256"] == node.policy.digest.removeprefix("sha256:")
    assert {result["name"] for result in extension["results"]} >= set(report.checks)
    assert load_report(node.settings.runs, report.run_id) == report
    assert load_report(node.settings.runs, "latest") == report
    assert size(node) == 1


def test_what_the_statement_names_is_in_the_store(node: Node, opened: Opened) -> None:
    record_inspection(inspected(opened()))
    ((_, statement),) = signed_statements(node.ledger)
    digests = set(
        re.findall(r"'sha256': '([0-9a-f]{64})'", str(statement["predicate"][INSPECTION_EXTENSION]["results"]))
    )
    assert len(digests) >= 10
    for digest in digests:
        assert node.store.get(f"sha256:{digest}")  # type: ignore[arg-type]  # a digest by its form


def test_personal_data_of_the_example_does_not_come_into_the_ledger(node: Node, opened: Opened) -> None:
    case = opened()
    record_inspection(inspected(case))
    entry = node.ledger.entry(0)
    for line in (case.submission.root / "in/patients.csv").read_text().splitlines()[1:]:
        assert line.split(",")[0].encode() not in entry


@pytest.mark.parametrize("moment", ["store", "report"])
def test_disk_that_fails_leaves_the_ledger_whole(
    moment: str, node: Node, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspection = inspected(opened())

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("flows.record._put" if moment == "store" else "flows.record.write_whole", fail)
    with pytest.raises(OSError, match="No space"):
        record_inspection(inspection)
    monkeypatch.undo()
    assert list(node.settings.runs.glob("*/report.json")) == []
    record_inspection(inspected(opened()))
    assert size(node) == (1 if moment == "store" else 2)


def test_file_is_whole_or_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.json"
    write_whole(path, "first")

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "replace", fail)
        write_whole(path, "second")
    assert path.read_text() == "first"
    write_whole(path, "third ✓")
    assert path.read_text(encoding="utf-8") == "third ✓"
    assert [one.name for one in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "20260101T000000-0badcafe/..", "20260101T000000-0badcaf", "latest ", "/etc", "x\x00", "٢٠"],
)
def test_names_that_are_no_run(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_report(tmp_path, name)
    assert caught.value.next_step


def test_latest_is_the_newest_that_has_a_report(node: Node, opened: Opened) -> None:
    report = record_inspection(inspected(opened()))
    (node.settings.runs / "99991231T235959-00000000").mkdir()
    assert load_report(node.settings.runs, "latest").run_id == report.run_id


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-20],
        lambda text: text.replace('"kind": "onboard"', '"kind": "other"'),
        lambda text: text.replace('"kind"', '"surprise": 1, "kind"'),
        lambda text: text.replace('"outcome": "refuse"', '"outcome": "admitted"'),
        lambda text: "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
        lambda text: text.replace('"seconds": ', '"seconds": "x", "old": '),
    ],
)
def test_altered_report_is_no_report(change: object, node: Node, opened: Opened) -> None:
    assert callable(change)
    report = record_inspection(inspected(opened()))
    path = node.settings.runs / report.run_id / "report.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(CouldNotDecide) as caught:
        load_report(node.settings.runs, report.run_id)
    assert caught.value.next_step


def test_report_survives_its_own_json(opened: Opened) -> None:
    report = record_inspection(inspected(opened()))
    assert Report.model_validate_json(report.to_json()) == report
