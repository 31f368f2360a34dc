"""How many bytes a joblib array takes in the stream, from the stand-ins of its type and shape."""

from __future__ import annotations

import re
from typing import Any

from checks.model_files.opcodes import Unparsable
from checks.model_files.report import Made

_MAX_ARRAY = 1 << 48
_TYPE = re.compile(r"[<>=|]?(?:(\?)|([biufcSaUVMm])([0-9]{1,9})|(O)[0-9]{0,2})", re.ASCII)


def item_width(dtype: Any, offset: int) -> int | None:
    """Bytes of one element; None for an array of objects. Raises `Unparsable` for a type that is not plain."""
    if not isinstance(dtype, Made) or dtype.by.name != "dtype" or not dtype.arguments:
        raise Unparsable("a joblib array of an unknown type", offset)
    parsed = _TYPE.fullmatch(dtype.arguments[0]) if isinstance(dtype.arguments[0], str) else None
    if parsed is None:
        raise Unparsable("a joblib array of an unknown type", offset)
    if parsed[4]:
        return None
    width = 1 if parsed[1] else int(parsed[3]) * (4 if parsed[2] == "U" else 1)
    if parsed[2] and parsed[2] in "SaUV":
        width = _stated_width(dtype.state, width, offset)
    if not 0 < width <= _MAX_ARRAY:
        raise Unparsable("a joblib array of an unknown type", offset)
    return width


def _stated_width(state: Any, width: int, offset: int) -> int:
    """Types of free width are given theirs by the state that numpy restores."""
    if state is None:
        return width
    if not isinstance(state, tuple) or not 7 <= len(state) <= 9 or state[2] is not None or type(state[5]) is not int:
        raise Unparsable("a joblib array of an unknown type", offset)
    return state[5]


def element_count(shape: Any, offset: int) -> int:
    if not isinstance(shape, tuple) or not all(type(length) is int and length >= 0 for length in shape):
        raise Unparsable("a joblib array of an unknown shape", offset)
    count = 1
    for length in shape:
        count *= length
        if max(count, length) > _MAX_ARRAY:
            raise Unparsable("a joblib array of an impossible shape", offset)
    return count
