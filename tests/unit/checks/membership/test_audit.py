"""The audit table gives nobody away, and no answer file but the right one is believed."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.membership.audit import AUGMENTATIONS, DUPLICATES, Answers, AuditTable, build_audit, read_answers
from pratique.errors import InvalidInput
from tests.unit.checks.membership.cohorts import records_of

RECORDS = records_of(3, 40)
TABLE = build_audit(RECORDS, seed=5)
ROWS = list(csv.DictReader(io.StringIO(TABLE.data.decode())))


def good_lines(table: AuditTable) -> list[str]:
    """Answers that carry the record's number, so that order can be checked."""
    return [f"{name},{index / 1000}" for name, index in zip(table.identifiers, table.record, strict=True)]


def answers(tmp_path: Path, lines: list[str], header: str = "patient_id,probability") -> Answers:
    """What is read back from a file of `lines`."""
    path = tmp_path / "predictions.csv"
    path.write_text("\n".join([header, *lines, ""]))
    return read_answers(path, TABLE, identifier="patient_id", probability="probability", where="predictions.csv")


def test_the_table_hides_who_is_a_member() -> None:
    """No label, no true identifier, no order, no identifier twice."""
    names = [row["patient_id"] for row in ROWS]
    assert "outcome" not in ROWS[0]
    assert not {row[0] for row in RECORDS.rows} & set(names)
    assert len(set(names)) == len(names) == 80 * (1 + AUGMENTATIONS) + DUPLICATES
    first_half = RECORDS.member[TABLE.record[: len(names) // 2]].mean()
    assert 0.35 < first_half < 0.65
    assert names != sorted(names)


def test_plain_queries_carry_the_cells_as_they_were_and_changed_ones_do_not() -> None:
    """Memorised values are asked for to the letter; copies move a little, in the column's own decimals."""
    for row, index, kind in zip(ROWS, TABLE.record, TABLE.kind, strict=True):
        original = dict(zip(RECORDS.header, RECORDS.rows[index], strict=True))
        same = all(row[name] == original[name] for name in ("age", "crp", "volume", "score"))
        assert same == (kind <= 0)
        assert row["site"] == original["site"]
        assert abs(float(row["age"]) - float(original["age"])) < 0.5
        assert len(row["age"].partition(".")[2]) == 4


def test_the_same_seed_gives_the_same_bytes() -> None:
    """A replay asks the same questions; another seed asks others."""
    assert build_audit(RECORDS, seed=5).data == TABLE.data
    assert build_audit(RECORDS, seed=6).data != TABLE.data


def test_answers_in_any_order_find_their_records(tmp_path: Path) -> None:
    """Tools may reorder rows and add columns."""
    found = answers(tmp_path, [f"x,{line}" for line in reversed(good_lines(TABLE))], "more,patient_id,probability")
    assert found.plain.tolist() == [i / 1000 for i in range(80)]
    assert found.changed.shape == (AUGMENTATIONS, 80)
    assert found.unrepeatable == 0.0


def test_noise_between_two_answers_to_one_record_is_measured(tmp_path: Path) -> None:
    """Duplicates show randomised answers."""
    lines = good_lines(TABLE)
    twice = int(np.flatnonzero(TABLE.kind == -1)[0])
    lines[twice] = f"{TABLE.identifiers[twice]},{TABLE.record[twice] / 1000 + 0.25}"
    assert answers(tmp_path, lines).unrepeatable == pytest.approx(0.25)


SPOILED: list[tuple[str, Callable[[list[str]], list[str]], str]] = [
    ("a row is missing", lambda lines: lines[:-1], "predictions/missing-rows"),
    ("one identifier twice", lambda lines: [*lines[:-1], lines[0]], "predictions/duplicate-identifier"),
    ("an extra row", lambda lines: [*lines, lines[0]], "csv/too-many-rows"),
    ("an unknown identifier", lambda lines: [*lines[:-1], "q0,0.5"], "predictions/unknown-identifier"),
    ("a true identifier", lambda lines: [*lines[:-1], "m1,0.5"], "predictions/unknown-identifier"),
    ("NaN", lambda lines: [lines[0].partition(",")[0] + ",nan", *lines[1:]], "predictions/not-a-probability"),
    ("infinity", lambda lines: [lines[0].partition(",")[0] + ",inf", *lines[1:]], "predictions/not-a-probability"),
    ("above one", lambda lines: [lines[0].partition(",")[0] + ",1.01", *lines[1:]], "predictions/not-a-probability"),
    ("below zero", lambda lines: [lines[0].partition(",")[0] + ",-0.1", *lines[1:]], "predictions/not-a-probability"),
    ("text", lambda lines: [lines[0].partition(",")[0] + ",high", *lines[1:]], "predictions/not-a-probability"),
    ("a short row", lambda lines: ["q", *lines[1:]], "csv/ragged"),
    ("nothing at all", lambda lines: [], "csv/empty"),
    ("a huge file", lambda lines: [*lines, "x" * 400_000], "file/too-large"),
]


@pytest.mark.parametrize(("spoil", "rule"), [s[1:] for s in SPOILED], ids=[s[0] for s in SPOILED])
def test_spoiled_answers_are_not_believed(tmp_path: Path, spoil: Callable[[list[str]], list[str]], rule: str) -> None:
    """Each fault by its own rule."""
    with pytest.raises(InvalidInput) as caught:
        answers(tmp_path, spoil(good_lines(TABLE)))
    assert caught.value.rule == rule


def test_the_declared_columns_must_be_there(tmp_path: Path) -> None:
    """Another header is no answer."""
    with pytest.raises(InvalidInput) as caught:
        answers(tmp_path, good_lines(TABLE), "id,p")
    assert caught.value.rule == "predictions/columns"


def test_a_link_in_place_of_the_answers_is_not_followed(tmp_path: Path) -> None:
    """The output directory is not trusted either."""
    (tmp_path / "real.csv").write_text("\n".join(["patient_id,probability", *good_lines(TABLE)]))
    (tmp_path / "predictions.csv").symlink_to("real.csv")
    with pytest.raises(InvalidInput):
        read_answers(tmp_path / "predictions.csv", TABLE, identifier="patient_id", probability="probability", where="x")


@given(data=st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_answers_or_invalid_input(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """A hostile tool cannot crash the reader."""
    path = tmp_path_factory.getbasetemp() / "answers.csv"
    path.write_bytes(data)
    with pytest.raises(InvalidInput):
        read_answers(path, TABLE, identifier="patient_id", probability="probability", where="x")
