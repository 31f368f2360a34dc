"""The versions that Python packages state in their own code, read as text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pratique.intake.image.model import Inventory

_PLACES = ("__init__.py", "__version__.py", "_version.py", "version.py", "__about__.py")
_READ = 64 * 1024
_VALUE = rb"""['"]v?([0-9][A-Za-z0-9.!+_-]{0,63})['"]"""
_NAMED = re.compile(
    rb"^[ \t]*__version__[ \t]*(?::[ \t]*\w+[ \t]*)?=[ \t]*(?:\w+[ \t]*=[ \t]*){0,3}" + _VALUE, re.MULTILINE
)
_GENERATED = re.compile(
    rb"^[ \t]*(?:version|\"version\"|'version')[ \t]*(?::[ \t]*\w+[ \t]*)?[=:][ \t]*" + _VALUE, re.MULTILINE
)
"""What setuptools_scm and versioneer write into `_version.py`."""


def stated_versions(inventory: Inventory, path: str) -> Iterator[tuple[str, str]]:
    """Place and version of each file that states one, of the package or module that begins at `path`."""
    folder, _, last = path.rpartition("/")
    places = _PLACES if last == "__init__.py" else (last,)
    for place in places:
        where = f"{folder}/{place}" if folder else place
        text = _beginning(inventory, where)
        version = version_in(text) or (_of(_GENERATED.search(text)) if place == "_version.py" else "")
        if version:
            yield where, version


def version_in(code: bytes) -> str:
    """The version that `code` states as `__version__`; empty where it states none."""
    return _of(_NAMED.search(code[:_READ]))


def _of(found: re.Match[bytes] | None) -> str:
    return found[1].decode("ascii") if found else ""


def stated_version(inventory: Inventory, path: str) -> str:
    """The first of them; empty where none is stated."""
    return next((version for _, version in stated_versions(inventory, path)), "")


def _beginning(inventory: Inventory, path: str) -> bytes:
    if path not in inventory.contents and path not in inventory.spooled:
        return b""
    with inventory.open(path) as stream:
        return stream.read(_READ)
