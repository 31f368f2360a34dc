"""Reading and comparing what a tool wrote: bounded, never surprised, symmetric."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checks.sandboxed.compare import Likeness, compare_files, compare_trees
from checks.sandboxed.formats import check_readable, read_volume
from checks.sandboxed.picture import slice_picture
from pratique.errors import InvalidInput

SHARED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def nifti(values: Any, *, scale: float = 1.0) -> bytes:
    import nibabel as nib

    new_image: Any = nib.Nifti1Image
    return bytes(new_image(values, np.diag([scale, 1.0, 1.0, 1.0])).to_bytes())


WHOLE = nifti(np.arange(24, dtype=np.int16).reshape(2, 3, 4))


def with_dims(*sizes: int) -> bytes:
    return WHOLE[:40] + struct.pack("<8h", *sizes) + WHOLE[56:]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        WHOLE[:300],
        WHOLE[:-1],
        with_dims(3, 32767, 32767, 32767, 1, 1, 1, 1),
        with_dims(7, *[32767] * 7),
        with_dims(3, 2, -3, 4, 1, 1, 1, 1),
        with_dims(3, 2, 0, 4, 1, 1, 1, 1),
        with_dims(0, 2, 3, 4, 1, 1, 1, 1),
        with_dims(200, 2, 3, 4, 1, 1, 1, 1),
        WHOLE[:70] + struct.pack("<h", 9999) + WHOLE[72:],
        WHOLE[:108] + struct.pack("<f", float("nan")) + WHOLE[112:],
        WHOLE[:108] + struct.pack("<f", 1e30) + WHOLE[112:],
        bytes(1000),
    ],
    ids=[
        "empty", "short header", "one byte short", "32767 cubed", "seven huge dimensions", "negative dimension",
        "zero dimension", "no dimension", "200 dimensions", "unknown data type", "offset NaN", "offset 1e30", "zeros",
    ],
)  # fmt: skip
def test_refuses_volumes_whose_header_lies(tmp_path: Path, data: bytes) -> None:
    """Dimensions are believed only when the bytes are there."""
    path = tmp_path / "x.nii"
    path.write_bytes(data)
    with pytest.raises(InvalidInput):
        read_volume(path)


def test_refuses_a_gzip_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpacking stops at its bound; a stream that is cut off is refused too."""
    monkeypatch.setattr("checks.sandboxed.formats.MOST_UNPACKED", 1 << 20)
    path = tmp_path / "x.nii.gz"
    for data in (gzip.compress(bytes(5 << 20)), gzip.compress(WHOLE)[:-9], b"no gzip", b""):
        path.write_bytes(data)
        with pytest.raises(InvalidInput):
            read_volume(path)


@SHARED
@given(
    st.sampled_from(["a.csv", "a.tsv", "a.json", "a.nii", "a.nii.gz", "a.bin"]),
    st.one_of(st.binary(max_size=400), st.text('{}[],:"1e9-.\n\tab', max_size=60).map(str.encode)),
)
def test_any_bytes_are_read_or_refused(tmp_path: Path, name: str, data: bytes) -> None:
    """No file makes reading raise anything but `InvalidInput`."""
    path = tmp_path / name
    path.write_bytes(data)
    try:
        check_readable(path)
    except InvalidInput as error:
        assert error.next_step


@SHARED
@given(st.binary(min_size=348, max_size=420), st.booleans())
def test_any_header_is_read_or_refused(tmp_path: Path, noise: bytes, keep_size: bool) -> None:
    """The same for headers that begin as NIfTI's do."""
    path = tmp_path / "x.nii"
    path.write_bytes((WHOLE[:4] if keep_size else b"") + noise[4:344] + b"n+1\0" + noise)
    try:
        read_volume(path)
    except InvalidInput:
        return


@SHARED
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5), st.floats(0, 1e-2), st.floats(0, 1))
def test_comparison_is_symmetric_and_keeps_its_tolerance(
    tmp_path: Path, numbers: list[float], tolerance: float, shift: float
) -> None:
    """Equal files are identical, order does not matter, and the label follows the largest difference."""
    one, other = tmp_path / "a.csv", tmp_path / "b.csv"
    one.write_text("x\n" + "".join(f"{number!r}\n" for number in numbers))
    other.write_text("x\n" + "".join(f"{number + shift!r}\n" for number in numbers))
    there, back = compare_files(one, other, tolerance), compare_files(other, one, tolerance)
    assert (there.likeness, there.largest) == (back.likeness, back.largest)
    assert compare_files(one, one, tolerance).likeness is Likeness.IDENTICAL
    if there.likeness is Likeness.WITHIN_TOLERANCE:
        assert 0 < there.largest <= tolerance
    if there.likeness is Likeness.DIFFERENT:
        assert there.largest > tolerance


VALUES = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
PAIRS: dict[str, tuple[bytes, bytes, Likeness]] = {
    "time stamp in gzip": (gzip.compress(WHOLE, mtime=1), gzip.compress(WHOLE, mtime=2), Likeness.SAME_CONTENT),
    "another type, same values": (gzip.compress(WHOLE), gzip.compress(nifti(VALUES)), Likeness.SAME_CONTENT),
    "a small difference": (
        gzip.compress(nifti(VALUES)), gzip.compress(nifti(VALUES + np.float32(1e-4))), Likeness.WITHIN_TOLERANCE,
    ),
    "a large difference": (gzip.compress(nifti(VALUES)), gzip.compress(nifti(VALUES + 1)), Likeness.DIFFERENT),
    "NaN in one": (gzip.compress(nifti(VALUES)), gzip.compress(nifti(VALUES * np.nan)), Likeness.DIFFERENT),
    "NaN in both": (
        gzip.compress(nifti(VALUES * np.nan)), gzip.compress(nifti(VALUES * np.nan), mtime=5), Likeness.SAME_CONTENT,
    ),
    "another place in space": (
        gzip.compress(nifti(VALUES)), gzip.compress(nifti(VALUES, scale=2.0)), Likeness.DIFFERENT,
    ),
    "another shape": (gzip.compress(nifti(VALUES)), gzip.compress(nifti(VALUES[:1])), Likeness.DIFFERENT),
    "one that is none": (gzip.compress(nifti(VALUES)), b"nothing", Likeness.DIFFERENT),
}  # fmt: skip


@pytest.mark.parametrize("case", PAIRS)
def test_volumes_are_compared_by_value(tmp_path: Path, case: str) -> None:
    """Voxels and geometry count, header comments and packing do not."""
    left, right, likeness = PAIRS[case]
    (tmp_path / "a.nii.gz").write_bytes(left)
    (tmp_path / "b.nii.gz").write_bytes(right)
    assert compare_files(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", 1e-3).likeness is likeness


def test_trees_with_other_files_differ(tmp_path: Path) -> None:
    """A file in one directory alone is a difference; links are not looked at."""
    for name in ("one", "other"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "same.bin").write_bytes(b"x")
    (tmp_path / "one" / "more.bin").write_bytes(b"x")
    (tmp_path / "one" / "link").symlink_to("more.bin")
    found = compare_trees(tmp_path / "one", tmp_path / "other", 0.0)
    assert {name: one.likeness for name, one in found.items()} == {
        "more.bin": Likeness.DIFFERENT,
        "sub/same.bin": Likeness.IDENTICAL,
    }


def test_no_picture_of_what_does_not_fit(tmp_path: Path) -> None:
    """Masks of another shape, or that cannot be read, give no picture."""
    volume, mask, broken = (tmp_path / name for name in ("v.nii", "m.nii", "b.nii"))
    volume.write_bytes(WHOLE)
    mask.write_bytes(nifti(np.ones((2, 2, 2), dtype=np.uint8)))
    broken.write_bytes(b"x")
    assert slice_picture(volume, [mask, broken]) is None
    assert slice_picture(broken, [mask]) is None
    picture = slice_picture(volume, [broken, volume])
    assert picture is not None
    assert [len(picture["image"]), len(picture["image"][0])] == [3, 2]
