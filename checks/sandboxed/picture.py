"""A slice of a synthetic volume with the tool's mask, as two small grids for the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from checks.sandboxed.formats import read_volume
from pratique.errors import InvalidInput

LOWEST, HIGHEST = -160, 240
"""Hounsfield units shown as black and white: a soft-tissue window."""

LARGEST = 256
"""Pixels of the longer side; larger slices are thinned out."""


def slice_picture(volume: Path, masks: Sequence[Path]) -> dict[str, list[list[int]]] | None:
    """`image` (0 to 255) and `mask` (0 or 1), rows from top to bottom, of the slice with most of the mask.

    The first of `masks` that has the shape of `volume` is taken; None where none has, or none can be read.
    """
    import numpy as np

    try:
        image = read_volume(volume)
    except InvalidInput:
        return None
    if image.values.ndim != 3:
        return None
    for path in masks:
        try:
            mask = read_volume(path)
        except InvalidInput:
            continue
        if mask.values.shape != image.values.shape or mask.values.dtype.kind not in "iuf":
            continue
        inside = np.nan_to_num(mask.values, nan=0) > 0.5
        index = int(inside.sum(axis=(0, 1)).argmax())
        step = -(-max(image.values.shape[:2]) // LARGEST)
        grey = image.values[::step, ::step, index].astype(np.float64) * image.slope + image.intercept
        grey = np.clip((grey - LOWEST) * 255.0 / (HIGHEST - LOWEST), 0, 255)
        shown = inside[::step, ::step, index].astype(np.uint8)
        return {"image": grey.astype(np.uint8).T.tolist(), "mask": shown.T.tolist()}
    return None
