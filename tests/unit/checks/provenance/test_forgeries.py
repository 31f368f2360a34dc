"""Every way that was thought of to make a signature look like one that it is not; each must fail, and say why."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from checks.interface import Level, Status
from checks.provenance import COSIGN_SIGN, Attestation, Identity
from examples.signing.private_sigstore import Options, PrivateSigstore
from examples.signing.services import b64, der, new_key, pem, sign
from tests.unit.checks.provenance.bench import (
    IMAGE,
    ISSUER,
    NOW,
    OTHER_IMAGE,
    SIGNER,
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
)

FORGERIES = Forgeries()
forgery = FORGERIES.enter


def flipped(text: str, position: int = 20) -> str:
    """base64 `text` with one bit of its bytes flipped."""
    data = bytearray(base64.b64decode(text))
    data[position] ^= 1
    return b64(bytes(data))


def statement(**changes: Any) -> bytes:
    """A cosign statement about the image, with `changes`."""
    document = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": IMAGE.removeprefix("sha256:")}}],
        "predicateType": COSIGN_SIGN,
        "predicate": {},
        **changes,
    }
    return json.dumps(document).encode()


def signed(bench: Bench, payload: bytes, **options: Any) -> Case:
    """A case of `payload` properly signed by the trusted signer."""
    return Case([bench.v2.sign_payload(payload, SIGNER, ISSUER, Options(**options))])


def changed(change: Callable[[dict[str, Any]], object], *, rekor: int = 2) -> Forgery:
    """A forgery that edits a good bundle."""

    def make(bench: Bench) -> Case:
        instance = bench.v2 if rekor == 2 else bench.v1
        return Case([edited(instance.sign_image(IMAGE, SIGNER, ISSUER), change)])

    return make


def raw(make: Callable[[str], str | bytes]) -> Forgery:
    """A forgery that edits a good bundle's text."""
    return lambda bench: Case([make(bench.v2.sign_image(IMAGE, SIGNER, ISSUER))])


def rooted(change: Callable[[dict[str, Any]], object], *, rekor: int = 2) -> Forgery:
    """A good bundle under a changed trusted root."""

    def make(bench: Bench) -> Case:
        instance = bench.v2 if rekor == 2 else bench.v1
        root = copy.deepcopy(instance.trusted_root)
        change(root)
        return Case([instance.sign_image(IMAGE, SIGNER, ISSUER)], root=root)

    return make


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """An edit that sets the field at the dotted `path` (numbers index lists); a callable value gets the old one."""

    def change(document: dict[str, Any]) -> None:
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        target: Any = document
        for part in parents:
            target = target[part]
        target[last] = value(target[last]) if callable(value) else value

    return change


def drop(path: str) -> Callable[[dict[str, Any]], None]:
    """An edit that removes the field at the dotted `path`."""

    def change(document: dict[str, Any]) -> None:
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        target: Any = document
        for part in parents:
            target = target[part]
        del target[last]

    return change


MATERIAL = "verificationMaterial"
ENTRY = f"{MATERIAL}.tlogEntries.0"
PROOF = f"{ENTRY}.inclusionProof"
SIGNATURE = "dsseEnvelope.signatures.0.sig"
LONG_AGO = {"start": "2020-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z"}
LATER = {"start": "2025-07-01T00:00:00Z"}

UNREADABLE: dict[str, Forgery] = {
    "empty file": raw(lambda text: ""),
    "not JSON": raw(lambda text: "sigstore"),
    "a bundle cut in half": raw(lambda text: text[: len(text) // 2]),
    "duplicate JSON key": raw(lambda text: text[:-1] + ',"dsseEnvelope":{}}'),
    "duplicate key deep inside": raw(lambda text: text.replace('"payloadType"', '"payload":"e30=","payloadType"')),
    "17 MiB bundle": raw(lambda text: text + " " * (17 * 2**20)),
    "nested a thousand deep": raw(lambda text: "[" * 1000 + "]" * 1000),
    "a list, not an object": raw(lambda text: f"[{text}]"),
    "unknown field": changed(put("more", 1)),
    "unknown media type": changed(put("mediaType", "application/vnd.dev.sigstore.bundle.v9+json")),
    "no content": changed(drop("dsseEnvelope")),
    "two kinds of content": changed(put("messageSignature", {"signature": "AAAA"})),
    "two signatures in one envelope": changed(put("dsseEnvelope.signatures", lambda old: old * 2)),
    "no signature in the envelope": changed(put("dsseEnvelope.signatures", [])),
    "empty signature": changed(put(SIGNATURE, "")),
    "no certificate": changed(drop(f"{MATERIAL}.certificate")),
    "certificate and key": changed(put(f"{MATERIAL}.publicKey", {"hint": "x"})),
    "certificate is not X.509": changed(put(f"{MATERIAL}.certificate.rawBytes", "AAAA")),
    "a chain in a v0.3 bundle": changed(
        lambda b: material(b).update(x509CertificateChain={"certificates": [material(b).pop("certificate")]})
    ),
    "base64 with line breaks": changed(put(SIGNATURE, lambda old: old[:8] + "\n" + old[8:])),
    "base64 with loose last bits": changed(put("dsseEnvelope.payload", "e31=")),
    "number with a sign": changed(put(f"{PROOF}.treeSize", lambda old: "+" + old)),
    "number with a leading zero": changed(put(f"{PROOF}.treeSize", lambda old: "0" + old)),
    "number in foreign digits": changed(put(f"{PROOF}.treeSize", "٦")),
    "number as a number": changed(put(f"{PROOF}.treeSize", int)),
    "index outside the tree": changed(put(f"{PROOF}.logIndex", "999")),
    "two log entries": changed(put(f"{MATERIAL}.tlogEntries", lambda old: old * 2)),
    "no checkpoint": changed(drop(f"{PROOF}.checkpoint")),
    "33 timestamps": changed(put(f"{MATERIAL}.timestampVerificationData.rfc3161Timestamps", lambda old: old * 33)),
    "one timestamp twice": changed(put(f"{MATERIAL}.timestampVerificationData.rfc3161Timestamps", lambda old: old * 2)),
    "a directory": lambda bench: Case([bench.directory]),
    "no such file": lambda bench: Case([bench.directory / "absent.json"]),
    "a device": lambda bench: Case([Path("/dev/zero")]),
}
for _name, _make in UNREADABLE.items():
    forgery(_name, "parsed")(_make)


# --- content and signature -------------------------------------------------------------------------------------------


@forgery("tampered payload", "signature", "log-entry")
def _(bench: Bench) -> Case:
    return Case([edited(bench.v2.sign_image(OTHER_IMAGE, SIGNER), put("dsseEnvelope.payload", b64(statement())))])


@forgery("signature of another image, replayed", "subject-digest")
def _(bench: Bench) -> Case:
    return Case([bench.v2.sign_image(OTHER_IMAGE, SIGNER, ISSUER)])


@forgery("one flipped bit in the signature", "signature", "log-entry", "timestamp")
def _(bench: Bench) -> Case:
    return changed(put(SIGNATURE, flipped))(bench)


@forgery("certificate of a trusted signer around a stranger's signature", "signature")
def _(bench: Bench) -> Case:
    good = json.loads(bench.v2.sign_image(IMAGE, SIGNER, ISSUER))
    theirs = bench.v2.sign_image(IMAGE, STRANGER, ISSUER)
    return Case([edited(theirs, put(f"{MATERIAL}.certificate", material(good)["certificate"]))])


@forgery("payload type renamed", "signature", "statement")
def _(bench: Bench) -> Case:
    return changed(put("dsseEnvelope.payloadType", "application/json"))(bench)


# --- the log ---------------------------------------------------------------------------------------------------------


@forgery("swapped log entry (CVE-2022-36056), Rekor v1", "log-entry")
def _(bench: Bench) -> Case:
    other = json.loads(bench.v1.sign_image(IMAGE, STRANGER, ISSUER))
    return changed(put(f"{MATERIAL}.tlogEntries", material(other)["tlogEntries"]), rekor=1)(bench)


@forgery("swapped log entry, Rekor v2", "log-entry")
def _(bench: Bench) -> Case:
    other = json.loads(bench.v2.sign_image(IMAGE, SIGNER, ISSUER))
    return changed(put(f"{MATERIAL}.tlogEntries", material(other)["tlogEntries"]))(bench)


@forgery("entry body of another kind", "log-entry")
def _(bench: Bench) -> Case:
    return changed(put(f"{ENTRY}.kindVersion", {"kind": "hashedrekord", "version": "0.0.1"}))(bench)


@forgery("entry of a kind that nobody knows", "log-entry")
def _(bench: Bench) -> Case:
    return changed(put(f"{ENTRY}.kindVersion", {"kind": "rfc3161", "version": "0.0.1"}))(bench)


@forgery("rewritten entry body", "log-inclusion", "log-entry", "inclusion-promise")
def _(bench: Bench) -> Case:
    return changed(put(f"{ENTRY}.canonicalizedBody", lambda old: flipped(old, 40)), rekor=1)(bench)


@forgery("altered audit path", "log-inclusion")
def _(bench: Bench) -> Case:
    return changed(put(f"{PROOF}.hashes.0", flipped))(bench)


@forgery("audit path too short", "log-inclusion")
def _(bench: Bench) -> Case:
    return changed(put(f"{PROOF}.hashes", lambda old: old[:-1]))(bench)


@forgery("audit path too long", "log-inclusion")
def _(bench: Bench) -> Case:
    return changed(put(f"{PROOF}.hashes", lambda old: [*old, old[0]]))(bench)


@forgery("a tree of one's own making", "log-inclusion", "checkpoint")
def _(bench: Bench) -> Case:
    return changed(put(f"{PROOF}.rootHash", flipped))(bench)


@forgery("checkpoint of an earlier tree", "checkpoint")
def _(bench: Bench) -> Case:
    earlier = json.loads(bench.v2.sign_image(OTHER_IMAGE, SIGNER))
    return changed(put(f"{PROOF}.checkpoint", entry(earlier)["inclusionProof"]["checkpoint"]))(bench)


@forgery("checkpoint signed by another log", "checkpoint")
def _(bench: Bench) -> Case:
    def resign(envelope: str) -> str:
        note = envelope.partition("\n\n")[0] + "\n"
        mine = b64(bench.v2.log.log_id[:4] + sign(bench.foreign.log.key, note.encode()))
        return f"{note}\n— rekor.hospital.example {mine}\n"

    return changed(put(f"{PROOF}.checkpoint.envelope", resign))(bench)


@forgery("checkpoint whose size has a leading zero, signed by the log", "checkpoint")
def _(bench: Bench) -> Case:
    def resign(envelope: str) -> str:
        origin, size, root = envelope.split("\n")[:3]
        note = f"{origin}\n0{size}\n{root}\n"
        return f"{note}\n— {origin} {b64(bench.v2.log.log_id[:4] + sign(bench.v2.log.key, note.encode()))}\n"

    return changed(put(f"{PROOF}.checkpoint.envelope", resign))(bench)


@forgery("checkpoint without a signature", "checkpoint")
def _(bench: Bench) -> Case:
    return changed(put(f"{PROOF}.checkpoint.envelope", lambda old: old.partition("\n\n")[0] + "\n\n"))(bench)


@forgery("checkpoint that is no note", "checkpoint")
def _(bench: Bench) -> Case:
    return changed(put(f"{PROOF}.checkpoint.envelope", "rekor"))(bench)


@forgery("log that nobody knows", "checkpoint")
def _(bench: Bench) -> Case:
    return changed(put(f"{ENTRY}.logId.keyId", flipped))(bench)


@forgery("log key that had expired", "checkpoint")
def _(bench: Bench) -> Case:
    return rooted(put("tlogs.0.publicKey.validFor", LONG_AGO))(bench)


@forgery("log key that was not valid yet", "checkpoint", "inclusion-promise")
def _(bench: Bench) -> Case:
    return rooted(put("tlogs.0.publicKey.validFor", LATER), rekor=1)(bench)


@forgery("shifted integration time", "inclusion-promise")
def _(bench: Bench) -> Case:
    return changed(put(f"{ENTRY}.integratedTime", lambda old: str(int(old) + 60)), rekor=1)(bench)


@forgery("forged promise", "inclusion-promise")
def _(bench: Bench) -> Case:
    return changed(put(f"{ENTRY}.inclusionPromise.signedEntryTimestamp", flipped), rekor=1)(bench)


@forgery("promise moved to another index", "inclusion-promise")
def _(bench: Bench) -> Case:
    return changed(put(f"{ENTRY}.logIndex", "0"), rekor=1)(bench)


@forgery("unsigned time: the promise removed, its time kept", "signing-time")
def _(bench: Bench) -> Case:
    return changed(drop(f"{ENTRY}.inclusionPromise"), rekor=1)(bench)


@forgery("no log entry", "log-entry")
def _(bench: Bench) -> Case:
    return Case([bench.v2.sign_image(IMAGE, SIGNER, ISSUER, Options(log=False))])


# --- time ------------------------------------------------------------------------------------------------------------


def with_token(make: Callable[[Bench, bytes], bytes], *, rekor: int = 2, keep: bool = False) -> Forgery:
    """A good bundle whose timestamp is replaced by, or with `keep` joined by, what `make` returns."""

    def forge(bench: Bench) -> Case:
        instance = bench.v2 if rekor == 2 else bench.v1
        bundle = json.loads(instance.sign_image(IMAGE, SIGNER, ISSUER))
        signature = base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"])
        tokens = material(bundle)["timestampVerificationData"]["rfc3161Timestamps"] if keep else []
        token = {"signedTimestamp": b64(make(bench, signature))}
        material(bundle)["timestampVerificationData"] = {"rfc3161Timestamps": [*tokens, token]}
        return Case([json.dumps(bundle)])

    return forge


TIMES: dict[str, tuple[Forgery, set[str]]] = {
    "timestamp of other bytes": (
        with_token(lambda bench, signature: bench.v2.timestamps.stamp(b"other", NOW)),
        {"timestamp", "signing-time"},
    ),
    "unrelated timestamp beside a genuine promise": (
        with_token(lambda bench, signature: bench.v1.timestamps.stamp(b"other", NOW), rekor=1),
        {"timestamp"},
    ),
    "unrelated timestamp beside a genuine one": (
        with_token(lambda bench, signature: bench.v2.timestamps.stamp(b"other", NOW), keep=True),
        {"timestamp"},
    ),
    "timestamp of an authority that nobody knows": (
        with_token(lambda bench, signature: bench.foreign.timestamps.stamp(signature, NOW)),
        {"timestamp"},
    ),
    "garbage for a timestamp": (with_token(lambda bench, signature: b"\x30\x03\x02\x01\x00"), {"timestamp"}),
    "a second timestamp after the certificate expired": (
        with_token(
            lambda bench, signature: bench.v2.timestamps.stamp(signature, NOW + timedelta(minutes=30)), keep=True
        ),
        {"chain"},
    ),
    "stale timestamp, from before the certificate": (
        with_token(lambda bench, signature: bench.v2.timestamps.stamp(signature, NOW - timedelta(hours=2))),
        {"chain"},
    ),
    "no timestamp on a Rekor v2 bundle": (
        changed(put(f"{MATERIAL}.timestampVerificationData", {})),
        {"signing-time"},
    ),
    "timestamp authority that had ended": (rooted(put("timestampAuthorities.0.validFor", LONG_AGO)), {"timestamp"}),
    "validity borrowed from an authority without certificates": (
        rooted(
            lambda root: root["timestampAuthorities"].extend(
                [
                    {**root["timestampAuthorities"][0], "certChain": {"certificates": []}},
                    root["timestampAuthorities"].pop() | {"validFor": LONG_AGO},
                ]
            )
        ),
        {"timestamp"},
    ),
    "trusted root without a timestamp authority": (rooted(put("timestampAuthorities", [])), {"timestamp"}),
}
for _name, (_make, _rules) in TIMES.items():
    forgery(_name, *_rules)(_make)


@forgery("a timestamp is demanded and not there", "timestamp")
def _(bench: Bench) -> Case:
    return Case([bench.v1.sign_image(IMAGE, SIGNER, ISSUER)], trust={"require_timestamp": True})


@forgery("expired certificate at signing time, Rekor v1", "chain")
def _(bench: Bench) -> Case:
    def late(bundle: dict[str, Any]) -> None:
        item, time = entry(bundle), int((NOW + timedelta(hours=1)).timestamp())
        body = base64.b64decode(item["canonicalizedBody"])
        promise = bench.v1.log.promise(body, time, int(item["logIndex"]))
        item |= {"integratedTime": str(time), "inclusionPromise": {"signedEntryTimestamp": b64(promise)}}

    return changed(late, rekor=1)(bench)


@forgery("expired certificate at signing time, Rekor v2", "chain")
def _(bench: Bench) -> Case:
    options = Options(stamped_at=NOW + timedelta(minutes=11))
    return Case([bench.v2.sign_image(IMAGE, SIGNER, ISSUER, options)])


@forgery("signed in the future", "signing-time")
def _(bench: Bench) -> Case:
    return Case([bench.v2.sign_image(IMAGE, SIGNER, ISSUER)], now=NOW - timedelta(hours=1))


# --- the certificate -------------------------------------------------------------------------------------------------


@forgery("foreign root: a whole Sigstore of one's own", "checkpoint", "inclusion-promise")
def _(bench: Bench) -> Case:
    return Case([bench.foreign.sign_image(IMAGE, SIGNER, ISSUER)])


@forgery("foreign authority, logged in the trusted log", "chain")
def _(bench: Bench) -> Case:
    mixed = PrivateSigstore(1, now=lambda: NOW)
    mixed.log = bench.v1.log
    return Case([mixed.sign_image(IMAGE, SIGNER, ISSUER)])


@forgery("authority whose validity had ended", "chain")
def _(bench: Bench) -> Case:
    return rooted(put("certificateAuthorities.0.validFor", LONG_AGO))(bench)


@forgery("forged certificate timestamp (SCT)", "sct")
def _(bench: Bench) -> Case:
    return Case([bench.v2.sign_image(IMAGE, SIGNER, ISSUER, Options(issue={"sct_key": new_key()}))])


@forgery("certificate that no certificate log saw", "sct")
def _(bench: Bench) -> Case:
    return Case([bench.v2.sign_image(IMAGE, SIGNER, ISSUER, Options(issue={"with_sct": False}))])


@forgery("certificate log that nobody knows", "sct")
def _(bench: Bench) -> Case:
    return rooted(put("ctlogs", bench.foreign.trusted_root["ctlogs"]))(bench)


@forgery("certificate log whose key had expired", "sct")
def _(bench: Bench) -> Case:
    return rooted(put("ctlogs.0.publicKey.validFor", LONG_AGO))(bench)


@forgery("certificate for another purpose", "chain")
def _(bench: Bench) -> Case:
    options = Options(issue={"usage": ExtendedKeyUsageOID.CLIENT_AUTH})
    return Case([bench.v2.sign_image(IMAGE, SIGNER, ISSUER, options)])


@forgery("self-issued certificate with the right names", "chain")
def _(bench: Bench) -> Case:
    mixed = PrivateSigstore(2, now=lambda: NOW)
    mixed.log, mixed.timestamps = bench.v2.log, bench.v2.timestamps
    mixed.authority.ct_key = bench.v2.authority.ct_key
    return Case([mixed.sign_image(IMAGE, SIGNER, ISSUER)])


# --- identity --------------------------------------------------------------------------------------------------------


def by(subject: str, issuer: str = ISSUER, *, trusted: Identity | None = None, **issue: Any) -> Forgery:
    """A signature by `subject`, properly made, under a trust in somebody else."""

    def make(bench: Bench) -> Case:
        trust = {"identities": (trusted,)} if trusted else {}
        return Case([bench.v2.sign_image(IMAGE, subject, issuer, Options(issue=issue))], trust=trust)

    return make


PATTERN = Identity("release@provider\\.example", "https://idp\\.hospital\\.example", regexp=True)
WORKFLOW = "https://ci.example/provider/tool/.ci/release.yml@refs/heads/main"
IDENTITIES: dict[str, Forgery] = {
    "wrong identity": by(STRANGER),
    "wrong issuer": by(SIGNER, "https://idp.elsewhere.example"),
    "issuer with a trailing slash": by(SIGNER, ISSUER + "/"),
    "identity that differs in case": by("Release@provider.example"),
    "identity that only starts like the pattern": by(SIGNER + ".elsewhere.example", trusted=PATTERN),
    "identity that only ends like the pattern": by("not-" + SIGNER, trusted=PATTERN),
    "identity that is a pattern, taken literally": by(SIGNER, trusted=Identity(".*", ".*")),
    "workflow of another repository": by(
        WORKFLOW,
        trusted=Identity(WORKFLOW, ISSUER, claims=(("source-repository", "https://ci.example/provider/tool"),)),
        claims={"12": "https://ci.example/fork/tool"},
    ),
    "workflow claim that is not there": by(
        WORKFLOW, trusted=Identity(WORKFLOW, ISSUER, claims=(("runner-environment", "github-hosted"),))
    ),
    "two issuers that disagree": by(SIGNER, issuer_v2="https://idp.elsewhere.example"),
    "two subjects in one certificate": by(SIGNER, also=STRANGER),
}
for _name, _make in IDENTITIES.items():
    forgery(_name, "identity", "too-few-signers")(_make)


# --- what is stated --------------------------------------------------------------------------------------------------

STATEMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "provenance attestation offered as a signature": ({"predicateType": "https://slsa.dev/provenance/v1"}, "statement"),
    "predicate type with a trailing slash": ({"predicateType": COSIGN_SIGN + "/"}, "statement"),
    "predicate type in other case": ({"predicateType": COSIGN_SIGN.upper()}, "statement"),
    "predicate type missing": ({"predicateType": None}, "statement"),
    "predicate type that is a list": ({"predicateType": [COSIGN_SIGN]}, "statement"),
    "statement of an old version": ({"_type": "https://in-toto.io/Statement/v0.1"}, "statement"),
    "statement without a type": ({"_type": None}, "statement"),
    "no subject": ({"subject": []}, "statement"),
    "subject without a digest": ({"subject": [{"name": "image"}]}, "statement"),
    "subject's digest under another algorithm": (
        {"subject": [{"digest": {"sha512": IMAGE.removeprefix("sha256:")}}]},
        "statement",
    ),
    "subject's digest in upper case": (
        {"subject": [{"digest": {"sha256": IMAGE.removeprefix("sha256:").upper()}}]},
        "statement",
    ),
    "image named by name alone": (
        {"subject": [{"name": IMAGE, "digest": {"sha256": OTHER_IMAGE.removeprefix("sha256:")}}]},
        "subject-digest",
    ),
}
for _name, (_changes, _rule) in STATEMENTS.items():
    forgery(_name, _rule)(lambda bench, changes=_changes: signed(bench, statement(**changes)))  # type: ignore[misc]


@forgery("duplicate key in the payload: two subjects, readers differ", "statement")
def _(bench: Bench) -> Case:
    other = json.dumps([{"digest": {"sha256": OTHER_IMAGE.removeprefix("sha256:")}}])
    return signed(bench, statement()[:-1] + f',"subject":{other}}}'.encode())


@forgery("payload that is not JSON", "statement")
def _(bench: Bench) -> Case:
    return signed(bench, b"\xff\xfe")


@forgery("payload of another type, properly signed", "statement")
def _(bench: Bench) -> Case:
    return signed(bench, statement(), payload_type="application/json")


@forgery("signature of a file, not of an image", "statement")
def _(bench: Bench) -> Case:
    return Case([bench.v2.sign_blob(b"the manifest of the image", SIGNER, ISSUER)])


# --- several signatures ----------------------------------------------------------------------------------------------


@forgery("two signatures, one forged", "signature")
def _(bench: Bench) -> Case:
    good = bench.v2.sign_image(IMAGE, SIGNER, ISSUER)
    return Case([good, edited(good, put(SIGNATURE, flipped))])


@forgery("one signer twice where two are needed", "too-few-signers")
def _(bench: Bench) -> Case:
    identities = (Identity(SIGNER, ISSUER), Identity(STRANGER, ISSUER))
    bundles = [bench.v2.sign_image(IMAGE, SIGNER, ISSUER) for _ in range(2)]
    return Case(bundles, trust={"identities": identities, "need": 2})


@forgery("one of two signers who must both sign", "too-few-signers")
def _(bench: Bench) -> Case:
    identities = (Identity(SIGNER, ISSUER), Identity(STRANGER, ISSUER))
    return Case([bench.v2.sign_image(IMAGE, SIGNER, ISSUER)], trust={"identities": identities, "need": "all"})


@forgery("one signer for two entries where all must sign", "too-few-signers")
def _(bench: Bench) -> Case:
    identities = (Identity(SIGNER, ISSUER), Identity(".*", ISSUER, regexp=True))
    return Case([bench.v2.sign_image(IMAGE, SIGNER, ISSUER)], trust={"identities": identities, "need": "all"})


@forgery("an attestation that the policy asks for is not there", "missing-attestation")
def _(bench: Bench) -> Case:
    return Case(
        [bench.v2.sign_image(IMAGE, SIGNER, ISSUER)],
        trust={"attestations": (Attestation("https://slsa.dev/provenance/v1"),)},
    )


@forgery("an attestation of another image", "missing-attestation", "subject-digest")
def _(bench: Bench) -> Case:
    other = [{"digest": {"sha256": OTHER_IMAGE.removeprefix("sha256:")}}]
    attested = statement(predicateType="https://slsa.dev/provenance/v1", subject=other)
    return Case(
        [bench.v2.sign_image(IMAGE, SIGNER, ISSUER), bench.v2.sign_payload(attested, SIGNER, ISSUER)],
        trust={"attestations": (Attestation("https://slsa.dev/provenance/v1"),)},
    )


@forgery("a demanded attestation alone, without a signature", "too-few-signers")
def _(bench: Bench) -> Case:
    attested = statement(predicateType="https://slsa.dev/provenance/v1")
    return Case(
        [bench.v2.sign_payload(attested, SIGNER, ISSUER)],
        trust={"attestations": (Attestation("https://slsa.dev/provenance/v1"),)},
    )


@forgery("65 signature files", "too-many-files")
def _(bench: Bench) -> Case:
    return Case([bench.v2.sign_image(IMAGE, SIGNER, ISSUER)] * 65)


# --- managed keys and cosign 2 ---------------------------------------------------------------------------------------


@forgery("managed key that nobody knows", "signature", "identity")
def _(bench: Bench) -> Case:
    return Case([bench.v2.sign_image_with_key(IMAGE, new_key())], trust={"keys": (managed_key(new_key()),)})


@forgery("managed key, another image", "subject-digest")
def _(bench: Bench) -> Case:
    key = new_key()
    return Case([bench.v2.sign_image_with_key(OTHER_IMAGE, key)], trust={"keys": (managed_key(key),)})


@forgery("managed key after its window", "identity")
def _(bench: Bench) -> Case:
    key = new_key()
    window = managed_key(key, not_after=NOW - timedelta(seconds=1))
    return Case([bench.v2.sign_image_with_key(IMAGE, key)], trust={"keys": (window,)})


@forgery("managed key before its window", "identity")
def _(bench: Bench) -> Case:
    key = new_key()
    window = managed_key(key, not_before=NOW + timedelta(seconds=1))
    return Case([bench.v1.sign_image_with_key(IMAGE, key)], trust={"keys": (window,)})


@forgery("managed key past its window and nothing that proves an earlier time", "identity")
def _(bench: Bench) -> Case:
    key = new_key()
    bundle = edited(bench.v2.sign_image_with_key(IMAGE, key), put(f"{MATERIAL}.timestampVerificationData", {}))
    return Case([bundle], trust={"keys": (managed_key(key, not_after=NOW + timedelta(minutes=1)),)})


@forgery("managed key with another key's log entry", "log-entry")
def _(bench: Bench) -> Case:
    key = new_key()
    other = json.loads(bench.v1.sign_image_with_key(IMAGE, new_key()))
    bundle = edited(
        bench.v1.sign_image_with_key(IMAGE, key), put(f"{MATERIAL}.tlogEntries", material(other)["tlogEntries"])
    )
    return Case([bundle], trust={"keys": (managed_key(key),)})


@forgery("managed key without the log entry that is demanded", "log-entry")
def _(bench: Bench) -> Case:
    key = new_key()
    bundle = bench.v2.sign_image_with_key(IMAGE, key, Options(log=False))
    return Case([bundle], trust={"keys": (managed_key(key),)})


def legacy(change: Callable[[Bench, dict[str, Any]], object]) -> Forgery:
    """A forgery that edits a good cosign 2 signature."""

    def make(bench: Bench) -> Case:
        line = bench.v1.sign_image_legacy(IMAGE, SIGNER, ISSUER)
        return Case([edited(line, lambda document: change(bench, document))])

    return make


def _simple(**image: str) -> str:
    critical = {"image": image, "type": "cosign container image signature", "identity": {"docker-reference": ""}}
    return b64(json.dumps({"critical": critical, "optional": None}).encode())


def _resigned(bench: Bench, document: dict[str, Any]) -> None:
    key = new_key()
    payload = base64.b64decode(document["Payload"])
    document["Base64Signature"] = b64(key.sign(payload, ec.ECDSA(hashes.SHA256())))


LEGACY: dict[str, tuple[Forgery, set[str]]] = {
    "cosign 2: payload about this image put into another's signature": (
        lambda bench: Case(
            [
                edited(
                    bench.v1.sign_image_legacy(OTHER_IMAGE, SIGNER, ISSUER),
                    put("Payload", _simple(**{"docker-manifest-digest": IMAGE})),
                )
            ]
        ),
        {"signature", "log-entry"},
    ),
    "cosign 2: another image": (
        lambda bench: Case([bench.v1.sign_image_legacy(OTHER_IMAGE, SIGNER, ISSUER)]),
        {"subject-digest"},
    ),
    "cosign 2: signed again by another key": (legacy(_resigned), {"signature", "log-entry"}),
    "cosign 2: no log entry": (legacy(lambda bench, line: line.update(Bundle=None)), {"log-entry", "signing-time"}),
    "cosign 2: promise forged": (
        legacy(lambda bench, line: put("Bundle.SignedEntryTimestamp", flipped)(line)),
        {"inclusion-promise"},
    ),
    "cosign 2: promised time shifted": (
        legacy(lambda bench, line: put("Bundle.Payload.integratedTime", lambda old: old - 60)(line)),
        {"inclusion-promise"},
    ),
    "cosign 2: time as text": (
        legacy(lambda bench, line: put("Bundle.Payload.integratedTime", str)(line)),
        {"parsed"},
    ),
    "cosign 2: no payload": (legacy(lambda bench, line: line.pop("Payload")), {"parsed"}),
    "cosign 2: a stranger": (
        lambda bench: Case([bench.v1.sign_image_legacy(IMAGE, STRANGER, ISSUER)]),
        {"identity"},
    ),
    "cosign 2: certificate of somebody trusted": (
        legacy(
            lambda bench, line: line.update(
                Cert={"Raw": b64(der(bench.v1.authority.issue(new_key(), SIGNER, ISSUER, NOW)))}
            )
        ),
        {"signature", "log-entry"},
    ),
}
for _name, (_make, _rules) in LEGACY.items():
    forgery(_name, *_rules)(_make)


# --- the table is run ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_fails_and_says_why(bench: Bench, name: str) -> None:
    """The check fails, names the steps that failed, and says what to do about each."""
    make, rules = FORGERIES[name]
    result = bench.check(make(bench))
    assert result.status is Status.FAILED
    assert rules <= errors(result)
    assert all(finding.fix for finding in result.findings if finding.level is not Level.NOTE)
    assert result.summary


def test_the_table_is_long_enough() -> None:
    """At least fifty forgeries, each with the rule that catches it."""
    assert len(FORGERIES) >= 50
    assert all(rules for _, rules in FORGERIES.values())


def test_pem_of_a_certificate_is_not_taken_for_a_key() -> None:
    """A managed key must be a public key, not a certificate that holds one."""
    from checks.provenance.keys import load_public_key
    from checks.provenance.steps import StepFailed

    certificate = PrivateSigstore(2, now=lambda: NOW).authority.root.certificate
    with pytest.raises(StepFailed):
        load_public_key(pem(certificate))
