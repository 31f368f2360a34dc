"""The client against an equivalent of every case of the sigstore-conformance suite, in its protocol's arguments."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from examples.signing.services import b64
from tests.conformance.cases import ARTIFACT, CASES, ISSUER, Case, by_key, key_file
from tests.conformance.sigstore_client import main


def arguments(case: Case, directory: Path, artifact: str) -> list[str]:
    """As the suite gives them, in its order."""
    (directory / "bundle.sigstore.json").write_text(case.bundle)
    given = ["verify-bundle", "--bundle", str(directory / "bundle.sigstore.json")]
    if case.key is not None:
        (directory / "key.pub").write_bytes(key_file(case.key))
        given += ["--key", str(directory / "key.pub")]
    if case.key is None or case.also_identity:
        given += ["--certificate-identity", case.identity, "--certificate-oidc-issuer", ISSUER]
    (directory / "trusted_root.json").write_text(json.dumps(case.root))
    return [*given, "--trusted-root", str(directory / "trusted_root.json"), artifact]


@pytest.mark.parametrize("name", CASES)
def test_a_case_of_the_suite(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the path of the artifact and by its digest: the same answer, and for the right reason."""
    case, path = CASES[name](), tmp_path / "artifact"
    path.write_bytes(ARTIFACT)
    for artifact in (str(path), f"sha256:{hashlib.sha256(ARTIFACT).hexdigest()}"):
        code = main(arguments(case, tmp_path, artifact))
        told = capsys.readouterr().err
        assert (code == 0) is ("_fail" not in name), told
        assert case.step in told, told


def test_the_table_has_the_whole_suite() -> None:
    """Both kinds are there in number; a `_fail` says which step refuses it."""
    refused = [name for name in CASES if "_fail" in name]
    assert len(refused) >= 55
    assert len(CASES) - len(refused) >= 30
    assert all(CASES[name]().step for name in refused)


@pytest.mark.parametrize("size", [384, 521])
def test_a_key_with_a_hash_of_its_own_needs_the_artifact(size: int, tmp_path: Path) -> None:
    """P-384 with SHA-384 and P-521 with SHA-512: by the path alone, since nobody can say more from another's digest."""
    curve = ec.SECP384R1() if size == 384 else ec.SECP521R1()
    key, algorithm = ec.generate_private_key(curve), hashes.SHA384() if size == 384 else hashes.SHA512()
    case = by_key(1, log=False, stamp=False, make=lambda: key)
    bundle = json.loads(case.bundle)
    digest = hashlib.new(algorithm.name, ARTIFACT).digest()
    stated = {"algorithm": f"SHA2_{algorithm.name[3:]}", "digest": b64(digest)}
    bundle["messageSignature"] = {"messageDigest": stated, "signature": b64(key.sign(ARTIFACT, ec.ECDSA(algorithm)))}
    case.bundle = json.dumps(bundle)
    path = tmp_path / "artifact"
    path.write_bytes(ARTIFACT)
    assert main(arguments(case, tmp_path, str(path))) == 0
    assert main(arguments(case, tmp_path, f"sha256:{hashlib.sha256(ARTIFACT).hexdigest()}")) == 1
    path.write_bytes(b"another")
    assert main(arguments(case, tmp_path, str(path))) == 1


def test_the_staging_instance_is_another_root() -> None:
    """`--staging` takes the root of that instance: the public instance's bundle is refused there."""
    real = Path(__file__).parents[1] / "assets" / "provenance" / "github-workflow.sigstore.json"
    digest = "sha256:c9709ce6fd5b67b59b4a28758cf14d3f411803c4b89b6068b1f1a8e4ee94c8ef"
    who = ["--certificate-identity", "x", "--certificate-oidc-issuer", "y"]
    assert main(["verify-bundle", "--staging", "--bundle", str(real), *who, digest]) == 1
