"""An admission pushed to a real registry is found there again, verifies, and lets another node run the tool."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from console.terminal.app import app
from flows.acceptance import attached_papers
from flows.decide import withdraw
from flows.federation import own_demand
from flows.images import remember_image, remembered_image
from pratique.clock import system_clock
from pratique.digests import Digest, sha256_bytes
from pratique.intake.image import RegistryImage
from pratique.intake.image.attach import attach
from pratique.intake.image.attached import Paper
from records.dsse import ENVELOPE_MEDIA_TYPE, PAYLOAD_TYPE, sign_statement
from records.intoto import descriptor
from records.keys import load_or_create_key
from records.standing import check_admission
from records.statements import PolicyReference, vsa
from tests.assets.images import INDEX, MANIFEST, MadeImage, to_json
from tests.assets.registries import push, running_registry
from tests.unit.flows.node.homes import ANNA, Home, image_config, image_manifest

FEDERATION = "urn:pratique:federation:f"
REQUIRE = 'checks.image.status == "passed"'


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_registry(tmp_path_factory.mktemp("registry")) as started:
        yield started


@dataclass
class Place:
    """A node, its command line, and the image as it lies in the registry."""

    home: Home
    reference: str
    monkeypatch: pytest.MonkeyPatch

    def call(self, *arguments: str) -> Result:
        self.monkeypatch.setenv("PRATIQUE_ORIGIN", self.home.origin)
        settings = self.home.node().settings
        return CliRunner().invoke(app, [*arguments, "--home", str(settings.home), "--policy", str(settings.policy)])


@pytest.fixture
def hub(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A hub that has inspected a multi-platform image of the registry, one of which is for us."""
    rule = {"id": "any", "stage": "before-execution", "require": REQUIRE, "otherwise": "refuse", "say": "No."}
    policy: dict[str, Any] = {
        "apiVersion": "pratique/policy/v1",
        "name": "hub",
        "approvals": {"admit": {"persons": 1, "organisations": 1}},
        "federation": {"place": FEDERATION},
        "rules": [rule],
    }
    home = Home(tmp_path, policy, moment=system_clock(), origin="hub.example/ledger")
    manifest = image_manifest("one")
    image = MadeImage([], blobs={sha256_bytes(data): data for data in (image_config("one"), b"one", manifest)})
    entry = {"mediaType": MANIFEST, "digest": sha256_bytes(manifest), "size": len(manifest)}
    platform = {"os": "linux", "architecture": "amd64"}
    index = image.put(
        to_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{**entry, "platform": platform}]}), INDEX
    )
    push(host, image, {digest: digest for digest in (sha256_bytes(manifest), index["digest"])})
    remember_image(home.node().settings, sha256_bytes(manifest), RegistryImage(f"{host}/team/tool:1@{index['digest']}"))
    return Place(home, f"{host}/team/tool@{sha256_bytes(manifest)}", monkeypatch)


def north(hub: Place) -> Place:
    """A node that believes the hub, and has its newest withdrawal list."""
    node, directory = hub.home.node(), hub.home.directory / "north"
    directory.mkdir()
    believed = {
        "verifier": node.uri,
        "key": node.key.verifier.vkey,
        "place": FEDERATION,
        "policies": [node.policy.digest],
    }
    policy = {**hub.home.policy, "name": "north", "federation": {"hubs": [believed]}}
    place = Place(
        Home(directory, policy, moment=system_clock(), origin="north.example/ledger"), hub.reference, hub.monkeypatch
    )
    renew(hub, place)
    return place


def renew(hub: Place, place: Place) -> None:
    note = str(place.home.directory / "list")
    assert hub.call("withdrawals", "export", "-o", note).exit_code == 0
    assert place.call("withdrawals", "import", note).exit_code == 0


def test_an_admission_that_is_pushed(hub: Place) -> None:
    """It arrives as a referrer of the platform's manifest, verifies again, and another node accepts it from there."""
    run = hub.home.inspected()
    person = ["--as", ANNA.person, "--organisation", ANNA.organisation, "--reason", "Read it."]
    pushed = hub.call("admit", run, *person, "--push")
    assert pushed.exit_code == 0, pushed.output
    assert "attached to the image as sha256:" in pushed.stdout
    node = hub.home.node()
    source = remembered_image(node.settings, hub.home.tool().image_digest)
    assert isinstance(source, RegistryImage)
    assert source.reference.endswith(hub.home.tool().image_digest)
    (found,) = attached_papers(node, hub.reference)
    assert check_admission(found.envelope, own_demand(node), system_clock()).tool == hub.home.tool()
    place = north(hub)
    accepted = place.call("admissions", "import", hub.reference)
    assert accepted.exit_code == 0, accepted.output
    (listed,) = json.loads(place.call("admissions", "list", "--format", "json").stdout)
    assert (listed["holds"], listed["image"]) == (True, hub.home.tool().image_digest)
    withdraw(hub.home.node(), "scorer", ANNA)
    renew(hub, place)
    assert place.call("admissions", "import", hub.reference).exit_code == 1
    assert json.loads(place.call("admissions", "list", "--format", "json").stdout)[0]["holds"] is False


def test_admissions_that_others_attached(hub: Place) -> None:
    """Anybody who may push can attach something that calls itself an admission: it changes nothing."""
    place, node = north(hub), hub.home.node()
    image = Digest(hub.reference.partition("@")[2])
    mallory = load_or_create_key(hub.home.directory / "mallory.pem", "hub.example/ledger")
    forged = vsa(
        hub.home.tool(),
        verifier_id=node.uri,
        resource_uri=FEDERATION,
        time_verified=hub.home.moment,
        policy=PolicyReference("urn:p", node.policy.digest),
        input_attestations=[descriptor(name="inspection", digest=image)],
        passed=True,
    )
    for envelope in (sign_statement(forged, mallory), b"{}", b"no envelope"):
        attach(RegistryImage(hub.reference), [Paper(ENVELOPE_MEDIA_TYPE, envelope)], artifact_type=PAYLOAD_TYPE)
    attach(RegistryImage(hub.reference), [Paper("text/plain", b"x")], artifact_type=PAYLOAD_TYPE)
    refused = place.call("admissions", "import", hub.reference)
    assert (refused.exit_code, "rule: admission/" in refused.output) == (1, True), refused.output
    assert place.call("admissions", "list").stdout == ""
