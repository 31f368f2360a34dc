"""Taking over what a tool left behind, without trusting any of it.

The tree is walked by descriptor with openat2(2) and RESOLVE_BENEATH, NO_SYMLINKS, NO_MAGICLINKS, NO_XDEV: nothing is
followed, nothing outside is reached. Only regular files with one link, no special bits, no holes, a plain name and
within the caps are copied; everything else is refused and listed. Where the engine keeps the output (no root here),
`harvest_archive` reads its tar stream under the same rules.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import re
import stat
import struct
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from pratique.digests import Digest
from pratique.errors import CouldNotDecide
from sandbox.mounts import libc
from sandbox.record import OutputFile, RefusedEntry
from sandbox.spec import Limits

_OPENAT2 = 437  # the same number on every architecture
_RESOLVE = 0x01 | 0x02 | 0x04 | 0x08  # NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS, BENEATH
_CHUNK = 1 << 20
_LISTED = 200
_PATH_BYTES = 1024  # with the destination before it, far from the kernel's 4096, which sixteen long names exceed
_NAME = re.compile(rb"[A-Za-z0-9_](?:[A-Za-z0-9 ._+=@,()#%~-]{0,253}[A-Za-z0-9._+=@,()#%~-])?", re.ASCII)


@dataclass
class Harvest:
    """What was taken and what was refused (at most 200 listed, the rest counted)."""

    outputs: list[OutputFile] = field(default_factory=list)
    refused: list[RefusedEntry] = field(default_factory=list)
    refused_more: int = 0
    size: int = 0

    def refuse(self, path: bytes, reason: str) -> None:
        """Note an entry that stays behind; its name is shown with everything unusual escaped."""
        if len(self.refused) < _LISTED:
            shown = path[:200].decode("ascii", "backslashreplace")
            self.refused.append(RefusedEntry(path="".join(_shown(c) for c in shown), reason=reason))
        else:
            self.refused_more += 1


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Full(Exception):
    """A cap of the whole harvest was reached."""


def openat2(directory: int, name: bytes, flags: int) -> int:
    """Open `name`, one component, beneath `directory`, following nothing; raises `OSError`."""
    how = struct.pack("QQQ", flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0, _RESOLVE)
    descriptor = int(libc().syscall(_OPENAT2, directory, name, how, len(how)))
    if descriptor < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fsdecode(name))
    return descriptor


def harvest_directory(source: Path, destination: Path, limits: Limits) -> Harvest:
    """Copy what is acceptable below `source` to `destination` (which exists and is empty).

    Raises `CouldNotDecide` when `destination` cannot be written (a full disk) or the kernel has no openat2.
    """
    found = Harvest()
    root = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _walk(root, b"", 1, _Taker(destination, limits, found))
    except _Full:
        return found
    finally:
        os.close(root)
    return found


class _Taker:
    """Counts against the caps and writes accepted files."""

    def __init__(self, destination: Path, limits: Limits, found: Harvest) -> None:
        self.destination = destination
        self.limits = limits
        self.found = found
        self.seen = 0

    def count(self, path: bytes) -> None:
        """One more entry; raises `_Full` when there are more than twice as many as may be taken (plus 1000)."""
        self.seen += 1
        if self.seen > 2 * self.limits.output_files + 1000:
            self.found.refuse(path, "too-many-entries")
            raise _Full

    def acceptable(self, path: bytes, size: int) -> bool:
        """Whether one more file of `size` bytes stays within the caps and can be written under its path."""
        if len(path) > _PATH_BYTES:
            self.found.refuse(path, "path-too-long")
        elif len(self.found.outputs) >= self.limits.output_files:
            self.found.refuse(path, "too-many-files")
        elif self.found.size + size > self.limits.output_bytes:
            self.found.refuse(path, "too-large")
        else:
            return True
        return False

    def take(self, path: bytes, source: _Readable, size: int) -> None:
        """Copy `size` bytes at most; a file that grew meanwhile is refused."""
        target = self.destination / path.decode("ascii")
        digest, taken = hashlib.sha256(), 0
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb", buffering=0) as out:
                while chunk := source.read(_CHUNK):
                    taken += len(chunk)
                    if taken > size:
                        break
                    digest.update(chunk)
                    _write_all(out, chunk)
        except OSError as error:
            raise CouldNotDecide(
                "the outputs of the tool could not be kept",
                cause=str(error),
                next_step="Free space, or name another output directory, and run again.",
            ) from error
        if taken != size:
            target.unlink()
            self.found.refuse(path, "changed-while-read")
            return
        self.found.size += taken
        record = OutputFile(path=path.decode("ascii"), size=taken, sha256=Digest("sha256:" + digest.hexdigest()))
        self.found.outputs.append(record)


def _walk(directory: int, prefix: bytes, depth: int, taker: _Taker) -> None:
    for name in sorted(_names(directory, taker, prefix)):
        path = prefix + name
        if not _NAME.fullmatch(name):
            taker.found.refuse(path, "name")
            continue
        try:
            probe = openat2(directory, name, os.O_PATH)
        except OSError as error:
            taker.found.refuse(path, _open_failure(error))
            continue
        try:
            status = os.fstat(probe)
        finally:
            os.close(probe)
        if stat.S_ISDIR(status.st_mode):
            _descend(directory, name, path, depth, taker)
        elif reason := unacceptable(status):
            taker.found.refuse(path, reason)
        elif taker.acceptable(path, status.st_size):
            _read_file(directory, name, path, status, taker)


def _names(directory: int, taker: _Taker, prefix: bytes) -> Iterator[bytes]:
    """Names in a directory, counted against the cap while they are read."""
    with os.scandir(directory) as entries:
        for entry in entries:
            taker.count(prefix)
            yield os.fsencode(entry.name)


def _descend(directory: int, name: bytes, path: bytes, depth: int, taker: _Taker) -> None:
    if depth >= taker.limits.output_depth:
        taker.found.refuse(path, "too-deep")
        return
    try:
        inner = openat2(directory, name, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        taker.found.refuse(path, _open_failure(error))
        return
    try:
        _walk(inner, path + b"/", depth + 1, taker)
    finally:
        os.close(inner)


def _read_file(directory: int, name: bytes, path: bytes, before: os.stat_result, taker: _Taker) -> None:
    try:
        descriptor = openat2(directory, name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        taker.found.refuse(path, _open_failure(error))
        return
    with os.fdopen(descriptor, "rb", buffering=0) as source:
        now = os.fstat(source.fileno())
        if (now.st_dev, now.st_ino) != (before.st_dev, before.st_ino):
            taker.found.refuse(path, "changed-while-read")
        else:
            taker.take(path, source, before.st_size)


def unacceptable(status: os.stat_result) -> str:
    """Why a directory entry with this status is refused; empty when it is not."""
    if stat.S_ISLNK(status.st_mode):
        return "symlink"
    if not stat.S_ISREG(status.st_mode):
        return "special-file"
    if status.st_nlink != 1:
        return "hard-link"
    if status.st_mode & 0o7000:
        return "special-bits"
    if status.st_blocks * 512 + 4096 < status.st_size:
        return "sparse"
    return ""


def _open_failure(error: OSError) -> str:
    if error.errno == errno.ENOSYS:
        raise CouldNotDecide(
            "this kernel has no openat2",
            next_step="Use Linux 5.6 or newer; outputs are not taken over without it.",
        ) from error
    return {errno.ELOOP: "symlink", errno.EXDEV: "mount"}.get(error.errno or 0, "unreadable")


def harvest_archive(stream: BinaryIO, destination: Path, limits: Limits) -> Harvest:
    """The same from a tar stream of one directory, whose own name is the first component of every member."""
    found = Harvest()
    taker = _Taker(destination, limits, found)
    try:
        with tarfile.open(fileobj=stream, mode="r|", errorlevel=2) as archive:
            for member in archive:
                _take_member(archive, member, taker)
    except _Full:
        return found
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise CouldNotDecide("the engine's archive of the outputs is damaged", cause=str(error)) from error
    return found


def _take_member(archive: tarfile.TarFile, member: tarfile.TarInfo, taker: _Taker) -> None:
    parts = [part for part in os.fsencode(member.name).split(b"/") if part not in (b"", b".")][1:]
    path = b"/".join(parts)
    taker.count(path)
    if not parts:
        return
    if not all(_NAME.fullmatch(part) for part in parts):
        taker.found.refuse(path, "name")
    elif len(parts) > taker.limits.output_depth:
        taker.found.refuse(path, "too-deep")
    elif member.issym():
        taker.found.refuse(path, "symlink")
    elif member.islnk():
        taker.found.refuse(path, "hard-link")
    elif member.isdir():
        return
    elif not member.isreg() or member.sparse is not None:
        taker.found.refuse(path, "special-file")
    elif member.mode & 0o7000:
        taker.found.refuse(path, "special-bits")
    elif taker.acceptable(path, member.size) and (source := archive.extractfile(member)) is not None:
        taker.take(path, source, member.size)


def _write_all(out: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[out.write(view) :]


def _shown(character: str) -> str:
    return character if character.isprintable() else f"\\x{ord(character):02x}"
