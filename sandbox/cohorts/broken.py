"""Broken variants of a cohort: input that a node will meet some day, to see what a tool says when it fails.

Each variant still carries canaries: error messages are where identifiers escape most often.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pratique.errors import UsageError
from sandbox.canaries import CanaryKind, CanaryMint
from sandbox.cohorts.dicom import STUDIES_OF_A_PATIENT, as_bytes, make_dicom, make_series
from sandbox.cohorts.draw import Draw
from sandbox.cohorts.enhanced import make_enhanced
from sandbox.cohorts.model import Cohort, CohortFiles, CohortKind, CohortRequest, ColumnType, Role
from sandbox.cohorts.nifti import as_nifti, make_nifti, stored_gzip
from sandbox.cohorts.phantom import scanner_for
from sandbox.cohorts.tabular import DEFAULT_SHAPE, as_csv, make_table, make_tabular

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_DIMENSIONS_AT = 40  # byte of `dim` in a NIfTI-1 header
_HEADER_AND_EXTENSION = 400
_SLOPE = "1.00"

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


def _edited_table(request: CohortRequest, edit: Callable[[list[bytes]], bytes]) -> CohortFiles:
    """The good table with its lines (header first, without line ends) put together again by `edit`."""
    files = make_tabular(request)
    files.inputs = {name: edit(data.rstrip(b"\n").split(b"\n")) for name, data in files.inputs.items()}
    return files


def _header_only(request: CohortRequest) -> CohortFiles:
    files = _edited_table(request, lambda lines: lines[0] + b"\n")
    files.canaries = []
    return files


def _ragged(lines: list[bytes]) -> bytes:
    """Some rows have a cell too many, some one too few."""
    changed = [line + b",extra" if n % 7 == 3 else line.rpartition(b",")[0] if n % 7 == 5 else line
               for n, line in enumerate(lines)]  # fmt: skip
    return b"\n".join(changed) + b"\n"


def _huge_values(lines: list[bytes]) -> bytes:
    """A cell of 64 KiB, and numbers that no type holds."""
    last = lines[-1].replace(b".", b"9" * 400 + b".")
    return b"\n".join([*lines[:-1], last, lines[1] + b"x" * (1 << 16)]) + b"\n"


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
        scanner = scanner_for(request.modality, request.seed, number + 1)
        files.inputs[name] = as_nifti(voxels, scanner, description=word)
    return files


def _edited_nifti(request: CohortRequest, edit: Callable[[int, bytearray], bytes]) -> CohortFiles:
    """The good volumes with the unpacked bytes of each (numbered from 0) changed."""
    files = make_nifti(request)
    for number, (name, data) in enumerate(files.inputs.items()):
        files.inputs[name] = stored_gzip(edit(number, bytearray(zlib.decompress(data, 31))))
    return files


def _huge_nifti(_: int, data: bytearray) -> bytes:
    """A header that announces 70 TB of voxels."""
    struct.pack_into("<8h", data, _DIMENSIONS_AT, 3, 32767, 32767, 32767, 1, 1, 1, 1)
    return bytes(data)


def _reshaped_nifti(number: int, data: bytearray) -> bytes:
    """Volumes that do not fit each other: one is a single slice of the same voxels, one lies on its side."""
    x, y, z = struct.unpack_from("<3h", data, _DIMENSIONS_AT + 2)
    shape = (2, x * y, z, 1) if number % 2 else (3, z, x, y)
    struct.pack_into("<4h", data, _DIMENSIONS_AT, *shape)
    return bytes(data)


def _unpacked(request: CohortRequest) -> CohortFiles:
    """NIfTI that is not compressed under names that say that it is."""
    files = make_nifti(request)
    files.inputs = {name: zlib.decompress(data, 31) for name, data in files.inputs.items()}
    return files


def _edited_dicom(request: CohortRequest, edit: Callable[[Dataset, int], None]) -> CohortFiles:
    """The good images, each changed by `edit`, which is told its number."""
    import pydicom

    files = make_dicom(request)
    for number, (name, data) in enumerate(files.inputs.items()):
        dataset = pydicom.dcmread(io.BytesIO(data))
        edit(dataset, number)
        files.inputs[name] = as_bytes(dataset)
    return files


def _other_modality(dataset: Dataset, _: int) -> None:
    """An ultrasound image."""
    from pydicom.uid import UID

    dataset.Modality = "US"
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.6.1")
    for keyword in ("RescaleSlope", "RescaleIntercept", "ImagePositionPatient", "ImageOrientationPatient"):
        delattr(dataset, keyword)


def _without_pixels(dataset: Dataset, _: int) -> None:
    del dataset.PixelData


def _same_instance(dataset: Dataset, _: int) -> None:
    """Every file says that it is the same image."""
    from pydicom.uid import UID

    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("2.25.1")
    dataset.InstanceNumber = 1


def _other_size(dataset: Dataset, number: int) -> None:
    """Every third picture has half of the rows."""
    if number % 3 == 2:
        dataset.Rows = dataset.Rows // 2
        dataset.PixelData = dataset.PixelData[: dataset.Rows * dataset.Columns * 2]


def _huge_picture(dataset: Dataset, _: int) -> None:
    """Pictures that announce 8 GB of pixels each."""
    dataset.Rows = dataset.Columns = 65535


def _no_spacing(dataset: Dataset, number: int) -> None:
    dataset.PixelSpacing = ["0", "0"]
    dataset.RescaleSlope = _SLOPE if number % 2 else None


def _not_a_number(request: CohortRequest) -> CohortFiles:
    """Slopes that are empty or "NaN", and pixels without extent."""
    files = _edited_dicom(request, _no_spacing)
    written, meant = b"DS\x04\x00" + _SLOPE.encode(), b"DS\x04\x00NaN "
    files.inputs = {name: data.replace(written, meant, 1) for name, data in files.inputs.items()}
    return files


def _jpeg_by_name(request: CohortRequest) -> CohortFiles:
    """Plain pixels in files that say they are JPEG (a transfer syntax of the same length has to be written over it)."""
    files = make_dicom(request)
    plain, jpeg = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0"
    files.inputs = {name: data.replace(plain, jpeg, 1) for name, data in files.inputs.items()}
    return files


def _missing_slices(request: CohortRequest) -> CohortFiles:
    files = make_dicom(request)
    for name in [name for name in files.inputs if name.endswith(("slice-0003.dcm", "slice-0007.dcm"))]:
        del files.inputs[name]
    return files


def _missing_series(request: CohortRequest) -> CohortFiles:
    """What refers to the images is there (a segmentation that names the patient); the images are not."""
    import pydicom

    files = make_dicom(request)
    for folder in sorted({name.partition("/")[0] for name in files.inputs}):
        images = [name for name in files.inputs if name.startswith(f"{folder}/")]
        image = pydicom.dcmread(io.BytesIO(files.inputs[images[0]]), stop_before_pixels=True)
        alone = pydicom.dcmread(io.BytesIO(files.truth[f"{folder}#segmentation"][1]))
        alone.PatientName, alone.PatientID = image.PatientName, image.PatientID
        for name in images:
            del files.inputs[name]
        files.inputs[f"{folder}/segmentation.dcm"] = as_bytes(alone)
    files.truth = {}
    return files


def _mixed_series(request: CohortRequest) -> CohortFiles:
    """Images of two patients and two scanners lie in one directory."""
    files = CohortFiles()
    for number in (1, 1 + STUDIES_OF_A_PATIENT):
        _, slices = make_series(request, number, files)
        for index, data in enumerate(slices):
            files.inputs[f"series-001/image-{index * 2 + (number > 1):04d}.dcm"] = as_bytes(data)
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
        "wrong-shape": lambda request: _edited_table(request, _ragged),
        "repeated-rows": lambda request: _edited_table(request, lambda lines: b"\n".join([*lines, *lines[1:], b""])),
        "other-encoding": lambda request: _edited_table(
            request, lambda lines: b"\n".join(lines).decode("utf-8").encode("utf-16")
        ),
        "huge-values": lambda request: _edited_table(request, _huge_values),
        "header-only": _header_only,
        "empty": lambda request: _emptied(make_tabular(request)),
    },
    CohortKind.NIFTI: {
        "truncated": lambda request: _cut(make_nifti(request)),
        "nan": lambda request: _floats_for_ct(request, wrong_modality=False),
        "wrong-modality": lambda request: _floats_for_ct(request, wrong_modality=True),
        "non-ascii-names": lambda request: _renamed(make_nifti(request)),
        "wrong-shape": lambda request: _edited_nifti(request, _reshaped_nifti),
        "huge-dimensions": lambda request: _edited_nifti(request, _huge_nifti),
        "header-only": lambda request: _edited_nifti(request, lambda _, data: bytes(data[:_HEADER_AND_EXTENSION])),
        "not-compressed": _unpacked,
        "empty": lambda request: _emptied(make_nifti(request)),
    },
    CohortKind.DICOM: {
        "truncated": lambda request: _cut(make_dicom(request)),
        "missing-slices": _missing_slices,
        "missing-series": _missing_series,
        "mixed-series": _mixed_series,
        "nan": _not_a_number,
        "header-only": lambda request: _edited_dicom(request, _without_pixels),
        "wrong-modality": lambda request: _edited_dicom(request, _other_modality),
        "wrong-shape": lambda request: _edited_dicom(request, _other_size),
        "duplicate-uids": lambda request: _edited_dicom(request, _same_instance),
        "wrong-transfer-syntax": _jpeg_by_name,
        "huge-dimensions": lambda request: _edited_dicom(request, _huge_picture),
        "enhanced": make_enhanced,
        "non-ascii-names": lambda request: _renamed(make_dicom(request)),
        "empty": lambda request: _emptied(make_dicom(request)),
    },
}
