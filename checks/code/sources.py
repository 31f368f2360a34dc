"""Which Python of an image is the tool's own, and its text: modules, scripts without a suffix, code in archives."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from checks.ownership import Ownership, read_ownership
from pratique.intake.image.again import read_again
from pratique.intake.image.model import FileEntry, Image, ImageLimits, Inventory, Kind

MAX_FILES = 3000
MAX_BYTES = 48 * 1024**2
MAX_FILE = 2 * 1024**2
_MODULES = (".py", ".pyw", ".pth")
_ARCHIVES = (".pyz", ".pyzw", ".zip", ".egg")
_SHEBANG = re.compile(rb"#![^\n]{0,60}\bpython")
_INTERPRETER = re.compile(r"(?:.*/)?python[0-9.]*")
_INLINE = re.compile(r"-[bBdEhiIOPqsSuvx]*c(.*)", re.DOTALL)
_CACHED = re.compile(r"(?P<folder>.*?)(?:/?__pycache__)/(?P<module>[^/]+?)\.[^/.]+(?:\.opt-[0-9])?\.pyc")
_LIBRARY = re.compile(r"\.(?:cpython-[\w-]+|abi3)\.so$|-packages/.+\.so(?:\.[0-9.]+)?$")
"""Modules compiled for the processor, and what lies beside packages."""
_IMPORTING = re.compile(rb"^import[ \t][^\n]*", re.MULTILINE)
_BROKEN = (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError, RuntimeError, zipfile.LargeZipFile)


@dataclass(frozen=True)
class Source:
    """A piece of Python: where it lies (`app.pyz/__main__.py` for a member), and its bytes."""

    path: str
    data: bytes


@dataclass
class OwnCode:
    """The tool's own Python. `open_` says of what lies at a path why it was not read.

    `libraries` are compiled for the processor and owned by no package. Of compiled Python, `sourceless` has no source
    beside it, `unchecked` runs without a look at its source, and `compiled` is all else before a source of the tool's.
    """

    sources: list[Source] = field(default_factory=list)
    startup: list[str] = field(default_factory=list)
    open_: dict[str, str] = field(default_factory=dict)
    sourceless: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    compiled: list[str] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)
    others: int = 0


def find_own_code(image: Image, inventory: Inventory, commands: Sequence[str], limits: ImageLimits) -> OwnCode:
    """The Python of `image` that no package owns unchanged; `commands` are the words it is started with.

    Raises `CouldNotDecide` where the packages' own lists were too large to be kept.
    """
    ownership = read_ownership(inventory, commands)
    found = OwnCode()
    found.sources += [Source(f"command line {n}", w.encode()) for n, w in enumerate(_written(commands), 1)]
    scripts = _started(commands, image, inventory)
    wanted: list[FileEntry] = []
    for entry in inventory.files.values():
        if entry.kind is not Kind.FILE or not entry.size:
            continue
        if entry.head.startswith(b"\x7fELF") and _LIBRARY.search(entry.path) and ownership.is_own(entry):
            found.libraries.append(entry.path)
        elif entry.path.endswith(".pyc"):
            _compiled(entry, inventory, ownership, found)
        elif _is_python(entry) or entry.path in scripts:
            if ownership.is_own(entry):
                wanted.append(entry)
            else:
                found.others += 1
    _read(image, inventory, wanted, found, limits)
    return found


def _written(commands: Sequence[str]) -> list[str]:
    """Programs that are written in the command line itself, behind `-c` (`-Ic`, `-cimport os`)."""
    found = ((_INLINE.fullmatch(word), after) for word, after in pairwise((*commands, "")))
    return [match[1] or after for match, after in found if match and (match[1] or after)]


def _started(commands: Sequence[str], image: Image, inventory: Inventory) -> set[str]:
    """Files that a command line gives to an interpreter, whatever they are called; also by way of `env` or a shell."""
    words = {piece for word in commands for piece in (word, *word.split())}
    if not any(_INTERPRETER.fullmatch(word) for word in words):
        return set()
    places = (word if word.startswith("/") else f"{image.config.workdir}/{word}" for word in words)
    found = (entry for place in places if (entry := inventory.resolve(place)) and entry.kind is Kind.FILE)
    return {entry.path for entry in found if not entry.head.startswith(b"\x7fELF")}


def _is_python(entry: FileEntry) -> bool:
    if entry.path.lower().endswith(_MODULES) or _SHEBANG.match(entry.head):
        return True
    return entry.head.startswith(b"PK\x03\x04") and entry.path.lower().endswith(_ARCHIVES)


def _compiled(entry: FileEntry, inventory: Inventory, ownership: Ownership, found: OwnCode) -> None:
    """A `.pyc`: bit 0 of its flags says that it goes by the source's hash, bit 1 that the hash is compared."""
    path = entry.path
    cached = _CACHED.fullmatch(path)
    folder = cached["folder"] if cached else path.rpartition("/")[0]
    module = cached["module"] if cached else path.rpartition("/")[2].removesuffix(".pyc")
    source = inventory.files.get(f"{folder}/{module}.py" if folder else f"{module}.py")
    if source is None:
        if path not in ownership.packages and path not in ownership.system and path not in ownership.standard_library:
            found.sourceless.append(path)
    elif int.from_bytes(entry.head[4:8], "little") & 0b11 == 0b01:
        if path not in ownership.packages:
            found.unchecked.append(path)
    elif ownership.is_own(source):
        found.compiled.append(path)


def _read(image: Image, inventory: Inventory, wanted: list[FileEntry], found: OwnCode, limits: ImageLimits) -> None:
    small = [entry for entry in wanted if entry.size <= MAX_FILE]
    chosen = sorted(small, key=lambda entry: entry.size)[:MAX_FILES]
    texts = read_again(image, inventory, chosen, most=MAX_BYTES, limits=limits)
    for entry in sorted(wanted, key=lambda entry: entry.path):
        data = texts.get((entry.layer, entry.path))
        if data is None:
            found.open_[entry.path] = f"too large, or one of too many ({entry.size:,} bytes)"
        elif entry.path.endswith(".pth"):
            _startup_lines(entry.path, data, found)
        else:
            if entry.path.rpartition("/")[2] in ("sitecustomize.py", "usercustomize.py"):
                found.startup.append(entry.path)
            found.sources += _pieces(entry.path, data, found)


def _startup_lines(path: str, data: bytes, found: OwnCode) -> None:
    """Lines of a `.pth` that begin with `import` are run at every start; line numbers are kept."""
    if _IMPORTING.search(data):
        found.startup.append(path)
        lines = [line if _IMPORTING.match(line) else b"" for line in data.splitlines()]
        found.sources.append(Source(path, b"\n".join(lines)))


def _pieces(path: str, data: bytes, found: OwnCode) -> Iterator[Source]:
    """The source itself, or the modules in it where it is an archive (also behind a `#!` line)."""
    if not data.startswith(b"PK\x03\x04") and b"PK\x05\x06" not in data[-65_557:]:
        yield Source(path, data)
        return
    left = MAX_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [member for member in archive.infolist() if member.filename.lower().endswith((".py", ".pyw"))]
            for member in members[:MAX_FILES]:
                where = f"{path}/{member.filename[:300]}"
                with archive.open(member) as stream:
                    text = stream.read(MAX_FILE + 1)
                left -= len(text)
                if len(text) > MAX_FILE or left < 0:
                    found.open_[where] = "too large"
                    continue
                yield Source(where, text)
            if len(members) > MAX_FILES:
                found.open_[path] = f"{len(members) - MAX_FILES:,} more modules in it"
            found.sourceless += [f"{path}/{n}" for n in archive.namelist() if n.endswith(".pyc")][:50]
    except _BROKEN as error:
        found.open_[path] = f"an archive that cannot be read: {error}"[:200]
