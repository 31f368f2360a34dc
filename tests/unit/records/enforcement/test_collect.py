"""What is exported is what the ledger admits to this node, with its expiry, and whom the policy trusts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from checks.provenance.trust import Identity, Trust, TrustedRootFile
from examples.signing.private_sigstore import PrivateSigstore
from pratique.digests import Digest, sha256_bytes
from pratique.errors import CouldNotDecide, InvalidInput
from records.dsse import sign_statement
from records.enforcement import SignatureForm
from records.enforcement.collect import admitted_images, trusted_signers
from records.keys import NodeKey, load_or_create_key
from records.ledger import Ledger
from records.statements import Action, Person, PolicyReference, Statement, ToolIdentity, decision, vsa
from tests.unit.records.enforcement.bench import NOW, REPOSITORY, digest

ORIGIN = "node.example/ledger"
HERE, ELSEWHERE = "urn:pratique:node:here", "urn:pratique:node:elsewhere"


@pytest.fixture
def key(tmp_path: Path) -> NodeKey:
    """The node's key."""
    return load_or_create_key(tmp_path / "node.pem", ORIGIN)


@pytest.fixture
def ledger(tmp_path: Path, key: NodeKey) -> Ledger:
    """The node's ledger."""
    return Ledger(tmp_path / "ledger", ORIGIN, key)


def _admission(letter: str, *, name: str = "tool", place: str = HERE, expires: datetime | None = None) -> Statement:
    return vsa(
        ToolIdentity(name, "1.0.0", digest(letter)),
        verifier_id=place,
        resource_uri=place,
        time_verified=NOW,
        policy=PolicyReference("urn:pratique:policy:p", digest("0")),
        input_attestations=[],
        passed=True,
        expires=expires,
    )


def _append(ledger: Ledger, key: NodeKey, statements: Sequence[Statement]) -> None:
    ledger.extend([sign_statement(statement, key) for statement in statements])


def test_an_admission_with_its_expiry(ledger: Ledger, key: NodeKey) -> None:
    """As the statement says."""
    expires = NOW + timedelta(days=30)
    _append(ledger, key, [_admission("a", expires=expires), _admission("b", name="endless")])
    found = admitted_images(ledger, resource_uri=HERE)
    assert [(one.name, one.digest, one.repository, one.expires) for one in found] == [
        ("endless", digest("b"), None, None),
        ("tool", digest("a"), None, expires),
    ]


def test_where_images_lie(ledger: Ledger, key: NodeKey) -> None:
    """By the name that a person gives, before the digest that a manifest gives."""
    _append(ledger, key, [_admission("a"), _admission("b", name="other")])
    located = {digest("a"): "manifest.example/a", digest("b"): "manifest.example/b", digest("c"): "manifest.example/c"}
    found = admitted_images(ledger, repositories={"tool": REPOSITORY}, located=located)
    assert [one.repository for one in found] == ["manifest.example/b", REPOSITORY]


def test_only_what_is_admitted_here_and_now(ledger: Ledger, key: NodeKey) -> None:
    """Not what another node admitted, what was withdrawn, or what a later admission replaced."""
    withdrawal = decision(
        ToolIdentity("withdrawn", "1.0.0", digest("c")),
        Action.WITHDRAW,
        person=Person("maintainer@node.example", "node"),
        reason="a vulnerability",
        decided=NOW,
    )
    statements = [_admission("a"), _admission("b"), _admission("c", name="withdrawn"), withdrawal]
    _append(ledger, key, [*statements, _admission("d", name="foreign", place=ELSEWHERE)])
    assert [one.digest for one in admitted_images(ledger, resource_uri=HERE)] == [digest("b")]


def test_an_admission_that_does_not_say_until_when(ledger: Ledger, key: NodeKey) -> None:
    """Is never taken for one without an end."""
    statement = _admission("a", expires=NOW)
    statement["predicate"]["urn:pratique:admission:v1"]["expires"] = "soon"
    _append(ledger, key, [statement])
    with pytest.raises(CouldNotDecide, match="entry 0"):
        admitted_images(ledger)


def test_whom_the_policy_trusts(tmp_path: Path) -> None:
    """With its roots compared with their digests before they are read."""
    path = tmp_path / "root.json"
    path.write_bytes(PrivateSigstore(1, now=lambda: NOW).trusted_root_json)
    pinned = TrustedRootFile(path, sha256_bytes(path.read_bytes()))
    trust = Trust((pinned,), (Identity("s", "i"),), need="all", require_timestamp=True, attestations=("t",))
    signers = trusted_signers(trust, SignatureForm.TAG, NOW)
    assert (signers.identities, signers.need, signers.form) == (trust.identities, "all", SignatureForm.TAG)
    assert (signers.require_timestamp, signers.attestations) == (True, ("t",))
    assert signers.roots[0].authorities
    with pytest.raises(InvalidInput) as refused:
        trusted_signers(Trust((TrustedRootFile(path, Digest(digest("0"))),)), SignatureForm.TAG, NOW)
    assert refused.value.rule == "policy/root-digest"
