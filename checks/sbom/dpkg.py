"""Debian's packages: dpkg's status, the files they own, and the licences in their copyright files."""

from __future__ import annotations

import re
from collections.abc import Iterator

from checks.sbom.capabilities import Offers
from checks.sbom.model import Component, package_url, text_of
from checks.sbom.release import Release
from pratique.errors import CouldNotDecide
from pratique.intake.image.model import Inventory

_MAX_PARAGRAPHS = 100_000
_MAX_FIELD = 64 * 1024
_MAX_LICENCES = 64
_MAX_COPYRIGHT = 4 * 1024**2
_SOURCE = re.compile(r"(?P<name>[^\s(]+)(?:\s*\((?P<version>[^)]+)\))?")
_NAME = re.compile(r"\s*([a-z0-9][a-z0-9+.-]*)")
_LIST = re.compile(r"(?:.*/)?var/lib/dpkg/info/([^/:]+)(?::[^/]+)?\.list")
_NOT_THERE = frozenset(("not-installed", "config-files"))
_FORM = re.compile(rb"\s*Format(?:-Specification)?:", re.IGNORECASE)


def is_status(path: str) -> bool:
    """Whether `path` is dpkg's status, or one package's of it, as images without a shell have them."""
    return path.endswith("var/lib/dpkg/status") or (
        "/dpkg/status.d/" in f"/{path}" and not path.endswith((".md5sums", ".list"))
    )


def read_dpkg(inventory: Inventory, paths: list[str], release: Release) -> list[Component]:
    """The installed packages of the status files at `paths`; raises `CouldNotDecide` where one was not kept."""
    found = [(path, paragraph) for path in paths for paragraph in _installed(inventory.read(path))]
    offers = Offers()
    for _, paragraph in found:
        offers.add(paragraph["package"], (name for choice in _choices(paragraph, "provides") for name in choice))
    return [_component(inventory, paragraph, path, release, offers) for path, paragraph in found]


def owned_by_lists(inventory: Inventory, paths: list[str], installed: set[str]) -> tuple[set[str], list[str]]:
    """Files that the lists at `paths` name, and the packages that have a list although none is installed so."""
    owned: set[str] = set()
    strangers: list[str] = []
    for path in paths:
        match = _LIST.fullmatch(path)
        if match is None:
            continue
        if match[1] in installed:
            owned.update(line.strip("/") for line in inventory.read(path).decode("utf-8", "replace").splitlines())
        else:
            strangers.append(match[1])
    return owned, strangers


def _installed(data: bytes) -> Iterator[dict[str, str]]:
    """Paragraphs of packages whose files are there, whatever else their state says (`half-configured`)."""
    for paragraph in _paragraphs(data):
        state = paragraph.get("status", "installed").split()
        if paragraph.get("package") and state and state[-1] not in _NOT_THERE:
            yield paragraph


def _component(
    inventory: Inventory, paragraph: dict[str, str], path: str, release: Release, offers: Offers
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
        licences=_licences(inventory, name),
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
    """Paragraphs of a Debian control file; continuation lines matter to no field that is used here."""
    current: dict[str, str] = {}
    count = 0
    for line in [*data.decode("utf-8", "replace").split("\n"), ""]:
        if not line.strip():
            if current:
                count += 1
                if count > _MAX_PARAGRAPHS:
                    raise CouldNotDecide(
                        f"more than {_MAX_PARAGRAPHS:,} packages in one database",
                        next_step="Check the image's package database.",
                    )
                yield current
                current = {}
        elif line[0] not in " \t":
            key, colon, value = line.partition(":")
            if colon:
                current.setdefault(key.strip().lower(), text_of(value, _MAX_FIELD))


def _licences(inventory: Inventory, name: str) -> tuple[str, ...]:
    """What the machine-readable copyright file (DEP 5) states; none where it is free text, or is not there."""
    path = f"usr/share/doc/{name}/copyright"
    entry = inventory.files.get(path) or inventory.resolve(path)
    if entry is None or entry.path not in inventory.classes or entry.size > _MAX_COPYRIGHT:
        return ()
    try:
        data = inventory.read(entry.path)
    except CouldNotDecide:
        return ()
    return licences_of(data)


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
