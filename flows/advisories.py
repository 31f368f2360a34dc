"""Fresh advisories for the ecosystems that the node needs: `pratique advisories update`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.node import Node
from pratique.clock import Clock, system_clock
from pratique.digests import Digest, parse_digest
from pratique.errors import CouldNotDecide, InvalidInput, UsageError

if TYPE_CHECKING:
    from checks.advisories import Snapshot
    from checks.advisories.index import Feed

_FALLBACK = ("PyPI",)
_MAX_LABEL = 200


def update_advisories(
    node: Node,
    ecosystems: Sequence[str] | None,
    *,
    base: str | None = None,
    sha256: str | None = None,
    day: date | None = None,
) -> Iterator[tuple[str, Snapshot | CouldNotDecide]]:
    """Fetch each ecosystem and import it; one that fails does not hold up the others.

    Without `ecosystems` those of the policy, else those that the node has, else PyPI. Raises `UsageError`.
    """
    from checks.advisories.mirror import SOURCE, update

    _require_understood(ecosystems or ())
    names = tuple(dict.fromkeys(ecosystems or _wanted(node)))
    if sha256 is not None and len(names) != 1:
        raise UsageError("a checksum is of one archive", next_step="Name one ecosystem with --ecosystem.")
    digest = _digest(sha256) if sha256 is not None else None
    if day is not None:
        _require_past(day, node.clock)
    home = node.settings.advisories
    for name in names:
        try:
            yield name, update(home, name, clock=node.clock, base=base or SOURCE, sha256=digest, taken=day)
        except CouldNotDecide as error:
            yield name, error


def import_advisories(
    home: Path,
    source: Path,
    *,
    taken: date,
    ecosystem: str | None = None,
    label: str = "",
    replace_newer: bool = False,
    clock: Clock = system_clock,
) -> Iterator[Snapshot | Feed]:
    """Import what `source` is: a snapshot of OSV, FIRST's scores, CISA's list, or a directory (a stick) of them.

    Raises `UsageError` for a day that has not come and a label that cannot be shown, and `InvalidInput` or
    `CouldNotDecide` as importing one does; what was imported before then stays.
    """
    from checks.advisories.exploitation import feed_kind, import_feed
    from checks.advisories.snapshot import holds_snapshots, import_snapshot

    _require_past(taken, clock)
    if len(label) > _MAX_LABEL or not label.isprintable():
        raise UsageError(
            f"a label is one line of at most {_MAX_LABEL} characters", next_step="Say in it where the copy is from."
        )
    files = sorted(path for path in source.iterdir() if path.is_file()) if source.is_dir() else [source]
    feeds = [(path, kind) for path in files if (kind := feed_kind(path)) is not None]
    if not feeds or (source.is_dir() and holds_snapshots(source)):
        yield import_snapshot(source, home, taken=taken, ecosystem=ecosystem, label=label, replace_newer=replace_newer)
    for path, kind in feeds:
        yield import_feed(path, home, kind, taken=taken, label=label, replace_newer=replace_newer)


def _require_understood(ecosystems: Sequence[str]) -> None:
    """Others are never looked up in, so that fetching them would only seem to help."""
    from checks.advisories.orders import known_ecosystem, known_ecosystems

    for name in ecosystems:
        if not known_ecosystem(name):
            raise UsageError(
                f"{name[:60]!r} is no ecosystem that is understood here",
                next_step=f"Name one of {', '.join(known_ecosystems())}.",
            )


def _digest(text: str) -> Digest:
    try:
        return parse_digest(text if text.startswith("sha256:") else f"sha256:{text}")
    except InvalidInput as error:
        raise UsageError(
            f"{text[:80]!r} is no checksum", next_step="Give the 64 hexadecimal digits that `sha256sum` prints."
        ) from error


def _require_past(day: date, clock: Clock) -> None:
    """A copy of a day to come would stay fresh for too long; where clocks are ahead it may be tomorrow."""
    today = clock().date()
    if day > today + timedelta(days=1):
        raise UsageError(
            f"the day {day} has not come yet: today is {today}",
            next_step="Give the day on which the copy left its source, or mend the clock of this machine.",
        )


@dataclass(frozen=True)
class Held:
    """One snapshot or list that the node has, and why it may not be used (empty: it may)."""

    name: str
    taken: date
    age_days: int
    records: int
    withdrawn: int
    unreadable: int
    digest: str
    label: str
    problem: str

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**vars(self), "taken": self.taken.isoformat()}


def held_advisories(node: Node) -> list[Held]:
    """What the node has, with its age by the policy; raises `CouldNotDecide` where there is no snapshot."""
    from checks.advisories import load
    from checks.advisories.exploitation import load_exploitation
    from checks.advisories.source import stale

    home, moment = node.settings.advisories, node.clock()
    max_age = node.policy.policy.advisories.max_age
    with load(home) as store:
        held = [
            Held(
                s.ecosystems[0],
                s.taken,
                (moment.date() - s.taken).days,
                s.records,
                s.withdrawn,
                s.broken,
                s.digest,
                s.label,
                stale(s, moment, max_age),
            )
            for s in store.snapshots
        ]
    with load_exploitation(home) as lists:
        for feed in lists.feeds:
            age = (moment.date() - feed.day).days
            old = f"it is {age} days old; {max_age.days} are allowed" if abs(age) > max_age.days else ""
            held.append(Held(feed.kind.value, feed.day, age, feed.records, 0, 0, feed.digest, feed.label, old))
    return held


def _wanted(node: Node) -> Sequence[str]:
    from checks.advisories.index import read_index

    stated = node.policy.policy.advisories.ecosystems
    if stated:
        return stated
    try:
        present = [entry.snapshot.ecosystems[0] for entry in read_index(node.settings.advisories).snapshots]
    except CouldNotDecide:
        return _FALLBACK
    return present or _FALLBACK
