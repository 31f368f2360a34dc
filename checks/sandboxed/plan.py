"""From input values to one confined run of the tool: mounts, argument vector, environment."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import ValidationError

from pratique.errors import CouldNotDecide, InvalidInput
from pratique.intake.image.model import Image
from pratique.intake.manifest.command import Invocation, bind
from pratique.intake.manifest.model import InputParameter, Manifest, PathValue, Scalar, Value
from pratique.intake.submission import Submission
from sandbox.record import SandboxRun
from sandbox.spec import MIB, Limits, Mount, Network, Profile, SandboxRequest, SandboxSpec, smaller_of

INPUT_ROOT = "/input"
OUTPUT_ROOT = "/output"

Supplied = Path | str | int | float | bool | Sequence[Path | str | int | float | bool]
"""A value for an input: a path of this machine for File and Directory, else a scalar; a sequence for an array."""


class Runs(Protocol):
    """What carries a request out; `sandbox.launcher.Launcher` is the real one."""

    def run(self, request: SandboxRequest, spec: SandboxSpec, *, output: Path, log: Path) -> SandboxRun:
        """Run the tool once; raises only `EngineUnavailable`."""


@dataclass(frozen=True)
class ToolRun:
    """A finished run: its record, the directory of its outputs, its raw log, and where outputs were to be found."""

    sandbox_run: SandboxRun
    output: Path
    log: Path
    invocation: Invocation


class ToolRunner:
    """Runs the tool of one submission on given values; every run gets a directory of its own under `workdir`."""

    def __init__(
        self,
        submission: Submission,
        manifest: Manifest,
        image: Image,
        image_id: str,
        launcher: Runs,
        spec: SandboxSpec,
        workdir: Path,
    ) -> None:
        self.submission = submission
        self.manifest = manifest
        self.image = image
        self.image_id = image_id
        self.spec = spec
        self.workdir = workdir
        self._launcher = launcher
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def run_on(
        self, values: Mapping[str, Supplied], *, purpose: str, network: Literal["none", "sinkhole"] = "none"
    ) -> ToolRun:
        """Run the tool once on `values` by input id; what is not given takes the manifest's default.

        Raises `InvalidInput` (`manifest/…` from binding, `run/input`, `run/request`), `CouldNotDecide` for a manifest
        that wants files in its working directory, and `EngineUnavailable`.
        """
        if self.manifest.requirements.work_dir:
            raise CouldNotDecide(
                "the manifest wants files in the working directory (InitialWorkDirRequirement), which is not provided",
                next_step="Put these files into the image, or make them inputs.",
            )
        bound, mounts = self._bound(values)
        invocation = bind(self.manifest, bound, outdir=OUTPUT_ROOT)
        request = self._request(invocation, mounts, purpose)
        place = self._new_directory(purpose)
        output, log = place / "output", place / "log"
        output.mkdir()
        spec = self.spec.with_network(Network(network))
        record = self._launcher.run(request, spec, output=output, log=log)
        return ToolRun(record, output, log, invocation)

    def example_values(self) -> dict[str, Supplied]:
        """The values of the submission's example; empty where it has none."""
        example = self.submission.document.example
        given = example.inputs if example is not None else {}
        return {name: self._example_value(name, value) for name, value in given.items() if value is not None}

    def values_with(self, input_id: str, path: Path | Sequence[Path]) -> dict[str, Supplied]:
        """The example's values with the input `input_id` replaced, as a cohort or an audit table needs them."""
        return {**self.example_values(), input_id: path}

    def _example_value(self, name: str, value: object) -> Supplied:
        parameter = self._parameter(name)
        items = value if isinstance(value, list) else [value]
        found = [self.submission.path(str(item)) if parameter.type.is_path else _scalar(item, name) for item in items]
        return found if isinstance(value, list) else found[0]

    def _parameter(self, name: str) -> InputParameter:
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
            parameter = self._parameter(name)
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
        config = self.image.config
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

    def _new_directory(self, purpose: str) -> Path:
        with self._lock:
            number = next(self._numbers)
        place = self.workdir / "runs" / f"{number:03d}-{purpose.replace('/', '-').replace(' ', '-')[:40]}"
        place.mkdir(parents=True)
        return place


def spec_for(
    manifest: Manifest, ceilings: Limits, *, profile: Profile = Profile.DEFAULT, runtime: str = "runc"
) -> SandboxSpec:
    """The spec for a tool: what its manifest asks for, under the policy's ceilings; both are kept in the spec.

    A manifest states the least that a tool needs (`coresMin`, `ramMin`), so the request is that or the sandbox's
    default, whichever is more; time, processes and output are not in a manifest and are the ceilings'.
    """
    needs = manifest.requirements
    usual = Limits()
    asked = ceilings.model_dump() | {
        "cpus": min(max(needs.cores_min or 0.0, usual.cpus), 256.0),
        "memory": min(max((needs.ram_min_mib or 0) * MIB, usual.memory), 1 << 40),
    }
    requested = Limits(**asked)
    return SandboxSpec(
        profile=profile,
        runtime=runtime,
        limits=smaller_of(requested, ceilings),
        requested=requested,
        ceilings=ceilings,
    )


def _scalar(value: object, name: str) -> str | int | float | bool:
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
    return [_scalar(item, name) for item in value]


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
