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
        self._unpacked = unpacked
        self._ready: Queue[bytes] = Queue(_CHUNKS_AHEAD)
        self._stopped = Event()
        self._buffer = b""
        self._at = 0
        self._ended = False
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="unpack")
        self._digest = self._worker.submit(self._unpack)

    def some(self, limit: int) -> bytes:
        """Between 1 and `limit` bytes, whatever is at hand; empty at the end."""
        if self._at >= len(self._buffer) and not self._ended:
            self._buffer, self._at = self._ready.get(), 0
            if not self._buffer:
                self._ended = True
                self._digest.result()
        data = self._buffer[self._at : self._at + limit]
        self._at += len(data)
        return data

    def finish(self) -> Digest:
        """Read what is left and return the digest of everything unpacked."""
        while self.some(_CHUNK):
            pass
        return self._digest.result()

    def close(self) -> None:
        """Stop the thread, wherever it is."""
        self._stopped.set()
        while not self._digest.done():
            try:
                self._ready.get(timeout=_PATIENCE)
            except Empty:
                continue
        self._worker.shutdown()

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
