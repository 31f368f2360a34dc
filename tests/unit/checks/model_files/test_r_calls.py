"""Calls in R's data: what `predict` or `update` would evaluate, as R 4.2 did when it was tried."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.model_files import Verdict
from tests.unit.checks.model_files.makers import scan
from tests.unit.checks.model_files.test_made_models import NIL, r_data, r_item

# an expression: a symbol, a text that begins with a quote, or a tuple of what is called and its arguments


def of_text(text: str) -> bytes:
    return r_item(9, struct.pack(">I", len(text)) + text.encode())


def language(expression: Any, known: list[str]) -> bytes:
    """As R writes it; a symbol that comes again is a reference."""
    if isinstance(expression, tuple):
        return r_item(6, language(expression[0], known) + arguments(expression[1:], known))
    if expression.startswith('"'):
        return r_item(16, struct.pack(">I", 1) + of_text(expression[1:]))
    if expression in known:
        return r_item(255, b"", (known.index(expression) + 1) << 8)
    known.append(expression)
    return r_item(1, of_text(expression))


def arguments(values: tuple[Any, ...], known: list[str]) -> bytes:
    """A list of them; a dict of one entry is an argument with a name."""
    written = b""
    for value in values:
        if isinstance(value, dict):
            ((tag, value),) = value.items()
            written += r_item(2, language(tag, known) + language(value, known), 0x400)
        else:
            written += r_item(2, language(value, known))
    return written + NIL


def terms(expression: Any) -> bytes:
    """A formula with an attribute that `predict` evaluates."""
    known = ["predvars"]
    predvars = r_item(2, r_item(1, of_text("predvars")) + language(("list", "y", expression), known) + NIL, 0x400)
    return r_data(r_item(6, predvars + language("~", known) + arguments(("y", "x"), known), 0x200))


COMPUTED = ("paste0", '"sys', '"tem')
RUNS: dict[str, Any] = {
    "system": ("system", '"id'),
    "deep inside": ("log", ("{", ("+", "x", ("system2", '"id')))),
    "in a package": (("::", "base", "system"), '"id'),
    "in a package, by a text": ((":::", "base", '"system'), '"id'),
    "in an environment": (("$", ("baseenv",), "system"), '"id'),
    "in a package for programs": (("::", "callr", "r"), "x"),
    "inside R": (".Internal", ("system", '"id', "x")),
    "by do.call": ("do.call", '"system', "x"),
    "by do.call, computed": ("do.call", COMPUTED, "x"),
    "by get": (("get", '"system'), '"id'),
    "by get, computed": (("get", COMPUTED), '"id'),
    "by match.fun": (("match.fun", '"system'), '"id'),
    "handed to sapply": ("sapply", '"id', "system"),
    "handed on by its name": ("ks.test", "x", {"FUN": "system"}),
    "looked up and handed on": ("ks.test", "x", ("get", '"system')),
    "looked up by a computed name and handed on": ("ks.test", "x", ("get", {"x": COMPUTED})),
    "out of a list": (("[[", "x", '"system'), '"id'),
    "in brackets": (("(", "system"), '"id'),
    "in a function that is made there": (("function", "x", ("system", "x")), '"id'),
    "parsed": ("eval", ("parse", {"text": "\"system('id')"})),
    "in the text of a formula": ("model.frame", "\"y ~ system ('id')"),
    "a script": ("source", '"http://a/b.R'),
    "a library": ("dyn.load", '"a.so'),
    "a download": (("::", "utils", "download.file"), '"http://a', '"b'),
    "a pipe": ("readLines", ("pipe", '"id')),
    "a file that goes": ("unlink", '"a'),
    "the environment": ("Sys.setenv", {"A": '"1'}),
}


@pytest.mark.parametrize("trick", RUNS)
def test_a_call_that_reaches_out_is_refused(trick: str) -> None:
    verdict = scan(terms(RUNS[trick]), "m.rds")
    assert verdict.verdict is Verdict.UNSAFE, verdict
    assert {reason.rule for reason in verdict.reasons} == {"r-code"}


HONEST: dict[str, Any] = {
    "functions of a formula": ("log", ("+", ("poly", "x", {"degree": "y"}), ("I", ("^", "x", "y")))),
    "functions of packages": (("::", "splines", "ns"), ("$", "data", "x"), {"df": "k"}),
    "columns with such names": ("+", ("*", "system", "source"), ("factor", "url")),
    "a method of an object": (("$", "task", "data"),),
    "data that are looked up": ("lm", ("as.formula", '"y ~ log(x)'), {"data": ("get", '"d', {"envir": ("f",)})}),
    "the time": ("difftime", ("Sys.time",), "x"),
}


@pytest.mark.parametrize("kind", HONEST)
def test_a_call_that_computes_is_safe(kind: str) -> None:
    verdict = scan(terms(HONEST[kind]), "m.rds")
    assert verdict.verdict is Verdict.SAFE, verdict


UNREADABLE: dict[str, bytes] = {
    "a reference to nothing": r_data(r_item(255, b"", 9 << 8)),
    "a symbol without a name": r_data(r_item(1, NIL)),
    "a long text in a call": terms(("log", '"' + " " * 70_000)),
    "many texts in a call": terms(("log", *['"' + " " * 60_000] * 300)),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_cannot_be_followed_is_unreadable(kind: str) -> None:
    assert scan(UNREADABLE[kind], "m.rds").verdict is Verdict.UNREADABLE


def test_thousands_of_functions_are_told_in_a_few_words() -> None:
    verdict = scan(r_data(*[r_item(3, NIL + NIL)] * 5000), "m.rds")
    assert verdict.verdict is Verdict.UNSAFE
    assert len(verdict.reasons) <= 20


_EXPRESSIONS = st.recursive(
    st.sampled_from(["x", "log", "y", '"a', "list"]), lambda inner: st.tuples(inner, inner, inner), max_leaves=8
)


@settings(max_examples=60, deadline=None)
@given(_EXPRESSIONS, st.sampled_from(["system", "unlink", "dyn.load", "Sys.setenv"]))
def test_a_dangerous_call_is_found_at_any_depth(around: Any, name: str) -> None:
    assert scan(terms(("c", around, (name, '"a'), around)), "m.rds").verdict is Verdict.UNSAFE
