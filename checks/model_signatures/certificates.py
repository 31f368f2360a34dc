"""Model signatures by a certificate of one's own authority (`model_signing sign certificate`).

Such a signature carries no log entry and no timestamp, so nothing proves when it was made: its certificates must be
valid now. What the bundle brings along above the signing certificate helps to build the path and is never believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from checks.model_signatures.signed import PREDICATE
from checks.provenance.bundle import Envelope, SignatureBundle
from checks.provenance.chain import load_certificate
from checks.provenance.keys import MALFORMED, PublicKey, is_signed
from checks.provenance.statement import parse_statement, require_predicate, require_subject
from checks.provenance.steps import Outcome, Recorder, Step, StepFailed, StepName
from checks.provenance.verifier import SignatureReport
from pratique.digests import Digest, sha256_bytes
from pratique.errors import InvalidInput

_DEMANDED = (StepName.PARSED, StepName.SIGNATURE, StepName.CHAIN, StepName.IDENTITY, StepName.STATEMENT)
_USAGES = {ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}


@dataclass(frozen=True)
class ModelAuthority:
    """An authority of one's own: its root certificates (PEM), and, where named, the one `subject` that may sign.

    `subject` is compared with the certificate's subject in RFC 4514 form and with its alternative names, exactly.
    Raises `InvalidInput` (`provenance/certificate-form`).
    """

    name: str
    roots: bytes
    subject: str = ""

    def __post_init__(self) -> None:
        self.certificates()

    def certificates(self) -> list[x509.Certificate]:
        """The roots."""
        try:
            return x509.load_pem_x509_certificates(self.roots)
        except MALFORMED as error:
            raise InvalidInput(
                f"the certificates of {self.name!r} cannot be read",
                rule="provenance/certificate-form",
                where="trust.models.certificates",
                cause=str(error)[:200],
                next_step="Name a file with the authority's root certificates in PEM.",
            ) from error

    def __str__(self) -> str:
        return f"{self.subject or 'anybody'} certified by {self.name}"


def verify_with_certificate(
    bundle: SignatureBundle, name: str, authority: ModelAuthority | None, subject: Digest, now: datetime
) -> SignatureReport:
    """Verify one signature step by step; never raises for what is in the bundle. Without `authority` none is known."""
    record = Recorder()
    loaded = record.run(StepName.PARSED, lambda: _load(bundle))
    who = ""
    if loaded is not None:
        certificate, key = loaded
        record.run(StepName.SIGNATURE, lambda: _signature(bundle, key))
        record.run(StepName.CHAIN, lambda: _chain(bundle, certificate, authority, now))
        who = record.run(StepName.IDENTITY, lambda: _identity(certificate, authority)) or ""
    absent = "nothing proves when it was signed; the certificate must be valid now"
    record.steps.append(Step(StepName.SIGNING_TIME, Outcome.ABSENT, absent))
    record.run(StepName.STATEMENT, lambda: _statement(bundle, subject))
    return SignatureReport(
        name=name,
        form=f"{bundle.form}, certificate of one's own authority",
        bundle_digest=sha256_bytes(bundle.raw),
        root_digest=sha256_bytes(authority.roots if authority else b""),
        verified=all(map(record.passed, _DEMANDED)),
        steps=record.ordered(),
        signer=who,
        issuer=authority.name if authority else "",
        predicate_type=PREDICATE,
    )


def _load(bundle: SignatureBundle) -> tuple[tuple[x509.Certificate, PublicKey], str]:
    if bundle.certificate is None:
        raise StepFailed("it was made with a key, not with a certificate")
    return load_certificate(bundle.certificate), f"{bundle.form} with a signing certificate"


def _signature(bundle: SignatureBundle, key: PublicKey) -> tuple[None, str]:
    content = bundle.content
    if not isinstance(content, Envelope) or not is_signed(key, content.signature, content.signed_bytes):
        raise StepFailed("the signature is not the certificate's key's over this content")
    return None, "made with the certificate's key over this content"


def _chain(
    bundle: SignatureBundle, certificate: x509.Certificate, authority: ModelAuthority | None, now: datetime
) -> tuple[None, str]:
    if authority is None:
        raise StepFailed("the policy names no authority whose certificates may sign models")
    _require_usage(certificate)
    roots = authority.certificates()
    any_usage = (x509.ExtendedKeyUsage, verification.Criticality.AGNOSTIC, None)
    try:
        between = [x509.load_der_x509_certificate(der) for der in bundle.chain]
        verifier = (
            verification.PolicyBuilder()
            .store(verification.Store(roots))
            .time(now)
            .extension_policies(
                ca_policy=verification.ExtensionPolicy.webpki_defaults_ca().may_be_present(*any_usage),
                ee_policy=verification.ExtensionPolicy.permit_all(),
            )
            .build_client_verifier()
        )
        verifier.verify(certificate, [one for one in between if one not in roots])
    except (verification.VerificationError, *MALFORMED) as error:
        raise StepFailed(
            f"{authority.name} did not issue the certificate, or not for now: {str(error)[:160]}"
        ) from error
    return None, f"issued by {authority.name}, valid now"


def _require_usage(certificate: x509.Certificate) -> None:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound as error:
        raise StepFailed("the certificate does not say that its key is for signatures (KeyUsage)") from error
    if not usage.digital_signature:
        raise StepFailed("the certificate's key is not for signatures (KeyUsage)")
    try:
        extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not _USAGES & set(extended):
        raise StepFailed("the certificate is for other purposes than signing code")


def _identity(certificate: x509.Certificate, authority: ModelAuthority | None) -> tuple[str, str]:
    names = [certificate.subject.rfc4514_string()]
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names += [str(one.value) for one in alternative if not isinstance(one, x509.OtherName)]
    except x509.ExtensionNotFound:
        pass
    if authority and authority.subject and authority.subject not in names:
        raise StepFailed(f"signed by {names[0][:200]!r}, not by {authority.subject!r}")
    return names[0], f"{names[0][:200]} ({authority.name if authority else 'certified by nobody known'})"


def _statement(bundle: SignatureBundle, subject: Digest) -> tuple[None, str]:
    content = bundle.content
    if not isinstance(content, Envelope):
        raise StepFailed("a signature of a file, not of a model")
    statement = parse_statement(content.payload_type, content.payload)
    require_subject(statement, subject)
    return None, require_predicate(statement, frozenset({PREDICATE}))
