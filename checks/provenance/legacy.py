"""Signatures of cosign 1 and 2: a "simple signing" payload with certificate and log promise beside it.

In a registry they are a layer under the tag `sha256-<hex>.sig` with annotations; in a file, what
`cosign download signature` prints, one JSON object a line. Both become the same `SignatureBundle`. Payload format:
https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md. Such a signature has the log's promise (SET)
and no inclusion proof. Attestations lie under `sha256-<hex>.att`: a DSSE envelope, which holds its own signature.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from checks.provenance.bundle import (
    MAX_BUNDLE_BYTES,
    Envelope,
    LogEntry,
    SignatureBundle,
    SimpleSigning,
    decode_base64,
    parse_bundle,
    parse_envelope,
)
from checks.provenance.keys import MALFORMED
from checks.provenance.steps import StepFailed
from pratique.bounds import MIB, strict_json
from pratique.digests import Digest
from pratique.errors import InvalidInput

_TYPE = "cosign container image signature"
_PREFIX = "dev.sigstore.cosign/"
_MAX_LINES = 64
_U53 = 2**53


def read_signatures(data: bytes, *, where: str) -> tuple[SignatureBundle, ...]:
    """The signatures in a file: one Sigstore bundle, or the lines that `cosign download signature` printed.

    Raises `InvalidInput` for anything else.
    """
    if b'"Base64Signature"' not in data[:4096]:
        return (parse_bundle(data, where=where),)
    lines = [line for line in data.split(b"\n") if line.strip()]
    if len(lines) > _MAX_LINES:
        raise _refuse(where, f"more than {_MAX_LINES} signatures")
    return tuple(_downloaded(line, f"{where}:{number}") for number, line in enumerate(lines, start=1))


def from_annotations(payload: bytes, annotations: Mapping[str, str], *, where: str) -> SignatureBundle:
    """The signature in a `.sig` or `.att` layer (`payload`) and its descriptor's annotations; raises `InvalidInput`."""
    pem = annotations.get(_PREFIX + "certificate")
    log = annotations.get(_PREFIX + "bundle")
    stamp = annotations.get(_PREFIX + "rfc3161timestamp")
    signature = annotations.get("dev.cosignproject.cosign/signature")
    content: Envelope | SimpleSigning
    if signature:
        content = SimpleSigning(payload, decode_base64(signature, where))
    else:
        content = parse_envelope(payload, where=where)
    return _bundle(
        content=content,
        certificate=_der(pem, where) if pem is not None else None,
        log=strict_json(log, where=where, max_bytes=MIB) if log is not None else None,
        stamp=strict_json(stamp, where=where, max_bytes=MIB) if stamp is not None else None,
        where=where,
    )


def _downloaded(line: bytes, where: str) -> SignatureBundle:
    fields = strict_json(line, where=where, max_bytes=MAX_BUNDLE_BYTES)
    if not isinstance(fields, dict):
        raise _refuse(where, "a JSON object is expected")
    certificate = fields.get("Cert")
    payload = decode_base64(fields.get("Payload"), where)
    return _bundle(
        content=SimpleSigning(payload, decode_base64(fields.get("Base64Signature"), where)),
        certificate=decode_base64(_field(certificate, "Raw", where), where) if certificate is not None else None,
        log=fields.get("Bundle"),
        stamp=fields.get("RFC3161Timestamp"),
        where=where,
    )


def _bundle(
    *, content: Envelope | SimpleSigning, certificate: bytes | None, log: Any, stamp: Any, where: str
) -> SignatureBundle:
    token = decode_base64(_field(stamp, "SignedRFC3161Timestamp", where), where) if stamp is not None else None
    return SignatureBundle(
        form="cosign 2 signature" if isinstance(content, SimpleSigning) else "cosign 2 attestation",
        certificate=certificate,
        key_hint="",
        entry=_entry(log, where) if log is not None else None,
        timestamps=(token,) if token else (),
        content=content,
    )


def _entry(log: Any, where: str) -> LogEntry:
    payload = _field(log, "Payload", where)
    body = decode_base64(_field(payload, "body", where), where)
    kind = strict_json(body, where=f"{where} log body", max_bytes=MIB)
    log_id, time, index = (_field(payload, key, where) for key in ("logID", "integratedTime", "logIndex"))
    numbers = (time, index)
    if not all(isinstance(number, int) and not isinstance(number, bool) and 0 <= number < _U53 for number in numbers):
        raise _refuse(where, "the log entry's time and index must be whole numbers")
    try:
        identifier = bytes.fromhex(log_id)
    except (TypeError, ValueError) as error:
        raise _refuse(where, "the log's identifier is not hexadecimal") from error
    return LogEntry(
        log_index=index,
        log_id=identifier,
        kind=str(_field(kind, "kind", where)),
        version=str(_field(kind, "apiVersion", where)),
        integrated_time=time or None,
        promise=decode_base64(_field(log, "SignedEntryTimestamp", where), where),
        proof=None,
        body=body,
    )


def signed_digest(payload: bytes) -> str:
    """The manifest digest that a simple-signing payload names; raises `StepFailed` for any other payload."""
    try:
        document = strict_json(payload, where="payload", max_bytes=MIB)
        critical = _field(document, "critical", "payload")
        kind = _field(critical, "type", "payload")
        digest = _field(_field(critical, "image", "payload"), "docker-manifest-digest", "payload")
    except InvalidInput as error:
        raise StepFailed(f"the payload is not a simple-signing document: {error}") from error
    if kind != _TYPE or not isinstance(digest, str):
        raise StepFailed(f"the payload is not of the type {_TYPE!r}")
    return digest


def require_signed_digest(payload: bytes, image: Digest) -> str:
    """The digest in `payload` where it is `image`'s; raises `StepFailed`."""
    digest = signed_digest(payload)
    if digest != image:
        raise StepFailed(f"it is about {digest[:80]}, not about this image ({image})")
    return digest


def _field(value: Any, key: str, where: str) -> Any:
    if not isinstance(value, dict) or value.get(key) is None:
        raise _refuse(where, f"the field {key!r} is missing")
    return value[key]


def _der(pem: str, where: str) -> bytes:
    try:
        return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)
    except MALFORMED as error:
        raise _refuse(where, "the certificate is not PEM") from error


def _refuse(where: str, message: str) -> InvalidInput:
    return InvalidInput(
        message,
        rule="provenance/parsed",
        where=where,
        next_step="Submit what `cosign download signature` printed, or better: sign again with cosign 3.",
    )
