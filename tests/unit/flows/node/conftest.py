"""A fresh node for each test."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.flows.node.federations import FEDERATION, HUB, NODE, Federation
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


@pytest.fixture
def federation(home: Home, tmp_path: Path) -> Federation:
    """A hub that has admitted nothing yet, and a node whose policy names it."""
    hub = Home(tmp_path / "hub", {**home.policy, "federation": {"place": FEDERATION}}, origin=HUB)
    node = Home(tmp_path / "node", {**home.policy, "description": "another policy"}, origin=NODE)
    for one in (hub, node):
        one.directory.mkdir()
    opened = hub.node()
    node.policy["federation"] = {
        "hubs": [
            {
                "verifier": opened.uri,
                "key": opened.key.verifier.vkey,
                "place": FEDERATION,
                "policies": [opened.policy.digest],
                "list_max_age": "7d",
            }
        ]
    }
    return Federation(hub, node)
