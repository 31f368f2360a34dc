"""Reading single fields of a manifest's mappings, each with a clear refusal (`manifest/field`)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pratique.errors import InvalidInput
from pratique.intake.manifest.guard import refuse

_MAX_TEXT = 20_000


def wrong(where: str, expected: str, got: Any) -> InvalidInput:
    """The error for a field of the wrong kind."""
    return refuse("field", where, f"expected {expected}", "Correct the value.", cause=f"got {str(got)[:80]!r}")


def text(mapping: dict[str, Any], key: str, where: str, *, default: str | None = "") -> str:
    """The text under `key`; `default` where it is absent or null, refused when that is None."""
    value = mapping.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise wrong(f"{where}/{key}" if key else where, f"text of at most {_MAX_TEXT:,} characters", value)
    return value


def optional_text(mapping: dict[str, Any], key: str, where: str) -> str | None:
    """The text under `key`, None where it is absent or null."""
    return None if mapping.get(key) is None else text(mapping, key, where)


def prose(mapping: dict[str, Any], key: str, where: str) -> str:
    """Text for people, which CWL allows to be a list of lines."""
    value = mapping.get(key)
    lines = value if isinstance(value, list) else [value]
    return "\n".join(text({key: line}, key, where) for line in lines)


def boolean(mapping: dict[str, Any], key: str, where: str, *, default: bool) -> bool:
    """The boolean under `key`; `default` where it is absent or null."""
    value = mapping.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise wrong(f"{where}/{key}", "true or false", value)
    return value


def integer(mapping: dict[str, Any], key: str, where: str) -> int | None:
    """The integer under `key` (within 32 bits), None where it is absent or null."""
    value = mapping.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > 2**31:
        raise wrong(f"{where}/{key}", "a whole number", value)
    return value


def number(mapping: dict[str, Any], key: str, where: str, *, minimum: float | None = None) -> float | None:
    """The finite number under `key`, None where it is absent or null."""
    value = mapping.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise wrong(f"{where}/{key}", "a number", value)
    if minimum is not None and value < minimum:
        raise wrong(f"{where}/{key}", f"a number of at least {minimum:g}", value)
    return value


def texts(value: Any, where: str) -> tuple[str, ...]:
    """A text or a list of texts, as a tuple; empty where it is null."""
    items = value if isinstance(value, list) else [] if value is None else [value]
    return tuple(text({"": item}, "", f"{where}[{index}]", default=None) for index, item in enumerate(items))


def mapping(value: Any, where: str) -> dict[str, Any]:
    """A mapping; empty where it is null."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong(where, "a mapping", value)
    return value


def entries(value: Any, where: str, *, id_keys: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Named entries, written as a list with an id each or as a map by id: id, mapping and place."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield name, item if isinstance(item, dict) else {"type": item}, f"{where}/{name}"
        return
    if value is not None and not isinstance(value, list):
        raise wrong(where, "a list or a mapping", value)
    for index, item in enumerate(value or []):
        place = f"{where}[{index}]"
        found = mapping(item, place)
        key = next((key for key in id_keys if found.get(key) is not None), id_keys[0])
        yield text(found, key, place, default=None), found, place
