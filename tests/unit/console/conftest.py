"""What tests of several commands share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from checks.advisories import import_snapshot
from tests.unit.checks.feeds import record, write_zip
from tests.unit.console.contents import TODAY


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own with advisories against widget before 2.0."""
    for name in [name for name in os.environ if name.startswith("PRATIQUE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PRATIQUE_HOME", str(tmp_path / "home"))
    feed = write_zip(tmp_path / "PyPI" / "all.zip", [record("GHSA-aaaa-bbbb-cccc", aliases=["CVE-2024-1"])])
    import_snapshot(feed, tmp_path / "home" / "advisories", taken=TODAY)
    return tmp_path / "home"
