"""What an engine says of itself and its machine, and whether that machine is this one."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_LIMIT_FLAGS = {
    "memory": "MemoryLimit",
    "swap": "SwapLimit",
    "pids": "PidsLimit",
    "cpu": "CpuCfsQuota",
    "cpuset": "CPUSet",
}


@dataclass(frozen=True)
class EngineFacts:
    """What the engine says of itself and its machine; `same_machine` is what we found out about it.

    `same_machine` is true when the engine's process shares our mount namespace, so that a path means the same to both.
    """

    name: str
    version: str
    os: str
    architecture: str
    kernel: str
    cpus: int
    memory: int
    cgroup_version: str
    cgroup_driver: str
    storage_driver: str
    security: tuple[str, ...]
    runtimes: tuple[str, ...]
    runc_version: str
    cannot_limit: tuple[str, ...]
    """Of `memory`, `swap`, `pids`, `cpu` and `cpuset`, those that the engine's kernel does not limit."""
    same_machine: bool
    containerd_version: str = ""
    revisions: tuple[tuple[str, str], ...] = ()
    """Component and what it says it was built from: a commit, or a distribution's package version."""
    backing: str = ""
    """File system below the storage driver."""
    data_root: str = ""

    @property
    def remaps_users(self) -> bool:
        """Whether uids in a container are other uids outside (user-namespace remap or rootless)."""
        return any(option.startswith(("name=userns", "name=rootless")) for option in self.security)


def facts_of(info: Mapping[str, Any], version: Mapping[str, Any], *, same_machine: bool) -> EngineFacts:
    """The facts in the engine's answers to `/info` and `/version`."""
    parts = version.get("Components") or []
    components = {part.get("Name"): part.get("Version", "") for part in parts}
    return EngineFacts(
        name=str((version.get("Platform") or {}).get("Name") or "Docker"),
        version=str(version.get("Version", "")),
        os=str(info.get("OSType", "")),
        architecture=str(info.get("Architecture", "")),
        kernel=str(info.get("KernelVersion", "")),
        cpus=int(info.get("NCPU", 0)),
        memory=int(info.get("MemTotal", 0)),
        cgroup_version=str(info.get("CgroupVersion", "1")),
        cgroup_driver=str(info.get("CgroupDriver", "")),
        storage_driver=str(info.get("Driver", "")),
        security=tuple(info.get("SecurityOptions") or ()),
        runtimes=tuple(sorted(info.get("Runtimes") or {})),
        runc_version=str(components.get("runc", "")),
        cannot_limit=tuple(name for name, flag in _LIMIT_FLAGS.items() if not info.get(flag)),
        same_machine=same_machine,
        containerd_version=str(components.get("containerd", "")),
        revisions=tuple((str(p.get("Name")), str((p.get("Details") or {}).get("GitCommit", ""))) for p in parts),
        backing=str(dict(info.get("DriverStatus") or ()).get("Backing Filesystem", "")),
        data_root=str(info.get("DockerRootDir", "")),
    )


def shares_our_mounts(host: str) -> bool:
    """Whether the process that listens at `host` sees the same file systems as we do.

    The peer of a Unix socket is the process that called listen(2): the engine itself, or systemd for it.
    """
    if not host.startswith("unix://"):
        return False
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(5)
            probe.connect(host.removeprefix("unix://"))
            pid, _, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if os.geteuid() != 0:
            # Another user's namespace cannot be read; the same boot on a Unix socket that is not forwarded is enough
            # for read-only bind mounts, and nothing is mounted without root.
            return Path(f"/proc/{pid}").exists() if pid > 0 else False
        return (Path(f"/proc/{pid}/ns/mnt")).readlink() == Path("/proc/self/ns/mnt").readlink()
    except OSError:
        return False
