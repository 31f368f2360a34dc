"""What was read of an image once more, kept for the next check that asks: layers are not read for each of them."""

from __future__ import annotations

MAX_KEPT = 32 * 1024**2


class Reread:
    """Files by their SHA-256, `MAX_KEPT` bytes at most."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self._left = MAX_KEPT

    def keep(self, sha256: str, data: bytes) -> None:
        """Keep `data` where there is room for it."""
        if len(data) <= self._left and sha256 not in self.files:
            self._left -= len(data)
            self.files[sha256] = data
