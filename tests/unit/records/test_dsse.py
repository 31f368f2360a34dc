"""Signed statements: what verifies, and every forgery that a lax reader would take."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pratique.digests import canonical_json
from pratique.errors import InvalidInput
from records.dsse import PAYLOAD_TYPE, dsse_key_id, open_envelope, sign_statement, verify_envelope
from records.keys import NodeKey, load_or_create_key

STATEMENT: dict[str, Any] = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"name": "tool", "digest": {"sha256": "00" * 32}}],
    "predicateType": "https://slsa.dev/verification_summary/v1",
    "predicate": {"verificationResult": "PASSED"},
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[NodeKey, NodeKey]:
    directory = tmp_path_factory.mktemp("keys")
    return load_or_create_key(directory / "a.pem", "a.example"), load_or_create_key(directory / "b.pem", "b.example")


def sign_payload(payload: bytes, key: NodeKey, payload_type: str = PAYLOAD_TYPE) -> dict[str, Any]:
    """An envelope around any payload, signed as DSSE says (written out here on purpose)."""
    kind = payload_type.encode()
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    signature = {"keyid": dsse_key_id(key.verifier), "sig": base64.b64encode(key.sign(message)).decode()}
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [signature],
    }


def test_a_signed_statement_verifies_and_says_who_signed(keys: tuple[NodeKey, NodeKey]) -> None:
    """The statement comes back with its signer; the envelope is canonical JSON."""
    envelope = sign_statement(STATEMENT, keys[0])
    opened = open_envelope(envelope, [keys[1].verifier, keys[0].verifier])
    assert opened.statement == STATEMENT
    assert opened.signers == (keys[0].verifier,)
    assert canonical_json(json.loads(envelope)) == envelope
    assert json.loads(envelope) == sign_payload(canonical_json(STATEMENT), keys[0])


def test_only_the_predicate_type_asked_for_is_taken(keys: tuple[NodeKey, NodeKey]) -> None:
    """An attestation of one kind is never offered as another."""
    envelope = sign_statement(STATEMENT, keys[0])
    assert verify_envelope(envelope, [keys[0].verifier], predicate_type=STATEMENT["predicateType"])
    with pytest.raises(InvalidInput) as caught:
        verify_envelope(envelope, [keys[0].verifier], predicate_type="https://slsa.dev/provenance/v1")
    assert caught.value.rule == "dsse/predicate-type"


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 100_000), bit=st.integers(0, 7))
def test_no_flipped_bit_verifies(keys: tuple[NodeKey, NodeKey], position: int, bit: int) -> None:
    """Each bit of an envelope with one signature counts."""
    envelope = bytearray(sign_statement(STATEMENT, keys[0]))
    envelope[position % len(envelope)] ^= 1 << bit
    with pytest.raises(InvalidInput):
        verify_envelope(bytes(envelope), [keys[0].verifier])


@given(st.binary(max_size=200))
def test_bytes_that_are_no_envelope_raise_its_own_error_only(data: bytes) -> None:
    """The parser raises `InvalidInput` for any bytes."""
    with pytest.raises(InvalidInput):
        verify_envelope(data, [])


Forge = Callable[[dict[str, Any], NodeKey], bytes]


def _edited(**fields: Any) -> Forge:
    return lambda envelope, _: json.dumps(envelope | fields).encode()


def _signature(**fields: Any) -> Forge:
    return lambda envelope, _: json.dumps(envelope | {"signatures": [envelope["signatures"][0] | fields]}).encode()


def _payload(value: Any) -> Forge:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return lambda _, key: json.dumps(sign_payload(data, key)).encode()


def _without(field: str) -> Forge:
    return _payload({key: value for key, value in STATEMENT.items() if key != field})


def _two_of_one_key(envelope: dict[str, Any], key: NodeKey) -> bytes:
    return json.dumps(envelope | {"signatures": envelope["signatures"] * 2}).encode()


def _duplicate_payload(envelope: dict[str, Any], key: NodeKey) -> bytes:
    other = base64.b64encode(canonical_json(STATEMENT | {"predicate": {"verificationResult": "FAILED"}})).decode()
    return json.dumps(envelope)[:-1].encode() + f', "payload": "{other}"}}'.encode()


def _other_type(envelope: dict[str, Any], key: NodeKey) -> bytes:
    return json.dumps(sign_payload(canonical_json(STATEMENT), key, "application/json")).encode()


@pytest.mark.parametrize(
    ("attack", "forge", "rule"),
    [
        ("duplicate payload key", _duplicate_payload, "json/duplicate-key"),
        ("duplicate keys inside the payload", _payload(b'{"_type": 1, "_type": 2}'), "json/duplicate-key"),
        ("payload is no JSON", _payload(b"\x80\x04K\x01."), "json/encoding"),
        ("payload holds NaN", _payload(b'{"a": NaN}'), "json/number"),
        ("signed payload type differs", _other_type, "dsse/payload-type"),
        ("payload type relabelled", _edited(payloadType="application/json"), "dsse/payload-type"),
        ("payload type in capitals", _edited(payloadType=PAYLOAD_TYPE.upper()), "dsse/payload-type"),
        ("extra field", _edited(extra=1), "dsse/form"),
        ("no signatures", _edited(signatures=[]), "dsse/form"),
        ("signatures are no list", _edited(signatures={}), "dsse/form"),
        ("seventeen signatures", _edited(signatures=[{"keyid": str(n), "sig": ""} for n in range(17)]), "dsse/form"),
        ("two signatures of one key", _two_of_one_key, "dsse/form"),
        ("signature with extra field", _signature(cert="x"), "dsse/form"),
        ("key id of another type", _signature(keyid=None), "dsse/form"),
        ("key id of nobody", _signature(keyid="00" * 32), "dsse/signature"),
        ("empty signature", _signature(sig=""), "dsse/signature"),
        ("signature of zeros", _signature(sig=base64.b64encode(bytes(64)).decode()), "dsse/signature"),
        ("url-safe signature", _signature(sig="_" * 86 + "=="), "dsse/form"),
        ("payload with line breaks", _edited(payload="e30=\n"), "dsse/form"),
        ("payload swapped", _edited(payload=base64.b64encode(b"{}").decode()), "dsse/signature"),
        ("an envelope in a list", lambda envelope, _: json.dumps([envelope]).encode(), "dsse/form"),
        ("statement v0.1", _payload(STATEMENT | {"_type": "https://in-toto.io/Statement/v0.1"}), "dsse/statement"),
        ("statement type with a slash", _payload(STATEMENT | {"_type": STATEMENT["_type"] + "/"}), "dsse/statement"),
        ("no subject", _payload(STATEMENT | {"subject": []}), "dsse/statement"),
        ("subject without digest", _payload(STATEMENT | {"subject": [{"name": "x"}]}), "dsse/statement"),
        ("subject is text", _payload(STATEMENT | {"subject": ["x"]}), "dsse/statement"),
        ("no predicate", _without("predicate"), "dsse/statement"),
        ("no predicate type", _without("predicateType"), "dsse/statement"),
        ("payload is a list", _payload([]), "dsse/statement"),
    ],
)
def test_forgeries(keys: tuple[NodeKey, NodeKey], attack: str, forge: Forge, rule: str) -> None:
    """Each forged envelope is refused for its own reason."""
    envelope = sign_payload(canonical_json(STATEMENT), keys[0])
    with pytest.raises(InvalidInput) as caught:
        verify_envelope(forge(envelope, keys[0]), [keys[0].verifier])
    assert caught.value.rule == rule, attack


def test_another_key_and_no_key_verify_nothing(keys: tuple[NodeKey, NodeKey]) -> None:
    """A wrong verifier refuses, and so does an empty list of them."""
    envelope = sign_statement(STATEMENT, keys[0])
    for verifiers in ([keys[1].verifier], []):
        with pytest.raises(InvalidInput) as caught:
            verify_envelope(envelope, verifiers)
        assert caught.value.rule == "dsse/signature"


def test_a_bad_signature_by_a_known_key_beside_a_good_one_refuses(keys: tuple[NodeKey, NodeKey]) -> None:
    """Two signatures of which one is bad: refused when both are known, taken when the bad one is a stranger's."""
    envelope = sign_payload(canonical_json(STATEMENT), keys[0])
    bad = {"keyid": dsse_key_id(keys[1].verifier), "sig": envelope["signatures"][0]["sig"]}
    data = json.dumps(envelope | {"signatures": [envelope["signatures"][0], bad]}).encode()
    with pytest.raises(InvalidInput):
        verify_envelope(data, [keys[0].verifier, keys[1].verifier])
    assert open_envelope(data, [keys[0].verifier]).signers == (keys[0].verifier,)


def test_what_would_be_refused_is_not_signed(keys: tuple[NodeKey, NodeKey]) -> None:
    """The signer is as strict as the reader."""
    with pytest.raises(InvalidInput):
        sign_statement(STATEMENT | {"subject": []}, keys[0])


def test_securesystemslib_reads_the_same_envelope(keys: tuple[NodeKey, NodeKey]) -> None:
    """A stranger with the field's own library verifies it too."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]

    envelope = Envelope.from_dict(json.loads(sign_statement(STATEMENT, keys[0])))
    public = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(keys[0].verifier.public_key))
    assert envelope.verify([public], 1)
