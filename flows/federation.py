"""Others whose word counts here: hubs whose admissions a node accepts, and withdrawal lists that it takes in.

Whom to believe stands in the policy (`federation`). What was taken in stands in the node's own ledger, so that putting
back an older list means putting back the ledger, which is noticed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from flows.node import Node, has_ledger
from pratique.clock import rfc3339
from pratique.digests import Digest, parse_digest
from pratique.errors import InvalidInput
from records.dsse import verify_envelope
from records.keys import Verifier, parse_verifier
from records.standing import Admitted, Demand, NotAdmitted, check_admission
from records.statements import ACCEPTANCE
from records.withdrawals import WithdrawalList, list_origin

if TYPE_CHECKING:
    from policies.sections.decisions import FederationHub


@dataclass(frozen=True)
class Accepted:
    """Another verifier's admission as this node took it in: its bytes, and who it says that it is by."""

    envelope: bytes
    verifier_id: str


def own_demand(node: Node) -> Demand:
    """What an admission by this node must be to count."""
    section = node.policy.policy.admissions
    policies = frozenset({node.policy.digest, *section.also_under})
    places = tuple(dict.fromkeys((node.uri, node.place)))
    return Demand((node.key.verifier,), node.uri, places, policies, section.valid_for)


def list_signers(node: Node) -> tuple[Verifier, ...]:
    """Whose withdrawal lists count here; raises `InvalidInput` (`key/verifier`)."""
    section = node.policy.policy.federation
    return tuple(
        dict.fromkeys(parse_verifier(key) for key in (*(hub.key for hub in section.hubs), *section.withdrawals))
    )


def accepted_admission(node: Node, entry: bytes) -> Accepted | None:
    """What the node accepted with this entry of its ledger; None where the entry is another statement.

    Raises `CouldNotDecide` where it is not in the store any more.
    """
    try:
        predicate = verify_envelope(entry, [node.key.verifier], predicate_type=ACCEPTANCE)["predicate"]
    except InvalidInput:
        return None
    digest = parse_digest(f"sha256:{predicate['admission']['digest']['sha256']}")
    return Accepted(node.store.get(digest), predicate["verifier"]["id"])


def check_accepted(node: Node, accepted: Accepted) -> Admitted:
    """The admission of a hub, checked as a whole for here and now: the policy decides today, not when it was accepted.

    Raises `NotAdmitted` (`admission/…`; `admission/no-hub`, `admission/no-list`, `admission/stale-list`,
    `admission/withdrawn`).
    """
    hub = hub_named(node, accepted.verifier_id)
    admitted = check_admission(accepted.envelope, _demand(node, hub), node.clock())
    _require_fresh_list(node, hub)
    return admitted


def known_lists(node: Node) -> tuple[WithdrawalList, ...]:
    """Every withdrawal list that was taken in, whole; raises `CouldNotDecide` where one is not in the store now."""
    from records.note import parse_note
    from records.withdrawals import MAX_LIST_BYTES, parse_list

    if not has_ledger(node.settings):  # looking founds no ledger: its name could not be changed any more
        return ()
    found = []
    for one in node.admissions.lists():
        note = parse_note(node.store.get(one.digest), max_bytes=MAX_LIST_BYTES)
        found.append(parse_list(note.text))
    return tuple(found)


def require_not_withdrawn_elsewhere(node: Node, image: Digest, *, but: str = "") -> None:
    """Raise `NotAdmitted` (`admission/withdrawn-elsewhere`) for an image in another's list than `but`.

    Unless the policy overrules that.
    """
    if image in node.policy.policy.federation.overruled:
        return
    for listed in known_lists(node):
        for one in listed.withdrawals:
            if one.image == image and listed.origin != but:
                raise NotAdmitted(
                    f"the image was withdrawn by the node of {listed.origin.removesuffix('/withdrawals')}",
                    rule="admission/withdrawn-elsewhere",
                    cause=f"as {one.name} {one.version} on {rfc3339(one.withdrawn)}",
                    next_step="ask why there; to admit it here all the same, name its digest under "
                    "federation.overruled in the policy",
                )


def hub_named(node: Node, verifier_id: str) -> FederationHub:
    """The hub of the policy with this id; raises `NotAdmitted` (`admission/no-hub`)."""
    for hub in node.policy.policy.federation.hubs:
        if hub.verifier == verifier_id:
            return hub
    raise NotAdmitted(
        "the admission is by a verifier whose admissions do not count here",
        rule="admission/no-hub",
        cause=verifier_id[:200],
        next_step="name it under federation.hubs in the policy, or onboard the tool here",
    )


def _demand(node: Node, hub: FederationHub) -> Demand:
    longest: timedelta = node.policy.policy.admissions.valid_for
    return Demand((parse_verifier(hub.key),), hub.verifier, (hub.place,), frozenset(hub.policies), longest)


def _require_fresh_list(node: Node, hub: FederationHub) -> None:
    origin, moment = list_origin(parse_verifier(hub.key).name), node.clock()
    newest = next((one for one in node.admissions.lists() if one.origin == origin), None)
    again = "get the newest list from the hub: pratique withdrawals import FILE"
    if newest is None:
        raise NotAdmitted(
            f"nobody knows what {hub.verifier} has withdrawn: no list of it was taken in",
            rule="admission/no-list",
            next_step=again,
        )
    if newest.issued + hub.list_max_age <= moment:
        raise NotAdmitted(
            f"the newest withdrawal list of {hub.verifier} is too old",
            rule="admission/stale-list",
            cause=f"issued on {rfc3339(newest.issued)}, now {rfc3339(moment)}",
            next_step=again,
        )
