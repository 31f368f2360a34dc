"""Which Python of an image is the tool's own, and its text: modules, scripts without a suffix, code in archives."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from checks.code.looks import Sign
from checks.code.started import Started, find_started
from checks.code.texts import SHEBANG, in_notebook, in_shell_script, signs_of_configuration, startup_lines, written_in
from checks.ownership import Ownership, read_ownership
from pratique.intake.image.again import read_again
from pratique.intake.image.model import FileClass, FileEntry, Image, ImageLimits, Inventory, Kind

MAX_FILES = 3000
MAX_BYTES = 48 * 1024**2
MAX_FILE = 2 * 1024**2
MAX_LINKS = 5000
MAX_UNPACKED = 48 * 1024**2
"""Bytes of code that are unpacked of all archives together."""
_MODULES = (".py", ".pyw", ".pth")
_SCRIPTS = (".sh", ".bash", ".ksh", ".zsh", ".mk")
_ARCHIVES = (".pyz", ".pyzw", ".zip", ".egg")
_LIBRARY_ARCHIVE = re.compile(r"(?:^|/)lib(?:32|64)?/python3[0-9]{0,2}\.zip")
"""The archive that every Python looks for modules in before its own library."""
_NOTEBOOK = ".ipynb"
_STARTUP = re.compile(r"(?:^|/)(?:sitecustomize|usercustomize)(?:/__init__)?\.(?:py|pyc|[\w.-]*so)$")
_YAML = (".yaml", ".yml")
_CONFIGURATION = (".json", *_YAML)
_OF_MANAGERS = re.compile(r"(?:^|/)(?:conda-meta|node_modules|pkgs)/")
_MAX_CONFIGURATIONS = 4000
_CACHED = re.compile(r"(?P<folder>.*?)(?:/?__pycache__)/(?P<module>[^/]+?)\.[^/.]+(?:\.opt-[0-9])?\.pyc")
_LIBRARY = re.compile(r"\.(?:cpython-[\w-]+|abi3)\.so$|-packages/.+\.so(?:\.[0-9.]+)?$")
"""Modules compiled for the processor, and what lies beside packages."""
_ZIPPED = re.compile(rb"PK(?:\x03\x04|\x05\x06)")
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
    `started` is what interpreters are given to start or to import from, `configured` what configurations call.
    `may_unpack` is how many bytes of archives may still be unpacked.
    """

    sources: list[Source] = field(default_factory=list)
    startup: list[str] = field(default_factory=list)
    open_: dict[str, str] = field(default_factory=dict)
    sourceless: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    compiled: list[str] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)
    configured: dict[str, list[Sign]] = field(default_factory=dict)
    started: Started = field(default_factory=Started)
    may_unpack: int = 0


def find_own_code(image: Image, inventory: Inventory, commands: Sequence[str], limits: ImageLimits) -> OwnCode:
    """The Python of `image` that no package owns unchanged; `commands` are the words it is started with.

    Raises `CouldNotDecide` where the packages' own lists were too large to be kept.
    """
    started = find_started(image, inventory, commands)
    ownership = read_ownership(inventory, started.words, started.python)
    found = OwnCode(started=started, may_unpack=MAX_UNPACKED)
    if not started.whole:
        found.open_["command line"] = "what it starts, by its scripts too, is more than is followed"
    found.sources += [Source(f"command line {n}", w.encode()) for n, w in enumerate(written_in(commands), 1)]
    folders = {path.rpartition("/")[0] for path in inventory.files if path.endswith(".py")} | started.folders
    _linked(inventory, ownership, folders, found)
    chosen = started.python | started.by_line | started.shell
    wanted: list[FileEntry] = []
    for entry in inventory.files.values():
        if entry.kind is not Kind.FILE or not entry.size:
            continue
        if _STARTUP.search(entry.path) and ownership.is_own(entry):
            found.startup.append(entry.path)
        native = entry.head.startswith(b"\x7fELF")
        if native and (entry.path in started.native or _is_module(entry.path, folders)) and ownership.is_own(entry):
            found.libraries.append(entry.path)
        elif entry.path.endswith(".pyc"):
            _compiled(entry, inventory, ownership, found)
        elif _is_python(entry) or entry.path in chosen or _is_unkept_configuration(entry, inventory):
            wanted += [entry] if ownership.is_own(entry) else []
    _read(image, inventory, wanted, found, limits)
    _configurations(inventory, ownership, found)
    return found


def _linked(inventory: Inventory, ownership: Ownership, folders: set[str], found: OwnCode) -> None:
    """Files of any name that a link has Python import."""
    links = [e for e in inventory.files.values() if e.kind is Kind.SYMLINK and e.path.endswith((".py", ".pyw", ".so"))]
    for link in links[:MAX_LINKS]:
        entry = inventory.resolve(link.path)
        if entry is None or entry.kind is not Kind.FILE or not ownership.is_own(entry):
            continue
        if _STARTUP.search(link.path):
            found.startup.append(link.path)
        if not link.path.endswith(".so"):
            found.started.python.add(entry.path)
        elif _is_module(link.path, folders) and not _is_module(entry.path, folders):
            found.libraries.append(link.path)
    if len(links) > MAX_LINKS:
        found.open_[links[MAX_LINKS].path] = f"one of {len(links):,} links to modules"


def _is_module(path: str, folders: set[str]) -> bool:
    """Whether Python would import a library: by its name, or because it lies beside modules as `name.so`."""
    folder, _, name = path.rpartition("/")
    if _LIBRARY.search(path):
        return True
    return name.endswith(".so") and not name.startswith("lib") and bool({folder, folder.rpartition("/")[0]} & folders)


def _is_python(entry: FileEntry) -> bool:
    """Whether a file is Python, or may hold some: only its first bytes are at hand here."""
    path = entry.path.lower()
    if path.endswith((*_MODULES, *_SCRIPTS, _NOTEBOOK)) or _LIBRARY_ARCHIVE.search(path):
        return True
    if entry.head.removeprefix(b"\xef\xbb\xbf").startswith(b"#!"):
        return True
    return entry.head.startswith(b"PK\x03\x04") and (path.endswith(_ARCHIVES) or entry.head[30:41] == b"__main__.py")


def _is_unkept_configuration(entry: FileEntry, inventory: Inventory) -> bool:
    """Whether a configuration was not kept: it is large, in UTF-16, or lies where packages do. Such JSON is data."""
    if not entry.path.lower().endswith(_YAML) or inventory.classes.get(entry.path) is not None:
        return False
    return not _OF_MANAGERS.search(entry.path)


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
            lines = startup_lines(data)
            if lines is not None:
                found.startup.append(entry.path)
                found.sources.append(Source(entry.path, lines))
        elif entry.path.lower().endswith(_NOTEBOOK):
            _notebook(entry.path, data, found)
        elif entry.path.lower().endswith(_CONFIGURATION) and entry.path not in found.started.python:
            _configuration(entry.path, data, found)
        else:
            found.sources += _pieces(entry.path, data, found)


def _notebook(path: str, data: bytes, found: OwnCode) -> None:
    try:
        found.sources += [Source(f"{path}/cell {number}", cell) for number, cell in in_notebook(data)]
    except ValueError as error:
        found.open_[path] = f"a notebook that cannot be read: {error}"[:200]


def _configurations(inventory: Inventory, ownership: Ownership, found: OwnCode) -> None:
    """Small configurations of the tool's own that have their loader call Python."""
    entries = [e for e in inventory.of_class(FileClass.SOURCE) if e.path.lower().endswith(_CONFIGURATION)]
    entries = [e for e in entries if ownership.is_own(e) and e.path not in inventory.not_kept]
    for entry in entries[:_MAX_CONFIGURATIONS]:
        _configuration(entry.path, inventory.read(entry.path), found)
    if len(entries) > _MAX_CONFIGURATIONS:
        found.open_[entries[_MAX_CONFIGURATIONS].path] = "one of too many configurations"


def _configuration(path: str, data: bytes, found: OwnCode) -> None:
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    if signs := list(signs_of_configuration(data.decode("utf-16" if wide else "utf-8", "replace"))):
        found.configured[path] = signs


def _text(path: str, data: bytes, found: OwnCode) -> Iterator[Source]:
    """Python, or the Python in a shell script."""
    started = found.started
    named = path.lower().endswith(_SCRIPTS) or path in started.shell
    other = named or (data.startswith(b"#!") and not SHEBANG.match(data))
    if not other or path in started.python | started.by_line or path.lower().endswith(_MODULES):
        yield Source(path, data)
        return
    try:
        python = in_shell_script(data)
    except ValueError as error:
        found.open_[path] = f"a shell script that cannot be read: {error}"
        return
    if python is not None:
        yield Source(path, python)


def _pieces(path: str, data: bytes, found: OwnCode) -> Iterator[Source]:
    """The source itself, or the modules in it where it is an archive (also behind a `#!` line)."""
    if not data.startswith(b"PK\x03\x04") and b"PK\x05\x06" not in data[-65_557:]:
        yield from _text(path, data, found)
        return
    before = data[: _ZIPPED.search(data).start()]  # type: ignore[union-attr]  # one of the two marks is there
    if before.strip() and not (before.startswith(b"#!") and before.count(b"\n") < 2):  # more than a line for the kernel
        yield from _text(path, before, found)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [member for member in archive.infolist() if member.filename.lower().endswith((".py", ".pyw"))]
            for member in members[:MAX_FILES]:
                where = f"{path}/{member.filename[:300]}"
                with archive.open(member) as stream:
                    text = stream.read(min(MAX_FILE, found.may_unpack) + 1)
                if len(text) > min(MAX_FILE, found.may_unpack):
                    found.open_[where] = "too large, or one of too many in archives"
                    continue
                found.may_unpack -= len(text)
                yield Source(where, text)
            if len(members) > MAX_FILES:
                found.open_[path] = f"{len(members) - MAX_FILES:,} more modules in it"
            found.sourceless += [f"{path}/{n}" for n in archive.namelist() if n.endswith(".pyc")][:50]
    except _BROKEN as error:
        found.open_[path] = f"an archive that cannot be read: {error}"[:200]
