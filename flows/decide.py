"""What people decide: `admit` turns an accepted run into a validated version, `refuse` closes a run, `withdraw` takes
an admission back.

Each decision is signed by the node, and by the person where they have a key, and appended. When as many persons and
organisations have decided as the policy asks for, the admission (SLSA Verification Summary Attestation) is signed and
appended with the last of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flows.admissible import counting, missing, overruled_withdrawal, require_admissible, require_other_person
from flows.inspected import Decided, History, Inspected, history_of
from flows.node import Node, has_ledger
from flows.reconsidered import require_still_so
from flows.roles import authorise
from flows.tools import ToolName, parse_tool
from pratique.digests import Digest, sha256_bytes
from pratique.errors import UsageError
from records.dsse import sign_statement
from records.intoto import Descriptor, descriptor
from records.statements import DECISION, Action, Person, PolicyReference, ToolIdentity, decision, vsa

if TYPE_CHECKING:
    from records.keys import NodeKey, Verifier


@dataclass(frozen=True)
class Decision:
    """What a person brings: who they are, for whom they decide, why, and the key of their own if they have one."""

    person: str
    organisation: str
    reason: str
    key: NodeKey | None = None


@dataclass(frozen=True)
class Admission:
    """What a decision to admit led to: the ledger entry of the VSA, None while more people must decide."""

    tool: ToolIdentity
    entry: int | None
    expires: datetime | None = None
    missing: str = ""
    """Who must still decide, in words."""


def admit(
    node: Node, run_id: str, given: Decision, *, until: datetime | None = None, despite: bool = False
) -> Admission:
    """Admit the tool that `run_id` inspected, until `until` (without it: as long as the policy lets it).

    What counts is the ledger, not the report file. An image that this node withdrew before comes back only where
    everybody who decides says so (`despite`). Raises `UsageError` for a run that the ledger does not know, `Refused`
    where it cannot be admitted (its verdict, another policy since, refused, withdrawn, another image under its
    version, what became known since), `NotAuthorised` for the submitter, for somebody without that role, and for
    somebody who has decided, `CouldNotDecide` where nobody can tell whether the verdict still holds.
    """
    history_of(node, run_id)  # a run that nobody knows makes no ledger
    return node.settled(lambda size: _admit(node, run_id, given, until, size, despite=despite))


def _admit(node: Node, run_id: str, given: Decision, until: datetime | None, size: int, *, despite: bool) -> Admission:
    history = history_of(node, run_id)
    person = _authorise(node, Action.ADMIT, given)
    require_admissible(node, history)
    overruled = overruled_withdrawal(node, history.inspected.tool, despite=despite)
    require_other_person(node, history, person, overruled)
    require_still_so(node, history.inspected)
    moment = node.clock()
    latest = moment + node.policy.policy.admissions.valid_for
    if until is not None and not moment < until <= latest:
        raise UsageError(
            "an admission ends in the future, and no later than the policy allows",
            cause=f"{until:%Y-%m-%d}; the policy allows {latest:%Y-%m-%d}",
            next_step="choose another day with --until, or leave it out",
        )
    signed = _signed_decision(node, history, Action.ADMIT, given, person, moment, until, overruled)
    mine = Decided(
        Action.ADMIT, person.identity, person.organisation, moment, until, sha256_bytes(signed), _verifiers(given.key)
    )
    decided = [*counting(node, history, overruled), mine]
    lacking = missing(node.policy.policy.approvals.admit, decided)
    if lacking:
        node.append(signed, after=size)
        return Admission(history.inspected.tool, None, missing=lacking)
    expires = min([latest, *(one.expires for one in decided if one.expires is not None)])
    summary = _summary(node, history.inspected, [one.digest for one in decided], moment, passed=True, expires=expires)
    appended = node.append(signed, sign_statement(summary, node.key), after=size)
    return Admission(history.inspected.tool, appended[-1].index, expires)


def refuse(node: Node, run_id: str, given: Decision) -> ToolIdentity:
    """Refuse the tool that `run_id` inspected: the run can never be admitted, and an earlier admission of the same
    image ends.

    Raises `UsageError` for a run that is unknown or was admitted, `NotAuthorised` for somebody without that role.
    """
    history = history_of(node, run_id)
    person = _authorise(node, Action.REFUSE, given)
    tool = history.inspected.tool
    if history.admitted is not None:
        raise UsageError(
            f"{tool.name} {tool.version} was admitted after this run (entry {history.admitted})",
            next_step=f"take that back: pratique withdraw {tool.name}@{tool.version} --reason …",
        )
    moment = node.clock()
    signed = _signed_decision(node, history, Action.REFUSE, given, person, moment)
    summary = _summary(node, history.inspected, [sha256_bytes(signed)], moment, passed=False)
    node.append(signed, sign_statement(summary, node.key))
    return tool


def withdraw(node: Node, tool: str, given: Decision) -> tuple[ToolIdentity, ...]:
    """Take back every admission of `tool` (`NAME`, `NAME@VERSION` or `NAME@sha256:…`); one person is enough.

    What is taken back is an image, so its admissions under other names and versions go with it; these come last.
    Raises `UsageError` where none stands, `NotAuthorised` for somebody without that role.
    """
    wanted = parse_tool(tool)
    person = _authorise(node, Action.WITHDRAW, given)
    if not has_ledger(node.settings):
        raise _none_stands(tool)
    return node.settled(lambda size: _withdraw(node, wanted, given, person, size))


def _withdraw(node: Node, wanted: ToolName, given: Decision, person: Person, size: int) -> tuple[ToolIdentity, ...]:
    there = [one for one in node.admissions.everything() if one.taken_back is None]
    meant = [one for one in there if wanted.means(one)]
    if not meant:
        raise _none_stands(str(wanted))
    images = frozenset[Digest]().union(*(one.images for one in meant))
    found = meant + [one for one in there if one.images & images and one not in meant]
    moment = node.clock()
    tools = tuple(
        dict.fromkeys(ToolIdentity(one.name, one.version, one.image_digest, one.config_digest) for one in found)
    )
    statements = [decision(one, Action.WITHDRAW, person=person, reason=given.reason, decided=moment) for one in tools]
    node.append(*(_sign(node, statement, given.key) for statement in statements), after=size)
    return tools


def _none_stands(tool: str) -> UsageError:
    return UsageError(
        f"no admission of {tool[:200]} stands",
        next_step="`pratique log show` lists what was admitted and withdrawn",
    )


def _authorise(node: Node, action: Action, given: Decision) -> Person:
    signers = _verifiers(given.key)
    approvals = node.policy.policy.approvals
    signer = signers[0] if signers else None
    return authorise(approvals, action, given.person, given.organisation, signer, node.clock())


def _verifiers(key: NodeKey | None) -> tuple[Verifier, ...]:
    return (key.verifier,) if key is not None else ()


def _sign(node: Node, statement: dict[str, Any], key: NodeKey | None) -> bytes:
    return sign_statement(statement, node.key, *([key] if key is not None else []))


def _signed_decision(
    node: Node,
    history: History,
    action: Action,
    given: Decision,
    person: Person,
    moment: datetime,
    until: datetime | None = None,
    overruled: int | None = None,
) -> bytes:
    inspected = history.inspected
    statement = decision(
        inspected.tool,
        action,
        person=person,
        reason=given.reason,
        decided=moment,
        run_id=inspected.run_id,
        inspection=_named_inspection(inspected),
        expires=until,
        despite=overruled,
    )
    return _sign(node, statement, given.key)


def _named_inspection(inspected: Inspected) -> Descriptor:
    return descriptor(name="inspection", digest=inspected.digest)


def _summary(
    node: Node,
    inspected: Inspected,
    decisions: Sequence[Digest],
    moment: datetime,
    *,
    passed: bool,
    expires: datetime | None = None,
) -> dict[str, Any]:
    """The VSA that rests on the inspection and on these decisions."""
    named = [descriptor(name="decision", digest=one, annotations={"predicateType": DECISION}) for one in decisions]
    return vsa(
        inspected.tool,
        verifier_id=node.uri,
        resource_uri=node.place,
        time_verified=moment,
        policy=PolicyReference(f"urn:pratique:policy:{node.policy.policy.name}", node.policy.digest),
        input_attestations=[_named_inspection(inspected), *named],
        passed=passed,
        decisions=named,
        expires=expires,
        manifest=inspected.manifest,
        profile=inspected.profile,
    )
