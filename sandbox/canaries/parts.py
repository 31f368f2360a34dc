"""What unpacking yields, and how far it goes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far unpacking goes: bytes unpacked in all, bytes of one part, nesting, streams tried in one buffer."""

    total_bytes: int = 256 << 20
    part_bytes: int = 64 << 20
    depth: int = 5
    tries: int = 50_000


@dataclass(slots=True)
class Allowance:
    """Bytes that may yet be looked into, plain and unpacked, by all searches that share it.

    Looking costs up to a second for 5 MiB, so that without a limit for all files of a run together a tool that leaves
    many small archives would occupy the gate for hours.
    """

    left: int = 1 << 30

    def take(self, count: int) -> bool:
        """Whether `count` more bytes may be looked into; they are taken off if so."""
        if count > self.left:
            self.left = 0
            return False
        self.left -= count
        return True


@dataclass(frozen=True, slots=True)
class Raster:
    """How to read bytes as samples: numpy's type, where they begin, samples from one to the next along each axis."""

    sample: str
    start: int = 0
    steps: tuple[int, ...] = (1,)


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes found packed in others: how (`gzip`, `base64` …), where they began, and why they are not whole, if so.

    A `leaf` is searched but not unpacked further: it may be no more than a guess. `raster` is given where the bytes
    are known to be samples of a picture.
    """

    how: str
    offset: int
    data: bytes | memoryview
    cut: str = ""
    leaf: bool = False
    raster: Raster | None = None
