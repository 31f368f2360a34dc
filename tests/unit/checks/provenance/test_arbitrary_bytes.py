"""Whatever bytes are handed in as a signature: the check answers, never raises, and never says passed."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checks.interface import Status
from checks.provenance import Identity, Trust
from checks.provenance.bundle import parse_bundle
from checks.provenance.legacy import read_signatures
from checks.provenance.library import load_trusted_root
from checks.provenance.material import TrustMaterial
from checks.provenance.verifier import Demand, SignatureReport, verify_signature
from examples.signing.private_sigstore import PrivateSigstore
from examples.signing.services import b64
from pratique.errors import InvalidInput
from tests.unit.checks.provenance.bench import IMAGE, ISSUER, NOW, SIGNER, Bench, Case

BRIEF = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=20),
    st.binary(max_size=40).map(b64),
    st.just([]),
    st.just({}),
)
HARMLESS = {"keyid", "Chain", "signedTimestamp", "SignedRFC3161Timestamp"}
"""Fields, or parts of them, that nothing rests on: a hint, the chain that cosign 2 prints (the trusted root's own is
used), and in a timestamp the signature's algorithm, which CMS does not sign and the authority's key decides."""


@pytest.fixture
def stage(bench: Bench) -> tuple[TrustMaterial, Trust]:
    root = bench.root_file(bench.both_roots())
    return load_trusted_root(root), Trust(roots=(root,), identities=(Identity(SIGNER, ISSUER),))


def verify(data: bytes, stage: tuple[TrustMaterial, Trust]) -> SignatureReport | None:
    """Reports of the first signature in `data`; None where none could be read."""
    try:
        bundle = read_signatures(data, where="bundle")[0]
    except InvalidInput:
        return None
    return verify_signature(bundle, "bundle", *stage, Demand(IMAGE), NOW)


@BRIEF
@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_never_a_signature(bench: Bench, data: bytes) -> None:
    """Through the whole check."""
    assert bench.check(Case([data])).status is Status.FAILED


@BRIEF
@given(
    st.recursive(
        VALUES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=10,
    )
)
def test_arbitrary_json_is_refused_with_one_kind_of_error(value: Any) -> None:
    """The parser raises `InvalidInput` and nothing else."""
    with pytest.raises(InvalidInput):
        parse_bundle(json.dumps(value).encode(), where="bundle")


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of every value inside `value`."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*path, key))
    return found


@pytest.mark.parametrize("form", ["rekor 1", "rekor 2", "cosign 2"])
@BRIEF
@given(data=st.data())
def test_a_bundle_with_one_value_replaced_never_verifies(
    stage: tuple[TrustMaterial, Trust],
    instances: tuple[PrivateSigstore, PrivateSigstore, PrivateSigstore],
    form: str,
    data: st.DataObject,
) -> None:
    """Any one value of a good bundle replaced by any other; only what nothing signs may change unnoticed."""
    document = json.loads(GOOD.setdefault(form, _good(form, instances)))
    place = data.draw(st.sampled_from(places(document)))
    changed = copy.deepcopy(document)
    target = changed
    for part in place[:-1]:
        target = target[part]
    target[place[-1]] = data.draw(VALUES)
    report = verify(json.dumps(changed).encode(), stage)
    if report is not None and report.verified:
        assert place[-1] in HARMLESS or _same(document, changed)


@pytest.mark.parametrize("form", ["rekor 1", "rekor 2", "cosign 2"])
@BRIEF
@given(position=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_bundle_with_one_byte_replaced_verifies_only_as_what_it_was(
    stage: tuple[TrustMaterial, Trust],
    instances: tuple[PrivateSigstore, PrivateSigstore, PrivateSigstore],
    form: str,
    position: float,
    byte: int,
) -> None:
    """One byte anywhere: refused, or without meaning (space, a hint)."""
    good = GOOD.setdefault(form, _good(form, instances)).encode()
    data = bytearray(good)
    data[int(position * len(data))] = byte
    report = verify(bytes(data), stage)
    if report is not None and report.verified:
        before, after = (places_and_values(json.loads(text)) for text in (good, data))
        assert {place[-1] for place, _ in before ^ after} <= HARMLESS


GOOD: dict[str, str] = {}


def _good(form: str, instances: tuple[PrivateSigstore, PrivateSigstore, PrivateSigstore]) -> str:
    v1, v2, _ = instances
    if form == "cosign 2":
        return v1.sign_image_legacy(IMAGE, SIGNER, ISSUER)
    return (v1 if form == "rekor 1" else v2).sign_image(IMAGE, SIGNER, ISSUER)


def places_and_values(document: Any) -> set[tuple[tuple[Any, ...], str]]:
    """Every path in `document` with its leaf; one that is null says nothing, whatever its name."""
    found = set()
    for place in places(document):
        value = document
        for part in place:
            value = value[part]
        if value is not None and not isinstance(value, dict | list):
            found.add((place, json.dumps(value)))
    return found


def _same(before: Any, after: Any) -> bool:
    """Whether two documents differ in empty containers and nulls alone, which JSON bundles may leave out."""
    return {p for p, v in places_and_values(before) if v != "null"} == {
        p for p, v in places_and_values(after) if v != "null"
    }


@BRIEF
@given(st.binary(min_size=1, max_size=200))
def test_arbitrary_bytes_for_certificate_and_timestamp_never_raise(
    bench: Bench, stage: tuple[TrustMaterial, Trust], data: bytes
) -> None:
    """DER parsers in other languages sit behind these fields."""
    document = json.loads(GOOD.setdefault("rekor 2", bench.v2.sign_image(IMAGE, SIGNER, ISSUER)))
    material = document["verificationMaterial"]
    material["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"] = b64(data)
    report = verify(json.dumps(document).encode(), stage)
    assert report is not None
    assert not report.verified
    material["certificate"]["rawBytes"] = b64(data)
    report = verify(json.dumps(document).encode(), stage)
    assert report is not None
    assert not report.verified


def test_the_asset_is_a_bundle() -> None:
    """The parser reads what the real world writes."""
    path = Path(__file__).parents[3] / "assets" / "provenance" / "github-workflow.sigstore.json"
    assert parse_bundle(path.read_bytes(), where=path.name).entry
