"""What a run executed, opened and connected to on its own machine, as findings of the containment check."""

from __future__ import annotations

import re

from checks.interface import Level
from checks.sandboxed.judging import Judgement
from sandbox.record import Observed, SandboxRun

MOST_LISTED = 20
_NOT_IN_THE_IMAGE = re.compile(r"memfd:|^/proc/(?:self|\d+)/fd/|^/dev/fd/|^/(?:tmp|dev/shm|output|input)(?:/|$)")
_HOST_FILES = re.compile(
    r"^/proc/N/(?:mem|root)(?:/|$)|^/proc/(?:kcore|kmem|sysrq-trigger)$|^/proc/sys/kernel/(?:core_pattern|modprobe|hotplug)$"
    r"|^/sys/fs/cgroup/.*/?(?:release_agent|notify_on_release|devices\.allow)$|^/sys/kernel/(?:uevent_helper|debug|tracing)"
    r"|^/etc/(?:shadow|gshadow|sudoers)-?$|^/root/\.(?:ssh|aws|kube|docker)(?:/|$)"
    r"|^(?:/var)?/run/secrets/|/(?:docker|containerd|podman|crio)\.sock$"
)
"""Files by which containers are escaped and hosts are robbed; no library looks at them in passing."""
_DEVICES = re.compile(r"^/dev/(?:mem|kmem|port|kmsg|sd[a-z]|nvme|vd[a-z]|dm-|loop|mapper/|kvm|vhost|net/tun|fuse)")
_ENGINES = re.compile(
    r"/(?:docker|containerd|podman|crio|dockershim)\.sock$|^(?:/var)?/run/(?:docker|containerd|podman|crio)/"
)
_FETCHES = frozenset(("curl", "wget", "nc", "ncat", "netcat", "ssh", "scp", "socat", "telnet", "ftp"))


def judge_executed(judgement: Judgement, record: SandboxRun) -> None:
    """Findings and measurements where the run was traced; that it was not is a note, since few hosts allow it."""
    judgement.measure("traced", record.traced.value)
    if record.traced not in (Observed.COMPLETE, Observed.PARTIAL):
        if record.traced is Observed.IMPOSSIBLE:
            judgement.add(
                "not-traced",
                Level.NOTE,
                f"What the tool executed and opened was not counted: {record.traced_detail or 'not possible here'}.",
                fix="Install bpftrace and run as root on a kernel with BTF; the filter denies the calls all the same.",
            )
        return
    judgement.measure("programs", len(record.programs))
    _judge_programs(judgement, record)
    _judge_files(judgement, record)
    if record.traced is Observed.PARTIAL:
        judgement.add(
            "traced-in-part",
            Level.WARNING,
            f"Not all that the tool did was counted: {record.traced_detail}",
            fix="Start fewer different programs and open fewer different files outside the image; where the detail "
            "speaks of attaching, the node's kernel or bpftrace is at fault, not the tool.",
            risks=("G1",),
        )


def _judge_programs(judgement: Judgement, record: SandboxRun) -> None:
    outside = [one for one in record.programs if _NOT_IN_THE_IMAGE.search(one.path)]
    for one in outside[:MOST_LISTED]:
        judgement.add(
            "ran-what-is-not-in-the-image",
            Level.ERROR,
            f"The tool executed {one.path}, which is no file of the image ({one.count} times).",
            fix="Put every program into the image, where it is scanned and signed.",
            risks=("G1", "G4"),
        )
    fetching = [one for one in record.programs if one.path.rpartition("/")[2] in _FETCHES]
    for one in fetching[:MOST_LISTED]:
        judgement.add(
            "ran-network-program",
            Level.WARNING,
            f"The tool executed {one.path}, which has no purpose without a network ({one.count} times).",
            fix="Take the call out: a node gives no network.",
            risks=("T2", "U6"),
        )
    listed = ", ".join(f"{one.path} ({one.count})" for one in record.programs[:MOST_LISTED])
    more = f" and {len(record.programs) - MOST_LISTED} more" if len(record.programs) > MOST_LISTED else ""
    if listed:
        judgement.add("programs", Level.NOTE, f"Programs that the tool executed: {listed}{more}.")


def _judge_files(judgement: Judgement, record: SandboxRun) -> None:
    hostile = [one for one in record.opened if _HOST_FILES.search(one.path)]
    sockets = [one for one in record.connected if _ENGINES.search(one.address)]
    if hostile or sockets:
        judgement.add(
            "reached-for-the-host",
            Level.ERROR,
            "The tool reached for what lets a container out or belongs to the machine: "
            + ", ".join([f"{one.path} ({one.count})" for one in hostile[:MOST_LISTED]]
                        + [f"{one.address} ({one.count})" for one in sockets[:MOST_LISTED]])
            + ".",
            fix="Take it out: inputs, output and /tmp are all that a tool needs.",
            risks=("G1", "U6"),
        )  # fmt: skip
    devices = [one for one in record.opened if _DEVICES.search(one.path)]
    if devices:
        judgement.add(
            "reached-for-a-device",
            Level.WARNING,
            f"The tool tried to open {', '.join(f'{one.path} ({one.count})' for one in devices[:MOST_LISTED])}, which "
            "no container of a node has.",
            fix="Take it out, or the library that asks what machine it is on.",
            risks=("G1",),
        )
    others = [one for one in record.opened if one not in hostile and one not in devices]
    if others:
        listed = ", ".join(f"{one.path} ({one.count})" for one in others[:MOST_LISTED])
        more = f" and {len(others) - MOST_LISTED} more" if len(others) > MOST_LISTED else ""
        judgement.add("files", Level.NOTE, f"Files outside the image that the tool opened or tried to: {listed}{more}.")
