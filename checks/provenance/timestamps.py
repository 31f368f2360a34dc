"""RFC 3161 timestamps: which authority of the trusted root saw the signature, and when."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from checks.provenance.keys import MALFORMED
from checks.provenance.material import Authority
from checks.provenance.steps import StepAbsent, StepFailed

if TYPE_CHECKING:
    from rfc3161_client import Verifier


def require_timestamps(
    tokens: tuple[bytes, ...], signature: bytes, authorities: tuple[Authority, ...]
) -> tuple[tuple[datetime, ...], str]:
    """Every time that `tokens` prove for `signature`, and what was seen.

    Each token must be genuine: one that stamps other bytes, or comes from an authority that is not trusted or was not
    valid then, fails the step (accepting it beside a good one would let a forger choose). Raises `StepAbsent` for none.
    """
    if not tokens:
        raise StepAbsent("no RFC 3161 timestamp")
    if not authorities:
        raise StepFailed("the trusted root names no timestamp authority")
    seen = [_verified(token, signature, authorities) for token in tokens]
    names = ", ".join(f"{name} at {time.isoformat()}" for time, name in seen[:3])
    return tuple(time for time, _ in seen), f"stamped by {names}"


def _verified(token: bytes, signature: bytes, authorities: tuple[Authority, ...]) -> tuple[datetime, str]:
    from rfc3161_client import VerificationError, decode_timestamp_response

    try:
        response = decode_timestamp_response(token)
        time = response.tst_info.gen_time
    except MALFORMED as error:
        raise StepFailed("a timestamp is not an RFC 3161 response") from error
    reasons: list[str] = []
    for authority in authorities:
        if len(authority.certificates) < 2:
            reasons.append(f"{authority.name}: its chain has no root")
            continue
        try:
            _verifier(authority).verify_message(response, signature)
        except (VerificationError, *MALFORMED) as error:
            reasons.append(f"{authority.name}: {_words(error)}")
            continue
        if authority.window.covers(time):
            return time, authority.name
        reasons.append(f"{authority.name} was not valid at {time.isoformat()} ({authority.window})")
    raise StepFailed("no trusted authority stamped this signature: " + "; ".join(reasons[:3]))


def _words(error: Exception) -> str:
    """The library's reason without OpenSSL's own stack of errors."""
    text = str(error)
    if "pkcs7" in text or "ErrorStack" in text:
        return "it did not sign this token, or its certificate was not valid then"
    return text[:120]


def _verifier(authority: Authority) -> Verifier:
    from rfc3161_client import VerifierBuilder

    builder = VerifierBuilder().tsa_certificate(authority.certificates[0])
    builder = builder.add_root_certificate(authority.certificates[-1])
    for certificate in authority.certificates[1:-1]:
        builder = builder.add_intermediate_certificate(certificate)
    return builder.build()
