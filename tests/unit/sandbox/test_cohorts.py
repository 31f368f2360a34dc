"""Synthetic cohorts: the same bytes from the same seed, valid files, canaries where they belong."""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pratique.errors import InvalidInput, UsageError
from sandbox.canaries import CanaryKind, Scanner
from sandbox.cohorts import (
    Cohort,
    CohortKind,
    CohortRequest,
    Role,
    broken_names,
    broken_variants,
    make_broken,
    make_cohort,
    shape_of,
)

DIGESTS = {
    CohortKind.TABULAR: "sha256:949c11e8f510de58e64e846c88d7d270e38b662b9591900d9e95a879186707e8",
    CohortKind.NIFTI: "sha256:55d351da5530e9643815160453d79cf09f946fdf53092bf34b75f35b0fa2c7f7",
    CohortKind.DICOM: "sha256:555112c2cedc6015ebd212792cbd4c9b90aef1ecc363fbef503a5406829d409e",
}
"""What seed 5 gives on every machine; a change here changes every record that names a cohort by its seed."""

EXAMPLE = b"""case;centre;age;grade;suv;comment;late;response
P-1;A;61;2;4.125;first visit;0;1
P-2;B;44;3;;second visit;1;0
P-3;A;70;2;2.250;third visit;0;1
P-4;B;58;1;9.500;fourth visit;1;0
"""
ROLES = {"case": Role.IDENTIFIER, "comment": Role.TEXT, "centre": Role.CATEGORY, "response": Role.OUTCOME}


def rows_of(cohort: Cohort, delimiter: str = ",") -> list[dict[str, str]]:
    text = (cohort.root / cohort.files[0]).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))


@pytest.mark.parametrize("kind", CohortKind)
def test_same_seed_same_bytes(kind: CohortKind, tmp_path: Path) -> None:
    """A cohort is the same everywhere, and another seed gives another."""
    cohort = make_cohort(CohortRequest(kind, 5), tmp_path / "a")
    assert cohort.digest == DIGESTS[kind]
    other = make_cohort(CohortRequest(kind, 6), tmp_path / "b")
    assert other.digest != cohort.digest
    assert not {canary.value for canary in cohort.canaries} & {canary.value for canary in other.canaries}


@pytest.mark.parametrize("kind", CohortKind)
def test_every_canary_is_in_the_input_and_none_in_the_truth(kind: CohortKind, tmp_path: Path) -> None:
    """The scanner finds each canary where the cohort says that it was planted."""
    cohort = make_cohort(CohortRequest(kind, 5), tmp_path)
    scanner = Scanner(cohort.canaries)
    found = {hit.canary for name in cohort.files for hit in scanner.scan_file(cohort.root / name).hits}
    assert found == set(cohort.canaries)
    assert all(canary.placed_in.partition("#")[0] in str(cohort.files) for canary in cohort.canaries)
    if kind is not CohortKind.TABULAR:
        assert not any(scanner.scan_file(path).hits for path in cohort.truth.values())


@pytest.mark.parametrize("kind", CohortKind)
def test_broken_variants_differ_and_still_carry_canaries(kind: CohortKind, tmp_path: Path) -> None:
    """Every variant but the empty one has something to leak, and is reproducible."""
    good = make_cohort(CohortRequest(kind, 5), tmp_path / "good")
    variants = broken_variants(CohortRequest(kind, 5), tmp_path / "broken")
    again = broken_variants(CohortRequest(kind, 5), tmp_path / "again")
    assert [variant.variant for variant in variants] == list(broken_names(kind))
    assert [variant.digest for variant in variants] == [variant.digest for variant in again]
    assert len({good.digest, *(variant.digest for variant in variants)}) == len(variants) + 1
    for variant in variants:
        scanner = Scanner(variant.canaries)
        leaks = any(scanner.scan_file(variant.root / name).hits for name in variant.files)
        assert leaks != (variant.variant == "empty")


def test_no_such_broken_variant(tmp_path: Path) -> None:
    """An unknown variant is a mistake of the caller, said with what exists."""
    with pytest.raises(UsageError, match="no broken variant"):
        make_broken(CohortRequest(CohortKind.NIFTI, 1), "swapped-columns", tmp_path)


def test_table_strata_are_balanced(tmp_path: Path) -> None:
    """Site, sex and age band are crossed in full; ages lie within their band; some cells are missing."""
    rows = rows_of(make_cohort(CohortRequest(CohortKind.TABULAR, 5), tmp_path))
    strata = Counter((row["site"], row["sex"], row["age_band"]) for row in rows)
    assert len(strata) == 18
    assert set(strata.values()) == {5}
    for row in rows:
        low, high = row["age_band"].split("-")
        assert int(low) <= int(row["age"]) <= int(high)
    assert 0 < sum(not row["ca125"] for row in rows) < 30
    assert {row["outcome"] for row in rows} == {"0", "1"}


def test_table_after_an_example(tmp_path: Path) -> None:
    """Same columns, order, delimiter, types and ranges as the example; identifiers and text are new."""
    shape = shape_of(EXAMPLE, ROLES, file_name="in/radiomics.csv")
    cohort = make_cohort(CohortRequest(CohortKind.TABULAR, 3, 40, shape), tmp_path)
    assert cohort.files == ("radiomics.csv",)
    rows = rows_of(cohort, ";")
    assert list(rows[0]) == ["case", "centre", "age", "grade", "suv", "comment", "late", "response"]
    assert Counter(row["centre"] for row in rows) == {"A": 20, "B": 20}
    assert all(44 <= int(row["age"]) <= 70 for row in rows)
    assert all(2.25 <= float(row["suv"]) <= 9.5 for row in rows if row["suv"])
    assert {len(row["suv"].partition(".")[2]) for row in rows if row["suv"]} == {3}
    assert any(not row["suv"] for row in rows)
    assert {row["late"] for row in rows} == {"0", "1"}
    identifiers = {canary.value for canary in cohort.canaries if canary.kind is CanaryKind.IDENTIFIER}
    assert identifiers == {row["case"] for row in rows}
    assert not any("visit" in row["comment"] and "first" in row["comment"] for row in rows)


def test_numeric_identifiers_become_long_integers(tmp_path: Path) -> None:
    """Where the identifier is a number, canaries are numbers too, too long to occur by chance."""
    example = b"id,x\n" + b"\n".join(b"%d,%d" % (n, n * 3) for n in range(1, 9)) + b"\n"
    shape = shape_of(example, {"id": Role.IDENTIFIER})
    cohort = make_cohort(CohortRequest(CohortKind.TABULAR, 3, 10, shape), tmp_path)
    assert all(len(row["id"]) == 15 and row["id"].isdecimal() for row in rows_of(cohort))
    assert len(cohort.canaries) == 10


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n",
        b"a,b\n",
        b"a,b\n1\n",
        b"a,a\n1,2\n",
        b"\xff\xfe\x00",
        b'a,b\n"1,2\n',
        b"a\n" + b"x" * 20_000,
        b"c\n1\n",
        b",".join(b"c%d" % n for n in range(6_000)) + b"\n",
        bytes(17 << 20),
    ],
    ids=[
        "empty", "no header", "no rows", "ragged", "column twice", "not utf-8", "open quote", "huge cell",
        "declared column absent", "6000 columns", "17 MB",
    ],
)  # fmt: skip
def test_refuses_an_example_that_is_no_table(data: bytes) -> None:
    """Whatever is no small rectangular table is refused with a next step."""
    with pytest.raises(InvalidInput) as caught:
        shape_of(data, {"a": Role.IDENTIFIER})
    assert caught.value.rule == "cohort/example-table"
    assert caught.value.next_step


@settings(max_examples=80, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text('ab,;1.eE-+\n" ', max_size=80).map(str.encode)))
def test_shape_of_accepts_or_refuses(data: bytes) -> None:
    """No example makes it raise anything else."""
    try:
        shape = shape_of(data, {})
    except InvalidInput:
        return
    assert shape.columns


def test_nifti_is_readable_and_its_lesions_are_where_the_truth_says(tmp_path: Path) -> None:
    """nibabel reads volume and mask; lesions are brighter than tissue; spacings differ between scanners."""
    import nibabel as nib

    load: Any = nib.load
    cohort = make_cohort(CohortRequest(CohortKind.NIFTI, 5, 3), tmp_path)
    spacings = set()
    for name in cohort.files:
        image, truth = load(cohort.root / name), load(cohort.truth[name])
        voxels, mask = np.asarray(image.dataobj), np.asarray(truth.dataobj)
        assert voxels.dtype == np.int16
        assert voxels.shape == mask.shape == (48, 48, 24)
        assert mask.sum() > 50
        assert 140 < voxels[mask == 1].mean() < 220
        assert voxels[24, 24, :].mean() > -100
        spacings.add(tuple(image.header.get_zooms()))
        assert gzip.decompress((cohort.root / name).read_bytes())[:4] == b"\x5c\x01\x00\x00"
    assert len(spacings) == 3


def test_dicom_is_readable(tmp_path: Path) -> None:
    """pydicom reads every slice; UIDs agree within a series; private tag and pixels carry canaries."""
    import pydicom

    cohort = make_cohort(CohortRequest(CohortKind.DICOM, 5), tmp_path)
    series: dict[str, set[str]] = {}
    values = {canary.value for canary in cohort.canaries}
    for name in cohort.files:
        data = pydicom.dcmread(cohort.root / name)
        series.setdefault(name.partition("/")[0], set()).add(data.SeriesInstanceUID)
        assert data.pixel_array.shape == (48, 48)
        assert data.private_block(0x0099, "SYNTHETIC COHORT")[0x01].value in values
        assert data.PatientID in values
        assert len(data.AccessionNumber) == 16
    assert [len(uids) for uids in series.values()] == [1, 1]
