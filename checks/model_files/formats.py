"""Formats other than pickle and archives: NumPy, Keras, HDF5, GGUF, safetensors, skops."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from typing import Any

from checks.model_files.allowlist import is_allowed
from checks.model_files.opcodes import Unparsable
from checks.model_files.parts import Found, Part
from pratique.bounds import strict_json
from pratique.errors import InvalidInput

_LONG = re.compile(r"\b([0-9]+)L\b")  # Python 2 wrote so
_MAX_HEADER = 64 * 1024
_MAX_JSON = 64 * 1024**2
_CHUNK = 1024**2
_OVERLAP = 4096
_CLASS_NAME = re.compile(rb'"class_name"\s{0,8}:\s{0,8}"([^"\\]{0,200})"')
_MODULE = re.compile(rb'"module"\s{0,8}:\s{0,8}"([^"\\]{0,200})"')
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7][0-9A-Fa-f]")
_TEMPLATE_ATTACK = re.compile(rb"__(?:class|globals|subclasses|mro|base|bases|builtins|import|init|getattribute)__")
_DATA_FORMATS = (
    (b"binf", "XGBoost binary"),
    (b"tree\nversion=v", "LightGBM text"),
    (b"CBM1", "CatBoost"),
    (b"MATLAB 5.0 MAT", "MATLAB 5"),
)
_GRAPH_OPERATORS = (
    *("PyFunc", "EagerPyFunc", "PyFuncStateless", "ReadFile", "WriteFile", "MatchingFiles", "WholeFileReader"),
    *("WholeFileReaderV2", "ImmutableConst", "FixedLengthRecordReaderV2", "TextLineReaderV2"),
    *("SaveDataset", "SaveDatasetV2", "LoadDataset"),
)
_GRAPH_ATTACK = re.compile(b"|".join(b"\x12" + re.escape(bytes([len(o)]) + o.encode()) for o in _GRAPH_OPERATORS))
"""`op` of a NodeDef: field 2, its length, the name."""
_KERAS_MODULES = ("keras", "tensorflow.keras", "tf_keras", "builtins")
_CODE_CLASSES = frozenset(("Lambda", "__lambda__"))


def examine_npy(part: Part, found: Found, nested: Callable[[Part, Found, int], None]) -> None:
    """A NumPy array; one of objects is a pickle after a header. Raises `Unparsable`."""
    found.formats.append("NumPy npy")
    part.stream.seek(6)
    version = part.stream.read(2)
    width = 2 if version[:1] == b"\x01" else 4
    length = int.from_bytes(part.stream.read(width), "little")
    if version not in (b"\x01\x00", b"\x02\x00", b"\x03\x00") or length > _MAX_HEADER:
        raise Unparsable("a NumPy header of an unknown form")
    try:
        text = part.stream.read(length).decode("utf-8" if version[0] == 3 else "latin-1").strip()
        header = ast.literal_eval(_LONG.sub(r"\1", text))
        description = header["descr"]
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise Unparsable("a NumPy header that cannot be read") from error
    if any("O" in kind for kind in _types(description)):
        nested(part, found, part.stream.tell())


def _types(description: Any) -> Iterator[str]:
    """The type strings of a NumPy type description: one text, or a list of (name, type, …)."""
    pending = [description]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list) and all(isinstance(f, tuple) and len(f) in (2, 3) for f in item):
            pending.extend(f[1] for f in item)
        else:
            raise Unparsable("a NumPy header with an unknown type")


def examine_hdf5(part: Part, found: Found) -> None:
    """Keras keeps its configuration as JSON text in an attribute; the bytes are searched for layers that are code."""
    found.formats.append("HDF5")
    for window in _windows(part):
        names = {match.decode("latin-1") for match in _CLASS_NAME.findall(window)}
        for name in sorted(names & _CODE_CLASSES):
            found.unsafe("keras-code", f"a Keras layer {name}, whose code runs when the model is loaded", part.name)
            return
        if names and _ESCAPED_LETTER.search(window):
            found.unsafe("keras-code", "a Keras configuration with escaped letters, which can hide a layer", part.name)
            return
        for module in _MODULE.findall(window) if names else ():
            if not _is_keras(module.decode("latin-1")):
                found.unsafe("keras-code", f"a Keras layer from the module {module[:80]!r}", part.name)
                return


def examine_gguf(part: Part, found: Found) -> None:
    """GGUF carries a Jinja template; one that reaches for Python's internals is an attack on its renderer."""
    found.formats.append("GGUF")
    part.stream.seek(0)
    if _TEMPLATE_ATTACK.search(part.stream.read(32 * _CHUNK)):
        found.unsafe("template-attack", "a chat template that reaches for Python's internals", part.name)


def examine_safetensors(part: Part, found: Found) -> None:
    """Only numbers after a JSON header; checked that it is so. Raises `Unparsable`."""
    found.formats.append("safetensors")
    part.stream.seek(0)
    length = int.from_bytes(part.stream.read(8), "little")
    header = _json(part.stream.read(min(length, _MAX_JSON)), part.name)
    try:
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise Unparsable("a safetensors header of an unknown form") from error
    if not all(type(end) is int and 0 <= end <= part.size - 8 - length for end in ends):
        raise Unparsable("a safetensors header that does not fit its data")


def is_safetensors(head: bytes, size: int) -> bool:
    """Eight bytes of length, then a JSON object."""
    return len(head) > 9 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= size - 8


def examine_json(part: Part, found: Found) -> None:
    """Keras (`config.json`, or any JSON with layers) and skops (`schema.json`) name classes that the loader imports."""
    base = part.name.rpartition("/")[2]
    part.stream.seek(0)
    try:
        document = _json(part.stream.read(_MAX_JSON + 1), part.name)
    except Unparsable:
        if base in ("config.json", "schema.json"):
            raise
        return
    if base != "schema.json" and any("class_name" in node for node in _dicts(document)):
        found.formats.append("Keras configuration")
    elif isinstance(document, dict) and "learner" in document:
        found.formats.append("XGBoost JSON")
    for node in _dicts(document):
        if base == "schema.json":
            _skops_node(node, found, part.name)
        else:
            _keras_node(node, found, part.name)


def data_format(part: Part, head: bytes) -> str:
    """The name of a format that holds numbers and structure only, whose loaders run nothing; empty for none."""
    if head[:2] == b"{L" and b"learner" in head[:64]:
        return "XGBoost UBJSON"
    for start, name in _DATA_FORMATS:
        if head.startswith(start):
            return name
    return "TensorFlow Lite" if head[4:8] == b"TFL3" else ""


def examine_graph(part: Part, found: Found) -> None:
    """A TensorFlow graph (`saved_model.pb`): its operators may run Python or reach for files."""
    found.formats.append("TensorFlow graph")
    for window in _windows(part):
        operator = _GRAPH_ATTACK.search(window)
        if operator:
            name = operator[0][2:].decode("ascii")
            found.unsafe("graph-operator", f"the operator {name}, which runs code or reaches for files", part.name)
            return


def _keras_node(node: dict[str, Any], found: Found, where: str) -> None:
    name, module = node.get("class_name"), node.get("module")
    if isinstance(name, str) and name in _CODE_CLASSES:
        found.unsafe("keras-code", f"a Keras layer {name}, whose code runs when the model is loaded", where)
    elif name is not None and module is not None and not (isinstance(module, str) and _is_keras(module)):
        found.unsafe("keras-code", f"a Keras object from the module {str(module)[:80]!r}", where)


def _skops_node(node: dict[str, Any], found: Found, where: str) -> None:
    module, name = node.get("__module__"), node.get("__class__")
    if not isinstance(module, str) or not isinstance(name, str):
        return
    found.imports.add(f"{module}.{name}")
    if not is_allowed(module, name) and module not in ("builtins", "numpy", "scipy.sparse"):
        found.unsafe("unlisted-import", f"imports {module}.{name}, which is not on the allow-list", where)


def _is_keras(module: str) -> bool:
    return any(module == root or module.startswith((root + ".", root + "_")) for root in _KERAS_MODULES)


def _json(data: bytes, where: str) -> Any:
    try:
        return strict_json(data, where=where, max_bytes=_MAX_JSON, max_depth=100)
    except InvalidInput as error:
        raise Unparsable(f"JSON that cannot be read: {error}"[:300]) from error


def _dicts(document: Any) -> Iterator[dict[str, Any]]:
    pending = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            yield value
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)


def _windows(part: Part) -> Iterator[bytes]:
    """The bytes in overlapping windows, so that no text of up to 4 KiB is cut in all of them."""
    part.stream.seek(0)
    tail = b""
    while chunk := part.stream.read(_CHUNK):
        yield tail + chunk
        tail = chunk[-_OVERLAP:]
