"""Is a differential-privacy claim of DP-SGD what its stated training parameters give?

The privacy loss of `steps` compositions of the Poisson-subsampled Gaussian mechanism is recomputed with Opacus' PRV
accountant (Gopi et al. 2021) and cross-checked with dp-accounting's PLD accountant. Rényi accounting is used to guard
the size of the computation only (it overstates); the Gaussian approximation (GDP) is never accepted: it understates by
about a tenth. This is arithmetic: that the training really did what was stated is not shown by it.
"""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import dataclass

from checks.interface import CheckResult, Finding, Level, Measurement, Status, inconclusive
from pratique.errors import CouldNotDecide
from pratique.intake.document import DifferentialPrivacyClaim

CHECK = "dp_claim"
VERSION = "1"
RISKS = ("T1", "U2")
INSTALL = "Install the privacy extra: pip install 'pratique[privacy]'"
_ABSOLUTE, _RELATIVE = 0.02, 0.01
_EPSILON_ERROR = 0.01
_LARGEST_GRID = 8_000_000  # points of the discretised privacy loss, about 500 MB in the accountant
_BROKEN = (ValueError, RuntimeError, ArithmeticError, MemoryError)  # what the accountants raise where they give up


@dataclass(frozen=True)
class Recomputed:
    """Epsilon by Opacus' PRV accountant (an upper bound) and by dp-accounting's PLD (None where not installed)."""

    prv: float
    pld: float | None

    @property
    def tolerance(self) -> float:
        """How far a claim may lie below, and the two accountants apart."""
        return max(_ABSOLUTE, _RELATIVE * self.prv)


def check_dp_claim(claim: DifferentialPrivacyClaim | None, *, training_records: int | None = None) -> CheckResult:
    """Hold `claim` against what its parameters give; not applicable without one, inconclusive without the extra.

    A delta of 1 / `training_records` or more protects nobody and fails.
    """
    if claim is None:
        summary = "No differential privacy is claimed."
        return CheckResult(check=CHECK, version=VERSION, status=Status.NOT_APPLICABLE, summary=summary)
    started = time.perf_counter()
    try:
        result = _judged(claim, recompute(claim), training_records)
    except CouldNotDecide as error:
        result = inconclusive(CHECK, VERSION, str(error), fix=error.next_step, risks=RISKS)
    inputs = {"claim": claim.model_dump_json()}
    return result.model_copy(update={"inputs": inputs, "seconds": round(time.perf_counter() - started, 3)})


def recompute(claim: DifferentialPrivacyClaim) -> Recomputed:
    """Epsilon at the claim's delta from its noise multiplier, sample rate and steps.

    Raises `CouldNotDecide` where Opacus is not installed, where an accountant gives up, where the computation would be
    too large, and where the two accountants disagree.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both warn of logarithms of zero at a sample rate of 1
        try:
            rough = _rough(claim)
            found = Recomputed(_prv(claim, rough), _pld(claim, rough))
        except _BROKEN as error:
            raise CouldNotDecide(
                "the accountant could not compute epsilon from these parameters",
                cause=f"{type(error).__name__}: {str(error)[:200]}",
                next_step="Check noise_multiplier, sample_rate, steps and delta of the claim.",
            ) from error
    if not math.isfinite(found.prv) or (found.pld is not None and not abs(found.prv - found.pld) <= found.tolerance):
        raise CouldNotDecide(
            f"the accountants disagree: PRV {found.prv:.4g}, PLD {found.pld}",
            next_step="Check the parameters of the claim; report the disagreement to the accountants' maintainers.",
        )
    return found


def _rough(claim: DifferentialPrivacyClaim) -> float:
    """Epsilon by Rényi accounting, quick and never too small."""
    try:
        from opacus.accountants import RDPAccountant
    except ImportError as error:
        raise CouldNotDecide("the claim cannot be recomputed: Opacus is not installed", next_step=INSTALL) from error
    accountant = RDPAccountant()
    accountant.history = [(claim.noise_multiplier, claim.sample_rate, claim.steps)]
    return float(accountant.get_epsilon(claim.delta))


def _prv(claim: DifferentialPrivacyClaim, rough: float) -> float:
    from opacus.accountants import PRVAccountant

    tolerated = max(_EPSILON_ERROR, 0.25 * _RELATIVE * rough)
    mesh = tolerated / math.sqrt(claim.steps * math.log(12_000 / claim.delta) / 2)
    if not 2 * rough / mesh <= _LARGEST_GRID:
        raise CouldNotDecide(
            f"epsilon, up to {rough:.3g} over {claim.steps:,} steps, is too much to compute exactly",
            next_step="A guarantee of this size protects nobody; train with more noise or fewer steps.",
        )
    accountant = PRVAccountant()
    accountant.history = [(claim.noise_multiplier, claim.sample_rate, claim.steps)]
    return max(0.0, float(accountant.get_epsilon(claim.delta, eps_error=tolerated)))


def _pld(claim: DifferentialPrivacyClaim, rough: float) -> float | None:
    try:
        import dp_accounting
        from dp_accounting import pld
    except ImportError:
        return None
    # its discretisation rounds up at every step, so many steps need a finer grid; a large epsilon bears a coarser one
    interval = min(1e-4, max(1e-5, 10 / claim.steps) * max(1.0, rough / 10))
    step = dp_accounting.PoissonSampledDpEvent(claim.sample_rate, dp_accounting.GaussianDpEvent(claim.noise_multiplier))
    accountant = pld.PLDAccountant(value_discretization_interval=interval)
    accountant.compose(dp_accounting.SelfComposedDpEvent(step, claim.steps))
    return float(accountant.get_epsilon(claim.delta))


def _judged(claim: DifferentialPrivacyClaim, found: Recomputed, training_records: int | None) -> CheckResult:
    findings = []
    if claim.epsilon < found.prv - found.tolerance:
        findings.append(_too_low(claim, found))
    if training_records is not None and claim.delta >= 1 / training_records:
        message = f"delta {claim.delta:g} is not smaller than one in the {training_records:,} training records"
        fix = "State a delta well below 1 / training_records: at this one a single record may be given away entirely."
        findings.append(_finding("delta-too-large", Level.ERROR, message, fix))
    if found.pld is None:
        message = "dp-accounting is not installed: epsilon was not cross-checked"
        findings.append(_finding("not-cross-checked", Level.WARNING, message, INSTALL))
    failed = any(finding.level is Level.ERROR for finding in findings)
    summary = (
        f"The stated training gives epsilon {found.prv:.3f} at delta {claim.delta:g}; {claim.epsilon:g} is claimed"
        + ("; the claim does not hold." if failed else ". That it was trained so is not shown by this.")
    )
    return CheckResult(
        check=CHECK,
        version=VERSION,
        status=Status.FAILED if failed else Status.PASSED,
        summary=summary,
        findings=tuple(findings),
        measurements=_measurements(claim, found),
    )


def _too_low(claim: DifferentialPrivacyClaim, found: Recomputed) -> Finding:
    return _finding(
        "epsilon-too-low",
        Level.ERROR,
        f"epsilon {claim.epsilon:g} is claimed, but noise multiplier {claim.noise_multiplier:g}, sample rate "
        f"{claim.sample_rate:g} and {claim.steps:,} steps give {found.prv:.3f} at delta {claim.delta:g}",
        f"Claim {math.ceil(found.prv * 100) / 100:.2f} or more, or train with more noise. Account with PRV or PLD: the "
        "Gaussian approximation (GDP) understates.",
    )


def _finding(rule: str, level: Level, message: str, fix: str) -> Finding:
    where = "claims/differential_privacy"
    return Finding(rule_id=f"{CHECK}/{rule}", level=level, message=message, where=where, fix=fix, risks=RISKS)


def _measurements(claim: DifferentialPrivacyClaim, found: Recomputed) -> tuple[Measurement, ...]:
    figures = [
        Measurement(name="epsilon_claimed", value=claim.epsilon),
        Measurement(name="epsilon_prv", value=round(found.prv, 6), method="Opacus PRV accountant, upper bound"),
        Measurement(name="delta", value=claim.delta),
        Measurement(name="tolerance", value=round(found.tolerance, 6)),
    ]
    if found.pld is not None:
        figures.append(Measurement(name="epsilon_pld", value=round(found.pld, 6), method="dp-accounting PLD"))
    return tuple(figures)
