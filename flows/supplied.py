"""What a person gives a tool on the command line (`ID=PATH`, `ID=VALUE`, a directory of inputs), read by the types in
the manifest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from pathlib import Path

from checks.sandboxed.command import Supplied
from pratique.errors import UsageError
from pratique.intake.manifest.model import InputParameter, Manifest, ParameterType

MAX_INT = 2**53 - 1
"""The largest whole number that the record of a run can hold exactly."""

_TRUTH = {"true": True, "false": False}


def supplied(manifest: Manifest, given: Sequence[str]) -> dict[str, Supplied]:
    """Values by input id; an array input may be given several times.

    Raises `UsageError`, also where an input that the tool needs is not given.
    """
    values: dict[str, Supplied] = {}
    lists: dict[str, list[Path | str | int | float | bool]] = {}
    for name, value in (pair for text in given for pair in _pairs(manifest, text)):
        parameter = manifest.input(name)
        if parameter is None or parameter.is_output_directory:
            raise _no_input(manifest, f"{name}={value}")
        if parameter.array:
            lists.setdefault(name, []).append(_value(parameter, value))
        elif name in values:
            raise UsageError(f"the input {name} is given twice", next_step="give it once")
        else:
            values[name] = _value(parameter, value)
    _require_all(manifest, values.keys() | lists.keys())
    return {**values, **lists}


def _require_all(manifest: Manifest, given: Set[str]) -> None:
    needed = [one for one in manifest.inputs if one.required and one.default is None and not one.is_output_directory]
    missing = [one for one in needed if one.id not in given]
    if missing:
        raise UsageError(
            f"the tool needs its input{'s' if len(missing) > 1 else ''} {', '.join(one.id for one in missing)}",
            next_step=" ".join(f"--input {one.id}={'PATH' if one.type.is_path else 'VALUE'}" for one in missing),
        )


def _pairs(manifest: Manifest, text: str) -> list[tuple[str, str]]:
    name, equals, value = text.partition("=")
    if equals and manifest.input(name) is not None:
        return [(name, value)]
    if not text or not Path(text).is_dir():
        raise _no_input(manifest, text)
    return _in_directory(manifest, Path(text))


def _in_directory(manifest: Manifest, directory: Path) -> list[tuple[str, str]]:
    """Each entry for the input that has its name, with or without an extension.

    A tool with one input for data and none of that name gets the directory itself, or the only file in it.
    """
    takers = {one.id: one for one in manifest.inputs if one.type.is_path and not one.is_output_directory}
    entries = sorted(entry for entry in directory.iterdir() if not entry.name.startswith("."))
    named = [(next((n for n in (e.name, e.name.partition(".")[0]) if n in takers), ""), str(e)) for e in entries]
    if entries and all(name for name, _ in named):
        return named
    if len(takers) == 1 and not any(name for name, _ in named):
        (only,) = takers.values()
        if only.type is ParameterType.DIRECTORY and not only.array:
            return [(only.id, str(directory))]
        if len(entries) == 1 or (only.array and entries):
            return [(only.id, str(entry)) for entry in entries]
    strangers = ", ".join(Path(path).name for name, path in named if not name)[:200] or "nothing is in it"
    raise UsageError(
        f"the directory {str(directory)[:200]} does not say what is which input: {strangers}",
        next_step=f"name its entries as the tool's inputs ({', '.join(takers)}), or write ID=PATH for each",
    )


def _no_input(manifest: Manifest, text: str) -> UsageError:
    known = ", ".join(one.id for one in manifest.inputs if not one.is_output_directory)
    return UsageError(f"{text[:100]!r} gives no input of the tool", next_step=f"write ID=VALUE, ID one of: {known}")


def _value(parameter: InputParameter, text: str) -> Path | str | int | float | bool:
    if parameter.type.is_path:
        return _path(parameter, text)
    if parameter.type is ParameterType.STRING:
        return text
    try:
        if parameter.type is ParameterType.BOOLEAN:
            return _TRUTH[text]
        number = int(text) if parameter.type is ParameterType.INT else float(text)
    except (KeyError, ValueError) as error:
        raise _wrong(parameter, text) from error
    if not math.isfinite(number) or (isinstance(number, int) and abs(number) > MAX_INT):
        raise _wrong(parameter, text)
    return number


def _path(parameter: InputParameter, text: str) -> Path:
    path = Path(text)
    directory = parameter.type is ParameterType.DIRECTORY
    if not (path.is_dir() if directory else path.is_file()):
        wanted = "directory" if directory else "file"
        raise UsageError(f"the input {parameter.id}: there is no {wanted} {text[:200]}", next_step="correct the path")
    return path.resolve()


def _wrong(parameter: InputParameter, text: str) -> UsageError:
    return UsageError(
        f"the input {parameter.id}: {text[:100]!r} is no {parameter.type.value}",
        next_step="true or false for a boolean, plain decimal numbers else",
    )
