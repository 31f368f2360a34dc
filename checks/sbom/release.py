"""The distribution that an image says it is built from."""

from __future__ import annotations

from dataclasses import dataclass

from checks.sbom.model import text_of
from pratique.errors import CouldNotDecide
from pratique.intake.image.model import Inventory

_PLACES = ("etc/os-release", "usr/lib/os-release")


@dataclass(frozen=True)
class Release:
    """The distribution as `os-release` tells it; `ecosystem` is OSV's word for it, empty where OSV has none."""

    identifier: str = ""
    version: str = ""
    name: str = ""

    @property
    def ecosystem(self) -> str:
        """`Debian:12`, `Alpine:v3.20`, `Ubuntu:24.04`."""
        from checks.advisories.ecosystems import of_distribution

        return of_distribution(self.identifier, self.version)

    @property
    def distro(self) -> str:
        """The `distro` qualifier of package URLs, `debian-12`; empty where the release is not known."""
        return f"{self.identifier}-{self.version}" if self.identifier and self.version else ""


def read_release(inventory: Inventory) -> Release:
    """The release named by `etc/os-release` (or `usr/lib/os-release`); empty where there is none."""
    for path in _PLACES:
        try:
            data = inventory.read(path)
        except CouldNotDecide:
            continue
        values = dict(line.partition("=")[::2] for line in data[:65536].decode("utf-8", "replace").splitlines())
        clean = {key: text_of(value.strip().strip("\"'")) for key, value in values.items()}
        return Release(clean.get("ID", ""), clean.get("VERSION_ID", ""), clean.get("PRETTY_NAME", ""))
    return Release()
