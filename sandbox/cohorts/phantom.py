"""CT and MR phantoms: a body of soft tissue with a spine and spherical lesions, and the mask of the lesions.

All in integers (voxels, tenths of millimetres, Hounsfield units or units of signal), so that every machine makes the
same voxels. The makes of scanners differ as real ones do: in spacing, noise, rescaling, sign, orientation, photometric
interpretation and private elements. Their names and private blocks are real, so that a tool meets what it will meet;
the pictures are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sandbox.canaries import Canary, bars
from sandbox.cohorts.draw import Draw

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Modality(StrEnum):
    """How a picture was made."""

    CT = "CT"
    MR = "MR"


class Plane(StrEnum):
    """How the slices of a series lie."""

    AXIAL = "axial"
    SAGITTAL = "sagittal"
    CORONAL = "coronal"


@dataclass(frozen=True)
class PrivateBlock:
    """A vendor's private block: group, creator, and (element, VR, value) in it; a value of None takes a canary."""

    group: int
    creator: str
    elements: tuple[tuple[int, str, str | None], ...]


@dataclass(frozen=True)
class Scanner:
    """A make of scanner.

    `spacing` (x, y, z) in tenths of a millimetre, the z given to the axis across the slices; `noise` and `offset` in
    units of the values; stored = (value - `intercept`) / `slope`; `strength` in kV (CT) or tesla (MR).
    """

    modality: Modality
    manufacturer: str
    model: str
    software: str
    strength: str
    spacing: tuple[int, int, int]
    noise: int
    private: tuple[PrivateBlock, ...]
    offset: int = 0
    slope: int = 1
    intercept: int = 0
    bits: int = 16
    signed: bool = True
    plane: Plane = Plane.AXIAL
    inverted: bool = False


_SIEMENS_CT = (
    PrivateBlock(0x0019, "SIEMENS CT VA0  COAD", ((0x54, "DS", "0.5"),)),
    PrivateBlock(0x0029, "SIEMENS CSA HEADER", ((0x08, "CS", "SOM 5"), (0x09, "LO", None))),
)
_GE = (
    PrivateBlock(0x0009, "GEMS_IDEN_01", ((0x01, "LO", "GE_GENESIS_FF"), (0x17, "LT", None))),
    PrivateBlock(0x0043, "GEMS_PARM_01", ((0x0D, "DS", "0"),)),
)
_PHILIPS = (
    PrivateBlock(0x2001, "Philips Imaging DD 001", ((0x0B, "CS", "SAGITTAL"), (0x02, "IS", "1"))),
    PrivateBlock(0x2005, "Philips MR Imaging DD 001", ((0x05, "CS", None),)),
)
_TOSHIBA = (
    PrivateBlock(0x7005, "TOSHIBA_MEC_CT3", ((0x0D, "CS", "ABDOMEN"), (0x0B, "SH", "FC08"), (0x09, "LO", None))),
)
_SIEMENS_MR = (
    PrivateBlock(0x0019, "SIEMENS MR HEADER", ((0x08, "CS", "IMAGE NUM 4"), (0x09, "LO", None))),
    PrivateBlock(0x0029, "SIEMENS CSA HEADER", ((0x08, "CS", "IMAGE NUM 4"),)),
)

SCANNERS: dict[Modality, tuple[Scanner, ...]] = {
    Modality.CT: (
        Scanner(
            Modality.CT, "SIEMENS", "SOMATOM Definition AS", "syngo CT 2012B", "120", (40, 40, 50), 8, _SIEMENS_CT,
            intercept=-1024, bits=12, signed=False,
        ),
        Scanner(
            Modality.CT, "GE MEDICAL SYSTEMS", "Revolution CT", "revo_ct_19", "100", (36, 36, 60), 14, _GE, offset=4,
            intercept=-1024,
        ),
        Scanner(Modality.CT, "TOSHIBA", "Aquilion ONE", "V7.0", "135", (44, 44, 40), 11, _TOSHIBA, offset=-6),
    ),
    Modality.MR: (
        Scanner(
            Modality.MR, "SIEMENS", "Aera", "syngo MR E11", "1.5", (36, 36, 40), 9, _SIEMENS_MR, bits=12, signed=False
        ),
        Scanner(
            Modality.MR, "Philips Medical Systems", "Ingenia", "5.4.1", "3", (40, 40, 48), 12, _PHILIPS, offset=12,
            slope=2, bits=12, signed=False, plane=Plane.SAGITTAL,
        ),
        Scanner(
            Modality.MR, "GE MEDICAL SYSTEMS", "SIGNA Artist", "DV26.0", "1.5", (44, 44, 44), 15, _GE, offset=-8,
            plane=Plane.CORONAL, inverted=True,
        ),
    ),
}  # fmt: skip
"""The makes of each modality; no vendor stands for two of them alike."""

AIR, TISSUE, BONE, LESION = range(4)

VALUES = {Modality.CT: (-1000, 40, 700, 180), Modality.MR: (24, 320, 130, 720)}
"""What air, tissue, bone and lesion look like: Hounsfield units, and units of signal (T2-weighted)."""

_RANGE = {Modality.CT: (-1024, 3071), Modality.MR: (0, 4095)}
_BAR = {Modality.CT: 50, Modality.MR: 8}
BAR_ROWS = (2, 3, 4)
"""Rows of a picture that the bar code takes, from its third column on; the first row is for the marker's codes."""

_BAR_COLUMN = 2


@dataclass(frozen=True)
class Volume:
    """Voxels in the units of `VALUES` and the lesion mask (0/1), both indexed [x, y, z]."""

    voxels: NDArray[np.int16]
    mask: NDArray[np.uint8]
    scanner: Scanner


def scanner_for(modality: Modality, seed: int, number: int) -> Scanner:
    """The make that took picture `number` (from 1): all of them in turn, beginning with one that the seed chooses."""
    makes = SCANNERS[modality]
    return makes[(Draw(seed, "first scanner").below(len(makes)) + number - 1) % len(makes)]


def make_phantom(draw: Draw, scanner: Scanner, shape: tuple[int, int, int]) -> Volume:
    """A phantom of this shape (x, y, z) with two to four lesions of 8 to 14 mm radius."""
    import numpy as np

    x, y, z = np.ogrid[: shape[0], : shape[1], : shape[2]]
    # Twice the distance from the middle keeps half voxels whole.
    across, along = 2 * x - shape[0] + 1, 2 * y - shape[1] + 1
    wide, deep = shape[0] * 9 // 10, shape[1] * 7 // 10
    body = across**2 * deep**2 + along**2 * wide**2 + 0 * z <= wide**2 * deep**2
    spine = across**2 + (along - deep * 6 // 10) ** 2 + 0 * z <= (shape[0] // 8) ** 2
    mask = np.zeros(shape, dtype=np.uint8)
    for _ in range(draw.between(2, 4)):
        middle = [draw.between(extent * 35 // 100, extent * 65 // 100) for extent in shape]
        radius = draw.between(80, 140)
        squared = sum(
            ((axis - at) * step) ** 2 for axis, at, step in zip((x, y, z), middle, spacing(scanner), strict=True)
        )
        mask[(squared <= radius**2) & body & ~spine] = 1
    values = VALUES[scanner.modality]
    voxels = np.full(shape, values[AIR], dtype=np.int32)
    voxels[body] = values[TISSUE]
    voxels[spine & body] = values[BONE]
    voxels[mask == 1] = values[LESION]
    voxels += draw.noise(shape, scanner.noise) + scanner.offset
    return Volume(np.clip(voxels, *_RANGE[scanner.modality]).astype(np.int16), mask, scanner)


def spacing(scanner: Scanner) -> tuple[int, int, int]:
    """Tenths of a millimetre along x, y, z: the larger step is across the slices, however they lie."""
    within, _, between = scanner.spacing
    return {
        Plane.AXIAL: (within, within, between),
        Plane.SAGITTAL: (between, within, within),
        Plane.CORONAL: (within, between, within),
    }[scanner.plane]


def plant_pixels(pictures: NDArray[Any], canary: Canary, scanner: Scanner) -> None:
    """Burn the marker into stored values [picture, row, column]: its character codes once, its bar code in each."""
    pictures[0, 0, : len(canary.value)] = list(canary.value.encode("ascii"))
    lowest = (VALUES[scanner.modality][AIR] - scanner.intercept) // scanner.slope
    levels = [lowest + level * _BAR[scanner.modality] // scanner.slope for level in bars(canary)]
    for row in BAR_ROWS:
        pictures[:, row, _BAR_COLUMN : _BAR_COLUMN + len(levels)] = levels
