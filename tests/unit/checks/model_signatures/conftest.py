"""The bench of this directory's tests, as fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.signing.private_sigstore import PrivateSigstore
from tests.unit.checks.model_signatures.bench import NOW, Models


@pytest.fixture(scope="session")
def model_sigstore() -> PrivateSigstore:
    """One instance for all models."""
    return PrivateSigstore(2, now=lambda: NOW)


@pytest.fixture
def models(tmp_path: Path, model_sigstore: PrivateSigstore) -> Models:
    """A fresh bench."""
    return Models(tmp_path, model_sigstore)
