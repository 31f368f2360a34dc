"""Who admits, for how long, and whose admissions from elsewhere count."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, model_validator

from policies.sections.base import PinnedDigest, Section, Text
from policies.units import Duration
from pratique.people import organisation_key, person_key


class Approval(Section):
    """Who must say yes: how many persons, of how many organisations, and whether the submitter may be one."""

    persons: Annotated[int, Field(ge=1, le=20)] = 1
    organisations: Annotated[int, Field(ge=1, le=20)] = 1
    not_submitter: bool = True

    @model_validator(mode="after")
    def _reachable(self) -> Approval:
        if self.organisations > self.persons:
            raise ValueError("more organisations than persons can never be reached")
        return self


class Decider(Section):
    """Somebody who may decide: for whom, what, with which key (a verifier line) they sign it, from when until when.

    `aliases` are other addresses of theirs: what they submitted under one of these they cannot admit.
    """

    identity: Text
    organisation: Text
    aliases: tuple[Text, ...] = ()
    may: Annotated[tuple[Literal["admit", "refuse", "withdraw"], ...], Field(min_length=1)] = (
        "admit",
        "refuse",
        "withdraw",
    )
    key: Text | None = None
    not_before: AwareDatetime | None = None
    not_after: AwareDatetime | None = None

    def is_called(self, identity: str) -> bool:
        """Whether this is who calls themselves so."""
        return person_key(identity) in {person_key(name) for name in (self.identity, *self.aliases)}


class ApprovalSection(Section):
    """Decisions that people must take. Where nobody is named in `people`, whoever may use the node's key may decide.

    Where people are named and more than one must admit, each of them signs with a key of their own.
    """

    admit: Approval = Approval(persons=2, organisations=2)
    people: tuple[Decider, ...] = ()

    @model_validator(mode="after")
    def _one_entry_each(self) -> ApprovalSection:
        names = [key for one in self.people for key in {person_key(name) for name in (one.identity, *one.aliases)}]
        if len(names) != len(set(names)):
            raise ValueError("a person is named twice under people")
        keys = [person.key.split("+", 2)[-1] for person in self.people if person.key]
        if len(keys) != len(set(keys)):
            raise ValueError("two people have the same key")
        able = [person for person in self.people if "admit" in person.may]
        organisations = {organisation_key(person.organisation) for person in able}
        if self.people and (len(able) < self.admit.persons or len(organisations) < self.admit.organisations):
            raise ValueError("fewer people may admit than have to")
        keyless = [person.identity for person in able if not person.key]
        if keyless and self.admit.persons > 1:
            raise ValueError(
                "where more than one person must admit, each needs a key of their own (`pratique key new`), else one "
                f"speaks for all: {', '.join(keyless)[:500]}"
            )
        return self


class AdmissionSection(Section):
    """How long an admission holds at most, and earlier policies (by digest) whose admissions still count.

    `trust_times_from` is the first entry of the ledger whose time bounds the clock from below; above 0 only where the
    clock was ahead when earlier ones were signed.
    """

    valid_for: Duration = Field(default="365d", validate_default=True)
    also_under: tuple[PinnedDigest, ...] = ()
    trust_times_from: Annotated[int, Field(ge=0)] = 0


class FederationHub(Section):
    """Another verifier whose admissions count here: its id (`verifier.id` of its statements), key (a verifier line),
    the places that it may admit to, and its policies (by digest) that count.

    A `place` that ends in `/` or `:` stands for all that begin with it. `list_max_age` is how old the hub's newest
    withdrawal list may be: without a fresh one nobody knows what was taken back.
    """

    verifier: Text
    key: Text
    place: Text
    policies: Annotated[tuple[PinnedDigest, ...], Field(min_length=1)]
    list_max_age: Duration = Field(default="7d", validate_default=True)


class FederationSection(Section):
    """Others whose admissions (`hubs`) and withdrawal lists (theirs, and of the keys in `withdrawals`) count here.

    `place` is what this node's own admissions are to, where it is a hub (without it: this node). Images under
    `overruled` may be admitted here although they stand in another's withdrawal list.
    """

    place: Text | None = None
    hubs: Annotated[tuple[FederationHub, ...], Field(max_length=20)] = ()
    withdrawals: Annotated[tuple[Text, ...], Field(max_length=1000)] = ()
    overruled: tuple[PinnedDigest, ...] = ()

    @model_validator(mode="after")
    def _one_entry_each(self) -> FederationSection:
        if len({hub.verifier for hub in self.hubs}) != len(self.hubs):
            raise ValueError("a hub is named twice")
        return self
