"""Reading what comes from outside, with bounds on bytes, depth and count, and nothing that surprises.

Every function here raises `InvalidInput` and nothing else for bad bytes or bad paths.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any

from pratique.errors import InvalidInput

MIB = 1024 * 1024
MAX_DIGITS = 64
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
    if len(text) > MAX_DIGITS:
        raise InvalidInput(f"a number of more than {MAX_DIGITS} digits", rule="json/number")
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
        if look_for_surrogates and not all(is_unicode(text) for text in _texts(level)):
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


def is_unicode(text: str) -> bool:
    """Whether `text` holds no lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text) if not text.isascii() else True
