"""The report of an inspection: the JSON that every other form is rendered from."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from checks.interface import CheckResult
from policies.risks import RiskCoverage
from policies.verdict import Verdict
from pratique.bounds import read_bounded
from pratique.digests import Digest
from pratique.errors import CouldNotDecide, UsageError
from pratique.intake.document import ProfileName

if TYPE_CHECKING:
    from pratique.intake.image.model import Image

MAX_REPORT_BYTES = 64 << 20
_RUN_ID = re.compile(r"[0-9]{8}T[0-9]{6}-[0-9a-f]{8}", re.ASCII)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ToolFacts(_Frozen):
    """Who says what the tool is; all of it is the provider's word."""

    name: str
    version: str
    organisation: str
    submitter: str
    label: str = ""
    profile: ProfileName = "default"


class ImageFacts(_Frozen):
    """Which image was inspected. Sizes in bytes."""

    manifest_digest: Digest
    config_digest: Digest
    index_digest: Digest | None = None
    digest_origin: str
    layers: int
    size: int

    @classmethod
    def of(cls, image: Image) -> ImageFacts:
        """Those of an opened image; its size is that of the layers as they are stored."""
        return cls(
            manifest_digest=image.manifest_digest,
            config_digest=image.config_digest,
            index_digest=image.index_digest,
            digest_origin=image.digest_origin.value,
            layers=len(image.layers),
            size=sum(layer.size for layer in image.layers),
        )


class PolicyFacts(_Frozen):
    """Which policy decided."""

    name: str
    digest: Digest


class LedgerPosition(_Frozen):
    """Where the signed statement of this inspection lies, and the tree that covers it."""

    origin: str
    index: int
    size: int
    root_hash: str
    statement_digest: Digest


class Report(_Frozen):
    """One inspection, whole. `seconds` is wall time; `tool_seconds` the part in which the tool itself ran."""

    api_version: Literal["pratique/report/v1"] = "pratique/report/v1"
    kind: Literal["onboard", "precheck"]
    run_id: str
    finished: datetime
    tool: ToolFacts
    submission_digest: Digest
    image: ImageFacts
    policy: PolicyFacts
    verdict: Verdict
    checks: dict[str, CheckResult]
    cached: tuple[str, ...] = ()
    """Checks whose answer was taken from an earlier run on the same inputs."""
    risks: tuple[RiskCoverage, ...] = ()
    ledger: LedgerPosition | None = None
    seconds: float
    tool_seconds: float

    def to_json(self) -> str:
        """Pretty-printed JSON in ASCII: the words of a provider must not drive the screen that shows it."""
        return self.model_dump_json(indent=2, ensure_ascii=True)


def load_report(runs: Path, run_id: str) -> Report:
    """The report of `run_id` (or `latest`) below `runs`; raises `UsageError` where there is none."""
    if run_id == "latest":
        names = sorted(path.name for path in runs.glob("*/report.json") for path in [path.parent])
        if not names:
            raise UsageError("no inspection has been made yet", next_step="run `pratique onboard DIRECTORY`")
        run_id = names[-1]
    if not _RUN_ID.fullmatch(run_id) or not (runs / run_id / "report.json").is_file():
        raise UsageError(f"there is no run {run_id[:80]!r}", next_step=f"the runs are the directories in {runs}")
    try:
        return Report.model_validate_json(read_bounded(runs / run_id / "report.json", MAX_REPORT_BYTES))
    except ValidationError as error:
        raise CouldNotDecide(
            f"the report of run {run_id} cannot be read",
            cause=str(error.errors()[0]["msg"]),
            next_step="inspect the submission again",
        ) from error
