"""Questions to the imported advisories: which of them concern this package at this version?"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self

from checks.advisories.severity import Severity, worst
from checks.advisories.snapshot import Indexed, Snapshot, read_index
from checks.advisories.versions import Decision, Event, base_ecosystem, judge, package_name, version_text
from pratique.digests import Digest, sha256_file, sha256_json
from pratique.errors import CouldNotDecide

_QUERY = """
SELECT record.id, record.aliases, record.summary, record.published, record.severity, record.vector,
       affected.ecosystem, affected.ranges, affected.versions, affected.decidable, affected.severity
FROM affected JOIN record ON record.number = affected.record WHERE affected.name = ?
"""


@dataclass(frozen=True)
class Match:
    """An advisory that concerns a version, or (`UNDECIDED`) might."""

    id: str
    aliases: tuple[str, ...]
    summary: str
    published: str
    severity: Severity
    vector: str
    decision: Decision
    fixed: str


class AdvisoryStore:
    """The imported snapshots, opened read-only; a context manager. Made by `load`."""

    def __init__(self, entries: Iterable[tuple[Indexed, sqlite3.Connection]]) -> None:
        self._entries = tuple(entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        for _, connection in self._entries:
            connection.close()

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """One snapshot an ecosystem."""
        return tuple(indexed.snapshot for indexed, _ in self._entries)

    @property
    def digest(self) -> Digest:
        """The snapshot's digest; of several, the digest of their list."""
        if len(self._entries) == 1:
            return self.snapshots[0].digest
        return sha256_json({s.ecosystems[0]: s.digest for s in self.snapshots})

    @property
    def taken(self) -> date:
        """Day of the oldest snapshot."""
        return min(snapshot.taken for snapshot in self.snapshots)

    def covering(self, ecosystem: str) -> Snapshot | None:
        """The snapshot that speaks of `ecosystem` (`Debian:12` is spoken of by `Debian` too)."""
        names = (ecosystem, base_ecosystem(ecosystem))
        return next((s for s in self.snapshots if s.ecosystems[0] in names), None)

    def matches(self, ecosystem: str, name: str, version: str) -> list[Match]:
        """Advisories that concern `name` at `version`, or may; raises `CouldNotDecide` where the file is broken."""
        wanted, exact = package_name(ecosystem, name), version_text(ecosystem, version)
        found: dict[str, Match] = {}
        for indexed, connection in self._entries:
            if base_ecosystem(indexed.snapshot.ecosystems[0]) != base_ecosystem(ecosystem):
                continue
            try:
                for row in connection.execute(_QUERY, (wanted,)):
                    match = _match(row, ecosystem, version, exact)
                    if match and (match.id not in found or match.decision is Decision.AFFECTED):
                        found[match.id] = match
            except (sqlite3.Error, ValueError) as error:
                raise _broken(str(error)) from error
        return [found[identifier] for identifier in sorted(found)]

    def names(self, ecosystem: str) -> frozenset[str]:
        """Names of the packages of `ecosystem` that any advisory speaks of."""
        try:
            return frozenset(
                name
                for indexed, connection in self._entries
                if base_ecosystem(indexed.snapshot.ecosystems[0]) == base_ecosystem(ecosystem)
                for (name,) in connection.execute("SELECT DISTINCT name FROM affected")
            )
        except sqlite3.Error as error:
            raise _broken(str(error)) from error


def load(home: Path) -> AdvisoryStore:
    """Open the snapshots under `home`; raises `CouldNotDecide` where one is missing, empty or not as imported."""
    entries = read_index(home)
    if not entries:
        raise _broken("the index names no snapshot")
    opened: list[tuple[Indexed, sqlite3.Connection]] = []
    try:
        for entry in entries:
            path = home / entry.database
            if sha256_file(path) != entry.database_digest:
                raise _broken(f"{path.name} is not as it was imported")
            opened.append((entry, sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)))
    except (OSError, sqlite3.Error) as error:
        AdvisoryStore(opened).close()
        raise _broken(str(error)) from error
    return AdvisoryStore(opened)


def stale(snapshot: Snapshot, moment: datetime, max_age: timedelta) -> str:
    """Why `snapshot` may not be used at `moment`; empty where it may. Only the import's date counts."""
    age = (moment.date() - snapshot.taken).days
    of = f"the {snapshot.ecosystems[0]} snapshot of {snapshot.taken}"
    if age < -1:
        return f"{of} is dated in the future"
    if timedelta(days=age) > max_age:
        return f"{of} is {age} days old; {max_age.days} are allowed"
    return ""


def _match(row: tuple[str, ...], ecosystem: str, version: str, exact: str) -> Match | None:
    identifier, aliases, summary, published, severity, vector, of, ranges, versions, decidable, own = row
    if not _same_release(of, ecosystem):
        return None
    judgement = judge(
        ecosystem,
        version,
        _ranges(ranges),
        listed=f"\n{exact}\n" in versions,
        decidable=bool(decidable),
    )
    if judgement.decision is Decision.NOT_AFFECTED:
        return None
    return Match(
        id=identifier,
        aliases=_aliases(aliases),
        summary=summary,
        published=published,
        severity=worst((Severity(severity), Severity(own))),
        vector=vector,
        decision=judgement.decision,
        fixed=judgement.fixed,
    )


@lru_cache(maxsize=8192)
def _ranges(text: str) -> tuple[tuple[Event, ...], ...]:
    return tuple(tuple((kind, version) for kind, version in events) for events in json.loads(text))


@lru_cache(maxsize=8192)
def _aliases(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def _same_release(one: str, two: str) -> bool:
    """`Debian:12` and `Debian:11` differ; one without a release speaks of all."""
    return one == two or ":" not in one or ":" not in two


def _broken(cause: str) -> CouldNotDecide:
    return CouldNotDecide(
        "the advisory snapshot cannot be read",
        cause=cause,
        next_step="Import it again: pratique advisories import FILE --date YYYY-MM-DD.",
    )
