"""What an entry of the ledger says, in one line for people: when, what happened, to which tool, and the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from records.intoto import Statement
from records.statements import (
    ACCEPTANCE,
    DECISION,
    INSPECTION_EXTENSION,
    PROVENANCE,
    RUN_REFUSAL,
    RUN_START,
    TEST_RESULT,
    VSA,
    VULNS,
    WITHDRAWAL_LIST,
)


@dataclass(frozen=True)
class Words:
    """A statement in words; `time` is RFC 3339, empty where the statement has none."""

    time: str
    what: str
    tool: str
    detail: str = ""


def in_words(statement: Statement) -> Words:
    """`statement` in words, by its predicate type; the type itself does for one that is not known here."""
    kind, tool = str(statement["predicateType"]), _subject(statement)
    try:
        return _KINDS[kind](statement["predicate"], tool)
    except (LookupError, TypeError, AttributeError):  # another type, or not the form that this version gives it
        return Words("", kind, tool)


def _subject(statement: Statement) -> str:
    first = statement["subject"][0]
    version = first.get("annotations", {}).get("version", "")
    return " ".join(part for part in (first.get("name", ""), version) if part)


def _inspected(predicate: Mapping[str, Any], tool: str) -> Words:
    more = predicate[INSPECTION_EXTENSION]
    verdict = more.get("verdict", {}).get("outcome", "none")
    return Words(more["finishedOn"], "inspected", tool, f"verdict {verdict}, run {more['runId']}")


def _admitted(predicate: Mapping[str, Any], tool: str) -> Words:
    place, rests_on = f"at {predicate['resourceUri']}", predicate.get("inputAttestations", [])
    what = "admitted" if predicate["verificationResult"] == "PASSED" else "closed"
    if what == "closed" and any(one.get("name") == "rescan" for one in rests_on):
        what, place = "withdrawn", f"{place}, after a rescan"
    return Words(predicate["timeVerified"], what, tool, place)


def _decided(predicate: Mapping[str, Any], tool: str) -> Words:
    person, run = predicate["person"], predicate.get("runId", "")
    who = ", ".join(part for part in (person["identity"], person["organisation"]) if part)
    despite = predicate.get("despiteWithdrawal")
    more = (f", of run {run}" if run else "") + (f", despite the withdrawal in entry {despite}" if despite else "")
    return Words(predicate["decidedOn"], f"says {predicate['decision']}", tool, who + more)


def _ran(predicate: Mapping[str, Any], _: str) -> Words:
    definition, metadata = predicate["buildDefinition"], predicate["runDetails"]["metadata"]
    asked, happened = definition["externalParameters"], definition["internalParameters"]
    tool = f"{asked.get('tool', '')} {asked.get('version', '')}".strip()
    ended = f"ended by {happened.get('endedBy', '?')}, exit code {happened.get('exitCode')}"
    return Words(metadata["finishedOn"], "ran", tool, f"{ended}, run {metadata['invocationId']}")


def _started(predicate: Mapping[str, Any], tool: str) -> Words:
    return Words(predicate["startedOn"], "starts", tool, f"run {predicate['runId']}")


def _not_run(predicate: Mapping[str, Any], _: str) -> Words:
    asked = str(predicate["asked"].get("tool", ""))
    return Words(predicate["refusedOn"], "not run", asked, f"{predicate['rule']}, run {predicate['runId']}")


def _accepted(predicate: Mapping[str, Any], tool: str) -> Words:
    return Words(predicate["acceptedOn"], "accepted", tool, f"admitted by {predicate['verifier']['id']}")


def _listed(predicate: Mapping[str, Any], _: str) -> Words:
    return Words(predicate["acceptedOn"], "takes in", "", f"{predicate['size']} withdrawals of {predicate['origin']}")


def _rescanned(predicate: Mapping[str, Any], tool: str) -> Words:
    metadata = predicate["metadata"]
    told = metadata["annotations"][0]
    detail = f"{told['status']}, {told['new']} new vulnerabilities"
    return Words(metadata["scanFinishedOn"], "rescanned", tool, detail)


_KINDS: dict[str, Callable[[Mapping[str, Any], str], Words]] = {
    TEST_RESULT: _inspected,
    VSA: _admitted,
    DECISION: _decided,
    PROVENANCE: _ran,
    RUN_START: _started,
    RUN_REFUSAL: _not_run,
    ACCEPTANCE: _accepted,
    WITHDRAWAL_LIST: _listed,
    VULNS: _rescanned,
}
