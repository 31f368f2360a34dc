"""Debian's packages: dpkg's status, the files they own, and the licences in their copyright files."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import chain, islice

from checks.sbom.capabilities import Offers
from checks.sbom.model import Component, package_url, text_of
from checks.sbom.release import Release
from pratique.errors import CouldNotDecide
from pratique.intake.image.model import Inventory

_MAX_STATUS = 32 * 1024**2
_MAX_PARAGRAPHS = 100_000
_MAX_LISTS = 32 * 1024**2
_MAX_OWNED = 1_000_000
"""Bytes and lines of the lists of files of all packages."""
_MAX_FIELD = 64 * 1024
_MAX_LICENCES = 64
_MAX_COPYRIGHT = 4 * 1024**2
_MAX_COPYRIGHTS = 64 * 1024**2
_SOURCE = re.compile(r"(?P<name>[^\s(]+)(?:\s*\((?P<version>[^)]+)\))?")
_NAME = re.compile(r"\s*([a-z0-9][a-z0-9+.-]*)")
_LIST = re.compile(r"(?:.*/)?var/lib/dpkg/info/([^/:]+)(?::[^/]+)?\.list")
_WORDS = "package version status source architecture provides pre-depends depends license files format"
_FIELDS = frozenset(_WORDS.split())
_NOT_THERE = frozenset(("not-installed", "config-files"))
_FORM = re.compile(rb"\s*Format(?:-Specification)?:", re.IGNORECASE)


def is_status(path: str) -> bool:
    """Whether `path` is dpkg's status, or one package's of it, as images without a shell have them."""
    return path.endswith("var/lib/dpkg/status") or (
        "/dpkg/status.d/" in f"/{path}" and not path.endswith((".md5sums", ".list"))
    )


def read_dpkg(inventory: Inventory, paths: list[str], release: Release) -> list[Component]:
    """The installed packages of the status files at `paths`; raises `CouldNotDecide` where one was not kept."""
    if sum(inventory.files[path].size for path in paths) > _MAX_STATUS:
        raise _too_much(f"the status of Debian packages is longer than {_MAX_STATUS:,} bytes")
    found: list[tuple[str, dict[str, str]]] = []
    for path in paths:
        found += ((path, paragraph) for paragraph in _installed(inventory.read(path)))
        if len(found) > _MAX_PARAGRAPHS:
            raise _too_much(f"more than {_MAX_PARAGRAPHS:,} packages in all databases")
    offers = Offers()
    for _, paragraph in found:
        offers.add(paragraph["package"], (name for choice in _choices(paragraph, "provides") for name in choice))
    copyrights = _Copyrights(inventory)
    return [_component(copyrights, paragraph, path, release, offers) for path, paragraph in found]


def owned_by_lists(inventory: Inventory, paths: list[str], installed: set[str]) -> tuple[set[str], list[str]]:
    """Files that the lists at `paths` name, and the packages that have a list although none is installed so.

    Raises `CouldNotDecide` where a list was not kept, or all together are too long.
    """
    owned: set[str] = set()
    strangers: list[str] = []
    left = _MAX_LISTS
    for path in paths:
        match = _LIST.fullmatch(path)
        if match is None:
            continue
        if match[1] in installed:
            left -= inventory.files[path].size
            data = inventory.read(path) if left >= 0 else b""
            lines = (line.decode("utf-8", "replace").strip("/\r\n") for line in io.BytesIO(data))
            owned.update(islice(lines, _MAX_OWNED))
            if left < 0 or len(owned) >= _MAX_OWNED:
                raise _too_much("the lists of files of Debian packages are too long")
        else:
            strangers.append(match[1])
    return owned, strangers


def _installed(data: bytes) -> Iterator[dict[str, str]]:
    """Paragraphs of packages whose files are there, whatever else their state says (`half-configured`)."""
    for paragraph in _paragraphs(data):
        state = paragraph.get("status", "installed").split()
        if paragraph.get("package") and state and state[-1] not in _NOT_THERE:
            yield paragraph


def _too_much(what: str) -> CouldNotDecide:
    return CouldNotDecide(what, next_step="Check the image's package database; install fewer packages.")


def _component(
    copyrights: _Copyrights, paragraph: dict[str, str], path: str, release: Release, offers: Offers
) -> Component:
    name, version = paragraph["package"], paragraph.get("version", "")
    source = _SOURCE.match(paragraph.get("source", ""))
    source_name = source["name"] if source else name
    source_version = (source["version"] if source else None) or version
    qualifiers = {"arch": paragraph.get("architecture", ""), "distro": release.distro}
    if (source_name, source_version) != (name, version):
        qualifiers["upstream"] = source_name if source_version == version else f"{source_name}@{source_version}"
    wanted = [*_choices(paragraph, "pre-depends"), *_choices(paragraph, "depends")]
    return Component(
        name=name,
        version=version,
        purl=package_url(
            "deb",
            name,
            version,
            namespace=release.identifier or "debian",
            qualifiers={key: value for key, value in qualifiers.items() if value},
        ),
        ecosystem=release.ecosystem or "Debian",
        path=path,
        licences=copyrights.licences(name),
        advisory_name=source_name,
        advisory_version=source_version,
        requires=offers.needed(name, wanted),
    )


def _choices(paragraph: dict[str, str], key: str) -> Iterator[list[str]]:
    """The names of each relation, alternatives in order."""
    for item in paragraph.get(key, "").split(","):
        names = [match[1] for alternative in item.split("|") if (match := _NAME.match(alternative))]
        if names:
            yield names


def _paragraphs(data: bytes) -> Iterator[dict[str, str]]:
    """The fields that are used here, of each paragraph of a Debian control file; none of them has further lines."""
    current: dict[str, str] = {}
    count = 0
    for piece in chain(io.BytesIO(data), (b"",)):
        line = piece.decode("utf-8", "replace").removesuffix("\n")
        if not line.strip():
            if current:
                count += 1
                if count > _MAX_PARAGRAPHS:
                    raise _too_much(f"more than {_MAX_PARAGRAPHS:,} packages in one database")
                yield current
                current = {}
        elif line[0] not in " \t":
            key, colon, value = line.partition(":")
            key = key.strip().lower()
            if colon and key in _FIELDS:
                current.setdefault(key, text_of(value, _MAX_FIELD))


class _Copyrights:
    """What copyright files state; each is read once, whoever points to it, and all within one budget."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._read: dict[str, tuple[str, ...]] = {}
        self._left = _MAX_COPYRIGHTS

    def licences(self, name: str) -> tuple[str, ...]:
        """What the machine-readable file (DEP 5) of a package states; none where it is free text, or is not there."""
        path = f"usr/share/doc/{name}/copyright"
        entry = self._inventory.files.get(path) or self._inventory.resolve(path)
        if entry is None or entry.path not in self._inventory.classes or entry.size > _MAX_COPYRIGHT:
            return ()
        if entry.path not in self._read:
            self._left -= entry.size
            self._read[entry.path] = self._stated(entry.path) if self._left >= 0 else ()
        return self._read[entry.path]

    def _stated(self, path: str) -> tuple[str, ...]:
        try:
            return licences_of(self._inventory.read(path))
        except CouldNotDecide:
            return ()


def licences_of(copyright_file: bytes) -> tuple[str, ...]:
    """Short names of the licences of all files, each once, all of which hold together; none for free text."""
    if not _FORM.match(copyright_file[:1000]):
        return ()
    stated = (
        paragraph["license"]
        for paragraph in _paragraphs(copyright_file)
        if paragraph.get("license") and ("files" in paragraph or "format" in paragraph)
    )
    return tuple(dict.fromkeys(stated))[:_MAX_LICENCES]
