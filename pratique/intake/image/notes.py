"""What the one pass notes of a file besides its SHA-256, so that checks can hold it against lists made elsewhere.

- MD5 and SHA-1, where a package manager's list may name the file: dpkg and apk know their files by these. A digest is
  left out only where the image has shown that it has no such manager, or in places where packages put nothing.
- The openings of functions in Python code. An opening is what follows a `def` at the beginning of a line, without
  comments, blanks, quotation marks, brackets, commas and all that is not ASCII: the first 128 characters of it, hashed.
  So a copy is still known after its lines were wrapped, indented, commented or quoted otherwise, after code was put
  before it, and where other functions of the file were changed. It serves to recognise, never to vouch for anything.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

MAX_CODE = 1 << 20
"""Bytes of the largest Python file whose openings are noted."""
OPENING = 6
"""Bytes of one hashed opening; those of a file are noted one after the other."""
_MOST = 4
_TRIED = 1024
_LETTERS = 128
_WINDOWS = (1024, 16384)
_APART = 256
_COMMENT = re.compile(rb"#[^\n]*")
_DROPPED = bytes(range(33)) + b"\"'`(),;\\" + bytes(range(127, 256))
_BEFORE = (b"", b"async")
_AFTER = (b" ", b"\t", b"\f", b"\\")
_PACKAGED = re.compile(r"(?:bin|sbin|lib(?:32|64|x32)?|usr|etc|boot|var)/(?!local/)")
_SIGNS = {
    "etc/debian_version": "md5",
    "etc/alpine-release": "sha1",
    "etc/redhat-release": "",
    "etc/fedora-release": "",
    "etc/SuSE-release": "",
    "var/lib/rpm/rpmdb.sqlite": "",
}
_FOLDERS = (("var/lib/dpkg/", "md5"), ("lib/apk/db/", "sha1"), ("usr/lib/apk/db/", "sha1"))


@dataclass(frozen=True, slots=True)
class Notes:
    """Digests in hex, empty where none was taken, and the openings of functions."""

    md5: str = ""
    sha1: str = ""
    openings: bytes = b""


NO_NOTES = Notes()


def is_packaged(path: str) -> bool:
    """Whether `path` lies where distributions' packages put their files, so that digests are taken of it."""
    return _PACKAGED.match(path) is not None


class Managers:
    """Which package managers may know a file, judged by their signs in the order in which files come."""

    def __init__(self) -> None:
        self._digests: tuple[str, ...] | None = None

    def digests_of(self, path: str) -> tuple[str, ...]:
        """What to take of the file at `path` so that a manager's list can be held against it."""
        self._read_signs(path)
        if not is_packaged(path):
            return ()
        return ("md5", "sha1") if self._digests is None else self._digests

    def _read_signs(self, path: str) -> None:
        """Which managers there may be: all until one shows itself, then all that did."""
        if not path.startswith(("etc/", "var/lib/", "lib/apk/", "usr/lib/apk/")):
            return
        sign = _SIGNS.get(path)
        if sign is None:
            sign = next((name for folder, name in _FOLDERS if path.startswith(folder)), None)
        if sign is not None:
            self._digests = tuple(sorted({*(self._digests or ()), sign} - {""}))


def notes_of(digests: Mapping[str, str], found: bytes) -> Notes:
    """Notes of a file by its digests and the openings that were `found` in it."""
    md5, sha1 = digests.get("md5", ""), digests.get("sha1", "")
    return Notes(md5, sha1, found) if md5 or sha1 or found else NO_NOTES


def openings(code: bytes) -> bytes:
    """Up to four hashed openings of functions in `code`, one after the other."""
    if b"\r" in code:
        code = code.replace(b"\r", b"\n")
    found: list[bytes] = []
    last, start, tried = -_APART, -1, 0
    while len(found) < _MOST and tried < _TRIED and (start := code.find(b"def", start + 1)) >= 0:
        if code[start + 3 : start + 4] not in _AFTER:
            continue
        tried += 1
        if start - last < _APART:
            continue
        if code[code.rfind(b"\n", 0, start) + 1 : start].strip() not in _BEFORE:
            start = code.find(b"\n", start)  # a comment full of definitions counts once
            if start < 0:
                break
            continue
        last = start
        opening = _opening(code, start)
        if opening:
            found.append(hashlib.sha256(opening).digest()[:OPENING])
    return b"".join(found)


def _opening(code: bytes, start: int) -> bytes:
    """The first characters that count; empty where there are too few to be told from others."""
    for window in _WINDOWS:
        letters = _COMMENT.sub(b"", code[start : start + window]).translate(None, _DROPPED)
        if len(letters) >= _LETTERS:
            return letters[:_LETTERS]
    return b""
