"""What answers questions about advisories: the imported snapshots, or a service on the network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from checks.advisories.ecosystems import base_ecosystem, release_of
from checks.advisories.severity import Severity
from checks.advisories.versions import Decision
from pratique.digests import Digest
from pratique.errors import CouldNotDecide

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""This machine itself: what is asked of it in the clear leaves it through no proxy, which would be asked instead."""


class NotKnown(CouldNotDecide):
    """The source does not know the package, so that its silence about it says nothing."""


@dataclass(frozen=True)
class Snapshot:
    """One import: `digest` of its source bytes, the day it was taken at the source, how many records it holds.

    `releases` are the keys of the releases that its records speak of (an empty one: of all). `broken` records could not
    be read, and `unreadable` tells why of the first; of `nameless` ones not even the packages are known. `newest` is
    when the last of all records was changed.
    """

    digest: Digest
    taken: date
    ecosystems: tuple[str, ...]
    records: int
    label: str = ""
    withdrawn: int = 0
    unreadable: tuple[str, ...] = ()
    broken: int = 0
    nameless: int = 0
    releases: tuple[str, ...] = ("",)
    newest: datetime | None = None


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
    upstream: tuple[str, ...] = ()


class AdvisorySource(Protocol):
    """Answers from one state of the advisories, which `digest` names."""

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """One an ecosystem."""

    @property
    def digest(self) -> Digest:
        """Of everything that the answers rest on, so far."""

    @property
    def taken(self) -> date:
        """Day of the oldest part of it."""

    def covering(self, ecosystem: str) -> Snapshot | None:
        """What speaks of `ecosystem` and of the release that it names; None where nothing does."""

    def matches(self, ecosystem: str, name: str, version: str) -> list[Match]:
        """Advisories that concern `name` at `version`, or may; raises `CouldNotDecide` where it cannot answer."""


def shown_url(url: str) -> str:
    """`url` without the name and password that may stand in it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def covering(snapshots: Iterable[Snapshot], ecosystem: str) -> Snapshot | None:
    """The snapshot that speaks of `ecosystem`.

    One of `Debian` speaks of `Debian:12` where any of its records does: a release that nobody ever wrote an advisory
    about is one that the image made up, or one that is too new.
    """
    release, base = release_of(ecosystem), base_ecosystem(ecosystem)
    for snapshot in snapshots:
        if base_ecosystem(snapshot.ecosystems[0]) == base and (
            not release or "" in snapshot.releases or release in snapshot.releases
        ):
            return snapshot
    return None


def stale(snapshot: Snapshot, moment: datetime, max_age: timedelta) -> str:
    """Why `snapshot` may not be used at `moment`; empty where it may. Only the import's date counts."""
    age = (moment.date() - snapshot.taken).days
    of = f"the {snapshot.ecosystems[0]} snapshot of {snapshot.taken}"
    if age < -1:
        return f"{of} is dated in the future"
    if timedelta(days=age) > max_age:
        return f"{of} is {age} days old; {max_age.days} are allowed"
    return ""
