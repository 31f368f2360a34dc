"""What a container may have and do: the frozen, serialisable description that every run is recorded with.

A `SandboxSpec` says how a run is confined, a `SandboxRequest` what is run; nothing else reaches the launcher. Both
are plain data, so that a replay can hand in the same two values again. Unknown fields and numbers out of range are
refused by pydantic's `ValidationError`.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from pratique.digests import Digest, sha256_json
from sandbox.seccomp import profile_digest

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

REPRODUCIBLE_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "OPENBLAS_CORETYPE": "Haswell",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "AVX2,STRICT",
    # numpy up to 2.3 knows the first names, numpy 2.4 and later the last three; each ignores the other's
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL X86_V4 AVX512_ICL AVX512_SPR",
}
"""One thread and one instruction set: numpy and torch are then bitwise equal from host to host."""

HOME_ENVIRONMENT = {"HOME": "/tmp", "USER": "tool", "LOGNAME": "tool", "TMPDIR": "/tmp"}  # noqa: S108 (in the container)
"""The per-run uid is in no passwd file; libraries that ask for a home or a user name find one here."""

NEUTRAL_ENVIRONMENT = {"LD_PRELOAD": "", "LD_AUDIT": "", "BASH_ENV": ""}
"""What an image may bring to slip code into every program; a manifest that needs one says so."""

KERNEL_TREES = ("/proc", "/sys", "/dev")

RESERVED_TARGETS = ("/", "/usr", "/tmp", "/dev/shm")  # noqa: S108 (in the container)
RESERVED_TREES = (
    "/proc", "/sys", "/dev", "/etc", "/bin", "/sbin", "/lib", "/lib64",
    "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64",
)  # fmt: skip

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _container_path(text: str) -> str:
    """Check an absolute, normal path in the container that hides nothing a program needs to start."""
    path = PurePosixPath(text)
    if not text.startswith("/") or text.startswith("//") or ".." in path.parts or str(path) != text:
        raise ValueError(f"{text!r} is not an absolute, normal path in the container")
    if len(text) > 512 or any(ord(c) < 32 or c in ":,\x7f" for c in text):
        raise ValueError(f"{text[:80]!r} is too long or has a control character, a colon or a comma")
    if text in RESERVED_TARGETS or any(text == tree or text.startswith(tree + "/") for tree in RESERVED_TREES):
        raise ValueError(f"{text!r} is reserved")
    return text


def _environment(values: dict[str, str]) -> dict[str, str]:
    """Check names and values of environment variables (at most 256, values of at most 32 KiB without NUL)."""
    if len(values) > 256:
        raise ValueError("more than 256 environment variables")
    for name, value in values.items():
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{name[:80]!r} is not a name of an environment variable")
        if "\0" in value or len(value) > 32 * KIB:
            raise ValueError(f"the value of {name} has a NUL or is longer than 32 KiB")
    return values


def _arguments(values: tuple[str, ...]) -> tuple[str, ...]:
    """Check a command line: no NUL, at most 4096 arguments of at most 64 KiB."""
    if len(values) > 4096 or any("\0" in value or len(value) > 64 * KIB for value in values):
        raise ValueError("more than 4096 arguments, or one with a NUL or longer than 64 KiB")
    return values


ContainerPath = Annotated[str, AfterValidator(_container_path)]
Environment = Annotated[dict[str, str], AfterValidator(_environment)]
Arguments = Annotated[tuple[str, ...], AfterValidator(_arguments)]


class Limits(_Frozen):
    """Ceilings of one run; bytes, counts and seconds. What a run writes to a tmpfs counts towards `memory` too."""

    cpus: Annotated[float, Field(ge=0.1, le=256, allow_inf_nan=False)] = 1.0
    memory: Annotated[int, Field(ge=16 * MIB, le=1024 * GIB)] = 2 * GIB
    pids: Annotated[int, Field(ge=8, le=32_768)] = 256
    output_bytes: Annotated[int, Field(ge=4 * KIB, le=256 * GIB)] = 1 * GIB
    output_files: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    output_depth: Annotated[int, Field(ge=1, le=64)] = 16
    tmp_bytes: Annotated[int, Field(ge=64 * KIB, le=64 * GIB)] = 256 * MIB
    tmp_files: Annotated[int, Field(ge=16, le=1_000_000)] = 16_384
    shm_bytes: Annotated[int, Field(ge=64 * KIB, le=64 * GIB)] = 64 * MIB
    input_bytes: Annotated[int, Field(ge=4 * KIB, le=4096 * GIB)] = 16 * GIB
    input_files: Annotated[int, Field(ge=1, le=10_000_000)] = 50_000
    open_files: Annotated[int, Field(ge=16, le=65_536)] = 1024
    wall_seconds: Annotated[float, Field(gt=0, le=7 * 86_400, allow_inf_nan=False)] = 600.0
    log_bytes: Annotated[int, Field(ge=1 * KIB, le=1 * GIB)] = 4 * MIB


def smaller_of(requested: Limits, ceilings: Limits) -> Limits:
    """The smaller of each limit; keep the two it came from in `SandboxSpec.requested` and `.ceilings`."""
    wanted, most = requested.model_dump(), ceilings.model_dump()
    return Limits(**{name: min(wanted[name], most[name]) for name in wanted})


class Profile(StrEnum):
    """Named sets of privileges; everything but `DEFAULT` must be asked for by name and shows in the record."""

    DEFAULT = "default"
    GOSU = "gosu"
    """Starts as root with CAP_SETUID and CAP_SETGID only, for entry points that drop to a user themselves."""
    GPU = "gpu"
    """The default with every GPU of the engine passed through."""


class Network(StrEnum):
    """What the tool finds when it looks for a network."""

    NONE = "none"
    SINKHOLE = "sinkhole"
    """A network of its own where every address is local and every attempt is written down; nothing leaves."""


class SandboxSpec(_Frozen):
    """Everything that confines a run. `digest` stands in every record."""

    profile: Profile = Profile.DEFAULT
    runtime: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")] = "runc"
    limits: Limits = Limits()
    requested: Limits | None = None
    ceilings: Limits | None = None
    environment: Environment = Field(default_factory=dict)
    """As given, over `REPRODUCIBLE_`, `HOME_` and `NEUTRAL_ENVIRONMENT`, which are filled in below it."""
    network: Network = Network.NONE
    seccomp_digest: Digest = Field(default_factory=lambda: profile_digest())

    @model_validator(mode="before")
    @classmethod
    def _fill_environment(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("environment", {}), dict):
            return data
        filled = {**REPRODUCIBLE_ENVIRONMENT, **HOME_ENVIRONMENT, **NEUTRAL_ENVIRONMENT, **data.get("environment", {})}
        return {**data, "environment": dict(sorted(filled.items()))}

    @property
    def digest(self) -> Digest:
        """SHA-256 of the canonical JSON (RFC 8785) of this spec."""
        return sha256_json(self.model_dump(mode="json"))

    def with_network(self, network: Network | Literal["none", "sinkhole"]) -> SandboxSpec:
        """The same spec on another network."""
        return self.model_copy(update={"network": Network(network)})


class Mount(_Frozen):
    """An input: `source` (file or directory of this machine) appears read-only at `target`, as a private copy."""

    source: Path
    target: ContainerPath


class SandboxRequest(_Frozen):
    """What is run, and on what."""

    image_id: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    """The id under which the engine knows the image (`Engine.load` returns it); never a tag."""
    argv: Arguments
    """The whole command line after `entrypoint`."""
    entrypoint: Arguments = ()
    """Replaces the image's; empty means that `argv` is all there is."""
    inputs: tuple[Mount, ...] = ()
    output_target: ContainerPath = "/output"
    environment: Environment = Field(default_factory=dict)
    """Over the spec's, for this run alone."""
    purpose: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9 ._:/-]{0,127}$")] = "run"
    image_volumes: tuple[str, ...] = ()
    """Paths that the image declares as VOLUME; each gets a small tmpfs."""
    working_dir: str = "/tmp"  # noqa: S108 (in the container)

    @model_validator(mode="after")
    def _targets_apart(self) -> SandboxRequest:
        targets = [mount.target for mount in self.inputs] + [self.output_target, "/tmp"]  # noqa: S108
        for index, one in enumerate(targets):
            for other in targets[index + 1 :]:
                if one == other or one.startswith(other + "/") or other.startswith(one + "/"):
                    raise ValueError(f"the mounts {one} and {other} lie over each other")
        if not self.argv and not self.entrypoint:
            raise ValueError("there is nothing to run: argv and entrypoint are both empty")
        if not self.working_dir.startswith("/") or ".." in PurePosixPath(self.working_dir).parts:
            raise ValueError("working_dir must be absolute and normal")
        if any(self.working_dir == tree or self.working_dir.startswith(tree + "/") for tree in KERNEL_TREES):
            raise ValueError("working_dir lies in a file system of the kernel, where descriptors of the engine may be")
        return self
