"""Files of system packages against the digests that dpkg's and apk's own lists have of them.

A list lies in the image like everything else and nobody signs it; what it gives away is a file that was changed after
its package came. Configuration (`/etc`) is there to be changed, and is not compared.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from checks.sbom.record import Lie
from pratique.errors import CouldNotDecide
from pratique.intake.image.model import FileEntry, Inventory, Kind
from pratique.intake.image.notes import is_packaged

MAX_LISTED = 32 * 1024**2
"""Bytes of dpkg's lists that are read of all packages together."""
_MAX_CLAIMS = 64
"""How many packages may speak of one file; what more of them say counts for nothing."""
_SHOWN = 3
_LIST = re.compile(r"(?:.*/)?var/lib/dpkg/(?:info|status\.d)/([^/:]+)(?::[^/]+)?\.md5sums")
_LINE = re.compile(r"([0-9a-f]{32})[ *]{1,3}(?:\./|/)?(.+)")
_APK = {"Q1": "sha1", "Q2": "sha256"}


class Claim(NamedTuple):
    """What a package says of one of its files: path, digest in hex, and by which algorithm."""

    package: str
    path: str
    algorithm: str
    digest: str


def claims_of_dpkg(inventory: Inventory, paths: Iterable[str]) -> Iterator[Claim]:
    """What the `*.md5sums` among `paths` say; raises `CouldNotDecide` where they are too long or were not kept."""
    left = MAX_LISTED
    for path in paths:
        listed = _LIST.fullmatch(path)
        if listed is None:
            continue
        left -= inventory.files[path].size
        if left < 0:
            raise CouldNotDecide(
                f"the lists of files of Debian packages are longer than {MAX_LISTED:,} bytes together",
                next_step="Install fewer packages into one image.",
            )
        for line in io.BytesIO(inventory.read(path)):
            stated = _LINE.fullmatch(line.decode("utf-8", "replace").rstrip("\r\n"))
            if stated is not None:
                yield Claim(listed[1], stated[2], "md5", stated[1])


def claim_of_apk(package: str, path: str, stated: str) -> Claim | None:
    """What the field `Z:` of apk's database says of a file; None where it is not understood."""
    algorithm = _APK.get(stated[:2])
    if algorithm is None:
        return None
    try:
        return Claim(package, path, algorithm, base64.b64decode(stated[2:], validate=True).hex())
    except (binascii.Error, ValueError):
        return None


def differing_files(inventory: Inventory, claims: Iterable[Claim]) -> list[Lie]:
    """Files that are none of those that packages say they brought, and files that could not be compared.

    Where one package took a file over from another, both have it in their lists: it must be what one of them says.
    """
    links = {p: e.linkname.strip("/") for p, e in inventory.files.items() if e.kind is Kind.SYMLINK and "/" not in p}
    by_path: defaultdict[str, list[Claim]] = defaultdict(list)
    for claim in claims:
        entry = _entry(inventory, claim.path, links)
        if entry is not None and not entry.path.startswith("etc/") and len(by_path[entry.path]) < _MAX_CLAIMS:
            by_path[entry.path].append(claim)
    changed: defaultdict[str, list[str]] = defaultdict(list)
    unknown: dict[bool, list[str]] = {True: [], False: []}
    for path, stated in by_path.items():
        found = [(claim, _digest(inventory.files[path], claim.algorithm)) for claim in stated]
        if any(digest == claim.digest for claim, digest in found):
            continue
        if all(digest for _, digest in found):
            changed[stated[0].package].append(path)
        else:
            unknown[is_packaged(path)].append(path)
    lies = [
        Lie("system-file-changed", f"files of the package {package} are not those it brought: {_some(files)}", files[0])
        for package, files in sorted(changed.items())
    ]
    for rule, why, files in (
        ("file-unchecked", "the image shows no sign of the package manager that owns them", unknown[True]),
        ("file-elsewhere", "packages of a distribution put nothing there", unknown[False]),
    ):
        if files:
            lies.append(
                Lie(
                    rule, f"files of packages were not compared with their digests, for {why}: {_some(files)}", files[0]
                )
            )
    return lies


def _entry(inventory: Inventory, path: str, links: dict[str, str]) -> FileEntry | None:
    """The regular file that a package knows as `path`, also behind a link at the top (`bin` to `usr/bin`)."""
    entry = inventory.files.get(path)
    if entry is None:
        top, slash, rest = path.partition("/")
        entry = inventory.files.get(f"{links[top]}/{rest}") if slash and top in links else None
    return entry if entry is not None and entry.kind is Kind.FILE else None


def _digest(entry: FileEntry, algorithm: str) -> str:
    if algorithm == "sha256":
        return (entry.sha256 or "").removeprefix("sha256:")
    return entry.notes.md5 if algorithm == "md5" else entry.notes.sha1


def _some(paths: list[str]) -> str:
    ordered = sorted(paths)
    return ", ".join(ordered[:_SHOWN]) + (f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else "")
