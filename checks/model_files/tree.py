"""Model files on disk: single files and directory trees, one verdict each."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from checks.model_files.auditor import ask_modelaudit
from checks.model_files.parts import Reason, Verdict
from checks.model_files.scan import ModelVerdict, may_be_configuration, scan_stream
from pratique.errors import CouldNotDecide
from pratique.intake.image.classify import HEAD, classify
from pratique.intake.image.model import FileClass

MAX_FILES = 200_000
MAX_DEPTH = 128
NO_MODEL = "no-model"
"""Rule of a file that was named itself and holds no model of a known format."""


@dataclass(frozen=True)
class Scanned:
    """A verdict by the path as it was given or found."""

    path: str
    verdict: ModelVerdict


def _nothing(name: str) -> None:
    """Nobody wants to know."""


def scan_paths(
    paths: Sequence[Path], *, ask_others: bool = True, begun: Callable[[str], None] = _nothing
) -> tuple[list[Scanned], int]:
    """Verdicts in the order given, one a file, and how many files of directories were passed over as no models.

    A file that was named itself is never passed over: where no format of models is known for it, it is *unreadable* by
    the rule `no-model`. What cannot be opened is *unreadable*, and so is in directories what is no regular file: pipes,
    devices, directories that cannot be listed, and links that lead nowhere or out of the directory; a link within it is
    looked at as the file it leads to. With `ask_others`, modelaudit is asked too where it is installed. `begun` is told
    the path of each file before it is opened. Raises `CouldNotDecide` for more than 200,000 files.
    """
    found: dict[str, ModelVerdict] = {}
    skipped = 0
    for path in paths:
        if not _is_directory(path):
            begun(str(path))
            found.setdefault(str(path), _scan(path, named=True) or _no_model(path))
            continue
        closed: list[OSError] = []
        for one in _files(path, closed):
            begun(str(one))
            if str(one) not in found and (verdict := _in_directory(one, path)) is not None:
                found[str(one)] = verdict
            elif str(one) not in found:
                skipped += 1
            if len(found) + skipped > MAX_FILES:
                raise CouldNotDecide(f"more than {MAX_FILES:,} files", next_step="Scan a smaller directory.")
        for error in closed:
            where = Path(os.fsdecode(error.filename))
            found.setdefault(str(where), _unreadable(where, f"it cannot be listed: {error.strerror}"))
    return [Scanned(*item) for item in (_with_others(found) if ask_others else found).items()], skipped


def _with_others(found: dict[str, ModelVerdict]) -> dict[str, ModelVerdict]:
    """The verdicts with what modelaudit says of the files that hold something."""
    asked = [path for path, verdict in found.items() if verdict.formats]
    opinions = dict(zip(asked, ask_modelaudit([Path(path) for path in asked]), strict=False))
    return {
        path: replace(verdict, opinions=(*verdict.opinions, opinions[path])) if path in opinions else verdict
        for path, verdict in found.items()
    }


def _files(directory: Path, closed: list[OSError]) -> Iterator[Path]:
    """Files, and links to directories, below `directory`; why a directory could not be listed is added to `closed`."""
    for folder, folders, names in os.walk(directory, onerror=closed.append):
        if len(Path(folder).relative_to(directory).parts) > MAX_DEPTH:  # `os.walk` calls itself at every level
            raise CouldNotDecide(f"more than {MAX_DEPTH} directories deep", next_step="Scan a flatter directory.")
        folders.sort()
        links = [name for name in folders if _is_link(Path(folder, name))]
        yield from (Path(folder, name) for name in sorted([*names, *links]))


def _in_directory(path: Path, root: Path) -> ModelVerdict | None:
    """The verdict on a file found in `root`; None where it may be passed over."""
    if _is_link(path):
        target = Path(os.path.realpath(path))
        if not target.is_relative_to(os.path.realpath(root)):
            return _unreadable(path, "a link that leads out of the directory")
        if _is_directory(target):
            return None  # it is walked by its own name
    return _scan(path, named=False)


def _is_link(path: Path) -> bool:
    """As `Path.is_symlink`, which raises where a path is too long or may not be looked at."""
    try:
        return stat.S_ISLNK(path.lstat().st_mode)
    except OSError:
        return False


def _is_directory(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False


def _scan(path: Path, *, named: bool) -> ModelVerdict | None:
    """Open the file once, without waiting for a pipe's other end, and judge what was opened."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        return _unreadable(path, f"it cannot be opened: {error.strerror}")
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return _unreadable(path, "a device, a pipe or another thing that is no file")
        try:
            head = stream.read(HEAD)
            kind = classify(path.name, head, status.st_size)
            if not (named or kind in (FileClass.MODEL, FileClass.ARCHIVE) or may_be_configuration(path.name)):
                return None
            verdict = scan_stream(stream, status.st_size, path.name)
        except OSError as error:
            return _unreadable(path, f"it cannot be read: {error.strerror}")
    return verdict if verdict.verdict is not Verdict.UNRECOGNISED else None


def _no_model(path: Path) -> ModelVerdict:
    reason = Reason(NO_MODEL, "no format of models is known for this content", path.name, Verdict.UNREADABLE)
    return ModelVerdict(path.name, Verdict.UNREADABLE, (), (reason,), ())


def _unreadable(path: Path, why: str) -> ModelVerdict:
    reason = Reason("unreadable", why, path.name, Verdict.UNREADABLE)
    return ModelVerdict(path.name, Verdict.UNREADABLE, (), (reason,), ())
