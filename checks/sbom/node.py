"""npm packages: every `package.json` that lies where npm installs packages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from checks.sbom.model import Component, Origin, package_url, text_of
from checks.sbom.record import Lie
from pratique.bounds import strict_json
from pratique.errors import InvalidInput
from pratique.intake.image.model import FileClass, Inventory, Kind

_PLACE = re.compile(r"(?P<folder>(?:.*/)?node_modules)/(?P<name>(?:@[^/]+/)?[^/]+)/package\.json")
_NAME = re.compile(r"(?:@[a-z0-9~._-]{1,100}/)?[A-Za-z0-9~._-]{1,200}", re.ASCII)
_CODE = (".js", ".cjs", ".mjs", ".node")
_CODE_PLACE = re.compile(r"(?P<package>(?:.*/)?node_modules/(?P<name>@[^/]+/[^/.@][^/]*|[^/.@][^/]*))/.+")
_LINKED = re.compile(r"(?:.*/)?node_modules(?:/@[^/]+)?(?:/[^/@][^/]*)?")
_MAX_SIZE = 2 * 1024**2
_MAX_LOCK = 32 * 1024**2
_MAX_NEEDS = 2000
_NEEDS = ("dependencies", "optionalDependencies", "peerDependencies")


@dataclass(frozen=True)
class _Package:
    """What a `package.json` states, as far as it is used."""

    name: str
    version: str
    licences: tuple[str, ...]
    needs: tuple[str, ...]


class _Links:
    """Where Node finds what links lead to (`node_modules` to `/opt/lib`, `node_modules/x` to `/opt/x`)."""

    def __init__(self, inventory: Inventory) -> None:
        self._links: dict[str, str] = {}
        for link, folder in inventory.linked_folders(lambda path: _LINKED.fullmatch(path) is not None):
            self._links.setdefault(folder, link)

    def match(self, form: re.Pattern[str], path: str) -> re.Match[str] | None:
        """`path`, or what it is called behind a link, where that has the `form`."""
        found = form.fullmatch(path)
        folder = path if self._links else ""
        while found is None and folder:
            folder = folder.rpartition("/")[0]
            if folder in self._links:
                found = form.fullmatch(self._links[folder] + path.removeprefix(folder))
        return found


def read_node(inventory: Inventory, lies: list[Lie]) -> list[Component]:
    """Installed npm packages; what their metadata get wrong goes into `lies`."""
    links = _Links(inventory)
    found = dict(_documents(inventory, links, lies))
    _compare_with_lock(inventory, found, lies)
    nameless = _without_metadata(inventory, links, found, lies)
    return [*(_component(folder, package, found) for folder, package in found.items()), *nameless]


def _documents(inventory: Inventory, links: _Links, lies: list[Lie]) -> Iterator[tuple[str, _Package]]:
    """Folder of each package, as Node calls it, and what its `package.json` states."""
    for entry in inventory.of_class(FileClass.NODE_METADATA):
        place = links.match(_PLACE, entry.path)
        if place is None:
            continue
        try:
            data = inventory.beginning(entry.path, _MAX_SIZE + 1)
            document = strict_json(data, where=entry.path, max_bytes=_MAX_SIZE)
        except InvalidInput as error:
            lies.append(Lie("metadata-unreadable", f"package metadata that cannot be read: {error}"[:300], entry.path))
            continue
        name, version = _text(document, "name"), _text(document, "version")
        if not _NAME.fullmatch(name) or not version:
            continue  # Node loads such a package all the same: left to `_without_metadata`
        if name != place["name"]:
            lies.append(Lie("name-contradicted", f"node_modules/{place['name']} says that it is {name}", entry.path))
        yield (
            place[0].rpartition("/")[0],
            _Package(name, version, _licences(document), tuple(islice(_needs(document), _MAX_NEEDS))),
        )


def _without_metadata(
    inventory: Inventory, links: _Links, found: Mapping[str, _Package], lies: list[Lie]
) -> Iterator[Component]:
    """Folders with code where npm installs packages, of which no `package.json` says name and version."""
    seen: set[str] = set()
    for path, entry in inventory.files.items():
        if entry.kind is not Kind.FILE or not path.endswith(_CODE):
            continue
        place = links.match(_CODE_PLACE, path)
        if place is None or place["package"] in found or place["package"] in seen:
            continue
        seen.add(place["package"])
        name = place["name"]
        lies.append(Lie("unowned-module", f"no package.json says what {place['package']} is", place["package"]))
        scope, _, last = name.rpartition("/")
        if _NAME.fullmatch(name):
            yield Component(
                name=name,
                version="",
                purl=package_url("npm", last, "", namespace=scope),
                ecosystem="npm",
                path=place["package"],
                origin=Origin.DETECTED,
            )


def _compare_with_lock(inventory: Inventory, found: Mapping[str, _Package], lies: list[Lie]) -> None:
    """What npm itself noted when it installed (`node_modules/.package-lock.json`) against what packages say."""
    for entry in inventory.of_class(FileClass.NODE_METADATA):
        if not entry.path.endswith("node_modules/.package-lock.json"):
            continue
        try:
            data = inventory.beginning(entry.path, _MAX_LOCK + 1)
            document = strict_json(data, where=entry.path, max_bytes=_MAX_LOCK)
        except InvalidInput as error:
            lies.append(Lie("metadata-unreadable", f"npm's notes cannot be read: {error}"[:300], entry.path))
            continue
        noted = document.get("packages") if isinstance(document, dict) else None
        root = entry.path.removesuffix("node_modules/.package-lock.json")
        for place, facts in noted.items() if isinstance(noted, dict) else ():
            version, package = _text(facts, "version"), found.get(f"{root}{place}")
            if version and package is not None and version != package.version:
                message = f"{place} says that its version is {package.version}, npm noted {version}"
                lies.append(Lie("version-contradicted", message, f"{root}{place}"))


def _component(folder: str, package: _Package, found: Mapping[str, _Package]) -> Component:
    scope, _, last = package.name.rpartition("/")
    return Component(
        name=package.name,
        version=package.version,
        purl=package_url("npm", last, package.version, namespace=scope),
        ecosystem="npm",
        path=folder,
        licences=package.licences,
        requires_paths=tuple(sorted({path for need in package.needs if (path := _resolve(folder, need, found))})),
    )


def _text(document: Any, key: str) -> str:
    return text_of(document.get(key)) if isinstance(document, dict) else ""


def _licences(document: Mapping[str, Any]) -> tuple[str, ...]:
    """`license` as an expression or in its old forms, `{type}` and (to choose from) `licenses: [{type}]`."""
    stated = document.get("license") or document.get("licenses")
    items = stated if isinstance(stated, list) else [stated]
    names = [text_of(item.get("type") if isinstance(item, dict) else item) for item in items[:20]]
    names = [name for name in names if name]
    return (" OR ".join(f"({name})" for name in names) if len(names) > 1 else names[0],) if names else ()


def _needs(document: Mapping[str, Any]) -> Iterator[str]:
    for key in _NEEDS:
        listed = document.get(key)
        yield from list(listed)[:_MAX_NEEDS] if isinstance(listed, dict) else ()


def _resolve(folder: str, name: str, found: Mapping[str, Any]) -> str | None:
    """The folder that Node takes for `name` when code in `folder` asks for it: the nearest `node_modules` upwards."""
    here = folder
    while True:
        if not here.endswith("node_modules"):
            path = f"{here}/node_modules/{name}" if here else f"node_modules/{name}"
            if path in found:
                return path
        if not here:
            return None
        here = here.rpartition("/")[0]
