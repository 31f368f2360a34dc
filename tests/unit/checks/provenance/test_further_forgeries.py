"""Forgeries by somebody who has read the verifier: downgrades, borrowed authority, ambiguous encodings, floods."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from datetime import UTC, timedelta
from typing import Any

import pytest
from asn1crypto import core, tsp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from checks.interface import Status
from checks.provenance import COSIGN_SIGN, Attestation, Identity, Trust
from examples.signing.private_sigstore import Options, PrivateSigstore
from examples.signing.services import Issuer, TimestampAuthority, b64, der, new_key
from tests.unit.checks.provenance.bench import (
    IMAGE,
    ISSUER,
    NOW,
    OTHER_IMAGE,
    PROVENANCE,
    SIGNER,
    SLSA_V1,
    STRANGER,
    Bench,
    Case,
    Forgeries,
    Forgery,
    edited,
    entry,
    errors,
    managed_key,
    material,
    statement,
)

FORGERIES = Forgeries()
forgery = FORGERIES.enter
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the group of P-256."""


def old_form(bundle: dict[str, Any]) -> None:
    """v0.1, in which a bundle need not prove inclusion."""
    bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1"
    material(bundle)["x509CertificateChain"] = {"certificates": [material(bundle).pop("certificate")]}


def good(instance: PrivateSigstore, **options: Any) -> str:
    return instance.sign_image(IMAGE, SIGNER, ISSUER, Options(**options))


def changed(change: Callable[[dict[str, Any]], object], rekor: int = 2) -> Forgery:
    """A good bundle after `change`."""
    return lambda bench: Case([edited(good(bench.v2 if rekor == 2 else bench.v1), change)])


# --- downgrades ------------------------------------------------------------------------------------------------------


@forgery("v0.1 to drop the only proof that Rekor v2 gives", "log-inclusion")
def _(bench: Bench) -> Case:
    def change(bundle: dict[str, Any]) -> None:
        old_form(bundle)
        del entry(bundle)["inclusionProof"]

    return changed(change)(bench)


@forgery("v0.1 to keep a proof of a tree of one's own without a checkpoint", "log-inclusion")
def _(bench: Bench) -> Case:
    def change(bundle: dict[str, Any]) -> None:
        old_form(bundle)
        del entry(bundle)["inclusionProof"]["checkpoint"]

    return changed(change)(bench)


@forgery("v0.1 without proof, its promise for another body", "inclusion-promise", "log-entry")
def _(bench: Bench) -> Case:
    other = entry(json.loads(good(bench.v1)))

    def change(bundle: dict[str, Any]) -> None:
        old_form(bundle)
        del entry(bundle)["inclusionProof"]
        entry(bundle)["canonicalizedBody"] = other["canonicalizedBody"]

    return changed(change, 1)(bench)


@forgery("the promise of Rekor v1 put on an entry of version 2", "inclusion-promise")
def _(bench: Bench) -> Case:
    promise = {"signedEntryTimestamp": entry(json.loads(good(bench.v1)))["inclusionPromise"]["signedEntryTimestamp"]}
    return changed(lambda b: entry(b).update(integratedTime="1748779200", inclusionPromise=promise))(bench)


@forgery("an intoto 0.0.1 entry, which keeps no signature, of another signer's", "log-entry")
def _(bench: Bench) -> Case:
    theirs = json.loads(bench.v1.sign_image(IMAGE, STRANGER, ISSUER, Options(kind="intoto")))
    content = json.loads(base64.b64decode(entry(theirs)["canonicalizedBody"]))["spec"]["content"]
    old = {
        "content": {"hash": content["hash"], "payloadHash": content["payloadHash"]},
        "publicKey": content["envelope"]["signatures"][0]["publicKey"],
    }
    logged = bench.v1.log.append("intoto", "0.0.1", old, NOW)
    return changed(lambda b: material(b).update(tlogEntries=[logged]), 1)(bench)


@forgery("a signature of a file with an intoto 0.0.1 entry", "log-entry", "statement")
def _(bench: Bench) -> Case:
    blob = json.loads(bench.v1.sign_blob(b"x", SIGNER, ISSUER))
    certificate = x509.load_der_x509_certificate(base64.b64decode(material(blob)["certificate"]["rawBytes"]))
    old = {"content": {"payloadHash": {}}, "publicKey": b64(der(certificate))}
    material(blob)["tlogEntries"] = [bench.v1.log.append("intoto", "0.0.1", old, NOW)]
    return Case([json.dumps(blob)])


# --- entries ---------------------------------------------------------------------------------------------------------


def logged_as(kind: str, version: str, spec: Callable[[dict[str, Any]], dict[str, Any]], rekor: int) -> Forgery:
    """A good bundle whose entry's spec was rewritten before the log took it in."""

    def make(bench: Bench) -> Case:
        instance = bench.v2 if rekor == 2 else bench.v1
        bundle = json.loads(good(instance, kind=kind if kind == "dsse" else ""))
        body = json.loads(base64.b64decode(entry(bundle)["canonicalizedBody"]))
        material(bundle)["tlogEntries"] = [instance.log.append(kind, version, spec(body["spec"]), NOW)]
        return Case([json.dumps(bundle)])

    return make


def _second(spec: dict[str, Any]) -> dict[str, Any]:
    inner = spec.get("dsseV002", spec)
    inner["signatures"] = [*inner["signatures"], inner["signatures"][0]]
    return spec


def _both(spec: dict[str, Any]) -> dict[str, Any]:
    spec["hashedRekordV002"]["signature"]["verifier"]["publicKey"] = {"rawBytes": "AAAA"}
    return spec


def _hash(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(spec: dict[str, Any]) -> dict[str, Any]:
        spec["hashedRekordV002"]["data"]["algorithm"] = name
        return spec

    return change


forgery("two signatures in one entry, Rekor v1", "log-entry")(logged_as("dsse", "0.0.1", _second, 1))
forgery("two signatures in one entry, Rekor v2", "log-entry")(logged_as("dsse", "0.0.2", _second, 2))
forgery("an entry by a certificate and a key at once", "log-entry")(logged_as("hashedrekord", "0.0.2", _both, 2))
forgery("a hash that the signer's key does not go with", "log-entry")(
    logged_as("hashedrekord", "0.0.2", _hash("SHA2_512"), 2)
)
forgery("a hash that nobody knows", "log-entry")(logged_as("hashedrekord", "0.0.2", _hash("SHA1"), 2))
forgery("a specification that is a list", "log-entry")(logged_as("hashedrekord", "0.0.2", lambda s: [s], 2))  # type: ignore[arg-type, return-value]


@forgery("the other of the two forms of an ECDSA signature", "log-entry", "timestamp")
def _(bench: Bench) -> Case:
    def change(bundle: dict[str, Any]) -> None:
        signature = bundle["dsseEnvelope"]["signatures"][0]
        r, s = decode_dss_signature(base64.b64decode(signature["sig"]))
        signature["sig"] = b64(encode_dss_signature(r, ORDER - s))

    return changed(change)(bench)


# --- borrowed authority ----------------------------------------------------------------------------------------------


def _impostor(bench: Bench) -> PrivateSigstore:
    """Somebody with a genuine certificate for themselves, who issues others with it."""
    mine = new_key()
    certificate = bench.v2.authority.issue(mine, STRANGER, ISSUER, NOW)
    made = PrivateSigstore(2, now=lambda: NOW)
    made.log, made.timestamps, made.authority.ct_key = bench.v2.log, bench.v2.timestamps, bench.v2.authority.ct_key
    made.authority.intermediate = Issuer(certificate, mine)
    return made


@forgery("a certificate issued by a signer's own certificate", "chain")
def _(bench: Bench) -> Case:
    return Case([good(_impostor(bench))])


@forgery("the same, its issuer brought along in the bundle", "chain")
def _(bench: Bench) -> Case:
    impostor = _impostor(bench)

    def change(bundle: dict[str, Any]) -> None:
        old_form(bundle)
        issuing = {"rawBytes": b64(der(impostor.authority.intermediate.certificate))}
        material(bundle)["x509CertificateChain"]["certificates"].append(issuing)

    return Case([edited(good(impostor), change)])


@forgery("a root of one's own brought along in the bundle", "parsed")
def _(bench: Bench) -> Case:
    def change(bundle: dict[str, Any]) -> None:
        old_form(bundle)
        root = {"rawBytes": b64(der(bench.foreign.authority.root.certificate))}
        material(bundle)["x509CertificateChain"]["certificates"].append(root)

    return Case([edited(good(bench.foreign), change)])


@forgery("the certificate of the timestamp authority as a signer's", "chain")
def _(bench: Bench) -> Case:
    service = bench.v2.timestamps.service
    bundle = json.loads(bench.v2.sign_payload(statement(COSIGN_SIGN, {}), SIGNER, ISSUER, Options(key=service.key)))
    material(bundle)["certificate"]["rawBytes"] = b64(der(service.certificate))
    return Case([json.dumps(bundle)])


@forgery("an RSA certificate of 1024 bits", "parsed")
def _(bench: Bench) -> Case:
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the forgery
    return Case([good(bench.v2, key=weak)])


@forgery("a promise and a checkpoint by the certificate log's key", "checkpoint", "inclusion-promise")
def _(bench: Bench) -> Case:
    mixed = PrivateSigstore(1, now=lambda: NOW)
    mixed.authority, mixed.timestamps = bench.v1.authority, bench.v1.timestamps
    mixed.log.key = bench.v1.authority.ct_key
    return Case([good(mixed)])


@forgery("an authority that is not valid yet", "chain")
def _(bench: Bench) -> Case:
    root = copy.deepcopy(bench.v2.trusted_root)
    root["certificateAuthorities"][0]["validFor"] = {"start": "2025-06-01T12:00:01Z"}
    return Case([good(bench.v2)], root=root)


@forgery("a timestamp authority that is not valid yet", "timestamp")
def _(bench: Bench) -> Case:
    root = copy.deepcopy(bench.v2.trusted_root)
    root["timestampAuthorities"][0]["validFor"] = {"start": "2025-06-01T12:00:01Z"}
    return Case([good(bench.v2)], root=root)


def _twin(bench: Bench) -> TimestampAuthority:
    """An authority with the trusted one's names and serial number, and a key of its own."""
    made = TimestampAuthority(NOW - timedelta(days=1), NOW + timedelta(days=9))
    theirs = bench.v2.timestamps.service.certificate
    key = new_key()
    builder = x509.CertificateBuilder(
        theirs.issuer, theirs.subject, key.public_key(), theirs.serial_number,
        theirs.not_valid_before_utc, theirs.not_valid_after_utc,
        list(theirs.extensions),
    )  # fmt: skip
    made.service = Issuer(builder.sign(made.root.key, hashes.SHA256()), key)
    return made


def _stamped(stamp: Callable[[Bench, bytes], bytes]) -> Forgery:
    def make(bench: Bench) -> Case:
        bundle = json.loads(good(bench.v2))
        signature = base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"])
        token = {"signedTimestamp": b64(stamp(bench, signature))}
        material(bundle)["timestampVerificationData"] = {"rfc3161Timestamps": [token]}
        return Case([json.dumps(bundle)])

    return make


def _retimed(bench: Bench, signature: bytes) -> bytes:
    """A genuine token whose time was rewritten, and what it signs not."""
    response = tsp.TimeStampResp.load(bench.v2.timestamps.stamp(signature, NOW + timedelta(days=3)))
    data: Any = response["time_stamp_token"]["content"]
    info = tsp.TSTInfo.load(data["encap_content_info"]["content"].parsed.dump())
    info["gen_time"] = NOW.astimezone(UTC)
    data["encap_content_info"]["content"] = core.ParsableOctetString(info.dump(force=True))
    return bytes(response.dump(force=True))


forgery("a timestamp by a twin of the authority, which it embeds", "timestamp")(
    _stamped(lambda bench, signature: _twin(bench).stamp(signature, NOW))
)
forgery("a timestamp whose time was rewritten", "timestamp")(_stamped(_retimed))
forgery("a timestamp of the payload in place of the signature", "timestamp")(
    _stamped(lambda bench, _: bench.v2.timestamps.stamp(statement(COSIGN_SIGN, {}), NOW))
)


# --- encodings -------------------------------------------------------------------------------------------------------


def _text(make: Callable[[str], str | bytes]) -> Forgery:
    return lambda bench: Case([make(good(bench.v2))])


forgery("a byte order mark", "parsed")(_text(lambda text: b"\xef\xbb\xbf" + text.encode()))
forgery("UTF-16", "parsed")(_text(lambda text: text.encode("utf-16")))
forgery("two bundles in one file", "parsed")(_text(lambda text: f"{text}\n{text}"))
forgery("a number that no machine holds", "parsed")(_text(lambda text: text[:-1] + ',"n":1e999}'))
forgery("URL-safe base64", "parsed")(
    changed(lambda b: b["dsseEnvelope"].update(payload=b["dsseEnvelope"]["payload"][:-4] + "_-8="))
)
forgery("a bundle that also looks like cosign 2's lines", "signature", "log-entry")(
    _text(lambda text: '{"Base64Signature":"AAAA","Payload":"AAAA",' + text[1:])
)
forgery("a subject with a line break", "identity")(
    lambda bench: Case(
        [bench.v2.sign_image(IMAGE, "https://ci.example/x\nhttps://ci.example/provider", ISSUER)],
        trust={"identities": (Identity(r"https://ci\.example/x[\s\S]*", ".*", regexp=True),)},
    )
)
forgery("a subject written otherwise that leads to the same place", "identity")(
    lambda bench: Case(
        [bench.v2.sign_image(IMAGE, "https://ci.example/%70rovider", ISSUER)],
        trust={"identities": (Identity("https://ci.example/provider", ISSUER),)},
    )
)


# --- statements ------------------------------------------------------------------------------------------------------


def _signed(payload: bytes, **trust: Any) -> Forgery:
    return lambda bench: Case([bench.v2.sign_payload(payload, SIGNER, ISSUER)], trust=trust)


forgery("an image signature in a statement of version 0.1", "statement")(
    _signed(statement(COSIGN_SIGN, {}, version="v0.1"))
)
forgery("an image signature in a statement of version 2", "statement")(
    _signed(statement(COSIGN_SIGN, {}, version="v2"))
)
forgery("the signature of a model as the image's", "statement")(
    _signed(statement("https://model_signing/signature/v1.0", {"resources": []}))
)
forgery("a demanded attestation as the image's signature", "too-few-signers")(
    _signed(statement(SLSA_V1, PROVENANCE), attestations=(Attestation(SLSA_V1),))
)
forgery("a thousand images and this one not", "subject-digest")(
    _signed(
        json.dumps(
            {
                **json.loads(statement(COSIGN_SIGN, {})),
                "subject": [{"digest": {"sha256": f"{number:064x}"}} for number in range(1024)],
            }
        ).encode()
    )
)
forgery("more subjects than are read, this image the last", "statement")(
    _signed(
        json.dumps(
            {
                **json.loads(statement(COSIGN_SIGN, {})),
                "subject": [
                    *({"digest": {"sha256": f"{number:064x}"}} for number in range(1024)),
                    {"digest": {"sha256": IMAGE.removeprefix("sha256:")}},
                ],
            }
        ).encode()
    )
)


# --- keys and floods -------------------------------------------------------------------------------------------------


@forgery("a managed key's signature beside a certificate of somebody trusted", "signature")
def _(bench: Bench) -> Case:
    key = new_key()
    bundle = json.loads(bench.v2.sign_image_with_key(IMAGE, key))
    trusted = material(json.loads(good(bench.v2)))["certificate"]
    del material(bundle)["publicKey"]
    material(bundle)["certificate"] = trusted
    return Case([json.dumps(bundle)], trust={"keys": (managed_key(new_key()),)})


@forgery("a trusted key's log entry, the envelope by another of the trusted keys", "log-entry")
def _(bench: Bench) -> Case:
    one, two = new_key(), new_key()
    first, second = (json.loads(bench.v1.sign_image_with_key(IMAGE, key)) for key in (one, two))
    material(first)["tlogEntries"] = material(second)["tlogEntries"]
    return Case([json.dumps(first)], trust={"keys": (managed_key(one), managed_key(two))})


@forgery("an Ed25519 signature over the digest and not over the content", "signature")
def _(bench: Bench) -> Case:
    key = ed25519.Ed25519PrivateKey.generate()
    bundle = json.loads(bench.v2.sign_image_with_key(IMAGE, key, Options(log=False)))
    envelope = bundle["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    digest = hashes.Hash(hashes.SHA256())
    digest.update(b"DSSEv1 28 application/vnd.in-toto+json %d %b" % (len(payload), payload))
    envelope["signatures"][0]["sig"] = b64(key.sign(digest.finalize()))
    material(bundle)["timestampVerificationData"] = {}
    public = managed_key(key)  # type: ignore[arg-type]
    return Case([json.dumps(bundle)], trust={"keys": (public,), "require_log_entry": False})


@forgery("sixty-four lines in each of three files", "parsed")
def _(bench: Bench) -> Case:
    line = bench.v1.sign_image_legacy(OTHER_IMAGE, SIGNER, ISSUER)
    return Case(["\n".join([line] * 64)] * 3)


@forgery("a tag of cosign 2 whose payload names two images", "statement")
def _(bench: Bench) -> Case:
    line = json.loads(bench.v1.sign_image_legacy(IMAGE, SIGNER, ISSUER))
    payload = base64.b64decode(line["Payload"]).decode()
    twice = payload.replace('"image":', '"image": {"docker-manifest-digest": "' + OTHER_IMAGE + '"}, "image":')
    line["Payload"] = b64(twice.encode())
    return Case([json.dumps(line)])


forgery("no timestamp where one is demanded, beside a genuine promise", "timestamp")(
    lambda bench: Case([good(bench.v1)], trust={"require_timestamp": True})
)
forgery("a key's signature without the timestamp that is demanded", "timestamp")(
    lambda bench: Case(
        [bench.v1.sign_image_with_key(IMAGE, key := new_key())],
        trust={"require_timestamp": True, "keys": (managed_key(key),)},
    )
)


@pytest.mark.parametrize("name", FORGERIES)
def test_a_further_forgery_fails_and_says_why(bench: Bench, name: str) -> None:
    """Failed or not verified, by the steps that were expected."""
    make, rules = FORGERIES[name]
    result = bench.check(make(bench))
    assert result.status is Status.FAILED, result.summary
    assert rules <= errors(result), errors(result)


def test_a_key_that_stands_twice_is_the_one_valid_then(bench: Bench) -> None:
    """A log's key listed for two spans of time: the signature falls into the second."""
    root = copy.deepcopy(bench.v1.trusted_root)
    (log,) = root["tlogs"]
    old = copy.deepcopy(log)
    old["publicKey"]["validFor"] = {"start": "2020-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z"}
    root["tlogs"] = [old, log]
    result = bench.check(Case([good(bench.v1)], root=root))
    assert result.status is Status.PASSED, result.summary


def test_a_managed_key_that_stands_twice_is_the_one_valid_then(bench: Bench) -> None:
    """Named for two spans of time: the signature falls into the second; before the first and between them it fails."""
    key = new_key()
    windows = [(NOW - timedelta(days=9), NOW - timedelta(days=8)), (NOW, NOW + timedelta(days=1))]
    keys = tuple(managed_key(key, not_before=start, not_after=end) for start, end in windows)
    bundle = bench.v1.sign_image_with_key(IMAGE, key)
    assert bench.check(Case([bundle], trust={"keys": keys})).status is Status.PASSED
    assert "identity" in errors(bench.check(Case([bundle], trust={"keys": keys[:1]})))


def test_trust_in_nobody_is_trust_in_nobody() -> None:
    """Whatever else is set."""
    assert Trust(attestations=(Attestation(SLSA_V1),), require_log_entry=False).emptiness()
