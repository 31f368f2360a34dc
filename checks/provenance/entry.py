"""Does a transparency-log entry record this very signature: its content, its bytes and its signer?

A log entry that is genuine but belongs to another signature proves nothing (CVE-2022-36056), so the canonical body is
compared field by field with the bundle. Kinds of entry: https://github.com/sigstore/rekor/tree/main/pkg/types, and for
Rekor v2 `hashedrekord` and `dsse` 0.0.2 (https://github.com/sigstore/rekor-tiles). An envelope's own hash in `dsse` and
`intoto` entries cannot be checked (the envelope's JSON is not canonical); payload hash, signature and signer can.
`intoto 0.0.1` keeps no signature: it says that this signer had this payload logged, which is what an entry is for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from checks.provenance.bundle import Content, Envelope, LogEntry, decode_base64
from checks.provenance.keys import MALFORMED, PublicKey, digest_with, hashes_of, load_public_key, spki
from checks.provenance.steps import StepFailed
from pratique.bounds import MIB, strict_json
from pratique.errors import InvalidInput

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "SHA2_256": hashes.SHA256(),
    "SHA2_384": hashes.SHA384(),
    "SHA2_512": hashes.SHA512(),
}


@dataclass(frozen=True)
class Signed:
    """A signature as it must appear in the log: who signed (certificate or key) and the bytes that were signed."""

    content: Content
    key: PublicKey
    certificate: x509.Certificate | None
    message: bytes | None
    message_sha256: bytes

    @property
    def signature(self) -> bytes:
        return self.content.signature


def require_entry_of(entry: LogEntry, signed: Signed) -> str:
    """What kind of entry it is, once its body was found to record exactly `signed` (the lesson of CVE-2022-36056)."""
    is_record_of = _KINDS.get((entry.kind, entry.version))
    if is_record_of is None:
        raise StepFailed(f"log entries of the kind {entry.kind[:40]} {entry.version[:20]} are not read")
    try:
        body = strict_json(entry.body, where="canonicalizedBody", max_bytes=16 * MIB)
        if (body["kind"], body["apiVersion"]) != (entry.kind, entry.version):
            raise StepFailed("the entry's body is of another kind than the bundle says")
        same = is_record_of(body["spec"], signed)
    except InvalidInput as error:
        raise StepFailed(f"the entry's body cannot be read: {error}") from error
    except (LookupError, TypeError, AttributeError) as error:
        raise StepFailed(f"the entry's body has not the form of its kind: {str(error)[:100]}") from error
    if not same:
        raise StepFailed("the log entry records another signature, content or signer than this bundle has")
    return f"{entry.kind} {entry.version}, index {entry.log_index}, records this content, signature and signer"


def _hashedrekord_v1(spec: Any, signed: Signed) -> bool:
    stated, signature = spec["data"]["hash"], spec["signature"]
    digest = _digest(signed, "SHA2_" + str(stated["algorithm"]).removeprefix("sha"))
    return (
        stated == {"algorithm": stated["algorithm"], "value": digest.hex()}
        and decode_base64(signature["content"], "signature.content") == signed.signature
        and _is_signer(signature["publicKey"]["content"], signed)
    )


def _hashedrekord_v2(spec: Any, signed: Signed) -> bool:
    record = spec["hashedRekordV002"]
    data, signature = record["data"], record["signature"]
    return (
        decode_base64(data["digest"], "data.digest") == _digest(signed, data["algorithm"])
        and decode_base64(signature["content"], "signature.content") == signed.signature
        and _is_verifier(signature["verifier"], signed)
    )


def _is_verifier(verifier: Any, signed: Signed) -> bool:
    """Whether Rekor v2's `verifier` is the signer's certificate or key, and not both."""
    if signed.certificate:
        raw = decode_base64(verifier["x509Certificate"]["rawBytes"], "verifier")
        return raw == _der(signed.certificate) and "publicKey" not in verifier
    raw = decode_base64(verifier["publicKey"]["rawBytes"], "verifier")
    return raw == spki(signed.key) and "x509Certificate" not in verifier


def _dsse_v1(spec: Any, signed: Signed) -> bool:
    if not isinstance(signed.content, Envelope):
        return False
    recorded = spec["signatures"][0]
    return (
        len(spec["signatures"]) == 1
        and _is_payload(spec["payloadHash"], signed.content)
        and decode_base64(recorded["signature"], "signature") == signed.signature
        and _is_signer(recorded["verifier"], signed)
    )


def _dsse_v2(spec: Any, signed: Signed) -> bool:
    if not isinstance(signed.content, Envelope):
        return False
    record = spec["dsseV002"]
    stated, recorded = record["payloadHash"], record["signatures"][0]
    return (
        len(record["signatures"]) == 1
        and stated["algorithm"] == "SHA2_256"
        and decode_base64(stated["digest"], "payloadHash") == hashlib.sha256(signed.content.payload).digest()
        and decode_base64(recorded["content"], "signature") == signed.signature
        and _is_verifier(recorded["verifier"], signed)
    )


def _intoto_v1(spec: Any, signed: Signed) -> bool:
    return (
        isinstance(signed.content, Envelope)
        and _is_payload(spec["content"]["payloadHash"], signed.content)
        and _is_signer(spec["publicKey"], signed)
    )


def _intoto_v2(spec: Any, signed: Signed) -> bool:
    if not isinstance(signed.content, Envelope):
        return False
    content = spec["content"]
    envelope = content["envelope"]
    if envelope["payloadType"] != signed.content.payload_type or len(envelope["signatures"]) != 1:
        return False
    recorded = envelope["signatures"][0]
    # Rekor keeps `sig` as base64 of the envelope's own base64 text.
    inner = decode_base64(recorded["sig"], "sig").decode("ascii", errors="replace")
    return (
        _is_payload(content["payloadHash"], signed.content)
        and decode_base64(inner, "sig") == signed.signature
        and _is_signer(recorded["publicKey"], signed)
    )


_KINDS = {
    ("hashedrekord", "0.0.1"): _hashedrekord_v1,
    ("hashedrekord", "0.0.2"): _hashedrekord_v2,
    ("dsse", "0.0.1"): _dsse_v1,
    ("dsse", "0.0.2"): _dsse_v2,
    ("intoto", "0.0.1"): _intoto_v1,
    ("intoto", "0.0.2"): _intoto_v2,
}


def _is_payload(stated: Any, envelope: Envelope) -> bool:
    return bool(stated == {"algorithm": "sha256", "value": hashlib.sha256(envelope.payload).hexdigest()})


def _is_signer(text: Any, signed: Signed) -> bool:
    """Whether base64 PEM `text` is the signer's certificate or key, compared as DER."""
    pem = decode_base64(text, "verifier")
    if not signed.certificate:
        return spki(load_public_key(pem)) == spki(signed.key)
    try:
        return _der(x509.load_pem_x509_certificate(pem)) == _der(signed.certificate)
    except MALFORMED as error:
        raise StepFailed("the entry's signer is not a certificate") from error


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _digest(signed: Signed, name: Any) -> bytes:
    """Digest of the signed message by the hash called `name`, which must be one that the signer's key goes with."""
    algorithm = _HASHES.get(name) if isinstance(name, str) else None
    fitting = {one.name for one in hashes_of(signed.key) or _HASHES.values()}  # Ed25519 has none: any names the message
    if algorithm is None or algorithm.name not in fitting:
        raise StepFailed(f"the entry's hash {str(name)[:20]} does not go with the signer's kind of key")
    if isinstance(algorithm, hashes.SHA256):
        return signed.message_sha256
    if signed.message is None:
        raise StepFailed("the signed message itself would be needed for this hash")
    return digest_with(algorithm, signed.message)
