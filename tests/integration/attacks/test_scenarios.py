"""Attacks that show outside the container: floods, outputs, two runs at once, what an image configures."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import ValidationError

from sandbox.record import EndedBy
from sandbox.spec import MIB, Mount, SandboxRequest
from tests.integration.attacks.conftest import VOLUMES, Confine, Confined, Ended, Plainly

pytestmark = pytest.mark.docker


@dataclass(frozen=True)
class Flood:
    """A program, and how its record shows that the sandbox ended or bounded it while the defaults did not."""

    source: str
    got_through: Callable[[Ended], bool]
    bounded: Callable[[Confined], bool]


def number(log: bytes) -> int:
    """The first line of a log as a number; -1 where there is none."""
    first = log.splitlines()[:1]
    return int(first[0]) if first and first[0].isdigit() else -1


_MAKE = """
import os, threading, time
made = 0
try:
    while made < 200:
        {one}
        made += 1
except (OSError, RuntimeError):
    pass
print(made, flush=True)
os.kill(0, 9)
"""

FLOODS = {
    "a fork bomb, 200 children long": Flood(
        _MAKE.format(one="os.fork() or (time.sleep(20), os._exit(0))"),
        lambda ended: number(ended.log) == 200,
        lambda ours: 0 < number(ours.log) < 64,
    ),
    "200 threads": Flood(
        _MAKE.format(one="threading.Thread(target=time.sleep, args=(20,), daemon=True).start()"),
        lambda ended: number(ended.log) == 200,
        lambda ours: 0 < number(ours.log) < 64,
    ),
    "more memory than was granted": Flood(
        "x = bytearray(400 << 20); print(len(x) >> 20)",
        lambda ended: number(ended.log) == 400,
        lambda ours: ours.run.ended_by is EndedBy.OUT_OF_MEMORY and ours.log == b"",
    ),
    "memory by way of shared memory files": Flood(
        """
import mmap
held = []
for _ in range(25):
    held.append(mmap.mmap(-1, 16 << 20)); held[-1].write(bytes(16 << 20))
print(len(held) * 16)
""",
        lambda ended: number(ended.log) == 400,
        lambda ours: ours.run.ended_by is EndedBy.OUT_OF_MEMORY and ours.log == b"",
    ),
    "memory by System V segments": Flood(
        """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
for _ in range(25):
    place = libc.shmat(libc.shmget(0, 16 << 20, 0o1600), None, 0)
    ctypes.memset(place, 1, 16 << 20)
print(25 * 16)
""",
        lambda ended: number(ended.log) == 400,
        lambda ours: ours.run.ended_by is EndedBy.OUT_OF_MEMORY and ours.log == b"",
    ),
    "8 MiB of log": Flood(
        "import os\nfor _ in range(128): os.write(1, b'x' * 65536)",
        lambda ended: len(ended.log) == 8 * MIB,
        lambda ours: ours.run.ended_by is EndedBy.LOG_CAP and len(ours.log) == ours.run.spec.limits.log_bytes,
    ),
    "a tool that takes its time": Flood(
        "import time; time.sleep(3); print(3)",
        lambda ended: number(ended.log) == 3,
        lambda ours: ours.run.ended_by is EndedBy.DEADLINE and ours.log == b"",
    ),
    "a tool that stops itself": Flood(
        """
import os, signal, time
if os.fork() == 0:
    time.sleep(3); os.kill(os.getppid(), signal.SIGCONT); os._exit(0)
os.kill(os.getpid(), signal.SIGSTOP); print(3)
""",
        lambda ended: number(ended.log) == 3,
        lambda ours: ours.run.ended_by is EndedBy.DEADLINE and ours.log == b"",
    ),
    "a tool that ignores every signal": Flood(
        """
import signal, time
for one in range(1, 65):
    try: signal.signal(one, signal.SIG_IGN)
    except (OSError, ValueError): pass
time.sleep(3); print(3)
""",
        lambda ended: number(ended.log) == 3,
        lambda ours: ours.run.ended_by is EndedBy.DEADLINE and ours.log == b"",
    ),
}


@pytest.mark.parametrize("what", list(FLOODS), ids=str)
def test_a_flood_is_bounded(plainly: Plainly, confined: Confine, what: str) -> None:
    """And the record says what ended it."""
    flood = FLOODS[what]
    assert flood.got_through(plainly(flood.source))
    slow = what.startswith("a tool")
    ours = confined(flood.source, log_bytes=65_536, wall_seconds=1.0 if slow else 20.0)
    assert flood.bounded(ours), ours.run.detail
    assert ours.run.total_seconds < 10


SWAP = """
from pathlib import Path
for name in ("memory.memsw.limit_in_bytes", "memory.limit_in_bytes", "memory.swap.max", "memory.max"):
    for place in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup"):
        if Path(place, name).exists():
            print(name, Path(place, name).read_text().strip())
"""


def test_a_memory_limit_is_not_doubled_by_swap(plainly: Plainly, confined: Confine) -> None:
    """The engine adds as much swap as memory unless it is told otherwise."""
    found = [
        dict(line.split() for line in log.decode().splitlines())
        for log in (plainly(SWAP, host={"Memory": 64 * MIB}).log, confined(SWAP, memory=64 * MIB).log)
    ]
    if not any("swap" in name or "memsw" in name for name in found[0]):
        pytest.skip("this kernel does not account for swap")

    def total(limits: dict[str, str]) -> int:
        if "memory.memsw.limit_in_bytes" in limits:
            return int(limits["memory.memsw.limit_in_bytes"])
        return int(limits["memory.max"]) + int(limits["memory.swap.max"])

    assert [total(limits) // MIB for limits in found] == [128, 64]


LEAVE = r"""
import os, socket
os.chdir("/output")
def attempt(what):
    try:
        what()
    except OSError:
        pass
open("good.csv", "w").write("id,volume\n1,2\n")
os.symlink("/etc/hostname", "absolute-link")
os.symlink("../../../../../../etc/hostname", "climbing-link")
os.symlink("/proc/self/root", "magic-link")
os.symlink("absolute-link", "link-to-link")
os.mkdir("directory"); os.symlink("directory", "directory-link")
open("one", "w").write("x"); os.link("one", "hard-link")
attempt(lambda: os.mkfifo("pipe"))
attempt(lambda: os.mknod("device", 0o20666, os.makedev(1, 3)))
socket.socket(socket.AF_UNIX).bind("socket")
with open("holes", "wb") as out:
    try:
        out.truncate(1 << 40)
    except OSError:
        out.truncate(4 << 20)
open("program", "w").write("x"); attempt(lambda: os.chmod("program", 0o4755))
open("new\nline", "w").close()
open("-rf", "w").close()
open(".hidden", "w").close()
open("a\x1b[31mred", "w").close()
open(b"\xff\xfe", "w").close()
open("caf\u00e9", "w").close()
open("x" * 255, "w").close()
for _ in range(40):
    os.mkdir("deep"); os.chdir("deep")
open("bottom", "w").close()
"""

LEFT: dict[str, tuple[str, Callable[[Path], bool], str]] = {
    # what: its name, how it looks on the host's disk by default, the reason for which ours refuses it
    "a link to a file of the host": ("absolute-link", lambda p: p.read_bytes() != b"", "symlink"),
    "a link that climbs out": ("climbing-link", lambda p: p.is_symlink(), "symlink"),
    "a magic link": ("magic-link", lambda p: (p / "etc").is_dir(), "symlink"),
    "a link to a link": ("link-to-link", lambda p: p.is_symlink(), "symlink"),
    "a link to a directory": ("directory-link", lambda p: p.is_symlink(), "symlink"),
    "a hard link": ("hard-link", lambda p: p.stat().st_nlink == 2, "hard-link"),
    "a pipe, on which a reader hangs": ("pipe", lambda p: p.is_fifo(), ""),
    "a device": ("device", lambda p: p.is_char_device(), ""),
    "a socket": ("socket", lambda p: p.is_socket(), "special-file"),
    "a terabyte of holes": ("holes", lambda p: p.stat().st_size == 1 << 40, "sparse"),
    "a program that runs as root": ("program", lambda p: is_setuid_root(p), ""),
    "a name with a line break": ("new\nline", lambda p: p.exists(), "name"),
    "a name that is an option": ("-rf", lambda p: p.exists(), "name"),
    "a hidden name": (".hidden", lambda p: p.exists(), "name"),
    "a name that changes the terminal": ("a\x1b[31mred", lambda p: p.exists(), "name"),
    "a name that is no UTF-8": (os.fsdecode(b"\xff\xfe"), lambda p: p.exists(), "name"),
    "a name outside ASCII": ("café", lambda p: p.exists(), "name"),
    "a tree forty directories deep": ("/".join(["deep"] * 40 + ["bottom"]), lambda p: p.exists(), "too-deep"),
}  # fmt: skip


def is_setuid_root(path: Path) -> bool:
    """Whether whoever starts this file becomes root."""
    status = path.stat()
    return status.st_uid == 0 and status.st_mode & stat.S_ISUID > 0


@pytest.fixture(scope="module")
def left_by_default(plainly: Plainly, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of this machine that a container with Docker's defaults wrote to."""
    place = tmp_path_factory.mktemp("bound")
    plainly(LEAVE, host={"Binds": [f"{place}:/output"]})
    return place


@pytest.fixture(scope="module")
def left_by_ours(confined: Confine) -> Confined:
    """The same program in the sandbox."""
    return confined(LEAVE)


@pytest.mark.parametrize("what", list(LEFT), ids=str)
def test_what_is_left_in_the_output(
    left_by_default: Path, left_by_ours: Confined, launcher_is_root: None, what: str
) -> None:
    """It is there on the host's disk by default; the sandbox refuses it by name, or the tool could not even make it."""
    name, shows, reason = LEFT[what]
    assert shows(left_by_default / name)
    refused = {entry.path: entry.reason for entry in left_by_ours.run.refused}
    if reason == "too-deep":
        assert reason in refused.values()
    elif reason:
        shown = "".join(c if c.isprintable() and c.isascii() else f"\\x{b:02x}" for c, b in _characters(name))
        assert refused[shown] == reason
    else:
        found = left_by_ours.output / name
        assert not found.exists() or not found.stat().st_mode & 0o7000
    assert not (left_by_ours.output / name).is_symlink()


def _characters(name: str) -> list[tuple[str, int]]:
    return [(chr(byte), byte) for byte in os.fsencode(name)]


def test_the_good_file_is_taken_over_all_the_same(left_by_ours: Confined) -> None:
    """With a long but plain name, and `program`, which got no special bit."""
    taken = {file.path for file in left_by_ours.run.outputs}
    assert taken == {"good.csv", "program", "x" * 255}
    assert sorted(path.name for path in left_by_ours.output.iterdir()) == sorted(taken)


@pytest.fixture(scope="module")
def launcher_is_root() -> None:
    """The files of a default container belong to root."""
    if os.geteuid() != 0:
        pytest.skip("needs root to look at what root left")


def test_an_input_cannot_be_changed(plainly: Plainly, confined: Confine, tmp_path: Path) -> None:
    """A bind mount is writable by default; ours is a private copy, read-only."""
    table = tmp_path / "table.csv"
    table.write_text("1,2")
    source = "open('/input/table.csv', 'a').write(',changed')"
    plainly(source, host={"Binds": [f"{tmp_path}:/input"]})
    assert table.read_text() == "1,2,changed"
    ours = confined(source, request={"inputs": (Mount(source=tmp_path, target="/input"),)})
    assert ours.run.exit_code == 1
    assert b"PermissionError" in ours.log
    assert table.read_text() == "1,2,changed"


LOCK = "import fcntl, time; f = open('/input/table.csv'); fcntl.flock(f, fcntl.LOCK_EX); print(1); time.sleep(2.5)"
FEEL = """
import fcntl, time
time.sleep(1.2)
with open('/input/table.csv') as f:
    try:
        fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB); print(0)
    except OSError:
        print(1)
"""


def test_two_sealed_runs_pass_no_bit_by_locking_their_input(
    plainly: Plainly, confined: Confine, tmp_path: Path
) -> None:
    """The same file, mounted read-only into both, is a channel; private copies are none."""
    (tmp_path / "table.csv").write_text("1,2")
    host = {"Binds": [f"{tmp_path}:/input:ro"], "NetworkMode": "none"}
    inputs = {"inputs": (Mount(source=tmp_path, target="/input"),)}

    def together(run: Callable[[str], bytes]) -> list[bytes]:
        got: dict[str, bytes] = {}
        threads = [
            threading.Thread(target=lambda name=source: got.update({name: run(name)})) for source in (LOCK, FEEL)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [got[LOCK].strip(), got[FEEL].strip()]

    assert together(lambda source: plainly(source, host=host).log) == [b"1", b"1"]
    assert together(lambda source: confined(source, request=inputs, cpus=0.5).log) == [b"1", b"0"]


def test_two_runs_are_two_users(plainly: Plainly, confined: Confine) -> None:
    """Watches, processes and keys are counted by user on the whole machine."""
    source = "import os; print(os.getuid())"
    assert {plainly(source).log for _ in range(2)} == {b"0\n"}
    mine = {number(confined(source).log) for _ in range(2)}
    assert len(mine) == 2
    assert min(mine) >= 2000


CONFIGURATION = {
    "a health check beside the tool": (
        "import os, time; time.sleep(1.8); print(os.path.exists('/tmp/health'))", b"True", b"False",
    ),
    "a library in every program": ("import os; print(os.environ['LD_PRELOAD'])", b"libc.so.6", b""),
    "another seed": ("import os; print(os.environ['PYTHONHASHSEED'])", b"7", b"0"),
    "root": ("import os; print(os.getuid() == 0)", b"True", b"False"),
    "a working directory of the kernel": ("import os; print(os.getcwd().startswith('/proc'))", b"True", b"False"),
    "files below a VOLUME": ("import os; print(os.path.exists('/data/shipped'))", b"True", b"False"),
}  # fmt: skip


@pytest.mark.parametrize("what", list(CONFIGURATION), ids=str)
def test_what_an_image_configures(plainly: Plainly, confined: Confine, what: str) -> None:
    """It is the engine's default; the sandbox says it otherwise."""
    source, default, ours = CONFIGURATION[what]
    answers = [log.strip() for log in (plainly(source).log, confined(source).log)]
    assert answers == [default, ours]


def test_an_entry_point_runs_unless_another_is_named(plainly: Plainly, confined: Confine) -> None:
    """By default the image decides what is started."""
    assert plainly("ignored", Entrypoint=None, Cmd=None).log.splitlines()[-1:] == [b"the entry point of the image"]
    assert confined("print('ours')").log == b"ours\n"


MOUNTED_ON_LINKS: dict[str, dict[str, object]] = {
    "the output on a link to /etc": {"output_target": "/to/etc"},
    "the output on a link to the kernel's settings": {"output_target": "/to/settings"},
    "the output on a link to the devices": {"output_target": "/to/dev"},
    "the output on a link that climbs out": {"output_target": "/to/climbs"},
    "a VOLUME on a link to the devices": {"image_volumes": (*VOLUMES, "/to/dev")},
    "a VOLUME on a link to /proc": {"image_volumes": (*VOLUMES, "/to/proc")},
    "a VOLUME on a link to a process": {"image_volumes": (*VOLUMES, "/to/self")},
}
WHERE = """
import os
kept = [os.path.exists("/dev/null"), open("/proc/cmdline").read(), os.access("/proc/sys/kernel/hostname", os.W_OK)]
print(kept, os.path.exists("/to/climbs/pratique-outside"))
"""


@pytest.mark.parametrize("what", list(MOUNTED_ON_LINKS), ids=str)
def test_mounts_on_links_of_the_image_stay_inside_or_end_the_start(confined: Confine, what: str) -> None:
    """The image decides where a link leads: never out, and never between the kernel's files and what masks them."""
    outside = Path("/tmp/pratique-outside")
    outside.touch()
    try:
        ours = confined(WHERE, request=MOUNTED_ON_LINKS[what])
    finally:
        outside.unlink()
    if ours.run.ended_by is EndedBy.NOT_STARTED:
        assert "would not start" in ours.run.detail
        assert ours.log == b""
    else:
        assert ours.log == b"[True, '', False] False\n"


@pytest.mark.parametrize("place", ["/proc/self/fd/8", "/proc/self", "/sys", "/dev/fd", "/a/../proc", "relative"])
def test_no_working_directory_in_the_kernels_file_systems(place: str) -> None:
    """CVE-2024-21626 starts with a working directory in a leaked descriptor."""
    with pytest.raises(ValidationError):
        SandboxRequest(image_id="sha256:" + "0" * 64, argv=("true",), working_dir=place)
