"""Inputs and outputs of a manifest: types, bindings, constraints, and which input is really the output directory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pratique.intake.manifest import fields
from pratique.intake.manifest.expressions import OUTDIR, Reference, parse_template, references
from pratique.intake.manifest.guard import refuse
from pratique.intake.manifest.model import (
    Constraints,
    Dialect,
    InputBinding,
    InputParameter,
    OutputParameter,
    ParameterType,
    Remark,
)
from pratique.intake.manifest.patterns import check_pattern

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_MAX_ENTRIES = 500
_TYPES = {
    **{kind.value: kind for kind in ParameterType},
    "long": ParameterType.INT,
    "integer": ParameterType.INT,
    "double": ParameterType.FLOAT,
    "number": ParameterType.FLOAT,
    "bool": ParameterType.BOOLEAN,
    "file": ParameterType.FILE,
    "directory": ParameterType.DIRECTORY,
}
_INPUT_KEYS = frozenset(
    (
        "id",
        "input_name",
        "type",
        "required",
        "default",
        "hidden",
        "source",
        "constraints",
        "inputBinding",
        "doc",
        "label",
        "format",
        "streamable",
        "loadListing",
        "secondaryFiles",
        "loadContents",
    )
)


@dataclass(frozen=True)
class _Type:
    kind: ParameterType
    array: bool = False
    optional: bool = False
    symbols: tuple[str, ...] = ()
    item_binding: Any = None


def identifier(name: str, where: str) -> str:
    """The short form of an id (what follows `#`), checked; raises `InvalidInput` (`manifest/identifier`)."""
    short = name.rpartition("#")[2]
    if name and not _ID.fullmatch(short):
        raise refuse(
            "identifier",
            where,
            f"the id {name[:80]!r} is not usable",
            "Use letters, digits, '-', '_' and '.', starting with a letter or digit.",
        )
    return short


def _type(value: Any, where: str) -> _Type:
    if isinstance(value, str):
        base = value.removesuffix("?")
        item = base.removesuffix("[]")
        if item not in _TYPES:
            raise refuse(
                "type",
                where,
                f"the type {value[:60]!r} is not known",
                "Use string, int, float, boolean, File or Directory, with [] for arrays and ? for optional.",
            )
        return _Type(_TYPES[item], array=item != base, optional=base != value)
    if isinstance(value, list):
        members = [member for member in value if member != "null"]
        if len(members) != 1:
            raise refuse("type", where, "a choice of types is not supported", "Give one type (and null, if optional).")
        return replace(_type(members[0], where), optional=len(members) < len(value))
    found = fields.mapping(value, where)
    if found.get("type") == "enum":
        return _Type(ParameterType.STRING, symbols=fields.texts(found.get("symbols"), f"{where}/symbols"))
    if found.get("type") == "array":
        item_type = _type(found.get("items"), f"{where}/items")
        if not item_type.array and not item_type.optional:
            return replace(item_type, array=True, item_binding=found.get("inputBinding"))
    raise refuse("type", where, "this type is not supported", "Use a simple type, an enum, or an array of one.")


def read_inputs(value: Any, where: str, dialect: Dialect, remarks: list[Remark]) -> tuple[InputParameter, ...]:
    """The inputs under `value`, a list or a map; raises `InvalidInput` (`manifest/…`)."""
    result: dict[str, InputParameter] = {}
    for name, found, place in fields.entries(value, where, id_keys=("id", "input_name")):
        parameter = _input(identifier(name, place), found, place, dialect)
        if parameter.id in result or len(result) >= _MAX_ENTRIES:
            raise refuse("duplicate-input", place, f"the input {name!r} appears twice", "Give each input its own id.")
        result[parameter.id] = parameter
        remarks += [
            Remark("unknown-key", f"{place}/{key}", f"the key {key[:80]!r} is not known and was not used")
            for key in found
            if key not in _INPUT_KEYS and ":" not in key
        ]
    return tuple(result.values())


def _input(name: str, found: dict[str, Any], where: str, dialect: Dialect) -> InputParameter:
    kind = _type(found.get("type"), f"{where}/type")
    constraints = _constraints(found.get("constraints"), f"{where}/constraints")
    if kind.symbols:
        constraints = replace(constraints, enum=kind.symbols)
    default = found.get("default")
    for text in default if isinstance(default, list) else [default]:
        if isinstance(text, str) and "$(" in text and not text.startswith(OUTDIR):
            raise refuse(
                "expression", f"{where}/default", "a default is not evaluated", "Use inputBinding/valueFrom for it."
            )
    return InputParameter(
        id=name,
        type=kind.kind,
        array=kind.array,
        required=fields.boolean(found, "required", where, default=not kind.optional),
        default=default,
        hidden=fields.boolean(found, "hidden", where, default=False),
        source=fields.text(found, "source", where, default="user"),
        constraints=constraints,
        binding=_binding(found, kind, f"{where}/inputBinding", dialect),
        doc=fields.prose(found, "doc", where),
    )


def _constraints(value: Any, where: str) -> Constraints:
    found = fields.mapping(value, where)
    pattern = fields.optional_text(found, "pattern", where)
    if pattern is not None:
        check_pattern(pattern, where=f"{where}/pattern")
    choices = found.get("enum") or []
    if not isinstance(choices, list):
        raise fields.wrong(f"{where}/enum", "a list", choices)
    return Constraints(
        enum=tuple(str(choice) for choice in choices),
        minimum=fields.number(found, "min", where),
        maximum=fields.number(found, "max", where),
        pattern=pattern,
    )


def _binding(found: dict[str, Any], kind: _Type, where: str, dialect: Dialect) -> InputBinding | None:
    written = fields.mapping(found.get("inputBinding"), where)
    per_item = fields.mapping(kind.item_binding, f"{where}/items")
    if "inputBinding" not in found and not per_item:
        return None
    if dialect == "FEMTask" and not any(written.get(key) is not None for key in ("position", "prefix", "valueFrom")):
        return None  # a bare binding names an input that the command line does not show
    if per_item and (set(per_item) - {"prefix", "separate"} or written.get("prefix")):
        raise refuse("unsupported", where, "a binding of items beside this one", "Put prefix and position outside.")
    merged = {**written, **per_item}
    value_from = fields.optional_text(merged, "valueFrom", where)
    if value_from is not None:
        parse_template(value_from, where=f"{where}/valueFrom")
    prefix = fields.optional_text(merged, "prefix", where)
    femtask = dialect == "FEMTask"
    return InputBinding(
        position=fields.integer(merged, "position", where),
        prefix=prefix or None,
        separate=fields.boolean(merged, "separate", where, default=True),
        item_separator=fields.optional_text(merged, "itemSeparator", where),
        value_from=value_from,
        attach="=" if femtask and prefix and not prefix.endswith("=") else "",
        repeat_prefix=femtask or bool(per_item),
    )


def read_outputs(value: Any, where: str) -> tuple[OutputParameter, ...]:
    """The outputs under `value`, a list or a map; raises `InvalidInput` (`manifest/…`)."""
    result: dict[str, OutputParameter] = {}
    for name, found, place in fields.entries(value, where, id_keys=("id", "output_name")):
        short = identifier(name, place)
        if short in result or len(result) >= _MAX_ENTRIES:
            raise refuse("duplicate-output", place, f"the output {name!r} appears twice", "Give each its own id.")
        kind = _type(found.get("type"), f"{place}/type")
        binding = fields.mapping(found.get("outputBinding"), f"{place}/outputBinding")
        globs = fields.texts(binding.get("glob"), f"{place}/outputBinding/glob")
        for glob in globs:
            check_glob_text(glob, where=f"{place}/outputBinding/glob")
        result[short] = OutputParameter(short, kind.kind, kind.array, globs)
    return tuple(result.values())


def check_glob_text(glob: str, *, where: str) -> None:
    """Refuse a glob whose text alone leaves the output directory (`manifest/glob-escapes`)."""
    template = parse_template(glob, where=where)
    literal = "".join(piece if isinstance(piece, str) else "x" for piece in template)
    if ".." in literal.split("/") or not literal.isprintable():
        raise refuse(
            "glob-escapes",
            where,
            f"the glob {glob[:200]!r} leaves the output directory",
            "Name files below the output directory, without '..'.",
        )


def mark_output_directories(
    inputs: tuple[InputParameter, ...], outputs: tuple[OutputParameter, ...], where: str
) -> tuple[InputParameter, ...]:
    """Mark the inputs that are really the output directory.

    Such is an input of type string or Directory whose default or `valueFrom` is the runtime's output directory, and
    a Directory input that begins an output's glob.
    """
    leading = {
        (piece.name, piece.attribute)
        for output in outputs
        for glob in output.globs
        for piece in _leading_segment(glob, where)
    }
    return tuple(replace(i, is_output_directory=_is_output_directory(i, leading, where)) for i in inputs)


def _leading_segment(glob: str, where: str) -> tuple[Reference, ...]:
    template = parse_template(glob, where=where)
    alone = len(template) == 1 or (len(template) > 1 and str(template[1]).startswith("/"))
    return tuple(p for p in template[:1] if isinstance(p, Reference) and p.scope == "inputs" and alone)


def _is_output_directory(parameter: InputParameter, leading: set[tuple[str, str]], where: str) -> bool:
    if parameter.array or parameter.type not in (ParameterType.STRING, ParameterType.DIRECTORY):
        return False
    written = [parameter.default, parameter.binding.value_from if parameter.binding else None]
    for text in written:
        if isinstance(text, str) and text.startswith(OUTDIR):
            used = references(text, where=where)
            if all(reference.scope == "runtime" for reference in used):
                return True
    named = {(parameter.id, ""), (parameter.id, "path"), (f"{parameter.id}_name", "")}
    return parameter.type is ParameterType.DIRECTORY and bool(named & leading)


def by_id(inputs: tuple[InputParameter, ...]) -> Mapping[str, InputParameter]:
    """The inputs by their id."""
    return {parameter.id: parameter for parameter in inputs}
