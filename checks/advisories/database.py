"""The SQLite file that holds the advisories of one ecosystem, indexed by package name."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from checks.advisories.osv import Advisory, ecosystems_of, parse_record
from checks.advisories.versions import base_ecosystem
from pratique.errors import InvalidInput

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE record (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, aliases TEXT NOT NULL, summary TEXT NOT NULL,
    published TEXT NOT NULL, severity TEXT NOT NULL, vector TEXT NOT NULL
) STRICT;
CREATE TABLE affected (
    name TEXT NOT NULL, record INTEGER NOT NULL, part INTEGER NOT NULL, ecosystem TEXT NOT NULL,
    ranges TEXT NOT NULL, versions TEXT NOT NULL, decidable INTEGER NOT NULL, severity TEXT NOT NULL,
    PRIMARY KEY (name, record, part)
) STRICT, WITHOUT ROWID;
"""


@dataclass
class Tally:
    """What an import found: records kept and withdrawn, and the names of those that could not be read."""

    ecosystem: str = ""
    records: int = 0
    withdrawn: int = 0
    unreadable: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)


def build(path: Path, records: Iterable[tuple[str, bytes]], ecosystem: str | None, *, where: str) -> Tally:
    """Write the database at `path` from `records` (name, bytes).

    Without `ecosystem` all records must speak of one. Raises `InvalidInput` (`advisories/ecosystem`).
    """
    tally = Tally()
    connection = sqlite3.connect(path)
    try:
        connection.executescript(_SCHEMA)
        with connection:
            for name, data in records:
                _add(connection, tally, name, data)
            tally.ecosystem = ecosystem or _only_ecosystem(tally, where)
            if not tally.seen[base_ecosystem(tally.ecosystem)]:
                raise _wrong_ecosystem(where, f"no record speaks of {tally.ecosystem!r}")
            _keep_only(connection, tally.ecosystem)
        connection.execute("VACUUM")
    finally:
        connection.close()
    return tally


def _add(connection: sqlite3.Connection, tally: Tally, name: str, data: bytes) -> None:
    try:
        advisory = parse_record(data, where=name)
    except InvalidInput as error:
        tally.unreadable.append(str(error)[:200])
        return
    tally.records += 1
    tally.seen.update(ecosystems_of(advisory))
    if advisory.withdrawn:
        tally.withdrawn += 1
        return
    try:
        _insert(connection, tally.records, advisory)
    except sqlite3.IntegrityError:
        tally.records -= 1
        tally.unreadable.append(f"{name}: the id {advisory.id} appears twice")


def _insert(connection: sqlite3.Connection, number: int, advisory: Advisory) -> None:
    connection.execute(
        "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            number,
            advisory.id,
            json.dumps(advisory.aliases),
            advisory.summary,
            advisory.published,
            advisory.severity,
            advisory.vector,
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


def _wrong_ecosystem(where: str, message: str) -> InvalidInput:
    return InvalidInput(
        message,
        rule="advisories/ecosystem",
        where=where,
        next_step="Say which ecosystem the snapshot is of (--ecosystem PyPI), as osv.dev writes it.",
    )
