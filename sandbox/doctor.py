"""Weaknesses of the host that a sandbox cannot mend, each with its fix; a policy may refuse on their identifiers."""

from __future__ import annotations

import os
from pathlib import Path

from sandbox.engine import Engine
from sandbox.engine_facts import EngineFacts
from sandbox.flaws import FLAWS, known_flaws, version_of
from sandbox.harvest import openat2
from sandbox.kernel import look_around
from sandbox.observe import notify_runtime
from sandbox.observe.notify import why_not_notified
from sandbox.observe.tracer import why_impossible
from sandbox.weakness import Severity, Weakness

DOCUMENTS = Path("/usr/share/doc")
_MAINTAINED = "25.0.0"
"""Docker Engine before this is no longer maintained upstream."""

RUNTIME_PATH = "/usr/local/sbin/pratique-notify"
"""Where a site puts the runtime: root alone can change it, unlike the directory that Pratique is installed in."""

WEAKNESSES = frozenset(
    {
        "cgroup-v1",
        "engine-elsewhere",
        "engine-old",
        "engine-over-network",
        "engine-socket-group",
        "engine-socket-open",
        "no-limit-cpu",
        "no-limit-cpuset",
        "no-limit-memory",
        "no-limit-pids",
        "no-kernel-lockdown",
        "no-limit-swap",
        "no-mandatory-access-control",
        "no-openat2",
        "no-seccomp",
        "no-storage-quota",
        "no-user-namespace",
        "not-notified",
        "not-traced",
        "observation-tier-0",
        "processor-flaws",
        "runc-unknown",
        "shared-kernel",
        "swap",
        "unprivileged-bpf",
        *(flaw.id for flaw in FLAWS),
    }
)
"""Every identifier that `examine` may give; they are stable."""


def examine(engine: Engine) -> tuple[Weakness, ...]:
    """Everything known to be weak about this engine and its machine, most severe first."""
    facts = engine.facts
    found = [*_versions(facts), *_limits(facts), *_isolation(facts), *_machine(engine), *_observation(engine)]
    order = list(Severity)
    return tuple(sorted(found, key=lambda weakness: order.index(weakness.severity)))


def reachable_tier(engine: Engine) -> tuple[int, str]:
    """The observation tier that runs on this engine reach, and what keeps them from more; empty where nothing does."""
    if not engine.root_here:
        return 0, "Pratique may not make control groups and mounts here"
    if engine.facts.cgroup_driver != "cgroupfs":
        return 0, "systemd manages the control groups"
    why_not = why_not_notified(engine)
    return (1, why_not) if why_not else (2, why_impossible())


def _versions(facts: EngineFacts) -> list[Weakness]:
    found = []
    revisions = dict(facts.revisions)
    documents = DOCUMENTS if facts.same_machine else Path(os.devnull)
    docker = facts.name.lower().startswith("docker")
    if version_of(facts.runc_version) is None:
        found.append(
            Weakness(
                "runc-unknown",
                "The engine does not say which runc it uses.",
                "Ask the engine's maintainer; 1.2.8, 1.3.3 or newer is needed.",
                Severity.MEDIUM,
            )
        )
    found += known_flaws("runc", facts.runc_version, revisions.get("runc", ""), documents)
    found += known_flaws("containerd", facts.containerd_version, revisions.get("containerd", ""), documents)
    if docker:
        found += known_flaws("docker", facts.version, revisions.get("Engine", ""), documents)
    version, maintained = version_of(facts.version), version_of(_MAINTAINED)
    if docker and version is not None and maintained is not None and version < maintained:
        found.append(
            Weakness(
                "engine-old",
                f"Docker {facts.version} is no longer maintained upstream.",
                "Install a maintained release of Docker Engine.",
                Severity.MEDIUM,
            )
        )
    return found


def _limits(facts: EngineFacts) -> list[Weakness]:
    found = [
        Weakness(
            f"no-limit-{name}",
            f"The engine cannot limit {name}.",
            f"Enable the {name} control group (kernel command line, or a newer kernel).",
            Severity.MEDIUM if name == "swap" else Severity.HIGH,
        )
        for name in facts.cannot_limit
    ]
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


def _isolation(facts: EngineFacts) -> list[Weakness]:
    options = " ".join(facts.security)
    found = []
    if "name=seccomp" not in options:
        found.append(
            Weakness("no-seccomp", "The engine filters no system calls.", "Use a kernel with seccomp.", Severity.HIGH)
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
    else:
        found += look_around(engine.facts, engine.host)
    if not has_openat2():
        found.append(
            Weakness("no-openat2", "Outputs cannot be taken over safely.", "Use Linux 5.6 or newer.", Severity.HIGH)
        )
    return found


def _observation(engine: Engine) -> list[Weakness]:
    """What cannot be seen of a tool here."""
    found = []
    tier, why = reachable_tier(engine)
    if tier == 0 and engine.facts.same_machine:
        found.append(
            Weakness(
                "observation-tier-0",
                f"{why[0].upper()}{why[1:]}: peaks are sampled, limits enforced once.",
                'Run as root beside an engine with "exec-opts": ["native.cgroupdriver=cgroupfs"] for exact peaks.',
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
    if engine.root_here and (why := why_not_notified(engine)):
        found.append(
            Weakness(
                "not-notified",
                f"Denied calls of a tool are not told with their arguments: {why}.",
                f"With runc 1.1 or newer, as root: install -m 755 {notify_runtime.__file__} {RUNTIME_PATH}; add "
                f'"runtimes": {{"{notify_runtime.RUNTIME}": {{"path": "{RUNTIME_PATH}"}}}} to /etc/docker/daemon.json, '
                "and let the engine read it (systemctl reload docker, or SIGHUP); containers that run go on.",
                Severity.LOW,
            )
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
