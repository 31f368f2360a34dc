"""Regular expressions of a policy: matched in full, the same as Python's own, and never for long."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks.provenance.expressions import flaw_of, matches_in_full
from checks.provenance.trust import Identity
from pratique.errors import InvalidInput

ISSUER = "https://issuer.example"


@pytest.mark.parametrize(
    ("pattern", "length"),
    [(r"([a-z]+\.?)+@x\.example", 2000), (r"(a|a)*b", 2000), (r"(.*,)*;", 2000)],
    ids=["nested", "twice the same", "any then comma"],
)
def test_a_long_subject_cannot_keep_the_gate_busy(pattern: str, length: int) -> None:
    """It is not accepted; that this test ends is the point."""
    assert not Identity(pattern, re.escape(ISSUER), regexp=True).accepts("a," * (length // 2) + "!", ISSUER)


@pytest.mark.parametrize(
    ("pattern", "flaw"),
    [
        ("(", "not a regular expression"),
        ("a{e}", "a brace"),
        (r"a\{e}", ""),
        ("a{1<=e<=2}", "a brace"),
        (r"a\\{e}", "a brace"),
        ("(?:foo){i<=1}", "a brace"),
    ],
)
def test_what_is_no_expression_or_means_two_things(pattern: str, flaw: str) -> None:
    """Approximate matching, which `regex` knows, would accept strangers."""
    said = flaw_of(pattern)
    assert flaw in said
    assert bool(said) == bool(flaw)
    if flaw:
        with pytest.raises(InvalidInput) as caught:
            Identity(pattern, ISSUER, regexp=True)
        assert caught.value.rule == "provenance/identity-form"


@given(
    st.lists(
        st.sampled_from(["a", "b", ".", ".*", "[ab]", "(?:a|b)", r"\.", "a{2}", "b{,2}", "^", "$", "x?"]), max_size=6
    ),
    st.text("abx.\n", max_size=8),
)
def test_means_what_python_means(parts: list[str], text: str) -> None:
    """On everything that a policy writes in practice."""
    pattern = "".join(parts)
    assert matches_in_full(pattern, text) == bool(re.fullmatch(pattern, text))
