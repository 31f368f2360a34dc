"""Questions to the imported advisories: which of them concern this package at this version?"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from checks.advisories.ecosystems import base_ecosystem, package_name, same_release
from checks.advisories.index import Indexed
from checks.advisories.opened import Opened, open_entries
from checks.advisories.orders import Point, place
from checks.advisories.severity import Severity, worst
from checks.advisories.source import Match, Snapshot, covering
from checks.advisories.versions import Decision, Span, judge_at, span_of, version_text
from pratique.digests import Digest, sha256_json
from pratique.errors import CouldNotDecide

_QUERY = """
SELECT affected.ecosystem, affected.ranges, affected.versions, affected.decidable, affected.severity,
       record.id, record.aliases, record.summary, record.published, record.severity, record.vector, record.upstream
FROM affected JOIN record ON record.number = affected.record WHERE affected.name = ?
"""


class _Statement(NamedTuple):
    """What one advisory says of one package, ready to be asked; `versions` are the listed ones, each in its line."""

    ecosystem: str
    spans: tuple[Span, ...]
    versions: str
    decidable: bool
    facts: tuple[str, tuple[str, ...], str, str, Severity, str]
    """Id, aliases, summary, day, severity and vector."""
    upstream: tuple[str, ...]


class AdvisoryStore(Opened[Indexed]):
    """The imported snapshots, opened read-only; a context manager. Made by `load`.

    What was read of one package is kept until another is asked about: questions about its versions are best asked one
    after the other.
    """

    def __init__(self, entries: Iterable[tuple[Indexed, sqlite3.Connection]]) -> None:
        super().__init__(entries)
        self._package: tuple[str, str] | None = None
        self._statements: tuple[_Statement, ...] = ()

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
        """The snapshot that speaks of `ecosystem` and its release."""
        return covering(self.snapshots, ecosystem)

    def matches(self, ecosystem: str, name: str, version: str) -> list[Match]:
        """Advisories that concern `name` at `version`, or may; raises `CouldNotDecide` where the file is broken."""
        base, wanted = base_ecosystem(ecosystem), package_name(ecosystem, name)
        if self._package != (base, wanted):
            self._statements, self._package = self._about(base, wanted), (base, wanted)
        if not self._statements:
            return []
        point, line = place(base, version), f"\n{version_text(base, version)}\n"
        found: dict[str, Match] = {}
        for statement in self._statements:
            if statement.ecosystem != ecosystem and not same_release(statement.ecosystem, ecosystem):
                continue
            match = _match(statement, point, line)
            if match and (match.id not in found or match.decision is Decision.AFFECTED):
                found[match.id] = match
        return [found[identifier] for identifier in sorted(found)]

    def _about(self, base: str, name: str) -> tuple[_Statement, ...]:
        try:
            return tuple(
                _statement(row)
                for indexed, connection in self._entries
                if base_ecosystem(indexed.snapshot.ecosystems[0]) == base
                for row in connection.execute(_QUERY, (name,))
            )
        except (sqlite3.Error, ValueError) as error:
            raise _broken(str(error)) from error


def load(home: Path) -> AdvisoryStore:
    """Open the snapshots under `home`; raises `CouldNotDecide` where one is missing, empty or not as imported."""
    entries = open_entries(home, lambda index: index.snapshots, _broken)
    if not entries:
        raise _broken("the index names no snapshot")
    return AdvisoryStore(entries)


def _statement(row: tuple[Any, ...]) -> _Statement:
    of, ranges, versions, decidable, own, identifier, aliases, summary, published, severity, vector, upstream = row
    facts = identifier, _list(aliases), summary, published, _worst(severity, own), vector
    return _Statement(of, _spans(base_ecosystem(of), ranges), versions, bool(decidable), facts, _list(upstream))


def _match(statement: _Statement, point: Point | None, line: str) -> Match | None:
    listed = line in statement.versions
    judgement = judge_at(point, statement.spans, listed=listed, decidable=statement.decidable)
    if judgement.decision is Decision.NOT_AFFECTED:
        return None
    return Match(*statement.facts, judgement.decision, judgement.fixed, statement.upstream)


@lru_cache(maxsize=32768)
def _spans(base: str, text: str) -> tuple[Span, ...]:
    return tuple(span_of(base, tuple((kind, version) for kind, version in events)) for events in json.loads(text))


@lru_cache(maxsize=64)
def _worst(one: str, two: str) -> Severity:
    return worst((Severity(one), Severity(two)))


@lru_cache(maxsize=8192)
def _list(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def _broken(cause: str) -> CouldNotDecide:
    return CouldNotDecide(
        "the advisory snapshot cannot be read",
        cause=cause,
        next_step="Import it again: pratique advisories import FILE --date YYYY-MM-DD.",
    )
