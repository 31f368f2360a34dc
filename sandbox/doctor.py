"""Weaknesses of the host that a sandbox cannot mend, each with its fix; a policy may refuse on their identifiers.

Versions are what the engine reports. A distribution may have mended an old version without changing its number; the
finding then says so, and the maintainer who has checked may name it in the policy.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import StrEnum

from sandbox.engine import Engine, EngineFacts
from sandbox.harvest import openat2
from sandbox.observe.tracer import why_impossible

_VERSION = re.compile(r"(\d{1,5})\.(\d{1,5})(?:\.(\d{1,5}))?", re.ASCII)


WEAKNESSES = frozenset(
    {
        "cgroup-v1",
        "engine-elsewhere",
        "engine-old",
        "engine-over-network",
        "no-limit-cpu",
        "no-limit-cpuset",
        "no-limit-memory",
        "no-limit-pids",
        "no-limit-swap",
        "no-mandatory-access-control",
        "no-openat2",
        "no-seccomp",
        "no-user-namespace",
        "not-traced",
        "observation-tier-0",
        "runc-cve-2024-21626",
        "runc-cve-2025",
        "runc-unknown",
        "shared-kernel",
    }
)
"""Every identifier that `examine` may give; they are stable."""


class Severity(StrEnum):
    """How much it matters for running hostile containers."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True)
class Weakness:
    """One thing that is weaker than it could be; `id` is stable."""

    id: str
    title: str
    fix: str
    severity: Severity


def examine(engine: Engine) -> tuple[Weakness, ...]:
    """Everything known to be weak about this engine and its machine, most severe first."""
    found = [*_versions(engine.facts), *_isolation(engine.facts), *_machine(engine)]
    order = list(Severity)
    return tuple(sorted(found, key=lambda weakness: order.index(weakness.severity)))


def version_of(text: str) -> tuple[int, int, int] | None:
    """The three numbers at the start of a version; None where there are none."""
    match = _VERSION.match(text)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def _versions(facts: EngineFacts) -> list[Weakness]:
    found = []
    runc, docker = version_of(facts.runc_version), version_of(facts.version)
    if runc is None:
        found.append(
            Weakness(
                "runc-unknown",
                "The engine does not say which runc it uses.",
                "Ask the engine's maintainer; 1.2.8, 1.3.3 or newer is needed.",
                Severity.MEDIUM,
            )
        )
    elif _lacks_november_2025(runc):
        found.append(
            Weakness(
                "runc-cve-2025",
                f"runc {facts.runc_version} is older than 1.2.8/1.3.3: escapes by mount races (CVE-2025-31133, "
                "CVE-2025-52565, CVE-2025-52881), unless the distribution has mended them.",
                "Install runc 1.2.8, 1.3.3 or newer, or see the distribution's security tracker.",
                Severity.HIGH,
            )
        )
    if runc is not None and runc < (1, 1, 12):
        found.append(
            Weakness(
                "runc-cve-2024-21626",
                f"runc {facts.runc_version} is older than 1.1.12: escape through a leaked descriptor "
                "(CVE-2024-21626), unless the distribution has mended it.",
                "Install runc 1.1.12 or newer, or see the distribution's security tracker.",
                Severity.HIGH,
            )
        )
    if docker is not None and facts.name.lower().startswith("docker") and docker < (25, 0, 0):
        found.append(
            Weakness(
                "engine-old",
                f"Docker {facts.version} is no longer maintained upstream.",
                "Install a maintained release of Docker Engine.",
                Severity.MEDIUM,
            )
        )
    return found


def _lacks_november_2025(runc: tuple[int, int, int]) -> bool:
    return runc < (1, 2, 8) or (1, 3, 0) <= runc < (1, 3, 3)


def _isolation(facts: EngineFacts) -> list[Weakness]:
    options = " ".join(facts.security)
    found = []
    if "name=seccomp" not in options:
        found.append(
            Weakness("no-seccomp", "The engine filters no system calls.", "Use a kernel with seccomp.", Severity.HIGH)
        )
    found.extend(
        Weakness(
            f"no-limit-{name}",
            f"The engine cannot limit {name}.",
            f"Enable the {name} control group (kernel command line, or a newer kernel).",
            Severity.MEDIUM if name == "swap" else Severity.HIGH,
        )
        for name in facts.cannot_limit
    )
    if not facts.remaps_users:
        found.append(
            Weakness(
                "no-user-namespace",
                "Root in a container is root on the host: no user-namespace remap.",
                'Set "userns-remap": "default" in /etc/docker/daemon.json (as fast), or run a rootless engine.',
                Severity.MEDIUM,
            )
        )
    if "name=apparmor" not in options and "name=selinux" not in options:
        found.append(
            Weakness(
                "no-mandatory-access-control",
                "Neither AppArmor nor SELinux stands behind the container.",
                "Enable AppArmor (Debian, Ubuntu) or SELinux (Fedora, RHEL) in kernel and engine.",
                Severity.LOW,
            )
        )
    if "runsc" not in facts.runtimes and not any(name.startswith("kata") for name in facts.runtimes):
        found.append(
            Weakness(
                "shared-kernel",
                "Only runc is there: a hole in the kernel is a hole in the sandbox.",
                "Install gVisor (runsc) or Kata Containers and name it as `runtime` in the policy.",
                Severity.LOW,
            )
        )
    if facts.cgroup_version == "1":
        found.append(
            Weakness(
                "cgroup-v1",
                "Control groups version 1: limits hold, but page cache and swap are counted apart.",
                "Boot with systemd.unified_cgroup_hierarchy=1.",
                Severity.LOW,
            )
        )
    return found


def _machine(engine: Engine) -> list[Weakness]:
    found = []
    if engine.host.startswith(("tcp://", "http://")):
        found.append(
            Weakness(
                "engine-over-network",
                "The engine listens on the network: whoever reaches it is root there.",
                "Use the Unix socket, or TLS with client certificates.",
                Severity.HIGH,
            )
        )
    if not engine.facts.same_machine:
        found.append(
            Weakness(
                "engine-elsewhere",
                "The engine does not share this machine's file systems; nothing can be run.",
                "Run Pratique on the engine's machine, over its Unix socket.",
                Severity.HIGH,
            )
        )
    elif not engine.root_here:
        found.append(
            Weakness(
                "observation-tier-0",
                "Pratique may not make control groups and mounts here: peaks are sampled, limits enforced once.",
                "Run as root beside an engine with the cgroupfs driver for exact peaks.",
                Severity.LOW,
            )
        )
    elif engine.facts.cgroup_driver != "cgroupfs":
        found.append(
            Weakness(
                "observation-tier-0",
                "systemd manages the control groups: peaks are sampled, limits enforced once.",
                'Set "exec-opts": ["native.cgroupdriver=cgroupfs"] for exact peaks.',
                Severity.LOW,
            )
        )
    if why := why_impossible():
        found.append(
            Weakness(
                "not-traced",
                f"Programs and denied calls of a tool are not counted: {why}.",
                "Install bpftrace (Debian, Ubuntu) and run as root on a kernel with BTF.",
                Severity.LOW,
            )
        )
    if not has_openat2():
        found.append(
            Weakness("no-openat2", "Outputs cannot be taken over safely.", "Use Linux 5.6 or newer.", Severity.HIGH)
        )
    return found


def has_openat2() -> bool:
    """Whether this kernel opens files beneath a directory only."""
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(openat2(root, b".", os.O_PATH))
    except OSError:
        return False
    finally:
        os.close(root)
    return True
