"""Reads what a tool wrote, with bounds: tables, JSON and NIfTI. Nothing in a file is believed before it is checked.

Every function raises `InvalidInput` (`output/…`) for what is not what its name says, and nothing else.
"""

from __future__ import annotations

import csv
import io
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pratique.bounds import read_bounded, strict_json
from pratique.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_BYTES = 64 << 20
MOST_UNPACKED = 256 << 20
MOST_ROWS = 200_000
MOST_CELLS = 4_000_000
TABLES = (".csv", ".tsv")
VOLUMES = (".nii", ".nii.gz")

_HEADER_BYTES = 348
_GEOMETRY = ("pixdim", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
_AFFINE = ("srow_x", "srow_y", "srow_z")


@dataclass(frozen=True)
class Voxels:
    """A NIfTI volume: values as stored (slope and intercept apart), and where it lies in space (header numbers)."""

    values: NDArray[np.generic]
    slope: float
    intercept: float
    geometry: tuple[float, ...]


def read_table(path: Path) -> list[list[str]]:
    """The rows of a CSV or TSV, header first; all of one length."""
    try:
        text = _read(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _invalid(path, "table", "it is not UTF-8", cause=str(error)) from error
    delimiter = "\t" if path.name.endswith(".tsv") else _delimiter(text.split("\n", 1)[0])
    rows: list[list[str]] = []
    cells = 0
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
            if not row:
                continue
            rows.append(row)
            cells += len(row)
            if len(rows) > MOST_ROWS or cells > MOST_CELLS:
                raise _invalid(path, "too-large", f"it has more than {MOST_ROWS} rows or {MOST_CELLS} cells")
    except csv.Error as error:
        raise _invalid(path, "table", "it is not well-formed CSV", cause=str(error)) from error
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise _invalid(path, "table", "it is empty, or its rows are of different lengths")
    return rows


def read_json(path: Path) -> Any:
    """The JSON in `path`; duplicate keys, NaN and depth beyond 64 are refused."""
    return strict_json(_read(path), where=path.name, max_bytes=MOST_BYTES)


def read_volume(path: Path) -> Voxels:
    """The NIfTI-1 volume in `path` (.nii, .nii.gz), unpacked with a bound; its dimensions must fit its bytes."""
    import nibabel as nib
    import numpy as np

    data = _read(path)
    if path.name.endswith(".gz"):
        data = _unpacked(path, data)
    if len(data) < _HEADER_BYTES:
        raise _invalid(path, "volume", "it is too short for a NIfTI header")
    try:
        header = nib.Nifti1Header(data[:_HEADER_BYTES], check=True)  # type: ignore[no-untyped-call]
        dtype = np.dtype(header.get_data_dtype())  # type: ignore[no-untyped-call]
        sizes = [int(size) for size in header["dim"]]
        offset = float(header["vox_offset"])
        slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
        geometry = tuple(float(number) for field in (*_GEOMETRY, *_AFFINE) for number in np.ravel(header[field]))
    except (nib.spatialimages.HeaderDataError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise _invalid(path, "volume", "its NIfTI header is not valid", cause=str(error)) from error
    count = sizes[0]
    shape = sizes[1 : count + 1]
    if not 1 <= count <= 7 or any(size < 1 for size in shape) or not math.isfinite(offset) or dtype.hasobject:
        raise _invalid(path, "volume", "its NIfTI header gives impossible dimensions")
    start = max(int(offset), _HEADER_BYTES)
    voxels = math.prod(shape)
    if start + voxels * dtype.itemsize > len(data):
        raise _invalid(path, "volume", f"it holds fewer bytes than its dimensions {shape} need")
    values = np.frombuffer(data, dtype=dtype, count=voxels, offset=start).reshape(shape, order="F")
    usable = math.isfinite(slope) and slope != 0.0 and math.isfinite(intercept)
    return Voxels(values, slope if usable else 1.0, intercept if usable else 0.0, geometry)


def check_readable(path: Path) -> None:
    """Raise `InvalidInput` when a table, JSON or NIfTI file is not what its name says; others are not looked into."""
    name = path.name.lower()
    if name.endswith(TABLES):
        read_table(path)
    elif name.endswith(".json"):
        read_json(path)
    elif name.endswith(VOLUMES):
        read_volume(path)


def _read(path: Path) -> bytes:
    return read_bounded(path, MOST_BYTES)


def _unpacked(path: Path, data: bytes) -> bytes:
    stream = zlib.decompressobj(31)
    try:
        unpacked = stream.decompress(data, MOST_UNPACKED + 1)
    except zlib.error as error:
        raise _invalid(path, "volume", "it is not gzip", cause=str(error)) from error
    if len(unpacked) > MOST_UNPACKED:
        raise _invalid(path, "too-large", f"it unpacks to more than {MOST_UNPACKED} bytes")
    if not stream.eof:
        raise _invalid(path, "volume", "its gzip stream is cut off")
    return unpacked


def _delimiter(header: str) -> str:
    return max(",;\t|", key=lambda mark: (header.count(mark), mark == ","))


def _invalid(path: Path, rule: str, what: str, *, cause: str = "") -> InvalidInput:
    return InvalidInput(
        f"the output cannot be read: {what}",
        rule=f"output/{rule}",
        where=path.name,
        cause=cause[:200],
        next_step="Write the file in the format that its name says, complete and of moderate size.",
    )
