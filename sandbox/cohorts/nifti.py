"""Synthetic NIfTI volumes: phantoms of several scanners, canaries in header, extension and voxels."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from sandbox.canaries import CanaryKind, CanaryMint
from sandbox.cohorts.draw import Draw
from sandbox.cohorts.model import CohortFiles, CohortRequest
from sandbox.cohorts.phantom import Scanner, make_phantom, plant_pixels, scanner_for, spacing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULT_VOLUMES = 2
SHAPE = (48, 48, 24)

_COMMENT = 6  # NIfTI extension code for free text
_STORED = 65_535
_SLOPE_AT = 112  # byte of scl_slope in a NIfTI-1 header


def make_nifti(request: CohortRequest) -> CohortFiles:
    """`request.size` volumes `case-NNN.nii.gz`; the truth of each is its lesion mask."""
    files = CohortFiles()
    mint = CanaryMint(request.seed)
    for number in range(1, (request.size or DEFAULT_VOLUMES) + 1):
        name = f"case-{number:03d}.nii.gz"
        scanner = scanner_for(request.modality, request.seed, number)
        volume = make_phantom(Draw(request.seed, name), scanner, SHAPE)
        stored = (volume.voxels - scanner.intercept) // scanner.slope
        pixels = mint.token(CanaryKind.PIXEL, f"{name}#voxels")
        files.plant(pixels)
        plant_pixels(stored.transpose(2, 1, 0), pixels, scanner)
        words = [files.plant(mint.token(CanaryKind.HEADER, f"{name}#{field}")) for field in ("descrip", "extension")]
        signs = (1, 1, 1) if number % 2 else (-1, 1, 1)
        files.inputs[name] = as_nifti(stored, scanner, signs, description=words[0], comment=words[1], scaled=True)
        files.truth[name] = (name, as_nifti(volume.mask, scanner, signs))
    return files


def as_nifti(
    voxels: NDArray[np.generic],
    scanner: Scanner,
    signs: tuple[int, int, int] = (1, 1, 1),
    *,
    description: str = "",
    comment: str = "",
    scaled: bool = False,
) -> bytes:
    """The volume as NIfTI-1 in gzip, in millimetres; axes run to the right, front and top where `signs` are positive.

    `scaled`: the voxels are stored values, and the header says how the scanner's values follow from them.
    """
    import nibabel as nib
    import numpy as np

    steps = [sign * step / 10 for sign, step in zip(signs, spacing(scanner), strict=True)]
    image = nib.Nifti1Image(voxels, np.diag([*steps, 1.0]))  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    image.header["descrip"] = description.encode("ascii")
    if comment:
        image.header.extensions.append(nib.nifti1.Nifti1Extension(_COMMENT, comment.encode("ascii")))
    data = bytearray(image.to_bytes())
    if scaled:
        struct.pack_into("<ff", data, _SLOPE_AT, scanner.slope, scanner.intercept)
    return stored_gzip(bytes(data))


def stored_gzip(data: bytes) -> bytes:
    """`data` as gzip without compression (RFC 1952, RFC 1951 3.2.4): the same bytes whatever zlib a machine has."""
    out = bytearray(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")
    for start in range(0, len(data), _STORED):
        block = data[start : start + _STORED]
        last = start + _STORED >= len(data)
        out += struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block
    return bytes(out + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF))
