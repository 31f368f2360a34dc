"""Outputs of a run before they are delivered: in a directory beside the place that they go to, held open.

Whoever owns that place can move the directory away and put a link there. So nothing is written by its path, but
through its descriptor, and it is delivered only where it still is.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pratique.errors import CouldNotDecide


@dataclass
class Staging:
    """The directory at `path`; what is written goes `inside`."""

    path: Path
    descriptor: int
    delivered: bool = False

    @property
    def inside(self) -> Path:
        """The directory itself, wherever it is by now."""
        return Path(f"/proc/self/fd/{self.descriptor}")

    @property
    def in_place(self) -> bool:
        """Whether it still lies at `path`."""
        held = os.fstat(self.descriptor)
        try:
            there = self.path.lstat()
        except OSError:
            return False
        return (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)

    def deliver(self, wanted: Path | None, kept: Path) -> Path:
        """Where the outputs are now: at `wanted`, or `kept` where nothing is wanted.

        Raises `CouldNotDecide` where something lies at `wanted` by now, or this was moved; they are `kept` then, too.
        """
        if wanted is not None and self.in_place:
            try:
                self.path.replace(wanted)
            except OSError as error:
                cause = str(error)
            else:
                self.delivered = True
                return wanted
        else:
            cause = "somebody moved them away while the tool ran"
        shutil.copytree(self.inside, kept)
        if wanted is None:
            return kept
        raise CouldNotDecide(
            f"the tool has run, but its outputs cannot go to {wanted}",
            cause=cause,
            next_step=f"take them from {kept}; the run is recorded and need not be repeated",
        )

    def clear(self) -> None:
        """Remove what was not delivered."""
        if self.delivered:
            return
        for path in self.inside.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        if self.in_place:
            self.path.rmdir()


@contextmanager
def staging_beside(output: Path) -> Iterator[Staging]:
    """A directory of our own beside `output`, on its file system; removed at the end unless it was delivered.

    Raises `CouldNotDecide` where somebody put another one in its place at once, and `OSError`.
    """
    path = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        state = os.fstat(descriptor)
        if state.st_uid != os.geteuid() or state.st_mode & 0o077:
            raise CouldNotDecide(
                f"somebody else put a directory of theirs beside {output}",
                next_step="name an output in a directory that nobody else may write to",
            )
        staging = Staging(path, descriptor)
        try:
            yield staging
        finally:
            staging.clear()
    finally:
        os.close(descriptor)
