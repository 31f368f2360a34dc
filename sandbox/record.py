"""What happened in a sandbox run, as one JSON record.

Three things are kept apart: the exit code of the tool, whether the kernel ran out of memory, and who ended the run.
What was not observed is said to be not observed: an empty list of observations means "tried nothing" only where
`observed` is `complete`.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pratique.digests import Digest
from sandbox.spec import SandboxSpec


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EndedBy(StrEnum):
    """Who or what ended the run."""

    EXIT = "exit"
    DEADLINE = "deadline"
    LOG_CAP = "log-cap"
    OUT_OF_MEMORY = "out-of-memory"
    OUTPUT_CAP = "output-cap"
    KILLED = "killed"
    NOT_STARTED = "not-started"
    ENGINE_LOST = "engine-lost"
    INTERRUPTED = "interrupted"


UNDECIDED = frozenset({EndedBy.NOT_STARTED, EndedBy.ENGINE_LOST, EndedBy.INTERRUPTED, EndedBy.KILLED})
"""Ends that say nothing about the tool: it was kept from running, or somebody else ended it."""


class Observed(StrEnum):
    """Whether what was looked for was seen."""

    NOT_ASKED = "not-asked"
    COMPLETE = "complete"
    PARTIAL = "partial"
    """The watcher ended early, or there was more than it writes down."""
    IMPOSSIBLE = "impossible"


class Sample(_Frozen):
    """Resource use `t` seconds after the start: bytes of memory, seconds of CPU since the start."""

    t: float
    memory: int
    cpu: float


class InputDigest(_Frozen):
    """An input as it was copied: digest of the list of its files' paths, sizes and digests."""

    target: str
    digest: Digest
    files: int
    size: int


class OutputFile(_Frozen):
    """A file that was taken over: path relative to the output directory, bytes, digest."""

    path: str
    size: int
    sha256: Digest


class RefusedEntry(_Frozen):
    """An entry of the output directory that was not taken over, and why (`symlink`, `hard-link`, `too-large` …)."""

    path: str
    reason: str


class ObservationKind(StrEnum):
    """What was tried."""

    DNS = "dns"
    TCP = "tcp"
    UDP = "udp"
    IP = "ip"
    """Any other protocol over IP (ICMP, SCTP, raw)."""
    PAYLOAD = "payload"
    """First bytes sent over an opened TCP connection."""


class Observation(_Frozen):
    """One attempt: the name asked for or that the address was given for, address, port, and what else is known.

    For `PAYLOAD`, `name` is the TLS server name or HTTP host where there is one and `detail` the first bytes,
    non-printable ones escaped.
    """

    kind: ObservationKind
    name: str = ""
    address: str = ""
    port: Annotated[int, Field(ge=0, le=65_535)] = 0
    detail: str = ""
    t: float = 0.0


class ProgramStarted(_Frozen):
    """A program that processes of the run executed, as the path was given, and how often."""

    path: str
    count: int


class FileOpened(_Frozen):
    """A file outside the image that the tool opened or tried to, as the path was given, and how often.

    `/proc/N` is the directory of any process; a path that ends in `/…` stands for a whole input or output.
    """

    path: str
    count: int


class Connected(_Frozen):
    """An address that was connected to, or tried, and how often; a path for a socket of this machine (port 0)."""

    address: str
    port: Annotated[int, Field(ge=0, le=65_535)] = 0
    count: int


class DeniedCall(_Frozen):
    """A system call that failed with EPERM or ENOSYS, which is what the filter answers with, and how often."""

    name: str
    error: str
    count: int


class ForbiddenCall(_Frozen):
    """A system call that the filter handed over and that was denied, with its arguments, and how often.

    `arguments` is a line such as `family=AF_VSOCK type=1 protocol=0`, strings quoted and escaped; `program` is the file
    that the caller was executing; both are empty where they could not be read. `t` is the first, in seconds.
    """

    name: str
    error: str
    arguments: str = ""
    program: str = ""
    count: int
    t: float = 0.0


class HostFacts(_Frozen):
    """The machine and the engine, as far as a replay needs them."""

    cpu_model: str = ""
    cpu_flags: str = ""
    cpus: int = 0
    memory: int = 0
    kernel: str = ""
    architecture: str = ""
    engine: str = ""
    engine_version: str = ""
    runtime: str = ""
    runtime_version: str = ""
    cgroup_version: str = ""
    cgroup_driver: str = ""
    storage_driver: str = ""
    security: tuple[str, ...] = ()


class NotRun(_Frozen):
    """A run that could not even be asked for (wrong usage, a spec out of range, no such image, no engine), or that was
    broken off: whatever there was of it is gone."""

    ended_by: Literal[EndedBy.NOT_STARTED, EndedBy.INTERRUPTED] = EndedBy.NOT_STARTED
    exit_code: None = None
    argv: tuple[str, ...] = ()
    detail: str
    rule: str = ""
    next_step: str = ""


class SandboxRun(_Frozen):
    """Everything known about one run. Times in seconds, sizes in bytes; None where a figure could not be taken."""

    run_id: str
    purpose: str
    image_id: str
    argv: tuple[str, ...]
    entrypoint: tuple[str, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)
    working_dir: str = ""
    spec: SandboxSpec
    spec_digest: Digest
    inputs: tuple[InputDigest, ...] = ()
    uid: int | None = None
    cpuset: str = ""

    exit_code: int | None = None
    ended_by: EndedBy
    detail: str = ""
    oom_killed: bool = False

    started: datetime
    seconds: float = 0.0
    """Wall time of the tool itself, by the engine's clock."""
    queue_seconds: float = 0.0
    create_seconds: float = 0.0
    start_seconds: float = 0.0
    harvest_seconds: float = 0.0
    total_seconds: float = 0.0

    cpu_seconds: float | None = None
    peak_memory: int | None = None
    peak_pids: int | None = None
    samples: tuple[Sample, ...] = ()

    log_bytes: int = 0
    """Bytes that the tool wrote, also those beyond the cap that were counted before it was stopped."""
    log_truncated: bool = False
    log_digest: Digest
    """Digest of the log file as kept."""
    log_head: str = ""
    """First bytes of the log as text, where the record is made for people (`pratique sandbox run`)."""

    outputs: tuple[OutputFile, ...] = ()
    output_bytes: int = 0
    refused: tuple[RefusedEntry, ...] = ()
    refused_more: int = 0
    """Refused entries beyond those listed."""

    observed: Observed = Observed.NOT_ASKED
    observed_detail: str = ""
    observations: tuple[Observation, ...] = ()
    traced: Observed = Observed.NOT_ASKED
    """Whether programs, denied calls, files and connections were counted (by eBPF, in the observation run, where root
    and BTF allow)."""
    traced_detail: str = ""
    programs: tuple[ProgramStarted, ...] = ()
    denied: tuple[DeniedCall, ...] = ()
    opened: tuple[FileOpened, ...] = ()
    connected: tuple[Connected, ...] = ()
    notified: Observed = Observed.NOT_ASKED
    """Whether denied calls were heard of with their arguments (observation run, where the engine knows how)."""
    notified_detail: str = ""
    forbidden: tuple[ForbiddenCall, ...] = ()
    tier: int = 0
    """0: what the engine tells; 1: peaks from a control group of its own, limits enforced a second time; 2: that, and
    denied calls with their arguments."""
    host: HostFacts = HostFacts()

    def ended_well(self, codes: Collection[int] = (0,)) -> bool:
        """The tool ended by itself with one of `codes`, was not short of memory, and nothing it left was refused."""
        return self.ended_by is EndedBy.EXIT and self.exit_code in codes and not self.oom_killed and not self.refused
