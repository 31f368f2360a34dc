"""Import of OSV snapshots, in the layout of osv.dev's export, into one indexed file an ecosystem.

    HOME/index.json              what was imported, from what, when, with the digests of source and database
    HOME/<ecosystem>-<hex>.sqlite

An import builds its database aside and swaps the index at the end: it succeeds whole or changes nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

from checks.advisories.database import Tally, build
from checks.advisories.osv import MAX_RECORD
from pratique.bounds import read_bounded, strict_json
from pratique.digests import Digest, parse_digest, sha256_file, sha256_json
from pratique.errors import CouldNotDecide, InvalidInput

MAX_ARCHIVE = 4 * 1024**3
MAX_RECORDS = 2_000_000
MAX_UNPACKED = 32 * 1024**3
MAX_UNREADABLE = 0.02
"""Share of records that may be unreadable before the whole snapshot is refused."""
_INDEX = "index.json"
_FORMAT = 1
_NAMED = re.compile(r"([A-Za-z][A-Za-z .:0-9]{0,40})[-_]all\.zip")


@dataclass(frozen=True)
class Snapshot:
    """One import: `digest` of its source bytes, the day it was taken at the source, how many records it holds."""

    digest: Digest
    taken: date
    ecosystems: tuple[str, ...]
    records: int
    label: str = ""
    withdrawn: int = 0
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Indexed:
    """A snapshot of one ecosystem and the file that holds it."""

    snapshot: Snapshot
    database: str
    database_digest: Digest


@dataclass(frozen=True)
class _Source:
    path: Path
    ecosystem: str | None
    is_archive: bool


def import_snapshot(
    archive: Path, home: Path, *, taken: date, ecosystem: str | None = None, label: str = ""
) -> Snapshot:
    """Import `archive` into `home`, replacing what `home` held of the same ecosystems.

    `archive` is an `all.zip` of one ecosystem, a directory of its records, or a directory with one directory an
    ecosystem (each with `all.zip` or records). `taken` is the day on which the snapshot left its source.
    Raises `InvalidInput` (`advisories/…`) where nothing usable is there; `home` is then as before.
    """
    home.mkdir(parents=True, exist_ok=True)
    imported: list[Indexed] = []
    with _locked(home):
        try:
            imported += [_import_one(source, home, taken, label) for source in _sources(archive, ecosystem)]
            _swap_index(home, imported)
        finally:
            _remove_unused(home)
    snapshots = [entry.snapshot for entry in imported]
    if len(snapshots) == 1:
        return snapshots[0]
    return Snapshot(
        digest=sha256_json({s.ecosystems[0]: s.digest for s in snapshots}),
        taken=taken,
        ecosystems=tuple(s.ecosystems[0] for s in snapshots),
        records=sum(s.records for s in snapshots),
        label=label,
        withdrawn=sum(s.withdrawn for s in snapshots),
        unreadable=tuple(name for s in snapshots for name in s.unreadable),
    )


def read_index(home: Path) -> tuple[Indexed, ...]:
    """What `home` holds; raises `CouldNotDecide` where there is no index or it is not one."""
    try:
        document = strict_json(
            read_bounded(home / _INDEX, 1024 * 1024), where=str(home / _INDEX), max_bytes=1024 * 1024
        )
        if document["format"] != _FORMAT:
            raise ValueError("unknown format")
        return tuple(_from_json(entry) for entry in document["snapshots"])
    except (InvalidInput, ValueError, KeyError, TypeError) as error:
        raise CouldNotDecide(
            "there is no readable advisory snapshot",
            cause=str(error),
            next_step="Import one: pratique advisories import FILE --date YYYY-MM-DD.",
        ) from error


def _import_one(source: _Source, home: Path, taken: date, label: str) -> Indexed:
    handle, name = tempfile.mkstemp(prefix="building-", suffix=".sqlite", dir=home)
    os.close(handle)
    try:
        digest = sha256_file(source.path) if source.is_archive else _digest_of_records(source.path)
        records = _zip_records(source.path) if source.is_archive else _directory_records(source.path)
        tally = build(Path(name), records, source.ecosystem, where=str(source.path))
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise _refuse("unreadable", str(source.path), "cannot be read as an OSV export", str(error)) from error
    _require_usable(tally, source)
    database_digest = sha256_file(Path(name))
    final = f"{re.sub(r'[^A-Za-z0-9]', '-', tally.ecosystem)}-{database_digest[7:23]}.sqlite"
    Path(name).replace(home / final)
    snapshot = Snapshot(
        digest=digest,
        taken=taken,
        ecosystems=(tally.ecosystem,),
        records=tally.records,
        label=label,
        withdrawn=tally.withdrawn,
        unreadable=tuple(tally.unreadable[:50]),
    )
    return Indexed(snapshot, final, database_digest)


def _require_usable(tally: Tally, source: _Source) -> None:
    if tally.records - tally.withdrawn <= 0:
        raise _refuse("empty", str(source.path), "not one usable advisory in it")
    if len(tally.unreadable) > MAX_UNREADABLE * (tally.records + len(tally.unreadable)) + 2:
        first = "; ".join(tally.unreadable[:3])
        raise _refuse("broken", str(source.path), f"{len(tally.unreadable):,} records cannot be read", first)


# --- where records come from -----------------------------------------------------------------------------------------


def _sources(archive: Path, ecosystem: str | None) -> list[_Source]:
    if archive.is_file():
        return [_Source(archive, ecosystem or _ecosystem_of(archive), is_archive=True)]
    if not archive.is_dir():
        raise _refuse("missing", str(archive), "there is no such file or directory")
    if (archive / "all.zip").is_file():
        return [_Source(archive / "all.zip", ecosystem or archive.name, is_archive=True)]
    if any(archive.glob("*.json")):
        return [_Source(archive, ecosystem, is_archive=False)]
    found: list[_Source] = []
    for directory in sorted(entry for entry in archive.iterdir() if entry.is_dir()):
        if ecosystem in (None, directory.name):
            if (directory / "all.zip").is_file():
                found.append(_Source(directory / "all.zip", directory.name, is_archive=True))
            elif any(directory.glob("*.json")):
                found.append(_Source(directory, directory.name, is_archive=False))
    found += [_Source(a, _ecosystem_of(a), is_archive=True) for a in sorted(archive.glob("*all.zip"))]
    if not found:
        raise _refuse("empty", str(archive), "no OSV records and no all.zip in this directory")
    return found


def _ecosystem_of(archive: Path) -> str | None:
    if archive.name == "all.zip":
        return archive.parent.name or None
    named = _NAMED.fullmatch(archive.name)
    return named[1] if named else None


def _zip_records(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each record; sizes are enforced while unpacking, not believed."""
    if archive.stat().st_size > MAX_ARCHIVE:
        raise _refuse("too-large", str(archive), f"larger than {MAX_ARCHIVE:,} bytes")
    unpacked = 0
    with zipfile.ZipFile(archive) as opened:
        members = [member for member in opened.infolist() if member.filename.endswith(".json")]
        if len(members) > MAX_RECORDS:
            raise _refuse("too-many", str(archive), f"more than {MAX_RECORDS:,} records")
        for member in members:
            with opened.open(member) as stream:
                data = stream.read(MAX_RECORD + 1)
            unpacked += len(data)
            if unpacked > MAX_UNPACKED:
                raise _refuse("too-large", str(archive), f"unpacks to more than {MAX_UNPACKED:,} bytes")
            yield PurePosixPath(member.filename).name, data


def _directory_records(directory: Path) -> Iterator[tuple[str, bytes]]:
    for number, path in enumerate(sorted(directory.glob("*.json"))):
        if number >= MAX_RECORDS:
            raise _refuse("too-many", str(directory), f"more than {MAX_RECORDS:,} records")
        yield path.name, read_bounded(path, MAX_RECORD)


def _digest_of_records(directory: Path) -> Digest:
    """Digest of the sorted list of names and digests of the records."""
    listing = hashlib.sha256()
    for name, data in _directory_records(directory):
        listing.update(f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode())
    return Digest("sha256:" + listing.hexdigest())


# --- the index -------------------------------------------------------------------------------------------------------


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _swap_index(home: Path, imported: list[Indexed]) -> None:
    replaced = {entry.snapshot.ecosystems for entry in imported}
    kept = [e for e in _existing(home) if e.snapshot.ecosystems not in replaced]
    entries = sorted(kept + imported, key=lambda e: e.snapshot.ecosystems)
    text = json.dumps({"format": _FORMAT, "snapshots": [_to_json(e) for e in entries]}, indent=2, sort_keys=True)
    handle, name = tempfile.mkstemp(prefix="building-", suffix=".json", dir=home)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    Path(name).replace(home / _INDEX)


def _existing(home: Path) -> tuple[Indexed, ...]:
    """What the index names; a broken index names nothing, so that importing anew mends it."""
    try:
        return read_index(home)
    except CouldNotDecide:
        return ()


def _remove_unused(home: Path) -> None:
    """Drop databases that no index names: replaced ones, and what an interrupted import left."""
    wanted = {entry.database for entry in _existing(home)}
    for path in [*home.glob("*.sqlite"), *home.glob("building-*")]:
        if path.name not in wanted:
            path.unlink(missing_ok=True)


def _to_json(entry: Indexed) -> dict[str, Any]:
    snapshot = entry.snapshot
    return {
        "digest": snapshot.digest,
        "taken": snapshot.taken.isoformat(),
        "ecosystem": snapshot.ecosystems[0],
        "records": snapshot.records,
        "withdrawn": snapshot.withdrawn,
        "unreadable": list(snapshot.unreadable),
        "label": snapshot.label,
        "database": entry.database,
        "database_digest": entry.database_digest,
    }


def _from_json(entry: dict[str, Any]) -> Indexed:
    name = entry["database"]
    if not isinstance(name, str) or "/" in name or not name.endswith(".sqlite"):
        raise ValueError("an index entry names no database")
    snapshot = Snapshot(
        digest=parse_digest(entry["digest"]),
        taken=date.fromisoformat(entry["taken"]),
        ecosystems=(str(entry["ecosystem"]),),
        records=int(entry["records"]),
        label=str(entry["label"]),
        withdrawn=int(entry["withdrawn"]),
        unreadable=tuple(str(item) for item in entry["unreadable"]),
    )
    return Indexed(snapshot, name, parse_digest(entry["database_digest"]))


def _refuse(rule: str, where: str, message: str, cause: str = "") -> InvalidInput:
    return InvalidInput(
        message,
        rule=f"advisories/{rule}",
        where=where,
        cause=cause[:300],
        next_step="Give an osv.dev export (ECOSYSTEM/all.zip) or a directory of its records.",
    )
