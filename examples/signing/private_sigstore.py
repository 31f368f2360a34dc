"""A throw-away private Sigstore, for the demo and for tests: it signs images as cosign does, without any network.

    sigstore = PrivateSigstore()
    Path("trusted_root.json").write_bytes(sigstore.trusted_root_json)
    Path("image.sigstore.json").write_text(sigstore.sign_image(digest, "release@provider.example", "https://idp.example"))

Never trust one outside a demo: whoever runs it can sign as anybody.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from examples.signing.services import (
    CertificateAuthority,
    SigningKey,
    TimestampAuthority,
    TransparencyLog,
    b64,
    der,
    new_key,
    pem,
    sign,
    spki,
)

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
TRUSTED_ROOT = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
IN_TOTO = "application/vnd.in-toto+json"
COSIGN_SIGN = "https://sigstore.dev/cosign/sign/v1"
SIMPLE_SIGNING = "cosign container image signature"


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@dataclass
class Options:
    """How a signature is made; the defaults make a good one, a forger changes them."""

    at: datetime | None = None
    stamped_at: datetime | None = None
    payload_type: str = IN_TOTO
    stamp: bool | None = None
    log: bool = True
    key: SigningKey | None = None
    kind: str = ""
    """Kind of the log entry of an envelope (`dsse`, `hashedrekord`, `intoto`); else what the log's clients choose."""

    issue: dict[str, Any] = field(default_factory=dict)


class PrivateSigstore:
    """CA, certificate log, transparency log (Rekor `rekor` = 1 or 2) and timestamp authority in one object."""

    def __init__(self, rekor: int = 2, *, now: Callable[[], datetime] = _now, years: int = 10) -> None:
        self.now = now
        self.start = now() - timedelta(days=1)
        end = self.start + timedelta(days=365 * years)
        self.authority = CertificateAuthority(self.start, end)
        self.log = TransparencyLog(rekor)
        self.timestamps = TimestampAuthority(self.start, end)

    # --- trust ------------------------------------------------------------------------------------------------------

    @property
    def trusted_root(self) -> dict[str, Any]:
        """The trusted root of this instance, in sigstore's `trusted_root.json` format."""
        ca, tsa = self.authority, self.timestamps
        return {
            "mediaType": TRUSTED_ROOT,
            "tlogs": [self._log_instance("https://rekor.hospital.example", self.log.key, self.log.log_id)],
            "certificateAuthorities": [self._chain("fulcio", ca.intermediate.certificate, ca.root.certificate)],
            "ctlogs": [
                self._log_instance("https://ct.hospital.example", ca.ct_key, hashlib.sha256(spki(ca.ct_key)).digest())
            ],
            "timestampAuthorities": [self._chain("tsa", tsa.service.certificate, tsa.root.certificate)],
        }

    @property
    def trusted_root_json(self) -> bytes:
        """The trusted root as the bytes whose digest a policy pins."""
        return json.dumps(self.trusted_root, indent=1).encode() + b"\n"

    def _valid_for(self) -> dict[str, str]:
        return {"start": self.start.strftime("%Y-%m-%dT%H:%M:%SZ")}

    def _log_instance(self, url: str, key: Any, log_id: bytes) -> dict[str, Any]:
        details = "PKIX_ECDSA_P256_SHA_256" if isinstance(key, ec.EllipticCurvePrivateKey) else "PKIX_ED25519"
        public_key = {"rawBytes": b64(spki(key)), "keyDetails": details, "validFor": self._valid_for()}
        return {
            "baseUrl": url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": public_key,
            "logId": {"keyId": b64(log_id)},
        }

    def _chain(self, name: str, *certificates: x509.Certificate) -> dict[str, Any]:
        return {
            "subject": {"organization": "hospital.example", "commonName": name},
            "uri": f"https://{name}.hospital.example",
            "certChain": {"certificates": [{"rawBytes": b64(der(item))} for item in certificates]},
            "validFor": self._valid_for(),
        }

    # --- signing ----------------------------------------------------------------------------------------------------

    def sign_image(
        self, digest: str, identity: str, issuer: str = "https://idp.hospital.example", options: Options | None = None
    ) -> str:
        """A bundle as `cosign sign` (3.x) makes it: that `identity` signed the image with manifest `digest`."""
        statement = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {"sha256": digest.removeprefix("sha256:")}}],
            "predicateType": COSIGN_SIGN,
            "predicate": {},
        }
        return self.sign_payload(json.dumps(statement).encode(), identity, issuer, options)

    def sign_payload(
        self,
        payload: bytes,
        identity: str,
        issuer: str = "https://idp.hospital.example",
        options: Options | None = None,
    ) -> str:
        """A bundle around a DSSE envelope of `payload` (an in-toto statement, or what a forger makes of it)."""
        chosen = options or Options()
        key = chosen.key or new_key()
        certificate = self.authority.issue(key, identity, issuer, chosen.at or self.now(), **chosen.issue)
        envelope, message = _envelope(key, payload, chosen.payload_type)
        material: dict[str, Any] = {"certificate": {"rawBytes": b64(der(certificate))}}
        entry = self._envelope_entry(envelope, message, *_signer(certificate), chosen)
        return self._finish(material, {"dsseEnvelope": envelope}, entry, chosen)

    def sign_blob(
        self, data: bytes, identity: str, issuer: str = "https://idp.hospital.example", options: Options | None = None
    ) -> str:
        """A bundle as `cosign sign-blob` makes it: a signature over `data` itself."""
        chosen = options or Options()
        at, key = chosen.at or self.now(), chosen.key or new_key()
        certificate = self.authority.issue(key, identity, issuer, at, **chosen.issue)
        entry = self._hashedrekord(
            hashlib.sha256(data).digest(), signature := sign(key, data), *_signer(certificate), at
        )
        material: dict[str, Any] = {"certificate": {"rawBytes": b64(der(certificate))}}
        return self._finish(material, _message(data, signature), entry, chosen)

    def sign_blob_with_key(self, data: bytes, key: SigningKey, options: Options | None = None) -> str:
        """The same by a managed key (`cosign sign-blob --key`)."""
        chosen = options or Options()
        at, signature = chosen.at or self.now(), sign(key, data)
        entry = self._hashedrekord(hashlib.sha256(data).digest(), signature, *_key_signer(key), at)
        return self._finish({"publicKey": {"hint": _hint(key)}}, _message(data, signature), entry, chosen)

    def sign_image_with_key(self, digest: str, key: SigningKey, options: Options | None = None) -> str:
        """A bundle by a managed key, without any certificate (`cosign sign --key`)."""
        statement = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {"sha256": digest.removeprefix("sha256:")}}],
            "predicateType": COSIGN_SIGN,
            "predicate": {},
        }
        return self.sign_payload_with_key(json.dumps(statement).encode(), key, options)

    def sign_payload_with_key(self, payload: bytes, key: SigningKey, options: Options | None = None) -> str:
        """The same around an envelope of `payload`."""
        chosen = options or Options()
        envelope, message = _envelope(key, payload, chosen.payload_type)
        entry = self._envelope_entry(envelope, message, *_key_signer(key), chosen)
        return self._finish({"publicKey": {"hint": _hint(key)}}, {"dsseEnvelope": envelope}, entry, chosen)

    def sign_image_legacy(
        self,
        digest: str,
        identity: str,
        issuer: str = "https://idp.hospital.example",
        repository: str = "registry.hospital.example/tool",
    ) -> str:
        """A line as `cosign download signature` (2.x) prints it; needs Rekor v1."""
        at, key = self.now(), new_key()
        certificate = self.authority.issue(key, identity, issuer, at)
        payload = json.dumps(
            {
                "critical": {
                    "identity": {"docker-reference": repository},
                    "image": {"docker-manifest-digest": digest},
                    "type": SIMPLE_SIGNING,
                },
                "optional": None,
            }
        ).encode()
        signature = sign(key, payload)
        entry = self._hashedrekord(hashlib.sha256(payload).digest(), signature, b64(pem(certificate)), {}, at)
        promised = {
            "body": entry["canonicalizedBody"],
            "integratedTime": int(entry["integratedTime"]),
            "logIndex": int(entry["logIndex"]),
            "logID": self.log.log_id.hex(),
        }
        line = {
            "Base64Signature": b64(signature),
            "Payload": b64(payload),
            "Cert": {"Raw": b64(der(certificate))},
            "Chain": None,
            "Bundle": {
                "SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
                "Payload": promised,
            },
            "RFC3161Timestamp": None,
        }
        return json.dumps(line)

    # --- parts ------------------------------------------------------------------------------------------------------

    def _envelope_entry(
        self, envelope: dict[str, Any], message: bytes, signer: str, verifier: dict[str, Any], chosen: Options
    ) -> dict[str, Any]:
        at, signature = chosen.at or self.now(), envelope["signatures"][0]["sig"]
        kind = chosen.kind or ("hashedrekord" if self.log.version == 2 else "dsse")
        if kind == "hashedrekord":
            return self._hashedrekord(
                hashlib.sha256(message).digest(), base64.b64decode(signature), signer, verifier, at
            )
        payload = hashlib.sha256(base64.b64decode(envelope["payload"]))
        whole = {"algorithm": "sha256", "value": hashlib.sha256(json.dumps(envelope).encode()).hexdigest()}
        payload_hash = {"algorithm": "sha256", "value": payload.hexdigest()}
        if kind == "intoto":  # Rekor keeps `sig` as base64 of the envelope's own base64 text
            logged = [{"sig": b64(signature.encode()), "publicKey": signer}]
            inner = {"payloadType": envelope["payloadType"], "signatures": logged}
            content = {"envelope": inner, "hash": whole, "payloadHash": payload_hash}
            return self.log.append("intoto", "0.0.2", {"content": content}, at)
        if self.log.version == 2:
            spec: dict[str, Any] = {
                "payloadHash": {"algorithm": "SHA2_256", "digest": b64(payload.digest())},
                "signatures": [{"content": signature, "verifier": verifier}],
            }
            return self.log.append("dsse", "0.0.2", {"dsseV002": spec}, at)
        spec = {
            "envelopeHash": whole,
            "payloadHash": payload_hash,
            "signatures": [{"signature": signature, "verifier": signer}],
        }
        return self.log.append("dsse", "0.0.1", spec, at)

    def _hashedrekord(
        self, digest: bytes, signature: bytes, signer: str, verifier: dict[str, Any], at: datetime
    ) -> dict[str, Any]:
        if self.log.version == 2:
            record = {
                "data": {"algorithm": "SHA2_256", "digest": b64(digest)},
                "signature": {"content": b64(signature), "verifier": verifier},
            }
            return self.log.append("hashedrekord", "0.0.2", {"hashedRekordV002": record}, at)
        spec = {
            "data": {"hash": {"algorithm": "sha256", "value": digest.hex()}},
            "signature": {"content": b64(signature), "publicKey": {"content": signer}},
        }
        return self.log.append("hashedrekord", "0.0.1", spec, at)

    def _finish(
        self, material: dict[str, Any], content: dict[str, Any], entry: dict[str, Any], options: Options
    ) -> str:

        raw = content.get("messageSignature", {}).get("signature") or content["dsseEnvelope"]["signatures"][0]["sig"]
        stamp = self.log.version == 2 if options.stamp is None else options.stamp
        at = options.stamped_at or options.at or self.now()
        tokens = [{"signedTimestamp": b64(self.timestamps.stamp(base64.b64decode(raw), at))}] if stamp else []
        material["tlogEntries"] = [entry] if options.log else []
        material["timestampVerificationData"] = {"rfc3161Timestamps": tokens}
        return json.dumps({"mediaType": BUNDLE, "verificationMaterial": material, **content})


def _signer(certificate: x509.Certificate) -> tuple[str, dict[str, Any]]:
    """How Rekor v1 and v2 record who signed with a certificate."""
    verifier = {"x509Certificate": {"rawBytes": b64(der(certificate))}, "keyDetails": "PKIX_ECDSA_P256_SHA_256"}
    return b64(pem(certificate)), verifier


def _key_signer(key: SigningKey) -> tuple[str, dict[str, Any]]:
    """How Rekor v1 and v2 record who signed with a key."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public = key.public_key().public_bytes(serialization.Encoding.PEM, form)
    return b64(public), {"publicKey": {"rawBytes": b64(spki(key))}, "keyDetails": "PKIX_ECDSA_P256_SHA_256"}


def _hint(key: SigningKey) -> str:
    return b64(hashlib.sha256(spki(key)).digest())


def _message(data: bytes, signature: bytes) -> dict[str, Any]:
    digest = {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(data).digest())}
    return {"messageSignature": {"messageDigest": digest, "signature": b64(signature)}}


def _envelope(key: SigningKey, payload: bytes, payload_type: str) -> tuple[dict[str, Any], bytes]:
    """A DSSE envelope of `payload`, and the bytes that were signed."""
    kind = payload_type.encode()
    message = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    envelope = {
        "payload": b64(payload),
        "payloadType": payload_type,
        "signatures": [{"sig": b64(sign(key, message)), "keyid": ""}],
    }
    return envelope, message
