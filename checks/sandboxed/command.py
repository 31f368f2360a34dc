"""From input values to one request to the sandbox: mounts, argument vector, environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pratique.errors import CouldNotDecide, InvalidInput
from pratique.intake.image.model import ImageConfig
from pratique.intake.manifest.command import Invocation, bind
from pratique.intake.manifest.model import InputParameter, Manifest, PathValue, Scalar, Value
from sandbox.spec import Mount, SandboxRequest

INPUT_ROOT = "/input"
OUTPUT_ROOT = "/output"

Supplied = Path | str | int | float | bool | Sequence[Path | str | int | float | bool]
"""A value for an input: a path of this machine for File and Directory, else a scalar; a sequence for an array."""


@dataclass(frozen=True)
class ToolCommand:
    """What is started for a tool: its manifest, its image's config, and the image's id in the engine."""

    manifest: Manifest
    config: ImageConfig
    image_id: str

    def on(self, values: Mapping[str, Supplied], *, purpose: str) -> tuple[SandboxRequest, Invocation]:
        """The request that runs the tool on `values` by input id; what is not given takes the manifest's default.

        Raises `InvalidInput` (`manifest/…` from binding, `run/input`, `run/request`), `CouldNotDecide` for a manifest
        that wants files in its working directory.
        """
        if self.manifest.requirements.work_dir:
            raise CouldNotDecide(
                "the manifest wants files in the working directory (InitialWorkDirRequirement), which is not provided",
                next_step="Put these files into the image, or make them inputs.",
            )
        bound, mounts = self._bound(values)
        invocation = bind(self.manifest, bound, outdir=OUTPUT_ROOT)
        return self._request(invocation, mounts, purpose), invocation

    def parameter(self, name: str) -> InputParameter:
        """The input `name` of the manifest; raises `InvalidInput` (`run/input`)."""
        parameter = self.manifest.input(name)
        if parameter is None:
            known = ", ".join(one.id for one in self.manifest.inputs)
            raise InvalidInput(
                f"the manifest has no input {name[:80]!r}",
                rule="run/input",
                where=name[:80],
                next_step=f"Use one of: {known or 'none is declared'}.",
            )
        return parameter

    def _bound(self, values: Mapping[str, Supplied]) -> tuple[dict[str, Value], list[Mount]]:
        bound: dict[str, Value] = {}
        mounts: list[Mount] = []
        for name, value in values.items():
            parameter = self.parameter(name)
            if not parameter.type.is_path:
                bound[name] = _scalars(value, name)
                continue
            many = isinstance(value, Sequence) and not isinstance(value, str)
            placed: list[Scalar] = []
            for number, path in enumerate(value if isinstance(value, Sequence) and many else [value]):
                if not isinstance(path, Path):
                    raise _no_path(name)
                folder = f"{INPUT_ROOT}/{name}/{number}" if many else f"{INPUT_ROOT}/{name}"
                target = f"{folder}/{path.name}" if path.is_file() else folder
                mounts.append(_mount(path.resolve(), target, name))
                placed.append(PathValue(target))
            bound[name] = placed if many else placed[0]
        return bound, mounts

    def _request(self, invocation: Invocation, mounts: Sequence[Mount], purpose: str) -> SandboxRequest:
        config = self.config
        # As `docker run IMAGE ARGS…`: the entry point stays, arguments replace the default ones. CWL runs a tool in its
        # output directory, EUCAIM's tools run where their image says.
        working_dir = OUTPUT_ROOT if self.manifest.dialect == "CommandLineTool" else config.workdir or "/"
        try:
            return SandboxRequest(
                image_id=self.image_id,
                argv=invocation.argv or config.cmd,
                entrypoint=config.entrypoint,
                inputs=tuple(mounts),
                output_target=OUTPUT_ROOT,
                environment=invocation.environment,
                purpose=purpose,
                image_volumes=config.volumes,
                working_dir=working_dir,
            )
        except ValidationError as error:
            raise InvalidInput(
                "the tool cannot be run as its manifest and image say",
                rule="run/request",
                where=self.manifest.id,
                cause="; ".join(problem["msg"] for problem in error.errors()[:3]),
                next_step="Correct the manifest, or the image's entry point, working directory and volumes.",
            ) from error


def scalar(value: object, name: str) -> str | int | float | bool:
    """`value` where it is plain; raises `InvalidInput` (`run/input`)."""
    if not isinstance(value, str | int | float | bool):
        raise InvalidInput(
            "the value is neither text, number nor boolean",
            rule="run/input",
            where=name,
            next_step="Give a plain value, as the manifest's type says.",
        )
    return value


def _scalars(value: Supplied, name: str) -> Value:
    if isinstance(value, Path):
        raise _no_path(name)
    if isinstance(value, str | int | float | bool):
        return value
    return [scalar(item, name) for item in value]


def _mount(source: Path, target: str, name: str) -> Mount:
    try:
        return Mount(source=source, target=target)
    except ValidationError as error:
        raise InvalidInput(
            f"the input {name} cannot be put into the container",
            rule="run/input",
            where=name,
            cause="; ".join(problem["msg"] for problem in error.errors()[:3]),
            next_step="Rename the file: no commas, colons or control characters.",
        ) from error


def _no_path(name: str) -> InvalidInput:
    return InvalidInput(
        "a path was given where a plain value belongs, or the other way round",
        rule="run/input",
        where=name,
        next_step="Give paths to File and Directory inputs, and to no others.",
    )
