"""Model files on disk: single files and directory trees, one verdict each."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from checks.model_files.parts import Reason, Verdict
from checks.model_files.scan import ModelVerdict, scan_model
from pratique.errors import CouldNotDecide
from pratique.intake.image.classify import HEAD, classify
from pratique.intake.image.model import FileClass

MAX_FILES = 200_000


def scan_paths(paths: Sequence[Path]) -> tuple[list[tuple[str, ModelVerdict]], int]:
    """Verdicts by path in the order given, and how many files of directories were passed over as no models.

    A file that was named itself is never passed over: what no format is known for is *unreadable*. Symbolic links in
    directories are not followed, and are *unreadable* too. Raises `CouldNotDecide` for more than 200,000 files, and
    `OSError` where a file cannot be opened.
    """
    verdicts: list[tuple[str, ModelVerdict]] = []
    skipped = 0
    for path in paths:
        if not path.is_dir():
            verdicts.append((str(path), _scan(path) if path.is_file() else _odd(path)))
            continue
        for found in _files(path):
            if not stat.S_ISREG(found.lstat().st_mode):
                verdicts.append((str(found), _odd(found)))
            elif _may_hold_model(found):
                verdicts.append((str(found), _scan(found)))
            else:
                skipped += 1
            if len(verdicts) + skipped > MAX_FILES:
                raise CouldNotDecide(f"more than {MAX_FILES:,} files", next_step="Scan a smaller directory.")
    return verdicts, skipped


def _files(directory: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(directory, onerror=_raise):
        folders.sort()
        links = [name for name in folders if Path(folder, name).is_symlink()]
        yield from (Path(folder, name) for name in sorted([*names, *links]))


def _raise(error: OSError) -> None:
    raise error


def _may_hold_model(path: Path) -> bool:
    with path.open("rb") as stream:
        return classify(path.name, stream.read(HEAD)) in (FileClass.MODEL, FileClass.ARCHIVE)


def _scan(path: Path) -> ModelVerdict:
    verdict = scan_model(path)
    if verdict.verdict is not Verdict.UNRECOGNISED:
        return verdict
    return _unreadable(path, "unrecognised", "no format of models is known for this content")


def _odd(path: Path) -> ModelVerdict:
    return _unreadable(path, "unreadable", "a link, a device or a pipe, which is not followed here")


def _unreadable(path: Path, rule: str, why: str) -> ModelVerdict:
    return ModelVerdict(path.name, Verdict.UNREADABLE, (), (Reason(rule, why, path.name, Verdict.UNREADABLE),), ())
