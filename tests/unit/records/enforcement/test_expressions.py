"""Regular expressions are handed to Go's engine only where they mean the same there."""

from __future__ import annotations

import re
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.enforcement.signers import portable_regexp


@pytest.mark.parametrize(
    "pattern",
    [
        r".*@provider\.example",
        r"https://github\.com/org/[a-z0-9_-]+/x\.yml@refs/(?:heads|tags)/.*",
        r"a|b",
        r"[^/]+",
        r"\d{4}",
        r"(a)(b)?",
    ],
)
def test_portable_expressions(pattern: str) -> None:
    """Are anchored as a whole, so that an alternative does not escape."""
    assert portable_regexp(pattern) == f"^(?:{pattern})$"


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?=x)y", r"(?<=x)y", r"(?i)x", r"(?P<n>x)(?P=n)", r"(x)\1", r"x*+", r"x++", r"x\Z", r"\w+", r"[\w]", r"[^\d]",
        r"[[:alpha:]]", r"x{,3}", r"\bx", r"(?#c)x", r"é", r"[é]", "a\nb", r"(?>x)", r"\N{DIGIT ONE}", r"x{1000}",
    ],
)  # fmt: skip
def test_expressions_that_mean_something_else_in_re2(pattern: str) -> None:
    """Or that it does not have: left out."""
    assert portable_regexp(pattern) is None


@given(st.text(alphabet="ab.*+?|()[]^$\\{}0123-d:", max_size=12), st.text(alphabet="ab.^$01-\\", max_size=6))
def test_portable_expressions_match_what_the_policy_matches(pattern: str, text: str) -> None:
    """Searched for, as Go does, they find nothing that Python does not match in full."""
    with warnings.catch_warnings(action="ignore"):
        try:
            expression = re.compile(pattern)
        except re.error:
            return
    portable = portable_regexp(pattern)
    if portable is not None and re.search(portable.removesuffix("$") + r"\Z", text, re.ASCII):
        assert expression.fullmatch(text)
