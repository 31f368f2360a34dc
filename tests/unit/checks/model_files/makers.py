"""Model files made by hand, honest and not; nothing made here is ever loaded."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]
import numpy as np

from checks.model_files import scan_stream
from checks.model_files.scan import ModelVerdict


class Payload:
    """Would run `true` (which does nothing) if anybody loaded it."""

    def __init__(self, module: str = "os", name: str = "system", *arguments: Any) -> None:
        self.module, self.name, self.arguments = module, name, arguments or ("true",)

    def __reduce__(self) -> tuple[Any, ...]:
        __import__(self.module)
        import sys

        target: Any = sys.modules[self.module]
        for part in self.name.split("."):
            target = getattr(target, part)
        return target, self.arguments


def scan(data: bytes, name: str = "model.pkl") -> ModelVerdict:
    """Verdict on bytes."""
    return scan_stream(io.BytesIO(data), len(data), name)


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    """A tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def npy(array: Any) -> bytes:
    """A NumPy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def dumped(value: Any, compress: Any = 0) -> bytes:
    """A joblib file."""
    buffer = io.BytesIO()
    joblib.dump(value, buffer, compress=compress)
    return buffer.getvalue()


FILES = Path(__file__).parents[3] / "assets" / "models" / "files"
"""What real libraries wrote; `made_by.json` beside it tells which."""


def asset(name: str) -> bytes:
    """A model that a library wrote."""
    return FILES.joinpath(name).read_bytes()


HDF5 = b"\x89HDF\r\n\x1a\n"
EVIL = pickle.dumps(Payload(), protocol=4)
EVIL_0 = pickle.dumps(Payload(), protocol=0)


def joblib_with_pickle_in_array() -> bytes:
    """An array whose bytes `pickle.load` would take for opcodes, in a file that joblib reads as an array."""
    hidden = b"cposix\nsystem\n(S'true'\ntR."
    hidden += bytes(-len(hidden) % 8)
    data = dumped(np.frombuffer(hidden, dtype="f8"))
    start = data.index(hidden)
    padding = data[start - 1 - data[start - 1 - 16 : start].count(b"\xff") : start]  # the length byte and the padding
    without = data.replace(padding + hidden, hidden)
    # joblib of before 1.1 wrote no padding and no key for it
    return without.replace(b"numpy_array_alignment_bytes", b"numpy_array_alignment_BYTES")


def hdf5(*messages: tuple[int, bytes], behind: bytes = b"") -> bytes:
    """An HDF5 file of the newer form: a root group with these messages, and bytes behind it."""
    body = b"".join(bytes([kind]) + struct.pack("<HB", len(data), 0) + data for kind, data in messages)
    root = b"OHDR\x02\x02" + struct.pack("<I", len(body)) + body + bytes(4)
    end = 48 + len(root) + len(behind)
    return HDF5 + b"\x02\x08\x08\x00" + struct.pack("<QQQQI", 0, (1 << 64) - 1, end, 48, 0) + root + behind


def keras_h5(config: bytes) -> bytes:
    """An HDF5 file with a text in an attribute of its root, as Keras writes its configuration."""
    head = struct.pack("<BBHHH", 3, 0, 13, 8, 4) + b"\0model_config\0" + bytes(12)
    return hdf5((0x0C, head + config))


def with_proto(opcodes: bytes) -> bytes:
    """Opcodes as a pickle of protocol 4."""
    return b"\x80\x04" + opcodes


def keras_zip(layer: dict[str, Any]) -> bytes:
    """A Keras 3 file with one layer."""
    config = {"class_name": "Sequential", "module": "keras", "config": {"layers": [layer]}}
    return zipped({"config.json": json.dumps(config).encode(), "metadata.json": b"{}", "model.weights.h5": hdf5()})


def protobuf(number: int, data: bytes) -> bytes:
    """One length-delimited field."""

    def varint(value: int) -> bytes:
        out = b""
        while True:
            value, low = value >> 7, value & 0x7F
            out += bytes([low | (0x80 if value else 0)])
            if not value:
                return out

    return varint(number << 3 | 2) + varint(len(data)) + data


def onnx(*, domain: bytes = b"", location: bytes = b"weights.bin") -> bytes:
    """An ONNX model with one node and one external tensor."""
    node = protobuf(4, b"Relu") + (protobuf(7, domain) if domain else b"")
    entry = protobuf(1, b"location") + protobuf(2, location)
    graph = protobuf(1, node) + protobuf(5, protobuf(13, entry))
    return b"\x08\x08" + protobuf(2, b"maker") + protobuf(7, graph)


def torch_zip(data: bytes, extra: dict[str, bytes] | None = None) -> bytes:
    """A PyTorch archive around a pickle."""
    members = {"archive/data.pkl": data, "archive/version": b"3\n", "archive/data/0": bytes(range(256))}
    return zipped({**members, **(extra or {})}, zipfile.ZIP_STORED)


def state_dict() -> bytes:
    """What `torch.save` writes for one tensor."""
    return with_proto(
        b"}\x8c\x06weight\x8c\x0ctorch._utils\x8c\x12_rebuild_tensor_v2\x93"
        b"((\x8c\x07storage\x8c\x05torch\x8c\x0cFloatStorage\x93\x8c\x010\x8c\x03cpuK\x04tQ"
        b"K\x00K\x02K\x02\x86K\x02K\x01\x86\x89\x8c\x0bcollections\x8c\x0bOrderedDict\x93)RtRs."
    )


def safetensors(end: int) -> bytes:
    """A safetensors file of 16 bytes of data whose header says it ends at `end`."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, end]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(16)


def gguf(*pairs: tuple[str, bytes], version: int = 3) -> bytes:
    """A GGUF file without tensors: keys and texts, a number and an array of texts."""

    def text(data: bytes) -> bytes:
        return struct.pack("<Q", len(data)) + data

    made = [text(key.encode()) + struct.pack("<I", 8) + text(value) for key, value in pairs]
    made.append(text(b"general.alignment") + struct.pack("<II", 4, 32))
    tokens = [b"a", b"b"]
    made.append(text(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, len(tokens)) + b"".join(map(text, tokens)))
    return b"GGUF" + struct.pack("<IQQ", version, 0, len(made)) + b"".join(made) + bytes(64)


def chat(template: str) -> bytes:
    """A GGUF file with a chat template."""
    return gguf(("general.architecture", b"llama"), ("tokenizer.chat_template", template.encode()))
