"""RECORD, the list of files that an installed Python package owns, compared with the files that are there."""

from __future__ import annotations

import base64
import binascii
import csv
import io
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

from pratique.intake.image.model import FileEntry, Inventory, Kind

_SITES = ("site-packages", "dist-packages")
MAX_RECORD = 16 * 1024**2
_MAX_ROWS = 100_000
_UNCLEAN = re.compile(r"//|(?:^|/)\.{1,2}(?:/|$)|/$")


@dataclass(frozen=True)
class Lie:
    """Something in the image that its metadata do not bear out: rule, message, path."""

    rule: str
    message: str
    path: str


def compare_record(inventory: Inventory, directory: str) -> tuple[list[Lie], set[str]]:
    """What contradicts the RECORD in the metadata `directory`, and the files of the image that it owns.

    Raises `CouldNotDecide` where the RECORD was too large to be kept.
    """
    name = directory.rpartition("/")[2]
    lies: list[Lie] = []
    owned: set[str] = set()
    wrong: list[str] = []
    missing: list[str] = []
    unhashed: list[str] = []
    rows = stated_files(inventory, directory)
    if rows is None:
        return [Lie("record-unreadable", f"the RECORD of {name} cannot be read", directory)], owned
    folders = _Folders(inventory)
    for path, digest in rows:
        entry = inventory.files.get(path) or folders.file(path)
        if entry is None:
            missing += [path] if not path.endswith((".pyc", ".pyo")) else []
            continue
        owned.add(entry.path)
        if entry.kind is Kind.SYMLINK:  # what Python reads is what it leads to
            entry = inventory.resolve(entry.path)
            if entry is None or entry.kind is not Kind.FILE:
                (missing if entry is None else wrong).append(path)
                continue
        if digest and entry.sha256:
            wrong += [path] if stated_digest(digest) != entry.sha256.removeprefix("sha256:") else []
        elif path.endswith((".py", ".so")) or (path.endswith(".pyc") and "/__pycache__/" not in path):
            unhashed.append(path)
    for rule, message, paths in (
        ("record-hash", f"files of {name} are not those its RECORD names", wrong),
        ("record-missing", f"files that the RECORD of {name} names are not in the image", missing),
        ("record-unhashed", f"the RECORD of {name} gives no hash for code", unhashed),
    ):
        if paths:
            lies.append(Lie(rule, f"{message}: {_listed(paths)}", paths[0]))
    return lies, owned


class _Folders:
    """Files behind directories that are links; each directory is followed once."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._real: dict[str, str | None] = {}

    def file(self, path: str) -> FileEntry | None:
        """The entry that `path` leads to, None where it leads nowhere."""
        folder, _, name = path.rpartition("/")
        if folder not in self._real:
            entry = self._inventory.resolve(folder)
            self._real[folder] = entry.path if entry is not None and entry.kind is Kind.DIRECTORY else None
        real = self._real[folder]
        if real is None:
            return None
        there = f"{real}/{name}" if real else name
        return self._inventory.resolve(there) if there in self._inventory.files else None


def stated_files(inventory: Inventory, directory: str) -> list[tuple[str, str]] | None:
    """Path in the image and hash as stated of every file that the RECORD in `directory` names; None for no RECORD.

    Raises `CouldNotDecide` where the RECORD was too large to be kept.
    """
    rows = _rows(inventory.read(f"{directory}/RECORD", MAX_RECORD))
    if rows is None:
        return None
    base = directory.rpartition("/")[0]
    return [(path, digest) for stated, digest in rows if (path := _inside(base, stated)) is not None]


def is_package_test(path: str) -> bool:
    """Whether `path` lies in the test directory of an installed package."""
    place = site_of(path)
    return place is not None and bool({"test", "tests"} & set(place[1].split("/")[:-1]))


def _rows(record: bytes) -> list[tuple[str, str]] | None:
    """Path and hash of each row; None where it is not a RECORD."""
    try:
        lines = (line for piece in io.BytesIO(record) for line in piece.decode("utf-8").splitlines())
        rows = list(islice(csv.reader(lines), _MAX_ROWS + 1))
    except (UnicodeDecodeError, csv.Error):
        return None
    if len(rows) > _MAX_ROWS:
        return None
    return [(row[0], row[1]) for row in rows if len(row) >= 2 and row[0]]


def stated_digest(stated: str) -> str:
    """Hex digits of `sha256=<urlsafe base64>`; empty (which equals no file's) for any other form."""
    algorithm, _, value = stated.partition("=")
    if algorithm != "sha256":
        return ""
    try:
        return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
    except (binascii.Error, ValueError):
        return ""


def _inside(base: str, stated: str) -> str | None:
    """Path in the image of what a RECORD calls `stated`; None where it leaves the image."""
    if base and stated[0] != "/" and not _UNCLEAN.search(stated):
        return f"{base}/{stated}"
    parts: list[str] = [] if stated.startswith("/") else [part for part in base.split("/") if part]
    for part in PurePosixPath(stated).parts:
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("/", "."):
            parts.append(part)
    return "/".join(parts)


def _listed(paths: list[str]) -> str:
    shown = ", ".join(paths[:3])
    return f"{shown} and {len(paths) - 3} more" if len(paths) > 3 else shown


def site_of(path: str) -> tuple[str, str] | None:
    """The innermost site directory and the path inside it."""
    for site in _SITES:
        before, marker, inside = path.rpartition(f"{site}/")
        if marker and (not before or before.endswith("/")):
            return before + site, inside
    return None
