"""The services of a private Sigstore, in this process: certificate authority, certificate log, Rekor, timestamps.

Made to be thrown away: keys live in memory. Formats: RFC 5280 certificates with Fulcio's extensions, RFC 6962 SCTs and
Merkle trees, Rekor v1 (`dsse`, `hashedrekord` 0.0.1 with a signed promise) and Rekor v2 (`hashedrekord` 0.0.2, Ed25519
checkpoint), RFC 3161 timestamps.
"""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import rfc8785
from asn1crypto import algos, cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

SigningKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
_SCT_LIST = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_ISSUER = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ISSUER_V2 = ObjectIdentifier("1.3.6.1.4.1.57264.1.8")


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def sign(key: SigningKey, message: bytes) -> bytes:
    """`key`'s signature over `message`, by SHA-256 where the key needs a hash."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    return key.sign(message, ec.ECDSA(hashes.SHA256()))


def spki(key: SigningKey) -> bytes:
    """The public half of `key` as DER SubjectPublicKeyInfo."""
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def b64(data: bytes) -> str:
    """`data` as base64 text."""
    return base64.b64encode(data).decode()


def der(certificate: x509.Certificate) -> bytes:
    """`certificate` as DER."""
    return certificate.public_bytes(serialization.Encoding.DER)


def pem(certificate: x509.Certificate) -> bytes:
    """`certificate` as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class Issuer:
    """A certificate and its key, able to issue others."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make_authority(
    name: str,
    *,
    start: datetime,
    end: datetime,
    parent: Issuer | None = None,
    usage: ObjectIdentifier | None = None,
    is_ca: bool = True,
) -> Issuer:
    """A CA certificate (or, with `is_ca` False, a service's own) by `parent`, self-signed without one."""
    key = new_key()
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "hospital.example"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    signing_key = parent.key if parent else key
    path_length = None if not is_ca else (0 if parent else 1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(parent.certificate.subject if parent else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(is_ca, path_length), critical=True)
        .add_extension(_key_usage(signs_certificates=is_ca), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False)
    )
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=not is_ca)
    return Issuer(builder.sign(signing_key, hashes.SHA256()), key)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(text: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text) if "://" in text else x509.RFC822Name(text)


class CertificateAuthority:
    """Fulcio: root, intermediate, and the certificate log whose timestamp each certificate carries."""

    def __init__(self, start: datetime, end: datetime) -> None:
        self.root = make_authority("fulcio-root", start=start, end=end)
        usage = ExtendedKeyUsageOID.CODE_SIGNING
        self.intermediate = make_authority("fulcio-int", start=start, end=end, parent=self.root, usage=usage)
        self.ct_key = new_key()

    def issue(
        self,
        key: SigningKey,
        identity: str,
        issuer: str,
        at: datetime,
        *,
        minutes: int = 10,
        usage: ObjectIdentifier = ExtendedKeyUsageOID.CODE_SIGNING,
        sct_key: ec.EllipticCurvePrivateKey | None = None,
        claims: dict[str, str] | None = None,
        raw_claims: dict[str, str] | None = None,
        with_sct: bool = True,
        sct_extensions: bytes = b"",
        issuer_v2: str | None = None,
        also: str | None = None,
    ) -> x509.Certificate:
        """A signing certificate for `identity` as vouched for by `issuer`, valid for some minutes from `at`.

        `claims` are further Fulcio extensions by the last arc of their OID (`raw_claims` the older ones, whose value
        is the text itself), `sct_extensions` what static certificate logs put into their timestamps. The rest is for
        forgers: another log key (`sct_key`), no SCT, a second issuer, a second subject.
        """
        builder = self._unsigned(key, [text for text in (identity, also) if text], at, minutes, usage)
        for oid, text in ((_ISSUER, issuer.encode()), (_ISSUER_V2, core.UTF8String(issuer_v2 or issuer).dump())):
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, text), critical=False)
        values = {arc: core.UTF8String(text).dump() for arc, text in (claims or {}).items()}
        values |= {arc: text.encode() for arc, text in (raw_claims or {}).items()}
        for arc, value in values.items():
            oid = ObjectIdentifier(f"1.3.6.1.4.1.57264.1.{arc}")
            builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
        precertificate = builder.sign(self.intermediate.key, hashes.SHA256())
        if not with_sct:
            return precertificate
        scts = self._sct_list(precertificate.tbs_certificate_bytes, at, sct_key or self.ct_key, sct_extensions)
        return builder.add_extension(x509.UnrecognizedExtension(_SCT_LIST, scts), critical=False).sign(
            self.intermediate.key, hashes.SHA256()
        )

    def _unsigned(
        self, key: SigningKey, subjects: list[str], at: datetime, minutes: int, usage: ObjectIdentifier
    ) -> x509.CertificateBuilder:
        names = [_general_name(text) for text in subjects]
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.intermediate.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(at)
            .not_valid_after(at + timedelta(minutes=minutes))
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.intermediate.key.public_key()), critical=False
            )
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
        )

    def _sct_list(self, tbs: bytes, at: datetime, key: ec.EllipticCurvePrivateKey, extensions: bytes) -> bytes:
        """RFC 6962 §3.3: one SCT over the precertificate, as the certificate extension holds it."""
        milliseconds = int(at.timestamp() * 1000)
        issuer = hashlib.sha256(spki(self.intermediate.key)).digest()
        extended = struct.pack("!H", len(extensions)) + extensions
        entry = issuer + len(tbs).to_bytes(3, "big") + tbs + extended
        signature = sign(key, struct.pack("!BBQH", 0, 0, milliseconds, 1) + entry)
        log_id = hashlib.sha256(spki(self.ct_key)).digest()
        sct = b"\0" + log_id + struct.pack("!Q", milliseconds) + extended
        sct += b"\x04\x03" + struct.pack("!H", len(signature)) + signature
        return bytes(core.OctetString(struct.pack("!HH", len(sct) + 2, len(sct)) + sct).dump())


class TransparencyLog:
    """Rekor: an RFC 6962 tree in memory, with signed checkpoints and (version 1) signed promises."""

    origin = "rekor.hospital.example"

    def __init__(self, version: int) -> None:
        self.version = version
        self.key: SigningKey = ed25519.Ed25519PrivateKey.generate() if version == 2 else new_key()
        self._leaves: list[bytes] = []

    @property
    def log_id(self) -> bytes:
        """Identifier of the log: of the key for version 1, C2SP's note key id (in full) for version 2."""
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return hashlib.sha256(self.origin.encode() + b"\n\x01" + spki(self.key)[-32:]).digest()
        return hashlib.sha256(spki(self.key)).digest()

    def append(self, kind: str, version: str, spec: dict[str, Any], at: datetime) -> dict[str, Any]:
        """Log an entry; returns it as a bundle's `tlogEntries` item."""
        body = rfc8785.dumps({"apiVersion": version, "kind": kind, "spec": spec})
        self._leaves.append(_hash(b"\0" + body))
        index, size = len(self._leaves) - 1, len(self._leaves)
        entry: dict[str, Any] = {
            "logIndex": str(index),
            "logId": {"keyId": b64(self.log_id)},
            "kindVersion": {"kind": kind, "version": version},
            "inclusionProof": {
                "logIndex": str(index),
                "rootHash": b64(_root(self._leaves)),
                "treeSize": str(size),
                "hashes": [b64(item) for item in _path(index, self._leaves)],
                "checkpoint": {"envelope": self.checkpoint()},
            },
            "canonicalizedBody": b64(body),
        }
        if self.version == 1:
            time = int(at.timestamp())
            entry["integratedTime"] = str(time)
            entry["inclusionPromise"] = {"signedEntryTimestamp": b64(self.promise(body, time, index))}
        return entry

    def promise(self, body: bytes, time: int, index: int) -> bytes:
        """The signed entry timestamp of Rekor v1."""
        promised: dict[str, str | int] = {
            "body": b64(body),
            "integratedTime": time,
            "logID": self.log_id.hex(),
            "logIndex": index,
        }
        return sign(self.key, rfc8785.dumps(promised))

    def checkpoint(self) -> str:
        """The signed tree head as a C2SP note."""
        note = f"{self.origin}\n{len(self._leaves)}\n{b64(_root(self._leaves))}\n"
        return f"{note}\n— {self.origin} {b64(self.log_id[:4] + sign(self.key, note.encode()))}\n"


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _split(size: int) -> int:
    return 1 << ((size - 1).bit_length() - 1)


def _root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    middle = _split(len(leaves))
    return _hash(b"\1" + _root(leaves[:middle]) + _root(leaves[middle:]))


def _path(index: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    middle = _split(len(leaves))
    if index < middle:
        return [*_path(index, leaves[:middle]), _root(leaves[middle:])]
    return [*_path(index - middle, leaves[middle:]), _root(leaves[:middle])]


class TimestampAuthority:
    """An RFC 3161 authority; with `embed` its tokens bring its certificate along."""

    def __init__(self, start: datetime, end: datetime, *, embed: bool = True) -> None:
        self.embed = embed
        self.root = make_authority("tsa-root", start=start, end=end)
        usage = ExtendedKeyUsageOID.TIME_STAMPING
        self.service = make_authority("tsa", start=start, end=end, parent=self.root, usage=usage, is_ca=False)

    def stamp(self, message: bytes, at: datetime) -> bytes:
        """A DER TimeStampResp that `message` existed at `at`."""
        sha256 = algos.DigestAlgorithm({"algorithm": "sha256"})
        imprint = {"hash_algorithm": sha256, "hashed_message": _hash(message)}
        info = tsp.TSTInfo(
            {
                "version": "v1",
                "policy": "1.2.3.4.1",
                "message_imprint": imprint,
                "serial_number": int.from_bytes(os.urandom(8), "big") >> 1,
                "gen_time": at.astimezone(UTC).replace(microsecond=0),
            }
        )
        token = cms.ContentInfo({"content_type": "signed_data", "content": self._signed(info, sha256)})
        return bytes(tsp.TimeStampResp({"status": {"status": "granted"}, "time_stamp_token": token}).dump())

    def _signed(self, info: Any, sha256: Any) -> Any:
        certificate = asn1_x509.Certificate.load(der(self.service.certificate))
        ess = tsp.ESSCertIDv2({"hash_algorithm": sha256, "cert_hash": _hash(der(self.service.certificate))})
        attributes = cms.CMSAttributes(
            [
                cms.CMSAttribute({"type": "content_type", "values": ["tst_info"]}),
                cms.CMSAttribute({"type": "message_digest", "values": [_hash(info.dump())]}),
                cms.CMSAttribute(
                    {"type": "signing_certificate_v2", "values": [tsp.SigningCertificateV2({"certs": [ess]})]}
                ),
            ]
        )
        names = {"issuer": certificate.issuer, "serial_number": certificate.serial_number}
        signer = cms.SignerInfo(
            {
                "version": "v1",
                "sid": cms.SignerIdentifier("issuer_and_serial_number", cms.IssuerAndSerialNumber(names)),
                "digest_algorithm": sha256,
                "signed_attrs": attributes,
                "signature_algorithm": algos.SignedDigestAlgorithm({"algorithm": "sha256_ecdsa"}),
                "signature": sign(self.service.key, attributes.dump()),
            }
        )
        content = cms.EncapsulatedContentInfo(
            {"content_type": "tst_info", "content": core.ParsableOctetString(info.dump())}
        )
        return cms.SignedData(
            {
                "version": "v3",
                "digest_algorithms": [sha256],
                "encap_content_info": content,
                "certificates": [certificate] if self.embed else [],
                "signer_infos": [signer],
            }
        )
