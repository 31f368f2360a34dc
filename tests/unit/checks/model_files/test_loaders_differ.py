"""Files that a loader reads otherwise than a careful reader would expect; nothing made here is ever loaded."""

from __future__ import annotations

import json
import lzma
import pickle
import random
import struct
import zipfile
import zlib
import zoneinfo

import numpy as np
import pytest

from checks.model_files import Verdict
from tests.unit.checks.model_files.makers import (
    EVIL,
    EVIL_0,
    HDF5,
    chat,
    dumped,
    gguf,
    hdf5,
    keras_h5,
    keras_zip,
    protobuf,
    scan,
    tarred,
    torch_zip,
    with_proto,
    zipped,
)

LAMBDA = keras_zip({"class_name": "Lambda", "module": "keras.layers", "config": {}})


def npy(descr: str, data: bytes) -> bytes:
    """A NumPy file with this type written in its header."""
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': (1,), }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def named(module: bytes, name: bytes) -> bytes:
    """Opcodes that import by two texts on the stack."""
    return b"".join(b"\x8c" + bytes([len(text)]) + text for text in (module, name)) + b"\x93"


def joblib_array_inside_a_frame() -> bytes:
    """joblib reads the array behind the frame; what stands behind the opcode that asks for it are more opcodes."""
    begun = b"(" + b"".join(
        b"\x8c" + bytes([len(key)]) + key + value
        for key, value in (
            (b"subclass", named(b"numpy", b"ndarray")),
            (b"shape", b"K\x40\x85"),
            (b"order", b"\x8c\x01C"),
            (b"dtype", named(b"numpy", b"dtype") + b"\x8c\x02u1\x89\x88\x87R"),
            (b"allow_mmap", b"\x89"),
        )
    )
    opcodes = named(b"joblib.numpy_pickle", b"NumpyArrayWrapper") + b")\x81}" + begun + b"ub" + b"0N0"
    hidden = EVIL_0[:-1] + b"0N."
    array = b"\xff" * 61 + b"0C" + bytes([len(hidden)])
    return b"\x80\x04\x95" + struct.pack("<Q", len(opcodes)) + opcodes + array + hidden + b"N."


LEGACY_TORCH = b"L119547037146038801333356L\n.I1001\n.(dp0\n." + EVIL_0 + b"(l."
DIFFERENT = {
    "number in base 16": (b"I0x1\n0" + EVIL_0, "w.bin"),
    "long number in base 16": (b"L0x1L\n0" + EVIL_0, "w.bin"),
    "line of two megabytes": (b"V" + b"a" * (2 << 20) + b"\n0" + EVIL_0, "w.bin"),
    "text of Latin letters": (b"S'\xe9'\n0" + EVIL_0, "w.bin"),
    **{
        f"name of {9 * times:,} letters {how}, without an end": (
            b"N0\x80\x04" + names % (b".__call__" * times) + b"(Vtrue\ntR",
            "w.bin",
        )
        for times in (30, 80)
        for how, names in {
            "in lines": b"cposix\nsystem%s\n",
            "on the stack": b"Vposix\nVsystem%s\n\x93",
            "with escapes": b"Vposix\nVsyst\\u0065m%s\n\x93",
            "in quotes": b"S'posix'\nS'syst\\x65m%s'\n\x93",
        }.items()
    },
    "name of Latin letters": (b"c\xc3\xa9\nx\n0" + EVIL_0, "w.bin"),
    "second of two pickles": (b"I1\n." + EVIL_0, "w.bin"),
    "PyTorch before 1.6 in protocol 0": (LEGACY_TORCH, "pytorch_model.bin"),
    "storages of PyTorch's first tar": (
        tarred({"storages": b"I1\n." + EVIL_0, "tensors": b"I0\n.", "pickle": b"N."}),
        "m.pth",
    ),
    "array type written as a word": (npy("object", EVIL), "a.npy"),
    "array type of unknown letters": (npy("U1,O", EVIL), "a.npy"),
    "lzma with a small dictionary": (
        lzma.compress(EVIL, lzma.FORMAT_ALONE, filters=[{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 15}]),
        "m.sav",
    ),
    **{
        f"lzma with other properties, as {name}": (
            lzma.compress(EVIL, lzma.FORMAT_ALONE, filters=[{"id": lzma.FILTER_LZMA1, "lc": 1, "lp": 2, "pb": 0}]),
            name,
        )
        for name in ("m.pkl.xz", "m.PKL.LZMA")
    },
    "lzip, which the readers of xz take": (b"LZIP\x00\x0c" + bytes(30), "m.pkl.xz"),
    "graph in chunks": (bytes.fromhex("83af70d10d884a3f") + bytes(8) + b"@", "saved_model.cpb"),
    "graph in chunks by its content": (bytes.fromhex("83af70d10d884a3f") + bytes(8) + b"@", "weights"),
    "graph in chunks by its name": (b"\0\1\2\3" * 9, "saved_model.cpb"),
    "joblib array inside a frame": (joblib_array_inside_a_frame(), "f.joblib"),
    "joblib array inside a frame, unnamed": (joblib_array_inside_a_frame()[2:], "f.bin"),
    "TorchScript's names where PyTorch unpickles": (
        torch_zip(
            with_proto(named(b"torch.jit._pickle", b"build_intlist") + b"]\x85R."),
            {"archive/extra/constants.pkl": b"\x80\x02)."},
        ),
        "m.pt",
    ),
    "a dotted name of TorchScript's module": (
        torch_zip(
            with_proto(
                named(b"torch.jit._pickle", b"__loader__.set_data") + b"\x8c\x01a\x8e\x00" + bytes(7) + b"\x86R."
            ),
            {"archive/constants.pkl": b"\x80\x02)."},
        ),
        "m.pt",
    ),
    "getattr kept behind a known use of it": (
        pickle.dumps([zoneinfo.ZoneInfo("UTC")], protocol=4)[:-2] + named(b"builtins", b"getattr") + b"a.",
        "m.pkl",
    ),
}
LAMBDA = keras_zip({"class_name": "Lambda", "module": "keras.layers", "config": {}})
LAMBDA_H5 = keras_h5(b'{"class_name": "Lambda"}')


def zip_with_hdf5_at(offset: int) -> bytes:
    """A zip archive with a stored member in which, as readers of HDF5 look for it, a file of theirs begins."""
    begin = zipped({"x": LAMBDA_H5}, zipfile.ZIP_STORED).index(HDF5)
    return zipped({"x": bytes(offset - begin) + LAMBDA_H5}, zipfile.ZIP_STORED)


def overlong_tag(number: int) -> bytes:
    """The tag of a field with a bit that readers of 32 bits cut off."""
    value, out = number << 3 | 2 | 1 << 32, b""
    while value > 127:
        value, out = value >> 7, out + bytes([value & 127 | 128])
    return out + bytes([value])


def onnx_behind_an_overlong_tag() -> bytes:
    """An operator of its own in a field whose number is cut off."""
    node = protobuf(4, b"Own") + protobuf(7, b"own.domain")
    return b"\x08\x08" + protobuf(2, b"maker") + protobuf(7, overlong_tag(1) + bytes([len(node)]) + node)


def skops_function(module: str, name: str) -> bytes:
    """A function in a skops file, which names it beside the class."""
    content = {"module_path": module, "function": name}
    node = {"__class__": "dict", "__module__": "builtins", "__loader__": "FunctionNode", "content": content}
    return zipped({"schema.json": json.dumps(node).encode()})


def forged_array(written: bytes, state: bytes) -> bytes:
    """An array of numpy whose type, written so, is given this state; its one element is an address of our choice."""
    dtype = named(b"numpy", b"dtype") + b"\x8c" + bytes([len(written)]) + written + b"\x89\x88\x87R" + state + b"b"
    made = named(b"numpy._core.multiarray", b"_reconstruct") + named(b"numpy", b"ndarray") + b"K\0\x85C\x01b\x87R"
    return with_proto(made + b"(K\x01K\x01\x85" + dtype + b"\x89C\x08AAAAAAAAtb.")


def type_state(fields: bytes = b"NN", flags: int = 0, size: int = 8, sub: bytes = b"N") -> bytes:
    """The state of a type: version, order, type of the parts, names and fields, size, alignment, flags."""
    return b"(K\x03\x8c\x01|" + sub + fields + b"K" + bytes([size]) + b"K\x01K" + bytes([flags]) + b"t"


def one_field(dtype: bytes, offset: int = 0) -> bytes:
    """Names and fields of a type with one field."""
    field = named(b"numpy", b"dtype") + b"\x8c\x02" + dtype + b"\x89\x88\x87R"
    return b"\x8c\x01a\x85}\x8c\x01a" + field + b"K" + bytes([offset]) + b"\x86s"


NAMELESS = b"Vposix\nVsystem\n\x93(Vtrue\ntR."


def global_heap(*values: bytes) -> bytes:
    """A heap of HDF5 for values of any length."""
    kept = b"".join(
        struct.pack("<HHIQ", number, 1, 0, len(value)) + value + bytes(-len(value) % 8)
        for number, value in enumerate(values, 1)
    )
    return b"GCOL\x01\0\0\0" + struct.pack("<Q", 16 + len(kept) + 16) + kept + bytes(16)


_FLOATS = b"(" + named(b"numpy", b"dtype") + b"\x8c\x02f8\x89\x88\x87RK\x64\x85t"
DIFFERENT |= {
    "addresses for objects": (forged_array(b"O8", type_state()), "a.pkl"),
    "addresses for objects in a field": (forged_array(b"V8", type_state(one_field(b"O8"))), "a.pkl"),
    "field beside its array": (forged_array(b"V8", type_state(one_field(b"f8", 100))), "a.pkl"),
    "part longer than its array": (forged_array(b"V8", type_state(sub=_FLOATS)), "a.pkl"),
    "fields that are computed": (
        forged_array(b"V8", type_state(b"\x8c\x01a\x85" + named(b"builtins", b"dict") + b")R")),
        "a.pkl",
    ),
    "type that is changed behind its use": (
        forged_array(b"V8", b"\x940h\x00" + type_state(one_field(b"O8"), flags=63)),
        "a.pkl",
    ),
}
_WRITES = protobuf(2, protobuf(2, protobuf(1, protobuf(1, b"x") + protobuf(2, b"WriteFile"))))
DIFFERENT |= {
    "zip behind HDF5, and a byte behind the zip": (hdf5() + LAMBDA + b"\0", "m.keras"),
    "zip behind GGUF, and a byte behind the zip": (gguf() + LAMBDA + b"\0", "m.keras"),
    "zip behind the end of a tar": (tarred({"a.txt": b"a"}) + LAMBDA + bytes(512), "m.keras"),
    "HDF5 two megabytes behind GGUF": (gguf().ljust(2 << 20, b"\0") + LAMBDA_H5, "m.h5"),
    "HDF5 within a member of a zip": (zip_with_hdf5_at(512), "m.h5"),
    "graph whose version comes last": (_WRITES + b"\x08\x01", "saved_model.pb"),
    "operator put together in a graph as text": (b'node { op: "Write" "File" }', "graph.pbtxt"),
    "operator with an escape in a graph as text": (b'node { op: "Write\\106ile" name: "a" }', "graph.pbtxt"),
    "ONNX operator behind an overlong tag": (onnx_behind_an_overlong_tag(), "m.onnx"),
    "function that skops names in its content": (skops_function("os", "system"), "m.skops"),
    "pickle in an attribute of HDF5": (keras_h5(b"\0" * 9 + EVIL), "m.h5"),
    "pickle of protocol 0 in an attribute of HDF5": (keras_h5(b"\0" * 9 + EVIL_0), "m.h5"),
    "old instance in an attribute of HDF5": (keras_h5(b"(S'true'\niposix\nsystem\n."), "m.h5"),
    **{
        f"pickle made by hand in {where}": (data, "m.h5")
        for where, data in {
            "an attribute of HDF5": keras_h5(NAMELESS),
            "an attribute of HDF5 that begins with a protocol in its midst": keras_h5(
                b"Vposix\nVsystem\n\x80\x04\x93(NtR."
            ),
            "a heap of HDF5": hdf5(behind=global_heap(b"a", NAMELESS)),
            "a heap of HDF5 behind a user's block": bytes(512) + hdf5(behind=global_heap(NAMELESS)),
            "a shared attribute of HDF5": hdf5((0x0C, bytes(20))).replace(b"\x0c\x14\0\0", b"\x0c\x14\0\x02"),
        }.items()
    },
    "pickle behind a block in HDF5": (bytes(512) + hdf5(behind=EVIL), "m.h5"),
    "vocabulary from a file in HDF5": (
        keras_h5(b'{"class_name": "TextVectorization", "config": {"vocabulary": "/etc/passwd"}}'),
        "m.h5",
    ),
    "template that calls what it looked up by a name it made": (
        chat('{% set u = "_" %}{% set c = u ~ u ~ "class" ~ u ~ u %}{{ ""[c][b][s]() }}'),
        "m.gguf",
    ),
    "template that keeps what it looked up, and calls it": (
        chat("{% for f in [messages[bos_token]] %}{{ f(1) }}{% endfor %}"),
        "m.gguf",
    ),
    "template that looks up by names of the vocabulary": (
        chat('{{ raise_exception[bos_token]["sys"].modules[eos_token].getoutput("true") }}'),
        "m.gguf",
    ),
}


@pytest.mark.parametrize("data, name", DIFFERENT.values(), ids=DIFFERENT)
def test_what_a_loader_reads_otherwise_is_refused(data: bytes, name: str) -> None:
    """Each of these ran its payload, or got to it, when the loader of the format was given it."""
    assert scan(data, name).verdict in (Verdict.UNSAFE, Verdict.UNREADABLE)


def test_honest_arrays_of_joblib_are_read_through_frames() -> None:
    """joblib ends its frame before an array; many objects before it make several frames."""
    value = {"names": [f"feature {n}" for n in range(20_000)], "array": np.arange(10.0)}
    assert scan(dumped(value), "m.joblib").verdict is Verdict.SAFE


def test_known_use_of_getattr_stays_safe() -> None:
    """Two time zones: the second takes `getattr` out of the memo."""
    data = pickle.dumps([zoneinfo.ZoneInfo("UTC"), zoneinfo.ZoneInfo("Europe/Paris")], protocol=4)
    assert scan(data).verdict is Verdict.SAFE


HONEST = {
    "tar with random weights that begin as LZMA does": (
        tarred({"weights.bin": b"\x5d\x00" + random.Random(1).randbytes(4000), "a.npy": npy("<f8", bytes(8))}),
        "m.tar",
    ),
    "tar with a zip as its last member": (tarred({"a.npz": zipped({"w.npy": npy("<f8", bytes(8))})}), "models.tar"),
    "HDF5 behind a block of the user's": (bytes(512) + hdf5(), "m.h5"),
    "array with a field": (forged_array(b"V8", type_state(one_field(b"f8"))), "a.pkl"),
    "array with a field of objects": (forged_array(b"V8", type_state(one_field(b"O8"), flags=27)), "a.pkl"),
    "arrays of many types": (
        pickle.dumps(
            [
                np.zeros(2, [(f"f{n}", "f8") for n in range(40)]),
                np.zeros(2, [("a", "O"), ("b", [("c", "M8[ns]"), ("d", "U3", (2, 2))])]),
                np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
                np.zeros(2, np.dtype({"names": ["a"], "formats": ["i2"], "offsets": [6], "itemsize": 16})),
                np.array(["a", None], dtype=object),
            ]
        ),
        "a.pkl",
    ),
    "joblib array of records with objects": (
        dumped(np.zeros(3, [("a", "f4", (3,)), ("b", "O"), ("c", "M8[us]")])),
        "a.joblib",
    ),
    "array of texts of any length": (pickle.dumps(np.array(["a", "bb"], dtype=np.dtypes.StringDType())), "a.pkl"),
    "texts in HDF5 that begin as opcodes do": (
        hdf5(behind=global_heap(*(b"Visit %d" % number for number in range(5000)))),
        "m.h5",
    ),
    "pickle of an array in HDF5": (keras_h5(pickle.dumps(np.array(["a", None], dtype=object))), "m.h5"),
    "function of numpy in skops": (skops_function("numpy", "log1p"), "m.skops"),
    "graph as text": (b'node { name: "a" op: "Relu" } node { op : \'Identity\'\n name: "b" }', "graph.pbtxt"),
    "chat template with macros": (
        chat(
            "{% macro render(m) %}{{ m.content.strip() }}{% endmacro %}{% set ns = namespace(found=false) %}"
            "{% for m in messages %}{% set x = m['role'] %}{{ render(m) }}{{ loop.cycle('a', 'b') }}{{ tools[x] }}"
            "{% for k, v in m.items() %}{{ k.split('_')[0] }}{% endfor %}{% endfor %}{{ strftime_now('%Y') }}"
        ),
        "m.gguf",
    ),
    "vocabulary in the configuration": (keras_h5(b'{"config": {"vocabulary": ["a", "b"]}}'), "m.h5"),
}


@pytest.mark.parametrize("data, name", HONEST.values(), ids=HONEST)
def test_what_reads_one_way_only_is_safe(data: bytes, name: str) -> None:
    """The honest neighbours of what is refused above."""
    verdict = scan(data, name)
    assert verdict.verdict is Verdict.SAFE, verdict


def arrays_in_arrays(count: int) -> bytes:
    """Arrays of joblib whose bytes are arrays of joblib too, for who takes them for opcodes."""
    dtype = named(b"numpy", b"dtype") + b"\x8c\x02u1\x89\x88\x87R"
    state = b"}(\x8c\x05shapeK\x01\x85\x8c\x05dtype" + dtype + b"u"
    array = named(b"joblib.numpy_pickle", b"NumpyArrayWrapper") + b")\x81" + state + b"bN0"
    return with_proto(array * count + b"N0" * 2000)


def xz_with_window(size: int) -> bytes:
    """An xz stream of one byte that asks for a window of this size (36: a gigabyte) in the header of its block."""
    data = lzma.compress(b"N", lzma.FORMAT_XZ, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0}])
    begin = data.index(b"\x02\x00\x21\x01")
    header = b"\x02\x00\x21\x01" + bytes([size, 0, 0, 0])
    return data[:begin] + header + struct.pack("<I", zlib.crc32(header)) + data[begin + 12 :]


EXHAUSTING = {
    "heaps of HDF5 in each other": (
        hdf5(behind=global_heap(*[b"GCOL\x01\0\0\0" + struct.pack("<Q", 1 << 20)] * 300)),
        "m.h5",
        "in each other",
    ),
    "marks in marks": (with_proto(b"(" * 100_001), "m.pkl", "lists in each other"),
    "imports without an end": (b"".join(b"ca%d\nb\n0" % n for n in range(10_001)), "m.pkl", "different imports"),
    "template of a megabyte": (chat("{{a}}" * 200_000), "m.gguf", "far too long"),
    "many long templates": (gguf(*((f"template.{n}", b"x" * 120_000) for n in range(6))), "m.gguf", "far too long"),
    "millions of texts in GGUF": (
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<IIQ", 9, 8, 2_000_001),
        "m.gguf",
        "far too long",
    ),
    "beginnings of pickles without an end": (keras_h5(b"\x80\x02\xff" * 20_000), "m.h5", "begins like a pickle"),
    "xz with a window of a gigabyte": (xz_with_window(36), "m.pkl.xz", "Memory"),
}


@pytest.mark.parametrize("data, name, why", EXHAUSTING.values(), ids=EXHAUSTING)
def test_what_would_exhaust_its_reader_is_refused(data: bytes, name: str, why: str) -> None:
    """Each took minutes, or more memory than a whole inspection may."""
    verdict = scan(data, name)
    assert verdict.verdict is not Verdict.SAFE
    assert any(why in reason.message for reason in verdict.reasons), verdict


def test_arrays_in_arrays_are_followed_within_one_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two walks at each of eight levels, each with a bound of its own, were 256 times the bound."""
    monkeypatch.setattr("checks.model_files.pickles.MAX_STEPS", 20_000)
    verdict = scan(arrays_in_arrays(12), "m.joblib")
    assert [reason.message[:21] for reason in verdict.reasons] == ["more than 20,000 opco"]


def test_several_xz_streams_and_zeros_between_them_are_read() -> None:
    """As `xz` pads them, and as `cat` joins them."""
    data = pickle.dumps({"weights": list(range(1000))}, protocol=4)
    joined = lzma.compress(data[:500]) + bytes(8) + lzma.compress(data[500:])
    assert scan(joined, "m.pkl.xz").formats == ("xz", "pickle")
    assert scan(joined, "m.pkl.xz").verdict is Verdict.SAFE
