"""Calls that are harmless with the right arguments only: what an allowed function may be given."""

from __future__ import annotations

from typing import Any, Final

from checks.model_files.report import Import

_ENCODINGS = frozenset(("latin1", "latin-1", "ascii", "utf-8", "utf8"))
_CONSTRUCTORS: Final = frozenset(("__bit_generator_ctor", "__generator_ctor", "__randomstate_ctor"))
_RANDOM = "numpy.random._pickle"
_GENERATORS = frozenset(("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"))
_PICKY = frozenset((("_codecs", "encode"), ("collections", "defaultdict")))
_FACTORIES = frozenset(("list", "dict", "set", "int", "float", "str", "tuple", "bool", "frozenset"))
_CONTAINERS = frozenset(("OrderedDict", "Counter", "deque", "defaultdict"))


def odd_arguments(callee: Import, arguments: Any) -> str:
    """What is wrong with calling `callee` so, in words; empty where nothing is.

    `_codecs.encode` may use any codec (also those that run code), numpy's constructors of random generators call what
    they are given, and so does a `defaultdict` whenever a key is missing. Arguments that are computed hide all of that.
    """
    pair = (callee.module, callee.name)
    of_generator = callee.module == _RANDOM and callee.name in _CONSTRUCTORS
    if pair not in _PICKY and not of_generator:
        return ""
    if not isinstance(arguments, tuple):
        return f"calls {callee} with arguments that are computed"
    if pair == ("_codecs", "encode"):
        plain = len(arguments) == 2 and isinstance(arguments[1], str) and arguments[1] in _ENCODINGS
        return "" if plain else "calls _codecs.encode with an unusual codec"
    if of_generator:
        odd = [one for one in arguments if isinstance(one, Import) and not _of_random(one)]
        return f"has numpy call {odd[0]} as a random generator" if odd else ""
    odd = [one for one in arguments[:1] if isinstance(one, Import) and not _is_factory(one)]
    return f"has a defaultdict call {odd[0]}" if odd else ""


def _of_random(given: Import) -> bool:
    if given.module == _RANDOM:
        return given.name in _CONSTRUCTORS
    return given.module.startswith("numpy.random._") and given.name in _GENERATORS


def _is_factory(given: Import) -> bool:
    names = {"builtins": _FACTORIES, "collections": _CONTAINERS}.get(given.module, frozenset())
    return given.name in names
