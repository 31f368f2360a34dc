"""A node (or a laptop): its policy, store, keys and ledger, opened from the settings."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from checks.pinning import TakenBack, ValidatedVersion
from policies.load import LoadedPolicy, load_policy
from pratique.bounds import read_bounded
from pratique.clock import Clock, system_clock
from pratique.errors import CouldNotDecide, InvalidInput, UsageError
from pratique.settings import Settings
from records.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from pratique.digests import Digest
    from records.admission_index import AdmissionIndex
    from records.checkpoint import Checkpoint
    from records.keys import NodeKey, Verifier
    from records.ledger import Appended, Ledger
    from records.mark import Mark
    from records.reader import LedgerReader

Decided = TypeVar("Decided")
_TRIES = 20

KEY_FILE = "node.pem"
MARK_FILE = "newest-checkpoint"


@dataclass(frozen=True)
class Node:
    """What an inspection needs of the place where it happens."""

    settings: Settings
    policy: LoadedPolicy
    clock: Clock = system_clock

    @classmethod
    def open(cls, settings: Settings) -> Node:
        """The node of `settings`; raises `UsageError` where the home cannot be made or is not ours alone, or
        the policy cannot be applied."""
        try:
            settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise UsageError(
                f"the state directory {settings.home} cannot be made",
                cause=str(error),
                next_step="name another one with --home or PRATIQUE_HOME",
            ) from error
        require_own(settings.home)
        _require_kept(settings.policy)
        try:
            policy = load_policy(settings.policy)
            _require_verifier_lines(policy)
        except InvalidInput as error:  # it is the node's own mistake, so it refuses nobody
            raise UsageError(str(error), cause=error.rule, next_step=error.next_step) from error
        return cls(settings, policy)

    @property
    def uri(self) -> str:
        """What tools are admitted to: this node, by the name of its ledger."""
        return f"urn:pratique:node:{self.settings.origin}"

    @property
    def place(self) -> str:
        """What this node's own admissions are to: itself, or the federation whose hub it is."""
        return self.policy.policy.federation.place or self.uri

    @cached_property
    def store(self) -> Store:
        """Where evidence goes."""
        return Store(self.settings.store)

    @cached_property
    def key(self) -> NodeKey:
        """The node's signing key, made when there is none; raises `CouldNotDecide` where it is lost."""
        from records.keys import load_or_create_key
        from records.reader import CHECKPOINT

        if (self.settings.ledger / CHECKPOINT).exists() and not (self.settings.keys / KEY_FILE).exists():
            raise CouldNotDecide(
                f"the key that signed this node's ledger is not in {self.settings.keys}",
                next_step=f"restore {KEY_FILE} from the backup of the node's keys; no new one is made in its place",
            )
        self.settings.keys.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _as_own_mistake():
            return load_or_create_key(self.settings.keys / KEY_FILE, self.settings.origin)

    @cached_property
    def ledger(self) -> Ledger:
        """The node's ledger, made when there is none; raises `CouldNotDecide` where it was put back to an older state.

        Append with `append`, which remembers the new head.
        """
        from records.ledger import Ledger

        require_own_name(self.settings, self.key.verifier)
        ledger = Ledger(self.settings.ledger, self.settings.origin, self.key)
        self._mark_of(ledger).check()
        return ledger

    @cached_property
    def admissions(self) -> AdmissionIndex:
        """Who is admitted, looked up in the index over the ledger."""
        from records.admission_index import AdmissionIndex

        return AdmissionIndex(self.settings.admissions, self.ledger, self.key)

    def head(self) -> Checkpoint:
        """The ledger's head, which continues every head seen before; raises `CouldNotDecide` where it does not, and
        `ClockSetBack` where it is later than this machine's clock: every gate asks here before it decides."""
        from records.signed_times import require_not_before

        head = self._mark_of(self.ledger).check()
        since = self.policy.policy.admissions.trust_times_from
        require_not_before(self.admissions.times(), self.clock(), since=since)
        return head

    def append(self, *envelopes: bytes, after: int | None = None) -> tuple[Appended, ...]:
        """Append signed statements under one checkpoint, all or none; raises as the ledger does.

        With `after`, only where the ledger still has so many entries (`Overtaken`); see `settled`.
        """
        self.head()
        appended = self.ledger.extend(envelopes, after=after)
        self._mark_of(self.ledger).check()
        return appended

    def settled(self, decide: Callable[[int], Decided]) -> Decided:
        """What `decide` returns, who is handed how many entries it looks at, and appends after just these.

        So nothing comes between a check and what rests on it, however long a process was stopped there. It is asked
        again where somebody else was faster. Raises `Overtaken` where that never ends.
        """
        from records.ledger import Overtaken

        for _ in range(_TRIES):
            try:
                return decide(self.head().size)
            except Overtaken:
                continue
        return decide(self.head().size)

    def validated(self) -> tuple[ValidatedVersion, ...]:
        """The validated versions of the ledger; none where there is no ledger yet. Raises `CouldNotDecide`."""
        from records.admissions import standing

        if not has_ledger(self.settings):
            return ()
        self.head()
        return tuple(standing(self.admissions.everything()))

    def taken_back(self, *images: Digest | None) -> TakenBack | None:
        """How this node last took back the image with these digests (manifest, config), where it has not admitted it
        since; raises `CouldNotDecide`."""
        from records.withdrawals import taken_back

        if not has_ledger(self.settings):
            return None
        self.head()
        return taken_back(self.ledger, frozenset(one for one in images if one is not None))

    def _mark_of(self, ledger: LedgerReader) -> Mark:
        from records.mark import Mark

        return Mark(self.settings.keys / MARK_FILE, ledger)


def require_own(home: Path) -> None:
    """Raise `UsageError` for a state directory in which others could put another ledger and key."""
    state = home.stat()
    if state.st_uid not in (os.geteuid(), 0):
        raise UsageError(
            f"the state directory {home} belongs to another user ({state.st_uid}), who may put another ledger, store "
            "or key there",
            next_step="run the command as that user (sudo -u), or name a directory of your own with --home",
        )
    if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(
            f"others may write to the state directory {home}, and so put another ledger, store or key there",
            next_step=f"look at what is in it, and run: chmod go-w {home}",
        )


def _require_kept(policy: Path | None) -> None:
    """Raise `UsageError` for a policy that everybody on the machine may write: whoever writes it admits what they like.

    One that is not there is for its reader to say.
    """
    if policy is not None and policy.is_file() and policy.stat().st_mode & stat.S_IWOTH:
        raise UsageError(
            f"everybody on this machine may write the policy {policy}",
            next_step=f"look at what it says, and run: chmod o-w {policy}",
        )


def has_ledger(settings: Settings) -> bool:
    """Whether the node has a ledger; raises `CouldNotDecide` where it had one, which is gone.

    Otherwise a node that lost its ledger would look like one where nothing was ever admitted or withdrawn.
    """
    if settings.ledger.is_dir():
        return True
    if (settings.keys / MARK_FILE).exists():
        raise CouldNotDecide(
            f"the ledger that this node had is not in {settings.ledger}",
            next_step="restore it from its newest backup; `pratique log verify` then says whether it is whole",
        )
    return False


@contextmanager
def _as_own_mistake() -> Iterator[None]:
    """A key of the node that cannot be used refuses nobody: it leaves everything undecided."""
    try:
        yield
    except InvalidInput as error:
        raise CouldNotDecide(str(error), cause=error.rule, next_step=error.next_step) from error


def open_ledger_reader(settings: Settings) -> LedgerReader:
    """The node's ledger for reading; raises `UsageError` where there is none."""
    from records.reader import LedgerReader

    if not has_ledger(settings):
        raise UsageError("this node has no ledger yet", next_step="the first `pratique onboard` makes it")
    verifier = ledger_verifier(settings, None)
    require_own_name(settings, verifier)
    return LedgerReader(settings.ledger, settings.origin, verifier)


def require_own_name(settings: Settings, verifier: Verifier) -> None:
    """Raise `UsageError` where the node's own key signed its ledger under another name than the node has now.

    Without this a forgotten `PRATIQUE_ORIGIN` would look like a ledger that somebody altered.
    """
    from records.checkpoint import open_checkpoint
    from records.keys import Verifier
    from records.note import MAX_NOTE_BYTES, parse_note
    from records.reader import CHECKPOINT

    try:
        note = read_bounded(settings.ledger / CHECKPOINT, MAX_NOTE_BYTES)
        name = parse_note(note).text.partition("\n")[0]
        if name == settings.origin:
            return
        open_checkpoint(note, name, [Verifier(name, verifier.public_key)])
    except InvalidInput:
        return  # what is wrong with it is for those to say who read it
    raise UsageError(
        f"this node's ledger is called {name}, and PRATIQUE_ORIGIN says {settings.origin}",
        next_step=f"set PRATIQUE_ORIGIN={name}; a node keeps the name that its ledger began with",
    )


def _require_verifier_lines(loaded: LoadedPolicy) -> None:
    """Every key line of the policy is one; raises `InvalidInput` (`key/verifier`) with its place."""
    policy = loaded.policy
    lines = [(f"the key of {one.identity}", one.key) for one in policy.approvals.people if one.key]
    lines += [(f"the key of the hub {one.verifier}", one.key) for one in policy.federation.hubs]
    lines += [("federation.withdrawals", line) for line in policy.federation.withdrawals]
    if not lines:
        return
    from records.keys import parse_verifier

    for place, line in lines:
        try:
            parse_verifier(line)
        except InvalidInput as error:
            raise InvalidInput(
                f"{place}: {error.message}",
                rule=error.rule,
                where=str(loaded.path),
                cause=line[:80],
                next_step="write the line that `pratique key new` (a person's) or `key show` (a node's) prints",
            ) from error


def require_newest_seen(settings: Settings, verifier: Verifier) -> None:
    """Raise `RolledBack` where the node's own ledger does not continue the newest head that the node has seen.

    A copy of last week verifies by itself; only the mark beside the key tells. Writes nothing.
    """
    from records.mark import Mark
    from records.reader import LedgerReader

    Mark(settings.keys / MARK_FILE, LedgerReader(settings.ledger, settings.origin, verifier)).require()


def ledger_verifier(settings: Settings, vkey: str | None) -> Verifier:
    """The public key that signs the ledger: the one given (`name+id+base64`), else this node's own."""
    from records.keys import load_key, parse_verifier

    if vkey is not None:
        return parse_verifier(vkey)
    path = settings.keys / KEY_FILE
    if not path.is_file():
        if (settings.keys / MARK_FILE).exists():
            raise CouldNotDecide(
                f"the key of this node is not in {settings.keys}",
                next_step=f"restore {KEY_FILE} from the backup of the node's keys",
            )
        raise UsageError(
            f"there is no key in {settings.keys}",
            next_step="a node's first `pratique onboard` makes it; to verify the ledger of another node give its key "
            "with --key LINE, as `pratique key show` prints it there",
        )
    with _as_own_mistake():
        return load_key(path, settings.origin).verifier
