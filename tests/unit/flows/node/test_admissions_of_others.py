"""A hub's admission at a node of its federation: what counts there, and what never does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from flows.acceptance import Papers, accept
from flows.overview import overview
from pratique.digests import hex_of, sha256_bytes
from pratique.errors import Refused
from records import statements
from records.dsse import sign_statement
from records.keys import load_or_create_key
from records.standing import NotAdmitted
from records.statements import ACCEPTANCE, PolicyReference
from tests.unit.flows.node.federations import FEDERATION, HUB, Federation
from tests.unit.flows.node.homes import ANNA, MANIFEST, image_config, image_manifest, statements_of


def test_an_admission_of_the_hub(federation: Federation, tmp_path: Path) -> None:
    """Accepted from files, it lets the tool run, and the record names the hub's own statement."""
    papers = federation.admitted()
    federation.told()
    papers.write(tmp_path / "papers")
    admitted = accept(federation.node.node(), Papers.read(tmp_path / "papers"))
    assert admitted.verifier_id == federation.hub.node().uri
    assert len(federation.run(tmp_path).calls) == 1
    node = federation.node.node()
    (statement,) = statements_of(node, ACCEPTANCE)
    assert statement["predicate"]["admission"]["digest"]["sha256"] == hex_of(sha256_bytes(papers.envelope))
    (line,) = overview(node)
    assert (line.holds, "hub.example" in line.said) == (True, True)


def another_node(federation: Federation) -> Papers:
    """South believes the same hub, and signs with its own key."""
    return federation.vsa(key=load_or_create_key(federation.node.directory / "south.pem", "south.example/ledger"))


def the_nodes_own_key(federation: Federation) -> Papers:
    """Who has the node's key admits as the node, not as the hub."""
    return federation.vsa(key=federation.node.node().key)


def a_key_of_the_hubs_name(federation: Federation) -> Papers:
    return federation.vsa(key=load_or_create_key(federation.node.directory / "false.pem", HUB))


def another_verifier(federation: Federation) -> Papers:
    return federation.vsa(verifier_id="urn:pratique:node:south.example/ledger")


def to_another_node(federation: Federation) -> Papers:
    return federation.vsa(resource_uri="urn:pratique:node:south.example/ledger")


def to_a_longer_name(federation: Federation) -> Papers:
    return federation.vsa(resource_uri=f"{FEDERATION}-evil")


def to_nowhere(federation: Federation) -> Papers:
    return federation.vsa(resource_uri="")


def under_another_policy(federation: Federation) -> Papers:
    return federation.vsa(policy=PolicyReference("urn:p", sha256_bytes(b"lenient")))


def under_the_nodes_policy(federation: Federation) -> Papers:
    """The node's own policy is not one of the hub's."""
    return federation.vsa(policy=PolicyReference("urn:p", federation.node.node().policy.digest))


def expired(federation: Federation) -> Papers:
    return federation.vsa(expires=federation.hub.moment)


def too_old(federation: Federation) -> Papers:
    return federation.vsa(time_verified=federation.hub.moment - timedelta(days=365))


def from_the_future(federation: Federation) -> Papers:
    return federation.vsa(time_verified=federation.hub.moment + timedelta(hours=1))


def a_refusal(federation: Federation) -> Papers:
    return federation.vsa(passed=False)


def another_kind(federation: Federation) -> Papers:
    """A decision, signed by the hub, in the place of an admission."""
    hub = federation.hub.node()
    person = statements.Person(ANNA.person, ANNA.organisation)
    decision = statements.decision(
        federation.hub.tool(), statements.Action.ADMIT, person=person, reason="x", decided=federation.hub.moment
    )
    return Papers(sign_statement(decision, hub.key), ())


def without_its_manifest(federation: Federation) -> Papers:
    papers = federation.vsa()
    return replace(papers, documents=papers.documents[1:])


def with_another_manifest(federation: Federation) -> Papers:
    papers = federation.vsa()
    return replace(papers, documents=(MANIFEST.replace(b"scorer", b"stealer"), *papers.documents[1:]))


def without_its_image_manifest(federation: Federation) -> Papers:
    papers = federation.vsa()
    return replace(papers, documents=papers.documents[:2])


def with_another_config(federation: Federation) -> Papers:
    """The config that it names is not the one that the image's manifest names."""
    tool = replace(federation.hub.tool(), config_digest=sha256_bytes(image_config("two")))
    papers = federation.vsa(tool=tool)
    return replace(papers, documents=(MANIFEST, image_config("two"), image_manifest("one")))


@pytest.mark.parametrize(
    ("forged", "rule"),
    [
        (another_node, "admission/no-hub"),
        (the_nodes_own_key, "admission/no-hub"),
        (a_key_of_the_hubs_name, "admission/no-hub"),
        (another_verifier, "admission/no-hub"),
        (another_kind, "admission/no-hub"),
        (to_another_node, "admission/other-place"),
        (to_a_longer_name, "admission/other-place"),
        (to_nowhere, "admission/other-place"),
        (under_another_policy, "admission/other-policy"),
        (under_the_nodes_policy, "admission/other-policy"),
        (expired, "admission/expired"),
        (too_old, "admission/expired"),
        (from_the_future, "admission/clock"),
        (a_refusal, "admission/result"),
        (without_its_manifest, "run/manifest"),
        (with_another_manifest, "run/manifest"),
        (without_its_image_manifest, "run/image-manifest"),
        (with_another_config, "run/pinning"),
    ],
    ids=lambda one: one.__name__ if callable(one) else "",
)
def test_admissions_of_others_that_never_count(
    federation: Federation, forged: Callable[[Federation], Papers], rule: str
) -> None:
    """Neither of another node, nor to another place, nor under another policy, nor expired; nothing is accepted."""
    federation.told()
    papers = forged(federation)
    with pytest.raises(Refused) as caught:
        accept(federation.node.node(), papers)
    assert getattr(caught.value, "rule", "") == rule, caught.value
    assert statements_of(federation.node.node(), ACCEPTANCE) == []


def test_what_was_not_forged_counts(federation: Federation) -> None:
    """The table above fails for what it changes."""
    federation.told()
    assert accept(federation.node.node(), federation.vsa()).place == FEDERATION


@pytest.mark.parametrize(
    ("place", "to", "good"),
    [
        (f"{FEDERATION}:", f"{FEDERATION}:imaging", True),
        (f"{FEDERATION}:", FEDERATION, False),
        (f"{FEDERATION}/", f"{FEDERATION}/imaging", True),
        (FEDERATION, f"{FEDERATION}:imaging", False),
    ],
)
def test_places_below_a_place(federation: Federation, place: str, to: str, good: bool) -> None:
    """Only a place that ends in `:` or `/` stands for more than itself."""
    federation.node.policy["federation"]["hubs"][0]["place"] = place
    federation.told()
    if good:
        assert accept(federation.node.node(), federation.vsa(resource_uri=to)).place == to
    else:
        with pytest.raises(NotAdmitted, match="another place"):
            accept(federation.node.node(), federation.vsa(resource_uri=to))
