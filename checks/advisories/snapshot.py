"""Import of OSV snapshots, in the layout of osv.dev's export, into one indexed file an ecosystem."""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path, PurePosixPath

from checks.advisories.database import Tally, build
from checks.advisories.index import Indexed, Origin, building, changing, settle, write_index
from checks.advisories.osv import MAX_RECORD
from checks.advisories.source import Snapshot
from pratique.bounds import read_bounded
from pratique.digests import Digest, sha256_file, sha256_json
from pratique.errors import InvalidInput

MAX_ARCHIVE = 4 * 1024**3
MAX_RECORDS = 2_000_000
MAX_UNPACKED = 32 * 1024**3
MAX_UNREADABLE = 0.02
"""Share of records that may be unreadable before the whole snapshot is refused."""
_KEV = "known_exploited_vulnerabilities.json"
_NAMED = re.compile(r"([A-Za-z][A-Za-z .:0-9]{0,40})[-_]all\.zip")


@dataclass(frozen=True)
class _Source:
    path: Path
    ecosystem: str | None
    is_archive: bool


def import_snapshot(
    archive: Path,
    home: Path,
    *,
    taken: date,
    ecosystem: str | None = None,
    label: str = "",
    origin: Origin | None = None,
) -> Snapshot:
    """Import `archive` into `home`, replacing what `home` held of the same ecosystems.

    `archive` is an `all.zip` of one ecosystem, a directory of its records, or a directory with one directory an
    ecosystem (each with `all.zip` or records). `taken` is the day on which the snapshot left its source.
    Raises `InvalidInput` (`advisories/…`) where nothing usable is there; `home` is then as before.
    """
    with changing(home) as index:
        imported = [_import_one(source, home, taken, label, origin) for source in _sources(archive, ecosystem)]
        write_index(home, index.with_snapshots(imported))
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
        nameless=sum(s.nameless for s in snapshots),
    )


def holds_snapshots(directory: Path) -> bool:
    """Whether there is anything in it that `import_snapshot` would import."""
    places = [directory, *(entry for entry in directory.iterdir() if entry.is_dir())]
    return any(any(place.glob("*all.zip")) or any(_records_in(place)) for place in places)


def confirm_snapshot(home: Path, ecosystem: str, origin: Origin, taken: date) -> Snapshot | None:
    """Note that the source still had, on the day `taken`, what was fetched from `origin`.

    None where that is not what `home` holds of `ecosystem`.
    """
    with changing(home) as index:
        for entry in index.snapshots:
            if entry.snapshot.ecosystems == (ecosystem,) and entry.origin and entry.origin.url == origin.url:
                snapshot = replace(entry.snapshot, taken=max(taken, entry.snapshot.taken))
                write_index(home, index.with_snapshots([replace(entry, snapshot=snapshot, origin=origin)]))
                return snapshot
    return None


def _import_one(source: _Source, home: Path, taken: date, label: str, origin: Origin | None) -> Indexed:
    built = building(home)
    try:
        digest = sha256_file(source.path) if source.is_archive else _digest_of_records(source.path)
        records = _zip_records(source.path) if source.is_archive else _directory_records(source.path)
        tally = build(built, records, source.ecosystem, where=str(source.path))
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise _refuse("unreadable", str(source.path), "cannot be read as an OSV export", str(error)) from error
    _require_usable(tally, source)
    database, database_digest = settle(home, built, tally.ecosystem)
    snapshot = Snapshot(
        digest=digest,
        taken=taken,
        ecosystems=(tally.ecosystem,),
        records=tally.records,
        label=label,
        withdrawn=tally.withdrawn,
        unreadable=tuple(tally.unreadable[:50]),
        nameless=tally.nameless,
        releases=tally.releases,
    )
    return Indexed(snapshot, database, database_digest, origin)


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
    if any(_records_in(archive)):
        return [_Source(archive, ecosystem, is_archive=False)]
    found: list[_Source] = []
    for directory in sorted(entry for entry in archive.iterdir() if entry.is_dir()):
        if ecosystem in (None, directory.name):
            if (directory / "all.zip").is_file():
                found.append(_Source(directory / "all.zip", directory.name, is_archive=True))
            elif any(_records_in(directory)):
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
    for number, path in enumerate(sorted(_records_in(directory))):
        if number >= MAX_RECORDS:
            raise _refuse("too-many", str(directory), f"more than {MAX_RECORDS:,} records")
        yield path.name, read_bounded(path, MAX_RECORD)


def _records_in(directory: Path) -> Iterator[Path]:
    """Files that may be records: CISA's list beside them is none."""
    return (path for path in directory.glob("*.json") if path.name != _KEV)


def _digest_of_records(directory: Path) -> Digest:
    """Digest of the sorted list of names and digests of the records."""
    listing = hashlib.sha256()
    for name, data in _directory_records(directory):
        listing.update(f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode())
    return Digest("sha256:" + listing.hexdigest())


def _refuse(rule: str, where: str, message: str, cause: str = "") -> InvalidInput:
    return InvalidInput(
        message,
        rule=f"advisories/{rule}",
        where=where,
        cause=cause[:300],
        next_step="Give an osv.dev export (ECOSYSTEM/all.zip) or a directory of its records.",
    )
