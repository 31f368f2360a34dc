"""What a person gives a tool on the command line (`ID=PATH`, `ID=VALUE`), read by the types in the manifest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from checks.sandboxed.command import Supplied
from pratique.errors import UsageError
from pratique.intake.manifest.model import InputParameter, Manifest, ParameterType

MAX_INT = 2**53 - 1
"""The largest whole number that the record of a run can hold exactly."""

_TRUTH = {"true": True, "false": False}


def supplied(manifest: Manifest, given: Sequence[str]) -> dict[str, Supplied]:
    """Values by input id; an array input may be given several times. Raises `UsageError`."""
    values: dict[str, Supplied] = {}
    lists: dict[str, list[Path | str | int | float | bool]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        parameter = manifest.input(name)
        if not equals or parameter is None or parameter.is_output_directory:
            known = ", ".join(one.id for one in manifest.inputs if not one.is_output_directory)
            raise UsageError(
                f"{text[:100]!r} gives no input of the tool", next_step=f"write ID=VALUE, ID one of: {known}"
            )
        if parameter.array:
            lists.setdefault(name, []).append(_value(parameter, value))
        elif name in values:
            raise UsageError(f"the input {name} is given twice", next_step="give it once")
        else:
            values[name] = _value(parameter, value)
    return {**values, **lists}


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
