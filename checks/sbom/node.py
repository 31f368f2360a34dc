"""npm packages: every `package.json` that lies where npm installs packages."""

from __future__ import annotations

import re
from collections.abc import Iterator

from checks.sbom.model import Component, package_url, text_of
from checks.sbom.record import Lie
from pratique.bounds import strict_json
from pratique.errors import InvalidInput
from pratique.intake.image.model import FileClass, Inventory

_PLACE = re.compile(r"(?:.*/)?node_modules/((?:@[^/]+/)?[^/]+)/package\.json")
_NAME = re.compile(r"(?:@[a-z0-9~._-]{1,100}/)?[A-Za-z0-9~._-]{1,200}", re.ASCII)
_MAX_SIZE = 2 * 1024**2


def read_node(inventory: Inventory, lies: list[Lie]) -> Iterator[Component]:
    """Installed npm packages; what their metadata get wrong goes into `lies`."""
    for entry in inventory.of_class(FileClass.NODE_METADATA):
        place = _PLACE.fullmatch(entry.path)
        if place is None:
            continue
        try:
            document = strict_json(inventory.read(entry.path), where=entry.path, max_bytes=_MAX_SIZE)
        except InvalidInput as error:
            lies.append(Lie("metadata-unreadable", f"package metadata that cannot be read: {error}"[:300], entry.path))
            continue
        name = text_of(document.get("name")) if isinstance(document, dict) else ""
        version = text_of(document.get("version")) if isinstance(document, dict) else ""
        if not _NAME.fullmatch(name) or not version:
            continue  # package.json without a name marks a folder of ES modules, not a package
        if name != place[1]:
            lies.append(Lie("name-contradicted", f"node_modules/{place[1]} says that it is {name}", entry.path))
        scope, _, last = name.rpartition("/")
        licence = document.get("license")
        yield Component(
            name=name,
            version=version,
            purl=package_url("npm", last, version, namespace=scope),
            ecosystem="npm",
            path=entry.path.rpartition("/")[0],
            licences=(text_of(licence),) if isinstance(licence, str) and licence else (),
        )
