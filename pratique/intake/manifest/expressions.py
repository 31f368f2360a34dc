"""The few parameter references that Pratique resolves; never JavaScript.

Grammar (a subset of CWL v1.2, section 3.4): `$(inputs.ID)`, `$(inputs.ID.ATTRIBUTE)`, `$(inputs.ID_name)` (EUCAIM's
spelling of the base name of a File or Directory input), `$(self)`, `$(self.ATTRIBUTE)` and `$(runtime.NAME)`, where
ATTRIBUTE is path, basename, nameroot or nameext and NAME is outdir, tmpdir, cores or ram. Anything else that starts
with `$(` or `${` is refused, also after a backslash.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import PurePosixPath

from pratique.errors import InvalidInput
from pratique.intake.manifest.model import InputParameter, PathValue, Scalar, Value

OUTDIR = "$(runtime.outdir)"
_START = re.compile(r"\\?\$[({]")
_ID = r"[A-Za-z0-9_][A-Za-z0-9_-]*"
_ATTRIBUTE = r"path|basename|nameroot|nameext"
_REFERENCE = re.compile(
    rf"\$\((?:(?P<scope>inputs)\.(?P<name>{_ID})(?:\.(?P<attribute>{_ATTRIBUTE}))?"
    rf"|(?P<self>self)(?:\.(?P<self_attribute>{_ATTRIBUTE}))?"
    r"|runtime\.(?P<runtime>outdir|tmpdir|cores|ram))\)",
    re.ASCII,
)


@dataclass(frozen=True)
class Reference:
    """A parsed `$(…)`: `scope` is inputs, self or runtime."""

    scope: str
    name: str = ""
    attribute: str = ""


Template = tuple[str | Reference, ...]


@dataclass(frozen=True)
class Scope:
    """What references resolve to: the inputs, their effective values, `self` and the runtime."""

    inputs: Mapping[str, InputParameter]
    values: Mapping[str, Value]
    runtime: Mapping[str, str]
    self_value: Value | None = None


def parse_template(text: str, *, where: str) -> Template:
    """Literal pieces and references of `text`; raises `InvalidInput` (`manifest/expression`)."""
    pieces: list[str | Reference] = []
    position = 0
    while start := _START.search(text, position):
        match = _REFERENCE.match(text, start.start())
        if match is None:
            raise refuse_expression(
                f"{text[start.start() : start.start() + 80]!r} is not a reference that is resolved here", where
            )
        if start.start() > position:
            pieces.append(text[position : start.start()])
        pieces.append(_reference(match))
        position = match.end()
    if position < len(text):
        pieces.append(text[position:])
    return tuple(pieces)


def _reference(match: re.Match[str]) -> Reference:
    if match["scope"]:
        return Reference("inputs", match["name"], match["attribute"] or "")
    if match["self"]:
        return Reference("self", attribute=match["self_attribute"] or "")
    return Reference("runtime", match["runtime"])


def references(text: str, *, where: str) -> tuple[Reference, ...]:
    """Only the references of `text`."""
    return tuple(piece for piece in parse_template(text, where=where) if isinstance(piece, Reference))


def referenced_input(name: str, inputs: Mapping[str, InputParameter]) -> InputParameter | None:
    """The input that `$(inputs.name)` means: the one of that id, or the path input before `_name`."""
    if name in inputs:
        return inputs[name]
    stem = inputs.get(name.removesuffix("_name"))
    return stem if stem is not None and name.endswith("_name") and stem.type.is_path else None


def resolve(text: str, scope: Scope, *, where: str) -> Value | None:
    """Value of `text`: a lone reference keeps its type (None for an input without value), the rest is text.

    Raises `InvalidInput` (`manifest/expression`): unknown input, an attribute of what is no path, a value that cannot
    stand inside text, a result with a `..` segment.
    """
    template = parse_template(text, where=where)
    if len(template) == 1 and isinstance(template[0], Reference):
        value = _value(template[0], scope, where)
    else:
        value = "".join(_inside_text(piece, scope, where) for piece in template)
    has_reference = any(isinstance(piece, Reference) for piece in template)
    if has_reference and isinstance(value, str) and ".." in value.split("/"):
        raise refuse_expression(f"{text!r} becomes {value[:200]!r}, which climbs out with '..'", where)
    return value


def as_text(value: Scalar) -> str:
    """A scalar as it stands on a command line; numbers in plain decimal notation."""
    if isinstance(value, PathValue):
        return value.container_path
    if isinstance(value, bool):
        return "true" if value else "false"
    return format(Decimal(repr(value)), "f") if isinstance(value, float) else str(value)


def _inside_text(piece: str | Reference, scope: Scope, where: str) -> str:
    if isinstance(piece, str):
        return piece
    value = _value(piece, scope, where)
    if value is None or isinstance(value, list):
        kind = "no value" if value is None else "a list of values"
        raise refuse_expression(f"$({piece.scope}.{piece.name}) has {kind} and stands inside text", where)
    return as_text(value)


def _value(reference: Reference, scope: Scope, where: str) -> Value | None:
    if reference.scope == "runtime":
        return scope.runtime[reference.name]
    if reference.scope == "self":
        return _attribute(scope.self_value, reference.attribute, "self", where)
    parameter = referenced_input(reference.name, scope.inputs)
    if parameter is None:
        raise refuse_expression(
            f"$(inputs.{reference.name}) names an input that does not exist",
            where,
            next_step=f"Use one of the inputs: {', '.join(sorted(scope.inputs)) or 'none is declared'}.",
        )
    value = scope.values.get(parameter.id)
    if parameter.id != reference.name and not parameter.is_output_directory:
        return _attribute(value, "basename", f"inputs.{parameter.id}", where)
    return _attribute(value, reference.attribute, f"inputs.{parameter.id}", where)


def _attribute(value: Value | None, attribute: str, name: str, where: str) -> Value | None:
    if not attribute or value is None:
        return value
    if not isinstance(value, PathValue):
        raise refuse_expression(f"$({name}.{attribute}): {name} is no File or Directory", where)
    path = PurePosixPath(value.container_path)
    parts = {"path": str(path), "basename": path.name, "nameroot": path.stem, "nameext": path.suffix}
    return parts[attribute]


def refuse_expression(message: str, where: str, *, next_step: str = "") -> InvalidInput:
    """The error for an expression that is not resolved here."""
    return InvalidInput(
        message,
        rule="manifest/expression",
        where=where,
        next_step=next_step
        or "Use $(inputs.ID), $(inputs.ID.basename), $(inputs.ID.path), $(self) or $(runtime.outdir); no JavaScript.",
    )
