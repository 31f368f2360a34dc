"""RPM's database in SQLite (`rpmdb.sqlite`), read as data: a bounded copy, its schema not trusted, a bounded time.

One row a package: `Packages(hnum, blob)`, where `blob` is a header without its magic (lib/header.c of rpm): two
big-endian counts, an index of 16-byte entries (tag, type, offset, count), the data.
"""

from __future__ import annotations

import shutil
import sqlite3
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from checks.sbom.model import text_of
from pratique.errors import CouldNotDecide
from pratique.intake.image.model import Inventory

MAX_DATABASE = 256 * 1024**2
MAX_HEADER = 32 * 1024**2
MAX_PACKAGES = 50_000
MAX_PARTS = 1_000_000
"""Files, needs and offers of all packages together."""
MAX_NAMES = 128 * 1024**2
"""Characters of the paths of all files together."""
_MAX_ENTRIES = 4096
_MAX_VALUES = 500_000
_STEPS = 20_000_000
"""Instructions of SQLite's machine that reading one database may take; a view that never ends stops here."""
_EVERY = 100_000
_WAL = b"\x02\x02"
_INT16, _INT32, _STRING, _ARRAY, _I18N = 3, 4, 6, 8, 9
_TAGS = {
    1000: "name",
    1001: "version",
    1002: "release",
    1003: "epoch",
    1014: "licence",
    1022: "architecture",
    1035: "digests",
    1037: "flags",
    1044: "source",
    1045: "verify",
    1047: "provides",
    1049: "requires",
    1116: "folders",
    1117: "bases",
    1118: "directories",
    5011: "algorithm",
}
_COUNTED = frozenset(("epoch", "flags", "verify", "folders", "algorithm"))
"""Tags whose values are numbers; those of the others are texts."""
_NUMBERS = (_INT16, _INT32)
_SHA256 = 8
"""PGPHASHALGO_SHA256."""
_NOT_COMPARED = 1 | 64
"""RPMFILE_CONFIG and RPMFILE_GHOST: files that are meant to differ, or not to be there."""
_VERIFY_DIGEST = 1


class Unreadable(Exception):
    """The database is damaged, or is none, or has a form that is not read here."""


@dataclass(frozen=True)
class RpmFile:
    """A file as a package states it; `sha256` (hex) is empty where the content may differ or has another digest."""

    path: str
    sha256: str


@dataclass(frozen=True)
class RpmPackage:
    """One installed package."""

    name: str
    version: str
    release: str
    epoch: int
    architecture: str
    licence: str
    source: str
    """File name of the source package."""
    provides: tuple[str, ...]
    requires: tuple[str, ...]
    files: tuple[RpmFile, ...]


def read_database(inventory: Inventory, path: str) -> list[RpmPackage]:
    """Packages of the `rpmdb.sqlite` at `path`, with what a write-ahead log beside it adds.

    Raises `Unreadable`, and `CouldNotDecide` where the file was too large to be kept or the disk fails.
    """
    if f"{path}-journal" in inventory.files and inventory.files[f"{path}-journal"].size:
        raise Unreadable("a transaction was never finished (rpmdb.sqlite-journal)")
    try:
        with tempfile.TemporaryDirectory(prefix="pratique-rpm-") as scratch:
            copy = Path(scratch, "rpmdb.sqlite")
            _copy(inventory, path, copy)
            logged = f"{path}-wal" in inventory.files and inventory.files[f"{path}-wal"].size > 0
            if logged:
                _copy(inventory, f"{path}-wal", copy.with_name(f"{copy.name}-wal"))
            return _packages(copy, immutable=not logged)
    except OSError as error:
        raise CouldNotDecide(
            f"{path} cannot be copied for reading", cause=str(error), next_step="Free disk space for temporary files."
        ) from error


def _copy(inventory: Inventory, path: str, target: Path) -> None:
    if inventory.files[path].size > MAX_DATABASE:
        raise Unreadable(f"it is larger than {MAX_DATABASE:,} bytes")
    with inventory.open(path) as source, target.open("wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)


def _packages(copy: Path, *, immutable: bool) -> list[RpmPackage]:
    """A log is applied to the copy, which nobody else has; without one nothing is written at all."""
    options = "mode=ro&immutable=1" if immutable else "mode=rw"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(copy))}?{options}", uri=True)) as connection:
            _confine(connection)
            if connection.execute("SELECT type, sql FROM sqlite_master WHERE name = 'Packages'").fetchall() == []:
                raise Unreadable("it has no table of packages")
            return list(_rows(connection))
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise Unreadable(str(error)[:200]) from error


def _confine(connection: sqlite3.Connection) -> None:
    """Trust neither schema nor pages, run nothing but plain reading, and that not for ever."""
    steps = iter(range(_STEPS // _EVERY))
    connection.set_progress_handler(lambda: next(steps, None) is None, _EVERY)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_HEADER)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    for pragma in ("trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0", "temp_store=MEMORY", "cache_size=-4000"):
        connection.execute(f"PRAGMA {pragma}")
    connection.set_authorizer(_only_reading)


def _only_reading(action: int, first: str | None, *_: Any) -> int:
    allowed = action == sqlite3.SQLITE_SELECT or (
        action == sqlite3.SQLITE_READ and first in ("Packages", "sqlite_master")
    )
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _rows(connection: sqlite3.Connection) -> Iterator[RpmPackage]:
    parts = text = 0
    for number, (blob,) in enumerate(connection.execute("SELECT blob FROM Packages")):
        if number >= MAX_PACKAGES or not isinstance(blob, bytes):
            raise Unreadable("more packages than are read" if number >= MAX_PACKAGES else "a header that is no blob")
        package = read_header(blob)
        parts += len(package.files) + len(package.provides) + len(package.requires)
        text += sum(len(file.path) for file in package.files)
        if text > MAX_NAMES:
            raise Unreadable(f"the names of its files have more than {MAX_NAMES:,} characters")
        if parts > MAX_PARTS:
            raise Unreadable(f"its packages have more than {MAX_PARTS:,} files, needs and offers")
        if package.name != "gpg-pubkey":  # a key that was imported, not a package
            yield package


def read_header(blob: bytes) -> RpmPackage:
    """The package that a header describes; raises `Unreadable`."""
    try:
        values = _values(blob)
    except (struct.error, IndexError, ValueError) as error:
        raise Unreadable(f"a package header that is damaged: {error}"[:200]) from error
    name, version, release = (text_of(_first(values, key)) for key in ("name", "version", "release"))
    if not name or not version:
        raise Unreadable("a package without name or version")
    epoch = _first(values, "epoch")
    return RpmPackage(
        name=name,
        version=version,
        release=release,
        epoch=epoch if isinstance(epoch, int) else 0,
        architecture=text_of(_first(values, "architecture")),
        licence=text_of(_first(values, "licence"), 4000),
        source=text_of(_first(values, "source")),
        provides=_texts(values, "provides"),
        requires=_texts(values, "requires"),
        files=tuple(_files(values)),
    )


def _values(blob: bytes) -> dict[str, list[Any]]:
    """The values of the tags that matter."""
    entries, length = struct.unpack_from(">II", blob)
    start = 8 + 16 * entries
    if not 0 < entries <= _MAX_ENTRIES or start + length > len(blob):
        raise ValueError("its counts do not fit")
    store = memoryview(blob)[start : start + length]
    found: dict[str, list[Any]] = {}
    for place in range(entries):
        tag, kind, offset, count = struct.unpack_from(">IIiI", blob, 8 + 16 * place)
        if tag in _TAGS:
            if _TAGS[tag] in found:  # a header is sorted by tag; to read the same values again and again takes hours
                raise ValueError(f"tag {tag} appears twice")
            if not 0 <= offset <= length or count > _MAX_VALUES:
                raise ValueError(f"tag {tag} lies outside")
            if (kind in _NUMBERS) is not (_TAGS[tag] in _COUNTED):
                raise ValueError(f"tag {tag} is of another kind than it should be")
            found[_TAGS[tag]] = _decode(kind, store[offset:], count)
    return found


def _decode(kind: int, data: memoryview, count: int) -> list[Any]:
    if kind in _NUMBERS:
        size, letter = (2, "H") if kind == _INT16 else (4, "I")
        return list(struct.unpack(f">{count}{letter}", data[: size * count]))
    if kind not in (_STRING, _ARRAY, _I18N):
        return []
    parts = bytes(data).split(b"\0", count)
    if len(parts) <= count:
        raise ValueError("a text without an end")
    return [part.decode("utf-8", "replace") for part in parts[:count]]


def _first(values: Mapping[str, list[Any]], key: str) -> Any:
    return next(iter(values.get(key, ())), None)


def _texts(values: Mapping[str, list[Any]], key: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in values.get(key, ()) if isinstance(text, str)))


def _files(values: Mapping[str, list[Any]]) -> Iterator[RpmFile]:
    folders, bases, directories = (values.get(key, []) for key in ("folders", "bases", "directories"))
    if len(folders) != len(bases):
        raise Unreadable("a list of files that does not fit together")
    digests = values.get("digests", []) if _first(values, "algorithm") == _SHA256 else []
    flags, verify = values.get("flags", []), values.get("verify", [])
    length = 0
    for place, (folder, base) in enumerate(zip(folders, bases, strict=True)):
        if folder >= len(directories):
            raise Unreadable("a list of files that does not fit together")
        length += len(directories[folder]) + len(base)
        if length > MAX_NAMES:
            raise Unreadable(f"the names of its files have more than {MAX_NAMES:,} characters")
        fixed = len(digests) == len(flags) == len(verify) == len(bases) and (
            not flags[place] & _NOT_COMPARED and verify[place] & _VERIFY_DIGEST
        )
        yield RpmFile(f"{directories[folder]}{base}".lstrip("/"), digests[place] if fixed else "")
