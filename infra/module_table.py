"""The table of known modules (`checks/sbom/known_files.txt` and `.bin`), made from wheels and source archives.

    pip download --no-deps --only-binary :all: -d wheels NAME==VERSION    # for each version that the table is to know
    python -m infra.module_table wheels

Archives are read member by member, within bounds; nothing is installed, built or imported. What the table knows is in
`known_files.txt`: choose versions on both sides of every fix that advisories name, at most sixteen of a package.

A row is left out where it tells nothing: small files, files that only state a version, tests, copies of other packages
(`_vendor`), and what two packages, two files of one package or the standard library have in common.
"""

from __future__ import annotations

import re
import struct
import sys
import sysconfig
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Set
from hashlib import sha256
from pathlib import Path

from packaging.utils import parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

import checks.sbom
from checks.sbom.copies import FOR_COPIES
from checks.sbom.known_files import KEY, KINDS, LIST, MAX_VERSIONS, ROW, ROWS
from pratique.intake.image.classify import states_version_only
from pratique.intake.image.notes import MAX_CODE, OPENING, openings

_MAX_MEMBERS = 20_000
_SMALLEST = 256
_MOST_PATHS = 160
"""Files of one package that are told apart: its largest."""
_NOT_ITS_OWN = FOR_COPIES | {"test", "tests", "testing", "packages", "_distutils", "benchmarks"}
_Owner = tuple[str, str]
"""Package and path."""


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Path as installed and content of each file of a wheel or source archive that the table may know."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist()[:_MAX_MEMBERS]:
                if _worth(info.filename, info.file_size):
                    with opened.open(info) as stream:
                        yield info.filename, stream.read(MAX_CODE)
        return
    with tarfile.open(archive, "r|gz") as tar:
        for count, member in enumerate(tar):
            if count >= _MAX_MEMBERS:
                return
            path = re.sub(r"^[^/]+/(?:src/|lib3?/)?", "", member.name)
            if member.isreg() and _worth(path, member.size):
                source = tar.extractfile(member)
                if source is not None:
                    yield path, source.read(MAX_CODE)


def _worth(path: str, size: int) -> bool:
    folders = set(path.split("/")[:-1])
    own = not folders & _NOT_ITS_OWN and not path.split("/")[0].endswith((".data", "-info"))
    return own and path.endswith(KINDS) and not states_version_only(path) and _SMALLEST <= size <= MAX_CODE


def keys(path: str, data: bytes) -> set[bytes]:
    """What a file is known by: its digest, and the openings of its functions."""
    noted = openings(data) if path.endswith(".py") else b""
    return {sha256(data).digest()[:KEY], *(noted[i : i + OPENING] for i in range(0, len(noted), OPENING))}


class _Known:
    """Everything that was read, by key."""

    def __init__(self) -> None:
        self.owners: defaultdict[bytes, dict[_Owner, set[Version]]] = defaultdict(dict)
        self.sizes: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self.versions: defaultdict[str, set[Version]] = defaultdict(set)

    def add(self, archive: Path) -> None:
        """Take in one wheel or source archive."""
        name, version = (
            parse_wheel_filename(archive.name)[:2] if archive.suffix == ".whl" else parse_sdist_filename(archive.name)
        )
        self.versions[name].add(version)
        if len(self.versions[name]) > MAX_VERSIONS:
            raise SystemExit(f"{name}: more than {MAX_VERSIONS} versions, for which a row has no room")
        for path, data in members(archive):
            self.sizes[name][path] = max(len(data), self.sizes[name].get(path, 0))
            for key in keys(path, data):
                self.owners[key].setdefault((name, path), set()).add(version)

    def telling(self, common: Set[bytes]) -> Iterator[tuple[bytes, _Owner, set[Version]]]:
        """The keys that one file of one package has, and nobody else; `common` are left out."""
        largest = {
            (name, path)
            for name, sizes in self.sizes.items()
            for path in sorted(sizes, key=lambda p: (-sizes[p], p))[:_MOST_PATHS]
        }
        for key, owners in self.owners.items():
            named = [owner for owner in owners if owner[1] == f"{owner[0]}.py"]  # `six.py` is six's, whoever has it too
            single = named if len(named) == 1 else list(owners)
            if len(single) == 1 and key not in common and single[0] in largest:
                yield key, single[0], owners[single[0]]


def standard_library() -> Iterator[bytes]:
    """Keys of the modules that come with this Python."""
    for path in Path(sysconfig.get_path("stdlib")).rglob("*.py"):
        if "site-packages" not in path.parts:
            yield from keys(path.name, path.read_bytes()[:MAX_CODE])


def write_table(archives: list[Path], folder: Path, common: Set[bytes] = frozenset()) -> None:
    """Write the list of packages, versions and paths, and the rows in the order of their keys, without `common`."""
    known = _Known()
    for archive in archives:
        known.add(archive)
    rows = sorted(known.telling(common), key=lambda row: row[0])
    owners = sorted({owner for _, owner, _ in rows})
    number = {owner: place for place, owner in enumerate(owners)}
    lines: list[str] = []
    ordered = {name: sorted(versions) for name, versions in known.versions.items()}
    for name in sorted({name for name, _ in owners}):
        lines += [" ".join((name, *map(str, ordered[name]))), *(f" {path}" for owner, path in owners if owner == name)]
    (folder / LIST).write_text("\n".join(lines) + "\n", encoding="ascii")
    packed = (
        struct.pack(ROW, key, number[owner], sum(1 << ordered[owner[0]].index(version) for version in versions))
        for key, owner, versions in rows
    )
    (folder / ROWS).write_bytes(b"".join(packed))


def main(folder: str) -> None:
    """Make the table from all archives in `folder`."""
    archives = sorted(path for path in Path(folder).iterdir() if path.name.endswith((".whl", ".tar.gz")))
    write_table(archives, Path(checks.sbom.__file__).parent, set(standard_library()))


if __name__ == "__main__":
    main(*sys.argv[1:])
