"""Whether one admission holds here and now: signature, signer, place, policy, age and end. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, get_args

from pratique.clock import rfc3339
from pratique.digests import Digest, parse_digest, sha256_bytes
from pratique.errors import InvalidInput, Refused
from pratique.intake.document import ProfileName
from records.admissions import LONG_AGO, expiry_of, moment_of
from records.dsse import verify_envelope
from records.keys import Verifier
from records.statements import ADMISSION_EXTENSION, ADMITTED_LEVEL, VSA, ToolIdentity

SKEW = timedelta(minutes=5)
"""How far in the future an admission may seem to lie before the clock is not believed."""


class NotAdmitted(Refused):
    """Nothing that holds here admits this; `rule` is the stable name of what is amiss."""

    def __init__(self, message: str, *, rule: str, cause: str = "", next_step: str = "") -> None:
        super().__init__(message, cause=cause, next_step=next_step)
        self.rule = rule


@dataclass(frozen=True)
class Demand:
    """What an admission must be to count: made by `verifier_id` and signed by one of `verifiers`, to one of `places`,
    under one of these policies, and no older than `valid_for`.

    A place that ends in `/` or `:` stands for all that begin with it.
    """

    verifiers: tuple[Verifier, ...]
    verifier_id: str
    places: tuple[str, ...]
    policies: frozenset[Digest]
    valid_for: timedelta

    def is_for(self, place: object) -> bool:
        """Whether an admission to `place` counts."""
        return isinstance(place, str) and any(
            place == one or (one.endswith(("/", ":")) and place.startswith(one)) for one in self.places
        )


@dataclass(frozen=True)
class Admitted:
    """An admission that holds: the tool, the manifest it was inspected with, when it ends, the statement's digest, and
    the sandbox profile that it was inspected under; who admitted it, to which place, and when."""

    tool: ToolIdentity
    manifest: Digest
    expires: datetime
    policy: Digest
    statement: Digest
    profile: ProfileName = "default"
    verifier_id: str = ""
    place: str = ""
    verified: datetime = LONG_AGO


def check_admission(envelope: bytes, demand: Demand, moment: datetime) -> Admitted:
    """The admission in `envelope`; raises `NotAdmitted` (`admission/…`) where it does not meet `demand` at `moment`."""
    try:
        statement = verify_envelope(envelope, demand.verifiers, predicate_type=VSA)
    except InvalidInput as error:
        raise _refusal("signature", "the admission is not signed by a node that this one believes", str(error)) from (
            error
        )
    predicate = statement["predicate"]
    if predicate.get("verificationResult") != "PASSED" or ADMITTED_LEVEL not in _texts(predicate, "verifiedLevels"):
        raise _refusal(
            "result", "the statement does not admit the tool", f"{predicate.get('verificationResult')!s:.40}"
        )
    verifier = predicate.get("verifier")
    if not isinstance(verifier, dict) or verifier.get("id") != demand.verifier_id:
        raise _refusal(
            "other-verifier",
            "the admission says that another verifier made it than the one whose key signed it",
            f"{verifier!s:.200}, the key is of {demand.verifier_id}",
        )
    if not demand.is_for(predicate.get("resourceUri")):
        raise _refusal(
            "other-place",
            "the tool is admitted to another place, not to this node",
            f"to {predicate.get('resourceUri')!s:.200}, this is {', '.join(demand.places)}",
        )
    policy = _digest(predicate.get("policy"), "policy")
    if policy not in demand.policies:
        raise _refusal("other-policy", "the tool was admitted under another policy than the one in force", policy)
    return Admitted(
        _tool(statement["subject"]),
        _digest(_extension(predicate).get("toolManifest"), "tool manifest"),
        _end(predicate, demand, moment),
        policy,
        sha256_bytes(envelope),
        _profile(predicate),
        demand.verifier_id,
        str(predicate["resourceUri"]),
        moment_of(predicate.get("timeVerified")),
    )


def _profile(predicate: dict[str, Any]) -> ProfileName:
    """The profile that was admitted; an admission that names none is of the least."""
    stated = _extension(predicate).get("sandboxProfile", "default")
    known: tuple[ProfileName, ...] = get_args(ProfileName)
    for name in known:
        if stated == name:
            return name
    raise _refusal("form", "the admission names a sandbox profile that this version does not have", f"{stated!s:.40}")


def _end(predicate: dict[str, Any], demand: Demand, moment: datetime) -> datetime:
    verified = moment_of(predicate.get("timeVerified"))
    if verified == LONG_AGO:
        raise _refusal("form", "the admission does not say when it was made")
    if verified > moment + SKEW:
        raise _refusal(
            "clock",
            "the admission lies in the future, so this machine's clock is wrong or was put back",
            f"admitted {rfc3339(verified)}, now {rfc3339(moment)}",
        )
    stated, oldest = expiry_of(predicate), verified + demand.valid_for
    end = oldest if stated is None else min(stated, oldest)
    if end <= moment:
        raise _refusal("expired", "the admission has expired", f"on {rfc3339(end)}, now {rfc3339(moment)}")
    return end


def _tool(subjects: Sequence[dict[str, Any]]) -> ToolIdentity:
    if len(subjects) != 1:
        raise _refusal("form", "the admission is not of exactly one tool")
    subject = subjects[0]
    annotations = subject.get("annotations")
    if not isinstance(annotations, dict) or not isinstance(subject.get("name"), str):
        raise _refusal("form", "the admission does not say which tool it is of")
    try:
        return ToolIdentity(
            subject["name"],
            str(annotations["version"]),
            _digest(subject, "image"),
            parse_digest(annotations["configDigest"]),
            parse_digest(annotations["indexDigest"]) if "indexDigest" in annotations else None,
        )
    except (KeyError, InvalidInput) as error:
        raise _refusal("form", "the admission does not say which version and image config it is of") from error


def _digest(descriptor: object, what: str) -> Digest:
    digests = descriptor.get("digest") if isinstance(descriptor, dict) else None
    try:
        return parse_digest(f"sha256:{digests.get('sha256') if isinstance(digests, dict) else None}")
    except InvalidInput as error:
        raise _refusal("form", f"the admission does not name the {what} by its digest") from error


def _extension(predicate: dict[str, Any]) -> dict[str, Any]:
    extension = predicate.get(ADMISSION_EXTENSION)
    return extension if isinstance(extension, dict) else {}


def _texts(predicate: dict[str, Any], field: str) -> list[str]:
    value = predicate.get(field)
    return value if isinstance(value, list) else []


def _refusal(rule: str, message: str, cause: str = "") -> NotAdmitted:
    return NotAdmitted(
        message,
        rule=f"admission/{rule}",
        cause=cause,
        next_step="Onboard the tool here again and have it admitted: pratique onboard DIRECTORY, pratique admit RUN.",
    )
