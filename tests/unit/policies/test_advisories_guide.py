"""What the guide on advisories shows can be written into a policy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from policies.model import Policy
from pratique.bounded_yaml import load_yaml

GUIDE = Path(__file__).parents[3] / "docs" / "how-to" / "keep-advisories-fresh.md"
BLOCKS = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
RULE = {
    "id": "a",
    "stage": "before-execution",
    "require": 'checks.image.status == "passed"',
    "otherwise": "refuse",
    "say": "x",
}


def policy_of(block: str) -> dict[str, Any]:
    """A policy with the block in it; a digest that is left out is filled in."""
    filled = block.replace("sha256: …", f"sha256: {'a' * 64}")
    shown = load_yaml(("rules:\n" + filled if filled.lstrip().startswith("-") else filled).encode(), where="guide")
    return {"apiVersion": "pratique/policy/v1", "name": "guide", "rules": [RULE], **shown}


@pytest.mark.parametrize("block", BLOCKS)
def test_what_the_guide_shows_is_a_policy(block: str) -> None:
    Policy.model_validate(policy_of(block))


def test_the_guide_shows_something() -> None:
    assert len(BLOCKS) >= 4
