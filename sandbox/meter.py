"""What a run uses: memory, processor time and processes, read from control groups while it runs and after it.

As root beside the engine, each run gets a control group of its own above the container's. It survives the container,
so the peaks are exact (tier 1), and it repeats the limits one level up. Otherwise the container's own group is read
while it lives, and a peak is the largest value that was seen (tier 0). Both hierarchies of Linux, v1 (also hybrid) and
v2, are read by the same names here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sandbox.engine_facts import EngineFacts
from sandbox.record import Sample
from sandbox.spec import MIB, Limits

CGROUP_ROOT = Path("/sys/fs/cgroup")
PARENT = "pratique"
SLACK_BYTES, SLACK_PIDS = 16 * MIB, 8
"""The own group allows this much more than the container's, so that the container's limit is the one that acts."""

_SAMPLES = 400


@dataclass(frozen=True)
class Files:
    """Where the figures stand; None where this hierarchy has no such file."""

    memory: Path | None = None
    memory_peak: Path | None = None
    cpu: Path | None = None
    cpu_in_stat: bool = False
    pids: Path | None = None
    pids_peak: Path | None = None
    oom: Path | None = None


def files_v1(directories: Mapping[str, Path]) -> Files:
    """Files of cgroup v1, from the directory of each controller."""
    memory, cpu, pids = directories.get("memory"), directories.get("cpuacct"), directories.get("pids")
    return Files(
        memory=memory and memory / "memory.usage_in_bytes",
        memory_peak=memory and memory / "memory.max_usage_in_bytes",
        cpu=cpu and cpu / "cpuacct.usage",
        pids=pids and pids / "pids.current",
        pids_peak=pids and pids / "pids.peak",
        oom=memory and memory / "memory.oom_control",
    )


def files_v2(directory: Path) -> Files:
    """Files of cgroup v2."""
    return Files(
        memory=directory / "memory.current",
        memory_peak=directory / "memory.peak",
        cpu=directory / "cpu.stat",
        cpu_in_stat=True,
        pids=directory / "pids.current",
        pids_peak=directory / "pids.peak",
        oom=directory / "memory.events",
    )


@dataclass(frozen=True)
class Usage:
    """Totals of a run; None where they could not be read."""

    cpu_seconds: float | None
    peak_memory: int | None
    peak_pids: int | None
    oom_kills: int
    samples: tuple[Sample, ...]


class Meter:
    """Samples figures; when there are many, every second one is dropped and the interval doubled."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._samples: list[Sample] = []
        self._start = time.monotonic()
        self._peak_memory: int | None = None
        self._peak_pids: int | None = None
        self.interval = 0.02

    def start(self) -> None:
        """The tool starts now."""
        self._start = time.monotonic()

    def sample(self) -> None:
        """Read once."""
        files = self._files
        memory, cpu = _number(files.memory), self._cpu()
        self._peak_memory = _larger(self._peak_memory, _larger(memory, _number(files.memory_peak)))
        self._peak_pids = _larger(self._peak_pids, _larger(_number(files.pids), _number(files.pids_peak)))
        if memory is None or cpu is None:
            return
        self._samples.append(Sample(t=round(time.monotonic() - self._start, 3), memory=memory, cpu=round(cpu, 4)))
        if len(self._samples) >= _SAMPLES:
            del self._samples[1::2]
            self.interval *= 2

    def finish(self) -> Usage:
        """Read a last time and sum up."""
        cpu = self._cpu()
        if cpu is None and self._samples:
            cpu = self._samples[-1].cpu
        memory = _larger(self._peak_memory, _number(self._files.memory_peak))
        pids = _larger(self._peak_pids, _number(self._files.pids_peak))
        return Usage(cpu, memory, pids, _field(self._files.oom, "oom_kill") or 0, tuple(self._samples))

    def _cpu(self) -> float | None:
        if self._files.cpu_in_stat:
            used = _field(self._files.cpu, "usage_usec")
            return None if used is None else used / 1e6
        used = _number(self._files.cpu)
        return None if used is None else used / 1e9


@dataclass(frozen=True)
class OwnGroup:
    """A control group above the container's, for one run; `parent` is what the engine is told."""

    files: Files
    parent: str


def remove_group(run_id: str, root: Path = CGROUP_ROOT, patience: float = 0.5) -> None:
    """Remove the run's own group from every hierarchy; the engine may need a moment to leave it."""
    left = [root / PARENT / run_id, *root.glob(f"*/{PARENT}/{run_id}")]
    end = time.monotonic() + patience
    while left := [directory for directory in left if not _removed(directory)]:
        if time.monotonic() > end:
            return  # a container is still in it: its engine is lost, the reaper comes later
        time.sleep(0.01)


def remove_old_groups(age: float, root: Path = CGROUP_ROOT) -> None:
    """Remove groups in which nothing runs any more, made more than `age` seconds ago by whatever launcher."""
    for directory in (*root.glob(f"{PARENT}/*"), *root.glob(f"*/{PARENT}/*")):
        with suppress(OSError):
            if directory.is_dir() and time.time() - directory.stat().st_mtime > age:
                _removed(directory)


def _removed(directory: Path) -> bool:
    """Whether a group is gone, with the empty groups of containers in it that an engine left when it was killed."""
    try:
        for inner in directory.iterdir():
            if inner.is_dir():
                _removed(inner)
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def make_group(run_id: str, limits: Limits, facts: EngineFacts, root: Path = CGROUP_ROOT) -> OwnGroup | None:
    """The run's own group; None where it cannot be made (systemd manages the tree, no such controller)."""
    if facts.cgroup_driver != "cgroupfs":
        return None
    try:
        if facts.cgroup_version == "2":
            return _make_v2(run_id, limits, root)
        return _make_v1(run_id, limits, root)
    except OSError:
        return None


def _make_v1(run_id: str, limits: Limits, root: Path) -> OwnGroup:
    directories = {
        name: root / name / PARENT / run_id for name in ("memory", "pids", "cpuacct") if (root / name).is_dir()
    }
    for directory in directories.values():
        directory.mkdir(parents=True, exist_ok=True)
    if "memory" in directories:
        (directories["memory"] / "memory.limit_in_bytes").write_text(str(limits.memory + SLACK_BYTES))
    if "pids" in directories:
        (directories["pids"] / "pids.max").write_text(str(limits.pids + SLACK_PIDS))
    if (root / "cpuset").is_dir():
        _fill_cpuset(root / "cpuset" / PARENT)
        _fill_cpuset(root / "cpuset" / PARENT / run_id)
    return OwnGroup(files_v1(directories), f"/{PARENT}/{run_id}")


def _fill_cpuset(directory: Path) -> None:
    """Give a group its parent's processors and memory nodes: v1 starts it with none, and only runc fills the gap."""
    directory.mkdir(exist_ok=True)
    for name in ("cpuset.cpus", "cpuset.mems"):
        with suppress(OSError):
            if not (directory / name).read_text().strip():
                (directory / name).write_text((directory.parent / name).read_text())


def _make_v2(run_id: str, limits: Limits, root: Path) -> OwnGroup:
    parent = root / PARENT
    directory = parent / run_id
    directory.mkdir(parents=True, exist_ok=True)
    for above in (root, parent, directory):
        (above / "cgroup.subtree_control").write_text("+cpu +memory +pids")
    (directory / "memory.max").write_text(str(limits.memory + SLACK_BYTES))
    (directory / "pids.max").write_text(str(limits.pids + SLACK_PIDS))
    return OwnGroup(files_v2(directory), f"/{PARENT}/{run_id}")


def files_of_process(pid: int, root: Path = CGROUP_ROOT, proc: Path = Path("/proc")) -> Files:
    """Where the figures of the control group of `pid` stand, for a container of this machine."""
    directories: dict[str, Path] = {}
    unified: Path | None = None
    with suppress(OSError):
        for line in (proc / str(pid) / "cgroup").read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            if number == "0" and not controllers:
                hybrid = root / "unified"  # where both hierarchies are mounted, this one lies below
                unified = (hybrid if hybrid.is_dir() else root) / path.lstrip("/")
            for name in controllers.split(","):
                directories[name] = root / name / path.lstrip("/")
    if "memory" in directories:
        return files_v1(directories)
    return files_v2(unified) if unified is not None else Files()


def _number(path: Path | None) -> int | None:
    if path is None:
        return None
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _field(path: Path | None, name: str) -> int | None:
    if path is None:
        return None
    try:
        rows = dict(line.split(None, 1) for line in path.read_text().splitlines() if " " in line)
        return int(rows[name])
    except (OSError, ValueError, KeyError):
        return None


def _larger(one: int | None, other: int | None) -> int | None:
    known = [value for value in (one, other) if value is not None]
    return max(known, default=None)
