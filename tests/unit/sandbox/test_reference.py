"""The reference of the sandbox says what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from pratique.errors import UsageError
from sandbox.reference import filled, tables
from sandbox.seccomp import default_source
from sandbox.spec import Limits

DOCUMENT = Path(__file__).parents[3] / "docs/reference/sandbox.md"


def test_the_tables_of_the_document_are_those_of_the_code() -> None:
    """After a change: `python -m sandbox.reference docs/reference/sandbox.md`."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert filled(text) == text


def test_every_denied_call_and_every_limit_stands_there() -> None:
    """By name."""
    text = DOCUMENT.read_text(encoding="utf-8")
    denied = {name for rule in default_source().rules if not rule.allows for name in rule.names}
    assert len(denied) > 100
    assert all(f"`{name}`" in text for name in denied | set(Limits.model_fields))


def test_a_document_without_a_marker_is_not_filled() -> None:
    """A table cannot vanish unseen."""
    with pytest.raises(UsageError):
        filled("no markers")
    assert set(tables()) == {"limits", "environment", "denied", "conditional", "weaknesses"}
