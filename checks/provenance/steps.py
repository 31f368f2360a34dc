"""The steps of verifying one signature, each with its own outcome, so that a result teaches and not only refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

CHECK = "provenance"
VERSION = "1"
RISKS = ("G3",)
_T = TypeVar("_T")


class StepName(StrEnum):
    """Steps in the order in which they are reported."""

    PARSED = "parsed"
    SIGNATURE = "signature"
    TIMESTAMP = "timestamp"
    INCLUSION_PROMISE = "inclusion-promise"
    SIGNING_TIME = "signing-time"
    LOG_ENTRY = "log-entry"
    LOG_INCLUSION = "log-inclusion"
    CHECKPOINT = "checkpoint"
    CHAIN = "chain"
    SCT = "sct"
    IDENTITY = "identity"
    STATEMENT = "statement"
    SUBJECT_DIGEST = "subject-digest"
    SECOND_OPINION = "second-opinion"


class Outcome(StrEnum):
    """How a step ended; only `PASSED`, and `ABSENT` where the policy does not ask for the thing, are acceptable."""

    PASSED = "passed"
    FAILED = "failed"
    ABSENT = "absent"
    NOT_REACHED = "not reached"


@dataclass(frozen=True)
class Step:
    """One step: `detail` says what was seen, `fix` what to do about a failure."""

    name: StepName
    outcome: Outcome
    detail: str
    fix: str = ""


class StepFailed(Exception):
    """A step's test did not hold; never leaves this package."""

    def __init__(self, detail: str, *, fix: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.fix = fix


class StepAbsent(Exception):
    """The thing a step tests is not there, and need not be; never leaves this package."""


SIGN_AGAIN = (
    "Sign the image again by its digest and submit the new bundle: "
    "cosign sign --bundle evidence/image.sigstore.json IMAGE@sha256:…"
)
FIXES: dict[StepName, str] = {
    StepName.PARSED: "Submit the bundle exactly as the signing program wrote it (Sigstore bundle v0.1 to v0.3, JSON).",
    StepName.SIGNATURE: "The content was changed after it was signed. " + SIGN_AGAIN,
    StepName.TIMESTAMP: "Have the signature stamped by a timestamp authority that the node's trusted root names. "
    + SIGN_AGAIN,
    StepName.INCLUSION_PROMISE: "The log's promise is not genuine. " + SIGN_AGAIN,
    StepName.SIGNING_TIME: "Sign with a timestamp authority or a log that gives signed time. " + SIGN_AGAIN,
    StepName.LOG_ENTRY: "The log entry must be the one of this very signature. " + SIGN_AGAIN,
    StepName.LOG_INCLUSION: "The proof does not show the entry in the log. " + SIGN_AGAIN,
    StepName.CHECKPOINT: "Use the Sigstore instance whose log key the node's trusted root holds. " + SIGN_AGAIN,
    StepName.CHAIN: "Sign with the Sigstore instance that the node trusts, while the signing certificate is valid.",
    StepName.SCT: "The certificate must carry a timestamp of a certificate-transparency log that the node trusts.",
    StepName.IDENTITY: "Sign as an identity that the node's policy names, or ask the node to add this one.",
    StepName.STATEMENT: "Sign with `cosign sign` (cosign 3): an attestation is no image signature.",
    StepName.SUBJECT_DIGEST: "This signature is of another image. " + SIGN_AGAIN,
    StepName.SECOND_OPINION: "sigstore-python does not accept this bundle. " + SIGN_AGAIN,
}


@dataclass
class Recorder:
    """Runs steps and keeps their outcomes; a step that fails does not stop those that can still be answered."""

    steps: list[Step] = field(default_factory=list)

    def run(self, name: StepName, test: Callable[[], tuple[_T, str]]) -> _T | None:
        """Value of `test()` (which returns it with what was seen), None where the step did not pass."""
        try:
            value, detail = test()
        except StepFailed as failure:
            self.steps.append(Step(name, Outcome.FAILED, failure.detail, failure.fix or FIXES[name]))
            return None
        except (ValueError, OverflowError) as error:  # a parser of another library met a malformed value
            self.steps.append(Step(name, Outcome.FAILED, f"malformed: {str(error)[:200]}", FIXES[name]))
            return None
        except StepAbsent as absence:
            self.steps.append(Step(name, Outcome.ABSENT, str(absence)))
            return None
        self.steps.append(Step(name, Outcome.PASSED, detail))
        return value

    def not_reached(self, name: StepName, needs: StepName) -> None:
        """Record that `name` could not be tried because `needs` did not pass."""
        self.steps.append(Step(name, Outcome.NOT_REACHED, f"needs the step '{needs}' to pass first"))

    def passed(self, name: StepName) -> bool:
        """Whether the step `name` passed."""
        return any(step.name is name and step.outcome is Outcome.PASSED for step in self.steps)

    def ordered(self) -> tuple[Step, ...]:
        """The steps in reporting order."""
        order = {name: position for position, name in enumerate(StepName)}
        return tuple(sorted(self.steps, key=lambda step: order[step.name]))
