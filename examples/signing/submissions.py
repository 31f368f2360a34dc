"""Signs the example submissions with a throw-away private Sigstore, and writes the policy of a node that trusts it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from examples.signing.private_sigstore import PrivateSigstore
from policies.load import DEFAULT_POLICY
from pratique.bounded_yaml import load_yaml
from pratique.digests import Digest, sha256_bytes

ISSUER = "https://idp.hospital.example"
TRUSTED_ROOT = "trusted-root.json"


class NodeTrust:
    """A private Sigstore whose trusted root lies in `directory`, and the identities that signed with it."""

    def __init__(self, directory: Path) -> None:
        self._sigstore = PrivateSigstore()
        self._directory = directory
        self._signers: set[str] = set()
        (directory / TRUSTED_ROOT).write_bytes(self._sigstore.trusted_root_json)

    def sign(self, submission: Path) -> None:
        """Sign the image of `submission` as its submitter, into the bundle that its submission.yaml names."""
        document: dict[str, Any] = load_yaml((submission / "submission.yaml").read_bytes(), where="submission.yaml")
        signer = document["provider"]["submitter"]
        bundle = submission / document["signatures"][0]
        bundle.parent.mkdir(parents=True, exist_ok=True)
        bundle.write_text(self._sigstore.sign_image(Digest(document["image"]["digest"]), signer, ISSUER))
        self._signers.add(signer)

    @staticmethod
    def borrow_signature(owner: Path, borrower: Path) -> None:
        """Put the signature of one submission into another, as an impostor does."""
        (borrower / "evidence").mkdir(exist_ok=True)
        shutil.copyfile(owner / "evidence" / "image.sigstore.json", borrower / "evidence" / "image.sigstore.json")

    def write_policy(self, path: Path) -> None:
        """The shipped policy with this Sigstore and its signers trusted, and one person's decision enough."""
        policy: dict[str, Any] = load_yaml(DEFAULT_POLICY.read_bytes(), where=DEFAULT_POLICY.name)
        root = {"file": TRUSTED_ROOT, "sha256": sha256_bytes(self._sigstore.trusted_root_json)}
        identities = [{"issuer": ISSUER, "subject": signer} for signer in sorted(self._signers)]
        policy["trust"] |= {"roots": [root], "identities": identities}
        policy["approvals"] = {"admit": {"persons": 1, "organisations": 1, "not_submitter": True}}
        policy["name"] = "demo-node"
        with path.open("w", encoding="utf-8") as stream:
            YAML(typ="safe").dump(policy, stream)
