"""`pratique run` on a real engine: an admitted tool runs, another image in its place does not."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from docker import APIClient
from ruamel.yaml import YAML
from typer.testing import CliRunner, Result

from checks.interface import CheckResult, Status
from console.terminal.app import app
from flows.decide import Decision, admit, withdraw
from flows.images import remember_image
from flows.node import Node
from flows.record import keep_image
from pratique.digests import Digest
from pratique.intake.image import ArchiveImage, Image, open_image
from pratique.settings import Settings
from records.dsse import sign_statement
from records.statements import PolicyReference, ToolIdentity, inspection_statement
from records.verify import verify_ledger
from sandbox.engine import Engine
from tests.assets.submissions import EXAMPLE, EXPECTED, MANIFEST, runnable_archive
from tests.integration.conftest import load

pytestmark = pytest.mark.docker

ANNA = Decision("anna@node.example", "North", "Reviewed.")


@dataclass
class Place:
    """A node where one tool is admitted, its archive, and data to run it on."""

    node: Node
    image: Image
    archive: Path
    table: Path
    client: APIClient

    def call(self, *arguments: str, tool: str = "scorer") -> Result:
        settings = self.node.settings
        given = ["run", tool, "--input", f"table={self.table}", "--home", str(settings.home)]
        return CliRunner().invoke(app, [*given, "--policy", str(settings.policy), *arguments])

    def forget_image(self) -> None:
        """Remove the image from the engine, as a prune does."""
        self.client.remove_image(self.image.config_digest, force=True)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Digest]:
    directory = tmp_path_factory.mktemp("image")
    data, digest = runnable_archive(directory, test="forgotten")  # by tests here alone, not under others' feet
    path = directory / "image.tar"
    path.write_bytes(data)
    return path, digest


@pytest.fixture
def place(
    engine: Engine, archive: tuple[Path, Digest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """Nothing is onboarded: the inspection is written by hand, the admission by the command's own function."""
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    policy = tmp_path / "policy.yaml"
    rule = {
        "id": "any",
        "stage": "before-execution",
        "require": 'checks.image.status == "passed"',
        "otherwise": "refuse",
        "say": "No.",
    }
    ceilings = {"memory": "256MiB", "wall": "60s", "output": "8MiB"}
    document: dict[str, Any] = {
        "apiVersion": "pratique/policy/v1",
        "name": "test",
        "approvals": {"admit": {"persons": 1, "organisations": 1}},
        "sandbox": {"ceilings": ceilings},
        "rules": [rule],
    }
    with policy.open("w") as stream:
        YAML(typ="safe").dump(document, stream)
    node = Node.open(Settings(home=tmp_path / "home", policy=policy))
    path, digest = archive
    image = open_image(ArchiveImage(path), expected=digest, workdir=tmp_path)
    admit(node, inspected(node, image, path), ANNA)
    table = tmp_path / "patients.csv"
    table.write_text(EXAMPLE)
    client = APIClient(base_url=engine.host)
    yield Place(node, image, path, table, client)
    client.close()


def inspected(node: Node, image: Image, archive: Path) -> str:
    tool = ToolIdentity("scorer", "1.0.0", image.manifest_digest, image.config_digest)
    result = CheckResult(check="image", version="1", status=Status.PASSED, summary="")
    keep_image(node.store, image)
    manifest = MANIFEST.replace("DELAY", "0.0").encode()
    statement = inspection_statement(
        tool,
        {"image": result},
        stored={"image": node.store.put(b"{}", name="image.json", media_type="application/json")},
        configuration=[PolicyReference("urn:p", node.policy.digest).descriptor()],
        run_id="20260301T120000-00000001",
        finished=node.clock(),
        outcome="admit",
        verdict=node.store.put(b"{}", name="verdict.json", media_type="application/json"),
        submitter="provider@hospital.example",
        manifest=node.store.put(manifest, name="scorer.cwl", media_type="application/yaml"),
        image_config=node.store.put(image.config_bytes, name="config.json", media_type="application/json"),
    )
    node.append(sign_statement(statement, node.key))
    remember_image(node.settings, image.manifest_digest, ArchiveImage(archive))
    return "20260301T120000-00000001"


def test_an_admitted_tool(place: Place, tmp_path: Path) -> None:
    """It runs, its outputs are there, the record is in a sound ledger; an image that the engine lost comes back."""
    for name in ("first", "second"):
        if name == "second":
            place.forget_image()
        result = place.call("--output", str(tmp_path / name), "--dataset", "d7", "--format", "json")
        assert result.exit_code == 0, result.output
        said = json.loads(result.stdout)
        assert said["succeeded"]
        assert (tmp_path / name / "scores.csv").read_text() == EXPECTED
    node = place.node
    assert verify_ledger(node.settings.ledger, node.key.verifier).verified
    assert node.head().size == 3 + 4


def test_another_image_where_the_admitted_one_lay(place: Place, tmp_path: Path) -> None:
    """The engine lost the image, and somebody put other bytes in its place."""
    place.forget_image()
    data = place.archive.read_bytes()
    fake = tmp_path / "fake.tar"
    fake.write_bytes(data.replace(b"cannot score this table", b"cannot steal this table"))
    result = place.call("--output", str(tmp_path / "out"), "--image", str(fake))
    assert result.exit_code == 1, result.output
    assert not (tmp_path / "out").exists()
    assert place.image.config_digest not in place.client.images(all=True, quiet=True)


def test_a_tag_that_moved(place: Place, engine: Engine, tmp_path: Path) -> None:
    """The admitted image had a tag that now names another one: what was admitted runs, whatever the tag says."""
    name, another = "pratique-test/moved:1.0.0", load(engine, {"Labels": {"pratique": "another image"}})
    assert place.call("--output", str(tmp_path / "before")).exit_code == 0
    place.client.tag(place.image.config_digest, name)
    place.client.tag(another, name)
    try:
        assert another in place.client.images(name, quiet=True)
        result = place.call("--output", str(tmp_path / "out"), "--format", "json")
        assert result.exit_code == 0, result.output
        assert (tmp_path / "out" / "scores.csv").read_text() == EXPECTED
    finally:
        place.client.remove_image(another, force=True)


def test_with_the_network_down(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is looked up and nobody is called but the engine on its local socket."""

    def nothing(*_: object, **__: object) -> None:
        raise OSError("the network is down")

    connect = socket.socket.connect

    def local_only(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX:
            nothing()
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", nothing)
    monkeypatch.setattr(socket.socket, "connect", local_only)
    result = place.call("--output", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert place.call("--output", str(tmp_path / "other"), tool="another").exit_code == 1


def test_a_tool_that_was_withdrawn(place: Place, tmp_path: Path) -> None:
    """Exit code 1, nothing runs."""
    withdraw(place.node, "scorer", ANNA)
    result = place.call("--output", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert "taken back" in result.output
    assert "rule: run/withdrawn" in result.output
    assert not (tmp_path / "out").exists()


def test_an_engine_that_is_not_there(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Could not decide; a tool that is not admitted is refused all the same."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    assert place.call("--output", str(tmp_path / "out")).exit_code == 3
    assert place.call("--output", str(tmp_path / "out"), tool="another").exit_code == 1
