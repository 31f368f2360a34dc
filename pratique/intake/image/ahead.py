"""Unpacking in a thread of its own, so that reading, decompressing and hashing keep a second core busy."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import Empty, Queue
from threading import Event

from pratique.digests import Digest
from pratique.intake.image.streams import Steps, UnpackedLayer

_CHUNK = 1 << 20
_CHUNKS_AHEAD = 2
_PATIENCE = 0.05


class _Ahead(Steps):
    """What the thread has unpacked, in order; what went wrong there is raised here, at its place in the stream."""

    def __init__(self, unpacked: UnpackedLayer) -> None:
        super().__init__()
        self._unpacked = unpacked
        self._ready: Queue[bytes] = Queue(_CHUNKS_AHEAD)
        self._stopped = Event()
        self._ended = False
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="unpack")
        self._digest = self._worker.submit(self._unpack)

    def close(self) -> None:
        """Stop the thread, wherever it is."""
        self._stopped.set()
        while not self._digest.done():
            try:
                self._ready.get(timeout=_PATIENCE)
            except Empty:
                continue
        self._worker.shutdown()

    def _next(self) -> bytes:
        data = b"" if self._ended else self._ready.get()
        if not data and not self._ended:
            self._ended = True
            self._digest.result()
        return data

    def _digest_of_all(self) -> Digest:
        return self._digest.result()

    def _unpack(self) -> Digest:
        try:
            while not self._stopped.is_set() and (data := self._unpacked.some(_CHUNK)):
                self._ready.put(data)
            return self._unpacked.finish() if not self._stopped.is_set() else Digest("")
        finally:
            self._ready.put(b"")


@contextmanager
def read_ahead(unpacked: UnpackedLayer) -> Iterator[_Ahead]:
    """`unpacked`, two MiB ahead of its reader; raises what `unpacked` does, when the reader comes to that place."""
    ahead = _Ahead(unpacked)
    try:
        yield ahead
    finally:
        ahead.close()
