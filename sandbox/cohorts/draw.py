"""Randomness that is the same on every machine and in every version: only generators whose streams are guaranteed.

`random.Random.random` keeps its sequence by Python's documentation; numpy's bit generators keep theirs by NEP 19
(its distributions do not). Everything else is built here from these with exact arithmetic.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

_UNIT_NOISE = 209  # standard deviation of a sum of 8 uniform bytes: sqrt(8 * (256**2 - 1) / 12), rounded


class Draw:
    """A source of random values for one purpose: equal seed and purpose, equal values."""

    def __init__(self, seed: int, purpose: str) -> None:
        digest = hashlib.sha256(f"pratique cohort v1 {seed} {purpose}".encode()).digest()
        self._seed = int.from_bytes(digest[:16], "big")
        self._random = random.Random(self._seed)  # noqa: S311 (reproducible data, not secrets)

    def unit(self) -> float:
        """Uniform in [0, 1)."""
        return self._random.random()

    def below(self, count: int) -> int:
        """Uniform integer from 0 to `count` - 1."""
        return int(self.unit() * count)

    def between(self, low: int, high: int) -> int:
        """Uniform integer from `low` to `high`, both included."""
        return low + self.below(high - low + 1)

    def bell(self, low: float, high: float) -> float:
        """Bell-shaped between `low` and `high`: the mean of four uniforms (Irwin-Hall)."""
        return low + (high - low) * (self.unit() + self.unit() + self.unit() + self.unit()) / 4

    def one_of(self, items: Sequence[T]) -> T:
        """One of `items`."""
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """`items` in random order (Fisher-Yates)."""
        order = list(items)
        for last in range(len(order) - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order

    def noise(self, shape: tuple[int, ...], deviation: int) -> NDArray[np.int32]:
        """Nearly normal integer noise of this standard deviation, in integer arithmetic."""
        import numpy as np

        count = int(np.prod(shape))
        raw = np.random.PCG64(self._seed).random_raw(count)
        sums = raw.astype("<u8").view(np.uint8).reshape(count, 8).sum(axis=1, dtype=np.int32) - 1020
        return np.asarray(sums * deviation // _UNIT_NOISE, dtype=np.int32).reshape(shape)
