"""Shared objects that wheels bring beside their own (auditwheel's `*.libs`): which library, of which version, each is.

The version is taken from the texts that a library carries, else from its name where that follows the releases
(`libz-eb09ad1d.so.1.2.13`); many names do not (`libpng16.so.16.43.0`, `libssl.so.1.1`). Nobody publishes advisories
about such libraries by their makers' versions in a form that is matched here, so each is a component of no package
index (`pkg:generic`): listed, and counted as not looked up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from checks.sbom.model import Component, Origin, package_url
from checks.sbom.record import Lie
from pratique.intake.image.model import MAX_WHOLE, FileClass, FileEntry, Inventory, Kind

GENERIC = "generic"
"""Type of the package URLs, and the ecosystem: one that no advisories speak of."""
MAX_READ = 256 * 1024**2
"""Bytes that are searched in all bundled libraries of an image together."""
_MAX_SHOWN = 3
_BUNDLED = re.compile(r"(?:.*/)?[^/]*\.libs/[^/]+\.so[^/]*|(?:.*/)?\.dylibs/[^/]+")
_TEXTS: Mapping[bytes, tuple[str, re.Pattern[bytes]]] = {
    b"OpenSSL ": ("openssl", re.compile(rb"([0-9]\.[0-9]\.[0-9]+[a-z]{0,2})(?:-fips)?[ \0]")),
    b" deflate ": ("zlib", re.compile(rb"(1\.[0-9.]{1,12}?)(?:\.zlib-ng)? Copyright")),
    b"libpng version ": ("libpng", re.compile(rb"([0-9]+\.[0-9]+\.[0-9]+)")),
    b"LIBTIFF, Version ": ("libtiff", re.compile(rb"([0-9]+\.[0-9]+\.[0-9]+)")),
    b"libjpeg-turbo version ": ("libjpeg-turbo", re.compile(rb"([0-9]+\.[0-9]+(?:\.[0-9]+)?)")),
    b"expat_": ("expat", re.compile(rb"([0-9]+\.[0-9]+\.[0-9]+)\0")),
    b"libcurl/": ("curl", re.compile(rb"([0-9]+\.[0-9]+\.[0-9]+)")),
    b"libssh2/": ("libssh2", re.compile(rb"([0-9]+\.[0-9]+\.[0-9]+)")),
    b"nghttp2/": ("nghttp2", re.compile(rb"([0-9]+\.[0-9]+\.[0-9]+)")),
    b"FFmpeg version ": ("ffmpeg", re.compile(rb"n?([0-9]+\.[0-9]+(?:\.[0-9]+)?)")),
    b"HDF5 library version ": ("hdf5", re.compile(rb"([0-9]+\.[0-9]+\.[0-9]+)")),
    b"/openjpeg-": ("openjpeg", re.compile(rb"([0-9]+\.[0-9]+\.[0-9]+)/")),
    b"OpenBLAS ": ("openblas", re.compile(rb"([0-9]+\.[0-9]+\.[0-9]+)[. ]")),
}
"""What a library says of itself: a text, the library's name, and the version that follows."""
_SO = r"(?:-[0-9a-f]{6,})*\.so\."
_NAMES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(form))
    for name, form in (
        ("zlib", rf"libz{_SO}([0-9]+(?:\.[0-9]+)+)"),
        ("xz", rf"liblzma{_SO}([0-9]+\.[0-9]+\.[0-9]+)"),
        ("zstd", rf"libzstd{_SO}([0-9]+\.[0-9]+\.[0-9]+)"),
        ("bzip2", rf"libbz2{_SO}([0-9]+\.[0-9]+\.[0-9]+)"),
        ("brotli", rf"libbrotli(?:common|dec|enc){_SO}([0-9]+\.[0-9]+\.[0-9]+)"),
        ("openjpeg", rf"libopenjp2{_SO}([0-9]+\.[0-9]+\.[0-9]+)"),
        (
            "openblas",
            r"lib(?:scipy_)?openblas[a-z0-9_]*-r0(?:-[0-9a-f]{6,})*\.([0-9]+\.[0-9]+(?:\.[0-9]+)?)(?:\.dev)?\.so",
        ),
        ("harfbuzz", rf"libharfbuzz{_SO}0\.(6[0-9]{{4}})\.0"),
        ("libwebp", rf"libwebp{_SO}(7\.[0-9]+\.[0-9]+)"),
    )
)
_WEBP = {
    "7.1.5": "1.2.4",
    "7.1.6": "1.3.0",
    "7.1.7": "1.3.1",
    "7.1.8": "1.3.2",
    "7.1.9": "1.4.0",
    "7.1.10": "1.5.0",
    "7.2.0": "1.6.0",
}


@dataclass
class _Budget:
    left: int


def read_bundled(inventory: Inventory, lies: list[Lie]) -> Iterator[Component]:
    """Bundled shared objects: libraries of known versions, else files by name and digest; all marked *detected*.

    What contradicts its name, and what there was no room to search, goes into `lies`.
    """
    budget = _Budget(MAX_READ)
    unread: list[str] = []
    for path, entry in inventory.files.items():
        if entry.kind is not Kind.FILE or not _BUNDLED.fullmatch(path):
            continue
        said = _by_text(inventory, entry, budget)
        if said is None:
            unread.append(path)
        called = _by_name(path.rpartition("/")[2])
        found = said or called
        lies += _contradiction(path, said or {}, called)
        yield from (_library(name, version, entry) for name, version in found.items())
        if not found:
            yield _file(entry)
    unread = [path for path in unread if inventory.classes.get(path) is FileClass.BUNDLED]
    if unread:
        more = f" and {len(unread) - _MAX_SHOWN} more" if len(unread) > _MAX_SHOWN else ""
        message = f"bundled libraries too many or too large to be searched: {', '.join(unread[:_MAX_SHOWN])}{more}"
        lies.append(Lie("library-unsearched", message, unread[0]))


def _by_text(inventory: Inventory, entry: FileEntry, budget: _Budget) -> dict[str, str] | None:
    """Libraries and versions that the file names in itself; None where it was not kept or there is no room."""
    kept = entry.path in inventory.contents or entry.path in inventory.spooled
    if not kept or entry.size > min(budget.left, MAX_WHOLE):
        return None
    budget.left -= entry.size
    with inventory.open(entry.path) as stream:
        data = stream.read(entry.size)
    found: dict[str, str] = {}
    for text, (name, form) in _TEXTS.items():
        place = data.find(text)
        for _ in range(_MAX_SHOWN):
            match = form.match(data, place + len(text)) if place >= 0 else None
            if match is not None:
                found[name] = match[1].decode("ascii")
                break
            place = data.find(text, place + 1) if place >= 0 else -1
    return found


def _by_name(file: str) -> dict[str, str]:
    for name, form in _NAMES:
        match = form.match(file)
        if match is not None:
            version = _release(name, match[1])
            return {name: version} if version else {}
    return {}


def _release(name: str, number: str) -> str:
    """The library's release by the number in its file's name; empty where that is not known."""
    if name == "libwebp":
        return _WEBP.get(number, "")
    if name == "harfbuzz":
        digits = int(number) - 60000
        return f"{digits // 100}.{digits // 10 % 10}.{digits % 10}"
    if name == "openblas":
        return number if number.startswith("0.") else f"0.{number}"
    return number


def _contradiction(path: str, said: Mapping[str, str], called: Mapping[str, str]) -> Iterator[Lie]:
    for name, version in called.items():
        stated = said.get(name, version)
        if not f"{stated}.".startswith(f"{version}."):
            yield Lie("library-contradicted", f"{path} is called {name} {version}, and says that it is {stated}", path)


def _library(name: str, version: str, entry: FileEntry) -> Component:
    return Component(
        name=name,
        version=version,
        purl=package_url(GENERIC, name, version),
        ecosystem=GENERIC,
        path=entry.path,
        origin=Origin.DETECTED,
        sha256=entry.sha256,
    )


def _file(entry: FileEntry) -> Component:
    return Component(
        name=entry.path.rpartition("/")[2],
        version="",
        purl="",
        kind="file",
        path=entry.path,
        origin=Origin.DETECTED,
        sha256=entry.sha256,
    )
