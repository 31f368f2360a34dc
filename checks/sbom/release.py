"""The distribution that an image says it is built from, and the one that its packages show.

Advisories are asked by release, so a wrong word in `os-release` would hide what is known. Packages carry their release
in versions: `base-files` (`12.4+deb12u9`), updates (`+deb12u2`, `.el9_4`, `0.22.04.1`), and
`alpine-release` (`3.20.3-r0`), with the files `debian_version`, `alpine-release` and apk's repositories.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from checks.sbom.model import text_of
from pratique.errors import CouldNotDecide
from pratique.intake.image.model import Inventory

_PLACES = ("etc/os-release", "usr/lib/os-release")
_FEW = 3
"""Updates of another release that prove nothing: somebody took single packages from there."""
_DEBIAN_UPDATE = re.compile(r"[+~]deb([0-9]{1,2})u[0-9]+")
_UBUNTU_UPDATE = re.compile(r"(?:ubuntu[0-9.]*[.~]|~)([0-9]{2}\.(?:04|10))(?:\.[0-9]+)?")
_RPM_UPDATE = re.compile(r"\.el([0-9]{1,2})(?:_[0-9]+)?(?:\.|$)")
_ALPINE = re.compile(r"([0-9]+\.[0-9]+)(?:\.[0-9]+|_alpha[0-9]+|_rc[0-9]+)?")
_REPOSITORY = re.compile(r"/v([0-9]+\.[0-9]+)/(?:main|community)\s*$", re.MULTILINE)
DEB = ("Debian", "Ubuntu")
APK = ("Alpine", "Wolfi", "Chainguard")
RPM = ("Red Hat", "Rocky Linux", "AlmaLinux", "SUSE", "openSUSE")
"""Ecosystems whose packages come in one form."""


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


@dataclass(frozen=True)
class Shown:
    """A release that packages show, and by what."""

    release: Release
    by: str


def read_release(inventory: Inventory) -> Release:
    """The release named by `etc/os-release` (or `usr/lib/os-release`); empty where there is none."""
    for path in _PLACES:
        text = _text(inventory, path)
        if not text:
            continue
        values = dict(line.partition("=")[::2] for line in text.splitlines())
        clean = {key: text_of(value.strip().strip("\"'")) for key, value in values.items()}
        return Release(clean.get("ID", ""), clean.get("VERSION_ID", ""), clean.get("PRETTY_NAME", ""))
    return Release()


def shown_by_dpkg(inventory: Inventory, packages: Sequence[tuple[str, str]]) -> list[Shown]:
    """Releases of Debian or Ubuntu that `packages` (names and versions) and `debian_version` show."""
    found: list[Shown] = []
    versions = [version for _, version in packages]
    base = dict(packages).get("base-files", "")
    ubuntu = _most(_UBUNTU_UPDATE, versions)
    if "ubuntu" in base or (ubuntu and not base):
        return [Shown(Release("ubuntu", ubuntu), "the versions of its packages")] if ubuntu else []
    number = re.match(r"[0-9]+", base)
    if number is not None:
        found.append(Shown(Release("debian", number[0]), f"base-files {base}"))
    updates = _most(_DEBIAN_UPDATE, versions)
    if updates:
        found.append(Shown(Release("debian", updates), f"updates of the kind +deb{updates}u1"))
    stated = re.fullmatch(r"([0-9]+)(?:\.[0-9]+)?", _text(inventory, "etc/debian_version").strip())
    if stated is not None:
        found.append(Shown(Release("debian", stated[1]), "etc/debian_version"))
    return found


def shown_by_apk(inventory: Inventory, packages: Sequence[tuple[str, str]]) -> list[Shown]:
    """Releases of Alpine that `packages`, `alpine-release` and apk's repositories show."""
    named = dict(packages)
    places = (
        ("alpine-release", named.get("alpine-release", "").partition("-r")[0]),
        ("etc/alpine-release", _text(inventory, "etc/alpine-release").strip()),
    )
    found = [Shown(Release("alpine", match[1]), by) for by, text in places if (match := _ALPINE.fullmatch(text))]
    repositories = set(_REPOSITORY.findall(_text(inventory, "etc/apk/repositories")))
    if len(repositories) == 1:  # several are there to take single packages from
        found.append(Shown(Release("alpine", *repositories), "apk's repositories"))
    return found


def shown_by_rpm(claimed: Release, packages: Sequence[tuple[str, str]]) -> list[Shown]:
    """The major release of an enterprise distribution that most packages are built for, under the claimed name."""
    number = _most(_RPM_UPDATE, [version for _, version in packages])
    return [Shown(Release(claimed.identifier, number), f"packages built for .el{number}")] if number else []


def believed(claimed: Release, family: Sequence[str]) -> Release:
    """The claimed release where packages of this `family` may belong to it, else none."""
    return claimed if _base(claimed) in ("", *family) else Release()


def others(claimed: Release, shown: Iterable[Shown]) -> list[Shown]:
    """Each release that is shown and is not the claimed one; none where the claim names no release.

    Packages of a release that is not named are asked about in all of them: nothing is gained by naming none.
    """
    from checks.advisories.ecosystems import same_release

    found: dict[str, Shown] = {}
    for one in shown:
        ecosystem = one.release.ecosystem
        same = _base(claimed) == _base(one.release) and same_release(claimed.ecosystem, ecosystem)
        if claimed.ecosystem and ecosystem and not same:
            found.setdefault(ecosystem, one)
    return list(found.values())


def _base(release: Release) -> str:
    from checks.advisories.ecosystems import base_ecosystem

    return base_ecosystem(release.ecosystem)


def _most(form: re.Pattern[str], versions: Iterable[str]) -> str:
    """The release that most versions name, if a few do and it is most of those that name any."""
    counts = Counter(match[1] for version in versions if (match := form.search(version)))
    if not counts:
        return ""
    release, count = counts.most_common(1)[0]
    return release if count >= _FEW and 2 * count > counts.total() else ""


def _text(inventory: Inventory, path: str) -> str:
    try:
        return inventory.beginning(path, 65536).decode("utf-8", "replace")
    except CouldNotDecide:
        return ""
