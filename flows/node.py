"""A node (or a laptop): its policy, store, keys and ledger, opened from the settings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from checks.pinning import ValidatedVersion
from policies.load import LoadedPolicy, load_policy
from pratique.clock import Clock, system_clock
from pratique.errors import UsageError
from pratique.settings import Settings
from records.store import Store

if TYPE_CHECKING:
    from records.keys import NodeKey, Verifier
    from records.ledger import Ledger
    from records.reader import LedgerReader

KEY_FILE = "node.pem"


@dataclass(frozen=True)
class Node:
    """What an inspection needs of the place where it happens."""

    settings: Settings
    policy: LoadedPolicy
    clock: Clock = system_clock

    @classmethod
    def open(cls, settings: Settings) -> Node:
        """The node of `settings`; raises as `load_policy` does, and `UsageError` where the home cannot be made."""
        try:
            settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise UsageError(
                f"the state directory {settings.home} cannot be made",
                cause=str(error),
                next_step="name another one with --home or PRATIQUE_HOME",
            ) from error
        return cls(settings, load_policy(settings.policy))

    @cached_property
    def store(self) -> Store:
        """Where evidence goes."""
        return Store(self.settings.store)

    @cached_property
    def key(self) -> NodeKey:
        """The node's signing key, made when there is none."""
        from records.keys import load_or_create_key

        self.settings.keys.mkdir(parents=True, exist_ok=True, mode=0o700)
        return load_or_create_key(self.settings.keys / KEY_FILE, self.settings.origin)

    @cached_property
    def ledger(self) -> Ledger:
        """The node's ledger, made when there is none."""
        from records.ledger import Ledger

        return Ledger(self.settings.ledger, self.settings.origin, self.key)

    def validated(self) -> tuple[ValidatedVersion, ...]:
        """The validated versions of the ledger; none where there is no ledger yet. Raises `CouldNotDecide`."""
        from records.admissions import validated_versions

        if not self.settings.ledger.is_dir():
            return ()
        found = validated_versions(open_ledger_reader(self.settings))
        return tuple(ValidatedVersion(v.name, v.version, v.image_digest, v.entry) for v in found)


def open_ledger_reader(settings: Settings) -> LedgerReader:
    """The node's ledger for reading; raises `UsageError` where there is none."""
    from records.reader import LedgerReader

    if not settings.ledger.is_dir():
        raise UsageError("this node has no ledger yet", next_step="the first `pratique onboard` makes it")
    return LedgerReader(settings.ledger, settings.origin, ledger_verifier(settings, None))


def ledger_verifier(settings: Settings, vkey: str | None) -> Verifier:
    """The public key that signs the ledger: the one given (`name+id+base64`), else this node's own."""
    from records.keys import load_key, parse_verifier

    if vkey is not None:
        return parse_verifier(vkey)
    path = settings.keys / KEY_FILE
    if not path.is_file():
        raise UsageError(
            f"there is no key in {settings.keys}", next_step="give the ledger's verifier key with --key name+id+base64"
        )
    return load_key(path, settings.origin).verifier
