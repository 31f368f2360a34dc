"""Packages of the operating system: dpkg, apk and RPM, the files they own, and what nobody can tell about them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain

from checks.sbom.apk import read_apk
from checks.sbom.dpkg import is_status, owned_by_lists, read_dpkg
from checks.sbom.listed_files import Claim, claims_of_dpkg, differing_files
from checks.sbom.model import Component, Origin
from checks.sbom.record import Lie
from checks.sbom.release import (
    APK,
    DEB,
    RPM,
    Release,
    Shown,
    believed,
    others,
    read_release,
    shown_by_apk,
    shown_by_dpkg,
    shown_by_rpm,
)
from pratique.errors import CouldNotDecide
from pratique.intake.image.classify import PACKAGE_DATABASES
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
    status = [path for path in paths if is_status(path)]
    found.components += _of_releases(
        found, DEB, partial(read_dpkg, inventory, status), partial(shown_by_dpkg, inventory)
    )
    listed, strangers = owned_by_lists(inventory, paths, {c.name for c in found.components})
    owned |= listed
    alone = [path for path in paths if "/status.d/" in path]  # images without a shell have no other lists
    owned |= {claim.path for claim in claims_of_dpkg(inventory, alone)}
    claims: list[Claim] = []
    if strangers:
        message = f"dpkg has files of packages that its status does not name: {_some(sorted(strangers))}"
        found.lies.append(Lie("status-contradicted", message, "var/lib/dpkg/status"))
    for path in paths:
        if path.endswith("lib/apk/db/installed"):
            packages = read_apk(inventory, path)
            owned |= packages.owned
            claims += packages.claims
            found.components += _of_releases(found, APK, packages.components, partial(shown_by_apk, inventory))
        elif _RPM.fullmatch(path) and not is_status(path):
            _read_rpm(inventory, path, found, owned)
    found.unread += _behind_links(inventory)
    found.lies += differing_files(inventory, chain(claims_of_dpkg(inventory, paths), claims))
    found.components.sort(key=lambda c: c.purl)
    found.owned = frozenset(_as_installed(owned, inventory))
    found.lost = bool(found.release.identifier) and not found.components and not found.unread
    return found


def _of_releases(
    found: SystemPackages,
    family: Sequence[str],
    read: Callable[[Release], list[Component]],
    shown: Callable[[Sequence[tuple[str, str]]], list[Shown]],
) -> list[Component]:
    """Packages as those of the release that the image claims, and once more as those of each other that they show.

    So a false word in `os-release`, or in the versions of a few packages, takes no advisory away.
    """
    claimed = found.release
    components = read(believed(claimed, family))
    if not components:
        return []
    if believed(claimed, family) != claimed:
        message = f"os-release says {claimed.identifier} {claimed.version}, whose packages have another form"
        found.lies.append(Lie("release-contradicted", message, "etc/os-release"))
    for other in others(claimed, shown([(c.name, c.version) for c in components])):
        message = (
            f"os-release says {claimed.identifier} {claimed.version}, but {other.by} shows "
            f"{other.release.identifier} {other.release.version}: advisories of both are asked"
        )
        found.lies.append(Lie("release-contradicted", message, "etc/os-release"))
        components += [replace(component, origin=Origin.DETECTED) for component in read(other.release)]
    return components


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
        system.components += _of_releases(
            system, RPM, partial(components_of, packages, unread.path), partial(shown_by_rpm, system.release)
        )
    system.components.sort(key=lambda c: c.purl)


def unowned_programs(inventory: Inventory, system: SystemPackages) -> list[Lie]:
    """Programs and shared objects in the system's directories that no package owns, as one finding.

    Whoever deletes a package from the database leaves its files behind; whoever deletes the lists of files too, or the
    whole database, leaves nothing that says whose they are.
    """
    if not system.owned and (system.unread or any(c.purl.startswith("pkg:rpm/") for c in system.components)):
        return []  # what reads the old forms of RPM's database tells no files
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
    if system.components and not system.owned:
        message = f"no list says which package {len(paths)} programs or shared objects belong to: {_some(paths)}"
        return [Lie("file-unchecked", message, paths[0])]
    unknown = "belong to no package, so that nobody can look up their vulnerabilities"
    message = f"{len(paths)} programs or shared objects of the system {unknown}: {_some(paths)}"
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
    found.components += _of_releases(
        found, RPM, partial(components_of, packages, path), partial(shown_by_rpm, found.release)
    )
    found.lies += changed_files(packages, inventory)
    owned.update(file.path for package in packages for file in package.files)


def _behind_links(inventory: Inventory) -> list[Unread]:
    """Databases that a package manager would come to by a link, and that were not taken for such."""
    found: list[Unread] = []
    for path in (*sorted(PACKAGE_DATABASES), "var/lib/dpkg/status.d"):
        entry = inventory.resolve(path)
        if entry is None or entry.path == path or entry.path in PACKAGE_DATABASES:
            continue
        if entry.kind is Kind.FILE or path.endswith(".d"):
            found.append(Unread(entry.path, f"it lies behind a link, as {path}"))
    return found


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
