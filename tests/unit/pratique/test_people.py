"""Names that mean the same, and names that only look the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pratique.people import mixes_alphabets, organisation_key, person_key


@pytest.mark.parametrize(
    "name", ["ANNA@Node.example", " anna@node.example\u200b", "anna+x+y@node.example", "\uff41nna@node.example"]
)
def test_one_person(name: str) -> None:
    """Written otherwise."""
    assert person_key(name) == "anna@node.example"


def test_other_people() -> None:
    """Other addresses stay other people."""
    assert (
        len({person_key(name) for name in ("anna@node.example", "an.na@node.example", "anna@other.example", "anna")})
        == 4
    )


@pytest.mark.parametrize(
    ("text", "mixed"),
    [("Hospital \u0411", False), ("H\u043espital", True), ("\u6771\u4eac\u306e\u75c5\u9662", False), ("", False)],
)
def test_alphabets(text: str, mixed: bool) -> None:
    """Within a word; Japanese mixes scripts that nobody takes for each other."""
    assert mixes_alphabets(text) is mixed


@given(st.text())
def test_keys_are_stable(text: str) -> None:
    """A key is its own key, and no text breaks it."""
    assert organisation_key(organisation_key(text)) == organisation_key(text)
    assert person_key(person_key(text)) == person_key(text)
    mixes_alphabets(text)
