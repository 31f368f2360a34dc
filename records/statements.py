"""What is signed: in-toto Statements v1 with the field's own predicates, as plain data.

| statement | predicate type |
|---|---|
| inspection of a submission | in-toto test-result v0.1 |
| admission | SLSA Verification Summary Attestation v1 |
| execution record | SLSA provenance v1: dependencies are image and inputs, byproducts are logs |
| decision of a person | `urn:pratique:decision:v1`, ours, since no published predicate says it |
| a run that starts, one that was refused | `urn:pratique:run-start:v1`, `…:run-refusal:v1`, ours for the same reason |
| another's admission, or withdrawal list, that counts here now | `…:acceptance:v1`, `…:withdrawal-list:v1` |

What these predicates have no field for stands under a field whose name is a URI, as in-toto asks of extensions. Bulk
(check results, verdicts, logs) is named by digest and lies in the store; personal data of patients never comes here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from checks.interface import CheckResult, Evidence, Level, Status
from pratique.clock import rfc3339
from pratique.digests import Digest, hex_of, parse_digest
from pratique.errors import InvalidInput
from records.intoto import Descriptor, Statement, described, descriptor, statement

TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
VSA = "https://slsa.dev/verification_summary/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
DECISION = "urn:pratique:decision:v1"
RUN_START = "urn:pratique:run-start:v1"
RUN_REFUSAL = "urn:pratique:run-refusal:v1"
ACCEPTANCE = "urn:pratique:acceptance:v1"
WITHDRAWAL_LIST = "urn:pratique:withdrawal-list:v1"
VULNS = "https://in-toto.io/attestation/vulns/v0.2"

INSPECTION_EXTENSION = "urn:pratique:inspection:v1"
ADMISSION_EXTENSION = "urn:pratique:admission:v1"
EXECUTION_BUILD_TYPE = "urn:pratique:execution:v1"

ADMITTED_LEVEL = "PRATIQUE_ADMITTED"
"""The level that an admission verifies."""


class Action(StrEnum):
    """What a person decided."""

    ADMIT = "admit"
    REFUSE = "refuse"
    WITHDRAW = "withdraw"


@dataclass(frozen=True)
class ToolIdentity:
    """Which tool a statement speaks of: name, version, image digest (manifest) and config digest.

    `index_digest` is that of the multi-platform index through which the image was named, where it was.
    """

    name: str
    version: str
    image_digest: Digest
    config_digest: Digest | None = None
    index_digest: Digest | None = None

    def subject(self) -> Descriptor:
        """This tool as the subject of a statement: what matches is the image digest."""
        annotations = {"version": self.version}
        if self.config_digest is not None:
            annotations["configDigest"] = parse_digest(self.config_digest)
        if self.index_digest is not None:
            annotations["indexDigest"] = parse_digest(self.index_digest)
        return descriptor(name=self.name, digest=self.image_digest, annotations=annotations)


@dataclass(frozen=True)
class PolicyReference:
    """Which policy was applied: a URI that names it and the digest of its file."""

    uri: str
    digest: Digest

    def descriptor(self) -> Descriptor:
        """This policy as a statement names it."""
        return descriptor(uri=self.uri, digest=self.digest)


@dataclass(frozen=True)
class Person:
    """Who decided: an identity (as the policy names it) and the organisation they decide for."""

    identity: str
    organisation: str


def inspection_statement(
    tool: ToolIdentity,
    results: Mapping[str, CheckResult],
    *,
    stored: Mapping[str, Evidence],
    configuration: Sequence[Descriptor],
    run_id: str,
    finished: datetime,
    submission: Digest | None = None,
    outcome: str = "",
    decided_by: str | None = None,
    verdict: Evidence | None = None,
    submitter: str = "",
    manifest: Evidence | None = None,
    image_config: Evidence | None = None,
    profile: str = "",
) -> Statement:
    """That `tool` was inspected: which checks passed, and by digest what each of them found.

    `submitter` may not admit the tool; `manifest` and `image_config` in the store are what a node needs to run it.
    `profile` is the set of sandbox privileges under which the tool was run.

    `stored` has each result's JSON in the store, by check name. A check that could not decide counts among
    `failedTests`, so that a reader who knows the predicate only never takes it for passed; the extension says which.
    `configuration` names policy, advisory snapshot and the like. Raises `InvalidInput` (`statement/result`) where a
    result was not stored.
    """
    _require_stored(results, stored)
    names = {status: sorted(name for name, result in results.items() if result.status is status) for status in Status}
    warned = [name for name in names[Status.PASSED] if _has_warning(results[name])]
    failed = sorted(names[Status.FAILED] + names[Status.INCONCLUSIVE])
    decided = {"outcome": outcome, "decidedBy": decided_by, "record": described(verdict)} if verdict else None
    optional = {
        "submission": {"sha256": hex_of(parse_digest(submission))} if submission is not None else None,
        "verdict": decided,
        "submitter": submitter,
        "toolManifest": described(manifest) if manifest is not None else None,
        "imageConfig": described(image_config) if image_config is not None else None,
        "sandboxProfile": profile,
    }
    extension = {
        "runId": run_id,
        "finishedOn": rfc3339(finished),
        "inconclusiveTests": names[Status.INCONCLUSIVE],
        "notApplicableTests": names[Status.NOT_APPLICABLE],
        "results": [_described_result(name, results[name], stored[name]) for name in sorted(results)],
        **_present(optional),
    }
    predicate = {
        "result": "FAILED" if failed or not results else "WARNED" if warned else "PASSED",
        "configuration": list(configuration),
        "passedTests": [name for name in names[Status.PASSED] if name not in warned],
        "warnedTests": warned,
        "failedTests": failed,
        INSPECTION_EXTENSION: extension,
    }
    return statement([tool.subject()], TEST_RESULT, predicate)


def vsa(
    tool: ToolIdentity,
    *,
    verifier_id: str,
    resource_uri: str,
    time_verified: datetime,
    policy: PolicyReference,
    input_attestations: Sequence[Descriptor],
    passed: bool,
    levels: Sequence[str] = (ADMITTED_LEVEL,),
    decisions: Sequence[Descriptor] = (),
    expires: datetime | None = None,
    manifest: Descriptor | None = None,
    profile: str = "",
) -> Statement:
    """The admission of `tool` to `resource_uri` (this node or federation), or with `passed` false its refusal.

    `input_attestations` names *all* statements that this one rests on, by digest; `manifest` the one that the tool was
    inspected with, and without which no node runs it; `profile` the sandbox privileges that it is admitted with.
    """
    optional = {
        "toolManifest": manifest,
        "sandboxProfile": profile,
        "expires": rfc3339(expires) if expires is not None else None,
    }
    predicate = {
        "verifier": {"id": verifier_id},
        "timeVerified": rfc3339(time_verified),
        "resourceUri": resource_uri,
        "policy": policy.descriptor(),
        "inputAttestations": list(input_attestations),
        "verificationResult": "PASSED" if passed else "FAILED",
        "verifiedLevels": list(levels) if passed else ["FAILED"],
        "slsaVersion": "1.0",
        ADMISSION_EXTENSION: {"decisions": list(decisions), **_present(optional)},
    }
    return statement([tool.subject()], VSA, predicate)


def decision(
    tool: ToolIdentity,
    action: Action,
    *,
    person: Person,
    reason: str,
    decided: datetime,
    run_id: str = "",
    inspection: Descriptor | None = None,
    expires: datetime | None = None,
    despite: int | None = None,
) -> Statement:
    """What a person said of `tool`: who, for whom, when, why and until when; raises `InvalidInput` without a reason.

    `despite` is the entry of the withdrawal of the same image that the person knows of and overrules.
    """
    if not reason.strip():
        raise InvalidInput(
            "a decision needs a reason", rule="statement/reason", next_step="Say why with --reason; it is recorded."
        )
    predicate: dict[str, Any] = {
        "decision": action.value,
        "person": {"identity": person.identity, "organisation": person.organisation},
        "reason": reason,
        "decidedOn": rfc3339(decided),
    }
    optional = {
        "runId": run_id,
        "inspection": inspection,
        "expires": rfc3339(expires) if expires else None,
        "despiteWithdrawal": despite,
    }
    predicate |= _present(optional)
    return statement([tool.subject()], DECISION, predicate)


def run_start(
    image: Descriptor, *, admission: Descriptor, started: datetime, run_id: str, node_id: str, asked: Mapping[str, Any]
) -> Statement:
    """That this node is about to start `image`: whatever happens then, that it ran on somebody's data is known."""
    predicate = {
        "node": {"id": node_id},
        "runId": run_id,
        "startedOn": rfc3339(started),
        "admission": dict(admission),
        "asked": dict(asked),
    }
    return statement([image], RUN_START, predicate)


def run_refusal(
    request: Descriptor,
    *,
    rule: str,
    reason: str,
    refused: datetime,
    run_id: str,
    node_id: str,
    asked: Mapping[str, Any],
) -> Statement:
    """That this node was asked for a run and did not start it: what was asked (no personal data), the rule, and why."""
    predicate = {
        "node": {"id": node_id},
        "runId": run_id,
        "refusedOn": rfc3339(refused),
        "rule": rule,
        "reason": reason,
        "asked": dict(asked),
    }
    return statement([request], RUN_REFUSAL, predicate)


def acceptance(
    tool: ToolIdentity,
    *,
    admission: Descriptor,
    verifier_id: str,
    resource_uri: str,
    accepted: datetime,
    expires: datetime,
    node_id: str,
) -> Statement:
    """That an admission of `tool` by another verifier, which the policy believes, counts at this node from now on."""
    predicate = {
        "node": {"id": node_id},
        "admission": dict(admission),
        "verifier": {"id": verifier_id},
        "resourceUri": resource_uri,
        "acceptedOn": rfc3339(accepted),
        "expires": rfc3339(expires),
    }
    return statement([tool.subject()], ACCEPTANCE, predicate)


def withdrawal_list(
    withdrawn: Sequence[Descriptor],
    *,
    listed: Descriptor,
    origin: str,
    size: int,
    root: str,
    issued: datetime,
    accepted: datetime,
    node_id: str,
) -> Statement:
    """That this node took in another's withdrawal list; its subjects are what is new in it, or the list itself."""
    predicate = {
        "node": {"id": node_id},
        "list": dict(listed),
        "origin": origin,
        "size": size,
        "root": root,
        "issuedOn": rfc3339(issued),
        "acceptedOn": rfc3339(accepted),
    }
    return statement(withdrawn or [listed], WITHDRAWAL_LIST, predicate)


def execution_record(
    *,
    image: Descriptor,
    inputs: Sequence[Descriptor],
    outputs: Sequence[Descriptor],
    byproducts: Sequence[Descriptor],
    external: Mapping[str, Any],
    internal: Mapping[str, Any],
    node_id: str,
    node_version: Mapping[str, str],
    run_id: str,
    started: datetime,
    finished: datetime,
) -> Statement:
    """That this node ran `image` on `inputs`, and what came out.

    `external` is what was asked for (tool, arguments, person, dataset), `internal` what the node set (sandbox spec,
    host). A run without outputs has its byproducts (logs) as subjects.
    """
    predicate = {
        "buildDefinition": {
            "buildType": EXECUTION_BUILD_TYPE,
            "externalParameters": dict(external),
            "internalParameters": dict(internal),
            "resolvedDependencies": [image, *inputs],
        },
        "runDetails": {
            "builder": {"id": node_id, "version": dict(node_version)},
            "metadata": {"invocationId": run_id, "startedOn": rfc3339(started), "finishedOn": rfc3339(finished)},
            "byproducts": list(byproducts),
        },
    }
    return statement(outputs or byproducts, PROVENANCE, predicate)


def _require_stored(results: Mapping[str, CheckResult], stored: Mapping[str, Evidence]) -> None:
    missing = sorted(results.keys() - stored.keys())
    if missing:
        raise InvalidInput(
            f"the results of {', '.join(missing)} are not in the store",
            rule="statement/result",
            next_step="Store every check result before it is signed.",
        )


def _present(optional: Mapping[str, Any]) -> dict[str, Any]:
    """Those fields that have a value."""
    return {field: value for field, value in optional.items() if value}


def _has_warning(result: CheckResult) -> bool:
    return any(finding.level is Level.WARNING for finding in result.findings)


def _described_result(name: str, result: CheckResult, stored: Evidence) -> Descriptor:
    annotations = {"status": result.status.value, "version": result.version}
    return descriptor(name=name, digest=stored.digest, media_type=stored.media_type, annotations=annotations)
