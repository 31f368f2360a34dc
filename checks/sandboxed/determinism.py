"""Does the tool give the same results twice, and is that what its provider claims?"""

from __future__ import annotations

import json
import math
from typing import Literal

from checks.interface import CheckResult, EvidenceStore, Level
from checks.sandboxed.compare import Difference, Likeness, compare_trees
from checks.sandboxed.judging import Judgement, answered, judge_end, keep_run
from checks.sandboxed.session import SandboxSession

CHECK = "determinism"
VERSION = "1"
RISKS = ("G11", "T8")

Label = Literal["bitwise", "within-tolerance", "nondeterministic"]

_ORDER: tuple[Label, ...] = ("bitwise", "within-tolerance", "nondeterministic")


def check_determinism(session: SandboxSession, store: EvidenceStore) -> CheckResult:
    """Run twice on the same input, compare by digest, then by the claimed tolerance. Evidence: `determinism.json`.

    The label that was measured (`bitwise`, `within-tolerance`, `nondeterministic`) must be at least as good as the
    one claimed. Two runs can refute a claim; that they agree does not prove it.
    """
    return answered(CHECK, VERSION, RISKS, lambda: _judge(session, store))


def label_of(differences: dict[str, Difference]) -> Label:
    """The label that the compared outputs earn."""
    likenesses = {difference.likeness for difference in differences.values()}
    if Likeness.DIFFERENT in likenesses:
        return "nondeterministic"
    return "bitwise" if likenesses <= {Likeness.IDENTICAL} else "within-tolerance"


def _judge(session: SandboxSession, store: EvidenceStore) -> CheckResult:
    judgement = Judgement(CHECK, VERSION)
    first, second = session.counted(), session.repeated()
    expected = session.runner.manifest.expected_exit_codes
    ended = [judge_end(judgement, run, expected, what) for run, what in ((first, "one run"), (second, "another run"))]
    if not all(ended):
        # That it fails is conformance's to say; here it means that there is nothing to compare.
        judgement.findings = [finding.model_copy(update={"level": Level.WARNING}) for finding in judgement.findings]
        judgement.undecided.append("The tool did not end as expected twice, so there are no two results to compare.")
        return judgement.result(session, passed="", failed="")
    claims = session.submission.document.claims
    differences = compare_trees(first.output, second.output, claims.tolerance)
    measured = label_of(differences)
    if not differences:
        judgement.cannot_say("nothing-to-compare", "The tool wrote no output that could be compared.")
    _judge_claim(judgement, claims.determinism, measured, differences)
    if first.sandbox_run.log_digest != second.sandbox_run.log_digest:
        judgement.add("log-differs", Level.NOTE, "The logs of the two runs differ (times, paths, order).")
    finite = [one.largest for one in differences.values() if math.isfinite(one.largest)]
    judgement.measure("determinism", measured, "1", "two runs on the same input, one thread, same host")
    judgement.measure("files_compared", len(differences))
    judgement.measure("largest_difference", max(finite, default=0.0), "1", "largest |a-b| / max(1, |a|, |b|)")
    judgement.measure("tolerance", claims.tolerance)
    data = {
        name: {"likeness": one.likeness.value, "largest": _number(one.largest), "where": one.where}
        for name, one in differences.items()
    }
    judgement.evidence.append(
        store.put(
            json.dumps(data, sort_keys=True, separators=(",", ":")).encode(),
            name="determinism.json",
            media_type="application/json",
        )
    )
    keep_run(judgement, store, "run-first.json", first)
    keep_run(judgement, store, "run-second.json", second)
    return judgement.result(
        session,
        passed=f"Two runs gave {'the same bytes' if measured == 'bitwise' else f'results that are {measured}'}, "
        f"as claimed ({claims.determinism}).",
        failed=f"The tool claims to be {claims.determinism}, but two runs were {measured}.",
    )


def _judge_claim(judgement: Judgement, claimed: Label, measured: Label, differences: dict[str, Difference]) -> None:
    if _ORDER.index(measured) <= _ORDER.index(claimed):
        if measured != claimed:
            judgement.add("better-than-claimed", Level.NOTE, f"Claimed {claimed}, measured {measured}.")
        return
    for name, difference in differences.items():
        if difference.likeness is Likeness.IDENTICAL:
            continue
        same = difference.likeness is Likeness.SAME_CONTENT
        judgement.add(
            "same-content-other-bytes" if same else "differs",
            Level.ERROR,
            f"{name} has the same content in other bytes."
            if same
            else f"{name} differs between two runs on the same input (largest difference {difference.largest:.3g}).",
            where=difference.where or name,
            fix="Leave times out of files (gzip's header has one: mtime=0), or claim `within-tolerance`."
            if same
            else "Fix every seed, one thread, sorted file lists, no times in outputs; or claim what it is: "
            "`within-tolerance` with a tolerance, or `nondeterministic`.",
            risks=RISKS,
        )


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else "not comparable"
