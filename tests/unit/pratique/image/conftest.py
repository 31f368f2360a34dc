"""What the tests of registries share."""

from __future__ import annotations

import pytest


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that does not answer is asked again at once."""
    monkeypatch.setattr("pratique.intake.image.registry_http._PAUSES", (0, 0))
    monkeypatch.setattr("pratique.intake.image.registry._RESUMES", (0, 0, 0))
