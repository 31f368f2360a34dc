"""Reading a Sigstore bundle (v0.1 to v0.3) strictly and with bounds: what is not exactly a bundle is refused.

Format: https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_bundle.proto, as JSON. Unlike a protobuf
parser this one refuses duplicate keys, unknown keys, lax base64 and numbers that are not plain decimal text.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any

from pratique.bounds import MIB, strict_json
from pratique.errors import InvalidInput

MAX_BUNDLE_BYTES = 16 * MIB
_MAX_TIMESTAMPS = 32
_MAX_CERTIFICATES = 16
_MAX_HASHES = 64
_MAX_TEXT = 4096
_MEDIA_TYPES = {
    "application/vnd.dev.sigstore.bundle+json;version=0.1": 1,
    "application/vnd.dev.sigstore.bundle+json;version=0.2": 2,
    "application/vnd.dev.sigstore.bundle+json;version=0.3": 3,
    "application/vnd.dev.sigstore.bundle.v0.3+json": 3,
}
_DIGESTS = {"SHA2_256": 32, "SHA2_384": 48, "SHA2_512": 64}
_NUMBER = re.compile(r"0|[1-9][0-9]{0,19}", re.ASCII)
_U64 = 2**64


@dataclass(frozen=True)
class InclusionProof:
    """RFC 6962 audit path of a leaf, and the log's signed checkpoint (a C2SP note) as text."""

    log_index: int
    tree_size: int
    root_hash: bytes
    hashes: tuple[bytes, ...]
    checkpoint: str | None


@dataclass(frozen=True)
class LogEntry:
    """A transparency-log entry: its canonical body, the log's promise (SET) and proof of inclusion."""

    log_index: int
    log_id: bytes
    kind: str
    version: str
    integrated_time: int | None
    promise: bytes | None
    proof: InclusionProof | None
    body: bytes


@dataclass(frozen=True)
class Envelope:
    """A DSSE envelope with its one signature."""

    payload_type: str
    payload: bytes
    signature: bytes

    @property
    def signed_bytes(self) -> bytes:
        """The pre-authentication encoding, which is what is signed (DSSE v1)."""
        kind = self.payload_type.encode()
        return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(self.payload), self.payload)


@dataclass(frozen=True)
class MessageSignature:
    """A signature over the artifact itself, whose bytes are elsewhere, with its digest where the bundle states one."""

    digest: bytes | None
    signature: bytes
    algorithm: str = "SHA2_256"
    signed_bytes: None = None


@dataclass(frozen=True)
class SimpleSigning:
    """What cosign 1 and 2 sign: the bytes of a "simple signing" JSON payload."""

    payload: bytes
    signature: bytes

    @property
    def signed_bytes(self) -> bytes:
        """The payload itself."""
        return self.payload


Content = Envelope | MessageSignature | SimpleSigning


@dataclass(frozen=True)
class SignatureBundle:
    """One signature with its verification material; `certificate` (DER) is None when a managed key signed.

    `chain` are the certificates that the bundle brings above the signing one; none of them is believed for that.
    """

    form: str
    certificate: bytes | None
    key_hint: str
    entry: LogEntry | None
    timestamps: tuple[bytes, ...]
    content: Content
    raw: bytes = b""
    chain: tuple[bytes, ...] = ()


def parse_bundle(data: bytes, *, where: str, any_chain: bool = False) -> SignatureBundle:
    """The Sigstore bundle in `data`; raises `InvalidInput` (`provenance/parsed` or a `json/…` rule).

    With `any_chain` one of v0.3 may bring a chain too, as `model-signing` writes it for certificates of one's own.
    """
    fields = _Object(strict_json(data, where=where, max_bytes=MAX_BUNDLE_BYTES), where)
    media_type = fields.text("mediaType")
    if media_type not in _MEDIA_TYPES:
        raise _refuse(where, f"the media type {media_type[:80]!r} is no Sigstore bundle's")
    material = fields.child("verificationMaterial")
    certificates, hint = _signer(material, 0 if any_chain else _MEDIA_TYPES[media_type])
    entries = material.objects("tlogEntries", 1)
    stamps = material.optional("timestampVerificationData")
    tokens = stamps.objects("rfc3161Timestamps", _MAX_TIMESTAMPS) if stamps else []
    bundle = SignatureBundle(
        form=f"Sigstore bundle v0.{_MEDIA_TYPES[media_type]}",
        certificate=certificates[0] if certificates else None,
        key_hint=hint,
        entry=_entry(entries[0]) if entries else None,
        timestamps=tuple(token.only_data("signedTimestamp") for token in tokens),
        content=_content(fields),
        raw=data,
        chain=certificates[1:],
    )
    for part in (fields, material, stamps):
        if part:
            part.finish()
    if len(set(bundle.timestamps)) != len(bundle.timestamps):
        raise _refuse(where, "the same timestamp twice")
    if _MEDIA_TYPES[media_type] > 1 and bundle.entry and (not bundle.entry.proof or not bundle.entry.proof.checkpoint):
        raise _refuse(where, "the log entry has no inclusion proof with a checkpoint")
    return bundle


def _signer(material: _Object, version: int) -> tuple[tuple[bytes, ...], str]:
    chain, certificate = material.optional("x509CertificateChain"), material.optional("certificate")
    key = material.optional("publicKey")
    if sum(part is not None for part in (chain, certificate, key)) != 1:
        raise _refuse(material.where, "exactly one of certificate, x509CertificateChain, publicKey is expected")
    if certificate:
        return (certificate.only_data("rawBytes"),), ""
    if key:
        hint = key.text("hint", default="")
        key.finish()
        return (), hint
    if version > 2:
        raise _refuse(material.where, "a v0.3 bundle carries the one signing certificate, not a chain")
    certificates = (
        [item.only_data("rawBytes") for item in chain.objects("certificates", _MAX_CERTIFICATES)] if chain else []
    )
    if not certificates:
        raise _refuse(material.where, "the certificate chain is empty")
    return tuple(certificates), ""


def parse_envelope(data: bytes, *, where: str) -> Envelope:
    """The DSSE envelope in `data`, which is nothing else; raises `InvalidInput` as `parse_bundle` does."""
    return _envelope(_Object(strict_json(data, where=where, max_bytes=MAX_BUNDLE_BYTES), where))


def _content(fields: _Object) -> Content:
    envelope, message = fields.optional("dsseEnvelope"), fields.optional("messageSignature")
    if envelope and not message:
        return _envelope(envelope)
    if message and not envelope:
        return _message(message)
    raise _refuse(fields.where, "exactly one of dsseEnvelope, messageSignature is expected")


def _envelope(envelope: _Object) -> Envelope:
    signatures = envelope.objects("signatures", 1)
    if not signatures:
        raise _refuse(envelope.where, "exactly one signature is expected")
    signatures[0].text("keyid", default="")
    signed = Envelope(envelope.text("payloadType"), envelope.data("payload"), signatures[0].only_data("sig"))
    envelope.finish()
    return signed


def _message(message: _Object) -> MessageSignature:
    stated = message.optional("messageDigest")
    digest, algorithm = None, "SHA2_256"
    if stated:
        digest, algorithm = stated.data("digest"), stated.text("algorithm")
        if _DIGESTS.get(algorithm) != len(digest):
            raise _refuse(stated.where, f"only message digests by {', '.join(_DIGESTS)} are read")
        stated.finish()
    signature = message.data("signature")
    message.finish()
    return MessageSignature(digest, signature, algorithm)


def _entry(fields: _Object) -> LogEntry:
    kind, promise = fields.child("kindVersion"), fields.optional("inclusionPromise")
    proof = fields.optional("inclusionProof")
    entry = LogEntry(
        log_index=fields.number("logIndex", default=0),
        log_id=fields.child("logId").only_data("keyId"),
        kind=kind.text("kind"),
        version=kind.text("version"),
        integrated_time=fields.number("integratedTime", default=0) or None,
        promise=promise.only_data("signedEntryTimestamp") if promise else None,
        proof=_proof(proof) if proof else None,
        body=fields.data("canonicalizedBody"),
    )
    kind.finish()
    fields.finish()
    return entry


def _proof(fields: _Object) -> InclusionProof:
    checkpoint = fields.optional("checkpoint")
    envelope = checkpoint.text("envelope", longest=64 * 1024) if checkpoint else None
    if checkpoint:
        checkpoint.finish()
    proof = InclusionProof(
        log_index=fields.number("logIndex", default=0),
        tree_size=fields.number("treeSize"),
        root_hash=fields.data("rootHash"),
        hashes=fields.data_list("hashes", _MAX_HASHES),
        checkpoint=envelope,
    )
    fields.finish()
    if any(len(value) != 32 for value in (proof.root_hash, *proof.hashes)):
        raise _refuse(fields.where, "a hash in the inclusion proof is not 32 bytes")
    if proof.log_index >= proof.tree_size:
        raise _refuse(fields.where, "the proof's index lies outside its tree")
    return proof


def decode_base64(text: object, where: str) -> bytes:
    """`text` as strict, padded, standard base64; raises `InvalidInput` (`provenance/parsed`)."""
    if not isinstance(text, str):
        raise _refuse(where, "base64 text is expected")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refuse(where, f"not base64: {error}") from error
    if base64.b64encode(data).decode() != text:
        raise _refuse(where, "not canonical base64")
    return data


class _Object:
    """A JSON object read field by field; `finish` refuses fields that nobody asked for."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise _refuse(where, "a JSON object is expected")
        self.where = where
        self._rest: dict[str, Any] = dict(value)

    def _take(self, key: str) -> Any:
        return self._rest.pop(key, None)

    def _at(self, key: str) -> str:
        return f"{self.where}.{key}"

    def optional(self, key: str) -> _Object | None:
        value = self._take(key)
        return None if value is None else _Object(value, self._at(key))

    def child(self, key: str) -> _Object:
        return _Object(self._take(key), self._at(key))

    def objects(self, key: str, most: int) -> list[_Object]:
        value = self._take(key)
        items = [] if value is None else value
        if not isinstance(items, list) or len(items) > most:
            raise _refuse(self._at(key), f"a list of at most {most} is expected")
        return [_Object(item, f"{self._at(key)}[{position}]") for position, item in enumerate(items)]

    def text(self, key: str, *, default: str | None = None, longest: int = _MAX_TEXT) -> str:
        value = self._take(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or len(value) > longest:
            raise _refuse(self._at(key), f"text of at most {longest} characters is expected")
        return value

    def number(self, key: str, *, default: int | None = None) -> int:
        value = self._take(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not _NUMBER.fullmatch(value) or int(value) >= _U64:
            raise _refuse(self._at(key), "an unsigned 64-bit number as decimal text is expected")
        return int(value)

    def data(self, key: str) -> bytes:
        data = decode_base64(self._take(key), self._at(key))
        if not data:
            raise _refuse(self._at(key), "empty")
        return data

    def only_data(self, key: str) -> bytes:
        data = self.data(key)
        self.finish()
        return data

    def data_list(self, key: str, most: int) -> tuple[bytes, ...]:
        value = self._take(key)
        items = [] if value is None else value
        if not isinstance(items, list) or len(items) > most:
            raise _refuse(self._at(key), f"a list of at most {most} is expected")
        return tuple(decode_base64(item, self._at(key)) for item in items)

    def finish(self) -> None:
        if self._rest:
            raise _refuse(self.where, f"unknown field {sorted(self._rest)[0][:60]!r}")


def _refuse(where: str, message: str) -> InvalidInput:
    return InvalidInput(
        message,
        rule="provenance/parsed",
        where=where,
        next_step="Submit the bundle exactly as the signing program wrote it.",
    )
