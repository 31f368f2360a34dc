"""Ecosystems as OSV names them: `PyPI`, `Debian:12`, `Red Hat:enterprise_linux:9::baseos`.

A distribution's ecosystem ends in a release, written in its own way in `os-release`, in package URLs and in records.
Two of them are the same release where their keys (`release_of`) are equal.
"""

from __future__ import annotations

import re
from functools import lru_cache

_LANGUAGES = {"pypi": "PyPI", "npm": "npm"}
_DISTRIBUTIONS = {
    "debian": "Debian",
    "ubuntu": "Ubuntu",
    "alpine": "Alpine",
    "wolfi": "Wolfi",
    "chainguard": "Chainguard",
    "rhel": "Red Hat",
    "redhat": "Red Hat",
    "rocky": "Rocky Linux",
    "rockylinux": "Rocky Linux",
    "almalinux": "AlmaLinux",
    "alma": "AlmaLinux",
    "sles": "SUSE",
    "sled": "SUSE",
    "sle_hpc": "SUSE",
    "sles_sap": "SUSE",
    "suse": "SUSE",
    "opensuse": "openSUSE",
    "opensuse-leap": "openSUSE",
    "opensuse-tumbleweed": "openSUSE",
}
_ROLLING = frozenset(("Wolfi", "Chainguard"))
"""Distributions without releases."""
_PACKAGE_TYPES = {"deb": "Debian", "apk": "Alpine"}
_RPM = frozenset(("Red Hat", "Rocky Linux", "AlmaLinux", "SUSE", "openSUSE"))
_MAJOR_ONLY = frozenset(("Debian", "Rocky Linux", "AlmaLinux"))
_RED_HAT = re.compile(r"(?:enterprise_linux|rhel_\w+|enterprise_linux_\w+):([0-9]+)|.*::el([0-9]+)|([0-9]+)", re.ASCII)
_SUSE = re.compile(r".*?([0-9]+)(?: SP([0-9]+)|\.([0-9]+))?(?:[- ].*)?", re.ASCII)
_UBUNTU = re.compile(r"(?:Pro:)?([0-9]{2}\.[0-9]{2})(?:\.[0-9]+)?(?::LTS)?", re.ASCII)
_PYPI_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_NPM_NAME = re.compile(r"(?:@[A-Za-z0-9~][A-Za-z0-9._~-]*/)?[A-Za-z0-9~_][A-Za-z0-9._~!()'*-]*", re.ASCII)
_SYSTEM_NAME = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._+~:()-]*", re.ASCII)  # apk's virtual packages start with a dot
_MAX_NAME = 214


@lru_cache(maxsize=4096)
def base_ecosystem(ecosystem: str) -> str:
    """`Debian` of `Debian:12`."""
    return ecosystem.partition(":")[0]


@lru_cache(maxsize=4096)
def release_of(ecosystem: str) -> str:
    """Key of the release that `ecosystem` ends in, empty where it names none."""
    base, _, release = ecosystem.partition(":")
    if not release:
        return ""
    if base in _MAJOR_ONLY:
        return release.partition(".")[0]
    if base == "Alpine":
        return ".".join(release.removeprefix("v").split(".")[:2])
    if base == "Red Hat":
        found = _RED_HAT.match(release)
        return next((part for part in found.groups() if part), release) if found else release
    if base == "Ubuntu":
        found = _UBUNTU.fullmatch(release)
        return found[1] if found else release
    if base in ("SUSE", "openSUSE"):
        found = _SUSE.fullmatch(release)
        return f"{found[1]}.{found[2] or found[3] or 0}" if found else release.lower()
    return release


def same_release(one: str, two: str) -> bool:
    """Whether two ecosystems of one base speak of one release; one that names none speaks of all."""
    first, second = release_of(one), release_of(two)
    return first == second or not first or not second


def of_every_release(ecosystem: str) -> bool:
    """Whether it is a distribution that has releases, and none of them is named: records of each speak of it."""
    return ecosystem in _DISTRIBUTIONS.values() and ecosystem not in _ROLLING


def of_distribution(identifier: str, version: str) -> str:
    """OSV's word for a distribution by the `ID` and `VERSION_ID` of its `os-release`; empty where OSV has none."""
    base = _DISTRIBUTIONS.get(identifier.lower(), "")
    if not base or not version or base in _ROLLING:
        return base
    if base == "Alpine":
        return f"Alpine:v{'.'.join(version.split('.')[:2])}"
    if base in _MAJOR_ONLY:
        return f"{base}:{version.partition('.')[0]}"
    if base == "Red Hat":
        return f"Red Hat:enterprise_linux:{version.partition('.')[0]}"
    if base == "SUSE":
        major, _, pack = version.partition(".")
        return f"SUSE:Linux Enterprise Server {major}{f' SP{pack}' if pack not in ('', '0') else ''}"
    if base == "openSUSE":
        rolling = identifier.lower() == "opensuse-tumbleweed" or "." not in version
        return "openSUSE:Tumbleweed" if rolling else f"openSUSE:Leap {version}"
    return f"{base}:{version}"


def of_package(kind: str, namespace: str, distro: str) -> str:
    """OSV's word for the ecosystem of a package URL, by its type, namespace and `distro` (`debian-12`).

    A type for which OSV has no word keeps its own, so that it is told as one that nobody was asked about.
    """
    if kind in _LANGUAGES:
        return _LANGUAGES[kind]
    if kind not in ("deb", "apk", "rpm"):
        return kind
    identifier, _, version = distro.rpartition("-")
    known = of_distribution(identifier, version) or of_distribution(distro, "") or of_distribution(namespace, "")
    return known or _PACKAGE_TYPES.get(kind, kind)


def is_rpm(ecosystem: str) -> bool:
    """Whether it is a distribution of RPM packages, whose records name source packages, binary ones or both."""
    return base_ecosystem(ecosystem) in _RPM


@lru_cache(maxsize=65536)
def package_name(ecosystem: str, name: str) -> str:
    """`name` in the form in which names are compared here: without case, for PyPI as PEP 503 says.

    Only PyPI's names are without case at home. Elsewhere a spelling that differs by case is another package, but hardly
    an honest one, so that taking both for one errs to the safe side.
    """
    lowered = name.lower()
    return re.sub(r"[-_.]+", "-", lowered) if base_ecosystem(ecosystem) == "PyPI" else lowered


def possible_name(ecosystem: str, name: str) -> bool:
    """Whether the ecosystem could have a package called so; one that it cannot have cannot be looked up either."""
    if not 0 < len(name) <= _MAX_NAME:
        return False
    form = {"PyPI": _PYPI_NAME, "npm": _NPM_NAME}.get(base_ecosystem(ecosystem), _SYSTEM_NAME)
    return form.fullmatch(name) is not None
