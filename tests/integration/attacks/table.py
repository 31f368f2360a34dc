"""The attacks of `program.py`: what Docker's defaults make of each, and where it is known from.

The sandbox stops every one of them. `WORKS` and `STOPPED` are asserted of the defaults too; `VARIES` depends on the
engine's version or on the kernel and is only reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Default(StrEnum):
    """What happens to an attack in a container with Docker's defaults."""

    WORKS = "works"
    STOPPED = "stopped"
    VARIES = "varies"


@dataclass(frozen=True)
class Attack:
    """One probe of the program by its name; `why` says what it is worth to an attacker, or why the default differs."""

    name: str
    default: Default
    why: str


def _rows(default: Default, why: str, *names: str) -> tuple[Attack, ...]:
    return tuple(Attack(name, default, why) for name in names)


ATTACKS: tuple[Attack, ...] = (
    # system calls
    *_rows(Default.VARIES, "allowed until Docker 25; a second system call interface", "io_uring"),
    *_rows(Default.VARIES, "allowed by newer engines; memory that a debugger cannot see", "memfd_secret"),
    *_rows(Default.STOPPED, "keyrings are not kept apart by namespaces", "keyctl", "add_key", "request_key"),
    *_rows(Default.STOPPED, "programs and counters inside the kernel", "bpf", "perf_event_open"),
    *_rows(Default.STOPPED, "hands page faults to a program: the classic of kernel exploits", "userfaultfd"),
    *_rows(Default.VARIES, "reaches into other processes", "pidfd_getfd", "kcmp", "process_madvise"),
    *_rows(Default.WORKS, "reaches into other processes", "ptrace"),
    *_rows(Default.VARIES, "Yama or the engine may stop it", "read another process's memory"),
    *_rows(
        Default.STOPPED,
        "a new view of the host's mounts",
        "setns", "mount", "umount2", "pivot_root", "open_tree", "move_mount", "fsopen", "fspick", "mount_setattr",
        "unshare a mount namespace", "unshare a cgroup namespace",
    ),
    *_rows(
        Default.STOPPED,
        "root in a namespace of one's own reaches much more of the kernel",
        "unshare a user namespace", "clone a user namespace", "clone3 a user namespace",
    ),
    *_rows(
        Default.STOPPED,
        "the machine itself, by newer or rarer calls",
        "fsconfig", "fsmount", "swapoff", "kexec_file_load", "quotactl_fd", "setdomainname",
        "unshare a network namespace", "unshare a process namespace", "unshare a time namespace",
    ),
    *_rows(
        Default.VARIES,
        "newer calls, which engines answer in their own ways",
        "open_tree_attr", "statmount", "listmount", "process_vm_writev", "process_mrelease", "set_mempolicy_home_node",
        "get_mempolicy", "fanotify_mark",
    ),
    *_rows(Default.VARIES, "tells how the host's clock is kept", "adjtimex", "clock_adjtime"),
    *_rows(Default.WORKS, "takes time from neighbours", "sched_setattr"),
    *_rows(Default.WORKS, "duplicates pipes (Dirty Pipe's neighbour)", "tee"),
    *_rows(Default.WORKS, "file system identity of another", "setfsuid"),
    *_rows(Default.WORKS, "answers its own calls, past an observer", "a filter of its own that asks a listener"),
    *_rows(Default.WORKS, "escapes a directory that a program was locked into", "chroot"),
    *_rows(Default.STOPPED, "`shocker`: files by handle, beside every mount", "open_by_handle_at"),
    *_rows(Default.VARIES, "handles for the attack above, and inode numbers of the host", "name_to_handle_at"),
    *_rows(
        Default.STOPPED,
        "the machine itself",
        "init_module", "finit_module", "delete_module", "kexec_load", "reboot", "swapon", "acct", "settimeofday",
        "clock_settime", "sethostname", "syslog", "quotactl", "iopl", "ioperm", "fanotify_init", "vhangup",
    ),
    *_rows(Default.STOPPED, "calls that nobody uses any more", "lookup_dcookie", "uselib", "ustat", "sysfs"),
    *_rows(Default.STOPPED, "memory of neighbours", "mbind", "move_pages", "migrate_pages", "set_mempolicy"),
    *_rows(Default.STOPPED, "what a filter does not know", "an unknown call"),
    *_rows(Default.WORKS, "switches protections of the address space off", "personality"),
    *_rows(Default.VARIES, "segments of one's own, with past exploits; not in every kernel", "modify_ldt"),
    *_rows(Default.WORKS, "old and rarely tested", "remap_file_pages", "asynchronous IO"),
    *_rows(Default.WORKS, "Dirty Pipe (CVE-2022-0847)", "splice", "vmsplice"),
    *_rows(Default.WORKS, "outlives the process", "a POSIX message queue"),
    *_rows(Default.WORKS, "takes time from neighbours", "another scheduling class", "another IO priority"),
    *_rows(Default.STOPPED, "takes time from neighbours", "real-time scheduling", "a negative nice value"),
    *_rows(Default.VARIES, "calls with other numbers slip past a filter; not in every kernel", "int 0x80"),
    *_rows(Default.VARIES, "calls with other numbers slip past a filter; in few kernels", "x32 system calls"),
    # sockets
    *_rows(Default.VARIES, "the hypervisor of the machine; stopped by newer engines", "an AF_VSOCK socket"),
    *_rows(Default.VARIES, "where the kernel has the module", "an AF_ALG socket", "an AF_KEY socket"),
    *_rows(Default.WORKS, "kernel interfaces with a long list of exploits", "an AF_NETLINK socket"),
    *_rows(Default.WORKS, "forged frames to neighbours on the bridge", "an AF_PACKET socket", "a raw IP socket"),
    *_rows(Default.VARIES, "where the module is there", "a socket of any other family"),
    *_rows(Default.WORKS, "has modules loaded that no socket could (TIPC)", "pairs of sockets of other families"),
    # privileges
    *_rows(Default.WORKS, "14 capabilities are on by default", "capabilities", "chown", "setuid to another user"),
    *_rows(Default.WORKS, "no user-namespace remap", "the uid of the host's root"),
    *_rows(
        Default.WORKS,
        "programs that raise privileges",
        "new privileges by a set-user-id file of the image", "new privileges by a capability of a file of the image",
        "chmod set-user-id", "chmod set-group-id",
        "openat with a set-user-id mode", "file capabilities by setxattr",
    ),
    *_rows(Default.VARIES, "the same by a newer call, of Linux 6.6", "fchmodat2 set-user-id"),
    *_rows(Default.WORKS, "data beside the data", "extended attributes as a hiding place"),
    # devices
    *_rows(Default.WORKS, "CAP_MKNOD is on by default", "mknod a device", "a named pipe", "a file in /dev"),
    *_rows(
        Default.STOPPED,
        "the device control group",
        "a block device in /dev", "/dev/mem, /dev/kmsg, /dev/fuse or /dev/kvm", "a terminal to push keys into",
        "a disk's device file that the image brings", "kernel memory by a device file that the image brings",
    ),
    # what the machine tells
    *_rows(
        Default.WORKS,
        "tells machines and neighbours apart, and passes signals between containers",
        "read /proc/cmdline", "read /proc/key-users", "read /proc/diskstats", "read /proc/partitions",
        "read /proc/swaps", "read /proc/sys/kernel/random/boot_id", "read /proc/slabinfo", "read /sys/module",
        "the hostname tells the container's id",
    ),
    *_rows(
        Default.VARIES,
        "depends on kernel, hardware and version",
        "read /proc/config.gz", "read /proc/interrupts", "read /proc/vmallocinfo", "read /proc/kallsyms",
        "read /proc/modules", "read /sys/block", "read the hardware's identity", "read /sys/kernel/security",
        "read the engine's control group path",
        "read /proc/consoles", "read /proc/dma", "read /proc/iomem", "read /proc/ioports", "read /proc/mdstat",
        "read /proc/mtrr", "read /proc/pagetypeinfo", "read /proc/latency_stats", "read /proc/asound",
        "read /sys/fs/ext4", "read /sys/fs/xfs", "read /sys/kernel/irq", "read /sys/kernel/notes",
        "read /sys/kernel/slab", "read /sys/kernel/debug", "read /sys/kernel/tracing", "read /sys/class/hwmon",
        "read /sys/class/thermal", "read /proc/schedstat",
    ),
    *_rows(
        Default.WORKS,
        "counts what neighbours do",
        "read /proc/buddyinfo", "read /proc/softirqs",
    ),
    *_rows(
        Default.STOPPED,
        "masked by default",
        "read /proc/kcore", "read /proc/keys", "read /proc/timer_list", "read /proc/sched_debug", "read /sys/firmware",
        "read /sys/devices/virtual/powercap", "read /proc/acpi", "read /proc/scsi",
    ),
    *_rows(Default.STOPPED, "CVE-2024-21626", "a descriptor left open by the engine"),
    *_rows(Default.STOPPED, "CVE-2019-5736", "overwrite the program of process 1"),
    # places to write
    *_rows(Default.WORKS, "a disk of the host, without a limit", "write to the root file system"),
    *_rows(Default.WORKS, "files of the engine on the host's disk", "write to /etc/hosts, a file on the host's disk"),
    *_rows(Default.STOPPED, "settings of the host", "write to /proc/sys or sysrq"),
    *_rows(Default.VARIES, "runs a program on the host", "a control group of its own, or a release agent"),
    *_rows(Default.STOPPED, "lets a neighbour die instead", "be spared by the out-of-memory killer"),
    *_rows(
        Default.WORKS,
        "programs that no scanner saw",
        "run a program from a writable place", "run a program from memory",
        "map writable memory of a file as a program",
    ),
    *_rows(Default.WORKS, "fills the host's disk", "80 MiB in /tmp", "80 MiB in /output"),
    *_rows(Default.WORKS, "a VOLUME of the image is writable even with --read-only", "80 MiB in /data"),
    *_rows(
        Default.WORKS,
        "uses the inodes of a file system up",
        "3000 files in /tmp", "3000 files in /dev/shm", "3000 files in /output", "3000 files in /data",
    ),
    # limits
    *_rows(Default.WORKS, "writes the memory of a process to the host's disk", "core files"),
    *_rows(Default.WORKS, "uses kernel memory up", "many open files", "bytes in message queues", "locked memory"),
    *_rows(Default.WORKS, "no limit", "many processes of one user", "files of any size"),
    *_rows(Default.WORKS, "starves neighbours; on a machine with more than one", "all CPUs of the machine"),
    *_rows(Default.WORKS, "process 1 of a tool collects nobody's children", "zombies that nobody collects"),
    # network
    *_rows(Default.WORKS, "a bridge to neighbours and to the world", "a network interface", "the host's name servers"),
    *_rows(Default.WORKS, "credentials of the cloud", "a route to the cloud's metadata address"),
    *_rows(Default.STOPPED, "root on the host", "the engine's socket"),
    *_rows(Default.STOPPED, "CVE-2020-15257", "an abstract socket of the engine"),
)  # fmt: skip
