"""Copies of packages inside others or beside the tool: recognised by their name and by the version in their code.

Nobody installed them, so no metadata own them. What states no version, or was given another name, stays unseen here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from checks.sbom.code_versions import stated_versions
from checks.sbom.known_modules import KNOWN_MODULES
from checks.sbom.model import Component, Origin, package_url
from checks.sbom.python import canonical, same_version
from checks.sbom.record import Lie, is_package_test, site_of
from pratique.errors import CouldNotDecide
from pratique.intake.image.model import FileClass, Inventory, Kind

_NAMES = """
_vendor vendor _vendored vendored _vendoring extern _extern external externals _external third_party thirdparty
_third_party 3rdparty site pypackages __pypackages__ bundled _bundled
"""
FOR_COPIES = frozenset(_NAMES.split())
"""Names of directories in which packages keep copies of others."""
_PINNED = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]{0,100})(?:\[[^\]]{0,100}\])?\s*==\s*([A-Za-z0-9.!+_-]{1,60})")
_LISTED = re.compile(r"(?:^|/)_?vendor(?:ed)?\.txt$", re.IGNORECASE)
_MAX_LIST = 1024**2
_MAX_LINES = 2000
MAX_PINNED = 100_000
"""Packages that the lists of copies in an image name together."""
_BANNER = re.compile(
    rb"(?:/\*!?|//!?)[\s*]*(?:@license\s+)?"
    rb"(jquery(?: ui)?|bootstrap|lodash|angularjs|vue(?:\.js)?|react|moment(?:\.js)?|handlebars|underscore(?:\.js)?|d3|"
    rb"axios|dompurify|knockout|backbone(?:\.js)?|ember|three(?:\.js)?|mustache(?:\.js)?|marked|chart\.js)"
    rb"(?: javascript library| -)?[\s,:-]+v?(\d+\.\d+\.\d+)",
    re.IGNORECASE,
)
_SCRIPT_NAMES = {"jquery ui": "jquery-ui", "angularjs": "angular", "chart.js": "chart.js", "mustache.js": "mustache"}


def read_copies(inventory: Inventory, installed: Iterable[Component], lies: list[Lie]) -> Iterator[Component]:
    """Copies of Python and JavaScript packages, marked *detected*; a list that the code contradicts: `lies`.

    Raises `CouldNotDecide` where the lists name more than `MAX_PINNED` packages.
    """
    homes = {(c.path.rpartition("/")[0], canonical(c.name)) for c in installed if c.ecosystem == "PyPI"}
    copies = list(_python(inventory, homes))
    yield from (copy for _, copy in copies)
    found = dict(reversed(copies))
    yield from _listed(inventory, found, lies)
    yield from _scripts(inventory)


def _python(inventory: Inventory, homes: set[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], Component]]:
    """Each copy by the directory that it lies in and its name."""
    for path in inventory.classes:
        if not path.endswith(".py"):
            continue
        place = _module(path)
        if place is None or is_package_test(path):
            continue
        folder, module = place
        name = KNOWN_MODULES.get(module, module)
        above = folder.rpartition("/")[2]
        among_copies = above in FOR_COPIES
        if (
            above == module
            or not (among_copies or module in KNOWN_MODULES)
            or (folder, canonical(name)) in homes
            or _is_site(folder)
        ):
            continue
        for version in dict.fromkeys(stated for _, stated in stated_versions(inventory, path)):
            yield (folder, canonical(name)), _component("pypi", name, version, path)


def _module(path: str) -> tuple[str, str] | None:
    """Directory and import name of the package or module that `path` is the beginning of."""
    folder, _, last = path.rpartition("/")
    if last == "__init__.py":
        above, _, module = folder.rpartition("/")
        return (above, module) if module else None
    return (folder, last.removesuffix(".py")) if not last.startswith("_") else None


def _is_site(folder: str) -> bool:
    """Whether `folder` is a site directory itself, whose modules have been looked at already."""
    return site_of(f"{folder}/x") == (folder, "x")


def _listed(inventory: Inventory, found: dict[tuple[str, str], Component], lies: list[Lie]) -> Iterator[Component]:
    """What `vendor.txt` pins, unless the copy itself was recognised."""
    count = 0
    for entry in inventory.of_class(FileClass.PYTHON_METADATA):
        if not is_list(entry.path):
            continue
        folder = entry.path.rpartition("/")[0]
        for name, version in pinned_in(inventory.beginning(entry.path, _MAX_LIST)):
            count += 1
            if count > MAX_PINNED:
                raise CouldNotDecide(
                    f"the lists of copies (vendor.txt) in the image name more than {MAX_PINNED:,} packages",
                    next_step="Keep one list beside the copies that it names.",
                )
            copy = found.get((folder, canonical(name)))
            same = copy is not None and same_version(copy.version, version)
            if copy is not None and not same:
                message = f"{entry.path} says that the copy of {name} is {version}, its code says {copy.version}"
                lies.append(Lie("version-in-code", message, copy.path))
            if not same:
                yield _component("pypi", name, version, entry.path)


def is_list(path: str) -> bool:
    """Whether `path` is a list of the copies beside it."""
    return _LISTED.search(path) is not None


def pinned_in(listed: bytes) -> Iterator[tuple[str, str]]:
    """Name and version of each package that a list of copies pins."""
    for line in listed[:_MAX_LIST].decode("utf-8", "replace").splitlines()[:_MAX_LINES]:
        pinned = _PINNED.match(line.partition("#")[0])
        if pinned is not None:
            yield pinned[1], pinned[2]


def _scripts(inventory: Inventory) -> Iterator[Component]:
    """Well-known libraries for browsers that name themselves in their first line."""
    for path, entry in inventory.files.items():
        if entry.kind is Kind.FILE and path.endswith((".js", ".mjs", ".cjs")):
            banner = _BANNER.match(entry.head)
            if banner:
                stated = banner[1].decode("ascii").lower()
                name = _SCRIPT_NAMES.get(stated, stated.removesuffix(".js"))
                yield _component("npm", name, banner[2].decode("ascii"), path)


def _component(kind: str, name: str, version: str, path: str) -> Component:
    return Component(
        name=name,
        version=version,
        purl=package_url(kind, name, version),
        ecosystem={"pypi": "PyPI", "npm": "npm"}[kind],
        path=path,
        origin=Origin.DETECTED,
    )
