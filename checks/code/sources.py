"""Which Python of an image is the tool's own, and its text: modules, scripts without a suffix, code in archives."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from checks.code.looks import Sign
from checks.code.texts import SHEBANG, in_notebook, in_shell_script, signs_of_configuration, startup_lines, written_in
from checks.ownership import Ownership, read_ownership
from pratique.intake.image.again import read_again
from pratique.intake.image.model import FileClass, FileEntry, Image, ImageLimits, Inventory, Kind

MAX_FILES = 3000
MAX_BYTES = 48 * 1024**2
MAX_FILE = 2 * 1024**2
MAX_UNPACKED = 48 * 1024**2
"""Bytes of code that are unpacked of all archives together."""
_MODULES = (".py", ".pyw", ".pth")
_ARCHIVES = (".pyz", ".pyzw", ".zip", ".egg")
_NOTEBOOK = ".ipynb"
_INTERPRETER = re.compile(r"(?:.*/)?(?:python|pypy)[0-9.]*")
_STARTUP = re.compile(r"(?:^|/)(?:sitecustomize|usercustomize)(?:/__init__)?\.(?:py|pyc|[\w.-]*so)$")
_CONFIGURATION = (".json", ".yaml", ".yml")
_MAX_CONFIGURATIONS = 4000
_INLINE = re.compile(r"-[bBdEhiIOPqsSuvx]*c(.*)", re.DOTALL)
_CACHED = re.compile(r"(?P<folder>.*?)(?:/?__pycache__)/(?P<module>[^/]+?)\.[^/.]+(?:\.opt-[0-9])?\.pyc")
_LIBRARY = re.compile(r"\.(?:cpython-[\w-]+|abi3)\.so$|-packages/.+\.so(?:\.[0-9.]+)?$")
"""Modules compiled for the processor, and what lies beside packages."""
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
    `started` are the files that an interpreter is given to start or to import from, `configured` what configurations
    call. `may_unpack` is how many bytes of archives may still be unpacked.
    """

    sources: list[Source] = field(default_factory=list)
    startup: list[str] = field(default_factory=list)
    open_: dict[str, str] = field(default_factory=dict)
    sourceless: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    compiled: list[str] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)
    configured: dict[str, list[Sign]] = field(default_factory=dict)
    started: set[str] = field(default_factory=set)
    may_unpack: int = 0


def find_own_code(image: Image, inventory: Inventory, commands: Sequence[str], limits: ImageLimits) -> OwnCode:
    """The Python of `image` that no package owns unchanged; `commands` are the words it is started with.

    Raises `CouldNotDecide` where the packages' own lists were too large to be kept.
    """
    ownership = read_ownership(inventory, commands)
    found = OwnCode(may_unpack=MAX_UNPACKED)
    found.sources += [Source(f"command line {n}", w.encode()) for n, w in enumerate(written_in(commands), 1)]
    scripts = _started(commands, image, inventory) | _on_path(image, inventory)
    folders = {path.rpartition("/")[0] for path in inventory.files if path.endswith(".py")}
    wanted: list[FileEntry] = []
    for entry in inventory.files.values():
        if entry.kind is not Kind.FILE or not entry.size:
            continue
        if _STARTUP.search(entry.path) and ownership.is_own(entry):
            found.startup.append(entry.path)
        if entry.head.startswith(b"\x7fELF") and _is_module(entry.path, folders) and ownership.is_own(entry):
            found.libraries.append(entry.path)
        elif entry.path.endswith(".pyc"):
            _compiled(entry, inventory, ownership, found)
        elif _is_python(entry) or entry.path in scripts:
            wanted += [entry] if ownership.is_own(entry) else []
    found.started = scripts
    _read(image, inventory, wanted, found, limits)
    _configurations(inventory, ownership, found)
    return found


def _started(commands: Sequence[str], image: Image, inventory: Inventory) -> set[str]:
    """Files that a command line gives to an interpreter, whatever they are called; also by way of `env` or a shell."""
    words = {piece for word in commands for piece in (word, *word.split())}
    if not any(_INTERPRETER.fullmatch(word) for word in words):
        return set()
    places = (word if word.startswith("/") else f"{image.config.workdir}/{word}" for word in words)
    found = (entry for place in places if (entry := inventory.resolve(place)) and entry.kind is Kind.FILE)
    return {entry.path for entry in found if not entry.head.startswith(b"\x7fELF")}


def _on_path(image: Image, inventory: Inventory) -> set[str]:
    """Files that the environment has Python import from: a wheel, or another archive whatever it is called."""
    places = (place for name, value in image.config.env if name == "PYTHONPATH" for place in value.split(":"))
    found = (inventory.resolve(place) for place in places if place)
    return {entry.path for entry in found if entry is not None and entry.kind is Kind.FILE}


def _is_module(path: str, folders: set[str]) -> bool:
    """Whether Python would import a library: by its name, or because it lies beside modules as `name.so`."""
    folder, _, name = path.rpartition("/")
    return bool(_LIBRARY.search(path)) or (name.endswith(".so") and not name.startswith("lib") and folder in folders)


def _is_python(entry: FileEntry) -> bool:
    """Whether a file is Python, or may hold some: only its first bytes are at hand here."""
    path = entry.path.lower()
    if path.endswith((*_MODULES, _NOTEBOOK)) or SHEBANG.match(entry.head):
        return True
    if entry.head.removeprefix(b"\xef\xbb\xbf").startswith(b"#!") and entry.size <= MAX_FILE:
        return True
    return entry.head.startswith(b"PK\x03\x04") and (path.endswith(_ARCHIVES) or entry.head[30:41] == b"__main__.py")


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
        text = inventory.read(entry.path).decode("utf-8", "replace")
        if signs := list(signs_of_configuration(text)):
            found.configured[entry.path] = signs
    if len(entries) > _MAX_CONFIGURATIONS:
        found.open_[entries[_MAX_CONFIGURATIONS].path] = "one of too many configurations"


def _pieces(path: str, data: bytes, found: OwnCode) -> Iterator[Source]:
    """The source itself, or the modules in it where it is an archive (also behind a `#!` line)."""
    if not data.startswith(b"PK\x03\x04") and b"PK\x05\x06" not in data[-65_557:]:
        other = data.startswith(b"#!") and not SHEBANG.match(data) and not path.lower().endswith(_MODULES)
        python = in_shell_script(data) if other and path not in found.started else data
        if python is not None:
            yield Source(path, python)
        return
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
