"""The directory of one run on this machine: its lock, its private inputs, its capped output.

    STATE/runs/<run id>/lock      held (flock) while the run's process lives; free means that the run is a leftover
    STATE/runs/<run id>/claim     CPUs and memory that the run may use
    STATE/runs/<run id>/input/N   private read-only copies of the inputs
    STATE/runs/<run id>/output    mount point of the capped tmpfs

A private copy is needed because two sealed containers can pass bits to each other by locking one shared file.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pratique.digests import Digest, sha256_json
from pratique.errors import CouldNotDecide, InvalidInput
from sandbox.mounts import mount_tmpfs, mounted_below, unmount
from sandbox.record import InputDigest
from sandbox.spec import Limits, Mount

MAX_INPUT_DEPTH = 64
UNBORN = ".new-"
_CHUNK = 1 << 20
_COPIED_AT = 946_684_800 * 10**9  # 2000-01-01: a tool sees the same times in a replay, and not when it is run


def new_run_id() -> str:
    """Sixteen hex digits that no other run has."""
    return secrets.token_hex(8)


def fresh_uid(remapped: bool) -> int:
    """A uid that nothing else on the machine uses: limits on inotify watches and processes count per host uid.

    Drawn from numbers that no distribution assigns; where the engine remaps users only 65,536 ids exist.
    """
    return 2_000 + secrets.randbelow(60_000) if remapped else 1_000_000_000 + secrets.randbelow(1_000_000_000)


class Workspace:
    """One run's directory; made by `open_workspace`, given back by `close`."""

    def __init__(self, root: Path, lock: int) -> None:
        self.root = root
        self._lock = lock

    @property
    def output(self) -> Path:
        """Where the tool's output is mounted."""
        return self.root / "output"

    def mount_output(self, limits: Limits, *, uid: int, mode: int) -> Path:
        """A tmpfs that holds at most the output caps (inodes: twice the files, so that directories fit)."""
        self.output.mkdir(mode=0o700)
        mount_tmpfs(self.output, size=limits.output_bytes, files=2 * limits.output_files + 64, uid=uid, mode=mode)
        return self.output

    def output_full(self) -> bool:
        """Whether the output file system has no byte or no inode left."""
        state = os.statvfs(self.output)
        return state.f_bavail == 0 or state.f_ffree == 0

    def copy_inputs(
        self, inputs: tuple[Mount, ...], limits: Limits
    ) -> tuple[tuple[Path, ...], tuple[InputDigest, ...]]:
        """Private copies of `inputs` with their digests; raises `InvalidInput` (`input/…`), `CouldNotDecide`."""
        budget = _Budget(limits.input_files, limits.input_bytes)
        for mount in inputs:
            _refuse_crowd(mount.source, limits.input_files)
        sources, digests = [], []
        for index, mount in enumerate(inputs):
            target = self.root / "input" / str(index)
            target.parent.mkdir(mode=0o700, exist_ok=True)
            digests.append(_copy(mount, target, budget))
            sources.append(target)
        return tuple(sources), tuple(digests)

    def close(self) -> None:
        """Unmount, remove, unlock; nothing of the run stays."""
        remove_tree(self.root)
        os.close(self._lock)


def open_workspace(state_dir: Path, run_id: str) -> Workspace:
    """Make and lock the directory of a run; raises `CouldNotDecide` when the state directory cannot be written."""
    root = state_dir / "runs" / run_id
    made = root.with_name(UNBORN + run_id)  # a reaper sees the directory only once it is locked
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        root.parent.mkdir(exist_ok=True, mode=0o700)
        made.mkdir(mode=0o700)
        lock = os.open(made / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        made.rename(root)
    except OSError as error:
        raise CouldNotDecide(
            "the state directory of the sandbox cannot be written",
            cause=str(error),
            next_step=f"Free space, or make {state_dir} writable.",
        ) from error
    return Workspace(root, lock)


def is_abandoned(root: Path) -> bool:
    """Whether no living process holds the run of this directory."""
    try:
        probe = os.open(root / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(probe)
    return True


def remove_tree(root: Path) -> None:
    """Unmount what is mounted below a run's directory and remove it, links not followed; gone is fine."""
    for point in mounted_below(root):
        unmount(point)
    shutil.rmtree(root, ignore_errors=True)


@dataclass
class _Budget:
    files: int
    size: int

    def spend(self, size: int, where: str) -> None:
        self.files -= 1
        self.size -= size
        if self.files < 0:
            raise _refused("too-many-files", where, "more files than the input limit allows")
        if self.size < 0:
            raise _refused("too-large", where, "more bytes than the input limit allows")


def _copy(mount: Mount, target: Path, budget: _Budget) -> InputDigest:
    try:
        source = mount.source.resolve(strict=True)
        entries = [_copy_file(*pair, budget) for pair in _files(source, target, 0)]
    except OSError as error:
        raise InvalidInput(
            "the input cannot be read or copied",
            rule="input/unreadable",
            where=_text(str(mount.source)),
            cause=str(error),
            next_step="Make every file readable for the user who runs Pratique, and see that there is space.",
        ) from error
    prefix = len(os.fspath(target))
    rows = [[_text(os.fspath(path)[prefix:].lstrip("/")), size, digest] for path, size, digest in entries]
    return InputDigest(
        target=mount.target,
        digest=sha256_json(sorted(rows)),
        files=len(rows),
        size=sum(size for _, size, _ in entries),
    )


def _refuse_crowd(source: Path, most: int) -> None:
    """Count before anything is copied: refusing a hundred thousand files costs no copies of the first ones.

    `os.walk` calls itself for each directory in another, so a depth that is refused must not be reached.
    """
    count = 0
    for place, directories, files in os.walk(source):
        if len(Path(place).relative_to(source).parts) >= MAX_INPUT_DEPTH:
            raise _too_deep(Path(place))
        count += len(files) + len(directories)
        if count > most:
            raise _refused("too-many-files", str(source), f"more than the {most:,} files allowed")


def _files(source: Path, target: Path, depth: int) -> Iterator[tuple[Path, Path]]:
    """Pairs of regular file and copy, directories made on the way; refuses links and special files."""
    mode = source.lstat().st_mode
    if stat.S_ISREG(mode):
        yield source, target
        return
    if not stat.S_ISDIR(mode):
        raise _refused("not-regular", str(source), "neither a regular file nor a directory")
    if depth >= MAX_INPUT_DEPTH:
        raise _too_deep(source)
    target.mkdir(mode=0o755)
    target.chmod(0o755)  # whatever the umask is: the run's uid reads it
    with os.scandir(source) as entries:
        for entry in entries:
            yield from _files(Path(entry.path), target / entry.name, depth + 1)
    os.utime(target, ns=(_COPIED_AT, _COPIED_AT))  # nothing is added any more


def _copy_file(source: Path, target: Path, budget: _Budget) -> tuple[Path, int, Digest]:
    digest, size = hashlib.sha256(), 0
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(reading, "rb", buffering=0) as old:
        stated = os.fstat(reading).st_size
        budget.spend(stated, str(source))
        with target.open("xb", buffering=0) as new:
            while chunk := old.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
                if size > stated:  # somebody who goes on writing would fill the disk
                    raise _refused("changed", str(source), "the file grew while it was copied")
                _write_all(new.fileno(), chunk)
            os.fchmod(new.fileno(), 0o444)
            os.utime(new.fileno(), ns=(_COPIED_AT, _COPIED_AT))
    return target, size, Digest("sha256:" + digest.hexdigest())


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _text(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _too_deep(place: Path) -> InvalidInput:
    return _refused("too-deep", str(place), f"more than {MAX_INPUT_DEPTH} directories deep")


def _refused(rule: str, where: str, message: str) -> InvalidInput:
    return InvalidInput(
        message,
        rule=f"input/{rule}",
        where=_text(where),
        next_step="Hand in a plain directory of regular files within the limits of the sandbox spec.",
    )
