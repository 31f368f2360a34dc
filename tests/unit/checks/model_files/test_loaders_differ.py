"""Files that a loader reads otherwise than a careful reader would expect; nothing made here is ever loaded."""

from __future__ import annotations

import lzma
import pickle
import struct
import zoneinfo

import numpy as np
import pytest

from checks.model_files import Verdict
from tests.unit.checks.model_files.makers import (
    EVIL,
    EVIL_0,
    dumped,
    keras_zip,
    scan,
    tarred,
    torch_zip,
    with_proto,
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
