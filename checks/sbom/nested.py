"""Packages that no installer knows of: archives inside the image, bundled shared objects."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from checks.sbom.bundled import read_bundled
from checks.sbom.code_versions import version_in
from checks.sbom.copies import is_list, pinned_in
from checks.sbom.known_copies import CodeFile, read_known_copies
from checks.sbom.known_files import KINDS
from checks.sbom.known_modules import KNOWN_MODULES
from checks.sbom.model import Component, Origin, package_url, text_of
from checks.sbom.packed_tars import TarMember, members_of
from checks.sbom.record import Lie
from pratique.bounded_zip import open_zip
from pratique.digests import sha256_bytes
from pratique.errors import InvalidInput
from pratique.intake.image.model import FileClass, Inventory, Kind
from pratique.intake.image.notes import MAX_CODE, openings

MAX_DEPTH = 3
MAX_MEMBERS = 100_000
"""Archives, their members and the packages that these state, of all archives of an image together."""
MAX_LISTS = 64 * 1024**2
"""Bytes of the lists of members of all zips of an image together, also of those that turn out to be broken."""
MAX_METADATA = 1024**2
MAX_UNPACKED = 256 * 1024**2
"""Bytes that are unpacked of all archives of an image together."""
_METADATA = re.compile(
    r"(?:.*/)?[^/]+\.dist-info/METADATA|[^/]+/PKG-INFO|EGG-INFO/PKG-INFO|(?:.*/)?[^/]+\.egg-info/PKG-INFO"
)
_NODE = re.compile(r"package/package\.json")
_KNOWN = re.compile(
    rf"(?:.*/)?(?P<module>{'|'.join(KNOWN_MODULES)})/(?:__init__|_version|__version__|version|__about__)\.py"
)
_INNER = re.compile(r".*\.(?:whl|zip|egg|tar|tgz|tar\.gz|tar\.bz2|tar\.xz)", re.IGNORECASE)
_SMALLEST = 22
_NO_ARCHIVES = (
    ".py",
    ".pyi",
    ".pyc",
    ".so",
    ".h",
    ".c",
    ".js",
    ".txt",
    ".md",
    ".rst",
    ".html",
    ".css",
    ".json",
    ".svg",
)
_HEADER = re.compile(rb"^(Name|Version):[ \t]*([^\r\n]{1,200})", re.MULTILINE)
_NODE_FIELD = re.compile(rb'"(name|version)"\s*:\s*"([^"\\]{1,214})"')
_HEAD = 4096
_XZ = b"\xfd7zXZ\x00"
_COMPRESSED = (b"\x1f\x8b", b"BZh", _XZ)
_NOT_READ = (
    *(b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\x28\xb5\x2f\xfd", b"hsqs", b"MSCF"),
    *(b"!<arch>\ndebian", b"\xed\xab\xee\xdb"),
)
"""7z, RAR, Zstandard, SquashFS, cabinets; packages of Debian and RPM."""
_BROKEN = (
    InvalidInput,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)


def read_nested(inventory: Inventory, lies: list[Lie], known: Iterable[Component] = ()) -> list[Component]:
    """Components that lie inside others, marked *detected*; archives that could not be searched go into `lies`.

    `known` are the Python components found so far: copies that these do not speak of are recognised by their files.
    """
    found = [*read_bundled(inventory, lies)]
    search = _Search(lies)
    for kind in (FileClass.MODEL, FileClass.ARCHIVE):
        for entry in inventory.of_class(kind):
            certain = kind is FileClass.ARCHIVE or entry.head.startswith(b"PK")
            if entry.path in inventory.not_kept:
                if certain:
                    lies.append(Lie("archive-unreadable", f"{entry.path} was too large to be searched", entry.path))
            elif certain or entry.head.startswith(_COMPRESSED):
                with inventory.open(entry.path) as stream:
                    found += search.archive(stream, entry.path, certain=certain)
    lies += _unsearched(inventory)
    found += read_known_copies(inventory, search.code, (*known, *found), lies)
    unique = {(c.purl or c.path, c.path.partition("!")[0]): c for c in reversed(found)}
    return sorted(unique.values(), key=lambda c: (c.purl, c.path))


def _unsearched(inventory: Inventory) -> list[Lie]:
    """One finding for all archives in forms that are not read here."""
    paths = sorted(p for p, e in inventory.files.items() if e.kind is Kind.FILE and e.head.startswith(_NOT_READ))
    if not paths:
        return []
    shown = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    return [Lie("archive-unsearched", f"archives in forms that are not read here: {shown}", paths[0])]


def _detected(kind: str, name: str, version: str, where: str) -> Component:
    scope, _, last = name.rpartition("/")
    return Component(
        name=name,
        version=version,
        purl=package_url(kind, last, version, namespace=scope),
        ecosystem={"pypi": "PyPI", "npm": "npm"}[kind],
        path=where,
        origin=Origin.DETECTED,
    )


def _is_zip(head: bytes) -> bool:
    """A zip, or one behind a line for the shell (pex, zipapp)."""
    return head.startswith(b"PK") or (head.startswith(b"#!") and b"PK\x03\x04" in head)


def _states_package(name: str) -> bool:
    return is_list(name) or any(form.fullmatch(name) is not None for form in (_METADATA, _NODE, _KNOWN))


def _stated(data: bytes, name: str, where: str) -> Iterator[Component]:
    """The package whose metadata `data` are, or the well-known one whose version this code states."""
    if is_list(name):
        yield from (_detected("pypi", package, version, where) for package, version in pinned_in(data))
        return
    known = _KNOWN.fullmatch(name)
    if known is not None:
        version = version_in(data)
        if version:
            yield _detected("pypi", KNOWN_MODULES[known["module"]], version, where)
        return
    node = _NODE.fullmatch(name) is not None
    fields: dict[bytes, str] = {}
    for key, value in (_NODE_FIELD if node else _HEADER).findall(data[:MAX_METADATA]):
        fields.setdefault(key.lower(), text_of(value.decode("utf-8", "replace")))
    stated, version = fields.get(b"name", ""), fields.get(b"version", "")
    if stated and version:
        yield _detected("npm" if node else "pypi", stated, version, where)


def _decompressed(stream: BinaryIO, head: bytes) -> BinaryIO:
    if head[:2] == b"\x1f\x8b":
        return cast(BinaryIO, gzip.GzipFile(fileobj=stream, mode="rb"))
    if head[:3] == b"BZh":
        return cast(BinaryIO, bz2.BZ2File(stream))
    return cast(BinaryIO, lzma.LZMAFile(stream)) if head[:6] == _XZ else stream


@dataclass
class _Search:
    """Looks for packages in archives and in the archives in them, within one budget for the whole image."""

    lies: list[Lie]
    unpacked: int = 0
    members: int = 0
    lists: int = 0
    code: list[CodeFile] = field(default_factory=list)

    def archive(self, stream: BinaryIO, path: str, *, certain: bool, depth: int = 0) -> Iterator[Component]:
        """Packages in the archive; one that cannot be searched to its end becomes a lie.

        Where it is not `certain` that the bytes are an archive, bytes that are none are passed over.
        """
        head = stream.read(_HEAD)
        stream.seek(0)
        try:
            self._count()  # before a list of members is read in vain
            if _is_zip(head):
                with open_zip(stream, took=self._took_list) as opened:
                    yield from self._zip(opened, path, depth)
            else:
                plain = head[257:262] == b"ustar"
                source = stream if plain else _decompressed(stream, head)
                took = self._passed_over if plain else self._took
                for member in members_of(source, path, took, plain=plain, certain=certain):
                    yield from self._in_tar(member, path, depth)
        except _BROKEN as error:
            message = f"{path} cannot be searched for packages: {error}"[:300]
            self.lies.append(Lie("archive-unreadable", message, path))

    def _zip(self, opened: zipfile.ZipFile, path: str, depth: int) -> Iterator[Component]:
        for member in opened.infolist():
            self._count()
            if member.filename.endswith(KINDS):
                with opened.open(member) as stream:
                    self.unpacked += self._take_code(cast(BinaryIO, stream), f"{path}!/{text_of(member.filename)}")
                    self._within()
            if self._worth(member.filename, member.file_size):
                with opened.open(member) as stream:
                    yield from self._member(cast(BinaryIO, stream), member.filename, path, depth)

    def _in_tar(self, member: TarMember | None, path: str, depth: int) -> Iterator[Component]:
        self._count()
        if member is None:
            return
        stream = cast(BinaryIO, member.data)
        if self._worth(member.name, member.size):
            yield from self._member(stream, member.name, path, depth)
        elif member.name.endswith(KINDS):
            self._take_code(stream, f"{path}!/{text_of(member.name)}")

    def _take_code(self, stream: BinaryIO, where: str) -> int:
        """Note what a module is known by; how many bytes were read for it."""
        data = stream.read(MAX_CODE)
        self.code.append(CodeFile(where, sha256_bytes(data), openings(data)))
        return len(data)

    def _worth(self, name: str, size: int) -> bool:
        """Whether a member is looked into; the smallest archive has 22 bytes, and code is none."""
        return _states_package(name) or (size >= _SMALLEST and not name.endswith(_NO_ARCHIVES))

    def _member(self, stream: BinaryIO, name: str, path: str, depth: int) -> Iterator[Component]:
        where = f"{path}!/{text_of(name)}"
        if _states_package(name):
            for component in _stated(self._read(stream, b"", MAX_METADATA, whole=False), name, where):
                self._count()
                yield component
            return
        head = stream.read(_HEAD)
        named = _INNER.fullmatch(name) is not None
        if not (named or _is_zip(head) or head.startswith(_COMPRESSED) or head[257:262] == b"ustar"):
            return
        if depth + 1 >= MAX_DEPTH:
            if not (named or _is_zip(head)):
                return
            raise ValueError(f"archives are packed more than {MAX_DEPTH} times in each other")
        data = self._read(stream, head, MAX_UNPACKED - self.unpacked, whole=True)
        yield from self.archive(io.BytesIO(data), where, certain=named or _is_zip(head), depth=depth + 1)

    def _read(self, stream: BinaryIO, head: bytes, limit: int, *, whole: bool) -> bytes:
        data = head + stream.read(max(limit - len(head), 0) + 1)
        if len(data) > limit and whole:
            raise ValueError("more is packed in it than is searched")
        self.unpacked += len(data)
        self._within()
        return data

    def _count(self) -> None:
        self.members += 1
        if self.members > MAX_MEMBERS:
            raise ValueError(f"more than {MAX_MEMBERS:,} members and packages in all archives")

    def _took_list(self, count: int) -> None:
        self.lists += count
        if self.lists > MAX_LISTS:
            raise ValueError(f"more than {MAX_LISTS:,} bytes of lists of members in all zips")

    def _passed_over(self, _: int) -> None:
        """Bytes of the image itself cost no unpacking."""

    def _took(self, count: int) -> None:
        self.unpacked += count  # unpacked also where nothing is wanted of it
        self._within()

    def _within(self) -> None:
        if self.unpacked > MAX_UNPACKED:
            raise ValueError("more is packed in it than is searched")
