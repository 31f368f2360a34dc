"""Packages of the operating system: dpkg, apk and RPM, the files they own, and what nobody can tell about them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from checks.sbom.apk import read_apk
from checks.sbom.dpkg import is_status, owned_by_lists, read_dpkg
from checks.sbom.model import Component
from checks.sbom.record import Lie
from checks.sbom.release import Release, read_release
from pratique.errors import CouldNotDecide
from pratique.intake.image.model import FileClass, Inventory, Kind

_RPM = re.compile(r"(?:.*/)?(?:rpmdb\.sqlite|Packages|Packages\.db)")
_SYSTEM = re.compile(r"(?:usr/)?(?:s?bin|lib(?:32|64)?)/")
_PYTHON = re.compile(r"/python[0-9.]*/|/(?:site|dist)-packages/|/node_modules/")
_ELF = b"\x7fELF"
_SHOWN = 3


@dataclass(frozen=True)
class Unread:
    """A package database of which nobody knows what it lists, why, and what may be done."""

    path: str
    why: str
    fix: str = ""


@dataclass
class SystemPackages:
    """Release, packages, files that packages own, contradictions, and databases that could not be read.

    `lost` is true where the image names a distribution, whose packages always have a database, and there is none.
    """

    release: Release = field(default_factory=Release)
    components: list[Component] = field(default_factory=list)
    owned: frozenset[str] = frozenset()
    unread: list[Unread] = field(default_factory=list)
    lies: list[Lie] = field(default_factory=list)
    lost: bool = False


def read_system(inventory: Inventory) -> SystemPackages:
    """System packages of `inventory`; raises `CouldNotDecide` where a database was too large to be kept.

    RPM databases in other forms than SQLite are left in `unread` (see `read_others`).
    """
    found = SystemPackages(release=read_release(inventory))
    paths = [entry.path for entry in inventory.of_class(FileClass.PACKAGE_DATABASE)]
    owned: set[str] = set()
    found.components += read_dpkg(inventory, [path for path in paths if is_status(path)], found.release)
    listed, strangers = owned_by_lists(inventory, paths, {c.name for c in found.components})
    owned |= listed
    if strangers:
        message = f"dpkg has files of packages that its status does not name: {_some(sorted(strangers))}"
        found.lies.append(Lie("status-contradicted", message, "var/lib/dpkg/status"))
    for path in paths:
        if path.endswith("lib/apk/db/installed"):
            components, files = read_apk(inventory, path, found.release)
            found.components += components
            owned |= files
        elif _RPM.fullmatch(path) and not is_status(path):
            _read_rpm(inventory, path, found, owned)
    found.components.sort(key=lambda c: c.purl)
    found.owned = frozenset(_as_installed(owned, inventory))
    found.lost = bool(found.release.identifier) and not found.components and not found.unread
    return found


def read_others(inventory: Inventory, system: SystemPackages) -> None:
    """Let `syft`, where it is installed, read the RPM databases that `system` could not."""
    from checks.sbom.rpm_packages import components_of
    from checks.sbom.syft import read_with_syft

    pending, system.unread = system.unread, []
    for unread in pending:
        try:
            packages = read_with_syft(inventory, [unread.path])
        except CouldNotDecide as error:
            system.unread.append(Unread(unread.path, f"{unread.why}; {error}", error.next_step))
            continue
        system.components += components_of(packages, unread.path, system.release)
    system.components.sort(key=lambda c: c.purl)


def unowned_programs(inventory: Inventory, system: SystemPackages) -> list[Lie]:
    """Programs and shared objects in the system's directories that no package owns, as one finding.

    Whoever deletes a package from the database leaves its files behind.
    """
    if not system.owned:
        return []
    paths = sorted(
        path
        for path, entry in inventory.files.items()
        if entry.kind is Kind.FILE
        and entry.head.startswith(_ELF)
        and _SYSTEM.match(path)
        and path not in system.owned
        and not _PYTHON.search(path)
    )
    if not paths:
        return []
    message = f"{len(paths)} programs or shared objects of the system belong to no package: {_some(paths)}"
    return [Lie("system-file-unowned", message, paths[0])]


def _read_rpm(inventory: Inventory, path: str, found: SystemPackages, owned: set[str]) -> None:
    if not path.endswith(".sqlite"):
        found.unread.append(Unread(path, "it is in RPM's form for ndb or BerkeleyDB"))
        return
    from checks.sbom.rpm import Unreadable, read_database
    from checks.sbom.rpm_packages import changed_files, components_of

    try:
        packages = read_database(inventory, path)
    except Unreadable as error:
        found.unread.append(Unread(path, str(error)))
        return
    found.components += components_of(packages, path, found.release)
    found.lies += changed_files(packages, inventory)
    owned.update(file.path for package in packages for file in package.files)


def _as_installed(paths: Iterable[str], inventory: Inventory) -> set[str]:
    """`paths` with the links at the top (`lib` to `usr/lib`) followed, as they were when the packages came."""
    links = {
        path: entry.linkname.strip("/")
        for path, entry in inventory.files.items()
        if entry.kind is Kind.SYMLINK and "/" not in path
    }
    moved: set[str] = set()
    for path in paths:
        top, slash, rest = path.partition("/")
        moved.add(f"{links[top]}/{rest}" if slash and top in links else path)
    return moved


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
