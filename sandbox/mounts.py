"""mount(2) and umount2(2) for the capped file systems that runs write to; needs CAP_SYS_ADMIN on this machine."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x2, 0x4, 0x8
MNT_DETACH, UMOUNT_NOFOLLOW = 0x2, 0x8


@cache
def libc() -> ctypes.CDLL:
    """The C library, with errno kept."""
    return ctypes.CDLL(None, use_errno=True)


def mount_tmpfs(target: Path, *, size: int, files: int, uid: int, mode: int = 0o700) -> None:
    """A tmpfs of at most `size` bytes and `files` inodes on the directory `target`; raises `OSError`."""
    options = f"size={size},nr_inodes={files},uid={uid},gid={uid},mode={mode:04o}"
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    _check(libc().mount(b"pratique", os.fsencode(target), b"tmpfs", ctypes.c_ulong(flags), options.encode()), target)


def unmount(target: Path) -> bool:
    """Detach what is mounted at `target`, never following a link; False when nothing is mounted there."""
    result = libc().umount2(os.fsencode(target), MNT_DETACH | UMOUNT_NOFOLLOW)
    if result != 0 and ctypes.get_errno() in (22, 2):  # EINVAL: not a mount point; ENOENT: gone
        return False
    _check(result, target)
    return True


def mounted_below(root: Path) -> tuple[Path, ...]:
    """Mount points of this process below `root`, deepest first."""
    prefix = os.fsencode(root) + b"/"
    found = []
    with Path("/proc/self/mountinfo").open("rb") as table:
        for line in table:
            raw = line.split(b" ")[4]
            path = (
                raw.replace(b"\\040", b" ").replace(b"\\011", b"\t").replace(b"\\012", b"\n").replace(b"\\134", b"\\")
            )
            if path.startswith(prefix):
                found.append(Path(os.fsdecode(path)))
    return tuple(sorted(found, key=lambda path: len(path.parts), reverse=True))


def _check(result: int, target: Path) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))
