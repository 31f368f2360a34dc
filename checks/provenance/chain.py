"""The signing certificate: does it chain to an authority of the trusted root, at every time that is proven?"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from checks.provenance.keys import MALFORMED, PublicKey, usable
from checks.provenance.material import Authority
from checks.provenance.steps import StepFailed


def load_certificate(der: bytes) -> tuple[x509.Certificate, PublicKey]:
    """The X.509 v3 certificate in `der` and its key; raises `StepFailed`.

    cryptography parses parts of a certificate when they are asked for: all are asked for here, so that a malformed one
    fails here and nowhere else.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        parts = (certificate.extensions, certificate.issuer, certificate.subject, certificate.signature_hash_algorithm)
        ends = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
        key = certificate.public_key()
    except MALFORMED as error:
        raise StepFailed(f"the signing certificate cannot be read: {str(error)[:200]}") from error
    if certificate.version is not x509.Version.v3 or not all(part is not None for part in (*parts, *ends)):
        raise StepFailed("the signing certificate is not of X.509 version 3, or has no signature hash")
    return certificate, usable(key)


def require_no_root(chain: tuple[bytes, ...]) -> None:
    """Raise `StepFailed` where a bundle brings a root along: whom to believe is for the verifier to know alone."""
    for der in chain:
        certificate, _ = load_certificate(der)
        if certificate.issuer == certificate.subject:
            raise StepFailed("the bundle brings a root certificate along, which no bundle may")


def require_chain(
    certificate: x509.Certificate, authorities: tuple[Authority, ...], times: tuple[datetime, ...]
) -> tuple[list[x509.Certificate], str]:
    """The chain above `certificate` and what was seen, valid at each of `times`, through one authority in its window.

    Raises `StepFailed`; also for a certificate that is not for signing code.
    """
    _require_usage(certificate)
    for time in times:
        if not certificate.not_valid_before_utc <= time <= certificate.not_valid_after_utc:
            raise StepFailed(
                f"the certificate was valid from {certificate.not_valid_before_utc.isoformat()} to "
                f"{certificate.not_valid_after_utc.isoformat()}, but the signature was made at {time.isoformat()}"
            )
    reasons: list[str] = []
    for authority in authorities:
        outside = [time for time in times if not authority.window.covers(time)]
        if outside:
            reasons.append(f"{authority.name} was not valid at {outside[0].isoformat()}")
            continue
        try:
            chains = [_chain_at(certificate, authority, time) for time in times]
        except (verification.VerificationError, *MALFORMED) as error:
            reasons.append(f"{authority.name}: {str(error)[:160]}")
            continue
        return chains[0], f"issued by {authority.name}, valid at {times[0].isoformat()}"
    raise StepFailed("no authority of the trusted root issued the certificate: " + "; ".join(reasons[:3]))


def _chain_at(certificate: x509.Certificate, authority: Authority, time: datetime) -> list[x509.Certificate]:
    # The extended key usage is compared above; web clients' `clientAuth` is what the defaults would ask for.
    any_usage = (x509.ExtendedKeyUsage, verification.Criticality.AGNOSTIC, None)
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store(list(authority.certificates[-1:])))
        .time(time)
        .extension_policies(
            ca_policy=verification.ExtensionPolicy.webpki_defaults_ca().may_be_present(*any_usage),
            ee_policy=verification.ExtensionPolicy.webpki_defaults_ee().may_be_present(*any_usage),
        )
        .build_client_verifier()
    )
    _require_root_at(authority.certificates[-1], time)
    return verifier.verify(certificate, list(authority.certificates[:-1])).chain[1:]


def _require_root_at(root: x509.Certificate, time: datetime) -> None:
    # A trust anchor's own dates are not looked at by the path validation.
    if not root.not_valid_before_utc <= time <= root.not_valid_after_utc:
        raise ValueError(f"the root certificate was not valid at {time.isoformat()}")


def _require_usage(certificate: x509.Certificate) -> None:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound as error:
        raise StepFailed("the certificate does not say what its key is for") from error
    if not usage.digital_signature or ExtendedKeyUsageOID.CODE_SIGNING not in extended:
        raise StepFailed("the certificate is not for signing code")
