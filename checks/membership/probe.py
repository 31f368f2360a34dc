"""The probe from declared samples to a check result.

Order: the samples' shape, then the blind control, then one run of the tool, then attacks, controls and the decision.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from checks.interface import CheckResult, EvidenceStore, Finding, Level, Status, inconclusive
from checks.membership import VERSION, controls
from checks.membership.attacks import Attack, Observed, closest, simple_attacks, worst_case
from checks.membership.audit import Answers, AuditTable, build_audit, read_answers
from checks.membership.decision import Decision, Outcome, Reason, decide, exceeds
from checks.membership.limits import PrivacyLimits
from checks.membership.report import CHECK, RISKS, Probe, result_of
from checks.membership.runner import TableRunner
from checks.membership.samples import SAMPLE_BYTES, Records, read_records
from checks.membership.surrogates import single_thread, train_references
from pratique.bounds import within
from pratique.digests import sha256_bytes
from pratique.errors import CouldNotDecide, InvalidInput, PratiqueError
from pratique.intake.document import PrivacySamples
from pratique.intake.submission import Submission

Ask = Callable[[AuditTable], Answers]


def probe(
    submission: Submission,
    runner: TableRunner,
    limits: PrivacyLimits,
    seed: int,
    inventory_model_files: int,
    store: EvidenceStore,
) -> CheckResult:
    """See `checks.membership.check_membership`."""
    started = time.perf_counter()
    declared = submission.document.privacy
    if declared is None or not submission.document.claims.model.trained:
        result = _without_samples(inventory_model_files)
    else:
        result = _probe_samples(submission, declared, runner, limits, seed, store)
    return result.model_copy(update={"seconds": round(time.perf_counter() - started, 3)})


def _without_samples(model_files: int) -> CheckResult:
    if model_files == 0:
        summary = "No trained model is declared and none was found in the image."
        return CheckResult(check=CHECK, version=VERSION, status=Status.NOT_APPLICABLE, summary=summary)
    return inconclusive(
        CHECK,
        VERSION,
        f"{model_files} model files were found in the image, but no trained model with samples is declared.",
        fix="Declare claims.model.trained and hand in members and non-members under `privacy`.",
        risks=RISKS,
    )


def _probe_samples(
    submission: Submission,
    declared: PrivacySamples,
    runner: TableRunner,
    limits: PrivacyLimits,
    seed: int,
    store: EvidenceStore,
) -> CheckResult:
    inputs = {
        "members": submission.files.get(declared.members, ""),
        "non_members": submission.files.get(declared.non_members, ""),
        "seed": str(seed),
        "limits": limits.model_dump_json(),
    }

    def ask(table: AuditTable) -> Answers:
        inputs["audit_table"] = sha256_bytes(table.data)
        return _run(runner, table, declared)

    try:
        records = read_records(
            submission.read(declared.members, SAMPLE_BYTES),
            submission.read(declared.non_members, SAMPLE_BYTES),
            identifier=declared.identifier,
            label=declared.label,
        )
        result = result_of(examine(records, ask, limits, seed), store)
    except PratiqueError as error:
        result = _could_not(error)
    return result.model_copy(update={"inputs": inputs})


def _run(runner: TableRunner, table: AuditTable, declared: PrivacySamples) -> Answers:
    with tempfile.TemporaryDirectory(prefix="pratique-audit-") as scratch:
        path = Path(scratch, "audit.csv")
        path.write_bytes(table.data)
        done = runner.run_table(declared.input, path)
        if done.output is None:
            raise CouldNotDecide(
                f"the tool did not answer the audit table: {done.problem}",
                next_step="The tool must accept its declared columns without the outcome, with any identifiers.",
            )
        name = declared.prediction.output
        return read_answers(
            within(done.output, name, where="output"),
            table,
            identifier=declared.prediction.identifier,
            probability=declared.prediction.probability,
            where=name,
        )


def _could_not(error: PratiqueError) -> CheckResult:
    if not isinstance(error, InvalidInput):
        return inconclusive(CHECK, VERSION, f"Not decided: {error}", fix=error.next_step, risks=RISKS)
    finding = Finding(
        rule_id=f"{CHECK}/{error.rule.replace('/', '-')}",
        level=Level.WARNING,
        message=error.message,
        where=error.where,
        fix=error.next_step,
        risks=RISKS,
    )
    summary = f"Not decided: {error}"
    return CheckResult(check=CHECK, version=VERSION, status=Status.INCONCLUSIVE, summary=summary, findings=(finding,))


def examine(records: Records, ask: Ask, limits: PrivacyLimits, seed: int) -> Probe:
    """Blind control, one question to the tool, attacks, controls, decision; raises what `ask` raises.

    Where the blind control breaks the tool is not asked at all. Raises `CouldNotDecide` where no reference model can
    be trained on the samples.
    """
    with single_thread():
        blind = controls.blind(records, seed)
        if not blind.holds:
            broken = Decision(Outcome.INCONCLUSIVE, (Reason("control-blind", blind.say),))
            return Probe(records, limits, seed, broken, controls=(blind,))
    answers = ask(build_audit(records, seed))
    with single_thread():
        return _attack(records, answers, blind, limits, seed)


def _attack(records: Records, answers: Answers, blind: controls.Control, limits: PrivacyLimits, seed: int) -> Probe:
    families = train_references(records, seed)
    observed = Observed(records, answers.plain, answers.changed, closest(families, answers.plain, records))
    primary, *secondary = (*simple_attacks(observed, seed), worst_case(observed, seed))

    def flagged(attack: Attack) -> bool:
        return bool(exceeds(attack, limits))

    all_controls = (
        blind,
        controls.positive(records, families, seed, flagged),
        controls.data_independent(records, families, seed),
    )
    decision = decide(primary, secondary, all_controls, limits, unrepeatable=answers.unrepeatable)
    return Probe(records, limits, seed, decision, all_controls, (primary, *secondary), observed, answers)
