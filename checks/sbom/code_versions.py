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
        found = _NAMED.search(text) or (_GENERATED.search(text) if place == "_version.py" else None)
        if found:
            yield where, found[1].decode("ascii")


def stated_version(inventory: Inventory, path: str) -> str:
    """The first of them; empty where none is stated."""
    return next((version for _, version in stated_versions(inventory, path)), "")


def _beginning(inventory: Inventory, path: str) -> bytes:
    if path not in inventory.contents and path not in inventory.spooled:
        return b""
    with inventory.open(path) as stream:
        return stream.read(_READ)
