"""ONNX models (protobuf): external data must stay beside the model, operators must be the standard's.

Messages that do not matter are skipped, so that tensors are never read; field numbers are those of `onnx.proto3`.
"""

from __future__ import annotations

from typing import Final

from checks.model_files.opcodes import Unparsable
from checks.model_files.parts import Found, Part
from checks.model_files.protobuf import Fields

_MAX_DEPTH = 32
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
_NEXT = b"\x1a\x22\x28\x32\x3a\x42"
"""How the fields behind the version begin."""
_GRAPH = 7
_FOREIGN = frozenset(("EPContext", "PyOp", "PythonOp"))
"""Operators of known domains that hold compiled code, or name a file of it, or run Python."""


def looks_like_onnx(part: Part) -> bool:
    """A protobuf message of a small IR version, then a producer, or later a graph; or a file named so."""
    head = part.head(3)
    if part.suffix == ".onnx" or len(head) < 3 or head[0] != 0x08 or not 3 <= head[1] <= 20:
        return part.suffix == ".onnx"
    return head[2] == 0x12 or (head[2] in _NEXT and _has_graph(part))


def _has_graph(part: Part) -> bool:
    try:
        return any(field.number == _GRAPH and field.wire == 2 for field in Fields(part).of(0, part.size))
    except Unparsable:
        return False


def examine_onnx(part: Part, found: Found) -> None:
    """Raises `Unparsable` where the bytes are not such a message."""
    reader = _Reader(part, found)
    found.formats.append("ONNX")
    reader.message("Model", 0, part.size, 0)
    reader.judge_domains()


class _Reader:
    def __init__(self, part: Part, found: Found) -> None:
        self.part = part
        self.found = found
        self.fields = Fields(part)
        self.used: set[tuple[str, str]] = set()
        self.defined: set[tuple[str, str]] = set()

    def message(self, kind: str, start: int, end: int, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise Unparsable("messages nested too deep", start)
        texts: dict[str, str] = {}
        for field in self.fields.of(start, end):
            inner = _MESSAGES[kind].get(field.number)
            label = _TEXTS.get(kind, {}).get(field.number)
            if inner and field.wire == 2:
                self.message(inner, field.start, field.end, depth + 1)
            elif label and field.wire == 2:
                texts[label] = self.fields.text(field)
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


def _leaves(location: str) -> bool:
    parts = location.replace("\\", "/").split("/")
    return not location or location.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]
