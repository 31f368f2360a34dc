"""What the ledger says of one inspected run: the inspection, who decided what, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from checks.interface import CheckResult
from flows.node import Node, has_ledger
from flows.roles import verifiers_of
from pratique.digests import Digest, hex_of, parse_digest, sha256_bytes
from pratique.errors import CouldNotDecide, InvalidInput, UsageError
from records.admissions import images_of, inspection_of, moment_of
from records.dsse import open_envelope
from records.intoto import Descriptor, descriptor, digest_in
from records.keys import Verifier
from records.statements import DECISION, INSPECTION_EXTENSION, TEST_RESULT, VSA, WITHDRAWAL_LIST, Action, ToolIdentity


@dataclass(frozen=True)
class Inspected:
    """The signed statement of an inspection; `results` are the digests of its checks' answers, `verdict` that of what
    the policy said."""

    run_id: str
    entry: int
    digest: Digest
    tool: ToolIdentity
    outcome: str
    decided_by: str | None
    policy: str
    submitter: str
    manifest: Descriptor | None
    profile: str
    results: Mapping[str, Digest] = field(default_factory=dict)
    verdict: Digest | None = None


@dataclass(frozen=True)
class Decided:
    """A decision that the ledger holds; `signers` are the keys over it beside the node's own."""

    action: str
    person: str
    organisation: str
    decided: datetime
    expires: datetime | None
    digest: Digest
    signers: tuple[Verifier, ...]
    despite: int | None = None
    """Entry of the withdrawal that it overrules."""


@dataclass
class History:
    """A run in the ledger: its inspection, its decisions, the admission they led to, and a later withdrawal."""

    inspected: Inspected
    decisions: list[Decided] = field(default_factory=list)
    admitted: int | None = None
    withdrawn: int | None = None

    def of(self, action: Action) -> list[Decided]:
        """The decisions of one kind."""
        return [one for one in self.decisions if one.action == action]


@dataclass(frozen=True)
class _Signed:
    entry: int
    digest: Digest
    statement: dict[str, Any]
    signers: tuple[Verifier, ...]

    @property
    def predicate(self) -> dict[str, Any]:
        predicate: dict[str, Any] = self.statement["predicate"]
        return predicate


def history_of(node: Node, run_id: str) -> History:
    """What the ledger says of the run; raises `UsageError` where it knows no such inspection."""
    if not has_ledger(node.settings):
        raise UsageError(
            "this node has no ledger yet", next_step="inspect a submission first: pratique onboard DIRECTORY"
        )
    history: History | None = None
    for signed in _signed(node):
        if history is None:
            extension = signed.predicate.get(INSPECTION_EXTENSION)
            named = extension.get("runId") if isinstance(extension, dict) else None
            if extension is not None and signed.statement["predicateType"] == TEST_RESULT and named == run_id:
                history = History(_inspected(signed, extension))
        else:
            _take_in(history, signed, run_id)
    if history is None:
        raise UsageError(
            f"the ledger knows no inspection {run_id[:80]!r}",
            next_step="take the run that `pratique onboard` printed; `pratique log show` lists the entries",
        )
    return history


def _signed(node: Node) -> Iterator[_Signed]:
    """Every statement that the node signed, with the people who signed it too."""
    trusted = [node.key.verifier, *verifiers_of(node.policy.policy.approvals)]
    for entry in node.ledger.entries():
        try:
            opened = open_envelope(entry.data, trusted)
        except InvalidInput:
            continue
        if node.key.verifier in opened.signers:
            others = tuple(one for one in opened.signers if one != node.key.verifier)
            yield _Signed(entry.index, sha256_bytes(entry.data), opened.statement, others)


def _take_in(history: History, signed: _Signed, run_id: str) -> None:
    kind, predicate = signed.statement["predicateType"], signed.predicate
    passed = predicate.get("verificationResult") == "PASSED"
    if kind == DECISION and predicate.get("runId") == run_id and _is_about(history.inspected, signed):
        person, expires = predicate["person"], predicate.get("expires")
        history.decisions.append(
            Decided(
                predicate["decision"],
                person["identity"],
                person["organisation"],
                moment_of(predicate["decidedOn"]),
                moment_of(expires) if expires is not None else None,
                signed.digest,
                signed.signers,
                predicate.get("despiteWithdrawal"),
            )
        )
    elif kind == DECISION and predicate.get("decision") == Action.WITHDRAW:
        tool = history.inspected.tool
        if images_of(signed.statement) & {tool.image_digest, tool.config_digest}:
            history.withdrawn = signed.entry
    elif kind == WITHDRAWAL_LIST:
        digest = hex_of(history.inspected.tool.image_digest)
        if any(subject["digest"].get("sha256") == digest for subject in signed.statement["subject"]):
            history.withdrawn = signed.entry
    elif kind == VSA and passed and inspection_of(predicate) == history.inspected.digest:
        history.admitted = signed.entry


def _is_about(inspected: Inspected, signed: _Signed) -> bool:
    """Whether a decision is on this very inspection and image. A refusal counts all the same: it only closes a run."""
    if signed.predicate.get("decision") != Action.ADMIT:
        return True
    named = signed.predicate.get("inspection", {}).get("digest", {}).get("sha256")
    return _image(signed.statement) == inspected.tool.image_digest and f"sha256:{named}" == inspected.digest


def _inspected(signed: _Signed, extension: dict[str, Any]) -> Inspected:
    subject = signed.statement["subject"][0]
    annotations = subject.get("annotations", {})
    tool = ToolIdentity(
        subject["name"],
        str(annotations["version"]),
        _image(signed.statement),
        parse_digest(annotations["configDigest"]) if "configDigest" in annotations else None,
        parse_digest(annotations["indexDigest"]) if "indexDigest" in annotations else None,
    )
    verdict, manifest = extension.get("verdict", {}), extension.get("toolManifest")
    named = None
    if manifest is not None:
        named = descriptor(
            name=manifest["name"],
            digest=_digest_of(manifest),
            media_type=manifest["mediaType"],
        )
    policy = signed.predicate["configuration"][0]["digest"]["sha256"]
    return Inspected(
        extension["runId"],
        signed.entry,
        signed.digest,
        tool,
        verdict.get("outcome", ""),
        verdict.get("decidedBy"),
        f"sha256:{policy}",
        extension.get("submitter", ""),
        named,
        extension.get("sandboxProfile", ""),
        results_in(extension),
        _digest_of(verdict["record"]) if "record" in verdict else None,
    )


def results_in(extension: Mapping[str, Any]) -> dict[str, Digest]:
    """Digest of each check's answer, by the check's name, as the extension of a signed inspection has them.

    What is written in another way is not there.
    """
    listed = extension.get("results")
    named = ((one, digest_in(one)) for one in (listed if isinstance(listed, list) else []))
    return {str(one.get("name")): digest for one, digest in named if digest is not None}


def result_of(node: Node, results: Mapping[str, Digest], check: str) -> CheckResult | None:
    """What a check answered in an inspection, None where it was not asked.

    Raises `CouldNotDecide` where the answer is not in the store, or has another form than this version gives it.
    """
    if check not in results:
        return None
    try:
        return CheckResult.model_validate_json(node.store.get(results[check]))
    except ValidationError as error:
        raise CouldNotDecide(
            f"what the check {check} answered in the inspection cannot be read by this version",
            next_step="Onboard the tool again.",
        ) from error


def evidence_of(node: Node, results: Mapping[str, Digest], check: str, name: str) -> Digest | None:
    """Digest of what a check of an inspection left under `name`, None where it left nothing; raises as `result_of`."""
    result = result_of(node, results, check)
    return next((evidence.digest for evidence in result.evidence if evidence.name == name), None) if result else None


def _digest_of(described: Mapping[str, Any]) -> Digest:
    return parse_digest(f"sha256:{described['digest']['sha256']}")


def _image(statement: dict[str, Any]) -> Digest:
    return parse_digest(f"sha256:{statement['subject'][0]['digest']['sha256']}")
