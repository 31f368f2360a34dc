"""ONNX models (protobuf): external data must stay beside the model, operators must be the standard's.

A small reader of the protobuf wire format that skips what does not matter, so that tensors are never read; field
numbers are those of `onnx.proto3`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from checks.model_files.opcodes import Unparsable
from checks.model_files.parts import Found, Part

_MAX_FIELDS = 5_000_000
_MAX_DEPTH = 32
_MAX_TEXT = 4096
_DOMAINS = frozenset(
    (
        "",
        "ai.onnx",
        "ai.onnx.ml",
        "ai.onnx.training",
        "ai.onnx.preview.training",
        "com.microsoft",
    )
)
# message → field number → what lies there: another message, or a text that matters
_MESSAGES: Final = {
    "Model": {7: "Graph", 8: "OperatorSet", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 9: "OperatorSet", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "Entry"},
    "Entry": {},
    "OperatorSet": {},
}
_TEXTS: Final = {
    "Node": {4: "name", 7: "domain"},
    "Function": {1: "name", 10: "domain"},
    "Entry": {1: "key", 2: "value"},
    "OperatorSet": {1: "domain"},
}
_FOREIGN = frozenset(("EPContext", "PyOp", "PythonOp"))
"""Operators of known domains that hold compiled code, or name a file of it, or run Python."""
_CORE_ML = 200
"""Messages of Core ML begin as those of ONNX do; the kinds of its models have numbers from here on."""
_CORE_ML_CUSTOM = frozenset((555, 556))


@dataclass(frozen=True)
class _Field:
    number: int
    wire: int
    start: int
    end: int


def looks_like_onnx(part: Part) -> bool:
    """A protobuf message whose first field is a small IR version, or a file named so."""
    head = part.head(3)
    return part.suffix == ".onnx" or (len(head) == 3 and head[0] == 0x08 and 3 <= head[1] <= 20 and head[2] == 0x12)


def examine_onnx(part: Part, found: Found) -> None:
    """Raises `Unparsable` where the bytes are not such a message."""
    reader = _Reader(part, found)
    found.formats.append("ONNX")
    reader.message("Model", 0, part.size, 0)
    reader.judge_domains()
    if any(number >= _CORE_ML for number in reader.top):
        found.formats[-1] = "Core ML"
        if reader.top & _CORE_ML_CUSTOM:
            found.unsafe("custom-operators", "a custom model of Core ML, which needs code of its own", part.name)


class _Reader:
    def __init__(self, part: Part, found: Found) -> None:
        self.part = part
        self.found = found
        self.fields = 0
        self.top: set[int] = set()
        self.used: set[tuple[str, str]] = set()
        self.defined: set[tuple[str, str]] = set()

    def message(self, kind: str, start: int, end: int, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise Unparsable("messages nested too deep", start)
        texts: dict[str, str] = {}
        for field in self._fields(start, end):
            inner = _MESSAGES[kind].get(field.number)
            label = _TEXTS.get(kind, {}).get(field.number)
            if depth == 0:
                self.top.add(field.number)
            if inner and field.wire == 2:
                self.message(inner, field.start, field.end, depth + 1)
            elif label and field.wire == 2:
                texts[label] = self._text(field)
        name, domain, location = texts.get("name", ""), texts.get("domain", ""), texts.get("value", "")
        if kind == "Function":
            self.defined.add((domain, name))
        elif domain not in _DOMAINS:
            self.used.add((domain, name))
        if kind == "Node" and name in _FOREIGN:
            self.found.unsafe("custom-operators", f"the operator {name}, which runs code of its own", self.part.name)
        if texts.get("key") == "location" and _leaves(location):
            message = f"tensors are read from {location[:200]!r}, outside the model"
            self.found.unsafe("external-data", message, self.part.name)

    def judge_domains(self) -> None:
        """An operator of an unknown domain is one of the model's own functions, or needs code of its own."""
        domains = {domain for domain, _ in self.defined}
        foreign = {d for d, name in self.used - self.defined if name or d not in domains}
        for domain in sorted(foreign):
            message = f"operators of the domain {domain[:80]!r}, which need code of their own"
            self.found.unsafe("custom-operators", message, self.part.name)

    def _fields(self, start: int, end: int) -> Iterator[_Field]:
        position = start
        while position < end:
            self.fields += 1
            if self.fields > _MAX_FIELDS:
                raise Unparsable(f"more than {_MAX_FIELDS:,} fields", position)
            key, position = self._varint(position, end)
            wire, size = key & 7, {1: 8, 5: 4}.get(key & 7)
            if wire == 0:
                _, position = self._varint(position, end)
                continue
            if wire == 2:
                size, position = self._varint(position, end)
            if size is None or position + size > end or key >> 3 == 0:
                raise Unparsable("not a protobuf message", position)
            yield _Field(key >> 3, wire, position, position + size)
            position += size

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        self.part.stream.seek(position)
        value = 0
        for shift, byte in enumerate(self.part.stream.read(min(10, end - position))):
            value |= (byte & 0x7F) << (7 * shift)
            if not byte & 0x80:
                return value, position + shift + 1
        raise Unparsable("not a protobuf message", position)

    def _text(self, field: _Field) -> str:
        if field.end - field.start > _MAX_TEXT:
            raise Unparsable("a name that is far too long", field.start)
        self.part.stream.seek(field.start)
        return self.part.stream.read(field.end - field.start).decode("utf-8", "replace")


def _leaves(location: str) -> bool:
    parts = location.replace("\\", "/").split("/")
    return not location or location.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]
