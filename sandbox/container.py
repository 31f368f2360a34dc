"""From a spec and a request to the JSON that the engine's API takes: pure, so that every line of it can be tested.

What a hostile image brings in its config (entry point, user, health check, stop signal, volumes) is overridden here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.seccomp import profile_json
from sandbox.spec import MIB, Limits, Profile, SandboxRequest, SandboxSpec

LABEL_RUN = "org.pratique.run"
LABEL_STATE = "org.pratique.state"
LABEL_DEADLINE = "org.pratique.deadline"
LABEL_ROLE = "org.pratique.role"

VOLUME_BYTES = 16 * MIB
VOLUME_FILES = 1024
_PERIOD = 100_000

# Docker's own list, which ours replaces, and what else tells a tool about the machine it is on.
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/proc/buddyinfo",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/consoles",
    "/proc/diskstats",
    "/proc/dma",
    "/proc/iomem",
    "/proc/ioports",
    "/proc/kallsyms",
    "/proc/key-users",
    "/proc/mdstat",
    "/proc/modules",
    "/proc/mtrr",
    "/proc/pagetypeinfo",
    "/proc/partitions",
    "/proc/schedstat",
    "/proc/slabinfo",
    "/proc/softirqs",
    "/proc/swaps",
    "/proc/sys/kernel/random/boot_id",
    "/proc/vmallocinfo",
    "/sys/block",
    "/sys/class/block",
    "/sys/class/dmi",
    "/sys/class/hwmon",
    "/sys/class/thermal",
    "/sys/devices/virtual/block",
    "/sys/devices/virtual/dmi",
    "/sys/devices/virtual/thermal",
    "/sys/fs/btrfs",
    "/sys/fs/ext4",
    "/sys/fs/xfs",
    "/sys/kernel/debug",
    "/sys/kernel/irq",
    "/sys/kernel/notes",
    "/sys/kernel/security",
    "/sys/kernel/slab",
    "/sys/kernel/tracing",
    "/sys/module",
)
READONLY_PATHS = ("/dev", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

GOSU_CAPABILITIES = ("SETUID", "SETGID")


@dataclass(frozen=True)
class Placement:
    """Where on the machine a run takes place: what the launcher decided, not the spec.

    `input_sources` are the private copies in the order of the request's inputs. The output is a directory of this
    machine (`output_source`) or a volume of the engine (`output_volume`), one of the two.
    """

    run_id: str
    uid: int
    cpuset: str
    deadline: int
    state: str
    input_sources: tuple[str, ...] = ()
    output_source: str = ""
    output_volume: str = ""
    cgroup_parent: str = ""
    network_of: str = ""
    """Container whose network the tool joins; empty for none."""
    runtime: str = ""
    """Name under which the engine starts the spec's runtime; empty for its own."""

    def labels(self, role: str) -> dict[str, str]:
        """Labels by which leftovers are found."""
        return {
            LABEL_RUN: self.run_id,
            LABEL_STATE: self.state,
            LABEL_DEADLINE: str(self.deadline),
            LABEL_ROLE: role,
        }


def tmpfs_options(size: int, files: int, *, uid: int) -> str:
    """Mount options of a capped tmpfs on which nothing is executed."""
    return f"rw,nosuid,nodev,noexec,size={size},nr_inodes={files},mode=1777,uid={uid},gid={uid}"


def run_environment(spec: SandboxSpec, request: SandboxRequest) -> dict[str, str]:
    """The environment that Pratique sets: the spec's, the request's over it (the image's own lies below both)."""
    return dict(sorted({**spec.environment, **request.environment}.items()))


def user_of(spec: SandboxSpec, placement: Placement) -> str:
    """`uid:gid` that the first process has."""
    return "0:0" if spec.profile is Profile.GOSU else f"{placement.uid}:{placement.uid}"


def container_body(spec: SandboxSpec, request: SandboxRequest, placement: Placement) -> dict[str, Any]:
    """The body of `POST /containers/create` for the tool."""
    command = [*request.entrypoint, *request.argv]
    body: dict[str, Any] = {
        "Image": request.image_id,
        "Entrypoint": command[:1],
        "Cmd": command[1:],
        "User": user_of(spec, placement),
        "WorkingDir": request.working_dir,
        "Env": [f"{name}={value}" for name, value in run_environment(spec, request).items()],
        "Tty": False,
        "OpenStdin": False,
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "StopSignal": "SIGKILL",
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": placement.labels("tool"),
        "HostConfig": host_config(spec, request, placement),
    }
    if not placement.network_of:
        body["Hostname"] = "sandbox"
    return body


def host_config(spec: SandboxSpec, request: SandboxRequest, placement: Placement) -> dict[str, Any]:
    """The `HostConfig` part: every limit, mount and privilege."""
    limits = spec.limits
    config = {
        **confinement(placement.runtime or spec.runtime, profile_json()),
        "CapAdd": list(GOSU_CAPABILITIES) if spec.profile is Profile.GOSU else [],
        "NetworkMode": f"container:{placement.network_of}" if placement.network_of else "none",
        "Memory": limits.memory,
        "MemorySwap": limits.memory,
        "PidsLimit": limits.pids,
        "CpuPeriod": _PERIOD,
        "CpuQuota": max(1000, math.ceil(limits.cpus * _PERIOD)),
        "CpusetCpus": placement.cpuset,
        "OomScoreAdj": 500,
        "Ulimits": _ulimits(limits, root=spec.profile is Profile.GOSU),
        "Tmpfs": _tmpfs(spec, request, 0 if spec.profile is Profile.GOSU else placement.uid),
        "Mounts": _mounts(request, placement),
        "CgroupParent": placement.cgroup_parent,
        "DeviceRequests": _gpus() if spec.profile is Profile.GPU else [],
    }
    if not placement.network_of:
        config |= {"Dns": ["127.0.0.1"], "DnsSearch": ["."]}  # else the engine copies the host's resolv.conf
    return config


def confinement(runtime: str, seccomp: str | None) -> dict[str, Any]:
    """What every container of ours has, the tool's and the helpers'; without `seccomp`, the engine's own profile."""
    return {
        "Runtime": runtime,
        "Privileged": False,
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges", *([f"seccomp={seccomp}"] if seccomp else [])],
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "PidMode": "",
        "UTSMode": "",
        "Init": True,
        "AutoRemove": False,
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {"Type": "none", "Config": {}},
        "PublishAllPorts": False,
        "Devices": [],
        "MaskedPaths": list(MASKED_PATHS),
        "ReadonlyPaths": list(READONLY_PATHS),
    }


def _ulimits(limits: Limits, *, root: bool) -> list[dict[str, Any]]:
    values = {
        "nofile": limits.open_files,
        "core": 0,
        "fsize": max(limits.output_bytes, limits.tmp_bytes),
        "memlock": 0,
        "msgqueue": 0,
        "rtprio": 0,
        "nice": 0,
    }
    if not root:
        values["nproc"] = limits.pids  # counts per host uid, which no other run has; as root it would count the host
    return [{"Name": name, "Soft": value, "Hard": value} for name, value in sorted(values.items())]


def _tmpfs(spec: SandboxSpec, request: SandboxRequest, uid: int) -> dict[str, str]:
    """Scratch space. It belongs to the run's uid, because runc gives a tmpfs the mode of the image's directory."""
    limits = spec.limits
    found = {
        "/tmp": tmpfs_options(limits.tmp_bytes, limits.tmp_files, uid=uid),  # noqa: S108 (in the container)
        "/dev/shm": tmpfs_options(limits.shm_bytes, 1024, uid=uid),  # noqa: S108
    }
    taken = {request.output_target, *(mount.target for mount in request.inputs)}
    for volume in volume_targets(request.image_volumes):
        if volume not in taken and volume not in found:
            found[volume] = tmpfs_options(VOLUME_BYTES, VOLUME_FILES, uid=uid)
    return found


def volume_targets(declared: Sequence[str]) -> tuple[str, ...]:
    """Declared VOLUMEs as the engine cleans them; `/` and the kernel's own file systems cannot be mounted over."""
    cleaned = []
    for text in declared:
        parts: list[str] = []
        for part in text.split("/"):
            if part == "..":
                parts = parts[:-1]
            elif part not in ("", "."):
                parts.append(part)
        path = "/" + "/".join(parts)
        if path != "/" and parts[0] not in ("proc", "sys", "dev") and not any(c in path for c in ":,\0"):
            cleaned.append(path)
    return tuple(dict.fromkeys(cleaned))


def _mounts(request: SandboxRequest, placement: Placement) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = [
        {
            "Type": "bind",
            "Source": source,
            "Target": mount.target,
            "ReadOnly": True,
            "BindOptions": {"Propagation": "rprivate", "NonRecursive": True},
        }
        for mount, source in zip(request.inputs, placement.input_sources, strict=True)
    ]
    output: Mapping[str, Any]
    if placement.output_source:
        output = {
            "Type": "bind",
            "Source": placement.output_source,
            "BindOptions": {"Propagation": "rprivate", "NonRecursive": True},
        }
    else:
        output = {"Type": "volume", "Source": placement.output_volume, "VolumeOptions": {"NoCopy": True}}
    mounts.append({**output, "Target": request.output_target, "ReadOnly": False})
    return mounts


def _gpus() -> list[dict[str, Any]]:
    return [{"Driver": "", "Count": -1, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": {}}]
