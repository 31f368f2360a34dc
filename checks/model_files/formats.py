"""Small formats other than pickle and archives: NumPy, HDF5, safetensors, JSON (Keras, skops, tokenizers), XML."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from math import prod
from typing import Any, Final

from checks.model_files import keras
from checks.model_files.allowlist import is_allowed
from checks.model_files.hdf5 import examine_structure
from checks.model_files.hdf5_values import Value
from checks.model_files.long_json import examine_long
from checks.model_files.opcodes import Unparsable
from checks.model_files.parts import Found, Part
from checks.model_files.templates import examine_template
from pratique.bounds import strict_json
from pratique.errors import InvalidInput

_LONG = re.compile(r"\b([0-9]+)L\b")  # Python 2 wrote so
_PLAIN = re.compile(r"[<>=|]?(?:\?|[biufcSaUVmM][0-9]{1,9}(?:\[[0-9A-Za-z/]{1,20}\])?)", re.ASCII)
_OBJECTS = re.compile(r"[<>=|]?O[0-9]{0,2}", re.ASCII)
_MAX_HEADER = 64 * 1024
_MAX_JSON = 8 * 1024**2
"""Bytes of JSON that is parsed; one byte becomes some twenty in memory. What is longer is searched."""
_CHUNK = 1024**2
_OVERLAP = 4096
_DATA_FORMATS = (
    (b"binf", "XGBoost binary"),
    (b"tree\nversion=v", "LightGBM text"),
    (b"CBM1", "CatBoost"),
    (b"MATLAB 5.0 MAT", "MATLAB 5"),
)
_CLASS_KEYS = re.compile(rb'"(?:class_name|__class__|chat_template)"|\\u00(?:5[fF]|6[0-9a-fA-F]|7[0-9aA])')
"""Keys that matter, and letters and underlines that are written as escapes, which nobody does without a reason."""
_TENSOR_BITS: Final = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E5M2FNUZ", "F8_E4M3FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    "C128": 128,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
}
_ONE_ELEMENT_KEYS = ("chat_template", "template")
_XML_DECLARES = re.compile(rb"<!(?:DOCTYPE|ENTITY)|<\?xml-stylesheet", re.IGNORECASE)
_SKOPS: Final = {
    "builtins": (
        "dict",
        "list",
        "tuple",
        "set",
        "frozenset",
        "str",
        "int",
        "float",
        "bool",
        "bytes",
        "bytearray",
        "slice",
        "complex",
        "NoneType",
        "type",
    ),
    "collections": ("OrderedDict", "defaultdict", "Counter"),
    "numpy": (
        "ndarray",
        "dtype",
        "generic",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint64",
        "uint32",
        "uint16",
        "uint8",
        "float64",
        "float32",
        "float16",
        "bool",
        "bool_",
        "str_",
        "bytes_",
        "complex64",
        "complex128",
        "object_",
    ),
    "numpy.ma": ("MaskedArray",),
    "numpy.random": ("Generator", "RandomState"),
    "numpy.random._generator": ("Generator",),
    "numpy.random._mt19937": ("MT19937",),
    "numpy.random._pcg64": ("PCG64", "PCG64DXSM"),
    "numpy.random._philox": ("Philox",),
    "numpy.random._sfc64": ("SFC64",),
    "numpy.random.mtrand": ("RandomState",),
    "scipy.sparse": ("csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "csc_array", "coo_array"),
}
"""What skops names beside the classes that a pickle may name."""
_SKOPS_CALLS = frozenset(("OperatorFuncNode", "MethodNode", "PartialNode", "ReduceNode"))
"""Parts of a skops file that call what they name when the file is loaded."""


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
    kinds = list(_types(description))
    if any(_OBJECTS.fullmatch(kind) for kind in kinds):
        nested(part, found, part.stream.tell())


def _types(description: Any) -> Iterator[str]:
    """The type strings of a NumPy type description: one text, or a list of (name, type, …)."""
    pending = [description]
    while pending:
        item = pending.pop()
        if isinstance(item, str) and (_PLAIN.fullmatch(item) or _OBJECTS.fullmatch(item)):
            yield item
        elif isinstance(item, list) and all(isinstance(f, tuple) and len(f) in (2, 3) for f in item):
            pending.extend(f[1] for f in item)
        else:
            raise Unparsable("a NumPy header with an unknown type")


def examine_hdf5(part: Part, found: Found, offset: int) -> Iterator[Value]:
    """Followed for what leads out of the file; Keras's configuration, text in an attribute, is searched for code.

    Gives the values that readers may unpickle. Raises `Unparsable`.
    """
    found.formats.append("HDF5")
    keras.examine_text(windows(part), found, part.name)
    return examine_structure(part, found, offset)


def examine_safetensors(part: Part, found: Found) -> None:
    """Only numbers after a JSON header; checked that it is so. Raises `Unparsable`."""
    found.formats.append("safetensors")
    part.stream.seek(0)
    length = int.from_bytes(part.stream.read(8), "little")
    header = _json(part.stream.read(min(length, _MAX_JSON)), part.name)
    try:
        places = [_tensor_place(entry) for key, entry in header.items() if key != "__metadata__"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise Unparsable("a safetensors header of an unknown form") from error
    position = 0
    for start, end in sorted(places):
        if start != position or end < start:
            raise Unparsable("safetensors whose data overlap or leave room for something else")
        position = end
    if position != part.size - 8 - length:
        raise Unparsable("a safetensors header that does not fit its data")


def _tensor_place(entry: dict[str, Any]) -> tuple[int, int]:
    """Where the numbers of a tensor begin and end; raises where they are not as many as its shape says."""
    start, end = entry["data_offsets"]
    lengths = entry["shape"]
    if not all(type(one) is int and one >= 0 for one in (start, end, *lengths)):
        raise ValueError
    if prod(lengths) * _TENSOR_BITS[entry["dtype"]] != 8 * (end - start):
        raise ValueError
    return start, end


def is_safetensors(head: bytes, size: int) -> bool:
    """Eight bytes of length, then a JSON object."""
    return len(head) > 9 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= size - 8


def examine_json(part: Part, found: Found) -> bool:
    """Keras (`config.json`, or any JSON with layers) and skops (`schema.json`) name classes that the loader imports.

    False where it is no JSON. Raises `Unparsable` where it is none that reads one way only, and may name classes.
    """
    base = part.name.rpartition("/")[2]
    if part.size > _MAX_JSON:
        return examine_long(part, found, windows)
    part.stream.seek(0)
    data = part.stream.read()
    try:
        document = _json(data, part.name)
    except Unparsable:
        if base in ("config.json", "schema.json") or _names_classes(data):
            raise
        return False
    if base != "schema.json" and any("class_name" in node for node in _dicts(document)):
        found.formats.append("Keras configuration")
    elif isinstance(document, dict) and "learner" in document:
        found.formats.append("XGBoost JSON")
    for node in _dicts(document):
        if base == "schema.json":
            _skops_node(node, found, part.name)
        else:
            keras.examine_node(node, found, part.name)
            _remote_code(node, found, part.name)
            _templates(node, found, part.name)
    return True


def _names_classes(data: bytes) -> bool:
    """Whether a broken JSON has keys by which loaders look up code, in any encoding that JSON may have."""
    return _CLASS_KEYS.search(data.replace(b"\0", b"") if b"\0" in data[:4] else data) is not None


def data_format(part: Part, head: bytes) -> str:
    """The name of a format that holds numbers and structure only, whose loaders run nothing; empty for none."""
    if head[:2] == b"{L" and b"learner" in head[:64]:
        return "XGBoost UBJSON"
    for start, name in _DATA_FORMATS:
        if head.startswith(start):
            return name
    return "ExecuTorch" if head[4:6] == b"ET" and head[6:8].isdigit() else ""


def examine_xml(part: Part, found: Found, head: bytes) -> None:
    """PMML and OpenVINO describe models in XML; one that declares entities is an attack on its parser."""
    found.formats.append("PMML" if b"<PMML" in head else "OpenVINO XML")
    for window in windows(part):
        if _XML_DECLARES.search(window) or b"\0" in window:
            raise Unparsable("XML that declares a document type or is not written in UTF-8")


def is_model_xml(head: bytes) -> bool:
    """Whether XML begins, with the root of a model."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and (b"<PMML" in head or b"<net name=" in head)


def _remote_code(node: dict[str, Any], found: Found, where: str) -> None:
    """Transformers' `auto_map` says which class is loaded of which module; before `--` stands another repository."""
    named = node.get("auto_map")
    for value in _leaves(named) if isinstance(named, dict) else ():
        if "--" in value:
            found.unsafe("python-code", f"a model whose classes come from another repository ({value[:120]!r})", where)
            return


def _leaves(document: dict[str, Any]) -> Iterator[str]:
    for value in document.values():
        yield from (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str))


def _templates(node: dict[str, Any], found: Found, where: str) -> None:
    """Chat templates of tokenizers: one text, or a list of named ones."""
    for key in _ONE_ELEMENT_KEYS:
        if isinstance(text := node.get(key), str) and ("{%" in text or "{{" in text):
            found.formats.append("chat template")
            examine_template(text, found, where)


def _skops_node(node: dict[str, Any], found: Found, where: str) -> None:
    module, name = node.get("__module__"), node.get("__class__")
    if not isinstance(module, str) or not isinstance(name, str):
        return
    if node.get("__loader__") == "FunctionNode" and isinstance(function := node.get("content"), dict):
        module, name = str(function.get("module_path")), str(function.get("function"))
    found.imports.add(f"{module}.{name}")
    if node.get("__loader__") in _SKOPS_CALLS:
        found.unsafe("unlisted-call", f"a part ({node['__loader__']}) that calls {module}.{name} when loaded", where)
    if not is_allowed(module, name) and name not in _SKOPS.get(module, ()):
        found.unsafe("unlisted-import", f"imports {module}.{name}, which is not on the allow-list", where)


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


def windows(part: Part) -> Iterator[bytes]:
    """The bytes in overlapping windows, so that no text of up to 4 KiB is cut in all of them."""
    part.stream.seek(0)
    tail = b""
    while chunk := part.stream.read(_CHUNK):
        yield tail + chunk
        tail = chunk[-_OVERLAP:]
