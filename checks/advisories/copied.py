"""What an import reads, copied first: a stick may serve other bytes when it is read again."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from pratique.bounds import open_regular
from pratique.digests import Digest
from pratique.errors import InvalidInput

_CHUNK = 1 << 20


def _anything(_: BufferedReader) -> None:
    """Asks nothing of a file."""


@contextmanager
def copied(
    path: Path, home: Path, limit: int, look: Callable[[BufferedReader], None] = _anything
) -> Iterator[tuple[BinaryIO, Digest]]:
    """The bytes of the file at `path`, of at most `limit`, in a nameless file on the disk of `home`, and their digest.

    `look` is shown the file before it is read whole, and raises what is to be raised. Raises `InvalidInput` (`file/…`),
    and `OSError` where the copy cannot be stored.
    """
    digest = hashlib.sha256()
    with tempfile.TemporaryFile(dir=home) as copy:
        for piece in _pieces(path, limit, look):
            digest.update(piece)
            copy.write(piece)
        copy.seek(0)
        yield copy, Digest("sha256:" + digest.hexdigest())


def _pieces(path: Path, limit: int, look: Callable[[BufferedReader], None]) -> Iterator[bytes]:
    """A generator of its own, so that what cannot be written is not told as what cannot be read."""
    with open_regular(path, limit, follow_links=True) as stream:
        look(stream)
        stream.seek(0)
        left = limit
        while piece := stream.read(_CHUNK):
            left -= len(piece)
            if left < 0:
                raise InvalidInput(
                    f"larger than the {limit:,} bytes allowed here",
                    rule="file/too-large",
                    where=str(path),
                    next_step="Check that this is the file that was meant; it grew while it was read.",
                )
            yield piece
