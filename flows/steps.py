"""The checks of an inspection, in order: name, version, stage, what the answer depends on, and the function that asks.

Both runners walk this list, `flows.direct` on a laptop and `flows.onboard` at the gate, so they cannot disagree.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import version
from time import monotonic
from typing import TYPE_CHECKING, Any

from checks.interface import CheckResult, Finding, Level, Status, inconclusive
from policies.model import Stage
from pratique.digests import Digest, sha256_json
from pratique.errors import CouldNotDecide, InvalidInput, PratiqueError
from pratique.intake.image.model import FileClass

if TYPE_CHECKING:
    from flows.case import Case

Facts = dict[str, Any]
_TEST_DATA_OF_A_PACKAGE = re.compile(r"-packages/(?:.*/)?tests?/")
NOT_ASKED = "not-asked"
"""Last part of the rule id of a check that was not asked."""

FORMAT = "1"
"""Raised when every cached answer should be asked again."""


@dataclass(frozen=True)
class Step:
    """One check. `module` says where its `VERSION` stands; `rests_on` names the inputs that its answer depends on."""

    name: str
    module: str
    stage: Stage
    rests_on: Callable[[Case], Facts]
    ask: Callable[[Case], CheckResult]
    keeps: bool = True
    """Whether an answer may be used again for the same inputs; not where it depends on the moment."""

    @property
    def version(self) -> str:
        """The version of the check's answers."""
        return str(import_module(self.module).VERSION)

    def cache_key(self, case: Case) -> Digest:
        """Digest of everything that the answer depends on."""
        return sha256_json([FORMAT, _program(), self.name, self.version, self.rests_on(case)])


@cache
def _program() -> str:
    """The release that answers: a later one may read images, or what checks share, with fewer holes."""
    return version("pratique")


def answer(step: Step, case: Case) -> CheckResult:
    """Ask one check; whatever stops it from answering is *inconclusive*, never an exception (but for Ctrl-C)."""
    begun = monotonic()
    try:
        result = step.ask(case)
    except InvalidInput as error:
        finding = Finding(
            rule_id=f"{step.name}/invalid-input",
            level=Level.ERROR,
            message=str(error),
            where=error.where,
            fix=error.next_step,
        )
        result = CheckResult(
            check=step.name, version=step.version, status=Status.FAILED, summary=str(error), findings=(finding,)
        )
    except PratiqueError as error:
        result = inconclusive(step.name, step.version, str(error), fix=error.next_step)
    except (OSError, MemoryError) as error:
        result = inconclusive(
            step.name, step.version, f"the machine failed: {error}", fix="Free disk or memory, retry."
        )
    return result.model_copy(update={"seconds": monotonic() - begun})


# --- static: nothing of the submission is executed -------------------------------------------------------------------


def _manifest(case: Case) -> CheckResult:
    from checks.manifest import check_manifest

    return check_manifest(case.submission, granted=case.node.policy.policy.sandbox.profiles)


def _dossier(case: Case) -> CheckResult:
    from checks.dossier import check_dossier

    return check_dossier(case.submission)


def _provenance(case: Case) -> CheckResult:
    from checks.provenance import SignatureFile, check_provenance

    names = case.submission.document.signatures
    bundles = [SignatureFile(case.submission.path(name), name) for name in names]
    bundles += [SignatureFile(path, one.name, one.annotations) for path, one in case.attached]
    trust = case.node.policy.trust()
    return check_provenance(
        bundles,
        case.image.manifest_digest,
        trust,
        clock=case.node.clock,
        store=case.node.store,
        index_digest=case.image.index_digest,
    )


def _pinning(case: Case) -> CheckResult:
    from checks.pinning import check_pinning

    tool, image, config = case.submission.document.tool, case.image.manifest_digest, case.image.config_digest
    return check_pinning(
        tool.name,
        tool.version,
        image,
        case.node.validated(),
        config_digest=config,
        taken_back=case.node.taken_back(image, config),
    )


def _image(case: Case) -> CheckResult:
    from checks.image import check_image

    return check_image(case.image, case.inventory)


def _model_files(case: Case) -> CheckResult:
    from checks.model_files import check_model_files

    return check_model_files(case.inventory)


def _model_signatures(case: Case) -> CheckResult:
    from checks.model_signatures import check_model_signatures

    limits = case.node.policy.policy.image.limits()
    trust = case.node.policy.model_trust()
    return check_model_signatures(case.image, case.inventory, trust, clock=case.node.clock, limits=limits)


def _code(case: Case) -> CheckResult:
    from checks.code import check_code

    limits = case.node.policy.policy.image.limits()
    return check_code(case.image, case.inventory, case.submission.manifest.words, limits=limits)


def _sbom(case: Case) -> CheckResult:
    return case.contents[0]


def _vulnerabilities(case: Case) -> CheckResult:
    from flows.contents import ask_vulnerabilities

    result, bom = case.contents
    if bom is None or result.status is Status.INCONCLUSIVE:
        raise CouldNotDecide("the components of the image are not known", next_step="see the sbom check")
    return ask_vulnerabilities(case.node, bom.components, case.image.manifest_digest)


def _licenses(case: Case) -> CheckResult:
    from checks.licenses import check_licenses

    result, bom = case.contents
    if bom is None or (result.status is Status.INCONCLUSIVE and not bom.components):
        raise CouldNotDecide("the components of the image are not known", next_step="see the sbom check")
    return check_licenses(bom.components, case.node.policy.policy.licenses.lists())


# --- the tool runs, in the sandbox -----------------------------------------------------------------------------------


def _conformance(case: Case) -> CheckResult:
    from checks.sandboxed.conformance import check_conformance

    return check_conformance(case.session, case.node.store)


def _containment(case: Case) -> CheckResult:
    from checks.sandboxed.containment import check_containment

    return check_containment(case.session, case.node.store)


def _canaries(case: Case) -> CheckResult:
    from checks.sandboxed.canaries import check_canaries

    return check_canaries(case.session, case.node.store)


def _determinism(case: Case) -> CheckResult:
    from checks.sandboxed.determinism import check_determinism

    return check_determinism(case.session, case.node.store)


def _membership(case: Case) -> CheckResult:
    from checks.membership import check_membership
    from checks.membership.runner import SandboxTables

    return check_membership(
        submission=case.submission,
        runner=SandboxTables(case.runner),
        limits=case.node.policy.policy.privacy.limits(),
        seed=case.seed("membership"),
        inventory_model_files=_own_models(case),
        store=case.node.store,
    )


def _own_models(case: Case) -> int:
    """How many files look like models, but for the test data that installed packages bring along.

    A provider can lie here (and hide a model in any file at all): every such file stands in the model_files findings.
    """
    entries = case.inventory.of_class(FileClass.MODEL)
    return sum(not _TEST_DATA_OF_A_PACKAGE.search(entry.path) for entry in entries)


def _dp_claim(case: Case) -> CheckResult:
    from checks.dp_claim import check_dp_claim

    claims = case.submission.document.claims
    return check_dp_claim(claims.differential_privacy, training_records=claims.model.training_records)


def _of_image(case: Case) -> Facts:
    return {"image": case.image.manifest_digest, "limits": repr(case.node.policy.policy.image)}


def _of_image_and_command(case: Case) -> Facts:
    return {**_of_image(case), "command": list(case.submission.manifest.words)}


def _of_image_and_scanners(case: Case) -> Facts:
    from checks.model_files.auditor import modelaudit

    return {**_of_image(case), "modelaudit": modelaudit() or ""}


def _of_papers(case: Case) -> Facts:
    return {"image": case.image.manifest_digest, "papers": case.papers, "seed": case.seed("cohort")}


def _of_profile(case: Case) -> Facts:
    return {**_of_papers(case), "profiles": sorted(case.node.policy.policy.sandbox.profiles)}


def _of_run(case: Case) -> Facts:
    return {**_of_papers(case), "sandbox": case.node.policy.policy.sandbox.model_dump(mode="json")}


def _of_privacy(case: Case) -> Facts:
    return {**_of_run(case), "privacy": case.node.policy.policy.privacy.model_dump(mode="json")}


def _now(case: Case) -> Facts:
    return {"run": case.run_id}


STEPS = (
    Step("manifest", "checks.manifest", Stage.BEFORE, _of_profile, _manifest),
    Step("dossier", "checks.dossier", Stage.BEFORE, _now, _dossier, keeps=False),
    Step("provenance", "checks.provenance", Stage.BEFORE, _now, _provenance, keeps=False),
    Step("pinning", "checks.pinning", Stage.BEFORE, _now, _pinning, keeps=False),
    Step("image", "checks.image", Stage.BEFORE, _of_image, _image),
    Step("sbom", "checks.sbom", Stage.BEFORE, _of_papers, _sbom),
    Step("vulnerabilities", "checks.vulnerabilities", Stage.BEFORE, _now, _vulnerabilities, keeps=False),
    Step("licenses", "checks.licenses", Stage.BEFORE, _now, _licenses, keeps=False),
    Step("model_files", "checks.model_files", Stage.BEFORE, _of_image_and_scanners, _model_files),
    Step("model_signatures", "checks.model_signatures", Stage.BEFORE, _now, _model_signatures, keeps=False),
    Step("code", "checks.code", Stage.BEFORE, _of_image_and_command, _code),
    Step("conformance", "checks.sandboxed.conformance", Stage.AFTER, _of_run, _conformance),
    Step("containment", "checks.sandboxed.containment", Stage.AFTER, _of_run, _containment),
    Step("canaries", "checks.sandboxed.canaries", Stage.AFTER, _of_run, _canaries),
    Step("determinism", "checks.sandboxed.determinism", Stage.AFTER, _of_run, _determinism),
    Step("membership", "checks.membership", Stage.AFTER, _of_privacy, _membership),
    Step("dp_claim", "checks.dp_claim", Stage.AFTER, _of_papers, _dp_claim),
)

BEFORE = tuple(step for step in STEPS if step.stage is Stage.BEFORE)
AFTER = tuple(step for step in STEPS if step.stage is Stage.AFTER)


def left_out(step: Step, why: str, fix: str) -> CheckResult:
    """The answer of a check that was not asked: *inconclusive*, with the reason (finding `<check>/not-asked`)."""
    finding = Finding(rule_id=f"{step.name}/{NOT_ASKED}", level=Level.WARNING, message=why, fix=fix)
    return CheckResult(
        check=step.name, version=step.version, status=Status.INCONCLUSIVE, summary=why, findings=(finding,)
    )
