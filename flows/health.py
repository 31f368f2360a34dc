"""What `pratique doctor` looks at: engine, policy, advisories, keys, ledger, server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from pratique.errors import CouldNotDecide, PratiqueError
from pratique.settings import Settings

if TYPE_CHECKING:
    from policies.load import LoadedPolicy

NEEDED_BYTES = 5 << 30


@dataclass(frozen=True)
class Point:
    """One thing looked at: `good` is True, False (something needed is missing) or None (works, but could be better)."""

    subject: str
    good: bool | None
    message: str
    fix: str = ""

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"subject": self.subject, "good": self.good, "message": self.message, "fix": self.fix}


def examine_node(settings: Settings) -> list[Point]:
    """Everything, each point on its own: one that breaks does not hide the others."""
    points: list[Point] = []
    for subject, look in _LOOKS.items():
        try:
            points += look(settings)
        except PratiqueError as error:
            points.append(Point(subject, False, str(error), error.next_step))
    return points


def _engine(settings: Settings) -> Iterator[Point]:
    from sandbox.doctor import examine, reachable_tier
    from sandbox.engine import connect

    engine = connect()
    facts = engine.facts
    yield Point("engine", True, f"{facts.name} {facts.version} on {facts.os}/{facts.architecture}, at {engine.host}")
    for weakness in examine(engine):
        yield Point(
            f"engine weakness {weakness.id} ({weakness.severity})",
            None,
            weakness.title,
            weakness.fix,
        )

    tier, why = reachable_tier(engine)
    yield Point("observation", None if why else True, f"tier {tier} can be reached" + (f": {why}" if why else ""))


def _demands(settings: Settings) -> Iterator[Point]:
    """What the policy's `sandbox` section demands of this node: with one of these amiss, tools are not run here."""
    from sandbox.doctor import examine
    from sandbox.engine import connect
    from sandbox.spec import Profile, SandboxSpec
    from sandbox.support import refuse_unsupported

    engine = connect()
    section = _readable_policy(settings).policy.sandbox
    for profile in section.profiles:
        try:
            refuse_unsupported(engine, SandboxSpec(profile=Profile(profile), runtime=section.runtime))
        except CouldNotDecide as error:
            yield Point(f"sandbox profile {profile}", False, str(error), error.next_step)
        else:
            yield Point(f"sandbox profile {profile}", True, f"granted by the policy, runs under {section.runtime}")
    for weakness in examine(engine):
        if weakness.id in section.refuse_weaknesses:
            message = f"the policy lets nothing run here: {weakness.title}"
            yield Point(f"refused weakness {weakness.id}", False, message, weakness.fix)


def _readable_policy(settings: Settings) -> LoadedPolicy:
    """The policy, for what is judged by it; its own mistakes are told once, by `_policy`."""
    from policies.load import load_policy

    try:
        return load_policy(settings.policy)
    except PratiqueError as error:
        raise CouldNotDecide(
            "it cannot be judged without the policy", next_step="mend the policy first, as its own line says"
        ) from error


def _policy(settings: Settings) -> Iterator[Point]:
    from policies.load import load_policy

    loaded = load_policy(settings.policy)
    message = f"{loaded.policy.name}, {len(loaded.policy.rules)} rules, {loaded.digest}"
    if empty := loaded.trust().emptiness():
        own = "name whom you trust under `trust`"
        fix = (
            own if settings.policy else f"pratique policy new FILE, {own}, and give it with --policy or PRATIQUE_POLICY"
        )
        yield Point("policy", False, f"{message}: {empty} Every image is refused.", fix)
    else:
        yield Point("policy", True, message)
    yield from _pinned(loaded)


def _pinned(loaded: LoadedPolicy) -> Iterator[Point]:
    """The files that the policy pins: each must be there, and the one that was meant."""
    from checks.provenance.library import load_trusted_root

    asked: list[Callable[[], object]] = [partial(load_trusted_root, root) for root in loaded.trusted_roots()]
    for ask in (*asked, loaded.model_trust, loaded.waivers):
        try:
            ask()
        except PratiqueError as error:
            yield Point("pinned file", False, str(error), error.next_step)


def _advisories(settings: Settings) -> Iterator[Point]:
    from checks.advisories import load
    from checks.advisories.source import stale

    max_age = _readable_policy(settings).policy.advisories.max_age
    with load(settings.advisories) as store:
        for snapshot in store.snapshots:
            why = stale(snapshot, datetime.now(UTC), max_age)
            names = ", ".join(snapshot.ecosystems)
            message = f"{names}: {snapshot.records} records, taken {snapshot.taken}"
            fix = (
                "pratique advisories update, or without a network: advisories import FILE --date YYYY-MM-DD"
                if why
                else ""
            )
            yield Point("advisories", not why, f"{message}. {why}".rstrip(". ") + ".", fix)


def _home(settings: Settings) -> Iterator[Point]:
    from flows.node import require_own

    home = settings.home
    place = next(path for path in (home, *home.absolute().parents) if os.path.lexists(path))
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        what = "is no directory that this user may write to" if place == home else f"cannot be made in {place}"
        yield Point("state directory", False, f"{home} {what}", "name another one with --home or PRATIQUE_HOME")
    elif place == home:
        require_own(home)
        yield Point("state directory", True, f"{home}, where nobody else may write")


def _disk(settings: Settings) -> Iterator[Point]:
    place = next(path for path in (settings.home, *settings.home.parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    good = free >= NEEDED_BYTES
    fix = "" if good else "free at least 5 GB, or move PRATIQUE_HOME"
    yield Point("disk", good, f"{free / 1e9:.0f} GB free for {settings.home}", fix)


def _ledger(settings: Settings) -> Iterator[Point]:
    from flows.node import has_ledger, ledger_verifier, require_newest_seen, require_own_name
    from records.verify import verify_ledger

    if not has_ledger(settings):
        yield Point("ledger", None, "none yet; the first onboarding makes it")
        return
    verifier = ledger_verifier(settings, None)
    require_own_name(settings, verifier)
    report = verify_ledger(settings.ledger, verifier)
    if report.verified:
        require_newest_seen(settings, verifier)
    fix = "" if report.verified else "run `pratique log verify`, keep the ledger as it is, compare it with a backup"
    yield Point("ledger", report.verified, f"{report.size} entries, {len(report.problems)} problems", fix)


def _server(settings: Settings) -> Iterator[Point]:
    from flows import server

    present = server.running(settings.server)
    if present is None:
        yield Point("server", None, "not running; onboarding takes some 20 seconds longer", "pratique up")
    else:
        yield Point("server", True, f"answers at {present.url}")


def _rescan(settings: Settings) -> Iterator[Point]:
    from flows import scheduler
    from flows.rescan import last_rescan

    every, last = _readable_policy(settings).policy.advisories.rescan_every, last_rescan(settings)
    told = last.in_words() if last else "never done"
    if every is None:
        yield Point("rescan", None, f"not scheduled; {told}", "set advisories.rescan_every in the policy, pratique up")
        return
    if scheduler.running(settings) is None:
        yield Point("rescan", False, f"every {every}, but nothing runs that does it; {told}", "pratique up")
    elif last is not None and datetime.now(UTC) - last.finished > 2 * every:
        yield Point("rescan", False, f"every {every}, but overdue; {told}", f"see {settings.server / 'scheduler.log'}")
    else:
        fix = "see what it says of the tools: pratique rescan" if last and (last.problems or last.undecided) else ""
        yield Point("rescan", None if fix else True, f"every {every}; {told}", fix)


def _privacy(settings: Settings) -> Iterator[Point]:
    from importlib.util import find_spec

    present = find_spec("opacus") is not None
    fix = "" if present else "pip install 'pratique[privacy]', or `make privacy` in a checkout (PyTorch, a gigabyte)"
    message = "installed" if present else "absent: a declared differential-privacy claim is inconclusive"
    yield Point("privacy extra", True if present else None, message, fix)


_LOOKS: dict[str, Callable[[Settings], Iterator[Point]]] = {
    "engine": _engine,
    "sandbox": _demands,
    "policy": _policy,
    "advisories": _advisories,
    "state directory": _home,
    "disk": _disk,
    "ledger": _ledger,
    "server": _server,
    "rescan": _rescan,
    "privacy extra": _privacy,
}
