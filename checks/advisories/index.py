"""What was imported, from what, when, with the digests of sources and databases: `index.json` beside the databases.

It is replaced whole, at the end of an import, which so succeeds whole or changes nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from checks.advisories.source import Snapshot
from pratique.bounds import read_bounded, strict_json
from pratique.digests import Digest, parse_digest, sha256_file
from pratique.errors import CouldNotDecide, InvalidInput

_INDEX = "index.json"
_FORMAT = 2
_MAX_INDEX = 1024 * 1024


class FeedKind(StrEnum):
    """Lists of what attackers use: FIRST's exploit prediction scores, CISA's known exploited vulnerabilities."""

    EPSS = "epss"
    KEV = "kev"


_REPLACED_AFTER = {FeedKind.EPSS: timedelta(days=1), FeedKind.KEV: timedelta(days=14)}
"""FIRST publishes scores every day; CISA its list when something is added, which is several times a month."""


@dataclass(frozen=True)
class Feed:
    """One import of such a list: `digest` of its source bytes, the day it was taken, and the day that it states."""

    kind: FeedKind
    digest: Digest
    taken: date
    stated: str
    records: int
    label: str = ""

    @property
    def stated_day(self) -> date | None:
        """The day that the list itself states; None where it states none."""
        try:
            return date.fromisoformat(self.stated[:10])
        except ValueError:
            return None

    @property
    def day(self) -> date:
        """The day whose list it is: no later than it was taken, nor than its publisher would have replaced it."""
        if self.stated_day is None or self.stated_day >= self.taken:
            return self.taken
        return min(self.taken, self.stated_day + _REPLACED_AFTER[self.kind])


@dataclass(frozen=True)
class Origin:
    """Where a snapshot was fetched from, and by what its server knows the same bytes again."""

    url: str
    etag: str = ""
    modified: str = ""


@dataclass(frozen=True)
class Indexed:
    """A snapshot of one ecosystem and the file that holds it."""

    snapshot: Snapshot
    database: str
    database_digest: Digest
    origin: Origin | None = None


@dataclass(frozen=True)
class IndexedFeed:
    """A feed and the file that holds it."""

    feed: Feed
    database: str
    database_digest: Digest


@dataclass(frozen=True)
class Index:
    """Everything that a home holds."""

    snapshots: tuple[Indexed, ...] = ()
    feeds: tuple[IndexedFeed, ...] = ()

    def with_snapshots(self, imported: list[Indexed]) -> Index:
        """With `imported` in the place of what was there of the same ecosystems."""
        replaced = {entry.snapshot.ecosystems for entry in imported}
        kept = [entry for entry in self.snapshots if entry.snapshot.ecosystems not in replaced]
        return replace(self, snapshots=tuple(sorted(kept + imported, key=lambda e: e.snapshot.ecosystems)))

    def with_feed(self, imported: IndexedFeed) -> Index:
        """With `imported` in the place of the feed of its kind."""
        kept = [entry for entry in self.feeds if entry.feed.kind is not imported.feed.kind]
        return replace(self, feeds=tuple(sorted([*kept, imported], key=lambda e: e.feed.kind)))


def read_index(home: Path) -> Index:
    """What `home` holds; raises `CouldNotDecide` where there is no index or it is not one."""
    try:
        document = strict_json(read_bounded(home / _INDEX, _MAX_INDEX), where=str(home / _INDEX), max_bytes=_MAX_INDEX)
        if document["format"] != _FORMAT:
            raise ValueError("written by another version of Pratique")
        return Index(
            tuple(_snapshot_from(entry) for entry in document["snapshots"]),
            tuple(_feed_from(entry) for entry in document["feeds"]),
        )
    except (InvalidInput, ValueError, KeyError, TypeError) as error:
        raise CouldNotDecide(
            "there is no readable advisory snapshot",
            cause=str(error),
            next_step="Fetch some: pratique advisories update --ecosystem PyPI --ecosystem Debian; without a network "
            "import a file: pratique advisories import FILE --date YYYY-MM-DD.",
        ) from error


@contextmanager
def changing(home: Path) -> Iterator[Index]:
    """What `home` holds, while nobody else changes it; a broken index holds nothing, so that importing anew mends it.

    Afterwards files that no index names are removed: replaced ones, and what an interrupted import left. Raises
    `CouldNotDecide` where the disk does not take what is written.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        with (home / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                yield existing_index(home)
            finally:
                _remove_unused(home)
    except (OSError, sqlite3.Error) as error:
        raise _not_stored(home, str(error)) from error


def write_index(home: Path, index: Index) -> None:
    """Put `index` in the place of the one that is there, at once."""
    document = {
        "format": _FORMAT,
        "snapshots": [_snapshot_json(entry) for entry in index.snapshots],
        "feeds": [_feed_json(entry) for entry in index.feeds],
    }
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    if len(text) > _MAX_INDEX:  # nobody could read it again, and with it everything else would be lost
        raise _not_stored(home, "the index would be too large: the snapshots speak of too many releases")
    handle, name = tempfile.mkstemp(prefix="building-", suffix=".json", dir=home)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    Path(name).replace(home / _INDEX)


def building(home: Path) -> Path:
    """A new file for a database that no index names yet."""
    handle, name = tempfile.mkstemp(prefix="building-", suffix=".sqlite", dir=home)
    os.close(handle)
    return Path(name)


def settle(home: Path, built: Path, name: str) -> tuple[str, Digest]:
    """Give a finished database its name, which starts with `name`; returns it and the digest of the bytes."""
    digest = sha256_file(built)
    final = f"{re.sub(r'[^A-Za-z0-9]', '-', name)}-{digest[7:23]}.sqlite"
    built.replace(home / final)
    return final, digest


def _not_stored(home: Path, cause: str) -> CouldNotDecide:
    """That an import could not be kept; what was there before is."""
    return CouldNotDecide(
        f"the import could not be stored in {home}",
        cause=cause[:300],
        next_step="Free disk space there or mend its permissions, and import again. What was there stays in use.",
    )


def require_newer(name: str, taken: date, present: date | None, where: str) -> None:
    """An old stick, or a mirror that stopped, must not put an older copy in the place of a newer one.

    Raises `InvalidInput` (`advisories/older`) where what is `present` of `name` was taken after `taken`.
    """
    if present is not None and present > taken:
        raise InvalidInput(
            f"the copy of {taken} is older than what is in use of {name}, which is of {present}",
            rule="advisories/older",
            where=where,
            next_step="Take a fresh copy. Where the one in use was given a wrong day, import with --replace-newer.",
        )


def existing_index(home: Path) -> Index:
    """What `home` holds; nothing where there is no readable index."""
    try:
        return read_index(home)
    except CouldNotDecide:
        return Index()


def _remove_unused(home: Path) -> None:
    index = existing_index(home)
    wanted = {entry.database for entry in index.snapshots} | {entry.database for entry in index.feeds}
    for path in [*home.glob("*.sqlite"), *home.glob("building-*")]:
        if path.name not in wanted:
            path.unlink(missing_ok=True)


def _snapshot_json(entry: Indexed) -> dict[str, Any]:
    snapshot, origin = entry.snapshot, entry.origin
    return {
        "digest": snapshot.digest,
        "taken": snapshot.taken.isoformat(),
        "ecosystem": snapshot.ecosystems[0],
        "records": snapshot.records,
        "withdrawn": snapshot.withdrawn,
        "unreadable": list(snapshot.unreadable),
        "broken": snapshot.broken,
        "nameless": snapshot.nameless,
        "releases": list(snapshot.releases),
        "newest": snapshot.newest.isoformat() if snapshot.newest else None,
        "label": snapshot.label,
        "database": entry.database,
        "database_digest": entry.database_digest,
        "origin": {"url": origin.url, "etag": origin.etag, "modified": origin.modified} if origin else None,
    }


def _snapshot_from(entry: dict[str, Any]) -> Indexed:
    snapshot = Snapshot(
        digest=parse_digest(entry["digest"]),
        taken=date.fromisoformat(entry["taken"]),
        ecosystems=(str(entry["ecosystem"]),),
        records=int(entry["records"]),
        label=str(entry["label"]),
        withdrawn=int(entry["withdrawn"]),
        unreadable=tuple(str(item) for item in entry["unreadable"]),
        broken=int(entry.get("broken", len(entry["unreadable"]))),
        nameless=int(entry["nameless"]),
        releases=tuple(str(item) for item in entry["releases"]),
        newest=datetime.fromisoformat(entry["newest"]) if entry.get("newest") else None,
    )
    origin = entry["origin"]
    found = Origin(str(origin["url"]), str(origin["etag"]), str(origin["modified"])) if origin else None
    return Indexed(snapshot, _database(entry), parse_digest(entry["database_digest"]), found)


def _feed_json(entry: IndexedFeed) -> dict[str, Any]:
    feed = entry.feed
    return {
        "kind": feed.kind.value,
        "digest": feed.digest,
        "taken": feed.taken.isoformat(),
        "stated": feed.stated,
        "records": feed.records,
        "label": feed.label,
        "database": entry.database,
        "database_digest": entry.database_digest,
    }


def _feed_from(entry: dict[str, Any]) -> IndexedFeed:
    feed = Feed(
        kind=FeedKind(entry["kind"]),
        digest=parse_digest(entry["digest"]),
        taken=date.fromisoformat(entry["taken"]),
        stated=str(entry["stated"]),
        records=int(entry["records"]),
        label=str(entry["label"]),
    )
    return IndexedFeed(feed, _database(entry), parse_digest(entry["database_digest"]))


def _database(entry: dict[str, Any]) -> str:
    name = entry["database"]
    if not isinstance(name, str) or "/" in name or not name.endswith(".sqlite"):
        raise ValueError("an index entry names no database")
    return name
