"""Binding values to a manifest: the exact argument vector, environment and output globs of one run.

The order of arguments is CWL's: by position (0 where none is given), fixed arguments before inputs, then in the order
written (FEMTask) or by name (CommandLineTool). Nothing is passed through a shell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pratique.errors import InvalidInput
from pratique.intake.manifest.expressions import OUTDIR, Scope, as_text, parse_template, refuse_expression, resolve
from pratique.intake.manifest.guard import refuse
from pratique.intake.manifest.model import (
    InputBinding,
    InputParameter,
    Manifest,
    ParameterType,
    PathValue,
    Scalar,
    Value,
)
from pratique.intake.manifest.parameters import by_id
from pratique.intake.manifest.patterns import matches

__all__ = ["Invocation", "PathValue", "Value", "bind", "validated"]

_MAX_ITEMS = 10_000
_MAX_TOKEN = 100_000
_MAX_ARGV_BYTES = 1_000_000


@dataclass(frozen=True)
class Invocation:
    """One call of a tool: `argv` without the image's entrypoint, `globs` relative to the output directory."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    globs: dict[str, tuple[str, ...]]


def bind(
    manifest: Manifest,
    values: Mapping[str, Value],
    *,
    outdir: str = "/output",
    tmpdir: str = "/tmp",  # noqa: S108
) -> Invocation:
    """The call of `manifest`'s tool with `values` by input id; the output directory is `outdir`, in the container.

    Raises `InvalidInput`: `manifest/unknown-input`, `manifest/output-directory-given`, `manifest/value-missing`,
    `manifest/value-type`, `manifest/constraint`, `manifest/argument-looks-like-option`, `manifest/expression`,
    `manifest/glob-escapes`, `manifest/too-long`.
    """
    scope = _scope(manifest, values, outdir, tmpdir)
    parts: list[tuple[int, int, Any, list[str]]] = []
    for index, argument in enumerate(manifest.arguments):
        binding = InputBinding(prefix=argument.prefix, separate=argument.separate, attach="")
        tokens = _tokens(binding, argument.value_from, None, scope, f"arguments[{index}]")
        parts.append((argument.position or 0, 0, index, list(tokens)))
    for index, parameter in enumerate(manifest.inputs):
        value = scope.values.get(parameter.id)
        if parameter.binding is None or value is None:
            continue
        where = f"inputs/{parameter.id}"
        tokens = _tokens(parameter.binding, _template(parameter), value, scope, where)
        key = index if manifest.dialect == "FEMTask" else parameter.id
        parts.append((parameter.binding.position or 0, 1, key, list(tokens)))
    argv = (*manifest.base_command, *(token for part in sorted(parts, key=lambda p: p[:3]) for token in part[3]))
    if sum(len(token.encode()) + 1 for token in argv) > _MAX_ARGV_BYTES:
        raise refuse("too-long", manifest.id, "the command line is too long", "Pass long lists in a file.")
    return Invocation(argv, _environment(manifest, scope), _globs(manifest, scope, outdir))


def _template(parameter: InputParameter) -> str | None:
    """The `valueFrom` that is still to be evaluated; an output directory's is its value already."""
    return None if parameter.binding is None or parameter.is_output_directory else parameter.binding.value_from


# --- values --------------------------------------------------------------------------------------------------------


def _scope(manifest: Manifest, values: Mapping[str, Value], outdir: str, tmpdir: str) -> Scope:
    inputs = by_id(manifest.inputs)
    for name in values:
        if name not in inputs:
            known = ", ".join(inputs) or "none is declared"
            raise refuse("unknown-input", name[:80], "the manifest has no such input", f"Use one of: {known}.")
        if inputs[name].is_output_directory and values[name] is not None:
            raise refuse(
                "output-directory-given",
                name,
                "this input is the output directory, which the sandbox decides",
                "Leave it out.",
            )
    needs = manifest.requirements
    cores, ram = max(1, math.ceil(needs.cores_min or 1)), needs.ram_min_mib or 256  # CWL's default for ramMin
    runtime = {"outdir": outdir, "tmpdir": tmpdir, "cores": str(cores), "ram": str(ram)}
    effective: dict[str, Value] = {}
    for parameter in manifest.inputs:
        value = _effective(parameter, values.get(parameter.id), Scope(inputs, {}, runtime))
        if value is not None:
            effective[parameter.id] = value
    return Scope(inputs, effective, runtime)


def _effective(parameter: InputParameter, given: Value | None, scope: Scope) -> Value | None:
    where = f"inputs/{parameter.id}"
    if parameter.is_output_directory:
        written = (parameter.binding.value_from if parameter.binding else None, parameter.default)
        text = next((t for t in written if isinstance(t, str) and t.startswith(OUTDIR)), OUTDIR)
        return PathValue(str(resolve(text, scope, where=where)))
    value = parameter.default if given is None else given
    if value is None:
        if parameter.required:
            raise refuse("value-missing", where, "a required input has no value", "Give it a value.")
        return None
    if parameter.type.is_path and given is None:
        value = _default_paths(value, where)
    return validated(parameter, value, where)


def _default_paths(value: Any, where: str) -> Value:
    """A File or Directory default names a place inside the image."""
    if isinstance(value, list):
        return [path for item in value for path in [_default_paths(item, where)] if isinstance(path, PathValue)]
    text = value.get("path") or value.get("location") if isinstance(value, dict) else value
    if not isinstance(text, str) or not text.startswith("/"):
        raise refuse("value-type", where, "the default is not an absolute path in the image", "Give it a value.")
    return PathValue(text)


def validated(parameter: InputParameter, value: Any, where: str) -> Value:
    """`value` if `parameter` takes it; raises `InvalidInput` (`manifest/value-type`, `manifest/constraint`)."""
    if not parameter.array:
        return _validated_scalar(parameter, value, where)
    if not isinstance(value, list | tuple) or len(value) > _MAX_ITEMS:
        raise refuse("value-type", where, f"expected a list of {parameter.type.value}", "Give a list of values.")
    return [_validated_scalar(parameter, item, f"{where}[{index}]") for index, item in enumerate(value)]


def _validated_scalar(parameter: InputParameter, value: Any, where: str) -> Scalar:
    if not _has_type(value, parameter.type):
        raise refuse(
            "value-type",
            where,
            f"expected {parameter.type.value}",
            "Correct the value, or the type in the manifest.",
            cause=f"got {str(value)[:80]!r}",
        )
    limits = parameter.constraints
    text = as_text(value)
    broken = ""
    if limits.enum and text not in limits.enum:
        broken = f"is not one of {', '.join(limits.enum[:20])}"
    elif limits.pattern is not None and not matches(limits.pattern, text):
        broken = f"does not match {limits.pattern!r}"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if limits.minimum is not None and value < limits.minimum:
            broken = f"is below {limits.minimum:g}"
        elif limits.maximum is not None and value > limits.maximum:
            broken = f"is above {limits.maximum:g}"
    if broken:
        raise refuse("constraint", where, f"{text[:80]!r} {broken}", "Give a value that the manifest allows.")
    return value  # type: ignore[no-any-return]  # _has_type established that it is a Scalar


def _has_type(value: Any, kind: ParameterType) -> bool:
    if kind.is_path:
        if not isinstance(value, PathValue):
            return False
        path = value.container_path
        return path.startswith("/") and ".." not in path.split("/") and _is_argument(path)
    if kind is ParameterType.STRING:
        return isinstance(value, str) and _is_argument(value)
    if kind is ParameterType.BOOLEAN:
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int if kind is ParameterType.INT else int | float):
        return False
    return abs(value) < 2**63 if isinstance(value, int) else math.isfinite(value)


def _is_argument(text: str) -> bool:
    """Whether the operating system can carry `text` as one argument."""
    return len(text) <= _MAX_TOKEN and "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


# --- the command line ----------------------------------------------------------------------------------------------


def _tokens(
    binding: InputBinding, template: str | None, value: Value | None, scope: Scope, where: str
) -> Iterator[str]:
    """Arguments of one bound value; see CWL v1.2 CommandLineTool, section 4.1."""
    may_be_option = False
    if template is not None:
        value = resolve(template, Scope(scope.inputs, scope.values, scope.runtime, value), where=where)
        pieces = parse_template(template, where=where)
        may_be_option = bool(pieces) and isinstance(pieces[0], str) and pieces[0].startswith("-")
        _refuse_escape(template, value, scope, where)
    if isinstance(value, bool):
        yield from [binding.prefix] if value and binding.prefix else []
    elif isinstance(value, list):
        yield from _list_tokens(binding, value, where)
    elif value is not None:
        yield from _scalar_tokens(binding, value, where, may_be_option=may_be_option)


def _list_tokens(binding: InputBinding, value: list[Scalar], where: str) -> Iterator[str]:
    if not value:
        return
    if binding.item_separator is not None:
        joined = binding.item_separator.join(as_text(item) for item in value)
        yield from _scalar_tokens(binding, joined, where, may_be_option=not isinstance(value[0], str))
        return
    if not binding.repeat_prefix and binding.prefix:
        yield binding.prefix
    inner = binding if binding.repeat_prefix else InputBinding()
    for item in value:
        yield from _scalar_tokens(inner, item, where, may_be_option=False)


def _scalar_tokens(binding: InputBinding, value: Scalar, where: str, *, may_be_option: bool) -> Iterator[str]:
    text = as_text(value)
    if binding.prefix and not binding.separate:
        yield binding.prefix + binding.attach + text
        return
    if text.startswith("-") and isinstance(value, str | PathValue) and not may_be_option:
        raise refuse(
            "argument-looks-like-option",
            where,
            f"the value {text[:80]!r} would be taken for an option",
            "Give a value that does not start with '-', or bind it with `prefix` and `separate: false`.",
        )
    if binding.prefix:
        yield binding.prefix
    yield text


def _refuse_escape(template: str, value: Value | None, scope: Scope, where: str) -> None:
    """A path built below the output directory stays there, whatever the inputs are."""
    outdir = scope.runtime["outdir"]
    if (
        template.startswith(OUTDIR)
        and isinstance(value, str)
        and value != outdir
        and not value.startswith(f"{outdir}/")
    ):
        raise refuse_expression(f"{template!r} becomes {value[:200]!r}, outside the output directory", where)


def _environment(manifest: Manifest, scope: Scope) -> dict[str, str]:
    result = {}
    for name, template in manifest.requirements.environment:
        value = resolve(template, scope, where=f"environment/{name}")
        if value is None or isinstance(value, list):
            raise refuse_expression(f"{template!r} is not one value", f"environment/{name}")
        result[name] = as_text(value)
    return result


def _globs(manifest: Manifest, scope: Scope, outdir: str) -> dict[str, tuple[str, ...]]:
    return {
        output.id: tuple(_glob(glob, scope, outdir, f"outputs/{output.id}") for glob in output.globs)
        for output in manifest.outputs
    }


def _glob(glob: str, scope: Scope, outdir: str, where: str) -> str:
    value = resolve(glob, scope, where=where)
    if value is None or isinstance(value, list):
        raise refuse_expression(f"{glob!r} is not one value", where)
    text = as_text(value)
    inside = text == outdir or text.startswith(f"{outdir}/")
    if inside:
        text = text[len(outdir) :].lstrip("/")
    segments = [segment for segment in text.split("/") if segment not in ("", ".")]
    if (text.startswith("/") and not inside) or ".." in segments or not text.isprintable():
        raise _glob_escapes(glob, text, where)
    return "/".join(segments) or "."


def _glob_escapes(glob: str, text: str, where: str) -> InvalidInput:
    return refuse(
        "glob-escapes",
        where,
        f"the glob {glob[:200]!r} becomes {text[:200]!r}, which leaves the output directory",
        "Name files below the output directory, without '..'.",
    )
