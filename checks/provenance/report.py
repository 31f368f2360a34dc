"""Telling what the signatures showed: findings that teach, measurements for rules, evidence with every step."""

from __future__ import annotations

import json
from collections.abc import Sequence

from checks.interface import CheckResult, Evidence, EvidenceStore, Finding, Level, Measurement, status_of
from checks.provenance.attestations import require_content
from checks.provenance.steps import CHECK, RISKS, VERSION, Outcome, Step, StepFailed, StepName
from checks.provenance.trust import COSIGN_SIGN, Attestation, Identity, ManagedKey, Trust
from checks.provenance.verifier import SignatureReport
from pratique.clock import rfc3339
from pratique.digests import Digest


def result(
    reports: Sequence[SignatureReport], image_digest: Digest, trust: Trust, store: EvidenceStore | None
) -> CheckResult:
    """The check's result from the reports of all signatures."""
    signatures = [report for report in reports if report.verified and report.predicate_type == COSIGN_SIGN]
    shortfall = _shortfall(signatures, image_digest, trust)
    findings: list[Finding] = list(shortfall)
    findings += _missing_attestations(reports, trust)
    for report in reports:
        findings += _findings(report, tolerated=not shortfall and not trust.refuse_broken, enough=not shortfall)
    summary = _summary(signatures, reports, findings)
    return CheckResult(
        check=CHECK,
        version=VERSION,
        status=status_of(findings),
        summary=summary,
        findings=tuple(findings),
        measurements=_measurements(reports, signatures),
        evidence=_evidence(reports, image_digest, store),
        inputs={f"signature:{report.name}": report.bundle_digest for report in reports},
    )


def _shortfall(signatures: Sequence[SignatureReport], image_digest: Digest, trust: Trust) -> list[Finding]:
    """What is missing for the signers that the policy needs; nothing when it is met."""
    needed, signed = len(trust.signers) if trust.need == "all" else trust.need, _voices(signatures)
    if signed >= needed:
        return []
    accepted = {signer for report in signatures for signer in report.accepted_by}
    missing = [str(signer) for signer in trust.signers if signer not in accepted]
    if not signatures:
        message = "Nobody whom the policy trusts has validly signed this image."
    elif trust.need == "all" and missing:
        message = f"Not everyone who must sign did: missing {'; '.join(missing[:5])}."
    else:
        message = f"Only {signed} of the {needed} signers that the policy needs signed this image, each for an entry."
    known = "; ".join(str(signer) for signer in trust.signers[:5])
    fix = f"Have the image signed by: {known}. cosign sign --bundle evidence/image.sigstore.json IMAGE@{image_digest}"
    return [Finding(rule_id=f"{CHECK}/too-few-signers", level=Level.ERROR, message=message, fix=fix, risks=RISKS)]


def _voices(signatures: Sequence[SignatureReport]) -> int:
    """How many entries of the policy were met, each by a signer of its own.

    So one person with two issuers is one, and so are two signers that only one expression accepts: a provider that
    signs from two branches must not stand in for the second party. Largest matching, by augmenting paths (Kuhn).
    """
    accepted: dict[str, set[Identity | ManagedKey]] = {}
    for report in signatures:
        accepted.setdefault(report.signer.casefold(), set()).update(report.accepted_by)
    met: dict[Identity | ManagedKey, str] = {}

    def meets(signer: str, tried: set[Identity | ManagedKey]) -> bool:
        for entry in accepted[signer] - tried:
            if entry in tried:
                continue
            tried.add(entry)
            if entry not in met or meets(met[entry], tried):
                met[entry] = signer
                return True
        return False

    return sum(meets(signer, set()) for signer in accepted)


def _missing_attestations(reports: Sequence[SignatureReport], trust: Trust) -> list[Finding]:
    """What is demanded and not there, or there and not saying enough."""
    return [finding for wanted in trust.attestations if (finding := _missing(reports, wanted)) is not None]


def _missing(reports: Sequence[SignatureReport], wanted: Attestation) -> Finding | None:
    why = ""
    for report in reports:
        if report.verified and report.statement is not None and report.predicate_type == wanted.type:
            if wanted.identities and not set(report.accepted_by) & set(wanted.identities):
                continue
            try:
                require_content(report.statement, wanted)
            except StepFailed as failure:
                why = f"{report.name}: {failure.detail}"
            else:
                return None
    who = f" by {'; '.join(str(one) for one in wanted.identities[:3])}" if wanted.identities else ""
    attest = f"cosign attest --type {wanted} --predicate FILE --bundle OUT IMAGE@sha256:…"
    return Finding(
        rule_id=f"{CHECK}/{'attestation-content' if why else 'missing-attestation'}",
        level=Level.ERROR,
        message=f"No attestation of the type {wanted}{who} that says enough. {why}"
        if why
        else f"No verified attestation of the type {wanted}{who}.",
        fix=f"Have it made as the policy asks and submit its bundle under `signatures`: {attest}",
        risks=RISKS,
    )


def _findings(report: SignatureReport, *, tolerated: bool, enough: bool) -> list[Finding]:
    """One finding per failed step, then one that tells how every step ended."""
    failed = report.failed
    harmless = enough and (tolerated or _is_harmless(failed))
    level = Level.WARNING if harmless else Level.ERROR
    told = [
        Finding(
            rule_id=f"{CHECK}/{step.name}",
            level=level,
            message=step.detail,
            where=report.name,
            fix=step.fix,
            risks=RISKS,
        )
        for step in failed
    ]
    if not failed and not report.verified:
        told.append(_incomplete(report, level))
    passed = [step.name for step in report.steps if step.outcome is Outcome.PASSED]
    if failed and passed:
        told[0] = told[0].model_copy(update={"message": f"{told[0].message}. These held: {', '.join(passed)}"})
    steps = "; ".join(f"{step.name} {words(step)}" for step in report.steps)
    verdict = "verified" if report.verified else "not verified"
    message = f"{report.form}, {verdict}. {steps}."
    return [*told, Finding(rule_id=f"{CHECK}/steps", level=Level.NOTE, message=message, where=report.name, risks=RISKS)]


def _incomplete(report: SignatureReport, level: Level) -> Finding:
    missing = ", ".join(step.name for step in report.steps if step.outcome is not Outcome.PASSED)
    return Finding(
        rule_id=f"{CHECK}/incomplete",
        level=level,
        message=f"What the policy demands was not all there: {missing}.",
        where=report.name,
        fix="Sign again with the Sigstore instance that the node trusts.",
        risks=RISKS,
    )


def _is_harmless(failed: Sequence[Step]) -> bool:
    """Whether a signature merely does not count: by someone not trusted, or an attestation nobody asked for."""
    return bool(failed) and {step.name for step in failed} <= {StepName.IDENTITY, StepName.STATEMENT}


def words(step: Step) -> str:
    """How a step ended, and what was seen."""
    return f"{step.outcome}: {step.detail}" if step.outcome is not Outcome.PASSED else f"passed ({step.detail})"


def _summary(
    signatures: Sequence[SignatureReport], reports: Sequence[SignatureReport], findings: Sequence[Finding]
) -> str:
    errors = [finding for finding in findings if finding.level is Level.ERROR]
    if not errors:
        signers = ", ".join(sorted({report.signer for report in signatures}))
        return f"Signed by {signers}; every step of the verification passed."
    broken = next((report for report in reports if report.failed), None)
    first = f"{broken.name}: {broken.failed[0].detail}" if broken else errors[0].message
    return f"{len(signatures)} of {len(reports)} signatures count. {first}"


def _measurements(reports: Sequence[SignatureReport], signatures: Sequence[SignatureReport]) -> tuple[Measurement, ...]:
    first = signatures[0] if signatures else None
    return (
        Measurement(name="signatures", value=len(reports), method="signatures submitted"),
        Measurement(name="verified", value=len(signatures), method="image signatures whose every step passed"),
        Measurement(name="attestations", value=sum(r.verified for r in reports) - len(signatures)),
        Measurement(
            name="signer", value=first.signer if first else "", method="subject of the first verified signature"
        ),
        Measurement(name="issuer", value=first.issuer if first else ""),
        Measurement(name="signed_at", value=rfc3339(first.signed_at) if first and first.signed_at else ""),
    )


def _evidence(
    reports: Sequence[SignatureReport], image_digest: Digest, store: EvidenceStore | None
) -> tuple[Evidence, ...]:
    if store is None:
        return ()
    document = {"image": image_digest, "signatures": [as_data(report) for report in reports]}
    data = json.dumps(document, indent=1, sort_keys=True).encode()
    return (store.put(data, name="provenance.json", media_type="application/json"),)


def as_data(report: SignatureReport) -> dict[str, object]:
    """`report` as plain data for JSON."""
    return {
        "name": report.name,
        "form": report.form,
        "bundle": report.bundle_digest,
        "root": report.root_digest,
        "verified": report.verified,
        "signer": report.signer,
        "issuer": report.issuer,
        "acceptedBy": [_who(signer) for signer in report.accepted_by],
        "predicateType": report.predicate_type,
        "signedAt": rfc3339(report.signed_at) if report.signed_at else None,
        "steps": [
            {"step": step.name, "outcome": step.outcome, "detail": step.detail, "fix": step.fix}
            for step in report.steps
        ],
    }


def _who(signer: Identity | ManagedKey) -> str:
    return str(signer)
