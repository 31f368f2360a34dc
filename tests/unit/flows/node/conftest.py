"""A fresh node for each test."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.flows.node.homes import Home


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing to the device is the kernel's promise, not ours, and costs these tests seconds."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A node whose policy asks for one person, so that one decision admits."""
    rule = {
        "id": "image-is-hygienic",
        "stage": "before-execution",
        "require": 'checks.image.status == "passed"',
        "otherwise": "refuse",
        "say": "The image is not built well.",
    }
    policy: dict[str, Any] = {
        "apiVersion": "pratique/policy/v1",
        "name": "test",
        "approvals": {"admit": {"persons": 1, "organisations": 1}},
        "rules": [rule],
    }
    return Home(tmp_path, policy)
