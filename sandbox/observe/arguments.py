"""What the arguments of a denied call mean, as one short line: `family=AF_VSOCK type=1 protocol=0`.

Strings lie in the memory of the caller, who may change them at any time: what is told is what was there when the call
was made known, not what the kernel would have acted on. A tool writes them, so every byte that is no plain ASCII is
escaped and every string is cut. Numbers that differ from run to run (addresses) are never told.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from functools import cache

Memory = Callable[[int, int], bytes]
"""Up to so many bytes at an address of the caller; empty where nothing can be read there."""

MAX_STRING = 160

# One line for each call: label=kind and index of the argument. Kinds: s string, d signed number, x and o unsigned in
# base 16 and 8, n a value and f flags by the names of their label, t a type of socket, c flags of a struct clone_args.
_FORMS = """
acct path=s0
add_key type=s0 description=s1
bpf command=n0
chmod path=s0 mode=o1
chroot path=s0
clone flags=f0
clone3 flags=c0
delete_module name=s0
fchmod mode=o1
fchmodat path=s1 mode=o2
fchmodat2 path=s1 mode=o2
finit_module parameters=s1
fsconfig command=d1 key=s2
fsopen type=s0
fspick path=s1
init_module parameters=s2
io_uring_setup entries=d0
keyctl operation=n0
lremovexattr path=s0 name=s1
lsetxattr path=s0 name=s1
mbind mode=d2
memfd_secret flags=x0
mknod path=s0 mode=o1 device=x2
mknodat path=s1 mode=o2 device=x3
mount source=s0 target=s1 type=s2 mountflags=x3
mount_setattr path=s1
move_mount from=s1 to=s3
mq_open name=s0
mq_unlink name=s0
name_to_handle_at path=s1
open_tree path=s1 openflags=x2
personality persona=x0
pidfd_getfd descriptor=d1
pivot_root new=s0 old=s1
ptrace request=n0 pid=d1
process_vm_readv pid=d0
process_vm_writev pid=d0
quotactl command=x0 device=s1
reboot magic=x0 command=x2
removexattr path=s0 name=s1
request_key type=s0 description=s1
sched_setattr pid=d0
sched_setparam pid=d0
sched_setscheduler pid=d0 policy=d1
seccomp command=d0
set_mempolicy mode=d0
setdomainname name=s0
sethostname name=s0
setns flags=f1
setxattr path=s0 name=s1
socket family=n0 type=t1 protocol=d2
swapoff path=s0
swapon path=s0
syslog action=d0
umount2 target=s0 umountflags=x1
unshare flags=f0
uselib path=s0
userfaultfd openflags=x0
"""

NAMESPACES = {
    0x80: "CLONE_NEWTIME",
    0x20000: "CLONE_NEWNS",
    0x2000000: "CLONE_NEWCGROUP",
    0x4000000: "CLONE_NEWUTS",
    0x8000000: "CLONE_NEWIPC",
    0x10000000: "CLONE_NEWUSER",
    0x20000000: "CLONE_NEWPID",
    0x40000000: "CLONE_NEWNET",
}
_SIGNAL_BITS = 0xFF
"""In `clone` the lowest byte is the signal at the child's end; CLONE_NEWTIME is for `clone3` and `unshare` alone."""

_SOCKET_TYPE = 0xF
"""Above it stand SOCK_CLOEXEC and SOCK_NONBLOCK."""
_SOCKET_TYPES = frozenset(("SOCK_STREAM", "SOCK_DGRAM", "SOCK_RAW", "SOCK_RDM", "SOCK_SEQPACKET"))

_VALUES: dict[str, dict[int, str]] = {
    "request": {
        0: "PTRACE_TRACEME", 1: "PTRACE_PEEKTEXT", 2: "PTRACE_PEEKDATA", 3: "PTRACE_PEEKUSER", 4: "PTRACE_POKETEXT",
        5: "PTRACE_POKEDATA", 6: "PTRACE_POKEUSER", 7: "PTRACE_CONT", 8: "PTRACE_KILL", 12: "PTRACE_GETREGS",
        13: "PTRACE_SETREGS", 16: "PTRACE_ATTACH", 17: "PTRACE_DETACH", 24: "PTRACE_SYSCALL",
        0x4200: "PTRACE_SETOPTIONS", 0x4204: "PTRACE_GETREGSET", 0x4205: "PTRACE_SETREGSET", 0x4206: "PTRACE_SEIZE",
    },
    "operation": {
        0: "KEYCTL_GET_KEYRING_ID", 1: "KEYCTL_JOIN_SESSION_KEYRING", 2: "KEYCTL_UPDATE", 3: "KEYCTL_REVOKE",
        4: "KEYCTL_CHOWN", 5: "KEYCTL_SETPERM", 6: "KEYCTL_DESCRIBE", 7: "KEYCTL_CLEAR", 8: "KEYCTL_LINK",
        9: "KEYCTL_UNLINK", 10: "KEYCTL_SEARCH", 11: "KEYCTL_READ", 22: "KEYCTL_GET_PERSISTENT",
    },
    "command": {
        0: "BPF_MAP_CREATE", 1: "BPF_MAP_LOOKUP_ELEM", 2: "BPF_MAP_UPDATE_ELEM", 5: "BPF_PROG_LOAD", 6: "BPF_OBJ_PIN",
        7: "BPF_OBJ_GET", 8: "BPF_PROG_ATTACH", 28: "BPF_LINK_CREATE",
    },
}  # fmt: skip


def describe(name: str, values: Sequence[int], memory: Memory) -> str:
    """The arguments of call `name` (`values`: six unsigned 64-bit registers); empty where there is nothing to tell."""
    return " ".join(f"{label}={_told(label, kind, values[index], name, memory)}" for label, kind, index in _form(name))


def namespaces_asked_for(arguments: str) -> bool:
    """Whether a line of `describe` names a namespace."""
    return "CLONE_NEW" in arguments.partition("flags=")[2].partition(" ")[0]


@cache
def _forms() -> dict[str, tuple[tuple[str, str, int], ...]]:
    found = {}
    for line in _FORMS.strip().splitlines():
        name, *words = line.split()
        pairs = [word.split("=") for word in words]
        found[name] = tuple((label, what[0], int(what[1])) for label, what in pairs)
    return found


def _form(name: str) -> tuple[tuple[str, str, int], ...]:
    return _forms().get(name, ())


def _told(label: str, kind: str, value: int, name: str, memory: Memory) -> str:
    if kind == "s":
        return _string(value, memory)
    if kind == "d":
        return _number(value)
    if kind in "nt":
        return _names(label).get(value & _SOCKET_TYPE if kind == "t" else value, _number(value))
    if kind == "c":
        data = memory(value, 8)
        return _flags(int.from_bytes(data, "little"), 0) if len(data) == 8 else "unreadable"
    if kind == "f":
        return _flags(value, _SIGNAL_BITS if name == "clone" else 0)
    return oct(value & 0xFFFFFFFF) if kind == "o" else hex(value)


def _string(address: int, memory: Memory) -> str:
    """A string as `"text"`; cut ones end in dots outside the quotes."""
    if not address:
        return "null"
    data = memory(address, MAX_STRING)
    if not data:
        return "unreadable"
    text, end, _ = data.partition(b"\0")
    return '"' + "".join(printable(byte) for byte in text) + '"' + ("" if end else "…")


def printable(byte: int) -> str:
    """A byte as plain ASCII; quotes, and what could change a terminal or hide, are escaped."""
    return chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\x{byte:02x}"


def _number(value: int) -> str:
    """A signed 32-bit number; one that has more bits, by which a filter might be misled, as it is."""
    low = value & 0xFFFFFFFF
    if value >> 32 not in (0, 0xFFFFFFFF):
        return hex(value)
    return str(low - (1 << 32) if low >> 31 else low)


def _flags(value: int, ignored: int) -> str:
    flags = value & ~ignored
    named = [text for bit, text in NAMESPACES.items() if flags & bit]
    rest = flags & ~sum(bit for bit in NAMESPACES if flags & bit)
    return "|".join([*named, *([hex(rest)] if rest or not named else [])])


@cache
def _names(label: str) -> dict[int, str]:
    if label == "family":
        return {
            int(value): name for name, value in vars(socket).items() if name.startswith("AF_") and name != "AF_ROUTE"
        }
    if label == "type":
        return {int(value): name for name, value in vars(socket).items() if name in _SOCKET_TYPES}
    return _VALUES[label]
