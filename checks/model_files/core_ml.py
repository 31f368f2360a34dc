"""Core ML models (protobuf): models and layers that are only named, and need code of their own.

Field numbers are those of `Model.proto` and `NeuralNetwork.proto` of Apple's coremltools.
"""

from __future__ import annotations

from typing import Final

from checks.model_files.opcodes import Unparsable
from checks.model_files.parts import Found, Part
from checks.model_files.protobuf import Fields

_FIRST_KIND = 200
"""Messages of Core ML begin as those of ONNX and TensorFlow do; the kinds of its models have numbers from here on."""
_CUSTOM: Final = {"Model": {555, 556}, "Layer": {500}}
_INSIDE: Final = {
    "Model": {
        **dict.fromkeys((200, 201), "PipelineOf"),
        202: "Pipeline",
        **dict.fromkeys((303, 403, 500), "Network"),
    },
    "PipelineOf": {1: "Pipeline"},
    "Pipeline": {1: "Model"},
    "Network": {1: "Layer"},
    "Layer": {605: "Branch", 615: "Loop"},
    "Branch": dict.fromkeys((1, 2), "Network"),
    "Loop": dict.fromkeys((3, 4), "Network"),
}
_MAX_DEPTH = 32
_LOOKED_AT = 1000


def is_core_ml(part: Part, head: bytes) -> bool:
    """Whether a file is such a model: by its name, or because a field of it is one of Core ML's kinds."""
    if part.suffix == ".mlmodel":
        return True
    if head[:1] != b"\x08" or head[2:3] not in (b"\x12", b""):
        return False
    try:
        for seen, field in enumerate(Fields(part).of(0, part.size)):
            if field.number >= _FIRST_KIND:
                return True
            if seen > _LOOKED_AT:
                return False
    except Unparsable:
        return False
    return False


def examine_core_ml(part: Part, found: Found) -> None:
    """Raises `Unparsable` where the bytes are not such a message."""
    found.formats.append("Core ML")
    fields = Fields(part)
    # the messages around, each where it goes on: a list of all inside would be a hundred times the file
    within = [("Model", fields.of(0, part.size))]
    while within:
        kind, rest = within[-1]
        field = next(rest, None)
        if field is None:
            within.pop()
        elif field.number in _CUSTOM.get(kind, ()):
            found.unsafe("custom-operators", "a custom part of Core ML, which needs code of its own", part.name)
            return
        elif (inner := _INSIDE.get(kind, {}).get(field.number)) and field.wire == 2:
            if len(within) > _MAX_DEPTH:
                raise Unparsable("messages nested too deep", field.start)
            within.append((inner, fields.of(field.start, field.end)))
