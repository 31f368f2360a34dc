"""The content-addressed store keeps bytes once, whole, and never hands out altered ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.interface import EvidenceStore
from pratique.digests import Digest, sha256_bytes
from pratique.errors import CouldNotDecide
from records.store import Store


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_bytes_are_kept_once_under_their_digest(tmp_path: Path) -> None:
    """Twice the same bytes are one file."""
    store: EvidenceStore = Store(tmp_path / "store")
    first = store.put(b"curve", name="resource-curve.json", media_type="application/json")
    again = store.put(b"curve", name="other-name.json", media_type="text/plain")
    assert first.digest == again.digest == sha256_bytes(b"curve")
    assert (first.size, again.size, again.name) == (5, 5, "other-name.json")
    assert len(files(tmp_path / "store")) == 1
    assert list(Store(tmp_path / "store").digests()) == [first.digest]


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=5000))
def test_every_content_comes_back(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """What is put is got."""
    store = Store(tmp_path_factory.getbasetemp() / "store")
    evidence = store.put(data, name="x", media_type="application/octet-stream")
    assert store.get(evidence.digest) == data
    assert store.path_of(evidence.digest).read_bytes() == data


@pytest.mark.parametrize("attack", ["altered", "truncated", "missing", "a link to the same bytes", "a directory"])
def test_altered_or_missing_evidence_decides_nothing(tmp_path: Path, attack: str) -> None:
    """Neither bytes nor path of what is not there as it was."""
    store = Store(tmp_path)
    digest = store.put(b"evidence", name="x", media_type="text/plain").digest
    path = store.path_of(digest)
    if attack == "altered":
        path.write_bytes(b"evidencE")
    elif attack == "truncated":
        path.write_bytes(b"")
    elif attack == "missing":
        path.unlink()
    elif attack == "a directory":
        path.unlink()
        path.mkdir()
    else:
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    for question in (store.get, store.path_of):
        with pytest.raises(CouldNotDecide) as caught:
            question(digest)
        assert caught.value.next_step


def test_altered_evidence_is_mended_by_putting_it_again(tmp_path: Path) -> None:
    """A damaged copy never keeps the right bytes out."""
    store = Store(tmp_path)
    digest = store.put(b"evidence", name="x", media_type="text/plain").digest
    store.path_of(digest).write_bytes(b"damaged!")
    store.put(b"evidence", name="x", media_type="text/plain")
    assert store.get(digest) == b"evidence"


def test_a_digest_cannot_name_a_path(tmp_path: Path) -> None:
    """Only well-formed digests reach the file system."""
    with pytest.raises(CouldNotDecide):
        Store(tmp_path).get(Digest("sha256:../../etc/passwd"))


def test_a_full_or_unwritable_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    """Where the bytes cannot be kept, the answer says so and no draft is left."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "sha256").write_text("in the way")
    with pytest.raises(CouldNotDecide):
        Store(tmp_path / "store").put(b"evidence", name="x", media_type="text/plain")
    assert [path.name for path in files(tmp_path / "store")] == ["sha256"]
