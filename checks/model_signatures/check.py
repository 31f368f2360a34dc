"""From the image's files and the policy's trust to a `CheckResult`. Importing this is cheap."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from time import perf_counter
from typing import TYPE_CHECKING

from checks.interface import CheckResult, Finding, Level, Measurement, Status, inconclusive, status_of
from checks.provenance.trust import ManagedKey, Trust
from pratique.clock import Clock
from pratique.digests import Digest
from pratique.errors import CouldNotDecide, InvalidInput
from pratique.intake.image.model import MIB, FileClass, FileEntry, Image, ImageLimits, Inventory, Kind

if TYPE_CHECKING:
    from checks.model_signatures.certificates import ModelAuthority
    from checks.model_signatures.contents import Mismatch, Place
    from checks.model_signatures.signed import SignedModel
    from checks.provenance.bundle import SignatureBundle
    from checks.provenance.material import TrustMaterial
    from checks.provenance.steps import Step
    from checks.provenance.verifier import SignatureReport

CHECK = "model_signatures"
VERSION = "1"
_RISKS = ("G3", "T2", "U6")
MAX_SIGNATURES = 64
_MAX_SIGNATURE_BYTES = 16 * MIB
_MAX_SHOWN = 8
_NAMES = re.compile(r"\.(?:sig|sigstore|sigstore\.json|bundle)$")
_MARK = b"application/vnd.dev.sigstore.bundle"
_DEFAULT_LIMITS = ImageLimits()
_SIGN = "model_signing sign key --private_key KEY --signature MODEL/model.sig MODEL"
_BY_SOMEBODY_ELSE = ("identity", "signature", "chain")
_FIXES = {
    "changed-file": f"Put the file back that was signed, or have the model signed as it is now: {_SIGN}",
    "missing-file": "Copy the whole signed model into the image, or have what is there signed.",
    "unlisted-file": "Remove the file from the model's directory, or have the model signed with it.",
}


@dataclass(frozen=True)
class ModelTrust:
    """Who may sign models. `signers` has roots, identities and keys; `authorities` are certificate roots of one's own.

    `required`: every model file of the tool's own must lie under a signature by one of them.
    """

    signers: Trust = field(default_factory=Trust)
    authorities: tuple[ModelAuthority, ...] = ()
    required: bool = False


@dataclass(frozen=True)
class _Read:
    """A file with a model's signature: what it says (bundle, list, digest over the list), or why it cannot be read."""

    path: str
    data: bytes
    unreadable: str
    signed: tuple[SignatureBundle, SignedModel, Digest] | None = None


@dataclass(frozen=True)
class _Examined:
    """One signature: its report, and where its model is and what of it is not as signed.

    `stranger`: whoever signed is none of those whom the policy names, which is not by itself a forgery.
    """

    report: SignatureReport
    stranger: bool = False
    model: SignedModel | None = None
    place: Place | None = None
    wrong: tuple[Mismatch, ...] = ()

    @property
    def covers(self) -> frozenset[str]:
        """Files for which a trusted signer vouches."""
        if self.model is None or self.place is None or not self.report.verified or self.wrong:
            return frozenset()
        return frozenset(self.place.path(path) for path in self.model.files)


def check_model_signatures(
    image: Image, inventory: Inventory, trust: ModelTrust, *, clock: Clock, limits: ImageLimits = _DEFAULT_LIMITS
) -> CheckResult:
    """Whether each signed model in the image is what was signed, and by whom; and whether a model lacks a signature.

    Failed for a signature that is broken or does not fit its files, and, where the policy requires signatures, for a
    model without one by a signer that it names; not applicable where no model is signed and none need be. Inconclusive
    where content is needed that cannot be read within the bounds, or a trusted root cannot be believed.
    """
    started = perf_counter()
    try:
        read = [found for path, data in _candidates(image, inventory, limits) if (found := _read(path, data))]
        signatures = frozenset(one.path for one in read)
        examined = [_examine(one, signatures, image, inventory, trust, clock, limits) for one in read]
        unsigned = _unsigned(inventory, examined) if trust.required else []
    except CouldNotDecide as error:
        result = inconclusive(CHECK, VERSION, str(error), fix=error.next_step, risks=_RISKS)
    else:
        result = _result(examined, unsigned, trust)
    return result.model_copy(update={"seconds": perf_counter() - started})


# --- finding and examining -------------------------------------------------------------------------------------------


def _candidates(image: Image, inventory: Inventory, limits: ImageLimits) -> list[tuple[str, bytes]]:
    """Files that may hold a bundle: by their name, or by how they begin."""
    from pratique.intake.image.again import read_again

    entries = [entry for entry in inventory.files.values() if _may_be_bundle(entry)]
    if len(entries) > MAX_SIGNATURES:
        raise CouldNotDecide(
            f"more than {MAX_SIGNATURES} files in the image may be signatures of models",
            next_step="Leave out of the image the signatures that are not its models'.",
        )
    data = read_again(image, inventory, entries, most=4 * _MAX_SIGNATURE_BYTES, limits=limits)
    missing = [entry.path for entry in entries if (entry.layer, entry.path) not in data]
    if missing:
        raise CouldNotDecide(
            f"the signature {missing[0]} could not be read", next_step="Leave out signatures that are no model's."
        )
    return [(entry.path, data[entry.layer, entry.path]) for entry in sorted(entries, key=lambda one: one.path)]


def _may_be_bundle(entry: FileEntry) -> bool:
    if entry.kind is not Kind.FILE or not 0 < entry.size <= _MAX_SIGNATURE_BYTES:
        return False
    return entry.head.lstrip()[:1] == b"{" and (bool(_NAMES.search(entry.path)) or _MARK in entry.head)


def _read(path: str, data: bytes) -> _Read | None:
    """What the file at `path` signs; None where it is no model's signature."""
    from checks.model_signatures.signed import OLD_PREDICATE, PREDICATE, read_signed
    from checks.provenance.bundle import Envelope, parse_bundle
    from checks.provenance.statement import parse_statement
    from checks.provenance.steps import StepFailed

    try:
        bundle = parse_bundle(data, where=path, any_chain=True)
    except InvalidInput as error:
        return _Read(path, data, str(error)) if path.endswith(".sig") and _MARK in data else None
    try:
        if not isinstance(bundle.content, Envelope):
            return None
        statement = parse_statement(bundle.content.payload_type, bundle.content.payload)
        if statement.predicate_type not in (PREDICATE, OLD_PREDICATE):
            return None
        return _Read(path, data, "", (bundle, *read_signed(statement)))
    except StepFailed as failure:
        return _Read(path, data, failure.detail) if path.endswith(".sig") else None


def _examine(
    read: _Read,
    signatures: frozenset[str],
    image: Image,
    inventory: Inventory,
    trust: ModelTrust,
    clock: Clock,
    limits: ImageLimits,
) -> _Examined:
    """What is found out about one signature; `signatures` are the files that hold one."""
    from checks.model_signatures.contents import compare, find_place
    from checks.provenance.verifier import unreadable

    if read.signed is None:
        return _Examined(unreadable(read.path, read.data, read.unreadable))
    bundle, model, subject = read.signed
    report = _verify(bundle, read.path, subject, trust, clock)
    place = find_place(model, read.path, inventory)
    wrong = compare(model, place, signatures, inventory, image, limits)
    return _Examined(report, _is_stranger(bundle, report, trust), model, place, tuple(wrong))


def _is_stranger(bundle: SignatureBundle, report: SignatureReport, trust: ModelTrust) -> bool:
    """Whether the signature fails for the one reason that the policy does not know its signer."""
    from checks.provenance.steps import StepName

    failed = {step.name for step in report.failed}
    if _is_own_certificate(bundle):
        return not trust.authorities and failed == {StepName.CHAIN}
    if bundle.certificate is None and bundle.entry is None:
        known = {hint for key in trust.signers.keys for hint in _hints(key)}
        return failed <= {StepName.SIGNATURE, StepName.IDENTITY} and bundle.key_hint not in known
    return failed == {StepName.IDENTITY}


def _hints(key: ManagedKey) -> tuple[str, ...]:
    """How `model-signing` and cosign name a public key in a bundle; nothing where the policy's file holds none."""
    from checks.provenance.keys import load_public_key, pem_of, spki
    from checks.provenance.steps import StepFailed

    try:
        loaded = load_public_key(key.public_key)
    except StepFailed:
        return ()
    return (
        hashlib.sha256(pem_of(loaded)).hexdigest(),
        base64.b64encode(hashlib.sha256(spki(loaded)).digest()).decode(),
    )


def _verify(bundle: SignatureBundle, path: str, subject: Digest, trust: ModelTrust, clock: Clock) -> SignatureReport:
    """The report against the trusted root or authority that carries the signature furthest."""
    from checks.model_signatures.certificates import verify_with_certificate
    from checks.model_signatures.signed import PREDICATE
    from checks.provenance.check import how_far, load_materials
    from checks.provenance.verifier import Demand, verify_signature

    signers, demand, now = trust.signers, Demand(subject, frozenset({PREDICATE})), clock()
    if bundle.certificate is None and bundle.entry is None:
        signers = replace(signers, require_log_entry=False)  # model-signing logs what it signs without a key alone
    materials: Sequence[TrustMaterial] = load_materials(trust.signers)
    if _is_own_certificate(bundle):
        authorities = trust.authorities or (None,)
        tried = [verify_with_certificate(bundle, path, one, subject, now) for one in authorities]
    else:
        tried = [verify_signature(bundle, path, material, signers, demand, now) for material in materials]
    return max(tried, key=how_far)


def _is_own_certificate(bundle: SignatureBundle) -> bool:
    """Whether a certificate signed that is not Sigstore's: those come with proof of the time, for they end at once."""
    return bundle.certificate is not None and bundle.entry is None and not bundle.timestamps


def _unsigned(inventory: Inventory, examined: Sequence[_Examined]) -> list[str]:
    """Model files of the tool's own, and archives that may hold some, that nobody whom the policy names has signed."""
    from checks.ownership import read_ownership

    ownership = read_ownership(inventory)
    covered = frozenset().union(*(one.covers for one in examined))
    models = chain(inventory.of_class(FileClass.MODEL), inventory.of_class(FileClass.ARCHIVE))
    return [entry.path for entry in models if entry.path not in covered and ownership.is_own(entry)]


# --- telling ---------------------------------------------------------------------------------------------------------


def _result(examined: Sequence[_Examined], unsigned: Sequence[str], trust: ModelTrust) -> CheckResult:
    findings = [finding for one in examined for finding in _findings(one, trust)]
    findings += _capped([_unsigned_finding(path, trust) for path in unsigned], "unsigned-model")
    verified = [one for one in examined if one.covers]
    if not examined and not unsigned:
        status, summary = Status.NOT_APPLICABLE, "no model in the image is signed, and the policy asks for none"
    else:
        status, summary = status_of(findings), _summary(examined, verified, unsigned)
    return CheckResult(
        check=CHECK,
        version=VERSION,
        status=status,
        summary=summary,
        findings=tuple(findings),
        measurements=(
            Measurement(name="signatures", value=len(examined), method="model signatures found in the image"),
            Measurement(name="verified", value=len(verified), method="by a trusted signer, all files as signed"),
            Measurement(name="covered", value=len({path for one in verified for path in one.covers}), unit="files"),
            Measurement(name="unsigned", value=len(unsigned), unit="files", method="counted where required"),
            Measurement(name="signers", value=", ".join(sorted({one.report.signer for one in verified}))),
        ),
        inputs={f"signature:{one.report.name}": one.report.bundle_digest for one in examined},
    )


def _findings(one: _Examined, trust: ModelTrust) -> list[Finding]:
    """What failed about one signature, what of its model is wrong, and how every step ended."""
    from checks.provenance.report import words

    report = one.report
    level = Level.WARNING if one.stranger and not trust.required else Level.ERROR
    told = [
        Finding(
            rule_id=f"{CHECK}/{step.name}",
            level=level,
            message=step.detail,
            where=report.name,
            fix=_fix(step, trust),
            risks=_RISKS,
        )
        for step in report.failed
    ]
    if not report.failed and not report.verified:
        message = "What the policy demands of a signature was not all there; see the steps."
        told.append(
            Finding(rule_id=f"{CHECK}/incomplete", level=Level.ERROR, message=message, where=report.name, risks=_RISKS)
        )
    wrong = [
        Finding(
            rule_id=f"{CHECK}/{one.rule}",
            level=Level.ERROR,
            message=one.message,
            where=report.name,
            fix=_FIXES[one.rule],
            risks=_RISKS,
        )
        for one in one.wrong
    ]
    where = f" of {one.place}" if one.place else ""
    listed = f", {len(one.model.files)} files listed" if one.model else ""
    steps = "; ".join(f"{step.name} {words(step)}" for step in report.steps)
    verdict = "verified" if one.covers else "not verified"
    message = f"{report.form}{where}{listed}, {verdict}. {steps}."
    note = Finding(rule_id=f"{CHECK}/steps", level=Level.NOTE, message=message, where=report.name)
    return [*told, *_capped(wrong, "more"), note]


def _fix(step: Step, trust: ModelTrust) -> str:
    """The step's own fix is about images signed with cosign."""
    if step.name in _BY_SOMEBODY_ELSE:
        return f"Have the model signed by {_known(trust)}, or ask the node to name its signer: {_SIGN}"
    return f"Sign the model again, as it lies in the image: {_SIGN}"


def _known(trust: ModelTrust) -> str:
    known = [*map(str, trust.signers.signers), *map(str, trust.authorities)]
    return "; ".join(known[:5]) or "somebody whom the policy names"


def _unsigned_finding(path: str, trust: ModelTrust) -> Finding:
    return Finding(
        rule_id=f"{CHECK}/unsigned-model",
        level=Level.ERROR,
        message=f"{path} is, or may hold, a model that nobody whom the policy names has validly signed",
        where=path,
        fix=f"Have its directory signed by {_known(trust)}: {_SIGN}",
        risks=_RISKS,
    )


def _capped(findings: list[Finding], rule: str) -> list[Finding]:
    if len(findings) <= _MAX_SHOWN:
        return findings
    message = f"{len(findings) - _MAX_SHOWN:,} more of them are not listed"
    more = Finding(rule_id=f"{CHECK}/{rule}", level=Level.ERROR, message=message, fix=findings[0].fix, risks=_RISKS)
    return [*findings[:_MAX_SHOWN], more]


def _summary(examined: Sequence[_Examined], verified: Sequence[_Examined], unsigned: Sequence[str]) -> str:
    if unsigned:
        return f"{len(unsigned)} model files are not signed by anybody whom the policy names"
    wrong = sum(len(one.wrong) for one in examined)
    if wrong:
        return f"{wrong} files are not as the signatures of their models list them"
    if len(verified) == len(examined):
        signers = ", ".join(sorted({one.report.signer for one in verified}))
        return f"{len(verified)} signed models, signed by {signers}; every file is as signed"
    return f"{len(verified)} of {len(examined)} model signatures are by a signer whom the policy names and hold"
