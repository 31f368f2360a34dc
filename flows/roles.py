"""Who may decide: the people whom the policy names, with the key that it gives them."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from pratique.errors import NotAuthorised, UsageError
from records.keys import Verifier, parse_verifier
from records.statements import Action, Person

if TYPE_CHECKING:
    from policies.model import ApprovalSection, Decider


def same(one: str, other: str) -> bool:
    """Whether two identities, or two organisations, are the same: case, spaces and look-alike forms do not count."""
    return folded(one) == folded(other)


def folded(text: str) -> str:
    """An identity or organisation as it is compared."""
    return unicodedata.normalize("NFKC", text).strip().casefold()


def authorise(
    approvals: ApprovalSection, action: Action, identity: str, organisation: str, signer: Verifier | None
) -> Person:
    """The person who may take this decision, signing with the key of `signer` (None: with none of their own).

    Raises `UsageError` without an identity, `NotAuthorised` where the policy names people and not this one so.
    """
    if not identity.strip():
        raise UsageError("a decision needs a person", next_step="say who you are with --as or PRATIQUE_PERSON")
    if not approvals.people:
        return Person(identity.strip(), organisation.strip())
    named = next((one for one in approvals.people if same(one.identity, identity)), None)
    if named is None or action.value not in named.may:
        raise NotAuthorised(
            f"{identity} may not {action.value} here",
            cause="the policy does not name them" if named is None else f"only {', '.join(named.may)}",
            next_step="let somebody decide whom the policy names under `approvals.people`",
        )
    if organisation.strip() and not same(organisation, named.organisation):
        raise NotAuthorised(
            f"{identity} decides for {named.organisation}, not for {organisation}",
            next_step="leave --organisation out",
        )
    _require_key(named, signer)
    return Person(named.identity, named.organisation)


def verifiers_of(approvals: ApprovalSection) -> tuple[Verifier, ...]:
    """The keys of the people in the policy; raises `InvalidInput` (`key/verifier`)."""
    return tuple(parse_verifier(one.key) for one in approvals.people if one.key)


def _require_key(named: Decider, signer: Verifier | None) -> None:
    if named.key and (signer is None or parse_verifier(named.key).public_key != signer.public_key):
        raise NotAuthorised(
            f"the decision is not signed with the key that the policy gives {named.identity}",
            next_step="sign it with --key FILE; `pratique key new` makes one and shows the line for the policy",
        )
