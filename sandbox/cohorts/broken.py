"""Broken variants of a cohort: input that a node will meet some day, to see what a tool says when it fails.

Each variant still carries canaries: error messages are where identifiers escape most often.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from pratique.errors import UsageError
from sandbox.canaries import CanaryKind, CanaryMint
from sandbox.cohorts.dicom import as_bytes, make_dicom
from sandbox.cohorts.draw import Draw
from sandbox.cohorts.model import Cohort, CohortFiles, CohortKind, CohortRequest, ColumnType, Role
from sandbox.cohorts.nifti import as_nifti, make_nifti
from sandbox.cohorts.phantom import SCANNERS
from sandbox.cohorts.tabular import DEFAULT_SHAPE, as_csv, make_table, make_tabular

NON_ASCII = "Größe-Ñandú-患者"


def broken_names(kind: CohortKind) -> tuple[str, ...]:
    """The variants that exist for this kind of data, the most telling first."""
    return tuple(_VARIANTS[kind])


def make_broken(request: CohortRequest, name: str, directory: Path) -> Cohort:
    """Write one broken variant to `directory`; raises `UsageError` for a variant that does not exist."""
    variant = _VARIANTS[request.kind].get(name)
    if variant is None:
        known = ", ".join(broken_names(request.kind))
        raise UsageError(f"no broken variant {name!r} of a {request.kind} cohort", next_step=f"Choose from {known}.")
    return variant(request).write(request, directory, variant=name)


def _renamed(files: CohortFiles) -> CohortFiles:
    files.inputs = {
        "/".join(f"{NON_ASCII} {part}" for part in name.split("/")): data for name, data in files.inputs.items()
    }
    return files


def _emptied(files: CohortFiles) -> CohortFiles:
    files.inputs = dict.fromkeys(files.inputs, b"")
    files.canaries = []
    return files


def _cut(files: CohortFiles) -> CohortFiles:
    files.inputs = {name: data[: len(data) * 6 // 10] for name, data in files.inputs.items()}
    return files


# --- tables ---------------------------------------------------------------------------------------------------------


def _swapped_columns(request: CohortRequest) -> CohortFiles:
    """Identifiers stand in every numeric column of some row: what a parser complains about, it often prints."""
    shape = request.table_shape or DEFAULT_SHAPE
    files = CohortFiles()
    table = make_table(request, files)
    marked = [i for i, column in enumerate(shape.columns) if column.role in (Role.IDENTIFIER, Role.TEXT)]
    numeric = [
        i
        for i, column in enumerate(shape.columns)
        if column.type is not ColumnType.WORD and column.role is not Role.IDENTIFIER
    ]
    mint = CanaryMint(request.seed)
    for number, place in enumerate(numeric):
        row = table[number % len(table)]
        if marked:
            row[place], row[marked[0]] = row[marked[0]], row[place]
        else:
            column = shape.columns[place].name
            row[place] = files.plant(mint.token(CanaryKind.TEXT, f"{shape.file_name}#{column}:swapped {number}"))
    files.inputs[shape.file_name] = as_csv(shape, table)
    return files


def _not_numbers(request: CohortRequest) -> CohortFiles:
    """Numeric cells that are NaN, infinite, or empty."""
    shape = request.table_shape or DEFAULT_SHAPE
    files = CohortFiles()
    table = make_table(request, files)
    draw = Draw(request.seed, "not numbers")
    for row in table:
        for place, column in enumerate(shape.columns):
            if column.role is Role.FEATURE and draw.unit() < 0.3:
                row[place] = draw.one_of(("NaN", "inf", "-inf", "", "#DIV/0!"))
    files.inputs[shape.file_name] = as_csv(shape, table)
    return files


def _missing_column(request: CohortRequest) -> CohortFiles:
    shape = request.table_shape or DEFAULT_SHAPE
    files = CohortFiles()
    table = make_table(request, files)
    gone = next((i for i, column in enumerate(shape.columns) if column.role is Role.FEATURE), len(shape.columns) - 1)
    kept = [i for i in range(len(shape.columns)) if i != gone]
    header = ",".join(shape.columns[i].name for i in kept)
    lines = [shape.delimiter.join(row[i] for i in kept) for row in table]
    files.inputs[shape.file_name] = "\n".join([header.replace(",", shape.delimiter), *lines, ""]).encode()
    return files


def _image_for_table(request: CohortRequest) -> CohortFiles:
    """A NIfTI volume under the name of the table."""
    shape = request.table_shape or DEFAULT_SHAPE
    files = make_nifti(CohortRequest(CohortKind.NIFTI, request.seed, 1))
    files.inputs = {shape.file_name: next(iter(files.inputs.values()))}
    files.truth = {}
    return files


# --- images ---------------------------------------------------------------------------------------------------------


def _floats_for_ct(request: CohortRequest, *, wrong_modality: bool) -> CohortFiles:
    """Volumes with NaN and infinite voxels, or four-dimensional ones with the intensities of another modality."""
    import numpy as np

    files = make_nifti(request)
    files.canaries, files.truth = [], {}
    mint = CanaryMint(request.seed)
    for number, name in enumerate(files.inputs):
        draw = Draw(request.seed, f"floats {name}")
        voxels = np.abs(draw.noise((24, 24, 12), 300)).astype(np.float32)
        if wrong_modality:
            voxels = np.stack([voxels, voxels * 2], axis=-1)
        else:
            voxels[4:9, 4:9, :] = np.nan
            voxels[0, 0, :] = np.inf
        word = files.plant(mint.token(CanaryKind.HEADER, f"{name}#broken descrip"))
        files.inputs[name] = as_nifti(voxels, SCANNERS[number % len(SCANNERS)], description=word)
    return files


def _edited_dicom(request: CohortRequest, edit: Callable[[object], None]) -> CohortFiles:
    import pydicom

    files = make_dicom(request)
    for name, data in files.inputs.items():
        dataset = pydicom.dcmread(io.BytesIO(data))
        edit(dataset)
        files.inputs[name] = as_bytes(dataset)
    return files


def _other_modality(dataset: object) -> None:
    import pydicom

    if isinstance(dataset, pydicom.Dataset):
        dataset.Modality = "US"
        ultrasound = pydicom.uid.UID("1.2.840.10008.5.1.4.1.1.6.1")
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = ultrasound
        del dataset.RescaleSlope, dataset.RescaleIntercept


def _without_pixels(dataset: object) -> None:
    import pydicom

    if isinstance(dataset, pydicom.Dataset):
        del dataset.PixelData


def _missing_slices(request: CohortRequest) -> CohortFiles:
    files = make_dicom(request)
    for name in [name for name in files.inputs if name.endswith(("slice-0003.dcm", "slice-0007.dcm"))]:
        del files.inputs[name]
    return files


_Maker = Callable[[CohortRequest], CohortFiles]

_VARIANTS: dict[CohortKind, dict[str, _Maker]] = {
    CohortKind.TABULAR: {
        "swapped-columns": _swapped_columns,
        "missing-column": _missing_column,
        "nan": _not_numbers,
        "truncated": lambda request: _cut(make_tabular(request)),
        "wrong-modality": _image_for_table,
        "non-ascii-names": lambda request: _renamed(make_tabular(request)),
        "empty": lambda request: _emptied(make_tabular(request)),
    },
    CohortKind.NIFTI: {
        "truncated": lambda request: _cut(make_nifti(request)),
        "nan": lambda request: _floats_for_ct(request, wrong_modality=False),
        "wrong-modality": lambda request: _floats_for_ct(request, wrong_modality=True),
        "non-ascii-names": lambda request: _renamed(make_nifti(request)),
        "empty": lambda request: _emptied(make_nifti(request)),
    },
    CohortKind.DICOM: {
        "truncated": lambda request: _cut(make_dicom(request)),
        "missing-slices": _missing_slices,
        "no-pixels": lambda request: _edited_dicom(request, _without_pixels),
        "wrong-modality": lambda request: _edited_dicom(request, _other_modality),
        "non-ascii-names": lambda request: _renamed(make_dicom(request)),
        "empty": lambda request: _emptied(make_dicom(request)),
    },
}
