"""What a probe found, as a check result, with evidence from which every figure can be computed again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from checks.interface import CheckResult, Evidence, EvidenceStore, Finding, Level, Measurement, Status
from checks.membership import VERSION
from checks.membership.attacks import Attack, Observed
from checks.membership.audit import Answers
from checks.membership.controls import Control
from checks.membership.decision import LOW_FPR, Decision, Outcome
from checks.membership.limits import PrivacyLimits
from checks.membership.samples import Records
from checks.membership.statistics import Bounded, Floats

CHECK = "membership"
_REASONS_IN_SUMMARY = 2
RISKS = ("U2", "U5")
_LOWEST_FPR = 0.001
_FOR_LOWEST_FPR = 3_000

_STATUS = {
    Outcome.PASS: Status.PASSED,
    Outcome.REFUSE: Status.FAILED,
    Outcome.INCONCLUSIVE: Status.INCONCLUSIVE,
}
_LEVEL = {Outcome.PASS: Level.NOTE, Outcome.REFUSE: Level.ERROR, Outcome.INCONCLUSIVE: Level.WARNING}
_FIX = {
    "control-blind": "Draw members and non-members at random from one cohort, prepared in the same way.",
    "control-positive": "Hand in more samples; where outcomes are trivial to predict, no probe can work on them.",
    "control-data-independent": "Check the samples for records that occur in both lists or were prepared differently.",
    "not-repeatable": "Make the tool's answers deterministic, or state the noise and train with differential privacy.",
}
_REGULARISE = (
    "The model remembers its training records: regularise it (shallower trees, larger leaves, stronger penalty, early "
    "stopping), train on more records or with differential privacy, then hand in the new image with its samples."
)


@dataclass(frozen=True)
class Probe:
    """Everything measured; the tool was not asked where `observed` is None. The first attack is the primary one."""

    records: Records
    limits: PrivacyLimits
    seed: int
    decision: Decision
    controls: tuple[Control, ...]
    attacks: tuple[Attack, ...] = ()
    observed: Observed | None = None
    answers: Answers | None = None


def result_of(probe: Probe, store: EvidenceStore) -> CheckResult:
    """The check result of `probe`, its evidence kept in `store`."""
    return CheckResult(
        check=CHECK,
        version=VERSION,
        status=_STATUS[probe.decision.outcome],
        summary=_summary(probe),
        findings=_findings(probe.decision),
        measurements=_measurements(probe),
        evidence=(_keep(probe, store),),
    )


def _summary(probe: Probe) -> str:
    reasons = [reason.message for reason in probe.decision.reasons]
    more = len(reasons) - _REASONS_IN_SUMMARY
    why = "; ".join(reasons[:_REASONS_IN_SUMMARY]) + (f"; and {more} more" if more > 0 else "")
    if probe.decision.outcome is Outcome.PASS:
        area = probe.attacks[0].separation.auc.bounds(probe.limits.alpha)
        return (
            f"No evidence of membership leakage above the limits (AUC {area.value:.3f}, at most {area.high:.3f}); "
            "the declared samples cannot be verified."
        )
    return f"Membership leaks: {why}." if probe.decision.outcome is Outcome.REFUSE else f"Not decided: {why}."


def _findings(decision: Decision) -> tuple[Finding, ...]:
    more = ""
    if decision.deciding_size:
        more = f"Hand in at least {decision.deciding_size:,} patients on each side."
    default = _REGULARISE if decision.outcome is Outcome.REFUSE else more
    return tuple(
        Finding(
            rule_id=f"{CHECK}/{reason.rule}",
            level=_LEVEL[decision.outcome],
            message=reason.message,
            where="privacy",
            fix="" if decision.outcome is Outcome.PASS else _FIX.get(reason.rule, default),
            risks=RISKS,
        )
        for reason in decision.reasons
    )


def _measurements(probe: Probe) -> tuple[Measurement, ...]:
    patients = probe.records.member_patients
    found = [
        Measurement(name="n_members", value=int(patients.sum()), unit="patient"),
        Measurement(name="n_non_members", value=int((~patients).sum()), unit="patient"),
    ]
    for control in probe.controls:
        name = control.name.replace("-", "_")
        found.append(Measurement(name=f"control_{name}_auc", value=_short(control.auc.value), method="DeLong"))
        found.append(Measurement(name=f"control_{name}_holds", value=control.holds))
    if probe.observed is None or probe.answers is None:
        return tuple(found)
    found += _primary_figures(probe)
    for attack in probe.attacks[1:]:
        value = _short(attack.separation.auc.value)
        found.append(Measurement(name=f"auc_{attack.name}", value=value, method=f"{attack.name}, DeLong"))
    found += [
        Measurement(name="attacks", value=", ".join(attack.name for attack in probe.attacks)),
        Measurement(name="reference_models", value=probe.observed.references.family, method="scikit-learn"),
        Measurement(name="generalisation_gap", value=_short(_gap(probe)), method="accuracy, members less non-members"),
        Measurement(name="unrepeatable", value=_short(probe.answers.unrepeatable), method="records asked twice"),
    ]
    return tuple(found)


def _primary_figures(probe: Probe) -> list[Measurement]:
    primary, alpha = probe.attacks[0], probe.limits.alpha
    figures = {"auc": ("DeLong", primary.separation.auc.bounds(alpha))}
    exact = "threshold by held-out non-members, Clopper-Pearson"
    tail = primary.separation.tail
    at_low = tail.at_fpr(LOW_FPR, alpha)
    if at_low is not None:
        figures["tpr_at_1pct"] = (exact, at_low)
    at_lowest = tail.at_fpr(_LOWEST_FPR, alpha) if tail.non_members >= _FOR_LOWEST_FPR else None
    if at_lowest is not None:
        figures["tpr_at_01pct"] = (exact, at_lowest)
    method = f"{primary.name}, {{}}, one-sided bounds at {1 - alpha:.0%}"
    return [
        Measurement(name=name + suffix, value=_short(getattr(bounded, part)), method=method.format(how))
        for name, (how, bounded) in figures.items()
        for suffix, part in (("", "value"), ("_low", "low"), ("_high", "high"))
    ]


def _gap(probe: Probe) -> float:
    if probe.observed is None:
        return 0.0
    right = (probe.observed.plain >= 0.5) == (probe.records.label == 1)
    return float(right[probe.records.member].mean() - right[~probe.records.member].mean())


def _keep(probe: Probe, store: EvidenceStore) -> Evidence:
    """Scores and masks by record and patient number, never by identifier."""
    records = probe.records
    content: dict[str, Any] = {
        "format": "pratique/membership/v1",
        "check_version": VERSION,
        "seed": probe.seed,
        "limits": probe.limits.model_dump(),
        "outcome": probe.decision.outcome.value,
        "reasons": [{"rule": reason.rule, "message": reason.message} for reason in probe.decision.reasons],
        "controls": [
            {"name": control.name, "auc": _bounded(control.auc), "holds": control.holds} for control in probe.controls
        ],
        "records": {
            "member": records.member.astype(int).tolist(),
            "patient": records.patient.tolist(),
            "label": records.label.tolist(),
        },
    }
    if probe.observed is not None:
        content["records"]["probability"] = probe.observed.plain.tolist()
        content["records"]["probability_changed"] = probe.observed.changed.tolist()
        content["references"] = {
            "family": probe.observed.references.family,
            "out": [_figures(row) for row in probe.observed.references.out],
        }
        content["attacks"] = [_attack(attack, probe.limits.alpha) for attack in probe.attacks]
        content["roc"] = [list(point) for point in probe.attacks[0].separation.roc()]
    data = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
    return store.put(data, name="membership.json", media_type="application/json")


def _attack(attack: Attack, alpha: float) -> dict[str, Any]:
    rate = attack.separation.tail.at_fpr(LOW_FPR, alpha)
    return {
        "name": attack.name,
        "auc": _bounded(attack.separation.auc.bounds(alpha)),
        "tpr_at_1pct": None if rate is None else _bounded(rate),
        "scores": _figures(attack.scores),
    }


def _bounded(figure: Bounded) -> dict[str, float]:
    return {"value": figure.value, "low": figure.low, "high": figure.high}


def _figures(values: Floats) -> list[float]:
    return [float(value) for value in values]


def _short(value: float) -> float:
    return round(float(value), 6)
