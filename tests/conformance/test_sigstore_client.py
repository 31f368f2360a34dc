"""The conformance client: exit code 0 only for what verifies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from examples.signing.private_sigstore import PrivateSigstore
from examples.signing.services import new_key
from tests.conformance.sigstore_client import main

HERE = Path(__file__).parent
REAL = HERE.parent / "assets" / "provenance" / "github-workflow.sigstore.json"
WORKFLOW = "https://github.com/trailofbits/pypi-attestation-models/.github/workflows/release.yml@refs/tags/v0.0.4a2"
GITHUB = "https://token.actions.githubusercontent.com"
ARTIFACT = "sha256:c9709ce6fd5b67b59b4a28758cf14d3f411803c4b89b6068b1f1a8e4ee94c8ef"
SIGNER, ISSUER = "release@provider.example", "https://idp.hospital.example"


def command(bundle: Path, identity: str, issuer: str, artifact: str, *more: str) -> list[str]:
    who = ["--certificate-identity", identity, "--certificate-oidc-issuer", issuer]
    return ["verify-bundle", "--bundle", str(bundle), *who, *more, artifact]


@pytest.mark.parametrize(
    ("identity", "issuer", "artifact", "code"),
    [
        (WORKFLOW, GITHUB, ARTIFACT, 0),
        (WORKFLOW.replace("v0.0.4a2", "v0.0.4a3"), GITHUB, ARTIFACT, 1),
        (WORKFLOW, GITHUB + "/", ARTIFACT, 1),
        (WORKFLOW, GITHUB, "sha256:" + "0" * 64, 1),
        (WORKFLOW, GITHUB, "sha256:0", 1),
        (WORKFLOW, "", ARTIFACT, 2),
    ],
)
def test_a_bundle_of_the_public_instance(identity: str, issuer: str, artifact: str, code: int) -> None:
    """The shipped trusted root of the public instance is the default."""
    assert main(command(REAL, identity, issuer, artifact)) == code


@pytest.mark.parametrize("rekor", [1, 2])
def test_a_file_and_a_private_root(tmp_path: Path, rekor: int) -> None:
    """A blob signature, verified by the path of the blob; a changed blob is refused."""
    sigstore, blob = PrivateSigstore(rekor), tmp_path / "a.txt"
    blob.write_bytes(b"artifact")
    (tmp_path / "bundle").write_text(sigstore.sign_blob(b"artifact", SIGNER, ISSUER))
    (tmp_path / "root").write_bytes(sigstore.trusted_root_json)
    arguments = command(tmp_path / "bundle", SIGNER, ISSUER, str(blob), "--trusted-root", str(tmp_path / "root"))
    assert main(arguments) == 0
    blob.write_bytes(b"Artifact")
    assert main(arguments) == 1


def test_a_managed_key(tmp_path: Path) -> None:
    """`--key` instead of an identity; both at once are wrong usage."""
    sigstore, key = PrivateSigstore(2), new_key()
    (tmp_path / "bundle").write_text(sigstore.sign_image_with_key(ARTIFACT, key))
    (tmp_path / "root").write_bytes(sigstore.trusted_root_json)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "key").write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    common = ["--bundle", str(tmp_path / "bundle"), "--key", str(tmp_path / "key")]
    root = ["--trusted-root", str(tmp_path / "root")]
    assert main(["verify-bundle", *common, *root, ARTIFACT]) == 0
    both = ["--certificate-identity", SIGNER, "--certificate-oidc-issuer", ISSUER]
    assert main(["verify-bundle", *common, *both, *root, ARTIFACT]) == 2


def test_the_executable_keeps_the_callers_directory(tmp_path: Path) -> None:
    """Relative paths are the caller's, as the suite gives them."""
    (tmp_path / "bundle.json").write_bytes(REAL.read_bytes())
    done = subprocess.run(
        [str(HERE / "sigstore-client"), *command(Path("bundle.json"), WORKFLOW, GITHUB, ARTIFACT)],
        cwd=tmp_path,
        env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "second-opinion: passed" in done.stderr


def test_the_executable_through_a_link(tmp_path: Path) -> None:
    """It finds its repository wherever a link to it lies; the files that it is given may be links, too."""
    (tmp_path / "client").symlink_to(HERE / "sigstore-client")
    (tmp_path / "bundle.json").symlink_to(REAL)
    done = subprocess.run(
        ["./client", *command(Path("bundle.json"), WORKFLOW, GITHUB, ARTIFACT)],
        cwd=tmp_path,
        env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("option", ["--bundle", "--key", "--trusted-root", "artifact"])
def test_what_has_no_end_is_not_read(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A device instead of a file is refused at once, whichever of them it is."""
    given = {"--bundle": str(REAL), "artifact": ARTIFACT, option: "/dev/zero"}
    who = [] if option == "--key" else ["--certificate-identity", WORKFLOW, "--certificate-oidc-issuer", GITHUB]
    artifact = given.pop("artifact")
    assert main(["verify-bundle", *(word for pair in given.items() for word in pair), *who, artifact]) == 1
    assert "not a regular file" in capsys.readouterr().err
