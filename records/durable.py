"""The few file operations that the ledger and the store are built on, each durable once it returns.

They are one small class so that tests can stop the world at any of them.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pratique.errors import CouldNotDecide

LOCK_SECONDS = 30.0
"""How long to wait for another process before giving up."""

_LOCK_PAUSE = 0.01


class Disk:
    """File operations in the order in which they must reach the disk."""

    def make_directory(self, path: Path) -> None:
        """Make `path` and its parents where they are missing, and make their names durable."""
        if path.is_dir():
            return
        self.make_directory(path.parent)
        path.mkdir(exist_ok=True)
        self.sync(path.parent)

    def write(self, path: Path, data: bytes) -> None:
        """Create the file at `path` with `data`, durable but for its name."""
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())

    def rename(self, source: Path, target: Path) -> None:
        """Put `source` in the place of `target`, whole or not at all."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """Remove the file at `path` durably, and its directory when that was the last one in a `.p` directory."""
        path.unlink(missing_ok=True)
        directory = path.parent
        if directory.suffix == ".p" and directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()
            directory = directory.parent
        if directory.is_dir():
            self.sync(directory)

    def sync(self, directory: Path) -> None:
        """Make the names in `directory` durable."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def create_secret(path: Path, data: bytes) -> None:
    """Make the file at `path`, durable and its owner's alone, unless somebody else was faster; raises `OSError`.

    It is written beside `path` and linked there, so that nobody reads half of it and the first of several writers wins.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileExistsError):
            path.hardlink_to(draft)
        Disk().sync(path.parent)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def locked(directory: Path, *, exclusive: bool, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the advisory lock (`flock`) of `directory`, which needs no lock file and dies with its process.

    Threads exclude each other too, since each call opens the directory anew. Raises `CouldNotDecide` when somebody
    else holds it for longer than `seconds`, or when there is no such directory.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise CouldNotDecide(
            f"{directory} cannot be opened", cause=str(error), next_step="Check the path and its permissions."
        ) from error
    try:
        _wait_for_lock(descriptor, directory, exclusive=exclusive, seconds=seconds)
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(descriptor: int, directory: Path, *, exclusive: bool, seconds: float) -> None:
    operation = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, operation)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise CouldNotDecide(
                    f"{directory} is in use by another process",
                    cause=f"waited {seconds:.0f} s for its lock",
                    next_step="Let the other command finish, or find it with `fuser` and stop it.",
                ) from error
            time.sleep(_LOCK_PAUSE)
        except OSError as error:
            raise CouldNotDecide(
                f"{directory} cannot be locked",
                cause=str(error),
                next_step="Keep the ledger on a local file system.",
            ) from error
        else:
            return
