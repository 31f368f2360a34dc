"""Whether an inspected run can be admitted, and by whom: what is asked before a decision is signed."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flows.federation import require_not_withdrawn_elsewhere
from flows.inspected import Decided, History
from flows.node import Node
from flows.roles import authorise
from pratique.errors import NotAuthorised, Refused, UsageError
from pratique.people import organisation_key, person_key
from records.statements import Action, Person, ToolIdentity

if TYPE_CHECKING:
    from policies.sections.decisions import Approval


def require_admissible(node: Node, history: History) -> None:
    """Raise `Refused` where this run cannot lead to an admission, whoever decides."""
    inspected = history.inspected
    name = f"{inspected.tool.name} {inspected.tool.version}"
    again = "mend what the report names and onboard it again"
    if inspected.outcome != "admit":
        rule = f"the rule {inspected.decided_by}" if inspected.decided_by else "its verdict"
        raise Refused(
            f"{name} cannot be admitted: the verdict is {inspected.outcome}",
            cause=f"decided by {rule}",
            next_step=again,
        )
    if inspected.policy != node.policy.digest:
        raise Refused(
            "the policy has changed since this inspection",
            cause=f"it was {inspected.policy}, now {node.policy.digest}",
            next_step="onboard the submission again, so that the policy in force decides",
        )
    if not inspected.submitter or inspected.manifest is None or inspected.tool.config_digest is None:
        raise Refused(
            "the signed inspection does not say who submitted the tool, or with which manifest it was inspected",
            next_step="onboard the submission again",
        )
    if history.of(Action.REFUSE):
        raise Refused(f"{history.of(Action.REFUSE)[0].person} refused this run", next_step=again)
    if history.withdrawn is not None:
        raise Refused(
            f"{name} was withdrawn after this inspection (entry {history.withdrawn})", next_step="onboard it again"
        )
    if history.admitted is not None:
        raise Refused(
            f"{name} was admitted after this run (entry {history.admitted})", next_step="nothing is left to do"
        )
    require_same_image(node, inspected.tool)
    require_not_withdrawn_elsewhere(node, inspected.tool.image_digest)


def overruled_withdrawal(node: Node, tool: ToolIdentity, *, despite: bool) -> int | None:
    """Entry of this node's own withdrawal of the image, which the person overrules; None where there is none.

    Raises `Refused` for a withdrawal that they do not overrule, `UsageError` where there is none to overrule.
    """
    taken_back = node.taken_back(tool.image_digest, tool.config_digest)
    if taken_back is None and despite:
        raise UsageError(
            "this node has not withdrawn the image, or has admitted it again since",
            next_step="decide without --despite-withdrawal",
        )
    if taken_back is not None and not despite:
        raise Refused(
            f"this node withdrew the very image of {tool.name} {tool.version}",
            cause=str(taken_back),
            next_step="submit new bytes with what it was withdrawn for mended; or, where the withdrawal no longer "
            "holds, say so: --despite-withdrawal, with why in --reason",
        )
    return taken_back.entry if taken_back is not None else None


def require_same_image(node: Node, tool: ToolIdentity) -> None:
    """What the pinning check asked, asked again now: another run of this version may have been admitted since."""
    for known in node.validated():
        if (_folded(known.name), _folded(known.version)) != (_folded(tool.name), _folded(tool.version)):
            continue
        if known.image_digest != tool.image_digest:
            raise Refused(
                f"another image was admitted as {tool.name} {tool.version} since this inspection",
                cause=f"{known.image_digest}, entry {known.entry}",
                next_step="give changed bytes a new version and onboard that",
            )


def require_other_person(node: Node, history: History, person: Person, overruled: int | None) -> None:
    """Raise `NotAuthorised` for the submitter, and for somebody who has decided on this run."""
    if _is_submitter(node, history, person.identity):
        raise NotAuthorised(
            f"{person.identity} submitted this tool, so somebody else must decide", next_step="ask a colleague"
        )
    if any(person_key(one.person) == person_key(person.identity) for one in counting(node, history, overruled)):
        raise NotAuthorised(
            f"{person.identity} has decided already; a second voice must be another person's",
            next_step="let another person decide",
        )


def _is_submitter(node: Node, history: History, identity: str) -> bool:
    """Whether this person submitted the tool, under this name or, where the policy knows them, another of theirs."""
    approvals, submitter = node.policy.policy.approvals, history.inspected.submitter
    if not approvals.admit.not_submitter:
        return False
    known = [one for one in approvals.people if one.is_called(submitter)]
    return person_key(identity) == person_key(submitter) or any(one.is_called(identity) for one in known)


def _folded(text: str) -> str:
    """A tool's name or version as it is compared."""
    return unicodedata.normalize("NFKC", text).strip().casefold()


def counting(node: Node, history: History, overruled: int | None) -> list[Decided]:
    """Decisions to admit this run, overruling this withdrawal, that count under the policy in force, now."""
    approvals = node.policy.policy.approvals
    found = []
    for one in history.of(Action.ADMIT):
        signer = one.signers[0] if one.signers else None
        try:
            authorise(approvals, Action.ADMIT, one.person, one.organisation, signer, one.decided)
        except (NotAuthorised, UsageError):
            continue
        own = _is_submitter(node, history, one.person)
        if not own and one.despite == overruled and (one.expires is None or one.expires > node.clock()):
            found.append(one)
    return found


def missing(needed: Approval, decided: Sequence[Decided]) -> str:
    """Who must still decide before the policy is satisfied; empty text when nobody must."""
    persons = len({person_key(one.person) for one in decided})
    organisations = len({organisation_key(one.organisation) for one in decided} - {""})
    lacking = []
    if persons < needed.persons:
        lacking.append(f"{needed.persons - persons} more of {needed.persons} persons")
    if organisations < needed.organisations:
        lacking.append(f"{needed.organisations - organisations} more of {needed.organisations} organisations")
    return " and ".join(lacking)
