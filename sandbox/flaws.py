"""Published flaws of runc, containerd and Docker that a tool, an image or a local user can use against a node.

Each has the first version of every release series that was mended; flaws of swarm, builds and Kubernetes do not matter
here. A distribution mends old versions without changing their number. Debian and Ubuntu say so in the changelog that
they install with the package: where the engine names exactly such a package as what it was built from, and that
changelog names every CVE of a flaw, the flaw is not there.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sandbox.weakness import Severity, Weakness

Version = tuple[int, int, int, int, int]
"""Three numbers; 0 to 2 for alpha, beta and release candidate, 3 for a release; the candidate's number."""

_VERSION = re.compile(
    r"v?(\d{1,5})\.(\d{1,5})(?:\.(\d{1,5}))?(?:[-~.]?(alpha|beta|rc)[-.]?(\d{1,5})?(?![a-z]))?", re.ASCII
)
_STAGES = {"alpha": 0, "beta": 1, "rc": 2}
_CHANGELOG_BYTES = 8 << 20
_HEADING = re.compile(r"^\S+ \((\S+)\) ", re.ASCII | re.MULTILINE)
_CVE = re.compile(r"CVE-\d{4}-\d{4,7}", re.ASCII)


@dataclass(frozen=True)
class Flaw:
    """A flaw of `component`; `mended` are the first versions with the mend, ascending, one a release series."""

    id: str
    component: str
    cves: tuple[str, ...]
    what: str
    mended: tuple[str, ...]
    severity: Severity


FLAWS = (
    Flaw(
        "runc-cve-2019-5736",
        "runc",
        ("CVE-2019-5736",),
        "a container overwrites runc on the host",
        ("1.0.0-rc7",),
        Severity.HIGH,
    ),
    Flaw(
        "runc-cve-2021-30465",
        "runc",
        ("CVE-2021-30465",),
        "escape by swapping a mount's target for a link",
        ("1.0.0-rc95",),
        Severity.HIGH,
    ),
    Flaw(
        "runc-cve-2024-21626",
        "runc",
        ("CVE-2024-21626",),
        "escape through a leaked descriptor",
        ("1.1.12",),
        Severity.HIGH,
    ),
    Flaw(
        "runc-cve-2024-45310",
        "runc",
        ("CVE-2024-45310",),
        "two containers with a shared volume make empty files on the host",
        ("1.1.14", "1.2.0-rc3"),
        Severity.LOW,
    ),
    Flaw(
        "runc-cve-2025",
        "runc",
        ("CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881"),
        "escapes by races over masked paths, /dev/console and /proc",
        ("1.2.8", "1.3.3", "1.4.0-rc3"),
        Severity.HIGH,
    ),
    Flaw(
        "containerd-cve-2020-15257",
        "containerd",
        ("CVE-2020-15257",),
        "a container in the host's network reaches the shim's socket",
        ("1.3.9", "1.4.3"),
        Severity.MEDIUM,
    ),
    Flaw(
        "containerd-cve-2021-41103",
        "containerd",
        ("CVE-2021-41103",),
        "local users reach into containers' files",
        ("1.4.11", "1.5.7"),
        Severity.MEDIUM,
    ),
    Flaw(
        "containerd-cve-2024-25621",
        "containerd",
        ("CVE-2024-25621",),
        "local users reach into containers' files and become root",
        ("1.7.29", "2.0.7", "2.1.5", "2.2.0"),
        Severity.MEDIUM,
    ),
    Flaw(
        "docker-cve-2019-14271",
        "docker",
        ("CVE-2019-14271",),
        "an image's library is loaded by the engine when files are copied out",
        ("19.3.1",),
        Severity.HIGH,
    ),
    Flaw(
        "docker-cve-2021-41091",
        "docker",
        ("CVE-2021-41091",),
        "local users reach into containers' files",
        ("20.10.9",),
        Severity.MEDIUM,
    ),
    Flaw(
        "docker-cve-2024-41110",
        "docker",
        ("CVE-2024-41110",),
        "authorization plugins can be passed by, where there are any",
        ("23.0.15", "25.0.6", "26.1.5", "27.1.1"),
        Severity.LOW,
    ),
    Flaw(
        "docker-cve-2026-34040",
        "docker",
        ("CVE-2026-34040",),
        "authorization plugins can be passed by once more, where there are any",
        ("29.3.1",),
        Severity.LOW,
    ),
)

_PACKAGES = {"runc": ("runc", "runc-app"), "containerd": ("containerd", "containerd-app"), "docker": ("docker.io",)}
_NAMES = {"runc": "runc", "containerd": "containerd", "docker": "Docker"}


def version_of(text: str) -> Version | None:
    """The version at the start of `text`, comparable; None where there is none."""
    match = _VERSION.match(text)
    if match is None:
        return None
    stage = _STAGES[match[4]] if match[4] else 3
    return int(match[1]), int(match[2]), int(match[3] or 0), stage, int(match[5] or 0) if match[4] else 0


def has(version: Version, mended: Iterable[str]) -> bool:
    """Whether a version has a flaw: older than the mend of its series, or, in a series without one, than the last."""
    mends = [found for text in mended if (found := version_of(text)) is not None]
    own = [mend for mend in mends if mend[:2] == version[:2]]
    return version < (own[0] if own else mends[-1])


def known_flaws(component: str, version: str, revision: str, documents: Path) -> list[Weakness]:
    """What is published of this version of `component`, built from `revision`; `documents` is `/usr/share/doc`."""
    found = version_of(version)
    if found is None:
        return []
    flaws = [flaw for flaw in FLAWS if flaw.component == component and has(found, flaw.mended)]
    mended = _mended_by_package(component, revision, documents) if flaws else frozenset()
    return [_weakness(flaw, version) for flaw in flaws if not mended.issuperset(flaw.cves)]


def _weakness(flaw: Flaw, version: str) -> Weakness:
    name = _NAMES[flaw.component]
    mends = [text.replace("-rc", "-rc.") for text in flaw.mended]
    newest = mends[0] if len(mends) == 1 else f"{', '.join(mends[:-1])} or {mends[-1]}"
    return Weakness(
        flaw.id,
        f"{name} {version}: {flaw.what} ({', '.join(flaw.cves)}), unless the distribution has mended it.",
        f"Install {name} {newest} or newer, or see the distribution's security tracker.",
        flaw.severity,
    )


def _mended_by_package(component: str, revision: str, documents: Path) -> frozenset[str]:
    """CVEs that the changelog of package version `revision` names; none where the engine is no such package."""
    for package in _PACKAGES[component]:
        for name in ("changelog.Debian.gz", "changelog.Debian"):
            if (text := _changelog(documents / package / name)) and (cves := _named_up_to(revision, text)):
                return cves
    return frozenset()


def _named_up_to(revision: str, changelog: str) -> frozenset[str]:
    """The CVEs in the entry of `revision` and in the older ones below it."""
    if not revision:
        return frozenset()
    for heading in _HEADING.finditer(changelog):
        if heading[1] == revision:
            return frozenset(_CVE.findall(changelog, heading.start()))
    return frozenset()


def _changelog(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(_CHANGELOG_BYTES)
        if path.suffix == ".gz":
            inflate = zlib.decompressobj(wbits=31)
            data = inflate.decompress(data, _CHANGELOG_BYTES)
    except (OSError, zlib.error):
        return ""
    return data.decode("utf-8", "replace")
