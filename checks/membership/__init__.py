"""Membership inference: can someone tell from a tool's answers who was in its training data?

The probe is a statistical instrument with its own controls. A pass reads "no evidence above the limit", never "safe":
that the declared members were trained on, and the declared non-members were not, cannot be verified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from checks.interface import CheckResult, EvidenceStore
from checks.membership.limits import PrivacyLimits
from checks.membership.runner import SandboxTables, TableRun, TableRunner

if TYPE_CHECKING:
    from pratique.intake.submission import Submission

VERSION = "1"

__all__ = ["VERSION", "PrivacyLimits", "SandboxTables", "TableRun", "TableRunner", "check_membership"]


def check_membership(
    *,
    submission: Submission,
    runner: TableRunner,
    limits: PrivacyLimits,
    seed: int,
    inventory_model_files: int,
    store: EvidenceStore,
) -> CheckResult:
    """Probe the tool of `submission` through `runner` (in the sandbox: `SandboxTables`).

    `inventory_model_files` is how many model files its image was found to hold; not applicable where there are none and
    no model is declared. Leaves evidence `membership.json`.
    """
    from checks.membership.probe import probe  # numpy, scipy and scikit-learn are loaded when a probe runs, not before

    return probe(submission, runner, limits, seed, inventory_model_files, store)
