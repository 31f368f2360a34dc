"""Python modules that no package owns, wherever the interpreter finds them."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field

from checks.sbom.code_versions import stated_versions
from checks.sbom.known_modules import KNOWN_MODULES
from checks.sbom.model import Component, Origin, canonical, package_url
from checks.sbom.record import Lie, site_of
from pratique.intake.image.model import FileEntry, Inventory, Kind

_SUFFIXES = (".py", ".so", ".pth", ".pyc")
_LIBRARY = re.compile(r"(?P<place>(?:.*/)?lib(?:64)?/python3\.[0-9]{1,2})/(?P<inside>.+)")
_BESIDE = """
lib-dynload site-packages dist-packages test turtledemo pydoc_data sitecustomize __hello__ __phello__ _bootlocale
binhex formatter parser symbol macpath dummy_threading _pyrepl _colorize _ios_support _android_support
_apple_support _opcode_metadata __hello__ _ast_unparse _py_warnings _pylong annotationlib compression profiling
"""
"""What older and newer releases of Python 3 have beside the modules of this one."""
_STANDARD = sys.stdlib_module_names | frozenset(_BESIDE.split())
_CONFIGURED = re.compile(r"config-3|_sysconfigdata|LICENSE")


@dataclass
class PythonPackages:
    """Components found, and what contradicts their metadata."""

    components: list[Component] = field(default_factory=list)
    lies: list[Lie] = field(default_factory=list)


def detected(name: str, version: str, path: str) -> Component:
    """A Python package that was recognised from its files at `path`."""
    return Component(
        name=name,
        version=version,
        purl=package_url("pypi", name, version),
        ecosystem="PyPI",
        path=path,
        origin=Origin.DETECTED,
    )


def name_unowned(inventory: Inventory, found: PythonPackages, owned: set[str], os_owned: frozenset[str]) -> None:
    """Name what nobody owns in site directories, and modules beside the standard library that are none of it."""
    with_owner: set[tuple[str, str]] = set()
    without: dict[tuple[str, str], str] = {}
    by_system: dict[tuple[str, str], str] = {}
    linked = _linked_places(inventory)
    for path, entry in inventory.files.items():
        place = _place(path) or _behind(path, linked)
        if place is None or not _is_code(entry, inventory):
            continue
        top = place[1].partition("/")[0]
        if path in owned or f"{place[0]}/{top}" in owned:
            with_owner.add((place[0], top))
            if path in os_owned:
                by_system.setdefault((place[0], top), path)
        elif not _generated(path, owned) and top != "__pycache__":
            without.setdefault((place[0], top), path)
    for (site, top), path in sorted(without.items()):
        _tell(site, top, path, inventory, found, inside=(site, top) in with_owner)
    _of_the_system(by_system, inventory, found)


def _place(path: str) -> tuple[str, str] | None:
    """Where Python looks for modules, and the path inside; None where that is the standard library's own."""
    place = site_of(path)
    if place is not None:
        return place
    match = _LIBRARY.fullmatch(path)
    if match is None:
        return None
    top = match["inside"].partition("/")[0].partition(".")[0]
    return None if top in _STANDARD or _CONFIGURED.match(top) else (match["place"], match["inside"])


def _linked_places(inventory: Inventory) -> frozenset[str]:
    """Directories elsewhere that a link makes one in which Python looks for modules."""
    return frozenset(
        folder
        for _, folder in inventory.linked_folders(lambda link: (_place(f"{link}/x") or ("", ""))[1] == "x")
        if _place(f"{folder}/x") is None
    )


def _behind(path: str, linked: frozenset[str]) -> tuple[str, str] | None:
    """The innermost of the `linked` directories that `path` lies in, and the path inside."""
    folder = path if linked else ""
    while folder:
        folder = folder.rpartition("/")[0]
        if folder in linked:
            inside = path.removeprefix(f"{folder}/")
            top = inside.partition("/")[0].partition(".")[0]
            return None if top in _STANDARD or _CONFIGURED.match(top) else (folder, inside)
    return None


def _is_code(entry: FileEntry, inventory: Inventory) -> bool:
    """A module, or a link by which Python comes to one that lies elsewhere."""
    if entry.kind is Kind.SYMLINK:
        target = inventory.resolve(entry.path)
        return target is not None and (target.kind is Kind.DIRECTORY or target.path.endswith(_SUFFIXES))
    return entry.kind is Kind.FILE and entry.path.endswith(_SUFFIXES)


def _tell(site: str, top: str, path: str, inventory: Inventory, found: PythonPackages, *, inside: bool) -> None:
    if inside:
        rule, what = "unowned-file", f"{path} lies in a package but its RECORD does not name it"
    else:
        rule, what = "unowned-module", f"no package owns {site}/{top}"
    found.lies.append(Lie("startup-file" if top.endswith(".pth") else rule, what, path))
    module = top.partition(".")[0]
    if not inside and not top.endswith(".pth") and re.fullmatch(r"[A-Za-z0-9_]+", module):
        versions = _versions(f"{site}/{top}", inventory) or [""]
        found.components += [detected(KNOWN_MODULES.get(module, module), version, path) for version in versions]


def _versions(path: str, inventory: Inventory) -> list[str]:
    """What the module or package at `path` states, each version once, also behind a link."""
    entry = inventory.resolve(path) or inventory.files.get(path)
    real = entry.path if entry is not None else path
    stated = stated_versions(inventory, real if real.endswith(".py") else f"{real}/__init__.py")
    return list(dict.fromkeys(version for _, version in stated))


def _of_the_system(by_system: dict[tuple[str, str], str], inventory: Inventory, found: PythonPackages) -> None:
    """Well-known modules that only the system's package manager is said to own, and no metadata beside them names."""
    named = {(c.path.rpartition("/")[0], canonical(c.name)) for c in found.components}
    for (site, top), path in sorted(by_system.items()):
        name = KNOWN_MODULES.get(top.partition(".")[0])
        if name is None or (site, canonical(name)) in named:
            continue
        found.components += [detected(name, version, path) for version in _versions(f"{site}/{top}", inventory)]


def _generated(path: str, owned: set[str]) -> bool:
    """Whether a `.pyc` was compiled from an owned source."""
    if not path.endswith(".pyc"):
        return False
    folder, _, last = path.rpartition("/")
    source = folder.removesuffix("/__pycache__") + "/" + last.partition(".")[0] + ".py"
    return source in owned or path.removesuffix("c") in owned
