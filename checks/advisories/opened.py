"""The databases that an index names, opened read-only: each as it was imported, or none at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from checks.advisories.index import Index, Indexed, IndexedFeed, read_index
from pratique.digests import Digest, sha256_file
from pratique.errors import CouldNotDecide

_Entry = TypeVar("_Entry", Indexed, IndexedFeed)
_READ: dict[tuple[str, int, int, int, int, int], Digest] = {}
_MAPPED = 1 << 30
"""Bytes of a database that are read through the page cache of the system, without copying."""
_TRIES = 5
"""How often an index is read at most whose files are replaced in the meantime."""


class Opened(Generic[_Entry]):
    """Entries of an index with their databases; a context manager that closes these."""

    def __init__(self, entries: Iterable[tuple[_Entry, sqlite3.Connection]] = ()) -> None:
        self._entries: tuple[tuple[_Entry, sqlite3.Connection], ...] = tuple(entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        for _, connection in self._entries:
            connection.close()


def open_entries(
    home: Path, of: Callable[[Index], Sequence[_Entry]], broken: Callable[[str], CouldNotDecide]
) -> list[tuple[_Entry, sqlite3.Connection]]:
    """The entries that `of` takes from the index of `home`, each with its database.

    An import in the meantime removes files that the index named when it was read; it is then read again. Raises
    `CouldNotDecide` where there is no index, and what `broken` makes of the cause where a file is not as it was
    imported or cannot be opened.
    """
    index = read_index(home)
    for _ in range(_TRIES):
        try:
            return _open_all(home, of(index), broken)
        except (OSError, sqlite3.Error) as error:
            cause, before, index = error, index, read_index(home)
            if index == before:
                raise broken(str(error)) from error
    raise broken(f"it is replaced again and again: {cause}")


def _open_all(
    home: Path, entries: Sequence[_Entry], broken: Callable[[str], CouldNotDecide]
) -> list[tuple[_Entry, sqlite3.Connection]]:
    with ExitStack() as stack:
        opened = [(entry, stack.enter_context(closing(_open(home, entry, broken)))) for entry in entries]
        stack.pop_all()  # all are open: whoever asked closes them
        return opened


def _open(home: Path, entry: Indexed | IndexedFeed, broken: Callable[[str], CouldNotDecide]) -> sqlite3.Connection:
    path = home / entry.database
    if _digest_of(path) != entry.database_digest:
        raise broken(f"{path.name} is not as it was imported")
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    connection.execute(f"PRAGMA mmap_size = {_MAPPED}")
    return connection


def _digest_of(path: Path) -> Digest:
    """Digest of the file; of one that nothing changed since this process read it, as it was then.

    A rescan opens the same file for every tool. Nobody can write to a file, or put another in its place, without the
    system giving it another time of change.
    """
    status = path.stat()
    key = str(path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    if key not in _READ:
        _READ[key] = sha256_file(path)
    return _READ[key]
