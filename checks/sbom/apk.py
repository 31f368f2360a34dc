"""Alpine's packages: apk's database of what is installed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from checks.sbom.capabilities import Offers
from checks.sbom.model import Component, package_url, text_of
from checks.sbom.release import Release
from pratique.intake.image.model import Inventory

_MAX_FIELD = 64 * 1024
_NAME = re.compile(r"[^\s<>=~!]+")
_SPACES = frozenset(("alpine", "wolfi", "chainguard"))


def read_apk(inventory: Inventory, path: str, release: Release) -> tuple[list[Component], set[str]]:
    """Packages of the database at `path` and the files they own; raises `CouldNotDecide` where it was not kept."""
    owned: set[str] = set()
    found = [fields for fields in _blocks(inventory.read(path), owned) if fields.get("P")]
    offers = Offers()
    for fields in found:
        offers.add(fields["P"], _names(fields.get("p", "")))
    return [_component(fields, path, release, offers) for fields in found], owned


def _blocks(data: bytes, owned: set[str]) -> Iterator[dict[str, str]]:
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
                fields.setdefault(key, text_of(value, _MAX_FIELD))
        yield fields


def _names(text: str) -> Iterator[str]:
    """Names of a list such as `so:libc.musl-x86_64.so.1 busybox>=1.36 !conflict`."""
    for item in text.split():
        match = _NAME.match(item)
        if match:
            yield match[0]


def _component(fields: dict[str, str], path: str, release: Release, offers: Offers) -> Component:
    name, version = fields["P"], fields.get("V", "")
    space = release.identifier if release.identifier in _SPACES else "alpine"
    qualifiers = {"arch": fields.get("A", ""), "distro": f"{space}-{release.version}" if release.version else ""}
    return Component(
        name=name,
        version=version,
        purl=package_url("apk", name, version, namespace=space, qualifiers={k: v for k, v in qualifiers.items() if v}),
        ecosystem=release.ecosystem or "Alpine",
        path=path,
        licences=(fields["L"],) if fields.get("L") else (),
        advisory_name=fields.get("o", "") or name,
        requires=offers.needed(name, ([wanted] for wanted in _names(fields.get("D", "")))),
    )
