"""An admission is attached to the image only where that came from a registry and is admitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.decide import admit
from flows.images import remember_image
from flows.publish import publish
from pratique.errors import UsageError
from pratique.intake.image import ArchiveImage
from tests.unit.flows.node.homes import ANNA, Home


def test_an_image_that_was_in_no_registry(home: Home, tmp_path: Path) -> None:
    """There is nowhere to push to; the admission stands."""
    admission = admit(home.node(), home.inspected(), ANNA)
    (tmp_path / "image.tar").write_bytes(b"x")
    with pytest.raises(UsageError, match="not submitted from a registry"):
        publish(home.node(), admission)
    remember_image(home.node().settings, admission.tool.image_digest, ArchiveImage(tmp_path / "image.tar"))
    with pytest.raises(UsageError, match="not submitted from a registry"):
        publish(home.node(), admission)
    assert len(home.node().validated()) == 1


def test_a_decision_that_admits_nothing_yet(home: Home) -> None:
    """Only admissions are pushed."""
    home.policy["approvals"] = {"admit": {"persons": 2, "organisations": 2}}
    admission = admit(home.node(), home.inspected(), ANNA)
    with pytest.raises(UsageError, match="not admitted yet"):
        publish(home.node(), admission)
