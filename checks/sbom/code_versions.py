"""The versions that Python packages state in their own code, as texts or tuples; read as text, never evaluated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import takewhile

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
_TUPLE = re.compile(
    rb"^[ \t]*(?:__version__|VERSION|VERSION_INFO|version_info|__version_info__|version_tuple|__version_tuple__)"
    rb"[ \t]*(?::[^=\n]{1,80})?=[ \t]*(?:\w{1,60}[ \t]*=[ \t]*){0,3}\w{0,60}[(\[]([^()\[\]]{1,300})[)\]]",
    re.MULTILINE,
)
_COMMENT = re.compile(rb"#[^\n]*")
_NUMBER = re.compile(r"[0-9][0-9_]{0,11}|0[xX][0-9a-fA-F]{1,8}")
_TEXT = re.compile(r"""[uU]?(['"])([A-Za-z0-9.+!-]{0,40})\1""")
_STAGES = {
    **dict.fromkeys(("alpha", "a"), "a"),
    **dict.fromkeys(("beta", "b"), "b"),
    **dict.fromkeys(("candidate", "rc", "c"), "rc"),
}
_MAX_PARTS = 8


def stated_versions(inventory: Inventory, path: str) -> Iterator[tuple[str, str]]:
    """Place and version of each file that states one, of the package or module that begins at `path`."""
    folder, _, last = path.rpartition("/")
    places = _PLACES if last == "__init__.py" else (last,)
    for place in places:
        where = f"{folder}/{place}" if folder else place
        text = _beginning(inventory, where)
        version = _text_in(text) or (_of(_GENERATED.search(text)) if place == "_version.py" else "")
        numbers = _numbers_in(text)
        if version:
            yield where, version
        if numbers and not _begins_so(version, numbers):
            yield where, numbers


def version_in(code: bytes) -> str:
    """The version that `code` states, as a text before a tuple; empty where it states none."""
    return _text_in(code) or _numbers_in(code)


def _text_in(code: bytes) -> str:
    return _of(_NAMED.search(code[:_READ]))


def _numbers_in(code: bytes) -> str:
    """What a tuple such as `(2, 2, 0, "final", 0)` states: `2.2.0`; empty for a single number, or anything else."""
    found = _TUPLE.search(code[:_READ])
    if found is None:
        return ""
    parts = [_unquoted(part.strip()) for part in _COMMENT.sub(b"", found[1]).decode("latin-1").split(",")[:_MAX_PARTS]]
    numbers = [_decimal(part) for part in takewhile(_NUMBER.fullmatch, parts)]
    stage, serial = [*parts[len(numbers) :], "", ""][:2]
    ahead = f"{_STAGES[stage]}{_decimal(serial)}" if stage in _STAGES and _NUMBER.fullmatch(serial) else ""
    return ".".join(numbers) + ahead if len(numbers) > 1 else ""


def _unquoted(part: str) -> str:
    text = _TEXT.fullmatch(part)
    return text[2] if text is not None else part


def _decimal(number: str) -> str:
    plain = number.replace("_", "")
    return str(int(plain, 16 if plain[:2].lower() == "0x" else 10))


def _begins_so(version: str, numbers: str) -> bool:
    """Whether the text says no less than the tuple."""
    from packaging.version import InvalidVersion, Version

    try:
        said, counted = Version(version).release, Version(numbers).release
    except InvalidVersion:
        return False
    length = min(len(said), len(counted))
    return said[:length] == counted[:length]


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
