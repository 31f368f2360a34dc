"""Digests of an image's files; those of large ones are taken by a thread, while the reader goes on to the next."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import BoundedSemaphore
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from hashlib import _Hash

LARGE = 1 << 20
"""Bytes from which handing a file over costs less than it saves."""
_CHUNKS_AHEAD = 2
_NEW: dict[str, Callable[[], _Hash]] = {
    "sha256": hashlib.sha256,
    "md5": partial(hashlib.md5, usedforsecurity=False),
    "sha1": partial(hashlib.sha1, usedforsecurity=False),
}


class Hashing:
    """The SHA-256 of one file, and what else is wanted of it (`md5`, `sha1`), while its bytes come."""

    def __init__(self, more: Iterable[str], hasher: Hasher | None) -> None:
        self._hashes = [_NEW["sha256"](), *(_NEW[name]() for name in more)]
        self._hasher = hasher
        self._waiting: list[Future[None]] = []

    def update(self, chunk: bytes) -> None:
        """Add `chunk`."""
        if self._hasher is None:
            _add(self._hashes, chunk)
        else:
            self._waiting.append(self._hasher.submit(self._hashes, chunk))

    def digests(self) -> dict[str, str]:
        """In hex, by name; waits until all is hashed."""
        for waiting in self._waiting:
            waiting.result()
        return {one.name: one.hexdigest() for one in self._hashes}


class Hasher:
    """A thread that hashes, at most two chunks behind; a context manager."""

    def __init__(self) -> None:
        self._room = BoundedSemaphore(_CHUNKS_AHEAD)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="hash")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.shutdown()

    def hashing(self, size: int, more: Iterable[str]) -> Hashing:
        """For a file of `size` bytes."""
        return Hashing(more, self if size >= LARGE else None)

    def submit(self, hashes: Sequence[_Hash], chunk: bytes) -> Future[None]:
        """Add `chunk` to `hashes`, after all that was submitted before; waits while there is too much of it."""
        self._room.acquire()
        return self._worker.submit(self._work, hashes, chunk)

    def _work(self, hashes: Sequence[_Hash], chunk: bytes) -> None:
        try:
            _add(hashes, chunk)
        finally:
            self._room.release()


def _add(hashes: Iterable[_Hash], chunk: bytes) -> None:
    for one in hashes:
        one.update(chunk)
