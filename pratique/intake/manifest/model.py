"""What a tool says of itself: one plain model for both dialects, FEMTask and CWL's CommandLineTool."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from pratique.digests import Digest

Dialect = Literal["FEMTask", "CommandLineTool"]


class ParameterType(StrEnum):
    """Type of an input or output, of each item where the parameter is an array."""

    STRING = "string"
    INT = "int"
    FLOAT = "float"
    BOOLEAN = "boolean"
    FILE = "File"
    DIRECTORY = "Directory"

    @property
    def is_path(self) -> bool:
        """Whether a value is a place in the container."""
        return self in (ParameterType.FILE, ParameterType.DIRECTORY)


@dataclass(frozen=True)
class PathValue:
    """Value of a File or Directory input: where the sandbox puts it, as an absolute path in the container."""

    container_path: str


Scalar = str | int | float | bool | PathValue
Value = Scalar | list[Scalar]


@dataclass(frozen=True)
class InputBinding:
    """How a value becomes arguments. `attach` joins prefix and value when they are not separate tokens."""

    position: int | None = None
    prefix: str | None = None
    separate: bool = True
    item_separator: str | None = None
    value_from: str | None = None
    attach: str = "="
    repeat_prefix: bool = True


@dataclass(frozen=True)
class Constraints:
    """What a value must satisfy: one of `enum`, between two bounds, matched whole by `pattern`."""

    enum: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None


@dataclass(frozen=True)
class InputParameter:
    """One input. `is_output_directory` marks the one through which the tool is told where to write."""

    id: str
    type: ParameterType
    array: bool = False
    required: bool = True
    default: Any = None
    hidden: bool = False
    source: str = "user"
    constraints: Constraints = Constraints()
    binding: InputBinding | None = None
    is_output_directory: bool = False
    doc: str = ""


@dataclass(frozen=True)
class OutputParameter:
    """One output: files or directories found by `globs`, relative to the output directory."""

    id: str
    type: ParameterType
    array: bool
    globs: tuple[str, ...]


@dataclass(frozen=True)
class Argument:
    """A fixed argument of the command line."""

    value_from: str
    position: int | None = None
    prefix: str | None = None
    separate: bool = True


@dataclass(frozen=True)
class WorkDirEntry:
    """A file that the manifest wants in the working directory before the start."""

    entryname: str
    entry: str
    writable: bool = False


@dataclass(frozen=True)
class Requirements:
    """What the tool needs: image reference, environment, resources (cores, MiB), GPU, network.

    `cuda` says that a GPU is named at all, `cuda_required` that it is no mere hint.
    """

    image: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    cores_min: float | None = None
    ram_min_mib: int | None = None
    cuda: bool = False
    cuda_required: bool = False
    network: bool = False
    work_dir: tuple[WorkDirEntry, ...] = ()


@dataclass(frozen=True)
class Remark:
    """Something that reading tolerated and the manifest check should mention."""

    rule: str
    where: str
    message: str


@dataclass(frozen=True)
class Manifest:
    """A tool's manifest. `network` is the orchestrator's network as written; `digest` is that of the file."""

    dialect: Dialect
    id: str
    label: str
    doc: str
    base_command: tuple[str, ...]
    arguments: tuple[Argument, ...]
    inputs: tuple[InputParameter, ...]
    outputs: tuple[OutputParameter, ...]
    requirements: Requirements
    expected_exit_codes: tuple[int, ...]
    author: str
    version: str
    network: str
    digest: Digest
    metadata: dict[str, Any] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """Every text that the manifest itself puts into the command line: command, arguments, prefixes, defaults."""
        parts: list[Any] = [*self.base_command]
        for argument in self.arguments:
            parts += [argument.prefix, argument.value_from]
        for one in self.inputs:
            parts += [one.binding.prefix, one.binding.value_from] if one.binding else []
            parts += one.default if isinstance(one.default, list) else [one.default]
        return tuple(part for part in parts if isinstance(part, str))

    def input(self, name: str) -> InputParameter | None:
        """The input called `name`, None where there is none."""
        return next((parameter for parameter in self.inputs if parameter.id == name), None)
