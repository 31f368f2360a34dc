"""Files of well-known packages, by what the inventory notes of them: a shipped table, made by `infra/module_table.py`.

`known_files.txt` names packages, versions and files; `known_files.bin` has the rows: the first six bytes of a digest (a
file's SHA-256, or the opening of a function, see `pratique.intake.image.notes`), the number of the file, and a bit for
each version that has it so. Six bytes are enough to recognise by: chance makes one false hit in a billion files.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

LIST = "known_files.txt"
ROWS = "known_files.bin"
KEY = 6
ROW = f">{KEY}sHH"
MAX_VERSIONS = 16
KINDS = (".py", ".pem")
"""Ends of the names of files that the table knows."""


@dataclass(frozen=True)
class KnownPackage:
    """A package of the table, its versions in order, and how many files it has there."""

    name: str
    versions: tuple[str, ...]
    paths: frozenset[int]

    def named(self, mask: int) -> list[str]:
        """The versions of which `mask` has the bits."""
        return [version for place, version in enumerate(self.versions) if mask >> place & 1]


@dataclass(frozen=True)
class ModuleTable:
    """`rows` by key: number of a file and a mask of versions; `paths` and `packages` by that number.

    `present` has, for each file, a bit for every version that has it.
    """

    rows: Mapping[bytes, tuple[int, int]]
    paths: Sequence[str]
    packages: Sequence[KnownPackage]
    present: Sequence[int]


@cache
def module_table() -> ModuleTable:
    """The shipped table, read when it is first needed."""
    folder = files(__package__)
    return read_table(folder.joinpath(LIST).read_text(encoding="ascii"), folder.joinpath(ROWS).read_bytes())


def read_table(listed: str, rows: bytes) -> ModuleTable:
    """The table that the two files hold."""
    paths: list[str] = []
    spans: list[tuple[str, tuple[str, ...], int]] = []
    for line in listed.splitlines():
        if line.startswith(" "):
            paths.append(line[1:])
        else:
            name, *versions = line.split()
            spans.append((name, tuple(versions), len(paths)))
    packages: list[KnownPackage] = []
    for (name, stated, start), end in zip(spans, [*(s[2] for s in spans[1:]), len(paths)], strict=True):
        package = KnownPackage(name, stated, frozenset(range(start, end)))
        packages += [package] * (end - start)
    found = {key: (number, mask) for key, number, mask in struct.iter_unpack(ROW, rows)}
    present = [0] * len(paths)
    for number, mask in found.values():
        present[number] |= mask
    return ModuleTable(found, tuple(paths), tuple(packages), tuple(present))
