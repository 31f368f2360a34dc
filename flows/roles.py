"""Who may decide: the people whom the policy names, with the key that it gives them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from pratique.errors import NotAuthorised, UsageError
from pratique.people import mixes_alphabets, organisation_key
from records.keys import Verifier, parse_verifier
from records.statements import Action, Person

if TYPE_CHECKING:
    from policies.sections.decisions import ApprovalSection, Decider


def authorise(
    approvals: ApprovalSection,
    action: Action,
    identity: str,
    organisation: str,
    signer: Verifier | None,
    moment: datetime,
) -> Person:
    """The person who may take this decision at `moment`, signing with the key of `signer` (None: none of their own).

    Raises `UsageError` without an identity, or for one that mixes alphabets; `NotAuthorised` where the policy names
    people and not this one so, or not for this moment.
    """
    if not identity.strip():
        raise UsageError("a decision needs a person", next_step="say who you are with --as or PRATIQUE_PERSON")
    if mixes_alphabets(identity) or mixes_alphabets(organisation):
        raise UsageError(
            "a name that mixes alphabets could be taken for another one",
            cause=ascii(f"{identity} {organisation}"[:200]),
            next_step="write it in one alphabet",
        )
    if not approvals.people:
        return Person(identity.strip(), organisation.strip())
    named = next((one for one in approvals.people if one.is_called(identity)), None)
    if named is None or action.value not in named.may:
        raise NotAuthorised(
            f"{identity} may not {action.value} here",
            cause="the policy does not name them" if named is None else f"only {', '.join(named.may)}",
            next_step="let somebody decide whom the policy names under `approvals.people`",
        )
    _require_now(named, moment)
    if organisation.strip() and organisation_key(organisation) != organisation_key(named.organisation):
        raise NotAuthorised(
            f"{identity} decides for {named.organisation}, not for {organisation}",
            next_step="leave --organisation out",
        )
    _require_key(named, signer)
    return Person(named.identity, named.organisation)


def _require_now(named: Decider, moment: datetime) -> None:
    early = named.not_before is not None and moment < named.not_before
    late = named.not_after is not None and moment > named.not_after
    if early or late:
        raise NotAuthorised(
            f"{named.identity} may not decide {'yet' if early else 'any more'}",
            cause=f"from {named.not_before} to {named.not_after}",
            next_step="let somebody else decide, or give them a new key in the policy",
        )


def verifiers_of(approvals: ApprovalSection) -> tuple[Verifier, ...]:
    """The keys of the people in the policy; raises `InvalidInput` (`key/verifier`)."""
    return tuple(parse_verifier(one.key) for one in approvals.people if one.key)


def _require_key(named: Decider, signer: Verifier | None) -> None:
    if named.key and (signer is None or parse_verifier(named.key).public_key != signer.public_key):
        raise NotAuthorised(
            f"the decision is not signed with the key that the policy gives {named.identity}",
            next_step="sign it with --key FILE; `pratique key new` makes one and shows the line for the policy",
        )
