"""What tests of several checks share."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from checks.advisories import Snapshot, import_snapshot
from tests.unit.checks.feeds import shared_snapshot


@pytest.fixture(scope="session")
def real_snapshot(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Snapshot]:
    """The real PyPI advisories, imported once: their home, and what the import said."""
    home = tmp_path_factory.mktemp("advisories")
    return home, import_snapshot(shared_snapshot(), home, taken=date(2026, 7, 23))
