"""Reading YAML that comes from outside, with bounds on bytes, depth and count.

It is read as events by the pure-Python parser of ruamel.yaml (memory-safe on hostile input) and becomes plain data of
the YAML 1.2 core schema: no anchors, no aliases, no tags, no second document, no duplicate keys, so no alias bomb and
no object construction.
"""

from __future__ import annotations

import math
import re
from typing import Any

from pratique.bounds import MAX_DIGITS, MIB, is_unicode
from pratique.errors import InvalidInput


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
        if not is_unicode(text) or "\0" in text:
            self._refuse("text", line, "a string with characters that no text has (NUL or lone surrogate)")
        return text

    def _resolve(self, text: str, line: int) -> Any:
        """Type of a plain scalar by the YAML 1.2 core schema (so `no` and dates stay text)."""
        if text in _WORDS:
            return _WORDS[text]
        if _NOT_FINITE.fullmatch(text):
            self._refuse("number", line, f"{text} is not a finite number")
        number = _FLOAT.fullmatch(text)
        if (number or _INTEGER.fullmatch(text)) and len(text) > MAX_DIGITS:
            long = f"a number of more than {MAX_DIGITS} digits"
            self._refuse("number", line, long, "Put it in quotes if it is text.")
        if _INTEGER.fullmatch(text):
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        if not number:
            return self._text(text, line)
        if not math.isfinite(float(text)):
            self._refuse("number", line, f"the number {text} is out of range")
        return float(text)

    def _refuse(self, rule: str, line: int, message: str, next_step: str = "") -> None:
        raise _refuse_yaml(rule, f"{self.where}:{line}", message, next_step=next_step)
