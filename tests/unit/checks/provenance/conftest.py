"""The bench of this directory's tests, as fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.signing.private_sigstore import PrivateSigstore
from tests.unit.checks.provenance.bench import NOW, OTHER_IMAGE, Bench


@pytest.fixture(scope="session")
def instances() -> tuple[PrivateSigstore, PrivateSigstore, PrivateSigstore]:
    """Rekor v1, Rekor v2, and one that nobody trusts, each with a few entries in its log."""
    made = tuple(PrivateSigstore(rekor, now=lambda: NOW) for rekor in (1, 2, 1))
    for instance in made:
        for _ in range(5):
            instance.sign_image(OTHER_IMAGE, "somebody@provider.example")
    return made  # type: ignore[return-value]


@pytest.fixture
def bench(tmp_path: Path, instances: tuple[PrivateSigstore, PrivateSigstore, PrivateSigstore]) -> Bench:
    """A fresh bench over the session's instances."""
    return Bench(tmp_path, *instances)
