"""Bar codes in pictures: markers that survive a change of brightness, contrast, type, crop, flip, rotation by quarters.

A marker becomes `BARS` levels of grey in a row, no two neighbours alike. Whether a bar is brighter than the one before
does not change with brightness and contrast, so that is what is looked up, for all places of an array at once; what
fits is confirmed by its correlation with the levels. Along other axes, in interleaved channels and in pictures that
were enlarged, bars are a fixed number of samples apart (`Raster.steps`).
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sandbox.canaries.parts import Raster
from sandbox.canaries.tokens import Canary, CanaryKind

if TYPE_CHECKING:
    from numpy.typing import NDArray

BARS = 24
LEVELS = 8
_APART = 2
_LOOKED_UP = 16
_CORRELATION = 0.97
"""Of 24 samples: in noise this comes about once in some 10**14 places."""

_GUESSES = tuple(Raster(sample, 0, (1, 2, 3, 4)) for sample in ("u1", "<i2", ">i2", "<f4", "<f8"))
_NIFTI_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_NPY = re.compile(rb"\x93NUMPY[\x01-\x03]\x00")
_NPY_TYPE = re.compile(rb"'descr': ?'([<>|=])([uif][1248])'")
_NPY_SHAPE = re.compile(rb"'shape': ?\(([0-9, ]{1,200})\)")
_DICOM_SIZE = re.compile(
    rb"\x28\x00\x10\x00(?:US\x02\x00|\x02\x00\x00\x00)(..)\x28\x00\x11\x00(?:US\x02\x00|\x02\x00\x00\x00)(..)", re.S
)
_MOST_ARRAYS = 100
_WINDOW = 1 << 22


def bars(canary: Canary) -> tuple[int, ...]:
    """The levels (0 to 7) of a marker's bars; neighbours differ by two at least, so that eight bits keep them apart."""
    stream = hashlib.shake_256(canary.value.encode("ascii")).digest(64 * BARS)
    levels: list[int] = []
    for byte in stream:
        if not levels or abs(byte % LEVELS - levels[-1]) >= _APART:
            levels.append(byte % LEVELS)
        if len(levels) == BARS:
            break
    return tuple(levels)


class BarIndex:
    """The bar codes of a set of canaries, prepared once."""

    def __init__(self, canaries: Sequence[Canary]) -> None:
        import numpy as np

        self._canaries = tuple(canary for canary in canaries if canary.kind is CanaryKind.PIXEL)
        self._table = np.zeros(1 << _LOOKED_UP, dtype=np.bool_)
        codes = np.array([bars(canary) for canary in self._canaries], dtype=np.float64).reshape(-1, BARS)
        both = np.concatenate([codes, codes[:, ::-1]])
        for rises in (
            both[:, 1 : _LOOKED_UP + 1] > both[:, :_LOOKED_UP],
            both[:, 1 : _LOOKED_UP + 1] < both[:, :_LOOKED_UP],
        ):
            self._table[rises @ (1 << np.arange(_LOOKED_UP - 1, -1, -1))] = True
        centred = both - both.mean(axis=1, keepdims=True)
        self._codes = centred / np.linalg.norm(centred, axis=1, keepdims=True)

    def search(self, data: bytes | memoryview, raster: Raster | None) -> Iterator[tuple[Canary, int]]:
        """Each canary whose bars are in the samples of `data`, with the byte at which they begin."""
        if not self._canaries or len(data) < BARS:
            return
        found: set[int] = set()
        for layout in (raster,) if raster is not None else (*rasters(data), *_GUESSES):
            for number, offset in self._in_layout(data, layout):
                if number not in found:
                    found.add(number)
                    yield self._canaries[number], offset

    def _in_layout(self, data: bytes | memoryview, layout: Raster) -> Iterator[tuple[int, int]]:
        import numpy as np

        sample = np.dtype(layout.sample)
        samples = np.frombuffer(
            data, dtype=sample, offset=layout.start, count=(len(data) - layout.start) // sample.itemsize
        )
        for step in dict.fromkeys(layout.steps):
            reach = step * (BARS - 1)
            for start in range(0, samples.size - reach, _WINDOW):
                window = samples[start : start + _WINDOW + reach]
                for number, at in self._in_window(window, step):
                    yield number, layout.start + (start + at) * sample.itemsize

    def _in_window(self, window: NDArray[Any], step: int) -> Iterator[tuple[int, int]]:
        import numpy as np

        rises = (window[step:] > window[:-step]).astype(np.uint16)
        length = 1
        while length < _LOOKED_UP:  # words of 2, 4, 8, 16 comparisons
            rises = (rises[: -length * step] << np.uint16(length)) | rises[length * step :]
            length *= 2
        places = np.flatnonzero(self._table[rises[: window.size - step * (BARS - 1)]])
        for chunk in np.array_split(places, max(1, places.size >> 16)):
            with np.errstate(all="ignore"):  # floats of a buffer that holds none
                taken = window[chunk[:, np.newaxis] + np.arange(0, step * BARS, step)].astype(np.float64)
                taken -= taken.mean(axis=1, keepdims=True)
                taken /= np.linalg.norm(taken, axis=1, keepdims=True)
                likeness = np.abs(taken @ self._codes.T)
            for row, column in np.argwhere(likeness > _CORRELATION).tolist():
                yield column % len(self._canaries), int(chunk[row])


def rasters(data: bytes | memoryview) -> Iterator[Raster]:
    """How the arrays in `data` lie that say so themselves: NIfTI, npy (one or many), uncompressed DICOM."""
    yield from _nifti(data)
    for number, found in enumerate(_NPY.finditer(data)):
        if number == _MOST_ARRAYS:
            return
        yield from _npy(bytes(data[found.start() : found.start() + 1024]), found.start())
    size = _DICOM_SIZE.search(data)
    if size is not None:
        columns = int.from_bytes(size.group(2), "little")
        for sample in ("u1", "<i2", "<u2"):
            for start in (0, 1) if sample != "u1" else (0,):
                yield Raster(sample, start, (1, max(1, columns)))


def _nifti(data: bytes | memoryview) -> Iterator[Raster]:
    header = bytes(data[:348])
    if len(header) < 348 or header[344:347] not in (b"n+1", b"ni1"):
        return
    order = "<" if header[:4] == b"\x5c\x01\x00\x00" else ">"
    dimensions = struct.unpack_from(f"{order}8h", header, 40)
    (kind,) = struct.unpack_from(f"{order}h", header, 70)
    (offset,) = struct.unpack_from(f"{order}f", header, 108)
    if kind in _NIFTI_TYPES:
        start = int(offset) if math.isfinite(offset) and 348 <= offset < len(data) else 352
        yield from _laid_out(order + _NIFTI_TYPES[kind], start, dimensions[1:4], len(data))


def _npy(header: bytes, at: int) -> Iterator[Raster]:
    kind, shape = _NPY_TYPE.search(header), _NPY_SHAPE.search(header)
    if kind is None or shape is None:
        return
    sizes = [int(size) for size in shape.group(1).decode().split(",") if size.strip().isdecimal() and len(size) < 12]
    if b"'fortran_order': False" in header:
        sizes.reverse()
    start = at + (
        10 + int.from_bytes(header[8:10], "little") if header[6] == 1 else 12 + int.from_bytes(header[8:12], "little")
    )
    order = kind.group(1).decode().replace("|", "<")
    yield from _laid_out(order + kind.group(2).decode(), start, sizes, 1 << 62)


def _laid_out(sample: str, start: int, sizes: Sequence[int], size: int) -> Iterator[Raster]:
    steps = [1]
    for extent in sizes[:4]:
        if extent > 0 and steps[-1] * extent < size:
            steps.append(steps[-1] * extent)
    if start < size:
        yield Raster(sample, start, tuple(steps))
