"""An equivalent of each case of the sigstore-conformance suite (`test/assets/bundle-verify`), by its name there.

The suite's own files are signed by the public instances; these are signed by the private one, so that they can be made
here and say exactly what is wrong with each. As there, a name that ends in `_fail` must be refused; `step` is the step
of the verification that must say so, or a word of the message where it is refused before any.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from examples.signing.private_sigstore import Options, PrivateSigstore
from examples.signing.services import (
    SigningKey,
    TimestampAuthority,
    TransparencyLog,
    b64,
    der,
    make_authority,
    new_key,
)

SIGNER, ISSUER = "https://ci.example/beacon/.ci/workflow.yml@refs/heads/main", "https://token.ci.example"
ARTIFACT, OTHER = b"a.txt\n", b"c.txt\n"
NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
OLD = {"start": "2020-01-01T00:00:00Z", "end": "2020-06-01T00:00:00Z"}


@dataclass
class Case:
    """What one directory of the suite holds."""

    bundle: str
    root: dict[str, Any] | None
    step: str = ""
    key: SigningKey | None = None
    identity: str = SIGNER
    also_identity: bool = False


CASES: dict[str, Callable[[], Case]] = {}


@cache
def instance(rekor: int, number: int = 0) -> PrivateSigstore:
    """A private Sigstore whose log has a few entries; `number` tells several apart."""
    made = PrivateSigstore(rekor, now=lambda: NOW)
    for _ in range(3 + number):
        made.sign_blob(OTHER, SIGNER, ISSUER)
    return made


def case(name: str) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    """Enter a case under its name in the suite."""

    def enter(make: Callable[[], Case]) -> Callable[[], Case]:
        assert name not in CASES
        CASES[name] = make
        return make

    return enter


def statement(data: bytes = ARTIFACT, **changes: Any) -> bytes:
    """An in-toto statement about `data`; a change to None leaves the field out."""
    document = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "a.txt", "digest": {"sha256": hashlib.sha256(data).hexdigest()}}],
        "predicateType": "https://example.com/predicate/v1",
        "predicate": {},
        **changes,
    }
    return json.dumps({key: value for key, value in document.items() if value is not None}).encode()


def blob(rekor: int, data: bytes = ARTIFACT, **options: Any) -> dict[str, Any]:
    """A bundle with a signature over `data`, parsed."""
    made: dict[str, Any] = json.loads(instance(rekor).sign_blob(data, SIGNER, ISSUER, Options(**options)))
    return made


def envelope(rekor: int, payload: bytes | None = None, **options: Any) -> dict[str, Any]:
    """A bundle with an envelope, parsed."""
    text = instance(rekor).sign_payload(payload or statement(), SIGNER, ISSUER, Options(**options))
    made: dict[str, Any] = json.loads(text)
    return made


def entry(bundle: dict[str, Any]) -> dict[str, Any]:
    """The one log entry."""
    found: dict[str, Any] = bundle["verificationMaterial"]["tlogEntries"][0]
    return found


def tokens(bundle: dict[str, Any]) -> list[dict[str, str]]:
    """The timestamps."""
    found: list[dict[str, str]] = bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    return found


def signature_of(bundle: dict[str, Any]) -> bytes:
    """The bytes of the signature."""
    message = bundle.get("messageSignature")
    return base64.b64decode(message["signature"] if message else bundle["dsseEnvelope"]["signatures"][0]["sig"])


def flipped(text: str, position: int = 20) -> str:
    """base64 `text` with one bit of its bytes flipped."""
    data = bytearray(base64.b64decode(text))
    data[position] ^= 1
    return b64(bytes(data))


def of(rekor: int, bundle: dict[str, Any], step: str = "", **more: Any) -> Case:
    """A case of an edited bundle under the root of its instance."""
    return Case(json.dumps(bundle), instance(rekor).trusted_root, step, **more)


def as_version(bundle: dict[str, Any], media_type: str) -> dict[str, Any]:
    """`bundle` with another media type; v0.1 and v0.2 keep the certificate in a chain."""
    bundle["mediaType"] = media_type
    if not media_type.endswith(("0.3", "v0.3+json")):
        material = bundle["verificationMaterial"]
        material["x509CertificateChain"] = {"certificates": [material.pop("certificate")]}
    return bundle


def swapped_signature(kind: str, rekor: int) -> dict[str, Any]:
    """The signature (and timestamps) of a second signing by the same key over the same payload."""
    key = new_key()
    first, second = (envelope(rekor, key=key, kind=kind) for _ in range(2))
    first["dsseEnvelope"] = second["dsseEnvelope"]
    first["verificationMaterial"]["certificate"] = second["verificationMaterial"]["certificate"]
    first["verificationMaterial"]["timestampVerificationData"] = second["verificationMaterial"][
        "timestampVerificationData"
    ]
    return first


def swapped_envelope(kind: str, rekor: int) -> dict[str, Any]:
    """An envelope with another payload by the same key, that is not the one that was logged."""
    key = new_key()
    first = envelope(rekor, key=key, kind=kind)
    second = envelope(rekor, statement(predicate={"another": True}), key=key, kind=kind)
    second["verificationMaterial"]["tlogEntries"] = first["verificationMaterial"]["tlogEntries"]
    return second


def forged_envelope(kind: str, rekor: int) -> dict[str, Any]:
    """An envelope signed by another key than the certificate's."""
    first, second = (envelope(rekor, kind=kind) for _ in range(2))
    first["dsseEnvelope"]["signatures"] = second["dsseEnvelope"]["signatures"]
    first["verificationMaterial"]["timestampVerificationData"] = second["verificationMaterial"][
        "timestampVerificationData"
    ]
    return first


V = "application/vnd.dev.sigstore.bundle+json;version=0."
for _name, _media in {
    "happy-path": V + "1",
    "happy-path-v0.1": V + "1",
    "happy-path-v0.2": V + "2",
    "happy-path-v0.3": V + "3",
    "happy-path-v0.3-new-mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
}.items():
    case(_name)(lambda media=_media: of(1, as_version(blob(1), media)))  # type: ignore[misc]

case("happy-path-intoto-in-dsse-v3")(lambda: of(1, envelope(1)))
case("intoto-with-custom-trust-root")(lambda: of(1, as_version(envelope(1, kind="intoto", stamp=True), V + "2")))
case("dsse-with-hashedrekord-happy-path")(lambda: of(1, envelope(1, kind="hashedrekord", stamp=True)))
case("bundle-with-sct-with-extensions")(lambda: of(1, blob(1, issue={"sct_extensions": b"\0\0\5\0\0\0\0\7"})))
case("rekor2-happy-path")(lambda: of(2, blob(2)))
case("rekor2-dsse-happy-path")(lambda: of(2, envelope(2)))
case("rekor2-dsse-happy-path (dsse 0.0.2)")(lambda: of(2, envelope(2, kind="dsse")))
for _kind, _make in {
    "P-384 with SHA-256": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521 with SHA-256": lambda: ec.generate_private_key(ec.SECP521R1()),
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
}.items():
    case(f"CPython release, {_kind}")(lambda make=_make: of(1, as_version(blob(1, key=make()), V + "1")))  # type: ignore[misc]


# --- what is no bundle -----------------------------------------------------------------------------------------------


@case("bundle-empty-certificate-chain_fail")
def _() -> Case:
    bundle = as_version(blob(1), V + "1")
    bundle["verificationMaterial"]["x509CertificateChain"]["certificates"] = []
    return of(1, bundle, "chain is empty")


@case("bundle-invalid-base64-signature_fail")
def _() -> Case:
    bundle = blob(1)
    bundle["messageSignature"]["signature"] = "not%base64"
    return of(1, bundle, "not base64")


@case("bundle-malformed-json_fail")
def _() -> Case:
    return Case(json.dumps(blob(1))[:-2], instance(1).trusted_root, "JSON")


@case("bundle-negative-log-index_fail")
def _() -> Case:
    bundle = blob(1)
    entry(bundle)["logIndex"] = "-1"
    return of(1, bundle, "unsigned 64-bit")


case("bundle-unknown-version_fail")(lambda: of(1, as_version(blob(1), V + "99.9"), "media type"))


@case("bundle-with-root-cert_fail")
def _() -> Case:
    bundle = as_version(blob(1), V + "1")
    authority = instance(1).authority
    bundle["verificationMaterial"]["x509CertificateChain"]["certificates"] += [
        {"rawBytes": b64(der(one.certificate))} for one in (authority.intermediate, authority.root)
    ]
    return of(1, bundle, "parsed: failed: the bundle brings a root")


@case("cve-2022-36056-swapped-tlog-entry_fail")
def _() -> Case:
    first, second = (blob(1) for _ in range(2))
    body, number = entry(second)["canonicalizedBody"], entry(second)
    old = {
        "base64Signature": first["messageSignature"]["signature"],
        "cert": first["verificationMaterial"]["certificate"]["rawBytes"],
        "rekorBundle": {
            "SignedEntryTimestamp": number["inclusionPromise"]["signedEntryTimestamp"],
            "Payload": {"body": body, "integratedTime": 0, "logIndex": 0, "logID": ""},
        },
    }
    return Case(json.dumps(old), instance(1).trusted_root, "text of at most")


@case("cve-2022-36056-swapped-tlog-entry_fail (in a bundle)")
def _() -> Case:
    bundle = blob(1)
    bundle["verificationMaterial"]["tlogEntries"] = blob(1)["verificationMaterial"]["tlogEntries"]
    return of(1, bundle, "log-entry: failed")


# --- the signature and what it is over -------------------------------------------------------------------------------


@case("signature-mismatch_fail")
def _() -> Case:
    bundle = blob(1)
    bundle["messageSignature"]["signature"] = blob(1)["messageSignature"]["signature"]
    return of(1, bundle, "signature: failed")


@case("message-digest-mismatch_fail")
def _() -> Case:
    bundle = blob(1)
    stated = bundle["messageSignature"]["messageDigest"]
    stated["digest"] = flipped(stated["digest"], 0)
    return of(1, bundle, "subject-digest: failed")


case("wrong-material_fail")(lambda: of(1, blob(1, OTHER), "signature: failed"))


def _logged(other: dict[str, Any], field: str) -> Case:
    """A good bundle whose logged body has a part of another's; logged again, so that only the body is wrong."""
    bundle = blob(1)
    body = json.loads(base64.b64decode(entry(bundle)["canonicalizedBody"]))["spec"]
    theirs = json.loads(base64.b64decode(entry(other)["canonicalizedBody"]))["spec"]
    spec = theirs if field == "all" else {**body, field: theirs[field]}
    bundle["verificationMaterial"]["tlogEntries"] = [instance(1).log.append("hashedrekord", "0.0.1", spec, NOW)]
    return of(1, bundle, "log-entry: failed")


case("wrong-hashedrekord-artifact_fail")(lambda: _logged(blob(1, OTHER), "data"))
case("wrong-hashedrekord-cert-and-sig_fail")(lambda: _logged(blob(1), "signature"))
case("wrong-hashedrekord-entry_fail")(lambda: _logged(blob(1, OTHER), "all"))


@case("incorrect-public-key_fail")
def _() -> Case:
    bundle = blob(1)
    body = json.loads(base64.b64decode(entry(bundle)["canonicalizedBody"]))
    signer = new_key().public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public = signer.public_bytes(serialization.Encoding.PEM, form)
    body["spec"]["signature"]["publicKey"]["content"] = b64(public)
    entry(bundle)["canonicalizedBody"] = b64(json.dumps(body).encode())
    return of(1, bundle, "log-entry: failed")


for _prefix, _kind, _rekor in (
    ("dsse", "dsse", 1),
    ("dsse-with-hashedrekord", "hashedrekord", 1),
    ("rekor2-dsse", "hashedrekord", 2),
    ("rekor2-dsse (dsse 0.0.2)", "dsse", 2),
    ("intoto", "intoto", 1),
):
    for _what, _forge, _step in (
        ("invalid-sig_fail", forged_envelope, "signature: failed"),
        ("mismatch-sig_fail", swapped_signature, "log-entry: failed"),
        ("mismatch-envelope_fail", swapped_envelope, "log-entry: failed"),
    ):
        case(f"{_prefix}-{_what}")(
            lambda forge=_forge, kind=_kind, rekor=_rekor, step=_step: of(rekor, forge(kind, rekor), step)  # type: ignore[misc]
        )
case("intoto-log-entry-mismatch_fail")(lambda: of(1, swapped_envelope("intoto", 1), "log-entry: failed"))


# --- the log ---------------------------------------------------------------------------------------------------------


def checkpointed(change: Callable[[str], str], rekor: int = 2, step: str = "") -> Case:
    """A good bundle after `change` worked on its checkpoint."""
    bundle = blob(rekor)
    proof = entry(bundle)["inclusionProof"]["checkpoint"]
    proof["envelope"] = change(proof["envelope"])
    return of(rekor, bundle, step)


def cosigned(name: str) -> str:
    """A signature line of a witness."""
    return f"— {name} {b64(b'wit0' + b'12345678' + bytes(64))}\n"


def second_log_signature(text: str) -> str:
    """The log's signature by a second key of its, as for a new algorithm."""
    note, _, lines = text.partition("\n\n")
    second = b64(b"new0" + ed25519.Ed25519PrivateKey.generate().sign(note.encode()))
    return f"{note}\n\n{lines}— {TransparencyLog.origin} {second}\n"


def without_line(number: int) -> Callable[[str], str]:
    """The checkpoint without one of its lines."""

    def change(text: str) -> str:
        note, _, lines = text.partition("\n\n")
        kept = note.split("\n")
        del kept[number]
        return "\n".join(kept) + "\n\n" + lines

    return change


def signed_first(text: str) -> str:
    note, _, lines = text.partition("\n\n")
    return f"{note}\n\n{cosigned('witness.example')}{lines}"


def _flip_last(text: str, position: int) -> str:
    head, _, last = text.rstrip("\n").rpartition(" ")
    return f"{head} {flipped(last, position)}\n"


case("rekor2-checkpoint-cosigned")(lambda: checkpointed(lambda text: text + cosigned("witness.example")))
case("rekor2-checkpoint-multiple-cosigs")(
    lambda: checkpointed(lambda text: text + cosigned("one.example") + cosigned("two.example"))
)
case("rekor2-checkpoint-origin-not-first")(lambda: checkpointed(signed_first))
case("rekor2-checkpoint-two-sigs-from-origin")(lambda: checkpointed(second_log_signature))
case("rekor2-checkpoint-two-sigs-cosigned")(
    lambda: checkpointed(lambda text: second_log_signature(text) + cosigned("witness.example"))
)
CHECKPOINT = "checkpoint: failed"
case("rekor2-checkpoint-missing-origin_fail")(lambda: checkpointed(without_line(0), step=CHECKPOINT))
case("rekor2-checkpoint-missing-size_fail")(lambda: checkpointed(without_line(1), step=CHECKPOINT))
case("rekor2-checkpoint-missing-root-hash_fail")(lambda: checkpointed(without_line(2), step=CHECKPOINT))
case("rekor2-checkpoint-missing-log-signature_fail")(
    lambda: checkpointed(lambda text: text.partition("\n\n")[0] + "\n\n", step=CHECKPOINT)
)
case("rekor2-checkpoint-no-matching-signature_fail")(
    lambda: checkpointed(lambda text: text.replace("— rekor", "— another"), step=CHECKPOINT)
)
case("checkpoint-bad-keyhint_fail")(lambda: checkpointed(lambda text: _flip_last(text, 0), 1, CHECKPOINT))
case("invalid-checkpoint-signature_fail")(lambda: checkpointed(lambda text: _flip_last(text, 40), 1, CHECKPOINT))
case("checkpoint-wrong-roothash_fail")(
    lambda: checkpointed(lambda _: str(entry(blob(1))["inclusionProof"]["checkpoint"]["envelope"]), 1, CHECKPOINT)
)


@case("inclusion-proof-corrupted-hash_fail")
def _() -> Case:
    bundle = blob(1)
    entry(bundle)["inclusionProof"]["hashes"][0] = flipped(entry(bundle)["inclusionProof"]["hashes"][0])
    return of(1, bundle, "log-inclusion: failed")


@case("invalid-inclusion-proof_fail")
def _() -> Case:
    old, bundle = blob(1), blob(1)
    entry(bundle)["inclusionProof"] = entry(old)["inclusionProof"]
    return of(1, bundle, "log-inclusion: failed")


def without_proof(bundle: dict[str, Any], rekor: int) -> Case:
    del entry(bundle)["inclusionProof"]
    return of(rekor, bundle, "no inclusion proof")


case("rekor2-no-inclusion-proof_fail")(lambda: without_proof(blob(2), 2))
case("intoto-missing-inclusion-proof_fail")(lambda: without_proof(as_version(envelope(1, kind="intoto"), V + "2"), 1))


@case("set-invalid-signature_fail")
def _() -> Case:
    bundle = blob(1)
    promise = entry(bundle)["inclusionPromise"]
    promise["signedEntryTimestamp"] = flipped(promise["signedEntryTimestamp"], 40)
    return of(1, bundle, "inclusion-promise: failed")


def promised_at(bundle: dict[str, Any], time: datetime, rekor: int = 1) -> Case:
    """The log's genuine promise for another time."""
    item, moment = entry(bundle), int(time.timestamp())
    body = base64.b64decode(item["canonicalizedBody"])
    promise = instance(rekor).log.promise(body, moment, int(item["logIndex"]))
    item |= {"integratedTime": str(moment), "inclusionPromise": {"signedEntryTimestamp": b64(promise)}}
    return of(rekor, bundle, "chain: failed")


case("integrated-time-in-future_fail")(lambda: promised_at(blob(1), NOW + timedelta(days=2)))
case("intoto-set-outside-signing-cert-validity_fail")(
    lambda: promised_at(envelope(1, kind="intoto"), NOW + timedelta(minutes=30))
)


# --- timestamps ------------------------------------------------------------------------------------------------------


def stamped(stamp: Callable[[bytes], bytes], *, keep: bool = False, step: str = "", kind: str = "") -> Case:
    """A bundle of Rekor v2 whose timestamp is what `stamp` makes of the signature."""
    bundle = envelope(1, kind=kind, stamp=True) if kind else blob(2)
    rekor = 1 if kind else 2
    token = {"signedTimestamp": b64(stamp(signature_of(bundle)))}
    bundle["verificationMaterial"]["timestampVerificationData"] = {
        "rfc3161Timestamps": [*(tokens(bundle) if keep else []), token]
    }
    return of(rekor, bundle, step)


def authority(embed: bool) -> TimestampAuthority:
    """The authority of the second instance, whose tokens bring its certificate along or not."""
    made = copy.copy(instance(2).timestamps)
    made.embed = embed
    return made


def foreign(embed: bool) -> TimestampAuthority:
    made = copy.copy(instance(2, 1).timestamps)
    made.embed = embed
    return made


STAMP, CHAIN = "timestamp: failed", "chain: failed"
case("rekor2-timestamp-with-embedded-cert")(lambda: stamped(lambda data: authority(True).stamp(data, NOW)))
case("rekor2-timestamp-without-embedded-cert")(lambda: stamped(lambda data: authority(False).stamp(data, NOW)))
case("rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail")(
    lambda: stamped(lambda data: foreign(True).stamp(data, NOW), step=STAMP)
)
case("rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail")(
    lambda: stamped(lambda data: foreign(False).stamp(data, NOW), step=STAMP)
)
case("rekor2-timestamp-payload-mismatch_fail")(
    lambda: stamped(lambda _: authority(True).stamp(b"another signature", NOW), step=STAMP)
)
case("rekor2-timestamp-with-incorrect-time_fail")(
    lambda: stamped(lambda data: authority(True).stamp(data, NOW + timedelta(minutes=20)), step=CHAIN)
)
case("rekor2-multiple-timestamps-one-outside-cert-validity_fail")(
    lambda: stamped(lambda data: authority(True).stamp(data, NOW + timedelta(minutes=20)), keep=True, step=CHAIN)
)
case("intoto-tsa-timestamp-outside-cert-validity_fail")(
    lambda: stamped(
        lambda data: instance(1).timestamps.stamp(data, NOW + timedelta(minutes=20)), kind="intoto", step=CHAIN
    )
)


@case("rekor2-no-timestamp_fail")
def _() -> Case:
    bundle = blob(2)
    bundle["verificationMaterial"]["timestampVerificationData"] = {}
    return of(2, bundle, "signing-time: failed")


def _with_authority(end: datetime, step: str = "") -> Case:
    """A bundle that an authority stamped whose certificates end at `end`."""
    made, bundle = TimestampAuthority(NOW - timedelta(days=1), end), blob(2)
    stamp = {"signedTimestamp": b64(made.stamp(signature_of(bundle), NOW))}
    bundle["verificationMaterial"]["timestampVerificationData"] = {"rfc3161Timestamps": [stamp]}
    root = copy.deepcopy(instance(2).trusted_root)
    chain = [{"rawBytes": b64(der(one.certificate))} for one in (made.service, made.root)]
    root["timestampAuthorities"][0]["certChain"] = {"certificates": chain}
    return Case(json.dumps(bundle), root, step)


case("rekor2-timestamp-with-expired-cert-chain")(lambda: _with_authority(NOW + timedelta(minutes=5)))
case("rekor2-timestamp-outside-tsa-cert-validity_fail")(lambda: _with_authority(NOW - timedelta(hours=2), STAMP))


def rooted(rekor: int, change: Callable[[dict[str, Any]], object], step: str = "", kind: str = "") -> Case:
    """A good bundle under a changed root."""
    root = copy.deepcopy(instance(rekor).trusted_root)
    change(root)
    return Case(json.dumps(envelope(rekor, kind=kind) if kind else blob(rekor)), root, step)


def _window(section: str, window: dict[str, str]) -> Callable[[dict[str, Any]], object]:
    def change(root: dict[str, Any]) -> None:
        for item in root[section]:
            item.get("publicKey", item)["validFor"] = window

    return change


def _borrow(root: dict[str, Any]) -> None:
    _window("timestampAuthorities", OLD)(root)
    root["timestampAuthorities"].append(
        {**root["timestampAuthorities"][0], "certChain": {"certificates": []}, "validFor": {"start": OLD["start"]}}
    )


EXACT = {"start": "2020-01-01T00:00:00Z", "end": NOW.strftime("%Y-%m-%dT%H:%M:%SZ")}
case("rekor2-timestamp-outside-trust-root-tsa-validity_fail")(
    lambda: rooted(2, _window("timestampAuthorities", OLD), STAMP)
)
case("rekor2-timestamp-wrong-tsa-validity-borrow_fail")(lambda: rooted(2, _borrow, STAMP))
case("trust-root-tsa-validity-end-inclusive")(lambda: rooted(2, _window("timestampAuthorities", EXACT)))
case("trust-root-tlog-validity-end-inclusive")(lambda: rooted(1, _window("tlogs", EXACT)))
case("trust-root-tlog-missing-validity-start_fail")(
    lambda: rooted(1, _window("tlogs", {"end": "2099-01-01T00:00:00Z"}), "cannot be read")
)
case("intoto-expired-certificate_fail")(lambda: rooted(1, _window("certificateAuthorities", OLD), CHAIN, "intoto"))
case("bundle-from-wrong-instance_fail")(lambda: Case(json.dumps(blob(1)), instance(1, 1).trusted_root, CHECKPOINT))
case("invalid-ct-key_fail")(
    lambda: rooted(1, lambda root: root.update(ctlogs=instance(1, 1).trusted_root["ctlogs"]), "sct: failed")
)


@case("sct-duplicate-intermediate-name")
def _() -> Case:
    """A decoy authority of the same name before the genuine one."""
    genuine = instance(1).authority.intermediate.certificate
    common_name = str(genuine.subject.rdns[-1].rfc4514_string().partition("=")[2])
    decoy = make_authority(common_name, start=NOW - timedelta(days=9), end=NOW + timedelta(days=9))
    assert decoy.certificate.subject == genuine.subject
    chain = {"certificates": [{"rawBytes": b64(der(decoy.certificate))}]}

    def change(root: dict[str, Any]) -> None:
        first = {**root["certificateAuthorities"][0], "certChain": chain, "validFor": {"start": OLD["start"]}}
        root["certificateAuthorities"].insert(0, first)

    return rooted(1, change)


# --- managed keys ----------------------------------------------------------------------------------------------------


def by_key(
    rekor: int,
    step: str = "",
    make: Callable[[], SigningKey] = new_key,
    payload: bytes | None = None,
    other: bool = False,
    **options: Any,
) -> Case:
    """A signature by a key, over the artifact or around `payload`; with `other` another key is given to verify it."""
    key, sigstore = make(), instance(rekor)
    if payload is None:
        bundle = sigstore.sign_blob_with_key(ARTIFACT, key, Options(**options))
    else:
        bundle = sigstore.sign_payload_with_key(payload, key, Options(**options))
    return Case(bundle, sigstore.trusted_root, step, key=new_key() if other else key)


case("managed-key-happy-path")(lambda: by_key(1))
case("managed-key-and-trusted-root")(lambda: by_key(2, stamp=False))
case("managed-key-wrong-key_fail")(lambda: by_key(1, "signature: failed", other=True))
case("intoto-canonical-log-entry")(lambda: by_key(1, payload=statement(), kind="intoto"))
case("managed key, P-384")(lambda: by_key(1, make=lambda: ec.generate_private_key(ec.SECP384R1())))
case("managed key, RSA")(lambda: by_key(2, make=lambda: rsa.generate_private_key(65537, 2048)))
case("managed key, Ed25519 around a statement")(
    lambda: by_key(2, make=ed25519.Ed25519PrivateKey.generate, payload=statement(), kind="dsse")
)


@case("managed-key-and-trusted-root (no log entry, empty root)")
def _() -> Case:
    """As the suite had it first: a signature, a hint, and a root that believes nobody."""
    made = by_key(1, log=False, stamp=False)
    made.root = {"mediaType": instance(1).trusted_root["mediaType"]}
    return made


@case("managed-key-no-key_fail")
def _() -> Case:
    made = by_key(1, "signature: failed")
    made.key = None
    return made


@case("managed-key-and-client-identity_fail")
def _() -> Case:
    made = by_key(1, "either --key, or")
    made.also_identity = True
    return made


for _name, _kind_of in {"missing": None, "unknown": "https://in-toto.io/Statement/v2"}.items():
    case(f"dsse-statement-{_name}-type_fail")(
        lambda kind=_kind_of: by_key(2, "statement: failed", payload=statement(_type=kind), stamp=False)  # type: ignore[misc]
    )


@case("intoto 0.0.1, whose entry keeps no signature")
def _() -> Case:
    made = by_key(1, payload=statement(), kind="intoto")
    bundle = json.loads(made.bundle)
    spec = json.loads(base64.b64decode(entry(bundle)["canonicalizedBody"]))["spec"]["content"]
    old = {
        "content": {"hash": spec["hash"], "payloadHash": spec["payloadHash"]},
        "publicKey": spec["envelope"]["signatures"][0]["publicKey"],
    }
    bundle["verificationMaterial"]["tlogEntries"] = [instance(1).log.append("intoto", "0.0.1", old, NOW)]
    made.bundle = json.dumps(bundle)
    return made


def key_file(key: SigningKey) -> bytes:
    """The public half of `key` as the suite's `key.pub`."""
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
