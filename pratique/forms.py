"""A YAML document that a person wrote, held against the form that it must have, strictly; mistakes are told by line.

Strictly: `0` and `no` are no booleans, `"2"` is no number and `2` no text, so that what is written is what counts.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Form = TypeVar("Form", bound=BaseModel)
Place = tuple[str | int, ...]

_SHOWN = 10
_SAID = {
    "missing": "this field is missing",
    "bool_type": "write true or false, without quotes",
    "int_type": "write a whole number, without quotes",
    "float_type": "write a number, without quotes",
    "string_type": "write text; a number that is meant as text stands in quotes",
    "tuple_type": "write a list",
    "dict_type": "write fields, each as `name: value`",
    "model_type": "write fields, each as `name: value`",
}
"""What is wrong, for people, by pydantic's name of the mistake; pydantic's own words do for the rest."""


def hold(form: type[Form], content: Any) -> Form:
    """`content`, plain data as `load_yaml` returns it, as `form`; raises pydantic's `ValidationError`."""
    return form.model_validate_json(json.dumps(content), strict=True)


def mistakes(error: ValidationError, form: type[BaseModel], lines: Mapping[Place, int]) -> list[str]:
    """Each mistake in a line of its own: on which line of the file, which field, what is wrong.

    `lines` are those that `load_yaml` noted of the document that is no `form`.
    """
    found: list[Any] = list(error.errors(include_url=False, include_input=False, include_context=False))
    told = list(dict.fromkeys(_told(item, form, lines) for item in found))
    return [*told[:_SHOWN], f"and {len(told) - _SHOWN} more"] if len(told) > _SHOWN else told


def _told(item: Mapping[str, Any], form: type[BaseModel], lines: Mapping[Place, int]) -> str:
    place, kind = tuple(item["loc"]), item["type"]
    written = _written(place, lines)  # without what pydantic adds for the branch of a union
    line = f"line {lines[written]}, " if written in lines else ""
    name = ".".join(map(str, (*written, place[-1]) if kind == "missing" else written or place)) or "the document"
    if kind == "extra_forbidden":
        return f"{line}{name}: there is no such field{_meant(str(place[-1]), form)}"
    return f"{line}{name}: {_SAID.get(kind) or item['msg'].splitlines()[0].removeprefix('Value error, ')}"


def _written(place: Place, lines: Mapping[Place, int]) -> Place:
    """As much of `place` as the document has."""
    return next((place[:length] for length in range(len(place), 0, -1) if place[:length] in lines), ())


def _meant(written: str, form: type[BaseModel]) -> str:
    close = difflib.get_close_matches(written[:80], sorted(set(_fields(form.model_json_schema()))), n=1, cutoff=0.8)
    return f"; is `{close[0]}` meant?" if close else ""


def _fields(schema: Any) -> Iterator[str]:
    """The names of all fields in a JSON Schema that pydantic made."""
    if isinstance(schema, dict):
        yield from schema.get("properties", ())
        for value in schema.values():
            yield from _fields(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _fields(value)
