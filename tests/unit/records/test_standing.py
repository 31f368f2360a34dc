"""Whether one admission holds, asked of the statement alone; attacks on whole nodes stand in the tests of the flows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pratique.digests import sha256_bytes
from records.dsse import sign_statement
from records.intoto import descriptor
from records.keys import NodeKey, load_or_create_key
from records.standing import Demand, NotAdmitted, check_admission
from records.statements import ADMISSION_EXTENSION, ADMITTED_LEVEL, PolicyReference, ToolIdentity, vsa

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HERE = "urn:pratique:node:node.example/ledger"
POLICY, IMAGE, CONFIG, MANIFEST = (sha256_bytes(word) for word in (b"policy", b"image", b"config", b"manifest"))


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> NodeKey:
    return load_or_create_key(tmp_path_factory.mktemp("keys") / "node.pem", "node.example/ledger")


def signed(key: NodeKey, **predicate: Any) -> bytes:
    """An admission that is good but for these fields of its predicate."""
    statement = vsa(
        ToolIdentity("scorer", "1.0.0", IMAGE, CONFIG),
        verifier_id=HERE,
        resource_uri=HERE,
        time_verified=NOW,
        policy=PolicyReference("urn:p", POLICY),
        input_attestations=[descriptor(name="inspection", digest=sha256_bytes(b"inspection"))],
        passed=True,
        manifest=descriptor(name="scorer.cwl", digest=MANIFEST),
    )
    return sign_statement({**statement, "predicate": {**statement["predicate"], **predicate}}, key)


def demand(key: NodeKey) -> Demand:
    return Demand((key.verifier,), HERE, (HERE,), frozenset({POLICY}), timedelta(days=30))


def test_an_admission_holds_until_the_day_that_the_demand_allows(key: NodeKey) -> None:
    admitted = check_admission(signed(key), demand(key), NOW)
    assert (admitted.tool.image_digest, admitted.manifest) == (IMAGE, MANIFEST)
    assert admitted.expires == NOW + timedelta(days=30)


@pytest.mark.parametrize(("stated", "days"), [("2026-03-08T12:00:00Z", 7), ("2036-03-01T12:00:00Z", 30)])
def test_an_admission_may_end_sooner_than_the_demand_allows_and_never_later(
    stated: str, days: int, key: NodeKey
) -> None:
    extension = {"decisions": [], "toolManifest": descriptor(name="scorer.cwl", digest=MANIFEST), "expires": stated}
    admitted = check_admission(signed(key, **{ADMISSION_EXTENSION: extension}), demand(key), NOW)
    assert admitted.expires == NOW + timedelta(days=days)


@pytest.mark.parametrize(
    ("predicate", "rule"),
    [
        ({"verificationResult": "FAILED", "verifiedLevels": [ADMITTED_LEVEL]}, "admission/result"),
        ({"verificationResult": "PASSED", "verifiedLevels": ["FAILED"]}, "admission/result"),
        ({"verificationResult": None}, "admission/result"),
        ({"verifier": HERE}, "admission/other-verifier"),
        ({"resourceUri": None}, "admission/other-place"),
        ({"policy": {"uri": "urn:p"}}, "admission/form"),
        ({"timeVerified": "yesterday"}, "admission/form"),
    ],
)
def test_a_statement_that_says_too_little_or_two_things_admits_nothing(
    predicate: dict[str, Any], rule: str, key: NodeKey
) -> None:
    """Signed by the right key, and worth nothing."""
    with pytest.raises(NotAdmitted) as caught:
        check_admission(signed(key, **predicate), demand(key), NOW)
    assert caught.value.rule == rule
