"""Synthetic cohorts: the same bytes from the same seed, valid files, canaries where they belong."""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from datetime import date
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
    Modality,
    Role,
    broken_names,
    broken_variants,
    make_broken,
    make_cohort,
    shape_of,
)

DIGESTS = {
    CohortKind.TABULAR: "sha256:89dae28631461f4fd8be984988f049e9f5d77e6de247756602bcc3ff90edf658",
    CohortKind.NIFTI: "sha256:d06bf98e89438dc68e3712526d078e63bb420e5ac52f9785d68482c1ed9d2cc8",
    CohortKind.DICOM: "sha256:a4ccb9d8f6c79101d780e75ca6f097c41ffc2962e0d0bf83d96b740fc0bb015d",
}
"""What seed 5 gives on every machine; a change here changes every record that names a cohort by its seed."""

NOTHING_TO_LEAK = {(CohortKind.TABULAR, "header-only"), *((kind, "empty") for kind in CohortKind)}

EXAMPLE = b"""case;centre;age;grade;suv;comment;late;response
P-1;A;61;2;4.125;first visit;0;1
P-2;B;44;3;;second visit;1;0
P-3;A;70;2;2.250;third visit;0;1
P-4;B;58;1;9.500;fourth visit;1;0
"""
LESION_AND_TISSUE = {Modality.CT: (180, 40), Modality.MR: (720, 320)}

COMMON_TYPE_1 = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality",
    "ImageType", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "SamplesPerPixel",
    "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelData", "SpecificCharacterSet", "PatientPosition", "WindowWidth",
)  # fmt: skip
COMMON_TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName",
    "StudyID", "AccessionNumber", "SeriesNumber", "PositionReferenceIndicator", "Manufacturer", "AcquisitionNumber",
    "InstanceNumber", "SliceThickness", "ContentDate", "ContentTime",
)  # fmt: skip
CT = (("RescaleIntercept", "RescaleSlope", "RescaleType"), ("KVP",))
MR = (
    ("ScanningSequence", "SequenceVariant"),
    ("ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime", "EchoTrainLength"),
)

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
    cohort = make_cohort(CohortRequest(kind, 5, 90 if kind is CohortKind.TABULAR else 1), tmp_path)
    scanner = Scanner(cohort.canaries)
    found = {hit.canary for name in cohort.files[:2] for hit in scanner.scan_file(cohort.root / name).hits}
    assert found == set(cohort.canaries)
    assert all(canary.placed_in.partition("#")[0] in str(cohort.files) for canary in cohort.canaries)
    if kind is not CohortKind.TABULAR:
        assert not any(scanner.scan_file(path).hits for path in cohort.truth.values())


@pytest.mark.parametrize("kind", CohortKind)
def test_broken_variants_differ_and_still_carry_canaries(kind: CohortKind, tmp_path: Path) -> None:
    """Every variant with content has something to leak, and is reproducible."""
    good = make_cohort(CohortRequest(kind, 5), tmp_path / "good")
    size = 0 if kind is CohortKind.TABULAR else 1
    variants = broken_variants(CohortRequest(kind, 5, size), tmp_path / "broken")
    again = broken_variants(CohortRequest(kind, 5, size), tmp_path / "again")
    assert [variant.variant for variant in variants] == list(broken_names(kind))
    assert [variant.digest for variant in variants] == [variant.digest for variant in again]
    assert len({good.digest, *(variant.digest for variant in variants)}) == len(variants) + 1
    for variant in variants:
        data = (variant.root / variant.files[0]).read_bytes()
        words = [canary.value.encode(codec) for canary in variant.canaries for codec in ("ascii", "utf-16-le")]
        leaks = any(word in data for word in words)
        assert leaks != (not variant.canaries)
        assert bool(variant.canaries) == ((kind, variant.variant) not in NOTHING_TO_LEAK)


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
    assert {row["site"] for row in rows} == {"north", "south", "Orléans"}
    assert 1 <= sum(row["smoking"].startswith("keine") for row in rows) <= 2
    assert all(row["weight"].endswith(" kg") for row in rows if row["weight"])
    assert all(2018 <= date.fromisoformat(row["admitted"]).year <= 2023 for row in rows if row["admitted"])
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


def test_dates_of_an_example_become_dates(tmp_path: Path) -> None:
    """A column of ISO dates is drawn anew within its range; what only looks like dates is a category."""
    example = b"seen,made\n2020-02-29,2020-13-01\n2021-06-30,2021-01-01\n"
    cohort = make_cohort(CohortRequest(CohortKind.TABULAR, 3, 30, shape_of(example, {})), tmp_path)
    rows = rows_of(cohort)
    assert all(date(2020, 2, 29) <= date.fromisoformat(row["seen"]) <= date(2021, 6, 30) for row in rows)
    assert len({row["seen"] for row in rows}) > 10
    assert {row["made"] for row in rows} == {"2020-13-01", "2021-01-01"}


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


@pytest.mark.parametrize("modality", Modality)
def test_nifti_is_readable_and_its_lesions_are_where_the_truth_says(modality: Modality, tmp_path: Path) -> None:
    """nibabel reads volume and mask; lesions are brighter than tissue; spacing and scaling differ between scanners."""
    import nibabel as nib

    load: Any = nib.load
    cohort = make_cohort(CohortRequest(CohortKind.NIFTI, 5, 3, modality=modality), tmp_path)
    spacings, scalings, orientations = set(), set(), set()
    for name in cohort.files:
        image, truth = load(cohort.root / name), load(cohort.truth[name])
        voxels, mask = np.asarray(image.dataobj), np.asarray(truth.dataobj)
        assert image.header.get_data_dtype() == np.int16
        assert voxels.shape == mask.shape == (48, 48, 24)
        assert np.array_equal(image.affine, truth.affine)
        assert mask.sum() > 50
        lesion, tissue = LESION_AND_TISSUE[modality]
        assert abs(voxels[mask == 1].mean() - lesion) < 25
        assert abs(np.median(voxels[20:28, 24:28, :][mask[20:28, 24:28, :] == 0]) - tissue) < 25
        spacings.add(tuple(image.header.get_zooms()))
        scalings.add((float(image.dataobj.slope), float(image.dataobj.inter)))
        orientations.add(tuple(np.sign(np.diag(image.affine))))
        assert gzip.decompress((cohort.root / name).read_bytes())[:4] == b"\x5c\x01\x00\x00"
    assert len(spacings) == 3
    assert len(scalings) == len(orientations) == 2


@pytest.fixture(scope="module", params=list(Modality))
def series(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Cohort, Any]:
    """Six series of one modality, and their images by directory."""
    import pydicom

    made = CohortRequest(CohortKind.DICOM, 5, 6, modality=request.param)
    cohort = make_cohort(made, tmp_path_factory.mktemp("dicom"))
    images: dict[str, list[Any]] = {}
    for name in cohort.files:
        images.setdefault(name.partition("/")[0], []).append(pydicom.dcmread(cohort.root / name))
    return cohort, images


def test_dicom_has_what_its_iod_demands(series: tuple[Cohort, Any]) -> None:
    """Every attribute of type 1 is there with a value, every one of type 2 is there (PS3.3 A.3, A.4)."""
    for image in (image for images in series[1].values() for image in images):
        of_modality = {"CT": CT, "MR": MR}[image.Modality]
        for keyword in (*COMMON_TYPE_1, *of_modality[0]):
            assert keyword in image, keyword
            assert not image[keyword].is_empty, keyword
        for keyword in (*COMMON_TYPE_2, *of_modality[1]):
            assert keyword in image, keyword


def test_dicom_series_agree_with_themselves(series: tuple[Cohort, Any]) -> None:
    """UIDs are one per series, study and image; positions step by the slice distance; each patient has two studies."""
    studies: dict[str, set[str]] = {}
    instances = set()
    for images in series[1].values():
        assert len({(i.SeriesInstanceUID, i.StudyInstanceUID, i.FrameOfReferenceUID) for i in images}) == 1
        assert len({i.PatientID for i in images}) == 1
        instances |= {i.SOPInstanceUID for i in images}
        studies.setdefault(images[0].PatientID, set()).add(images[0].StudyInstanceUID)
        positions = np.array([i.ImagePositionPatient for i in images], dtype=float)
        normal = np.cross(images[0].ImageOrientationPatient[:3], images[0].ImageOrientationPatient[3:])
        steps = np.abs(np.diff(positions, axis=0) @ normal)
        assert np.allclose(steps, float(images[0].SpacingBetweenSlices))
    assert len(instances) == 72
    assert [len(of_patient) for of_patient in studies.values()] == [2, 2, 2]


def test_dicom_scanners_differ(series: tuple[Cohort, Any]) -> None:
    """Makes differ in maker, pixel spacing, thickness and private block, and in all that real ones differ in."""
    first = [images[0] for images in series[1].values()]
    assert len({(i.Manufacturer, i.ManufacturerModelName) for i in first}) == 3
    assert len({(float(i.PixelSpacing[0]), float(i.SliceThickness)) for i in first}) == 3
    assert len({element.value for i in first for element in i if element.tag.is_private_creator}) >= 3
    assert len({(i.PixelRepresentation, i.BitsStored) for i in first}) == 2
    assert len({(float(i.RescaleSlope), float(i.RescaleIntercept)) for i in first}) == 2
    if first[0].Modality == "MR":
        assert {float(i.MagneticFieldStrength) for i in first} == {1.5, 3.0}
        assert len({tuple(i.ImageOrientationPatient) for i in first}) == 3
        assert {i.PhotometricInterpretation for i in first} == {"MONOCHROME1", "MONOCHROME2"}
    else:
        assert {float(i.KVP) for i in first} == {100, 120, 135}


def test_dicom_private_elements_are_the_vendors(series: tuple[Cohort, Any]) -> None:
    """Each private element has the VR that pydicom's dictionary of the vendor gives it, and one of them a canary."""
    from pydicom.datadict import private_dictionary_VR

    values = {canary.value for canary in series[0].canaries}
    for images in series[1].values():
        private = [element for element in images[0] if element.tag.is_private and not element.tag.is_private_creator]
        for element in private:
            assert private_dictionary_VR(element.tag, element.private_creator) == element.VR
        assert values & {element.value for element in private}
        assert images[0].PatientID in values
        assert len(images[0].AccessionNumber) == 16


def test_dicom_lesions_are_where_both_truths_say(series: tuple[Cohort, Any]) -> None:
    """The segmentation fits the pictures frame by frame; the NIfTI mask fits through the patient's coordinates."""
    import nibabel as nib
    import pydicom

    load: Any = nib.load
    cohort, by_folder = series
    for folder, images in by_folder.items():
        pictures = np.stack([i.pixel_array * float(i.RescaleSlope) + float(i.RescaleIntercept) for i in images])
        segmentation = pydicom.dcmread(cohort.truth[f"{folder}#segmentation"])
        frames = segmentation.pixel_array
        lesion, _ = LESION_AND_TISSUE[Modality(images[0].Modality)]
        assert abs(pictures[frames == 1].mean() - lesion) < 25
        sources = [
            frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
            for frame in segmentation.PerFrameFunctionalGroupsSequence
        ]
        assert sources == [i.SOPInstanceUID for i in images]
        mask = load(cohort.truth[folder])
        assert np.asarray(mask.dataobj).sum() == frames.sum()
        frame, row, column = np.argwhere(frames == 1)[0]
        image = images[frame]
        place = (
            np.array(image.ImagePositionPatient, float)
            + np.array(image.ImageOrientationPatient[:3], float) * float(image.PixelSpacing[1]) * column
            + np.array(image.ImageOrientationPatient[3:], float) * float(image.PixelSpacing[0]) * row
        )
        voxel = np.linalg.inv(mask.affine) @ [-place[0], -place[1], place[2], 1]
        assert np.asarray(mask.dataobj)[tuple(np.rint(voxel[:3]).astype(int))] == 1


def test_enhanced_is_one_file_with_every_slice(tmp_path: Path) -> None:
    """The multi-frame variant is read by pydicom; its frames are the slices."""
    import pydicom

    for modality in Modality:
        cohort = make_broken(CohortRequest(CohortKind.DICOM, 5, modality=modality), "enhanced", tmp_path / modality)
        image = pydicom.dcmread(cohort.root / cohort.files[0])
        assert image.pixel_array.shape == (12, 48, 48)
        assert len(image.PerFrameFunctionalGroupsSequence) == 12


BROKEN_IN_A_READER = {
    (CohortKind.NIFTI, "truncated"), (CohortKind.NIFTI, "huge-dimensions"), (CohortKind.NIFTI, "header-only"),
    (CohortKind.NIFTI, "not-compressed"), (CohortKind.NIFTI, "empty"), (CohortKind.DICOM, "truncated"),
    (CohortKind.DICOM, "header-only"), (CohortKind.DICOM, "wrong-transfer-syntax"),
    (CohortKind.DICOM, "huge-dimensions"), (CohortKind.DICOM, "empty"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [CohortKind.NIFTI, CohortKind.DICOM])
def test_broken_variants_are_broken(kind: CohortKind, tmp_path: Path) -> None:
    """The reference readers refuse those that are damaged, and read those that only mean something else."""
    import nibabel as nib
    import pydicom

    load: Any = nib.load
    for name in broken_names(kind):
        cohort = make_broken(CohortRequest(kind, 5, 1), name, tmp_path / name)
        path = cohort.root / cohort.files[0]
        try:
            if kind is CohortKind.NIFTI:
                np.asarray(load(path).dataobj)
            else:
                _ = pydicom.dcmread(path).pixel_array
        except Exception:  # noqa: BLE001 (whatever a reader raises)
            refused = True
        else:
            refused = False
        assert refused == ((kind, name) in BROKEN_IN_A_READER), name
