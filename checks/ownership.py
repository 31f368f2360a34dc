"""Whose a file of the image is: a package's, unchanged, the standard library's, or the tool's own.

What packages state is the provider's word where nothing compares it: a package manager's list counts below the system's
directories only, a RECORD for files that have the hash it gives, and below its own site directory or beside programs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise

from checks.sbom.record import stated_digest, stated_files
from checks.sbom.system import read_system
from pratique.errors import CouldNotDecide
from pratique.intake.image.model import FileEntry, Inventory, Kind

_SYSTEM = re.compile(r"(?!usr/local/)(?:usr|lib(?:32|64)?|s?bin|etc|var)/")
_LIBRARY = re.compile(r"(?P<prefix>(?:.*/)?)lib(?:64)?/python(?P<version>3\.[0-9]{1,2})/(?P<rest>.+)")
_STANDARD = sys.stdlib_module_names | {
    *("lib-dynload", "test", "LICENSE", "__hello__", "__phello__", "_pyrepl", "_colorize", "_ios_support"),
    *("_android_support", "_apple_support", "_opcode_metadata", "_py_warnings", "_pylong", "annotationlib"),
    "compression",
}
"""Modules of this interpreter, and those that later ones brought."""
_MAX_COMMANDS = 256 * 1024
_SITES = re.compile(r"(?:^|/)(?:site|dist)-packages/")


@dataclass(frozen=True)
class Ownership:
    """Paths that are somebody else's work; `changed` are those that differ from what their package states."""

    packages: frozenset[str]
    system: frozenset[str]
    standard_library: frozenset[str]
    changed: frozenset[str]

    def is_own(self, entry: FileEntry) -> bool:
        """Whether the tool's provider wrote (or changed) this file, as far as can be told."""
        path = entry.path
        if path in self.changed:
            return True
        return not (path in self.packages or path in self.standard_library or path in self.system)


def read_ownership(
    inventory: Inventory, commands: Sequence[str] = (), started: AbstractSet[str] = frozenset()
) -> Ownership:
    """Owners of the files of `inventory`; packages that bring one of the `commands`, or a file that is `started`, are
    the tool's own.

    So are packages that were installed from elsewhere than an index (`direct_url.json`). Raises `CouldNotDecide` where
    a package database or a RECORD was too large to be kept.
    """
    packages: set[str] = set()
    changed: set[str] = set()
    names = {command.rpartition("/")[2] for command in commands}
    modules = {after.partition(".")[0] for word, after in pairwise(commands) if word == "-m"}
    for path in sorted(inventory.classes):
        directory, _, last = path.rpartition("/")
        if last == "RECORD" and directory.endswith(".dist-info"):
            good, bad = _compared(inventory, directory)
            changed |= bad
            inside = (path.removeprefix(f"{_base(directory)}/") for path in good)
            imported = modules & {path.partition("/")[0].partition(".")[0] for path in inside}
            is_tool = imported or started & good or _is_tool(inventory, directory, names)
            packages |= set() if is_tool else good
    return Ownership(
        frozenset(packages),
        frozenset(path for path in read_system(inventory).owned if _SYSTEM.match(path)),
        frozenset(e.path for e in inventory.files.values() if _is_standard(e, inventory)),
        frozenset(changed - packages),
    )


def _compared(inventory: Inventory, directory: str) -> tuple[set[str], set[str]]:
    """Files that are what the RECORD says, and files that are not; a file without a hash is neither."""
    base = _base(directory)
    good: set[str] = set()
    bad: set[str] = set()
    for path, stated in stated_files(inventory, directory) or ():
        entry = inventory.files.get(path)
        if entry is None or entry.sha256 is None or not stated or not _may_own(path, base):
            continue
        same = stated_digest(stated) == entry.sha256.removeprefix("sha256:")
        (good if same else bad).add(path)
    return good, bad


def _base(directory: str) -> str:
    """The site directory that metadata lie in."""
    return directory.rpartition("/")[0]


def _may_own(path: str, base: str) -> bool:
    return path.startswith(f"{base}/") or path.rpartition("/")[0].rpartition("/")[2] in ("bin", "Scripts")


def _is_tool(inventory: Inventory, directory: str, commands: set[str]) -> bool:
    if f"{directory}/direct_url.json" in inventory.files:
        return True
    try:
        text = inventory.beginning(f"{directory}/entry_points.txt", _MAX_COMMANDS).decode("utf-8", "replace")
    except CouldNotDecide:
        return False
    return any(line.partition("=")[0].strip() in commands for line in text.splitlines()[:500] if "=" in line)


def _is_standard(entry: FileEntry, inventory: Inventory) -> bool:
    """Whether this is a file of a Python built from source, which no package owns.

    By the name of its module, and by its layer: what the provider adds or changes upon a base image lies in another
    layer than the interpreter. Who builds the whole image by hand can still lie here.
    """
    found = _LIBRARY.fullmatch(entry.path)
    if found is None or entry.kind is not Kind.FILE or _SITES.search(entry.path):
        return False
    top = found["rest"].partition("/")[0]
    if top.partition(".")[0] not in _STANDARD and not top.startswith(("config-", "_sysconfigdata", "__pycache__")):
        return False
    if top == "__pycache__" and found["rest"].count("/") == 1:
        top = found["rest"].rpartition("/")[2]
        if top.partition(".")[0] not in _STANDARD and not top.startswith("_sysconfigdata"):
            return False
    interpreter = inventory.files.get(f"{found['prefix']}bin/python{found['version']}")
    return interpreter is not None and interpreter.kind is Kind.FILE and interpreter.layer == entry.layer
