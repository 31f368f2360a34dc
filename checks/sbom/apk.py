"""Alpine's packages: apk's database of what is installed."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from checks.sbom.capabilities import Offers
from checks.sbom.listed_files import Claim, claim_of_apk
from checks.sbom.model import Component, package_url, text_of
from checks.sbom.release import Release
from pratique.errors import CouldNotDecide
from pratique.intake.image.model import Inventory

_MAX_DATABASE = 64 * 1024**2
_MAX_PACKAGES = 100_000
_MAX_FILES = 500_000
_MAX_PATH = 4096
_MAX_FIELD = 64 * 1024
_FIELDS = frozenset("PVALopD")
_NAME = re.compile(r"[^\s<>=~!]+")
_SPACES = frozenset(("alpine", "wolfi", "chainguard"))


@dataclass(frozen=True)
class ApkPackages:
    """The packages of one database, the files that they own, and what they say of these."""

    path: str
    fields: Sequence[Mapping[str, str]]
    owned: frozenset[str]
    claims: Sequence[Claim]

    def components(self, release: Release) -> list[Component]:
        """The packages as components of `release`."""
        offers = Offers()
        for fields in self.fields:
            offers.add(fields["P"], _names(fields.get("p", "")))
        return [_component(fields, self.path, release, offers) for fields in self.fields]


def read_apk(inventory: Inventory, path: str) -> ApkPackages:
    """The database at `path`; raises `CouldNotDecide` where it was not kept, or goes beyond the bounds."""
    owned: set[str] = set()
    claims: list[Claim] = []
    found = [fields for fields in _blocks(inventory.read(path, _MAX_DATABASE), owned, claims) if fields.get("P")]
    return ApkPackages(path, found, frozenset(owned), claims)


def _blocks(data: bytes, owned: set[str], claims: list[Claim]) -> Iterator[dict[str, str]]:
    """The fields that are used here, of each package; raises `CouldNotDecide` where there are too many."""
    packages = 0
    fields: dict[str, str] = {}
    folder = file = ""
    for piece in chain(io.BytesIO(data), (b"",)):
        line = piece.decode("utf-8", "replace").rstrip("\r\n")
        key, colon, value = line.partition(":")
        if not line:
            packages += bool(fields)
            yield fields
            fields, folder, file = {}, "", ""
        elif key == "F":
            folder = value
        elif key == "R" and colon:
            file = f"{folder}/{value}".lstrip("/")
            owned.add(file)
        elif key == "Z" and file:
            claim = claim_of_apk(fields.get("P", ""), file, value)
            claims += [claim] if claim is not None else []
        elif colon and key in _FIELDS:
            fields.setdefault(key, text_of(value, _MAX_FIELD))
        if packages > _MAX_PACKAGES or len(owned) > _MAX_FILES or len(folder) > _MAX_PATH or len(file) > _MAX_PATH:
            raise CouldNotDecide(
                "apk's database names too many packages or files, or too long ones",
                next_step="Check the image's package database; install fewer packages.",
            )


def _names(text: str) -> Iterator[str]:
    """Names of a list such as `so:libc.musl-x86_64.so.1 busybox>=1.36 !conflict`."""
    for item in text.split():
        match = _NAME.match(item)
        if match:
            yield match[0]


def _component(fields: Mapping[str, str], path: str, release: Release, offers: Offers) -> Component:
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
