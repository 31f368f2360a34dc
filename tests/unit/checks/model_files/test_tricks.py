"""Tricks that scanners of model files fell for, one by one; nothing made here is ever loaded."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from checks.model_files import Verdict
from tests.unit.checks.model_files.makers import (
    EVIL,
    asset,
    chat,
    gguf,
    keras_h5,
    keras_zip,
    onnx,
    protobuf,
    scan,
    state_dict,
    tarred,
    torch_zip,
    with_proto,
    zipped,
)


def calls(module: str, name: str) -> bytes:
    """A pickle that would call this with an empty text."""
    return f"c{module}\n{name}\n(S''\ntR.".encode()


GADGETS = """
timeit timeit|pip main|pip._internal main|pkgutil resolve_name|operator methodcaller|_operator attrgetter
functools partial|functools reduce|_io open|_io FileIO|io open|types CodeType|types FunctionType|marshal loads
importlib import_module|importlib.util module_from_spec|ensurepip _run_pip|venv create|webbrowser open|pty spawn
cProfile run|profile run|trace Trace.run|pdb run|bdb Bdb.run|doctest debug_script
code InteractiveInterpreter.runcode|asyncio.unix_events _UnixSubprocessTransport._start|asyncio run
distutils.file_util write_file|shutil copyfile|numpy.f2py.crackfortran getlincoef
numpy.f2py.crackfortran _eval_length|numpy.testing._private.utils runstring|numpy load|numpy.core.memmap memmap
numpy._core.memmap memmap|numpy ctypeslib.load_library|numpy fromfile|torch load|torch.jit load|torch.hub load
torch.jit.unsupported_tensor_ops execWrapper|torch._dynamo.guards GuardBuilder.get
torch.utils.bottleneck.__main__ run_cprofile|torch.utils.collect_env run|torch.storage _load_from_bytes
torch.fx.experimental.symbolic_shapes ShapeEnv.evaluate_guards_expression
torch.cuda._sanitizer enable_cuda_sanitizer|idlelib.pyshell ModifiedInterpreter.runcode|idlelib.calltip get_entity
lib2to3.pgen2.grammar Grammar.loads|pandas read_pickle|pandas eval|pandas DataFrame.query|joblib load
joblib.numpy_pickle load|dill loads|cloudpickle loads|pickle loads|_pickle loads|builtins exec|builtins open
builtins map|builtins __import__|builtins breakpoint|nt system|posix fork|os execv|sys setrecursionlimit
socket create_connection|http.client HTTPSConnection|urllib.request urlopen|ssl get_server_certificate
aiohttp request|requests get|logging.config listen|shelve open|sqlite3 connect|zipimport zipimporter
site addsitedir|runpy run_module|multiprocessing.util spawnv_passfds|uuid _get_command_stdout
_aix_support _read_cmd_output|ctypes CDLL|cffi FFI|signal alarm|linecache getline|tempfile mkstemp|codecs open
smtplib SMTP|xml.etree.ElementTree parse|sklearn.datasets load_files|sklearn.utils._joblib load|scipy.io loadmat
keras.models load_model|tensorflow py_function|copyreg add_extension|gc get_objects|inspect getsource
platform popen|getpass getuser|nntplib NNTP|__main__ Model
"""


@pytest.mark.parametrize("gadget", [entry for line in GADGETS.split("\n") for entry in line.split("|") if entry])
def test_a_function_that_runs_reads_or_reaches_is_refused(gadget: str) -> None:
    module, _, name = gadget.partition(" ")
    assert scan(calls(module, name)).verdict is Verdict.UNSAFE


def allowed(opcodes: bytes) -> bytes:
    """OrderedDict() by names that are put on the stack, then `opcodes`."""
    return with_proto(b"\x8c\x0bcollections\x94\x8c\x0bOrderedDict\x94\x93)R" + opcodes + b".")


EVIL_NAMES = b"\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R"
PICKLES: dict[str, bytes] = {
    "the result is thrown away": allowed(EVIL_NAMES + b"0"),
    "the result is thrown away with its mark": allowed(b"(" + EVIL_NAMES + b"1"),
    "the call is kept in the memo only": allowed(EVIL_NAMES + b"\x940"),
    "names as protocol 0 texts with escapes": b"S'\\x6fs'\nS'syste\\x6d'\n\x93.",
    "names as Unicode escapes": b"V\\u006fs\nVsyste\\u006d\n\x93.",
    "names as old byte strings": b"U\x02osU\x06system\x93.",
    "names through memo keys that PUT chose": with_proto(
        b"\x8c\x02osr\xff\xff\x00\x000\x8c\x06systemq\x070j\xff\xff\x00\x00h\x07\x93)R."
    ),
    "memo written by MEMOIZE, read by GET": with_proto(b"\x8c\x02os\x94\x8c\x06system\x9400g0\ng1\n\x93)R."),
    "a protocol that changes on the way": b"\x80\x04N0\x80\x02cos\nsystem\n.",
    "Python 2 names that mean others in Python 3": b"\x80\x04\x8c\x0b__builtin__\x8c\x04list\x93)R.",
    "arguments with NEWOBJ_EX": with_proto(b"\x8c\x05posix\x8c\x06system\x93)}\x92."),
    "two marks and POP_MARK": with_proto(b"((((11" + EVIL_NAMES + b"."),
    "a persistent object that is called": with_proto(b"\x8c\x01aQ)R."),
    "a persistent text": b"Pwhatever\n(S'1'\ntR.",
    "numpy calls it as a generator": with_proto(
        b"\x8c\x14numpy.random._pickle\x94\x8c\x10__generator_ctor\x93\x8c\x01x\x8c\x05numpy\x8c\x03log\x93\x86R."
    ),
    "a dictionary calls it for missing keys": with_proto(
        b"\x8c\x0bcollections\x8c\x0bdefaultdict\x93\x8c\x05numpy\x8c\x03log\x93\x85R."
    ),
    "arguments of a generator that are computed": with_proto(
        b"cnumpy.random._pickle\n__generator_ctor\ncbuiltins\ntuple\n](\x8c\x01xcpathlib\nPath\ne\x85RR."
    ),
    "a factory in arguments that are computed": with_proto(
        b"ccollections\ndefaultdict\ncbuiltins\ntuple\n](cpathlib\nPath\ne\x85RR."
    ),
    "a file behind an array": with_proto(
        b"\x8c\x12numpy._core.memmap\x8c\x06memmap\x93\x8c\x04/tmp\x8c\x02u1\x8c\x02w+\x87\x81."
    ),
    "a codec that runs code": with_proto(b"\x8c\x07_codecs\x8c\x06encode\x93\x8c\x01x\x8c\x05bz2_c\x86R."),
    "getattr of something unknown": with_proto(
        b"\x8c\x08builtins\x8c\x07getattr\x93\x8c\x05numpy\x8c\x04mean\x93\x8c\x0b__globals__\x86R."
    ),
    "getattr that nobody calls yet": with_proto(b"\x8c\x08builtins\x8c\x07getattr\x93."),
    "getattr in a list": with_proto(b"]\x8c\x08builtins\x8c\x07getattr\x93a."),
    "state set on a class": allowed(b"\x8c\x0bcollections\x8c\x0bOrderedDict\x93}\x8c\x01a\x8c\x01bsb"),
    "items set on a module's function": with_proto(b"\x8c\x05numpy\x8c\x04mean\x93\x8c\x01a\x8c\x01bs."),
    "a class by the extension registry, four bytes": with_proto(b"\x84\x01\x00\x00\x00."),
    "a class by the extension registry, two bytes": with_proto(b"\x83\x01\x00."),
    "attack, then bytes that end the parser": EVIL[:-1] + b"\xff",
    "attack without STOP": EVIL[:-1],
    "attack in the third pickle": pickle.dumps(1) + pickle.dumps([]) + EVIL,
    "attack behind a long text": b"\x80\x04X" + struct.pack("<I", 70_000) + b"a" * 70_000 + b"0" + EVIL_NAMES + b".",
    "a frame that says it is shorter": b"\x80\x04\x95\x01\x00\x00\x00\x00\x00\x00\x00" + EVIL_NAMES + b".",
}


@pytest.mark.parametrize("trick", PICKLES)
def test_a_trick_with_opcodes_is_seen_through(trick: str) -> None:
    assert scan(PICKLES[trick]).verdict is Verdict.UNSAFE


def patched(data: bytes, mark: bytes, offset: int, value: bytes) -> bytes:
    """`data` with bytes changed at `offset` behind the first `mark`."""
    at = data.index(mark) + offset
    return data[:at] + value + data[at + len(value) :]


STORED = partial(zipped, compression=zipfile.ZIP_STORED)
PLAIN_ZIP = STORED({"archive/data.pkl": pickle.dumps({}), "archive/version": b"3\n"})
HIDDEN_PICKLE = STORED({"archive/data.pkl": EVIL})


def with_hidden_member() -> bytes:
    """A zip whose directory does not name one of its members, which readers from the front see."""
    (first,) = zipfile.ZipFile(io.BytesIO(HIDDEN_PICKLE)).infolist()
    local = HIDDEN_PICKLE[: 30 + len(first.filename) + first.compress_size]
    end = zipfile.ZipFile(io.BytesIO(PLAIN_ZIP)).start_dir
    body, directory = PLAIN_ZIP[:end], bytearray(PLAIN_ZIP[end:])
    at = directory.index(b"PK\x05\x06")
    directory[at + 16 : at + 20] = struct.pack("<I", end + len(local))
    return body + local + bytes(directory)


ZIPS: dict[str, bytes] = {
    "a checksum that is wrong": patched(PLAIN_ZIP, b"PK\x01\x02", 16, b"\1\2\3\4"),
    "encrypted, says the directory alone": patched(PLAIN_ZIP, b"PK\x01\x02", 8, b"\x01"),
    "encrypted, says the member alone": patched(PLAIN_ZIP, b"PK\x03\x04", 6, b"\x01"),
    "another name in the member": patched(PLAIN_ZIP, b"archive/data.pkl", 0, b"archive/evil.pkl"),
    "another method in the member": patched(PLAIN_ZIP, b"PK\x03\x04", 8, b"\x08"),
    "another size in the member": patched(PLAIN_ZIP, b"PK\x03\x04", 18, b"\x01\x00"),
    "a member that the directory does not name": with_hidden_member(),
    "two archives, one behind the other": HIDDEN_PICKLE + PLAIN_ZIP,
    "an archive in the comment": PLAIN_ZIP[:-2] + struct.pack("<H", len(HIDDEN_PICKLE)) + HIDDEN_PICKLE,
    "bytes behind the end": PLAIN_ZIP + b"\0\0\0\0",
    "bytes before the beginning": b"#!/bin/sh\n" + PLAIN_ZIP,
    "a pickle before the archive": pickle.dumps([1]) + PLAIN_ZIP,
    "a 7z archive": b"7z\xbc\xaf\x27\x1c" + bytes(90),
    "a RAR archive named as a model": b"Rar!\x1a\x07\x01\x00" + bytes(90),
    "a program named as a model": b"\x7fELF" + bytes(300),
    "a program that is an archive too": b"MZqFpD='\n" + bytes(64) + PLAIN_ZIP,
}


@pytest.mark.parametrize("trick", ZIPS)
def test_an_archive_that_reads_differently_is_refused(trick: str) -> None:
    name = "model.pt" if "RAR" in trick or "named as" in trick else "model.bin"
    assert scan(ZIPS[trick], name).verdict in (Verdict.UNREADABLE, Verdict.UNSAFE)


def layers(*nodes: dict[str, Any]) -> bytes:
    """A Keras file of these layers."""
    return keras_zip({"class_name": "Dense", "module": "keras.layers", "config": {"nodes": list(nodes)}})


def function(module: str, name: str) -> dict[str, Any]:
    return {"class_name": "function", "module": module, "config": name, "registered_name": "function"}


def training_info(domain: bytes) -> bytes:
    """An ONNX model with a node in its training graph only."""
    node = protobuf(4, b"Op") + protobuf(7, domain)
    return b"\x08\x08" + protobuf(2, b"maker") + protobuf(20, protobuf(2, protobuf(1, node)))


def old_tar(data: bytes) -> bytes:
    """A tar with one member, without any mark in its header."""
    header = bytearray(512)
    header[0:5], header[100:107], header[124:135], header[148:156] = (
        b"m.pkl",
        b"0000644",
        b"%011o" % len(data),
        b" " * 8,
    )
    header[148:154] = b"%06o" % sum(header)
    return bytes(header) + data + bytes(-len(data) % 512 + 1024)


def text_of(value: Any) -> bytes:
    return json.dumps(value).encode()


OTHER_TEXTS = {
    "tutor.pt": "=" * 70 + "\n=  Bem-vindo ao tutorial do VIM  =\n",
    "site.pth": "/opt/lib\n/srv/ação\n",
    "index.ckpt": 'model_checkpoint_path: "model-3"\n',
}


@pytest.mark.parametrize("name", OTHER_TEXTS)
def test_a_text_whose_name_has_other_meanings_is_no_model(name: str) -> None:
    assert scan(OTHER_TEXTS[name].encode() * 20, name).verdict is Verdict.UNRECOGNISED
    assert scan(b"cposix\nsystem\n(S'true'\ntR.", name).verdict is Verdict.UNSAFE
    assert (
        scan(
            b"S'"
            + OTHER_TEXTS[name].encode("ascii", "ignore").replace(b"\n", b" ").replace(b"'", b"")
            + b"'\n0cposix\nsystem\n(S'true'\ntR.",
            name,
        ).verdict
        is Verdict.UNSAFE
    )


def object_array() -> bytes:
    """An array of one object, which NumPy unpickles."""
    head = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + EVIL


FORMATS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "Keras downloads a file": ("m.keras", lambda: layers(function("keras.utils", "get_file"))),
    "Keras downloads a file, by its inner name": (
        "m.keras",
        lambda: layers(function("keras.src.utils.file_utils", "x")),
    ),
    "Keras turns its safety off": (
        "m.keras",
        lambda: layers(function("keras.config", "enable_unsafe_deserialization")),
    ),
    "Keras loads another model": ("m.keras", lambda: layers(function("keras.models", "load_model"))),
    "Keras wraps a torch module": (
        "m.keras",
        lambda: layers({"class_name": "TorchModuleWrapper", "module": "keras.layers"}),
    ),
    "Keras loads a TensorFlow graph": (
        "m.keras",
        lambda: layers({"class_name": "TFSMLayer", "module": "keras.layers"}),
    ),
    "Keras reads a vocabulary from a file": (
        "m.keras",
        lambda: layers(
            {"class_name": "StringLookup", "module": "keras.layers", "config": {"vocabulary": "/etc/passwd"}}
        ),
    ),
    "Keras calls Python's eval": ("m.keras", lambda: layers({"class_name": "eval", "module": "builtins"})),
    "Keras registered function of the provider": ("m.keras", lambda: layers(function("my_layers", "swish2"))),
    "a module that only begins like Keras": (
        "m.keras",
        lambda: layers({"class_name": "X", "module": "keras_evil.layers"}),
    ),
    "Keras Lambda far behind its key": ("m.h5", lambda: keras_h5(b'{"class_name":' + b" " * 99 + b'"Lambda"}')),
    "Keras key with escaped letters": ("m.h5", lambda: keras_h5(b'{"cl\\u0061ss_name": "Lambda"}')),
    "Keras Lambda in a file called data": ("data.bin", lambda: text_of({"config": {}, "class_name": "Lambda"})),
    "HDF5 behind a block of the user's": (
        "weights.bin",
        lambda: bytes(1024) + keras_h5(b'{"class_name": "Lambda", "config": {}}'),
    ),
    "a tar of before POSIX": ("weights.bin", lambda: old_tar(EVIL)),
    "Keras Lambda in a SavedModel": (
        "keras_metadata.pb",
        lambda: b"\x0a\x99\x01" + text_of({"class_name": "Lambda", "config": {}}),
    ),
    "ONNX operators in a training graph": ("m.onnx", lambda: training_info(b"evil")),
    "ONNX compiled context": (
        "m.onnx",
        lambda: b"\x08\x08" + protobuf(2, b"m") + protobuf(7, protobuf(1, protobuf(4, b"EPContext"))),
    ),
    "ONNX external data on another drive": ("m.onnx", lambda: onnx(location=b"C:\\secret")),
    "ONNX external data, back and forth": ("m.onnx", lambda: onnx(location=b"a/../../x")),
    "ONNX without its suffix": ("weights", lambda: onnx(domain=b"evil")),
    "a graph by content": ("model.dat", lambda: b"\x08\x01\x12\x08\x0a\x01p\x12\x06PyFunc"),
    "a graph with a length in two bytes": ("saved_model.pb", lambda: b"\x08\x01\x12\x92\x00\x86\x00PyFunc"),
    "a graph that prints to a file": ("saved_model.pb", lambda: b"\x08\x01\x12\x07PrintV2"),
    "a graph as text": ("graph.pbtxt", lambda: b'node {\n  name: "x"\n  op: "WriteFile"\n}\n'),
    "TensorFlow Lite with full TensorFlow's files": (
        "m.tflite",
        lambda: b"\x1c\0\0\0TFL3" + bytes(40) + b"\x0cFlexReadFile\0",
    ),
    "TorchScript with a library's operators": (
        "m.pt",
        lambda: torch_zip(
            state_dict(), {"archive/constants.pkl": with_proto(b")."), "archive/code/m.py": b"ops.evil.run(x)"}
        ),
    ),
    "a torch package": (
        "m.pt",
        lambda: STORED(
            {"p/.data/extern_modules": b"", "p/.data/version": b"3", "p/m.py": b"import os", "p/m.pkl": state_dict()}
        ),
    ),
    "a compiled library in an exported program": (
        "m.pt2",
        lambda: STORED({"m/archive_format": b"pt2", "m/data/aotinductor/model/x.so": b"\x7fELF" + bytes(40)}),
    ),
    "a pickle in a member of any name": ("m.pt", lambda: torch_zip(state_dict(), {"archive/README": b"I1\n0" + EVIL})),
    "a long text pickle in a member of any name": (
        "m.npz",
        lambda: zipped({"a.txt": b"S'" + b"a" * 100_000 + b"'\n0cposix\nsystem\n(S'true'\ntR."}),
    ),
    "an object array in a directory with content": ("m.npz", lambda: STORED({"a.npy/": object_array()})),
    "a pickle among tensors": ("m.pt", lambda: torch_zip(state_dict(), {"archive/data/1": EVIL})),
    "GGUF template by attribute filter": ("m.gguf", lambda: chat("{{ ''|attr('\\x5f\\x5fclass\\x5f\\x5f') }}")),
    "GGUF template by pieces": ("m.gguf", lambda: chat("{{ x['_' ~ '_class_' ~ '_'] }}")),
    "GGUF template by a known object": ("m.gguf", lambda: chat("{{ cycler.next }}")),
    "GGUF template that formats": ("m.gguf", lambda: chat("{{ '{0.x}'.format(messages) }}")),
    "GGUF template in a list of them": (
        "m.gguf",
        lambda: gguf(("tokenizer.chat_template.tool", b"{% include '/etc/passwd' %}")),
    ),
    "tokenizer's template": ("tokenizer_config.json", lambda: text_of({"chat_template": "{{ lipsum.__globals__ }}"})),
    "tokenizer's named templates": (
        "tokenizer_config.json",
        lambda: text_of({"chat_template": [{"name": "x", "template": "{{ messages|map(attribute='_x') }}"}]}),
    ),
    "template in a file": ("chat_template.jinja", lambda: b"{{ self._TemplateReference__context }}"),
    "skops evaluates": (
        "m.skops",
        lambda: STORED({"schema.json": text_of({"__module__": "builtins", "__class__": "eval"})}),
    ),
    "skops calls an operator": (
        "m.skops",
        lambda: STORED(
            {
                "schema.json": text_of(
                    {"__module__": "collections", "__class__": "OrderedDict", "__loader__": "OperatorFuncNode"}
                )
            }
        ),
    ),
    "joblib file in a tar in a zip": ("m.zip", lambda: zipped({"x": tarred({"y": EVIL})})),
}


@pytest.mark.parametrize("trick", FORMATS)
def test_a_trick_with_a_format_is_seen_through(trick: str) -> None:
    name, make = FORMATS[trick]
    verdict = scan(make(), name)
    assert verdict.verdict is Verdict.UNSAFE, verdict


BROKEN: dict[str, tuple[str, bytes]] = {
    "GGUF with more keys than bytes": ("m.gguf", b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 40)),
    "GGUF with a text longer than the file": ("m.gguf", b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 50)),
    "GGUF with arrays in arrays": (
        "m.gguf",
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 0) + struct.pack("<IIQ", 9, 9, 1) * 9,
    ),
    "GGUF of an unknown version": ("m.gguf", b"GGUF" + struct.pack("<IQQ", 99, 0, 0)),
    "a template that does not end": ("m.gguf", chat("{% for x in y %}")),
    "a template nested without end": ("m.gguf", chat("{{ " + "(" * 5000 + " }}")),
    "safetensors with room between": (
        "m.safetensors",
        (lambda h: struct.pack("<Q", len(h)) + h + bytes(16))(
            b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[8,16]}}'
        ),
    ),
    "safetensors that overlap": (
        "m.safetensors",
        (lambda h: struct.pack("<Q", len(h)) + h + bytes(8))(
            b'{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}'
        ),
    ),
    "safetensors with a name twice": (
        "m.safetensors",
        (lambda h: struct.pack("<Q", len(h)) + h)(b'{"a":{"data_offsets":[0,0]},"a":{"data_offsets":[0,0]}}'),
    ),
    "PMML that declares entities": (
        "m.pmml",
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><PMML version="4.4"/>',
    ),
    "Keras configuration that is cut short": ("config.json", b'{"class_name": "Sequential", "config": {'),
}


@pytest.mark.parametrize("trick", BROKEN)
def test_what_is_broken_is_refused(trick: str) -> None:
    name, data = BROKEN[trick]
    assert scan(data, name).verdict is Verdict.UNREADABLE


HONEST: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a chat template as models have them": (
        "m.gguf",
        lambda: chat(
            "{%- set ns = namespace(found=false) -%}{% for m in messages %}{% if m['role'] == 'user' %}"
            "{% generation %}{{ '<|im_start|>' + m['content'] | trim }}{% endgeneration %}{% set ns.found = true %}"
            "{% elif m.role not in ['system', 'tool'] %}{{ raise_exception('Unknown role: ' + m['role']) }}{% endif %}"
            "{{ messages[loop.index0 + 1].content if not loop.last else '' }}{{ tools | tojson(indent=4) }}"
            "{{ strftime_now('%d %b') }}{{ m.content.split('</think>')[-1].lstrip('\\n') }}{% endfor %}"
        ),
    ),
    "a text pickle whose name has other meanings": ("m.pt", lambda: b"(lp0\nI1\naI2\na."),
    "a tokenizer's settings": (
        "tokenizer_config.json",
        lambda: text_of({"chat_template": "{{ messages[0]['content'] }}"}),
    ),
    "ONNX with a function of its own": (
        "m.onnx",
        lambda: (
            b"\x08\x08"
            + protobuf(2, b"maker")
            + protobuf(7, protobuf(1, protobuf(4, b"Twice") + protobuf(7, b"my.own")))
            + protobuf(8, protobuf(1, b"my.own"))
            + protobuf(25, protobuf(1, b"Twice") + protobuf(10, b"my.own") + protobuf(7, protobuf(4, b"Add")))
        ),
    ),
    "Keras 3, with inner modules and functions": (
        "m.keras",
        lambda: layers(
            {"class_name": "Functional", "module": "keras.src.models.functional", "config": {}},
            {"class_name": "GlorotUniform", "module": "keras.initializers", "config": {}, "registered_name": None},
            {"class_name": "DTypePolicy", "module": "keras", "config": {"name": "float32"}},
            {"class_name": "__keras_tensor__", "config": {"shape": [1]}},
            {"class_name": "__tuple__", "module": "builtins", "items": []},
            function("keras.activations", "relu"),
            function("builtins", "relu"),
        ),
    ),
    "a graph that prints nothing": (
        "saved_model.pb",
        lambda: b"\x08\x01\x12\x06MatMul" + b"\x12\x06SaveV2" + b"\x12\x09RestoreV2",
    ),
    "TensorFlow Lite with full TensorFlow's arithmetic": (
        "m.tflite",
        lambda: asset("tflite-flexerf.tflite"),
    ),
    "PMML": ("m.pmml", lambda: b'<?xml version="1.0"?>\n<PMML version="4.4"><Header/></PMML>'),
    "ExecuTorch": ("m.pte", lambda: b"\x30\0\0\0ET12" + bytes(100)),
    "Core ML": ("m.mlmodel", lambda: b"\x08\x04" + protobuf(2, b"about") + protobuf(500, protobuf(1, b""))),
    "a time zone": (
        "m.pkl",
        lambda: with_proto(
            b"\x8c\x08builtins\x8c\x07getattr\x93\x8c\x08zoneinfo\x8c\x08ZoneInfo\x93\x8c\x09_unpickle\x86R\x8c\x03UTCK\x01\x86R."
        ),
    ),
    "a layer that torch before 1.6 names": (
        "m.pt",
        lambda: (
            b"\x80\x02(X\x06\x00\x00\x00modulectorch.nn.modules.linear\nLinear\nX\x01\x00\x00\x00aX\x01\x00\x00\x00btQ)\x81}b."
        ),
    ),
}


@pytest.mark.parametrize("kind", HONEST)
def test_what_only_looks_like_a_trick_is_safe(kind: str) -> None:
    name, make = HONEST[kind]
    verdict = scan(make(), name)
    assert verdict.verdict is Verdict.SAFE, verdict
