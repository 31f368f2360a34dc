"""Packages of the operating system: dpkg and apk, and the release that their advisories go by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from checks.sbom.model import Component, package_url, text_of
from pratique.errors import CouldNotDecide
from pratique.intake.image.model import FileClass, Inventory

_MAX_PARAGRAPHS = 100_000
_SOURCE = re.compile(r"(?P<name>[^\s(]+)(?:\s*\((?P<version>[^)]+)\))?")
_DEPENDENCY = re.compile(r"\s*([a-z0-9][a-z0-9+.-]*)")
_DPKG_LISTS = re.compile(r"(?:.*/)?var/lib/dpkg/info/[^/]+\.list")
_ECOSYSTEMS = {"debian": "Debian", "ubuntu": "Ubuntu", "alpine": "Alpine"}


@dataclass(frozen=True)
class Release:
    """The distribution as `os-release` tells it; `ecosystem` is OSV's word for it, empty where OSV has none."""

    identifier: str = ""
    version: str = ""
    name: str = ""

    @property
    def ecosystem(self) -> str:
        """`Debian:12`, `Alpine:v3.20`, `Ubuntu:24.04`."""
        base = _ECOSYSTEMS.get(self.identifier, "")
        if base == "Alpine" and self.version:
            return f"Alpine:v{'.'.join(self.version.split('.')[:2])}"
        return f"{base}:{self.version}" if base and self.version else base


@dataclass
class SystemPackages:
    """Release, packages, files that packages own, and databases that this reader cannot read.

    `lost` is true where the release is one whose packages always have a database, and there is none.
    """

    release: Release = field(default_factory=Release)
    components: list[Component] = field(default_factory=list)
    owned: frozenset[str] = frozenset()
    unread: list[str] = field(default_factory=list)
    lost: bool = False


def read_system(inventory: Inventory) -> SystemPackages:
    """System packages of `inventory`; raises `CouldNotDecide` where a database was too large to be kept."""
    found = SystemPackages(release=read_release(inventory))
    owned: set[str] = set()
    for entry in inventory.of_class(FileClass.PACKAGE_DATABASE):
        path = entry.path
        if path.endswith("var/lib/dpkg/status") or "/dpkg/status.d/" in f"/{path}":
            if not path.endswith((".md5sums", ".list")):
                found.components += _dpkg(inventory.read(path), path, found.release)
        elif path.endswith("lib/apk/db/installed"):
            found.components += _apk(inventory.read(path), path, found.release, owned)
        elif _DPKG_LISTS.fullmatch(path):
            owned.update(line.strip("/") for line in inventory.read(path).decode("utf-8", "replace").splitlines())
        elif "rpm" in path.lower() and "/dpkg/" not in f"/{path}":
            found.unread.append(path)
    found.components.sort(key=lambda c: c.purl)
    found.owned = frozenset(owned)
    found.lost = bool(found.release.ecosystem) and not found.components
    return found


def read_release(inventory: Inventory) -> Release:
    """The release named by `etc/os-release` (or `usr/lib/os-release`); empty where there is none."""
    for path in ("etc/os-release", "usr/lib/os-release"):
        try:
            data = inventory.read(path)
        except CouldNotDecide:
            continue
        values = dict(line.partition("=")[::2] for line in data[:65536].decode("utf-8", "replace").splitlines())
        clean = {key: text_of(value.strip().strip("\"'")) for key, value in values.items()}
        return Release(clean.get("ID", ""), clean.get("VERSION_ID", ""), clean.get("PRETTY_NAME", ""))
    return Release()


def _dpkg(data: bytes, path: str, release: Release) -> Iterator[Component]:
    for paragraph in _paragraphs(data):
        name, version = paragraph.get("package", ""), paragraph.get("version", "")
        if not name or not version or "installed" not in paragraph.get("status", "installed").split():
            continue
        source = _SOURCE.match(paragraph.get("source", ""))
        source_name = source["name"] if source else name
        source_version = (source["version"] if source else None) or version
        qualifiers = {"arch": paragraph.get("architecture", "")}
        if release.identifier and release.version:
            qualifiers["distro"] = f"{release.identifier}-{release.version}"
        if (source_name, source_version) != (name, version):
            qualifiers["upstream"] = source_name if source_version == version else f"{source_name}@{source_version}"
        yield Component(
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
            advisory_name=source_name,
            advisory_version=source_version,
            requires=tuple(sorted(_dependencies(paragraph.get("depends", "")))),
        )


def _dependencies(text: str) -> set[str]:
    """First alternative of each dependency."""
    matches = (_DEPENDENCY.match(item.partition("|")[0]) for item in text.split(","))
    return {match[1] for match in matches if match}


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
                current.setdefault(key.strip().lower(), text_of(value, 4000))


def _apk(data: bytes, path: str, release: Release, owned: set[str]) -> Iterator[Component]:
    for block in data.decode("utf-8", "replace").split("\n\n"):
        fields: dict[str, str] = {}
        folder = ""
        for line in block.splitlines():
            key, colon, value = line.partition(":")
            if key == "F":
                folder = value
            elif key == "R" and colon:
                owned.add(f"{folder}/{value}".lstrip("/"))
            elif colon:
                fields.setdefault(key, text_of(value, 4000))
        name, version = fields.get("P", ""), fields.get("V", "")
        if not name or not version:
            continue
        qualifiers = {"arch": fields.get("A", ""), "distro": f"alpine-{release.version}" if release.version else ""}
        yield Component(
            name=name,
            version=version,
            purl=package_url(
                "apk", name, version, namespace="alpine", qualifiers={k: v for k, v in qualifiers.items() if v}
            ),
            ecosystem=release.ecosystem or "Alpine",
            path=path,
            licences=(fields["L"],) if fields.get("L") else (),
            advisory_name=fields.get("o", "") or name,
        )
