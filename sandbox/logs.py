"""The tool's stdout and stderr, read while it runs and capped.

The engine keeps no log of its own (a tool fills a disk in seconds through it). One thread drains the attached socket;
at the cap it shuts the socket down first, because a kill hangs behind a socket that nobody reads (moby#41827).
"""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from pratique.digests import Digest

_READ = 256 * 1024
_HEADER = 8


class Frames:
    """Docker's framing of two streams in one: 8 bytes of header (stream, 0, 0, 0, length), then the payload.

    Fed with pieces cut anywhere; hands out payloads as they come, never holding more than one header back.
    """

    def __init__(self) -> None:
        self._header = b""
        self._left = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Payloads in `data`; raises `ValueError` where the stream is not framed."""
        at = 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                yield piece
                continue
            taken = data[at : at + _HEADER - len(self._header)]
            self._header += taken
            at += len(taken)
            if len(self._header) == _HEADER:
                if self._header[0] > 2 or self._header[1:4] != b"\0\0\0":
                    raise ValueError("the engine's stream is not framed")
                self._left = int.from_bytes(self._header[4:], "big")
                self._header = b""


class LogCapture:
    """Drains `attached` into `file` until it ends or `cap` bytes were seen; then `on_cap` is called, once."""

    def __init__(self, attached: socket.socket, file: Path, *, cap: int, on_cap: Callable[[], None]) -> None:
        self._socket = attached
        self._cap = cap
        self._on_cap = on_cap
        self._hash = hashlib.sha256()
        self._file: BinaryIO = file.open("wb", buffering=0)
        self.seen = 0
        self.kept = 0
        self.problem = ""
        self._thread = threading.Thread(target=self._drain, name="log-capture", daemon=True)
        self._thread.start()

    @property
    def truncated(self) -> bool:
        """Whether the file holds less than the tool wrote."""
        return self.seen > self.kept

    @property
    def ended(self) -> bool:
        """Whether the stream has ended."""
        return not self._thread.is_alive()

    @property
    def digest(self) -> Digest:
        """Digest of what was kept; final after `close`."""
        return Digest("sha256:" + self._hash.hexdigest())

    def close(self, patience: float = 2.0) -> None:
        """Wait for the end of the stream for `patience` seconds, then cut it off."""
        self._thread.join(patience)
        self.shut()
        self._thread.join(5.0)
        self._file.close()

    def shut(self) -> None:
        """Cut the stream off, so that the engine does not wait for a reader."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the other side was first

    def _drain(self) -> None:
        frames = Frames()
        try:
            while self.seen <= self._cap:
                data = self._socket.recv(_READ)
                if not data:
                    break
                for payload in frames.feed(data):
                    self._keep(payload)
        except (OSError, ValueError) as error:
            self.problem = self.problem or f"log stream: {error}"
        finally:
            if self.seen > self._cap:
                self.shut()
                self._on_cap()
            self._socket.close()

    def _keep(self, payload: bytes) -> None:
        self.seen += len(payload)
        part = payload[: max(0, self._cap - self.kept)]
        if not part or self.problem:
            return
        try:
            self._file.write(part)
        except OSError as error:
            self.problem = f"the log could not be written: {error}"
            return
        self._hash.update(part)
        self.kept += len(part)
