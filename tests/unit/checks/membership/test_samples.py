"""Sample files as providers get them wrong, and as attackers write them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.membership.samples import MAX_COLUMNS, read_csv, read_records
from pratique.errors import CouldNotDecide, InvalidInput
from tests.unit.checks.membership.cohorts import HEADER, records_of, table

MEMBERS = b"patient_id,a,outcome\np1,1.5,0\np2,2.5,1\n"
OTHERS = b"patient_id,a,outcome\nq1,1.6,0\nq2,2.6,1\n"


@pytest.mark.parametrize(
    ("members", "others", "rule"),
    [
        (b"", OTHERS, "csv/header"),
        (b"patient_id,a,outcome\n", OTHERS, "csv/empty"),
        (b"\xff\xfe\x00", OTHERS, "csv/encoding"),
        (MEMBERS + b"p3,1\n", OTHERS, "csv/ragged"),
        (b'patient_id,a,outcome\n"p1,1,0\n', OTHERS, "csv/syntax"),
        (b"a,a,outcome\np1,1,0\n", OTHERS, "csv/header"),
        (",".join(f"c{i}" for i in range(MAX_COLUMNS + 1)).encode() + b"\n", OTHERS, "csv/header"),
        (b"patient_id,a,outcome\n" + b"p,1,0\n" * 20_001, OTHERS, "csv/too-many-rows"),
        (b"patient_id,b,outcome\np1,1,0\np2,1,1\n", OTHERS, "samples/columns"),
        (b"id,a,outcome\np1,1,0\n", b"id,a,outcome\nq1,1,0\n", "samples/columns"),
        (b"patient_id,a,outcome\np1,1,2\np2,2,1\n", OTHERS, "samples/label"),
        (b"patient_id,a,outcome\np1,1,yes\np2,2,no\n", OTHERS, "samples/label"),
        (b"patient_id,a,outcome\np1,1,1\np2,2,1\n", OTHERS, "samples/label"),
        (b"patient_id,a,outcome\n,1,1\np2,2,0\n", OTHERS, "samples/identifier"),
        (b"patient_id,a,outcome\nq1,1.5,0\np2,2.5,1\n", OTHERS, "samples/overlap"),
        (b"patient_id,a,outcome\np1,1.6,0\np2,2.5,1\n", OTHERS, "samples/overlap"),
    ],
)
def test_bad_samples_are_refused_by_name(members: bytes, others: bytes, rule: str) -> None:
    """Every fault has its rule and a next step."""
    with pytest.raises(InvalidInput) as caught:
        read_records(members, others, identifier="patient_id", label="outcome")
    assert caught.value.rule == rule
    assert caught.value.next_step


@given(st.binary(max_size=200) | st.text(alphabet='ab,"\n\r\0é1', max_size=60).map(str.encode))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_a_table_or_invalid_input(data: bytes) -> None:
    """Nothing but `InvalidInput` comes out of the reader, and rows fit their header."""
    try:
        header, rows = read_csv(data, where="x")
    except InvalidInput:
        return
    assert rows
    assert all(len(row) == len(header) for row in rows)


def test_columns_in_another_order_are_put_in_order() -> None:
    """Only the names must agree between the two files."""
    swapped = b"outcome,patient_id,a\n0,q1,1.6\n1,q2,2.6\n"
    records = read_records(MEMBERS, swapped, identifier="patient_id", label="outcome")
    assert records.rows[2] == ("q1", "1.6", "0")


def test_coarse_records_may_repeat_across_the_lists() -> None:
    """Where records are a few categories, equal rows do not show that a patient is in both lists."""
    rows = "".join(f"{{0}}{i},{i % 3},{i % 2}\n" for i in range(12))
    members, others = (("patient_id,a,outcome\n" + rows.format(*[tag] * 12)).encode() for tag in "pq")
    assert len(read_records(members, others, identifier="patient_id", label="outcome")) == 24


def test_features_are_finite_whatever_is_missing() -> None:
    """Absent, non-finite and mistyped cells become the median; text and constants are left out."""
    generator = np.random.default_rng(0)
    members = table(generator, 60, "m").decode().splitlines()
    for line, cell in enumerate(["", "nan", "inf", "-inf", "NA"], start=1):
        fields = members[line].split(",")
        fields[2] = cell
        members[line] = ",".join(fields)
    data = "\n".join(members).encode()
    records = read_records(data, table(generator, 60, "n"), identifier="patient_id", label="outcome")
    assert np.isfinite(records.features).all()
    assert records.features.shape == (120, 4 + 1 + 2)  # numbers, one indicator of absence, two sites
    assert HEADER.split(",").index("site") not in records.numbers


def test_samples_without_a_usable_column_cannot_be_decided() -> None:
    """Free text alone trains no reference model."""
    members, others = (
        ("patient_id,note,outcome\n" + "".join(f"{tag}{i},text {tag} {i},{i % 2}\n" for i in range(30))).encode()
        for tag in "pq"
    )
    records = read_records(members, others, identifier="patient_id", label="outcome")
    with pytest.raises(CouldNotDecide):
        _ = records.features


def test_a_patient_counts_once_whatever_the_number_of_records() -> None:
    """Scores are averaged over a patient's records, so that n is the number of patients."""
    members = b"patient_id,a,outcome\np1,1,0\np1,2,1\np2,3,0\n"
    records = read_records(members, OTHERS, identifier="patient_id", label="outcome")
    inside, outside = records.by_patient(np.array([1.0, 3.0, 5.0, 7.0, 9.0]))
    assert inside.tolist() == [2.0, 5.0]
    assert outside.tolist() == [7.0, 9.0]
    assert records_of(1, 30).member_patients.sum() == 30
