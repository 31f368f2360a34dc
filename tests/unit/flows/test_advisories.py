"""The day of a copy of the advisories, as a person gives it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from flows.advisories import import_advisories
from pratique.errors import UsageError
from tests.unit.checks.feeds import record, write_zip

NOW = datetime(2026, 3, 1, 23, 0, tzinfo=UTC)


@pytest.mark.parametrize("day", ["2026-02-01", "2026-03-01", "2026-03-02"])
def test_a_copy_may_be_of_the_day_that_has_begun_elsewhere(day: str, tmp_path: Path) -> None:
    """East of here it is tomorrow already."""
    feed = write_zip(tmp_path / "PyPI" / "all.zip", [record("GHSA-aaaa-bbbb-cccc")])
    (one,) = import_advisories(tmp_path / "home", feed, taken=date.fromisoformat(day), clock=lambda: NOW)
    assert one.taken.isoformat() == day


@pytest.mark.parametrize("day", ["2026-03-03", "2126-03-01"])
def test_a_copy_of_a_day_to_come_is_wrong_usage(day: str, tmp_path: Path) -> None:
    """It would count as fresh for too long."""
    feed = write_zip(tmp_path / "PyPI" / "all.zip", [record("GHSA-aaaa-bbbb-cccc")])
    with pytest.raises(UsageError, match="has not come yet"):
        list(import_advisories(tmp_path / "home", feed, taken=date.fromisoformat(day), clock=lambda: NOW))
    assert not (tmp_path / "home").exists()
