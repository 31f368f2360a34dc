"""What was read of an image once more, kept for the next check that asks: layers are not read for each of them."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock

MAX_KEPT = 32 * 1024**2

Place = tuple[int, str]
"""Number of the layer, and path."""


class Reread:
    """Files by their place, at most `MAX_KEPT` bytes; whoever reads holds `lock`, so that the next one finds them."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.files: dict[Place, bytes] = {}
        self._left = MAX_KEPT

    def keep(self, found: Mapping[Place, bytes]) -> None:
        """Keep what there is room for, small files first."""
        for place, data in sorted(found.items(), key=lambda item: len(item[1])):
            if len(data) > self._left:
                break
            if place not in self.files:
                self._left -= len(data)
                self.files[place] = data
