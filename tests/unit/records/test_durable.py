"""Secrets that must outlive a power cut: what rests on them is worth nothing without them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from records.durable import create_secret


def test_a_secret_is_on_the_disk_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First its bytes, then the name; otherwise a ledger could survive whose key is gone."""
    synced, fsync = [], os.fsync

    def noting(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink(), [one.name for one in tmp_path.iterdir()]))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    create_secret(tmp_path / "key", b"secret")
    (draft, there), (place, then) = synced
    assert there == [draft.name]
    assert (place, "key" in then) == (tmp_path, True)
    assert list(tmp_path.iterdir()) == [tmp_path / "key"]
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_the_first_of_several_secrets_stays(tmp_path: Path) -> None:
    """And nothing is left of the others."""
    create_secret(tmp_path / "key", b"first")
    create_secret(tmp_path / "key", b"second")
    assert (tmp_path / "key").read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [tmp_path / "key"]
