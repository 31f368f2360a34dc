"""What is exported is what the node itself would run, as its ledger says, and whom the policy trusts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from checks.provenance.trust import Attestation, Identity, Trust, TrustedRootFile
from examples.signing.private_sigstore import PrivateSigstore
from pratique.digests import Digest, sha256_bytes
from pratique.errors import InvalidInput
from records.dsse import sign_statement
from records.enforcement import SignatureForm
from records.enforcement.collect import Collected, admitted_images, trusted_signers
from records.intoto import Statement, descriptor
from records.keys import NodeKey, load_or_create_key
from records.ledger import Ledger
from records.standing import Demand, check_admission
from records.statements import Action, Person, PolicyReference, ToolIdentity, decision, vsa
from tests.unit.records.admitted import validated_versions
from tests.unit.records.enforcement.bench import NOW, REPOSITORY, digest

ORIGIN = "node.example/ledger"
HERE, ELSEWHERE = "urn:pratique:node:here", "urn:pratique:node:elsewhere"
POLICY, OTHER_POLICY = digest("0"), digest("9")
YEAR = timedelta(days=365)

Collect = Callable[[Sequence[Statement]], Collected]


@pytest.fixture
def key(tmp_path: Path) -> NodeKey:
    """The node's key."""
    return load_or_create_key(tmp_path / "node.pem", ORIGIN)


@pytest.fixture
def collect(tmp_path: Path, key: NodeKey) -> Collect:
    """What the node exports whose ledger holds these statements, signed by itself."""
    ledger = Ledger(tmp_path / "ledger", ORIGIN, key)

    def collected(statements: Sequence[Statement]) -> Collected:
        ledger.extend([sign_statement(statement, key) for statement in statements])
        demand = Demand((key.verifier,), HERE, (HERE,), frozenset({POLICY}), YEAR)
        return admitted_images(
            validated_versions(ledger, resource_uri=HERE),
            lambda version: check_admission(ledger.entry(version.entry), demand, NOW),
            lambda name, _: REPOSITORY if name == "located" else None,
        )

    return collected


def _admission(
    letter: str,
    *,
    name: str = "tool",
    place: str = HERE,
    policy: Digest = POLICY,
    admitted: datetime = NOW,
    expires: datetime | None = None,
) -> Statement:
    return vsa(
        ToolIdentity(name, "1.0.0", digest(letter), digest("f")),
        verifier_id=place,
        resource_uri=place,
        time_verified=admitted,
        policy=PolicyReference("urn:pratique:policy:p", policy),
        input_attestations=[],
        passed=True,
        expires=expires,
        manifest=descriptor(name="manifest", digest=digest("e")),
    )


def _withdrawal(letter: str, name: str) -> Statement:
    person = Person("maintainer@node.example", "node")
    tool = ToolIdentity(name, "1.0.0", digest(letter), digest("f"))
    return decision(tool, Action.WITHDRAW, person=person, reason="a vulnerability", decided=NOW)


def test_admissions_with_their_end(collect: Collect) -> None:
    """As the statement says, but never later than the policy lets an admission hold."""
    soon = NOW + timedelta(days=30)
    found = collect([_admission("a", expires=soon), _admission("b", name="late", expires=NOW + 9 * YEAR)])
    assert [(one.name, one.digest, one.expires) for one in found.images] == [
        ("late", digest("b"), NOW + YEAR),
        ("tool", digest("a"), soon),
    ]
    assert found.warnings == ()


def test_where_images_lie(collect: Collect) -> None:
    """As the caller knows, or unknown."""
    found = collect([_admission("a"), _admission("b", name="located")])
    assert [one.repository for one in found.images] == [REPOSITORY, None]


def test_only_what_is_admitted_here(collect: Collect) -> None:
    """Not what another node admitted, what was withdrawn, or what a later admission replaced."""
    statements = [_admission("a"), _admission("b"), _admission("c", name="withdrawn"), _withdrawal("c", "withdrawn")]
    found = collect([*statements, _admission("d", name="foreign", place=ELSEWHERE)])
    assert [one.digest for one in found.images] == [digest("b")]


def _unreadable_end() -> Statement:
    statement = _admission("a")
    statement["predicate"]["urn:pratique:admission:v1"]["expires"] = "soon"
    return statement


DOES_NOT_COUNT: dict[str, Callable[[], Statement]] = {
    "another policy": lambda: _admission("a", policy=OTHER_POLICY),
    "has expired": lambda: _admission("a", expires=NOW),
    "admitted longer ago than the policy lets it hold": lambda: _admission("a", admitted=NOW - YEAR),
    "an end that cannot be read": _unreadable_end,
    "made in the future": lambda: _admission("a", admitted=NOW + timedelta(days=1)),
}


@pytest.mark.parametrize("why", DOES_NOT_COUNT)
def test_what_the_node_itself_would_not_run(collect: Collect, why: str) -> None:
    """Is left out, and said."""
    found = collect([DOES_NOT_COUNT[why]()])
    assert found.images == ()
    assert found.warnings[0].startswith('"tool" "1.0.0" is left out: ')


def test_an_older_admission_does_not_come_back(collect: Collect) -> None:
    """When the one that took its place has expired."""
    assert collect([_admission("a"), _admission("b", expires=NOW)]).images == ()


def test_whom_the_policy_trusts(tmp_path: Path) -> None:
    """With its roots compared with their digests before they are read."""
    path = tmp_path / "root.json"
    path.write_bytes(PrivateSigstore(1, now=lambda: NOW).trusted_root_json)
    pinned = TrustedRootFile(path, sha256_bytes(path.read_bytes()))
    trust = Trust(
        (pinned,), (Identity("s", "i"),), need="all", require_timestamp=True, attestations=(Attestation("t"),)
    )
    signers = trusted_signers(trust, SignatureForm.TAG, NOW)
    assert (signers.identities, signers.need, signers.form) == (trust.identities, "all", SignatureForm.TAG)
    assert (signers.require_timestamp, signers.attestations) == (True, ("t",))
    assert signers.roots[0].authorities
    with pytest.raises(InvalidInput) as refused:
        trusted_signers(Trust((TrustedRootFile(path, Digest(digest("0"))),)), SignatureForm.TAG, NOW)
    assert refused.value.rule == "policy/root-digest"
