"""Synthetic NIfTI volumes: CT phantoms of several scanners, canaries in header, extension and voxels."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from sandbox.canaries import CanaryKind, CanaryMint
from sandbox.cohorts.draw import Draw
from sandbox.cohorts.model import CohortFiles, CohortRequest
from sandbox.cohorts.phantom import SCANNERS, Scanner, make_phantom, plant_pixels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULT_VOLUMES = 2
SHAPE = (48, 48, 24)

_COMMENT = 6  # NIfTI extension code for free text
_STORED = 65_535


def make_nifti(request: CohortRequest) -> CohortFiles:
    """`request.size` volumes `case-NNN.nii.gz`; the truth of each is its lesion mask."""
    files = CohortFiles()
    mint = CanaryMint(request.seed)
    for number in range(1, (request.size or DEFAULT_VOLUMES) + 1):
        name = f"case-{number:03d}.nii.gz"
        scanner = SCANNERS[(number - 1) % len(SCANNERS)]
        volume = make_phantom(Draw(request.seed, name), scanner, SHAPE)
        pixels = mint.token(CanaryKind.PIXEL, f"{name}#voxels")
        files.plant(pixels)
        plant_pixels(volume.voxels, pixels)
        words = [files.plant(mint.token(CanaryKind.HEADER, f"{name}#{field}")) for field in ("descrip", "extension")]
        files.inputs[name] = as_nifti(volume.voxels, scanner, description=words[0], comment=words[1])
        files.truth[name] = (name, as_nifti(volume.mask, scanner))
    return files


def as_nifti(voxels: NDArray[np.generic], scanner: Scanner, *, description: str = "", comment: str = "") -> bytes:
    """The volume as NIfTI-1 in gzip, millimetres, right-anterior-superior."""
    import nibabel as nib
    import numpy as np

    spacing = [step / 10 for step in scanner.spacing]
    affine = np.diag([*spacing, 1.0])
    image = nib.Nifti1Image(voxels, affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    image.header["descrip"] = description.encode("ascii")
    if comment:
        image.header.extensions.append(nib.nifti1.Nifti1Extension(_COMMENT, comment.encode("ascii")))
    return stored_gzip(image.to_bytes())


def stored_gzip(data: bytes) -> bytes:
    """`data` as gzip without compression (RFC 1952, RFC 1951 3.2.4): the same bytes whatever zlib a machine has."""
    out = bytearray(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")
    for start in range(0, len(data), _STORED):
        block = data[start : start + _STORED]
        last = start + _STORED >= len(data)
        out += struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block
    return bytes(out + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF))
