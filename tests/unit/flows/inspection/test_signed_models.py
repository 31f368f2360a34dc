"""A policy that demands signed models, through the inspection: the gate opens for the signed model alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from checks.interface import Status
from examples.signing.private_sigstore import PrivateSigstore
from flows.case import open_case
from flows.inspection import Inspection
from flows.node import Node
from flows.steps import BEFORE, answer
from pratique.digests import sha256_bytes
from sandbox.observe.helper_image import build_archive
from tests.assets.submissions import write_submission
from tests.unit.checks.model_signatures.bench import Models

FILES = {"weights.npy": b"\x93NUMPY" + bytes(90), "config.json": b"{}"}


@pytest.mark.parametrize("attack", ["", "changed", "unsigned", "another signer"])
def test_the_gate_asks_for_signed_models(attack: str, tmp_path: Path, under: Callable[..., Node]) -> None:
    """The rule of the shipped policy refuses what is not as signed, or not signed by whom the policy names."""
    sigstore = PrivateSigstore()
    signer = Models(tmp_path, sigstore)
    folder = signer.write(FILES)
    (tmp_path / "model.sig").write_bytes(signer.by_key(folder))
    if attack == "changed":
        (folder / "weights.npy").write_bytes(FILES["weights.npy"] + b"\1")
    files = {f"/opt/model/{name}": folder / name for name in FILES}
    if attack != "unsigned":
        files["/opt/model/model.sig"] = tmp_path / "model.sig"
    named = Models(tmp_path, sigstore) if attack == "another signer" else signer
    (tmp_path / "model.pub").write_bytes(named.public_key)
    key = {"name": "models", "file": "model.pub", "sha256": sha256_bytes(named.public_key)}
    node = under(trust={"roots": [], "identities": [], "models": {"required": True, "keys": [key]}})
    archive, digest, _ = build_archive(files, {"User": "65534:65534"})
    with open_case(node, write_submission(tmp_path / "submission", (archive, digest))) as case:
        step = next(step for step in BEFORE if step.name == "model_signatures")
        result = answer(step, case)
        inspection = Inspection(case)
        inspection.add(result)
        refused = {rule.id for rule in inspection.gate().unsatisfied}
    assert (result.status is Status.PASSED) is (attack == ""), result.summary
    assert ("signed-models-are-as-signed" in refused) is (attack != "")
