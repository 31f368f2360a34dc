"""A fresh node for each test."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from policies.load import DEFAULT_POLICY
from tests.unit.flows.node.homes import Home


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing to the device is the kernel's promise, not ours, and costs these tests seconds."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A node whose policy asks for one person, so that one decision admits."""
    policy: dict[str, Any] = YAML(typ="safe").load(DEFAULT_POLICY.read_text())
    policy["approvals"] = {"admit": {"persons": 1, "organisations": 1}}
    return Home(tmp_path, policy)
