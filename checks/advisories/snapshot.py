"""Import of OSV snapshots, in the layout of osv.dev's export, into one indexed file an ecosystem."""

from __future__ import annotations

import hashlib
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from checks.advisories.copied import copied
from checks.advisories.database import Tally, build
from checks.advisories.index import Indexed, Origin, building, changing, require_newer, settle, write_index
from checks.advisories.osv import MAX_RECORD
from checks.advisories.source import Snapshot
from pratique.bounded_zip import LongList, open_zip
from pratique.bounds import read_bounded
from pratique.digests import Digest, sha256_json
from pratique.errors import InvalidInput

MAX_ARCHIVE = 4 * 1024**3
MAX_RECORDS = 1_000_000
MAX_RATIO = 50
"""How many times the archive's size its records may have: those of osv.dev have less than ten times."""
_MANY, _MOST = 1000, 0.5
"""Of so many records that are not withdrawn at least half must be there again."""
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, LookupError, OSError, RuntimeError, ValueError)
"""What `zipfile` raises over an archive that is none, or hostile: `ValueError` for names that are no text."""
_FREE = 64 * 1024**2
"""Bytes that any archive may unpack to."""
_MAX_DIRECTORY = 256 * 1024**2
"""Bytes of an archive's directory, which is read into memory whole."""
_END, _END_SIZE, _END_COMMENT = b"PK\x05\x06", 22, 65_535
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
    replace_newer: bool = False,
) -> Snapshot:
    """Import `archive` into `home`, replacing what `home` held of the same ecosystems.

    `archive` is an `all.zip` of one ecosystem, a directory of its records, or a directory with one directory an
    ecosystem (each with `all.zip` or records). `taken` is the day on which the snapshot left its source; one of a later
    day, with later changes or far more records, is not replaced unless `replace_newer` says so.
    Raises `InvalidInput` (`advisories/…`) where nothing usable is there and `CouldNotDecide` where it cannot be stored;
    `home` is then as before.
    """
    with changing(home) as index:
        imported = [_import_one(source, home, taken, label, origin) for source in _sources(archive, ecosystem)]
        if not replace_newer:
            _require_progress([entry.snapshot for entry in index.snapshots], imported, archive)
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
        broken=sum(s.broken for s in snapshots),
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


def _require_progress(held: list[Snapshot], imported: list[Indexed], archive: Path) -> None:
    """An export grows from day to day: one that is older, or has lost most of its records, is not the next one."""
    in_use = {snapshot.ecosystems: snapshot for snapshot in held}
    for new in (entry.snapshot for entry in imported):
        old = in_use.get(new.ecosystems)
        if old is None:
            continue
        require_newer(new.ecosystems[0], new.taken, old.taken, str(archive))
        _require_no_older_records(new, old, archive)
        present, there = old.records - old.withdrawn, new.records - new.withdrawn
        if present >= _MANY and there < present * _MOST:
            raise InvalidInput(
                f"it has {there:,} records of {new.ecosystems[0]}, what is in use has {present:,}",
                rule="advisories/shrunk",
                where=str(archive),
                next_step="Take the whole export again. Where so few are meant, import with --replace-newer.",
            )


def _require_no_older_records(new: Snapshot, old: Snapshot, archive: Path) -> None:
    """Whoever hands in an old export can give it any day; the records in it say when they were changed."""
    if new.newest is not None and old.newest is not None and new.newest < old.newest:
        raise InvalidInput(
            f"its newest record was changed on {new.newest:%Y-%m-%d %H:%M}, that of what is in use of "
            f"{new.ecosystems[0]} on {old.newest:%Y-%m-%d %H:%M}: it is an older copy under a later day",
            rule="advisories/older",
            where=str(archive),
            next_step="Take a fresh copy from the source. Where this one is meant, import with --replace-newer.",
        )


def _import_one(source: _Source, home: Path, taken: date, label: str, origin: Origin | None) -> Indexed:
    built = building(home)
    digest, tally = (_of_archive if source.is_archive else _of_records)(source, home, built, taken)
    _require_usable(tally, source)
    database, database_digest = settle(home, built, tally.ecosystem)
    snapshot = Snapshot(
        digest=digest,
        taken=taken,
        ecosystems=(tally.ecosystem,),
        records=tally.records,
        label=label,
        withdrawn=tally.withdrawn,
        unreadable=tuple(tally.unreadable),
        broken=tally.broken,
        nameless=tally.nameless,
        releases=tally.releases,
        newest=tally.newest,
    )
    return Indexed(snapshot, database, database_digest, origin)


def _of_archive(source: _Source, home: Path, built: Path, taken: date) -> tuple[Digest, Tally]:
    """Digest of the archive, and what was built of these very bytes."""
    with copied(source.path, home, MAX_ARCHIVE, lambda stream: _require_end(stream, source.path)) as (copy, digest):
        records = _zip_records(copy, source.path)
        return digest, build(built, records, source.ecosystem, taken=taken, where=str(source.path))


def _of_records(source: _Source, home: Path, built: Path, taken: date) -> tuple[Digest, Tally]:
    """Digest of the sorted list of names and digests of the records, and what was built of these very bytes."""
    listing = hashlib.sha256()

    def listed() -> Iterator[tuple[str, bytes]]:
        for name, data in _directory_records(source.path):
            listing.update(f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode())
            yield name, data

    tally = build(built, listed(), source.ecosystem, taken=taken, where=str(source.path))
    return Digest("sha256:" + listing.hexdigest()), tally


def _require_usable(tally: Tally, source: _Source) -> None:
    if tally.records - tally.withdrawn <= 0:
        raise _refuse("empty", str(source.path), "not one usable advisory in it")
    if tally.broken > MAX_UNREADABLE * (tally.records + tally.broken) + 2:
        first = "; ".join(tally.unreadable[:3])
        raise _refuse("broken", str(source.path), f"{tally.broken:,} records cannot be read", first)


# --- where records come from -----------------------------------------------------------------------------------------


def _sources(archive: Path, ecosystem: str | None) -> list[_Source]:
    if archive.is_file():
        return [_Source(archive, ecosystem or _ecosystem_of(archive), is_archive=True)]
    if not archive.is_dir():
        what = "neither a file nor a directory" if archive.exists() else "there is no such file or directory"
        raise _refuse("missing", str(archive), what)
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


def _zip_records(stream: BinaryIO, archive: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each record; sizes are enforced while unpacking, not believed."""
    try:
        yield from _unpacked(stream, archive)
    except _ZIP_ERRORS as error:
        raise _refuse("unreadable", str(archive), "cannot be read as an OSV export", str(error)) from error


def _unpacked(stream: BinaryIO, archive: Path) -> Iterator[tuple[str, bytes]]:
    packed = stream.seek(0, 2)
    allowed = _FREE + MAX_RATIO * packed
    with _opened(stream, packed, archive) as opened:
        members = [member for member in opened.infolist() if member.filename.endswith(".json")]
        if len(members) > MAX_RECORDS:
            raise _refuse("too-many", str(archive), f"more than {MAX_RECORDS:,} records")
        if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
            raise _refuse("unreadable", str(archive), "packed in another way than osv.dev does (deflate)")
        for member in members:
            with opened.open(member) as content:
                data = content.read(MAX_RECORD + 1)
            allowed -= len(data)
            if allowed < 0:
                raise _refuse("too-large", str(archive), f"unpacks to more than {MAX_RATIO} times its size")
            yield PurePosixPath(member.filename).name, data


def _opened(stream: BinaryIO, packed: int, archive: Path) -> zipfile.ZipFile:
    """The archive; refused where its directory is said to be too long, or is whatever it says."""
    try:
        if _directory_size(stream, packed) <= _MAX_DIRECTORY:
            return open_zip(stream, _MAX_DIRECTORY)
    except LongList:
        pass
    raise _refuse("too-many", str(archive), f"a directory of more than {_MAX_DIRECTORY:,} bytes")


def _require_end(stream: BinaryIO, archive: Path) -> None:
    """Before gigabytes are read of what is no zip, or of one that was cut off."""
    if _END not in _tail(stream, stream.seek(0, 2)):
        cause = "it does not end as a zip archive does: it is none, or it was cut off when it was copied"
        raise _refuse("unreadable", str(archive), "cannot be read as an OSV export", cause)


def _tail(stream: BinaryIO, size: int) -> bytes:
    stream.seek(max(0, size - _END_SIZE - _END_COMMENT))
    return stream.read(_END_SIZE + _END_COMMENT)


def _directory_size(stream: BinaryIO, size: int) -> int:
    """Bytes that the end of the archive announces for its directory (APPNOTE.TXT 4.3.14 and 4.3.16)."""
    tail = _tail(stream, size)
    end, large = tail.rfind(_END), tail.rfind(b"PK\x06\x06")
    announced = int.from_bytes(tail[end + 12 : end + 16], "little") if end >= 0 else 0
    return max(announced % 0xFFFFFFFF, int.from_bytes(tail[large + 40 : large + 48], "little") if large >= 0 else 0)


def _directory_records(directory: Path) -> Iterator[tuple[str, bytes]]:
    for number, path in enumerate(sorted(_records_in(directory))):
        if number >= MAX_RECORDS:
            raise _refuse("too-many", str(directory), f"more than {MAX_RECORDS:,} records")
        yield path.name, read_bounded(path, MAX_RECORD)


def _records_in(directory: Path) -> Iterator[Path]:
    """Files that may be records: CISA's list beside them is none."""
    return (path for path in directory.glob("*.json") if path.name != _KEV)


def _refuse(rule: str, where: str, message: str, cause: str = "") -> InvalidInput:
    return InvalidInput(
        message,
        rule=f"advisories/{rule}",
        where=where,
        cause=cause[:300],
        next_step="Give an osv.dev export (ECOSYSTEM/all.zip) or a directory of its records.",
    )
