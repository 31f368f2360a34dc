"""Types of numpy's, from their stand-ins: how many bytes an array takes, and whether a type is what it says it is.

numpy believes the state that a pickle gives a type: where objects lie, how wide it is. One that lies has numpy take
bytes of the file for addresses of objects, or read beside an array.
"""

from __future__ import annotations

import re
from typing import Any

from checks.model_files.opcodes import Unparsable
from checks.model_files.report import DTYPE, Import, Made, Table

_MAX_ARRAY = 1 << 48
_TYPE = re.compile(r"[<>=|]?(?:(\?)|([biufcSaUVMm])([0-9]{1,9})|(O)[0-9]{0,2})", re.ASCII)
_OBJECT = re.compile(r"[<>=|]?O[0-9]{0,2}", re.ASCII)
_HOLDS_OBJECTS = 0b11
"""Flags of numpy's: elements count references, and are pickled as a list."""
_STATES = (3, 4)
"""Versions whose flags numpy believes; before, it finds them out itself."""


def note_field(table: Table, name: str, value: Any) -> None:
    """Keep of a dict's entry, where it may be a field of a type, whether it holds objects and where it ends."""
    key = f"\0{name}"
    table.pop(key, None)
    if isinstance(value, tuple) and len(value) in (2, 3) and isinstance(value[0], Made) and value[0].by == DTYPE:
        width = _width(value[0])
        if width is not None and type(value[1]) is int and value[1] >= 0:
            table[key] = (_holds_objects(value[0]), value[1] + width)


def odd_type(dtype: Made, state: Any) -> str:
    """What is wrong with giving this state to a type; empty where nothing is."""
    if dtype.state is not None:
        return "changes a type of numpy's that is in use"
    if not isinstance(state, tuple) or not 7 <= len(state) <= 9:
        return "gives a type of numpy's an unknown state"
    version, _, sub, names, fields, size = state[:6]
    parts = _parts(sub, names, fields)
    if parts is None:
        return "gives a type of numpy's parts that are computed"
    objects = _is_object(dtype) or any(holds for holds, _ in parts)
    flags = state[7] if len(state) > 7 else 0
    if objects and version in _STATES and not (type(flags) is int and flags & _HOLDS_OBJECTS == _HOLDS_OBJECTS):
        return "has numpy take bytes of the file for objects"
    if parts and not (type(size) is int and max(end for _, end in parts) <= size):
        return "has numpy read beside an array"
    return ""


def _parts(sub: Any, names: Any, fields: Any) -> list[tuple[bool, int]] | None:
    """Of each part of a type, whether it holds objects and where it ends; None where that cannot be known."""
    parts: list[tuple[bool, int] | None] = []
    if sub is not None:
        width = _width(sub[0]) if isinstance(sub, tuple) and len(sub) == 2 and isinstance(sub[0], Made) else None
        if width is None:
            return None
        shape = sub[1] if isinstance(sub[1], tuple) else (sub[1],)
        parts.append((_holds_objects(sub[0]), width * element_count(shape, -1)))
    if fields is not None:
        if not isinstance(fields, Table) or not isinstance(names, tuple):
            return None
        parts += [fields.get(f"\0{name}") for name in names]
        fields["\0"] = True
    known = [part for part in parts if part is not None]
    return known if len(known) == len(parts) else None


def _is_object(dtype: Made) -> bool:
    written = dtype.arguments[0] if isinstance(dtype.arguments, tuple) and dtype.arguments else None
    if isinstance(written, Import):  # numpy's records are made of their class
        return written.name != "record" or written.module.partition(".")[0] != "numpy"
    return not isinstance(written, str) or _OBJECT.fullmatch(written) is not None


def _holds_objects(dtype: Made) -> bool:
    parts = _parts(*dtype.state[2:5]) if isinstance(dtype.state, tuple) and len(dtype.state) >= 7 else []
    return _is_object(dtype) or parts is None or any(holds for holds, _ in parts)


def _width(dtype: Made) -> int | None:
    """Bytes of one element, an address for an object; None where it cannot be known."""
    if isinstance(dtype.state, tuple) and len(dtype.state) >= 7 and type(dtype.state[5]) is int and dtype.state[5] > 0:
        return dtype.state[5]
    try:
        width = item_width(dtype, -1)
    except Unparsable:
        return None
    return 8 if width is None else width


def item_width(dtype: Any, offset: int) -> int | None:
    """Bytes of one element; None for an array of objects. Raises `Unparsable` for a type that is not plain."""
    if not isinstance(dtype, Made) or dtype.by.name != "dtype" or not dtype.arguments:
        raise Unparsable("a joblib array of an unknown type", offset)
    parsed = _TYPE.fullmatch(dtype.arguments[0]) if isinstance(dtype.arguments[0], str) else None
    if parsed is None:
        raise Unparsable("a joblib array of an unknown type", offset)
    if parsed[4] or _holds_objects(dtype):
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
