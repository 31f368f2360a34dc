"""The SQLite file that holds the advisories of one ecosystem, indexed by package name."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from checks.advisories.ecosystems import base_ecosystem, release_of
from checks.advisories.osv import Advisory, ecosystems_of, parse_record, salvage_record
from pratique.errors import InvalidInput

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
CREATE TABLE record (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL, aliases TEXT NOT NULL, summary TEXT NOT NULL,
    published TEXT NOT NULL, severity TEXT NOT NULL, vector TEXT NOT NULL, upstream TEXT NOT NULL
) STRICT;
CREATE TABLE affected (
    name TEXT NOT NULL, record INTEGER NOT NULL, part INTEGER NOT NULL, ecosystem TEXT NOT NULL,
    ranges TEXT NOT NULL, versions TEXT NOT NULL, decidable INTEGER NOT NULL, severity TEXT NOT NULL,
    PRIMARY KEY (name, record, part)
) STRICT, WITHOUT ROWID;
"""


_MAX_BROKEN = 10_000
MAX_TOLD = 50
"""Unreadable records that are told by name."""


@dataclass
class Tally:
    """What an import found: records kept and withdrawn, `broken` ones, and what is wrong with the first of these.

    `nameless` counts the broken ones of which not even the packages could be told, `foreign` those that speak of other
    ecosystems alone, which are not kept. `newest` is when the last of all records was changed, as of `until`.
    """

    until: datetime
    ecosystem: str = ""
    foreign: int = 0
    newest: datetime | None = None
    records: int = 0
    withdrawn: int = 0
    nameless: int = 0
    broken: int = 0
    unreadable: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    releases: tuple[str, ...] = ()

    @property
    def kept(self) -> int:
        """A number that no record before had."""
        return self.records + self.broken


def build(path: Path, records: Iterable[tuple[str, bytes]], ecosystem: str | None, *, taken: date, where: str) -> Tally:
    """Write the database at `path` from `records` (name, bytes), which were `taken` at their source on that day.

    Without `ecosystem` all records must speak of one, with it most of them of that one. Raises `InvalidInput`:
    `advisories/ecosystem`, `advisories/empty`, `advisories/broken`.
    """
    # a record that says it is changed later than that would make every later export look older
    tally = Tally(datetime.combine(taken, time(), UTC) + timedelta(days=2))
    connection = sqlite3.connect(path)
    try:
        connection.executescript(_SCHEMA)
        with connection:
            for name, data in records:
                _add(connection, tally, name, data, ecosystem)
                if tally.broken > max(_MAX_BROKEN, tally.records):
                    break  # no export: there is no need to read a million more
            if tally.foreign > tally.records:  # some of npm's records name a package of PyPI in passing
                few = f"only {tally.records:,} records speak" if tally.records else "no record speaks"
                raise _wrong_ecosystem(where, f"{few} of {ecosystem!r}, {tally.foreign:,} of others alone")
            if not tally.records or tally.broken > max(_MAX_BROKEN, tally.records):
                raise _not_records(where, tally)
            tally.ecosystem = ecosystem or _only_ecosystem(tally, where)
            if not tally.seen[base_ecosystem(tally.ecosystem)]:
                raise _wrong_ecosystem(where, f"no record speaks of {tally.ecosystem!r}")
            _keep_only(connection, tally.ecosystem)
            found = connection.execute("SELECT DISTINCT ecosystem FROM affected").fetchall()
            tally.releases = tuple(sorted({release_of(name) for (name,) in found}))
        connection.execute("VACUUM")
    finally:
        connection.close()
    return tally


def _add(connection: sqlite3.Connection, tally: Tally, name: str, data: bytes, ecosystem: str | None) -> None:
    try:
        advisory = parse_record(data, where=name)
    except InvalidInput as error:
        tally.broken += 1
        if len(tally.unreadable) < MAX_TOLD:
            tally.unreadable.append(str(error)[:200])
        rest = salvage_record(data)
        if rest is None:
            tally.nameless += 1
        else:
            _insert(connection, tally.kept, rest)
        return
    named = ecosystems_of(advisory)
    if ecosystem is not None and named and base_ecosystem(ecosystem) not in named:
        tally.foreign += 1
        return
    tally.records += 1
    tally.seen.update(named)
    if advisory.modified is not None and advisory.modified <= tally.until:
        tally.newest = max(advisory.modified, tally.newest or advisory.modified)
    if advisory.withdrawn:
        tally.withdrawn += 1
    else:
        _insert(connection, tally.kept, advisory)


def _insert(connection: sqlite3.Connection, number: int, advisory: Advisory) -> None:
    connection.execute(
        "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            number,
            advisory.id,
            json.dumps(advisory.aliases),
            advisory.summary,
            advisory.published,
            advisory.severity,
            advisory.vector,
            json.dumps(advisory.upstream),
        ),
    )
    connection.executemany(
        "INSERT INTO affected VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                affected.name,
                number,
                part,
                affected.ecosystem,
                json.dumps(affected.ranges, separators=(",", ":")),
                "".join(f"\n{version}" for version in affected.versions) + "\n",
                affected.decidable,
                affected.severity,
            )
            for part, affected in enumerate(advisory.affected)
        ),
    )


def _only_ecosystem(tally: Tally, where: str) -> str:
    if len(tally.seen) != 1:
        names = ", ".join(sorted(tally.seen)[:8]) or "none"
        raise _wrong_ecosystem(where, f"the records do not speak of one ecosystem but of: {names}")
    return next(iter(tally.seen))


def _keep_only(connection: sqlite3.Connection, ecosystem: str) -> None:
    """A snapshot of one ecosystem is complete for that one only: what it says in passing of others is dropped."""
    base = base_ecosystem(ecosystem)
    connection.execute("DELETE FROM affected WHERE ecosystem != ? AND ecosystem NOT LIKE ? || ':%'", (base, base))


def _not_records(where: str, tally: Tally) -> InvalidInput:
    broken = f"{tally.broken:,} records cannot be read, and only {tally.records:,} can"
    return InvalidInput(
        broken if tally.broken else "not one record in it",
        rule="advisories/broken" if tally.broken else "advisories/empty",
        where=where,
        cause="; ".join(tally.unreadable[:3]),
        next_step="Give an osv.dev export (ECOSYSTEM/all.zip) or a directory of its records.",
    )


def _wrong_ecosystem(where: str, message: str) -> InvalidInput:
    return InvalidInput(
        message,
        rule="advisories/ecosystem",
        where=where,
        next_step="Say which ecosystem the snapshot is of (--ecosystem PyPI), as osv.dev writes it.",
    )
