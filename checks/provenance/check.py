"""From signature files, image digest and trust to a `CheckResult`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from checks.interface import CheckResult, EvidenceStore, Finding, Level, Status
from checks.provenance.steps import CHECK, RISKS, VERSION, Outcome
from checks.provenance.trust import COSIGN_SIGN, Trust
from pratique.clock import Clock
from pratique.digests import Digest
from pratique.errors import CouldNotDecide, InvalidInput

if TYPE_CHECKING:
    from checks.provenance.bundle import SignatureBundle
    from checks.provenance.material import TrustMaterial
    from checks.provenance.verifier import Demand, SignatureReport

MAX_FILES = 64
MAX_SIGNATURES = 128
"""In all files together: each costs milliseconds, for each trusted root."""


@dataclass(frozen=True)
class SignatureFile:
    """A file that should hold a signature; `name` is what reports call it.

    With `annotations` (of a cosign 2 `.sig` layer) the file is the payload, and they hold signature and certificate.
    """

    path: Path
    name: str
    annotations: Mapping[str, str] = field(default_factory=dict)


def check_provenance(
    bundles: Sequence[SignatureFile],
    image_digest: Digest,
    trust: Trust,
    *,
    clock: Clock,
    store: EvidenceStore | None = None,
    index_digest: Digest | None = None,
) -> CheckResult:
    """Whether those whom `trust` names signed the image with `image_digest`; each signature's steps are reported.

    Empty trust, no signature, and a signature that does not verify fail; a trusted root that is missing, unreadable or
    other than the pinned one is inconclusive, never passed. With `store` the steps are left there as
    `provenance.json`. `index_digest` is that of the multi-platform index through which the image was reached by
    verified digests: who signed it has signed each of its images. Never raises for what is in a bundle or a trusted
    root.
    """
    started = perf_counter()
    digests = [image_digest, *([index_digest] if index_digest is not None else [])]
    result = _check(bundles, digests, trust, clock, store)
    inputs = {
        "image": image_digest,
        **({"index": index_digest} if index_digest is not None else {}),
        **{f"root:{root.path.name}": root.sha256 for root in trust.roots},
        **result.inputs,
    }
    return result.model_copy(update={"inputs": inputs, "seconds": perf_counter() - started})


def _check(
    bundles: Sequence[SignatureFile],
    digests: Sequence[Digest],
    trust: Trust,
    clock: Clock,
    store: EvidenceStore | None,
) -> CheckResult:
    image_digest = digests[0]
    empty = trust.emptiness()
    if empty:
        return _failed("empty-trust", empty, "Name trusted roots and identities (or keys) under `trust` in the policy.")
    if not bundles:
        return _failed(
            "no-signature",
            "The submission carries no signature, so nobody vouches for this image.",
            f"Sign the image by its digest and name the bundle under `signatures` in submission.yaml: "
            f"cosign sign --bundle evidence/image.sigstore.json IMAGE@{image_digest}",
        )
    if len(bundles) > MAX_FILES:
        return _failed(
            "too-many-files", f"More than {MAX_FILES} signature files.", "Submit only the signatures that count."
        )
    try:
        materials = load_materials(trust)
    except CouldNotDecide as error:
        return _undecided(error)

    from checks.provenance import report
    from checks.provenance.verifier import Demand

    by_signers = frozenset({COSIGN_SIGN, *(one.type for one in trust.attestations if not one.identities)})
    demands = [Demand(digest, by_signers) for digest in digests]
    demands += [
        Demand(digest, frozenset({one.type}), identities=one.identities)
        for one in trust.attestations
        if one.identities
        for digest in digests
    ]
    reports: list[SignatureReport] = []
    for bundle in bundles:
        reports += verify_file(bundle, materials, trust, demands, clock, most=MAX_SIGNATURES - len(reports))
    return report.result(reports, image_digest, trust, store)


def verify_file(
    file: SignatureFile,
    materials: Sequence[TrustMaterial],
    trust: Trust,
    demands: Sequence[Demand],
    clock: Clock,
    *,
    most: int = MAX_SIGNATURES,
) -> Iterable[SignatureReport]:
    """Reports of the signatures in `file`, each against the trusted root and the demand that carry it furthest.

    More than `most` signatures in it are not verified at all.
    """
    from checks.provenance.bundle import MAX_BUNDLE_BYTES
    from checks.provenance.legacy import from_annotations, read_signatures
    from checks.provenance.verifier import unreadable, verify_signature
    from pratique.bounds import read_bounded

    data = b""
    try:
        data = read_bounded(file.path, MAX_BUNDLE_BYTES)
        if file.annotations:
            signatures: tuple[SignatureBundle, ...] = (from_annotations(data, file.annotations, where=file.name),)
        else:
            signatures = read_signatures(data, where=file.name)
    except InvalidInput as error:
        return [unreadable(file.name, data, str(error))]
    if len(signatures) > most:
        return [unreadable(file.name, data, f"more than {MAX_SIGNATURES} signatures in all")]
    reports = []
    for number, signature in enumerate(signatures, start=1):
        name = file.name if len(signatures) == 1 else f"{file.name} signature {number}"
        tried = [
            verify_signature(signature, name, material, trust, demand, clock())
            for material in materials
            for demand in demands
        ]
        reports.append(max(tried, key=how_far))
    return reports


def how_far(report: SignatureReport) -> tuple[bool, int]:
    """Order of reports on one signature: verified ones last, then by the steps that passed."""
    return report.verified, sum(step.outcome is Outcome.PASSED for step in report.steps)


def load_materials(trust: Trust) -> list[TrustMaterial]:
    """The trusted roots that `trust` names, or the one that believes nobody; raises `CouldNotDecide`."""
    from checks.provenance.library import load_trusted_root
    from checks.provenance.material import NO_ROOT

    return [load_trusted_root(root) for root in trust.roots] or [NO_ROOT]


def _failed(rule: str, message: str, fix: str) -> CheckResult:
    finding = Finding(rule_id=f"{CHECK}/{rule}", level=Level.ERROR, message=message, fix=fix, risks=RISKS)
    return CheckResult(check=CHECK, version=VERSION, status=Status.FAILED, summary=message, findings=(finding,))


def _undecided(error: CouldNotDecide) -> CheckResult:
    finding = Finding(
        rule_id=f"{CHECK}/trusted-root",
        level=Level.WARNING,
        message=str(error),
        where="trust.roots",
        fix=error.next_step,
        risks=RISKS,
    )
    return CheckResult(
        check=CHECK, version=VERSION, status=Status.INCONCLUSIVE, summary=error.message, findings=(finding,)
    )
