"""What runs inside a container: one function an attack, each in a process of its own, one line of JSON each.

Stands alone on the standard library. Every attack is bounded, undoes what it did where it can, and touches nothing
outside its container: forbidden sockets are made and closed, never connected. True means that the attack worked.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import resource
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PATIENCE = 8
MIB = 1 << 20
BOUND_BYTES = 80 * MIB
BOUND_FILES = 3000

libc = ctypes.CDLL(None, use_errno=True)
PROBES: dict[str, Callable[[], object]] = {}


class Stopped(Exception):
    """The attack did not work, and how that showed."""


def probe(name: str) -> Callable[[Callable[[], object]], Callable[[], object]]:
    """Put a function into the table; it returns what it got hold of, or raises `Stopped` or `OSError`."""

    def put(function: Callable[[], object]) -> Callable[[], object]:
        PROBES[name] = function
        return function

    return put


def call(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | ctypes.Array[ctypes.c_int] | None) -> int:
    """A raw system call; raises `OSError` where it fails."""
    ctypes.set_errno(0)
    given = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    libc.syscall.restype = ctypes.c_long
    result = int(libc.syscall(ctypes.c_long(number), *given))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


# --- system calls that reach a part of the kernel which a tool does not need -----------------------------------------

CALLS: dict[str, tuple[int, tuple[int, ...]]] = {
    # name: number on x86_64, harmless arguments; what the kernel refuses for its arguments was still reached
    "io_uring": (425, (1, 0)),
    "keyctl": (250, (0, -3, 1)),
    "add_key": (248, (0, 0, 0, 0, -3)),
    "request_key": (249, (0, 0, 0, 0)),
    "bpf": (321, (0, 0, 0)),
    "perf_event_open": (298, (0, 0, -1, -1, 0)),
    "userfaultfd": (323, (0,)),
    "memfd_secret": (447, (0,)),
    "pidfd_getfd": (438, (-1, 0, 0)),
    "kcmp": (312, (1, 1, 0, 0, 0)),
    "process_madvise": (440, (-1, 0, 0, 0, 0)),
    "setns": (308, (-1, 0)),
    "mount": (165, (0, 0, 0, 0, 0)),
    "umount2": (166, (0, 0)),
    "pivot_root": (155, (0, 0)),
    "open_tree": (428, (-1, 0, 0)),
    "move_mount": (429, (-1, 0, -1, 0, 0)),
    "fsopen": (430, (0, 0)),
    "fspick": (433, (-1, 0, 0)),
    "mount_setattr": (442, (-1, 0, 0, 0, 0)),
    "open_by_handle_at": (304, (-1, 0, 0)),
    "name_to_handle_at": (303, (-1, 0, 0, 0, 0)),
    "init_module": (175, (0, 0, 0)),
    "finit_module": (313, (-1, 0, 0)),
    "delete_module": (176, (0, 0)),
    "kexec_load": (246, (0, 0, 0, -1)),
    "reboot": (169, (0, 0, 0, 0)),
    "swapon": (167, (0, 0)),
    "acct": (163, (1,)),
    "settimeofday": (164, (1, 0)),
    "clock_settime": (227, (0, 0)),
    "sethostname": (170, (0, -1)),
    "syslog": (103, (10, 0, 0)),
    "quotactl": (179, (0, 0, 0, 0)),
    "iopl": (172, (3,)),
    "ioperm": (173, (0x80, 1, 1)),
    "fanotify_init": (300, (0, 0)),
    "lookup_dcookie": (212, (0, 0, 0)),
    "uselib": (134, (0,)),
    "ustat": (136, (0, 0)),
    "sysfs": (139, (3,)),
    "vhangup": (153, ()),
    "mbind": (237, (0, 0, 0, 0, 0, 0)),
    "move_pages": (279, (0, 0, 0, 0, 0, 0)),
    "migrate_pages": (256, (0, 0, 0, 0)),
    "set_mempolicy": (238, (0, 0, 0)),
    "an unknown call": (999, ()),
    "fsconfig": (431, (-1, 0, 0, 0, 0)),
    "fsmount": (432, (-1, 0, 0)),
    "open_tree_attr": (467, (-1, 0, 0, 0, 0)),
    "statmount": (457, (0, 0, 0, 0)),
    "listmount": (458, (0, 0, 0, 0)),
    "swapoff": (168, (0,)),
    "kexec_file_load": (320, (-1, -1, 0, 0, 0)),
    "quotactl_fd": (443, (-1, 0, 0, 0)),
    "setdomainname": (171, (0, -1)),
    "adjtimex": (159, (0,)),
    "clock_adjtime": (305, (0, 0)),
    "fanotify_mark": (301, (-1, 0, 0, -1, 0)),
    "process_vm_writev": (311, (0, 0, 0, 0, 0, 0)),
    "process_mrelease": (448, (-1, 0)),
    "get_mempolicy": (239, (0, 0, 0, 0, 0)),
    "set_mempolicy_home_node": (450, (0, 0, 0, 1)),
    "sched_setattr": (314, (0, 0, 0)),
    "tee": (276, (-1, -1, 0, 0)),
    "setfsuid": (122, (-1,)),
}


def _reaches(number: int, arguments: tuple[int, ...]) -> Callable[[], object]:
    def run() -> object:
        try:
            return call(number, *arguments)
        except OSError as error:
            if error.errno in (errno.EPERM, errno.ENOSYS, errno.EACCES):
                raise
            return f"the kernel looked at its arguments: {errno.errorcode.get(error.errno or 0)}"

    return run


for _name, (_number, _arguments) in CALLS.items():
    PROBES[_name] = _reaches(_number, _arguments)


@probe("unshare a user namespace")
def _() -> object:
    return call(272, 0x10000000)


@probe("unshare a mount namespace")
def _() -> object:
    return call(272, 0x00020000)


@probe("unshare a cgroup namespace")
def _() -> object:
    return call(272, 0x02000000)


@probe("unshare a network namespace")
def _() -> object:
    return call(272, 0x40000000)


@probe("unshare a process namespace")
def _() -> object:
    return call(272, 0x20000000)


@probe("unshare a time namespace")
def _() -> object:
    return call(272, 0x00000080)


@probe("a filter of its own that asks a listener")
def _() -> object:
    allow = (ctypes.c_ubyte * 8)(*(0x06, 0, 0, 0, 0, 0, 0xFF, 0x7F))  # BPF_RET, SECCOMP_RET_ALLOW
    program = (ctypes.c_ulong * 2)(1, ctypes.addressof(allow))
    call(157, 38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    return call(317, 1, 8, ctypes.addressof(program))  # SECCOMP_SET_MODE_FILTER with a listener


@probe("clone a user namespace")
def _() -> object:
    child = call(56, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    return child


@probe("clone3 a user namespace")
def _() -> object:
    arguments = bytearray(88)
    arguments[0:8] = (0x10000000).to_bytes(8, "little")
    arguments[32:40] = int(signal.SIGCHLD).to_bytes(8, "little")
    held = (ctypes.c_char * 88).from_buffer(arguments)
    child = call(435, held, 88)
    if child == 0:
        os._exit(0)
    return child


@probe("ptrace")
def _() -> object:
    return call(101, 0, 0, 0, 0)  # PTRACE_TRACEME: by the parent, which ends at once


@probe("read another process's memory")
def _() -> object:
    secret = ctypes.create_string_buffer(b"................")
    got = ctypes.create_string_buffer(len(secret))
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        secret.value = b"of the child"  # at an address that the parent knows
        os.write(write_end, b"x")
        time.sleep(5)
        os._exit(0)
    os.read(read_end, 1)
    here = (ctypes.c_ulong * 2)(ctypes.addressof(got), len(got))
    there = (ctypes.c_ulong * 2)(ctypes.addressof(secret), len(secret))
    try:
        call(310, child, ctypes.addressof(here), 1, ctypes.addressof(there), 1, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return got.value.decode()


@probe("chroot")
def _() -> object:
    os.chroot("/")
    return "changed"


@probe("personality")
def _() -> object:
    return call(135, 8)


@probe("modify_ldt")
def _() -> object:
    return call(154, 0, ctypes.create_string_buffer(64), 64)


@probe("remap_file_pages")
def _() -> object:
    page = mmap.mmap(-1, 8192)
    place = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return call(216, place, 4096, 0, 0, 0)


@probe("splice")
def _() -> object:
    one, two = os.pipe(), os.pipe()
    os.write(one[1], b"x")
    return call(275, one[0], 0, two[1], 0, 1, 0)


@probe("vmsplice")
def _() -> object:
    _, write_end = os.pipe()
    data = ctypes.create_string_buffer(b"x" * 16)
    part = (ctypes.c_ulong * 2)(ctypes.addressof(data), 16)
    return call(278, write_end, ctypes.addressof(part), 1, 0)


@probe("asynchronous IO")
def _() -> object:
    return call(206, 1, ctypes.create_string_buffer(8))


@probe("a POSIX message queue")
def _() -> object:
    queue = call(240, b"pratique-attack", os.O_CREAT | os.O_RDWR, 0o600, 0)
    call(241, b"pratique-attack")
    return queue


@probe("another scheduling class")
def _() -> object:
    return call(144, 0, 3, (ctypes.c_char * 4)())  # SCHED_BATCH


@probe("real-time scheduling")
def _() -> object:
    return call(144, 0, 1, ctypes.create_string_buffer((1).to_bytes(4, "little"), 4))


@probe("a negative nice value")
def _() -> object:
    return os.nice(-5)


@probe("another IO priority")
def _() -> object:
    return call(251, 1, 0, (2 << 13) | 7)


@probe("int 0x80")
def _() -> object:
    return _machine_code("b814000000cd80c3")  # mov eax, 20 (getpid of i386); int 0x80; ret


@probe("x32 system calls")
def _() -> object:
    return _machine_code("b8270000400f05c3")  # mov eax, 0x40000027 (getpid of x32); syscall; ret


def _machine_code(code: str) -> object:
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex(code))
    result = int(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))())
    if result <= 0:
        raise Stopped(f"the call returned {result}")
    return result


# --- sockets: made and closed, never connected -----------------------------------------------------------------------


def _makes(*wanted: tuple[int, int], protocol: int = 0) -> Callable[[], object]:
    def run() -> object:
        made = []
        for family, kind in wanted:
            try:
                socket.socket(family, kind, protocol).close()
                made.append(family)
            except OSError as error:
                last = error
        if not made:
            raise Stopped(str(last))
        return sorted(set(made))

    return run


@probe("pairs of sockets of other families")
def _() -> object:
    reached = []
    for family in (2, 10, 16, 17, 29, 30, 38, 40, 42, 44):  # TIPC (30) makes them, and has its module loaded for it
        try:
            call(53, family, 1, 0, (ctypes.c_int * 2)())
        except OSError as error:
            if error.errno in (errno.EPERM, errno.ENOSYS, errno.EACCES):
                continue
        reached.append(family)
    if not reached:
        raise Stopped("none")
    return f"the kernel looked at families {reached}"


PROBES["an AF_VSOCK socket"] = _makes((40, 1), (40, 2))
PROBES["an AF_ALG socket"] = _makes((38, 5))
PROBES["an AF_NETLINK socket"] = _makes((16, 3))
PROBES["an AF_PACKET socket"] = _makes((17, 3), (17, 2))
PROBES["an AF_KEY socket"] = _makes((15, 3))
PROBES["a raw IP socket"] = _makes((2, 3), (10, 3), protocol=1)
PROBES["a socket of any other family"] = _makes(
    *((family, kind) for family in range(3, 46) if family not in (10, 15, 16, 17, 38, 40) for kind in (1, 2, 3, 5))
)


# --- privileges ------------------------------------------------------------------------------------------------------


def _status(name: str) -> str:
    table = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(line.split()[1] for line in table.splitlines() if line.startswith(name + ":"))


@probe("capabilities")
def _() -> object:
    found = {name: _status(name) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    if not any(int(value, 16) for value in found.values()):
        raise Stopped("none")
    return found


@probe("new privileges by a set-user-id file of the image")
def _() -> object:
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    command = ["/opt/setuid-python", "-S", "-c", "import os; print(os.geteuid())"]
    home = {"PYTHONHOME": sys.base_prefix}
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, env=home)
    if done.stdout.strip() != "0":
        raise Stopped(f"effective uid {done.stdout.strip()} {done.stderr[-100:]}")
    return "effective uid 0"


@probe("new privileges by a capability of a file of the image")
def _() -> object:
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    code = "print(next(l.split()[1] for l in open('/proc/self/status') if l.startswith('CapEff')))"
    home = {"PYTHONHOME": sys.base_prefix}
    command = ["/opt/capable-python", "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, env=home)
    if not int(done.stdout.strip() or "0", 16):
        raise Stopped(f"none {done.stderr[-100:]}")
    return done.stdout.strip()


@probe("fchmodat2 set-user-id")
def _() -> object:
    path = Path("/tmp/fchmodat2-me")
    path.touch()
    try:
        call(452, -100, os.fsencode(path), 0o4755, 0)
        if path.stat().st_mode & 0o4000 == 0:
            raise Stopped("the bit is not there")
        return "set"
    finally:
        path.unlink()


@probe("chmod set-user-id")
def _() -> object:
    return _chmod(0o4755)


@probe("chmod set-group-id")
def _() -> object:
    return _chmod(0o2755)


def _chmod(mode: int) -> object:
    path = Path("/tmp/chmod-me")
    path.touch()
    try:
        path.chmod(mode)
        if path.stat().st_mode & 0o6000 == 0:
            raise Stopped("the bit is not there")
        return oct(mode)
    finally:
        path.unlink()


@probe("openat with a set-user-id mode")
def _() -> object:
    path = Path("/tmp/open-me")
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o4755))
    try:
        if path.stat().st_mode & 0o4000 == 0:
            raise Stopped("the bit is not there")
        # the bit alone is worth nothing: it serves where the file system honours it and the file can be started
        flags = os.statvfs("/tmp").f_flag
        if flags & (os.ST_NOSUID | os.ST_NOEXEC):
            raise Stopped("the file system ignores it")
        return "a set-user-id file"
    finally:
        path.unlink()


@probe("file capabilities by setxattr")
def _() -> object:
    return _attribute(b"security.capability", bytes.fromhex("0000000200040000000000000000000000000000"))


@probe("extended attributes as a hiding place")
def _() -> object:
    return _attribute(b"user.hidden", b"data")


def _attribute(name: bytes, value: bytes) -> object:
    path = Path("/tmp/attribute-me")
    path.touch()
    try:
        return call(188, os.fsencode(path), name, value, len(value), 0)
    finally:
        path.unlink()


@probe("chown")
def _() -> object:
    path = Path("/tmp/chown-me")
    path.touch()
    try:
        os.chown(path, 4242, 4242)
        return "given away"
    finally:
        path.unlink()


@probe("setuid to another user")
def _() -> object:
    os.setuid(4242)
    return os.getuid()


@probe("the uid of the host's root")
def _() -> object:
    first = Path("/proc/self/uid_map").read_text(encoding="utf-8").split()
    if os.getuid() != 0 or first[1] != "0":
        raise Stopped(f"uid {os.getuid()}")
    return "root here is root on the host"


# --- devices ---------------------------------------------------------------------------------------------------------


@probe("mknod a device")
def _() -> object:
    os.mknod("/tmp/null-device", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    Path("/tmp/null-device").unlink()
    return "made"


@probe("a named pipe")
def _() -> object:
    os.mkfifo("/tmp/pipe")
    Path("/tmp/pipe").unlink()
    return "made"


@probe("a block device in /dev")
def _() -> object:
    found = [path.name for path in Path("/dev").iterdir() if stat.S_ISBLK(path.lstat().st_mode)]
    if not found:
        raise Stopped("none")
    return found


@probe("/dev/mem, /dev/kmsg, /dev/fuse or /dev/kvm")
def _() -> object:
    return _first_opened(
        "/dev/mem", "/dev/kmsg", "/dev/fuse", "/dev/kvm", "/dev/port", "/dev/net/tun", "/dev/userfaultfd", "/dev/vsock",
        "/dev/vhost-net", "/dev/vhost-vsock", "/dev/loop-control", "/dev/mapper/control", "/dev/snapshot", "/dev/hpet",
    )  # fmt: skip


@probe("a disk's device file that the image brings")
def _() -> object:
    return _first_opened("/opt/disk")


@probe("kernel memory by a device file that the image brings")
def _() -> object:
    return _first_opened("/opt/memory")


@probe("a file in /dev")
def _() -> object:
    os.close(os.open("/dev/left-here", os.O_CREAT | os.O_WRONLY))
    Path("/dev/left-here").unlink()
    return "written"


def _first_opened(*paths: str, flags: int = os.O_RDONLY) -> object:
    troubles = []
    for path in paths:
        try:
            os.close(os.open(path, flags))
            return path
        except OSError as error:
            troubles.append(f"{path}: {error.strerror}")
    raise Stopped("; ".join(troubles))


# --- what the kernel and the engine tell about the machine -----------------------------------------------------------


def _tells(*paths: str) -> Callable[[], object]:
    def run() -> object:
        for path in map(Path, paths):
            try:
                if path.is_dir():
                    found: object = [entry.name for entry in path.iterdir()][:3]
                else:
                    with path.open("rb") as stream:
                        found = stream.read(64).decode("ascii", "replace")
            except OSError:
                continue
            if found:
                return f"{path}: {found}"
        raise Stopped("nothing")

    return run


for _path in (
    "/proc/cmdline", "/proc/config.gz", "/proc/kcore", "/proc/keys", "/proc/key-users", "/proc/timer_list",
    "/proc/modules", "/proc/partitions", "/proc/diskstats", "/proc/swaps", "/proc/interrupts", "/proc/slabinfo",
    "/proc/vmallocinfo", "/proc/kallsyms", "/proc/sched_debug", "/proc/sys/kernel/random/boot_id", "/sys/firmware",
    "/sys/block", "/sys/module", "/sys/kernel/security", "/sys/devices/virtual/powercap", "/proc/acpi", "/proc/scsi",
    "/proc/buddyinfo", "/proc/consoles", "/proc/dma", "/proc/iomem", "/proc/ioports", "/proc/mdstat", "/proc/mtrr",
    "/proc/pagetypeinfo", "/proc/schedstat", "/proc/softirqs", "/proc/latency_stats", "/proc/asound",
    "/sys/fs/ext4", "/sys/fs/xfs", "/sys/kernel/irq", "/sys/kernel/notes", "/sys/kernel/slab", "/sys/kernel/debug",
    "/sys/kernel/tracing", "/sys/class/hwmon", "/sys/class/thermal",
):  # fmt: skip
    PROBES[f"read {_path}"] = _tells(_path)
PROBES["read the hardware's identity"] = _tells("/sys/class/dmi/id/product_uuid", "/sys/class/dmi/id/sys_vendor")
PROBES["read the engine's control group path"] = lambda: _engine_path()


def _engine_path() -> object:
    table = Path("/proc/self/cgroup").read_text(encoding="utf-8")
    found = [line for line in table.splitlines() if "docker" in line or "pratique" in line]
    if not found:
        raise Stopped("a namespace of its own")
    return found[0]


@probe("the hostname tells the container's id")
def _() -> object:
    name = socket.gethostname()
    if len(name) != 12 or not set(name) <= set("0123456789abcdef"):
        raise Stopped(name)
    return name


@probe("a descriptor left open by the engine")
def _() -> object:
    known = {f"/proc/{os.getpid()}/fd"}
    found = []
    for entry in Path("/proc/1/fd").iterdir():
        target = str(entry.readlink())
        if target.startswith("/") and target not in known and not target.startswith(("/dev/", "/proc/")):
            found.append(target)
    if not found:
        raise Stopped("none")
    return found


@probe("overwrite the program of process 1")
def _() -> object:
    return _first_opened("/proc/1/exe", flags=os.O_WRONLY)


# --- places to write -------------------------------------------------------------------------------------------------


@probe("write to the root file system")
def _() -> object:
    os.close(os.open("/usr/left-here", os.O_CREAT | os.O_WRONLY))
    Path("/usr/left-here").unlink()
    return "written"


@probe("write to /etc/hosts, a file on the host's disk")
def _() -> object:
    return _first_opened("/etc/hosts", "/etc/hostname", "/etc/resolv.conf", flags=os.O_WRONLY)


@probe("write to /proc/sys or sysrq")
def _() -> object:
    return _first_opened(
        "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/vm/drop_caches", "/proc/irq/0/smp_affinity",
        "/proc/sys/kernel/modprobe", "/sys/kernel/uevent_helper", flags=os.O_WRONLY,
    )  # fmt: skip


@probe("a control group of its own, or a release agent")
def _() -> object:
    for place in ("/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/rdma"):
        group = Path(place, "attack")
        try:
            group.mkdir()
        except OSError:
            continue
        group.rmdir()
        return place
    return _first_opened("/sys/fs/cgroup/release_agent", "/sys/fs/cgroup/rdma/release_agent", flags=os.O_WRONLY)


@probe("be spared by the out-of-memory killer")
def _() -> object:
    Path("/proc/self/oom_score_adj").write_text("-900", encoding="utf-8")
    return "spared"


@probe("run a program from a writable place")
def _() -> object:
    ran = []
    for place in ("/tmp", "/dev/shm", "/output"):
        path = Path(place, "copied")
        try:
            shutil.copy("/usr/bin/python3", path)
            path.chmod(0o755)
            subprocess.run([path, "-S", "-c", "pass"], check=True, capture_output=True, timeout=PATIENCE)
            ran.append(place)
        except (OSError, subprocess.SubprocessError) as error:
            last = error
        finally:
            path.unlink(missing_ok=True)
    if not ran:
        raise Stopped(str(last))
    return ran


@probe("run a program from memory")
def _() -> object:
    held = call(319, b"nowhere", 0)  # memfd_create: a file without a place, so no noexec stops it
    with Path("/usr/bin/python3").open("rb") as source:
        while data := source.read(MIB):
            os.write(held, data)
    command = [f"/proc/self/fd/{held}", "-S", "-c", "print(1)"]
    home = {"PYTHONHOME": sys.base_prefix}
    done = subprocess.run(
        command, pass_fds=[held], capture_output=True, text=True, timeout=PATIENCE, check=False, env=home
    )
    if done.stdout != "1\n":
        raise Stopped(done.stderr[-100:])
    return "ran"


@probe("map writable memory of a file as a program")
def _() -> object:
    with Path("/tmp/mapped").open("w+b") as stream:
        stream.write(b"\xc3" * 4096)
        stream.flush()
        try:
            mmap.mmap(stream.fileno(), 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC).close()
        finally:
            Path("/tmp/mapped").unlink()
    return "mapped"


def _fills(place: str) -> Callable[[], object]:
    def run() -> object:
        path, size = Path(place, "big"), 0
        try:
            with path.open("wb", buffering=0) as out:
                while size < BOUND_BYTES:
                    size += out.write(bytes(MIB))
        except OSError as error:
            raise Stopped(f"{error.strerror} at {size} bytes") from error
        finally:
            path.unlink(missing_ok=True)
        return f"{size} bytes"

    return run


def _floods(place: str) -> Callable[[], object]:
    def run() -> object:
        made = 0
        try:
            while made < BOUND_FILES:
                os.close(os.open(f"{place}/{made}", os.O_CREAT | os.O_WRONLY))
                made += 1
        except OSError as error:
            raise Stopped(f"{error.strerror} at {made} files") from error
        finally:
            for number in range(made):
                Path(place, str(number)).unlink()
        return f"{made} files"

    return run


for _path in ("/tmp", "/output", "/data"):
    PROBES[f"{BOUND_BYTES // MIB} MiB in {_path}"] = _fills(_path)
for _path in ("/tmp", "/dev/shm", "/output", "/data"):
    PROBES[f"{BOUND_FILES} files in {_path}"] = _floods(_path)


# --- limits ----------------------------------------------------------------------------------------------------------


def _raises(kind: int, beyond: int) -> Callable[[], object]:
    def run() -> object:
        _, most = resource.getrlimit(kind)
        if most != resource.RLIM_INFINITY and most <= beyond:
            raise Stopped(f"at most {most}")
        resource.setrlimit(kind, (most, most))
        return "unlimited" if most == resource.RLIM_INFINITY else most

    return run


PROBES["core files"] = _raises(resource.RLIMIT_CORE, 0)
PROBES["many open files"] = _raises(resource.RLIMIT_NOFILE, 4096)
PROBES["many processes of one user"] = _raises(resource.RLIMIT_NPROC, 4096)
PROBES["files of any size"] = _raises(resource.RLIMIT_FSIZE, 64 << 30)
PROBES["bytes in message queues"] = _raises(12, 0)
PROBES["locked memory"] = _raises(resource.RLIMIT_MEMLOCK, 0)


@probe("all CPUs of the machine")
def _() -> object:
    wanted = set(range(os.cpu_count() or 1))
    os.sched_setaffinity(0, wanted)
    if len(os.sched_getaffinity(0)) < 2:
        raise Stopped("one CPU")
    return sorted(os.sched_getaffinity(0))


@probe("zombies that nobody collects")
def _() -> object:
    for _ in range(10):
        if os.fork() == 0:
            if os.fork() == 0:
                time.sleep(0.05)
            os._exit(0)
        os.wait()
    time.sleep(0.5)
    found = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                found += (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[
                    0
                ] == "Z"
    if found < 5:
        raise Stopped(f"{found} left")
    return f"{found} left"


# --- the network: looked at, never used ------------------------------------------------------------------------------


@probe("a network interface")
def _() -> object:
    table = Path("/proc/net/dev").read_text(encoding="utf-8")
    names = [line.split(":")[0].strip() for line in table.splitlines() if ":" in line]
    if names == ["lo"]:
        raise Stopped("loopback only")
    return names


@probe("a route to the cloud's metadata address")
def _() -> object:
    routes = [line.split() for line in Path("/proc/net/route").read_text(encoding="utf-8").splitlines()[1:]]
    if not any(int(row[1], 16) == 0 for row in routes):
        raise Stopped("no route")
    return "a default route"


@probe("the host's name servers")
def _() -> object:
    lines = Path("/etc/resolv.conf").read_text(encoding="utf-8").splitlines()
    found = [line.split()[1] for line in lines if line.startswith("nameserver")]
    if found in ([], ["127.0.0.1"]):
        raise Stopped("none")
    return found


@probe("an abstract socket of the engine")
def _() -> object:
    lines = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()
    found = [line.split()[-1] for line in lines if "@" in line and ("shim" in line or "docker" in line)]
    if not found:
        raise Stopped("none")
    return found[:3]


@probe("the engine's socket")
def _() -> object:
    return _first_opened(
        "/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock",
        "/var/lib/pratique/engine/docker.sock", flags=os.O_PATH,
    )  # fmt: skip


@probe("a terminal to push keys into")
def _() -> object:
    terminal = os.open("/dev/tty", os.O_RDWR)
    fcntl.ioctl(terminal, 0x5412, b"x")  # TIOCSTI
    return "pushed"


def _run(function: Callable[[], object]) -> dict[str, object]:
    """Carry one out in a process of its own, and end it when it takes too long."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        signal.alarm(PATIENCE)
        try:
            answer: dict[str, object] = {"worked": True, "detail": str(function())[:300]}
        except (Stopped, OSError, ValueError) as error:
            answer = {"worked": False, "detail": str(error)[:300]}
        os.write(write_end, json.dumps(answer).encode())
        os._exit(0)
    os.close(write_end)
    data = b""
    end = time.monotonic() + PATIENCE + 2
    while select.select([read_end], [], [], max(0.0, end - time.monotonic()))[0]:
        piece = os.read(read_end, 65536)
        if not piece:
            break
        data += piece
    os.close(read_end)
    _, status = os.waitpid(child, 0)
    if data:
        found: dict[str, object] = json.loads(data)
        return found
    return {"worked": False, "detail": f"ended with {os.waitstatus_to_exitcode(status)}"}


def main() -> None:
    """All of them, in order."""
    for name, function in PROBES.items():
        sys.stdout.write(json.dumps({"name": name, **_run(function)}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
