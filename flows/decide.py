"""What people decide: `admit` turns an accepted run into a validated version.

Each decision is signed and appended. When as many persons and organisations have decided as the policy asks for, the
admission (SLSA Verification Summary Attestation) is signed and appended with the last of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows.node import Node
from pratique.digests import Digest, parse_digest, sha256_bytes
from pratique.errors import NotAuthorised, Refused, UsageError
from records.admissions import signed_statements
from records.dsse import sign_statement
from records.statements import (
    DECISION,
    INSPECTION_EXTENSION,
    TEST_RESULT,
    Action,
    Person,
    PolicyReference,
    ToolIdentity,
    decision,
    descriptor,
    vsa,
)

if TYPE_CHECKING:
    from policies.model import Approval


@dataclass(frozen=True)
class Admission:
    """What a decision to admit led to: the ledger entry of the VSA, None while more people must decide."""

    tool: ToolIdentity
    entry: int | None
    missing: str = ""
    """Who must still decide, in words."""


@dataclass(frozen=True)
class _Inspected:
    """What the ledger says of a run."""

    entry: int
    statement: dict[str, Any]
    tool: ToolIdentity
    outcome: str
    decided_by: str | None
    policy: str


def admit(node: Node, run_id: str, *, reason: str, person: str, organisation: str) -> Admission:
    """Admit the tool that `run_id` inspected, as `person`.

    What counts is the ledger, not the report file. Raises `UsageError` for a run that the ledger does not know,
    `Refused` where its verdict is not *admit* or the policy has changed since, `NotAuthorised` for the submitter.
    """
    inspected = _find(node, run_id)
    _require_admissible(node, inspected)
    _require_other_than_submitter(node, run_id, person)
    moment = node.clock()
    inspection = descriptor(name="inspection", digest=_entry_digest(node, inspected.entry))
    signed = sign_statement(
        decision(
            inspected.tool,
            Action.ADMIT,
            person=Person(person.strip(), organisation.strip()),
            reason=reason,
            decided=moment,
            run_id=run_id,
            inspection=inspection,
        ),
        node.key,
    )
    decided = [*_decided(node, run_id), _Decided(person.strip(), organisation.strip(), sha256_bytes(signed))]
    missing = _missing(node.policy.policy.approvals.admit, decided)
    if missing:
        node.ledger.append(signed)
        return Admission(inspected.tool, None, missing)
    named = [descriptor(name="decision", digest=one.digest, annotations={"predicateType": DECISION}) for one in decided]
    place = f"urn:pratique:node:{node.settings.origin}"
    summary = vsa(
        inspected.tool,
        verifier_id=place,
        resource_uri=place,
        time_verified=moment,
        policy=PolicyReference(f"urn:pratique:policy:{node.policy.policy.name}", node.policy.digest),
        input_attestations=[inspection, *named],
        passed=True,
        decisions=named,
    )
    appended = node.ledger.extend([signed, sign_statement(summary, node.key)])
    return Admission(inspected.tool, appended[-1].index)


@dataclass(frozen=True)
class _Decided:
    """A decision to admit that the ledger holds."""

    person: str
    organisation: str
    digest: Digest


def _decided(node: Node, run_id: str) -> list[_Decided]:
    """Decisions to admit this very run, so far."""
    found = []
    for entry, statement in signed_statements(node.ledger):
        predicate = statement["predicate"]
        if (
            statement["predicateType"] == DECISION
            and predicate.get("runId") == run_id
            and predicate.get("decision") == Action.ADMIT
        ):
            person = predicate["person"]
            found.append(_Decided(person["identity"], person["organisation"], _entry_digest(node, entry)))
    return found


def _missing(needed: Approval, decided: list[_Decided]) -> str:
    """Who must still decide before the policy is satisfied; empty text when nobody must."""
    persons = len({one.person.casefold() for one in decided})
    organisations = len({one.organisation.casefold() for one in decided if one.organisation})
    lacking = []
    if persons < needed.persons:
        lacking.append(f"{needed.persons - persons} more of {needed.persons} persons")
    if organisations < needed.organisations:
        lacking.append(f"{needed.organisations - organisations} more of {needed.organisations} organisations")
    return " and ".join(lacking)


def _find(node: Node, run_id: str) -> _Inspected:
    if not node.settings.ledger.is_dir():
        raise UsageError(
            "this node has no ledger yet", next_step="inspect a submission first: pratique onboard DIRECTORY"
        )
    for entry, statement in signed_statements(node.ledger):
        extension = statement["predicate"].get(INSPECTION_EXTENSION, {})
        if statement["predicateType"] == TEST_RESULT and extension.get("runId") == run_id:
            return _inspected(entry, statement, extension)
    raise UsageError(
        f"the ledger knows no inspection {run_id[:80]!r}",
        next_step="take the run that `pratique onboard` printed; `pratique log show` lists the entries",
    )


def _inspected(entry: int, statement: dict[str, Any], extension: dict[str, Any]) -> _Inspected:
    subject = statement["subject"][0]
    annotations = subject.get("annotations", {})
    tool = ToolIdentity(
        subject["name"],
        str(annotations["version"]),
        parse_digest(f"sha256:{subject['digest']['sha256']}"),
        parse_digest(annotations["configDigest"]) if "configDigest" in annotations else None,
    )
    verdict = extension.get("verdict", {})
    policy = statement["predicate"]["configuration"][0]["digest"]["sha256"]
    return _Inspected(entry, statement, tool, verdict.get("outcome", ""), verdict.get("decidedBy"), f"sha256:{policy}")


def _require_admissible(node: Node, inspected: _Inspected) -> None:
    if inspected.outcome != "admit":
        rule = f"the rule {inspected.decided_by}" if inspected.decided_by else "its verdict"
        raise Refused(
            f"{inspected.tool.name} {inspected.tool.version} cannot be admitted: the verdict is {inspected.outcome}",
            cause=f"decided by {rule}",
            next_step="mend what the report names and onboard it again",
        )
    if inspected.policy != node.policy.digest:
        raise Refused(
            "the policy has changed since this inspection",
            cause=f"it was {inspected.policy}, now {node.policy.digest}",
            next_step="onboard the submission again, so that the policy in force decides",
        )


def _require_other_than_submitter(node: Node, run_id: str, person: str) -> None:
    from flows.report import load_report

    if not person.strip():
        raise UsageError("a decision needs a person", next_step="say who you are with --as or PRATIQUE_PERSON")
    submitter = load_report(node.settings.runs, run_id).tool.submitter
    if node.policy.policy.approvals.admit.not_submitter and person.strip().casefold() == submitter.strip().casefold():
        raise NotAuthorised(f"{person} submitted this tool, so somebody else must decide")


def _entry_digest(node: Node, entry: int) -> Digest:
    return sha256_bytes(node.ledger.entry(entry))
