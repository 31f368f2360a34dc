"""A CT phantom: a body of soft tissue with a spine and spherical lesions, and the mask of the lesions.

All in integers (voxels, tenths of millimetres, Hounsfield units), so that every machine makes the same voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox.canaries import Canary
from sandbox.cohorts.draw import Draw

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

AIR, TISSUE, BONE, LESION = -1000, 40, 700, 180
"""Hounsfield units of what the phantom is made of."""


@dataclass(frozen=True)
class Scanner:
    """A make of scanner: voxel spacing (x, y, z) in tenths of a millimetre, noise and offset in Hounsfield units."""

    manufacturer: str
    spacing: tuple[int, int, int]
    noise: int
    offset: int


SCANNERS = (
    Scanner("Alpha Imaging", (40, 40, 50), 8, 0),
    Scanner("Beta Medical", (36, 36, 60), 14, 4),
    Scanner("Gamma Systems", (44, 44, 40), 11, -6),
)


@dataclass(frozen=True)
class Volume:
    """Voxels in Hounsfield units and the lesion mask (0/1), both indexed [x, y, z]."""

    voxels: NDArray[np.int16]
    mask: NDArray[np.uint8]
    scanner: Scanner


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
            ((axis - at) * step) ** 2 for axis, at, step in zip((x, y, z), middle, scanner.spacing, strict=True)
        )
        mask[(squared <= radius**2) & body & ~spine] = 1
    voxels = np.full(shape, AIR, dtype=np.int32)
    voxels[body] = TISSUE
    voxels[spine & body] = BONE
    voxels[mask == 1] = LESION
    voxels += draw.noise(shape, scanner.noise) + scanner.offset
    return Volume(np.clip(voxels, -1024, 3071).astype(np.int16), mask, scanner)


def plant_pixels(voxels: NDArray[np.int16], canary: Canary) -> None:
    """Write the marker's character codes into a row of voxels of the first slice, outside the body."""
    voxels[: len(canary.value), 0, 0] = list(canary.value.encode("ascii"))
