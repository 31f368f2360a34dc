"""`pratique export`: exit codes, where the text goes, and what is said of what it leaves out."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from console.terminal.app import app
from flows.images import remember_image
from flows.node import Node
from pratique.digests import Digest
from pratique.intake.image import RegistryImage
from pratique.settings import Settings
from records.dsse import sign_statement
from records.enforcement import Target
from records.intoto import descriptor
from records.statements import PolicyReference, ToolIdentity, vsa

ADMITTED = Digest("sha256:" + "a" * 64)
EXPIRED = Digest("sha256:" + "b" * 64)
CONFIG = Digest("sha256:" + "c" * 64)
REPOSITORY = "registry.hospital.example/tools/risk-classifier"
MANIFEST = """\
cwlVersion: v1.2
class: CommandLineTool
baseCommand: [run]
requirements:
  DockerRequirement: {{dockerPull: "{image}"}}
inputs: {{}}
outputs: {{}}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of a node that admitted one tool, and one whose admission has expired."""
    node = Node.open(Settings(home=tmp_path / "home"))
    ended = node.clock() - timedelta(days=1)
    for name, digest, expires in (("risk-classifier", ADMITTED, None), ("old", EXPIRED, ended)):
        statement = vsa(
            ToolIdentity(name, "1.0.0", digest, CONFIG),
            verifier_id=node.uri,
            resource_uri=node.uri,
            time_verified=node.clock() - timedelta(days=2),
            policy=PolicyReference("urn:pratique:policy:p", node.policy.digest),
            input_attestations=[],
            passed=True,
            expires=expires,
            manifest=descriptor(name="manifest", digest=CONFIG),
        )
        node.append(sign_statement(statement, node.key))
    return tmp_path / "home"


def _run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["export", *arguments, "--home", str(home)])


@pytest.mark.parametrize("target", Target)
def test_every_target(home: Path, target: Target) -> None:
    """The text on standard output, warnings beside it."""
    result = _run(home, target.value, "--signatures", "none", "--repository", f"risk-classifier={REPOSITORY}")
    assert result.exit_code == 0, result.stderr
    assert ADMITTED.removeprefix("sha256:") in result.stdout
    assert EXPIRED.removeprefix("sha256:") not in result.stdout
    assert 'warning: "old" "1.0.0" is left out' in result.stderr


def test_a_file(home: Path, tmp_path: Path) -> None:
    """Holds the same as standard output."""
    arguments = ("containers-policy", "--signatures", "none", "--repository", f"risk-classifier={REPOSITORY}")
    _run(home, *arguments, "-o", str(tmp_path / "policy.json"))
    assert (tmp_path / "policy.json").read_text() == _run(home, *arguments).stdout


def test_a_manifest_says_where_an_image_lies(home: Path, tmp_path: Path) -> None:
    """By digest; one that names a tag says nothing, and that is said."""
    by_digest, by_tag = tmp_path / "digest.cwl", tmp_path / "tag.cwl"
    by_digest.write_text(MANIFEST.format(image=f"{REPOSITORY}:1.0@{ADMITTED}"))
    by_tag.write_text(MANIFEST.format(image=f"{REPOSITORY}:latest"))
    result = _run(home, "containers-policy", "--signatures", "none", "--manifest", str(by_digest))
    assert f"{REPOSITORY}@{ADMITTED}" in json.loads(result.stdout)["transports"]["docker"]
    result = _run(home, "containers-policy", "--signatures", "none", "--manifest", str(by_tag))
    assert "does not name its image by digest" in result.stderr
    assert "it denies everything" in result.stderr
    assert json.loads(result.stdout) == {"default": [{"type": "reject"}]}


def test_the_repository_of_the_inspection_is_remembered(home: Path) -> None:
    """So that an image that was fetched by digest needs no option."""
    remember_image(Settings(home=home), ADMITTED, RegistryImage(f"{REPOSITORY}@{ADMITTED}"))
    result = _run(home, "containers-policy", "--signatures", "none")
    assert f"{REPOSITORY}@{ADMITTED}" in json.loads(result.stdout)["transports"]["docker"]


def test_a_repository_of_no_tool(home: Path) -> None:
    """Stops no export, which a withdrawal may depend on."""
    result = _run(home, "vantage6", "--repository", f"withdrawn={REPOSITORY}")
    assert result.exit_code == 0
    assert 'no tool called "withdrawn" is admitted' in result.stderr


@pytest.mark.parametrize("target", ["kyverno", "policy-controller", "containers-policy"])
def test_a_policy_that_trusts_nobody_is_refused(home: Path, target: str) -> None:
    """Where signatures are to be found again; nothing is written."""
    result = _run(home, target, "--repository", f"risk-classifier={REPOSITORY}")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "enforcement/signers" in result.stderr


@pytest.mark.parametrize(("signatures", "exit_code"), [(None, 0), ("none", 0), ("tag", 1), ("bundle", 1)])
def test_kyverno_in_cel_goes_by_digest_unless_told_otherwise(
    home: Path, signatures: str | None, exit_code: int
) -> None:
    """This policy trusts nobody, so that asking for signatures is refused."""
    chosen = ["--signatures", signatures] if signatures else []
    result = _run(home, "kyverno-cel", "--repository", f"risk-classifier={REPOSITORY}", *chosen)
    assert result.exit_code == exit_code
    assert ('kind: "ValidatingPolicy"' in result.stdout) is (exit_code == 0)


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["kubernetes"], 2, "kubernetes"),
        (["vantage6", "--repository", "risk-classifier"], 2, "NAME=REPOSITORY"),
        (["vantage6", "--repository", "risk-classifier=https://x"], 1, "enforcement/repository"),
        (["vantage6", "--manifest", "nowhere.cwl"], 1, "file/missing"),
    ],
)
def test_wrong_use(home: Path, arguments: list[str], exit_code: int, said: str) -> None:
    """Writes nothing and says what is wrong."""
    result = _run(home, *arguments)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert said in result.stderr


def test_without_a_ledger(tmp_path: Path) -> None:
    """A home that is not a node's is no reason to deny everything."""
    result = _run(tmp_path / "elsewhere", "vantage6")
    assert result.exit_code == 2
    assert "no ledger yet" in result.stderr
