"""One tool of a submission, run on given values; every run confined alike and kept apart from the others."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from checks.sandboxed.command import INPUT_ROOT, OUTPUT_ROOT, Supplied, ToolCommand, scalar
from pratique.intake.document import ProfileName
from pratique.intake.image.model import Image
from pratique.intake.manifest.command import Invocation
from pratique.intake.manifest.model import Manifest
from pratique.intake.submission import Submission
from sandbox.record import SandboxRun
from sandbox.spec import MIB, Limits, Network, Profile, SandboxRequest, SandboxSpec, smaller_of

__all__ = ["INPUT_ROOT", "OUTPUT_ROOT", "Runs", "Supplied", "ToolRun", "ToolRunner", "spec_for"]


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

    @property
    def _command(self) -> ToolCommand:
        return ToolCommand(self.manifest, self.image.config, self.image_id)

    def run_on(
        self, values: Mapping[str, Supplied], *, purpose: str, network: Literal["none", "sinkhole"] = "none"
    ) -> ToolRun:
        """Run the tool once on `values` by input id; what is not given takes the manifest's default.

        Raises `InvalidInput` (`manifest/…` from binding, `run/input`, `run/request`), `CouldNotDecide` for a manifest
        that wants files in its working directory, and `EngineUnavailable`.
        """
        request, invocation = self._command.on(values, purpose=purpose)
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
        parameter = self._command.parameter(name)
        items = value if isinstance(value, list) else [value]
        found = [self.submission.path(str(item)) if parameter.type.is_path else scalar(item, name) for item in items]
        return found if isinstance(value, list) else found[0]

    def _new_directory(self, purpose: str) -> Path:
        with self._lock:
            number = next(self._numbers)
        place = self.workdir / "runs" / f"{number:03d}-{purpose.replace('/', '-').replace(' ', '-')[:40]}"
        place.mkdir(parents=True)
        return place


def spec_for(
    manifest: Manifest, ceilings: Limits, *, profile: ProfileName = "default", runtime: str = "runc"
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
        profile=Profile(profile),
        runtime=runtime,
        limits=smaller_of(requested, ceilings),
        requested=requested,
        ceilings=ceilings,
    )
