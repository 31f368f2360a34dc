"""Weaknesses of the engine's machine that its files tell: kernel settings, swap, processor, socket, disk.

Looked at only where the engine shares this machine's files. What cannot be read is no finding: a container that hides
/sys says nothing about the machine.
"""

from __future__ import annotations

import grp
import stat
from pathlib import Path

from sandbox.engine_facts import EngineFacts
from sandbox.weakness import Severity, Weakness

_WITH_QUOTA = frozenset({"btrfs", "zfs", "windowsfilter"})


def look_around(facts: EngineFacts, host: str, root: Path = Path("/")) -> list[Weakness]:
    """Everything found below `root` (another one for tests)."""
    return [
        *_unprivileged_bpf(root),
        *_lockdown(root),
        *_swap(root),
        *_processor(root),
        *_socket(host),
        *_quota(facts, root),
    ]


def _unprivileged_bpf(root: Path) -> list[Weakness]:
    if _read(root / "proc/sys/kernel/unprivileged_bpf_disabled") != "0":
        return []
    return [
        Weakness(
            "unprivileged-bpf",
            "Any user of this machine may load BPF programs into the kernel (tools may not: the filter denies it).",
            "Set kernel.unprivileged_bpf_disabled=2 in /etc/sysctl.d.",
            Severity.LOW,
        )
    ]


def _lockdown(root: Path) -> list[Weakness]:
    state = _read(root / "sys/kernel/security/lockdown")
    if "[integrity]" in state or "[confidentiality]" in state:
        return []
    return [
        Weakness(
            "no-kernel-lockdown",
            "The kernel is not locked down: whoever becomes root can change it, and hide.",
            "Boot with lockdown=integrity (kernel 5.4 or newer), or with Secure Boot.",
            Severity.LOW,
        )
    ]


def _swap(root: Path) -> list[Weakness]:
    lines = _read(root / "proc/swaps").splitlines()[1:]
    disks = [line.split()[0] for line in lines if line and not line.startswith("/dev/zram")]
    if not disks:
        return []
    return [
        Weakness(
            "swap",
            f"Swap is on ({', '.join(disks)[:200]}): what lies in memory, patients' data too, can reach the disk.",
            "Turn it off (swapoff -a, and out of /etc/fstab), or encrypt it with a key that is new at every boot.",
            Severity.LOW,
        )
    ]


def _processor(root: Path) -> list[Weakness]:
    place = root / "sys/devices/system/cpu/vulnerabilities"
    names = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
    open_ = [name for name in names if _read(place / name).startswith("Vulnerable")]
    if not open_:
        return []
    return [
        Weakness(
            "processor-flaws",
            f"The processor leaks between programs ({', '.join(open_)}), and the kernel does not mend it.",
            "Update microcode and kernel; do not boot with mitigations=off.",
            Severity.LOW,
        )
    ]


def _socket(host: str) -> list[Weakness]:
    if not host.startswith("unix://"):
        return []
    try:
        status = Path(host.removeprefix("unix://")).stat()
    except OSError:
        return []
    if status.st_mode & (stat.S_IWOTH | stat.S_IROTH):
        return [
            Weakness(
                "engine-socket-open",
                "Every user of this machine may use the engine's socket, and so become root.",
                "Take the permissions of others away (chmod o-rw), and see which unit or script gave them.",
                Severity.HIGH,
            )
        ]
    members = _members(status.st_gid) if status.st_mode & stat.S_IWGRP else []
    if not members:
        return []
    return [
        Weakness(
            "engine-socket-group",
            f"Members of the socket's group can become root: {', '.join(members)[:200]}.",
            "Leave nobody in that group who is not to be root here, or run a rootless engine.",
            Severity.LOW,
        )
    ]


def _members(gid: int) -> list[str]:
    try:
        return sorted(name for name in grp.getgrgid(gid).gr_mem if name != "root")
    except KeyError:
        return []


def _quota(facts: EngineFacts, root: Path) -> list[Weakness]:
    """overlay2 limits a container's layer only on xfs with project quotas; images are limited nowhere."""
    if facts.storage_driver in _WITH_QUOTA or (facts.backing == "xfs" and _project_quota(facts.data_root, root)):
        return []
    return [
        Weakness(
            "no-storage-quota",
            f"The engine cannot limit what containers write to its disk ({facts.storage_driver} on "
            f"{facts.backing or 'an unknown file system'}). Tools write to memory only; other containers here may not.",
            "Put the engine's data on a file system of its own: xfs mounted with pquota, btrfs or zfs.",
            Severity.LOW,
        )
    ]


def _project_quota(data_root: str, root: Path) -> bool:
    """Whether the file system that holds `data_root` is mounted with project quotas."""
    best, options = "", ""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        fields, last = left.split(), right.split()
        if len(fields) < 6 or len(last) < 3:
            continue
        point = fields[4]
        inside = point == "/" or data_root == point or data_root.startswith(point + "/")
        if inside and len(point) >= len(best):
            best, options = point, last[2]
    return not {"prjquota", "pquota"}.isdisjoint(options.split(","))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
