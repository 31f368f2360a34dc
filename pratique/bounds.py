"""Reading what comes from outside, with bounds on bytes, depth and count, and nothing that surprises.

Every function here raises `InvalidInput` and nothing else for bad bytes or bad paths. YAML is read as events by the
pure-Python parser of ruamel.yaml (memory-safe on hostile input) and becomes plain data of the YAML 1.2 core schema:
no anchors, no aliases, no tags, no second document, no duplicate keys, so no alias bomb and no object construction.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any

from pratique.errors import InvalidInput

MIB = 1024 * 1024
_DIGITS = 64
"""Longest number, in characters, that is converted: conversion costs quadratic time."""

_LEAST_CONTAINERS, _BYTES_A_CONTAINER = 10_000, 16
"""`[]` is two bytes in a document and sixty in memory: of the largest allowed, one byte in sixteen may begin one."""


# --- files ---------------------------------------------------------------------------------------------------------


@contextmanager
def open_regular(path: Path, limit: int, *, follow_links: bool = False) -> Iterator[BufferedReader]:
    """The regular file at `path`, opened for reading; a file of more than `limit` bytes is refused unread.

    Raises `InvalidInput`: `file/missing`, `file/not-regular` (also a symlink, unless `follow_links`),
    `file/too-large`, `file/unreadable` (also when reading fails inside the `with` block).
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        raise _file_error(error, path) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _not_regular(path)
        if status.st_size > limit:
            raise _too_large(str(path), status.st_size, limit)
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            yield stream
    except OSError as error:
        raise _file_error(error, path) from error
    finally:
        os.close(descriptor)


def read_bounded(path: Path, limit: int, *, follow_links: bool = False) -> bytes:
    """All bytes of the regular file at `path`, of at most `limit` bytes; raises as `open_regular` does."""
    with open_regular(path, limit, follow_links=follow_links) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:  # it grew while it was read
        raise _too_large(str(path), len(data), limit)
    return data


def within(root: Path, relative: str, *, where: str) -> Path:
    """The existing path `relative` inside `root`, reached without a symlink and without leaving `root`.

    Raises `InvalidInput`: `path/outside-submission`, `path/symlink`, `file/missing`, `file/unreadable`.
    """
    pure = PurePosixPath(relative)
    if not pure.parts or pure.is_absolute() or ".." in pure.parts or any(not c.isprintable() for c in relative):
        raise InvalidInput(
            f"the path {relative[:200]!r} does not stay inside the directory",
            rule="path/outside-submission",
            where=where,
            next_step="Write a path relative to the directory, without '..', and put the file inside it.",
        )
    path = root
    for part in pure.parts:
        path = path / part
        try:
            is_link = stat.S_ISLNK(path.lstat().st_mode)
        except (OSError, ValueError) as error:
            raise _file_error(error, path, where=where) from error
        if is_link:
            raise InvalidInput(
                f"{relative!r} passes through the symbolic link {str(path.relative_to(root))!r}",
                rule="path/symlink",
                where=where,
                next_step="Replace the link by the file or directory itself.",
            )
    return path


def _not_regular(path: Path, where: str = "") -> InvalidInput:
    return InvalidInput(
        f"{path} is not a regular file",
        rule="file/not-regular",
        where=where,
        next_step="Give a plain file: no directory, link, pipe or device.",
    )


def _too_large(where: str, size: int, limit: int) -> InvalidInput:
    return InvalidInput(
        f"larger than the {limit:,} bytes allowed here",
        rule="file/too-large",
        where=where,
        cause=f"at least {size:,} bytes",
        next_step="Check that this is the file that was meant; make it smaller or split it.",
    )


def _file_error(error: Exception, path: Path, where: str = "") -> InvalidInput:
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.ELOOP:
        return _not_regular(path, where)
    if code in (errno.ENOENT, errno.ENOTDIR):
        return InvalidInput(
            f"there is no file {path}",
            rule="file/missing",
            where=where,
            next_step="Add the file, or correct the path that names it.",
        )
    return InvalidInput(
        f"{str(path)[:300]!r} cannot be read",
        rule="file/unreadable",
        where=where,
        cause=str(error)[:300],
        next_step="Check the path and its permissions.",
    )


# --- JSON ----------------------------------------------------------------------------------------------------------


def strict_json(data: bytes | str, *, where: str, max_bytes: int, max_depth: int = 64) -> Any:
    """`data` as plain JSON (RFC 8259) in UTF-8.

    Raises `InvalidInput`: `json/too-large`, `json/encoding`, `json/syntax`, `json/duplicate-key`, `json/number` (NaN,
    Infinity, out of range), `json/text` (lone surrogates), `json/too-deep`, `json/too-many-values`.
    """
    if len(data) > max_bytes:
        raise _refuse_json("too-large", where, f"larger than the {max_bytes:,} bytes allowed here")
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
    except UnicodeDecodeError as error:
        raise _refuse_json("encoding", where, "not UTF-8", str(error)) from error
    if text.count("[") + text.count("{") > max(_LEAST_CONTAINERS, max_bytes // _BYTES_A_CONTAINER):
        raise _refuse_json("too-many-values", where, "more lists and objects than a document of this kind has")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_constant=_no_constant,
            parse_int=_bounded_int,
            parse_float=_finite_float,
        )
    except InvalidInput as error:
        raise _refuse_json(error.rule.partition("/")[2], where, error.message) from error
    except RecursionError as error:
        raise _refuse_json("too-deep", where, f"nested deeper than {max_depth} levels") from error
    except ValueError as error:
        raise _refuse_json("syntax", where, "not JSON", str(error)) from error
    _check_tree(value, where, max_depth, look_for_surrogates=not isinstance(data, bytes) or "\\u" in text)
    return value


def _refuse_json(rule: str, where: str, message: str, cause: str = "") -> InvalidInput:
    return InvalidInput(
        message,
        rule=f"json/{rule}",
        where=where,
        cause=cause[:300],
        next_step="Correct the JSON file, or write it again with the program that made it.",
    )


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise InvalidInput(f"the key {key[:80]!r} appears twice", rule="json/duplicate-key")
        result[key] = value
    return result


def _no_constant(name: str) -> Any:
    raise InvalidInput(f"{name} is not a JSON number", rule="json/number")


def _bounded_int(text: str) -> int:
    if len(text) > _DIGITS:
        raise InvalidInput(f"a number of more than {_DIGITS} digits", rule="json/number")
    return int(text)


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise InvalidInput(f"the number {text[:40]} is out of range", rule="json/number")
    return value


def _check_tree(value: Any, where: str, max_depth: int, *, look_for_surrogates: bool) -> None:
    """Refuse more than `max_depth` levels of containers and, where asked, text that is not Unicode."""
    level = [value]
    for depth in range(max_depth + 1):
        if look_for_surrogates and not all(_is_unicode(text) for text in _texts(level)):
            raise _refuse_json("text", where, "a string that is not valid Unicode (lone surrogate)")
        if depth == max_depth and any(isinstance(item, dict | list) for item in level):
            raise _refuse_json("too-deep", where, f"nested deeper than {max_depth} levels")
        level = [item for container in level for item in _children(container)]


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _texts(level: list[Any]) -> Iterator[str]:
    for value in level:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from value


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text) if not text.isascii() else True


# --- YAML ----------------------------------------------------------------------------------------------------------


def load_yaml(
    data: bytes,
    *,
    where: str,
    max_bytes: int = MIB,
    max_depth: int = 32,
    max_nodes: int = 20_000,
    lines: dict[tuple[str | int, ...], int] | None = None,
) -> Any:
    """The one YAML 1.2 document in `data` as dict, list, str, int, float, bool or None.

    `lines`, where given, takes the line (from 1) of every entry of the document, by its keys and indices.

    Raises `InvalidInput`: `yaml/too-large`, `yaml/encoding`, `yaml/syntax`, `yaml/empty`, `yaml/documents`,
    `yaml/alias`, `yaml/tag`, `yaml/duplicate-key`, `yaml/key`, `yaml/number`, `yaml/text`, `yaml/too-deep`,
    `yaml/too-many-nodes`.
    """
    if len(data) > max_bytes:
        raise _refuse_yaml("too-large", where, f"larger than the {max_bytes:,} bytes allowed here")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refuse_yaml("encoding", where, "not UTF-8 text", str(error)) from error

    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    builder = _Builder(where, max_depth, max_nodes, {} if lines is None else lines)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            builder.take(event)
    except InvalidInput:
        raise
    except (YAMLError, ValueError, OverflowError, LookupError, AttributeError, TypeError, AssertionError) as error:
        # besides YAMLError, ruamel.yaml lets internal errors through, e.g. OverflowError for "\Uffffffff"
        raise _refuse_yaml("syntax", where, "not YAML", " ".join(str(error).split())) from error
    return builder.result()


def _refuse_yaml(rule: str, where: str, message: str, cause: str = "", next_step: str = "") -> InvalidInput:
    return InvalidInput(
        message,
        rule=f"yaml/{rule}",
        where=where,
        cause=cause[:300],
        next_step=next_step or "Correct the YAML file at this place.",
    )


_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", re.ASCII)


class _Builder:
    """Builds plain data from parser events, without recursion; refuses as soon as a bound is passed."""

    def __init__(self, where: str, max_depth: int, max_nodes: int, lines: dict[tuple[str | int, ...], int]) -> None:
        self.where = where
        self.max_depth = max_depth
        self.max_nodes = max_nodes
        self.lines = lines
        self.nodes = 0
        self.roots: list[Any] = []
        self.stack: list[dict[str, Any] | list[Any]] = []
        self.keys: list[str | None] = []  # for each open container, the key that waits for its value
        self.place: list[str | int] = []  # for each open container, where in the one around it it lies

    def take(self, event: Any) -> None:
        """Add one event of `ruamel.yaml.YAML.parse`."""
        name = type(event).__name__
        line = event.start_mark.line + 1 if event.start_mark else 0
        if name == "AliasEvent" or getattr(event, "anchor", None):
            self._refuse("alias", line, "anchors and aliases are not read here", "Write the value out.")
        if getattr(event, "tag", None):
            self._refuse("tag", line, "tags (!…) are not read here", "Write plain values without '!' tags.")
        if name == "DocumentStartEvent" and self.roots:
            self._refuse("documents", line, "more than one document", "Keep one document in the file.")
        elif name == "ScalarEvent":
            self._count(line)
            plain = event.style is None and event.implicit[0]
            self._add(self._resolve(event.value, line) if plain else self._text(event.value, line), line)
        elif name in ("MappingStartEvent", "SequenceStartEvent"):
            self._open({} if name == "MappingStartEvent" else [], line)
        elif name in ("MappingEndEvent", "SequenceEndEvent"):
            self.stack.pop()
            self.keys.pop()
            del self.place[len(self.stack) :]

    def result(self) -> Any:
        """The document, once every event was taken."""
        if not self.roots:
            raise _refuse_yaml("empty", self.where, "the file is empty", next_step="Fill in the file.")
        return self.roots[0]

    def _open(self, container: dict[str, Any] | list[Any], line: int) -> None:
        self._count(line)
        if len(self.stack) >= self.max_depth:
            self._refuse("too-deep", line, f"nested deeper than {self.max_depth} levels")
        self._add(container, line)
        self.stack.append(container)
        self.keys.append(None)

    def _add(self, value: Any, line: int) -> None:
        if not self.stack:
            self.roots.append(value)
            return
        parent, key = self.stack[-1], self.keys[-1]
        if isinstance(parent, list):
            self._note(len(parent), line)
            parent.append(value)
        elif key is not None:
            parent[key] = value
            self.keys[-1] = None
        elif not isinstance(value, str) or value == "<<":
            self._refuse("key", line, "a key that is not plain text", "Put the key in quotes.")
        elif value in parent:
            self._refuse("duplicate-key", line, f"the key {value[:80]!r} appears twice", "Keep one of the two.")
        else:
            self.keys[-1] = value
            self._note(value, line)

    def _note(self, name: str | int, line: int) -> None:
        """Remember where the entry `name` of the innermost container stands."""
        self.place[len(self.stack) - 1 :] = [name]
        self.lines[tuple(self.place)] = line

    def _count(self, line: int) -> None:
        self.nodes += 1
        if self.nodes > self.max_nodes:
            self._refuse("too-many-nodes", line, f"more than {self.max_nodes:,} values")

    def _text(self, text: str, line: int) -> str:
        if not _is_unicode(text) or "\0" in text:
            self._refuse("text", line, "a string with characters that no text has (NUL or lone surrogate)")
        return text

    def _resolve(self, text: str, line: int) -> Any:
        """Type of a plain scalar by the YAML 1.2 core schema (so `no` and dates stay text)."""
        if text in _WORDS:
            return _WORDS[text]
        if _NOT_FINITE.fullmatch(text):
            self._refuse("number", line, f"{text} is not a finite number")
        number = _FLOAT.fullmatch(text)
        if (number or _INTEGER.fullmatch(text)) and len(text) > _DIGITS:
            self._refuse("number", line, f"a number of more than {_DIGITS} digits", "Put it in quotes if it is text.")
        if _INTEGER.fullmatch(text):
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        if not number:
            return self._text(text, line)
        if not math.isfinite(float(text)):
            self._refuse("number", line, f"the number {text} is out of range")
        return float(text)

    def _refuse(self, rule: str, line: int, message: str, next_step: str = "") -> None:
        raise _refuse_yaml(rule, f"{self.where}:{line}", message, next_step=next_step)
