"""A trusted root is replaced on purpose, with the change shown, or not at all."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from checks.interface import Status
from checks.provenance import Identity, SignatureFile, Trust, check_provenance
from console.terminal.app import app
from examples.signing.private_sigstore import PrivateSigstore
from flows.trust import carry_out, compare_root
from policies.load import DEFAULT_POLICY, load_policy
from pratique.clock import system_clock
from pratique.digests import Digest, hex_of, sha256_file
from pratique.errors import CouldNotDecide, PratiqueError, UsageError

ROOT = "sigstore-public-good.json"


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A copy of the shipped policy with its root."""
    (tmp_path / ROOT).write_bytes((DEFAULT_POLICY.parent / ROOT).read_bytes())
    path = tmp_path / "policy.yaml"
    path.write_bytes(DEFAULT_POLICY.read_bytes())
    return path


@pytest.fixture
def document(policy: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((policy.parent / ROOT).read_text())
    return found


def written(tmp_path: Path, document: dict[str, Any]) -> Path:
    path = tmp_path / "new.json"
    path.write_text(json.dumps(document))
    return path


def test_what_changes_is_shown_and_pinned(policy: Path, tmp_path: Path, document: dict[str, Any]) -> None:
    """A log gone, a log that ends, an authority for longer; comments of the policy stay."""
    changed = copy.deepcopy(document)
    gone = changed["ctlogs"].pop()
    changed["tlogs"][0]["publicKey"]["validFor"]["end"] = "2026-01-01T00:00:00Z"
    file = written(tmp_path, changed)
    update = compare_root(load_policy(policy), file)
    assert [change.sign for change in update.changes].count("-") == 1
    assert any(change.sign == "-" and gone["baseUrl"] in change.what for change in update.changes)
    assert any(change.sign == "~" and "to 2026-01-01" in change.what for change in update.changes)
    comments = [line for line in policy.read_text().splitlines() if line.lstrip().startswith("#")]
    carry_out(update)
    loaded = load_policy(policy)
    (pinned,) = loaded.trusted_roots()
    assert pinned.sha256 == sha256_file(pinned.path) == sha256_file(file)
    assert comments == [line for line in policy.read_text().splitlines() if line.lstrip().startswith("#")]
    assert compare_root(load_policy(policy), file).changes == ()


def test_nothing_changes_without_yes(policy: Path, tmp_path: Path, document: dict[str, Any]) -> None:
    """The command shows, and asks to be called again."""
    document["tlogs"][0]["baseUrl"] = "https://rekor.elsewhere.example"
    file, before = written(tmp_path, document), policy.read_bytes()
    arguments = ["trust", "update", str(file), "--policy", str(policy), "--home", str(tmp_path / "home")]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 3
    assert "rekor.elsewhere.example" in shown.output
    assert policy.read_bytes() == before
    assert CliRunner().invoke(app, [*arguments, "--yes"]).exit_code == 0
    assert hex_of(sha256_file(file)) in policy.read_text()
    assert CliRunner().invoke(app, arguments).exit_code == 0


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b"not json",
        b'{"tlogs": 1}',
        b'{"a":1,"a":2}',
        b"[]",
        b'{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}',
    ],
    ids=["empty", "text", "form", "twice", "list", "nobody"],
)
def test_files_that_are_no_trusted_root(policy: Path, tmp_path: Path, data: bytes) -> None:
    """Nothing is pinned that would not be believed."""
    file = tmp_path / "new.json"
    file.write_bytes(data)
    with pytest.raises(PratiqueError):
        carry_out(compare_root(load_policy(policy), file))
    assert policy.read_bytes() == DEFAULT_POLICY.read_bytes()


def test_the_shipped_policy_is_left_alone(policy: Path) -> None:
    """It belongs to the program."""
    with pytest.raises(UsageError, match="not changed"):
        compare_root(load_policy(None), policy.parent / ROOT)


def test_a_policy_that_changed_in_between(policy: Path, tmp_path: Path, document: dict[str, Any]) -> None:
    """What was looked at is what is changed."""
    document["ctlogs"].pop()
    update = compare_root(load_policy(policy), written(tmp_path, document))
    policy.write_text(policy.read_text() + "# edited\n")
    with pytest.raises(CouldNotDecide, match="just been changed"):
        carry_out(update)


def test_which_of_several_roots(policy: Path) -> None:
    """Nobody guesses."""
    with pytest.raises(UsageError, match="which trusted root"):
        compare_root(load_policy(policy), policy.parent / ROOT, "other.json")


def test_one_of_several_roots_is_replaced_and_the_other_stays(
    policy: Path, tmp_path: Path, document: dict[str, Any]
) -> None:
    """Signatures of the old one are refused, of the new one believed."""
    own = PrivateSigstore(2)
    (tmp_path / "own.json").write_bytes(own.trusted_root_json)
    pinned = f"  roots:\n    - {{file: own.json, sha256: {hex_of(sha256_file(tmp_path / 'own.json'))}}}\n"
    policy.write_text(policy.read_text().replace("  roots:\n", pinned, 1))
    before = load_policy(policy)
    assert [root.path.name for root in before.trusted_roots()] == ["own.json", ROOT]
    newer = PrivateSigstore(2)
    (tmp_path / "new.json").write_bytes(newer.trusted_root_json)
    update = compare_root(before, tmp_path / "new.json", "own.json")
    assert {change.sign for change in update.changes} == {"+", "-"}
    carry_out(update)
    after = load_policy(policy)
    assert after.trusted_roots()[1] == before.trusted_roots()[1]
    assert after.trusted_roots()[0].sha256 == sha256_file(tmp_path / "own.json")
    image = Digest("sha256:" + "1" * 64)
    for sigstore, status in ((own, Status.FAILED), (newer, Status.PASSED)):
        (tmp_path / "bundle").write_text(sigstore.sign_image(image, "a@b.example", "https://idp.example"))
        trust = Trust(after.trusted_roots(), (Identity("a@b.example", "https://idp.example"),))
        files = [SignatureFile(tmp_path / "bundle", "bundle")]
        assert check_provenance(files, image, trust, clock=system_clock).status is status


@pytest.mark.parametrize("torn", ["root", "policy"])
def test_an_update_that_is_cut_off_believes_nobody(
    torn: str, policy: Path, tmp_path: Path, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails at the first or the second file: the old root is pinned, or none is believed."""
    document["ctlogs"].pop()
    update = compare_root(load_policy(policy), written(tmp_path, document))

    def failing(path: Path, text: str) -> None:
        if (path.name == ROOT) is (torn == "root"):
            raise OSError("disk full")
        path.write_text(text)

    monkeypatch.setattr("flows.trust.write_whole", failing)
    with pytest.raises(OSError, match="disk full"):
        carry_out(update)
    (pinned,) = load_policy(policy).trusted_roots()
    result = check_provenance(
        [SignatureFile(policy, "bundle")],
        Digest("sha256:" + "1" * 64),
        Trust((pinned,), (Identity("a@b.example", "https://idp.example"),)),
        clock=system_clock,
    )
    assert result.status is (Status.FAILED if torn == "root" else Status.INCONCLUSIVE)
