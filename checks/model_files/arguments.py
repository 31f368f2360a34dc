"""Calls that are harmless with the right arguments only: what an allowed function may be given."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from checks.model_files.allowlist import is_allowed, may_call
from checks.model_files.report import Import, Made

_ENCODINGS = frozenset(("latin1", "latin-1", "ascii", "utf-8", "utf8"))
_CONSTRUCTORS: Final = frozenset(("__bit_generator_ctor", "__generator_ctor", "__randomstate_ctor"))
_RANDOM = "numpy.random._pickle"
_GENERATORS = frozenset(("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"))
_FACTORIES = frozenset(("list", "dict", "set", "int", "float", "str", "tuple", "bool", "frozenset"))
_CONTAINERS = frozenset(("OrderedDict", "Counter", "deque", "defaultdict"))
_FUNCTION = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_HAVE_NO_NAME = (Import("builtins", "Ellipsis"), Import("builtins", "NotImplemented"))


def odd_arguments(callee: Import, arguments: Any) -> str:
    """What is wrong with calling `callee` so, in words; empty where nothing is.

    `_codecs.encode` may use any codec (also those that run code), numpy's constructors of random generators call what
    they are given, and so does a `defaultdict` whenever a key is missing; `copyreg._reconstructor` runs the constructor
    of its second class, `type` makes classes, a `partial` is a call yet to come. Arguments that are computed hide it.
    """
    pair = (callee.module, callee.name)
    of_generator = callee.module == _RANDOM and callee.name in _CONSTRUCTORS
    if pair not in _ODD and not of_generator:
        return ""
    if not isinstance(arguments, tuple):
        return f"calls {callee} with arguments that are computed"
    if of_generator:
        odd = next((one for one in arguments if not _for_generator(one)), None)
        return "" if odd is None else f"has numpy call {_named(odd)} as a random generator"
    return _ODD[pair](arguments)


def odd_state(maker: Import, arguments: tuple[Any, ...], state: Any) -> str:
    """What is wrong with giving this state to what `maker` made: that of a `partial` says anew what it calls."""
    if (maker.module, maker.name) != ("functools", "partial"):
        return ""
    same = isinstance(state, tuple) and len(state) == 4 and state[:1] == arguments[:1]
    return "" if same else "changes what a functools.partial calls"


def _odd_codec(arguments: tuple[Any, ...]) -> str:
    plain = len(arguments) == 2 and isinstance(arguments[1], str) and arguments[1] in _ENCODINGS
    return "" if plain else "calls _codecs.encode with an unusual codec"


def _odd_factory(arguments: tuple[Any, ...]) -> str:
    plain = not arguments or arguments[0] is None or _is_factory(arguments[0])
    return "" if plain else f"has a defaultdict call {_named(arguments[0])}"


def _odd_base(arguments: tuple[Any, ...]) -> str:
    """The base is what C made, such as `object`; only its constructor runs."""
    plain = (
        len(arguments) == 3 and isinstance(arguments[1], Import) and may_call(arguments[1].module, arguments[1].name)
    )
    return "" if plain else "has copyreg._reconstructor run a constructor that may not be called"


def _odd_new(arguments: tuple[Any, ...]) -> str:
    """Makes an instance, as the opcode NEWOBJ does."""
    if not arguments or not isinstance(arguments[0], Import):
        return "calls copyreg.__newobj__ with something that is no import"
    return odd_arguments(arguments[0], arguments[1:])


def _odd_type(arguments: tuple[Any, ...]) -> str:
    """`type(None)` is how the type of a value without a name is written."""
    plain = len(arguments) == 1 and (arguments[0] is None or arguments[0] in _HAVE_NO_NAME)
    return "" if plain else "calls builtins.type, which can make classes"


def _odd_partial(arguments: tuple[Any, ...]) -> str:
    """Only functions on numbers that may be named with any arguments, and constructors that may be called."""
    function = arguments[0] if arguments else None
    if isinstance(function, Import) and (function.module, function.name) not in _ODD:
        known = is_allowed(function.module, function.name) and _FUNCTION.fullmatch(function.name)
        if known or function in (Import("collections", "OrderedDict"), Import("collections", "Counter")):
            return ""
    return f"makes a functools.partial of {_named(function)}"


_ODD: Final[dict[tuple[str, str], Callable[[tuple[Any, ...]], str]]] = {
    ("_codecs", "encode"): _odd_codec,
    ("builtins", "type"): _odd_type,
    ("collections", "defaultdict"): _odd_factory,
    ("copyreg", "__newobj__"): _odd_new,
    ("copyreg", "_reconstructor"): _odd_base,
    ("functools", "partial"): _odd_partial,
}


def _named(given: Any) -> str:
    return str(given) if isinstance(given, Import) else "something that is no import"


def _for_generator(given: Any) -> bool:
    """Whether numpy's constructors may be given this: a name of a generator, its class, or one that was made so."""
    if isinstance(given, Import):
        return _of_random(given)
    return not isinstance(given, Made) or given.by.module.startswith("numpy.random.")


def _of_random(given: Import) -> bool:
    if given.module == _RANDOM:
        return given.name in _CONSTRUCTORS
    return given.module.startswith("numpy.random._") and given.name in _GENERATORS


def _is_factory(given: Any) -> bool:
    if not isinstance(given, Import):
        return False
    names = {"builtins": _FACTORIES, "collections": _CONTAINERS}.get(given.module, frozenset())
    return given.name in names
