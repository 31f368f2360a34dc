"""Keras configurations: which modules, classes and functions loading one would look up, and what they would read.

Keras imports what a configuration names. Layers that hold code, functions outside of those that layers use, and
classes that load other files are refused; a class of the provider's own needs code of its own and is refused too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from checks.model_files.parts import Found

_ROOTS = ("keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras")
_WITHIN = frozenset(("src", "api", "_tf_keras", "keras", "engine", "v1", "v2", "core", "python"))
_AREAS = frozenset(
    (
        *("layers", "models", "activations", "losses", "metrics", "initializers", "regularizers", "constraints"),
        *("optimizers", "dtype_policies", "ops", "random", "quantizers", "mixed_precision", "functional", "sequential"),
        *("training", "legacy", "input_layer", "dtype_policy"),
    )
)
_FUNCTION_AREAS = frozenset(
    ("activations", "losses", "metrics", "initializers", "regularizers", "constraints", "ops", "random", "layers")
)
_CODE_CLASSES = frozenset(("Lambda", "__lambda__"))
_LOADERS = frozenset(("TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer", "load_model", "get_file"))
_WITH_VOCABULARY = frozenset(("StringLookup", "IntegerLookup", "IndexLookup", "TextVectorization"))
_BUILTINS = frozenset(
    ("function", "list", "dict", "tuple", "set", "str", "int", "float", "bool", "NoneType", "slice", "Ellipsis")
)
_DATA = re.compile(r"__(?:tuple|tensor|numpy|bytes|slice|ellipsis|typespec|keras_tensor)__")
_CLASS_NAME = re.compile(rb'"class_name"\s{0,64}:\s{0,64}"([^"\\]{0,200})"')
_MODULE = re.compile(rb'"module"\s{0,64}:\s{0,64}"([^"\\]{0,200})"')
_VOCABULARY = re.compile(rb'"vocabulary"\s*:\s*"([^"]{0,200})')
_CONFIG = re.compile(rb'"config"\s{0,64}:\s{0,64}"([^"\\]{0,200})"')
_BLANKS = rb'"(?:class_name|module|config)"\s{65}|"(?:class_name|module|config)"\s*:\s{65}'
SPREAD = re.compile(_BLANKS)
"""Keys with so many blanks around that they may be overlooked."""
_HIDDEN = re.compile(rb"\\u00[2-7][0-9A-Fa-f]|" + _BLANKS)
RULE = "keras-code"


def examine_node(node: dict[str, Any], found: Found, where: str) -> None:
    """Judge one object of a configuration."""
    name, module, config = node.get("class_name"), node.get("module"), node.get("config")
    if not isinstance(name, str):
        return
    if name in _CODE_CLASSES:
        found.unsafe(RULE, f"a Keras layer {name}, whose code runs when the model is loaded", where)
    elif name in _LOADERS or (name == "function" and config in _LOADERS):
        found.unsafe(RULE, f"the Keras object {name}, which loads other files or code", where)
    elif module is not None and (what := _odd_module(name, module)):
        found.unsafe(RULE, what, where)
    vocabulary = config.get("vocabulary") if isinstance(config, dict) else None
    if name in _WITH_VOCABULARY and isinstance(vocabulary, str):
        found.unsafe("external-data", f"a Keras layer {name} that reads the file {vocabulary[:200]!r}", where)


def _odd_module(name: str, module: Any) -> str:
    """Why nothing should be looked up in this module; empty where it may."""
    if module == "builtins":
        known = name in _BUILTINS or _DATA.fullmatch(name)
        return "" if known else f"the object {name[:80]!r} of Python itself"
    area = _area(module) if isinstance(module, str) else None
    if area is None:
        return f"a Keras object from the module {str(module)[:80]!r}"
    if name == "function" and area not in _FUNCTION_AREAS:
        return f"a function of {str(module)[:80]!r}, which no layer needs"
    return "" if not area or area in _AREAS else f"the object {name[:80]!r} of {str(module)[:80]!r}, which is no layer"


def _area(module: str) -> str | None:
    """The part of Keras that a module belongs to, empty for Keras as a whole; None where it is none of Keras."""
    for root in _ROOTS:
        if module == root or module.startswith(f"{root}."):
            parts = module[len(root) :].strip(".").split(".")
            return next((part for part in parts if part and part not in _WITHIN), "")
    return None


def examine_text(windows: Iterator[bytes], found: Found, where: str, *, hidden: re.Pattern[bytes] = _HIDDEN) -> None:
    """Judge a configuration that lies somewhere among other bytes (HDF5 keeps it in an attribute)."""
    for window in windows:
        if hidden.search(window):
            found.unsafe(RULE, "a text with escaped letters or long blanks, which can hide a Keras layer", where)
            return
        if names_file := _VOCABULARY.search(window):
            message = f"a Keras layer that reads the file {names_file[1].decode('latin-1')!r}"
            found.unsafe("external-data", message, where)
            return
        names = {match.decode("latin-1") for match in _CLASS_NAME.findall(window)}
        if "function" in names:
            names |= {match.decode("latin-1") for match in _CONFIG.findall(window)}
        for name in sorted(names & (_CODE_CLASSES | _LOADERS)):
            found.unsafe(RULE, f"a Keras object {name}, whose code runs when the model is loaded", where)
            return
        for module in sorted(set(_MODULE.findall(window))) if names else ():
            text = module.decode("latin-1")
            area = _area(text)
            if text != "builtins" and (area is None or (area and area not in _AREAS)):
                found.unsafe(RULE, f"a Keras object from the module {text[:80]!r}", where)
                return
