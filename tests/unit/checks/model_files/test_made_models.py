"""Models that libraries wrote (`tests/assets/models`), what they may hold, and what was once passed over silently."""

from __future__ import annotations

import gzip
import ipaddress
import json
import lzma
import pickle
import re
import struct
import tarfile
import uuid
import zlib
from array import array
from collections import ChainMap, UserDict
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_selection import mutual_info_classif

from checks.model_files import Verdict, check_model_files
from checks.model_files.opinion import Opinion
from pratique.intake.image.classify import classify
from pratique.intake.image.model import FileClass
from tests.unit.checks.inventories import inventory_of
from tests.unit.checks.model_files import test_model_files as by_hand
from tests.unit.checks.model_files import test_tricks as tricks
from tests.unit.checks.model_files.makers import (
    EVIL,
    FILES,
    HDF5,
    asset,
    hdf5,
    keras_h5,
    protobuf,
    scan,
    with_proto,
    zipped,
)

UNSAFE_ASSETS = ("leads-out-by-", "pickle-in-", "python-type", "tflite-mine", "r-runs-", "r-with-functions")
UNREAD_ASSETS = ("joblib-lz4",)
NAMES = sorted(path.name for path in FILES.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_what_a_library_wrote_is_judged(name: str) -> None:
    wanted = Verdict.UNSAFE if name.startswith(UNSAFE_ASSETS) else Verdict.SAFE
    wanted = Verdict.UNREADABLE if name.startswith(UNREAD_ASSETS) else wanted
    verdict = scan(asset(name), name)
    assert verdict.verdict is wanted, verdict


def test_it_is_told_what_wrote_each() -> None:
    made_by = json.loads(FILES.with_name("made_by.json").read_text())
    assert sorted(made_by) == NAMES
    libraries = {entry.partition(" ")[0] for entry in made_by.values()}
    assert libraries >= {"xgboost-cpu", "lightgbm", "keras", "onnx", "skops", "gguf", "h5py", "joblib", "rdata"}
    assert libraries >= {"R", "randomForest", "survival"}


# --- values that any model may keep beside its numbers ----------------------------------------------------------------

PLAIN: dict[str, Any] = {
    "uuid": uuid.UUID(int=7),
    "uuid that says it is safe": uuid.UUID(int=7, is_safe=uuid.SafeUUID.safe),
    "time in a zone": datetime(2026, 1, 2, tzinfo=ZoneInfo("Europe/Madrid")),
    "paths": [PurePosixPath("/a"), PureWindowsPath("c:/a")],
    "chain and user's dict": [ChainMap({"a": 1}), UserDict(a=1)],
    "array": array("d", [1.0]),
    "address": ipaddress.ip_network("10.0.0.0/8"),
    "pattern": re.compile("a+"),
    "types without a name": [type(None), ..., NotImplemented],
    "part of a function on arrays": partial(np.mean, axis=0),
    "part of a selection": partial(mutual_info_classif, random_state=0),
    "record array": np.zeros(2, dtype=[("a", "f8"), ("b", "i4")]).view(np.recarray),
    "matrix and polynomial": [np.matrix([[1]]), np.polynomial.Polynomial([1, 2])],
}


@pytest.mark.parametrize("kind", PLAIN)
def test_a_plain_value_is_safe_in_every_protocol(kind: str) -> None:
    verdicts = [scan(pickle.dumps(PLAIN[kind], protocol)) for protocol in range(6)]
    assert [verdict.verdict for verdict in verdicts] == [Verdict.SAFE] * 6, verdicts


GADGETS: dict[str, bytes] = {
    "a part of a function that may not be named": with_proto(
        b"\x8c\x09functools\x8c\x07partial\x93\x8c\x02os\x8c\x06system\x93\x85R."
    ),
    "a part whose state says anew what it calls": with_proto(
        b"\x8c\x09functools\x8c\x07partial\x93\x8c\x05numpy\x8c\x04mean\x93\x85R(\x8c\x05numpy\x8c\x03log\x93)}Ntb."
    ),
    "a part of what is judged by its arguments": with_proto(
        b"\x8c\x09functools\x8c\x07partial\x93\x8c\x07_codecs\x8c\x06encode\x93\x8c\x01x\x8c\x05bz2_c\x87R."
    ),
    "a part of a class": with_proto(
        b"\x8c\x09functools\x8c\x07partial\x93\x8c\x0cxgboost.core\x8c\x07Booster\x93\x85R."
    ),
    "a part made past its constructor": with_proto(
        b"\x8c\x07copyreg\x8c\x0a__newobj__\x93\x8c\x09functools\x8c\x07partial\x93"
        b"\x8c\x07_codecs\x8c\x06encode\x93\x8c\x01x\x87R."
    ),
    "a dictionary calls what another call gave": with_proto(
        b"\x8c\x0bcollections\x8c\x0bdefaultdict\x93"
        b"\x8c\x09functools\x8c\x07partial\x93\x8c\x05numpy\x8c\x04mean\x93\x85R\x85R."
    ),
    "numpy calls what another call gave": with_proto(
        b"\x8c\x14numpy.random._pickle\x8c\x10__generator_ctor\x93\x8c\x01x"
        b"\x8c\x09functools\x8c\x07partial\x93\x8c\x05numpy\x8c\x04mean\x93\x85R\x86R."
    ),
    "a constructor run as a base": b"ccopy_reg\n_reconstructor\n(cxgboost.core\nBooster\ncxgboost.core\nBooster\n}tR.",
    "a class made by type": with_proto(b"\x8c\x08builtins\x8c\x04type\x93\x8c\x01x)}\x87R."),
    "the type of a thing": with_proto(b"\x8c\x08builtins\x8c\x04type\x93]\x85R."),
    "a class of a named one, called": with_proto(
        b"\x8c\x08builtins\x8c\x04type\x93\x8c\x05numpy\x8c\x04mean\x93\x85R)R."
    ),
}


@pytest.mark.parametrize("gadget", GADGETS)
def test_what_is_allowed_is_no_way_around(gadget: str) -> None:
    assert scan(GADGETS[gadget]).verdict is Verdict.UNSAFE


# --- second opinions --------------------------------------------------------------------------------------------------


def told(monkeypatch: pytest.MonkeyPatch, *about: str) -> None:
    """Have picklescan call these dangerous."""
    monkeypatch.setattr("checks.model_files.scan.ask_picklescan", lambda *_: Opinion("it", Verdict.UNSAFE, about))


def test_a_second_opinion_on_a_listed_name_is_shown_and_changes_nothing() -> None:
    verdict = scan(pickle.dumps({"run": uuid.UUID(int=7)}))
    assert verdict.verdict is Verdict.SAFE
    (opinion,) = verdict.disagreements
    assert (opinion.says, opinion.about) == (Verdict.UNSAFE, ("uuid.UUID",))
    result = check_model_files(inventory_of({"app/m.pkl": pickle.dumps(uuid.UUID(int=7))}))
    assert result.status == "passed"
    assert "uuid.UUID" in next(f.message for f in result.findings if f.rule_id == "model_files/disagreement")


LISTED = pickle.dumps(uuid.UUID(int=7), 4)
UNMET = {
    "a listed name that the walk did not meet": (with_proto(b"]."), ("uuid.UUID",)),
    "a listed name and one that is not": (LISTED, ("uuid.UUID", "uuid._netstat_getter")),
    "a name that could not be resolved": (LISTED, ("unknown.UUID",)),
    "a listed name in another pickle of the file only": (zipped({"a": LISTED, "b": with_proto(b"].")}), ("uuid.UUID",)),
    "getattr that the walk did not meet": (LISTED, ("uuid.UUID", "builtins.getattr")),
}


@pytest.mark.parametrize("case", UNMET)
def test_a_second_opinion_counts_where_the_walk_knows_less(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, about = UNMET[case]
    told(monkeypatch, *about)
    verdict = scan(data)
    assert (verdict.verdict, verdict.reasons[0].rule) == (Verdict.UNSAFE, "second-opinion")


# --- what was once passed over silently -------------------------------------------------------------------------------


def tar_that_begins_as(data: bytes) -> bytes:
    """A tar whose first member's name is `data`, with a checksum that is right."""
    info = tarfile.TarInfo("x")
    info.size = 0
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    header[: len(data)] = data
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    return bytes(header) + bytes(1024)


def gguf_that_runs() -> bytes:
    """A GGUF file whose count of tensors jumps, for `pickle`, into an attack behind its keys."""
    attack = b"cposix\nsystem\n(S'true'\ntR."
    head = b"GGUF" + struct.pack("<I", 3) + b"\0" + b"(" * 6 + b"\x8e"
    return head + struct.pack("<Q", 0) + attack


def r_data(*items: bytes, version: int = 2) -> bytes:
    """R's data: a list of these items."""
    native = struct.pack(">I", 5) + b"UTF-8" if version == 3 else b""
    head = b"X\n" + struct.pack(">III", version, 0x00040203, 0x00020300) + native
    return head + struct.pack(">II", 19, len(items)) + b"".join(items)


def r_item(kind: int, data: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack(">I", kind | flags) + data


NIL = r_item(254)
R_TEXT = r_item(9, struct.pack(">I", 2) + b"ls")
R_SYMBOL = r_item(1, R_TEXT)
R_PROMISE = r_item(5, r_item(253) + NIL + r_item(6, R_SYMBOL + NIL), 0x400)
R_MAPPED = r_item(238, r_item(2, r_item(1, r_item(9, struct.pack(">I", 9) + b"mmap_real")) + NIL) + NIL + NIL)
MANY_LINKS = asset("hdf5-many-links.h5")
LAMBDA = b'{"class_name": "Lambda", "config": {}}'
LEAVES = struct.pack("<Q", 12) + b"\0a.h5\0x\0\0\0\0\0"
SPEC_1 = b"\x08\x01" + protobuf(2, b"about")

SILENT: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a pickle that is a tar too": ("m.pkl", lambda: tar_that_begins_as(b"cposix\nsystem\n(S'true'\ntR.")),
    "a pickle that is HDF5 too": ("weights.h5", lambda: EVIL + bytes(512 - len(EVIL)) + hdf5()),
    "a pickle that is GGUF too": ("m.gguf", gguf_that_runs),
    "a pickle called JSON": ("weights.json", lambda: EVIL),
    "a text pickle called JSON": ("config.backup.json", lambda: b"cposix\nsystem\n(S'true'\ntR."),
    "a pickle called ONNX": ("m.onnx", lambda: EVIL),
    "Keras Lambda behind a second key": ("arch.json", lambda: b'{"class_name": "Dense", "class_name": "Lambda"}'),
    "Keras Lambda deep down": ("arch.json", lambda: b'{"a":' * 200 + LAMBDA + b"}" * 200),
    "Keras Lambda in UTF-16": ("arch.json", lambda: LAMBDA.decode().encode("utf-16")),
    "Keras Lambda in UTF-32": ("arch.json", lambda: LAMBDA.decode().encode("utf-32-le")),
    "Keras Lambda behind an escaped, second key": (
        "arch.json",
        lambda: b'{"class_name": "Dense", "cl\\u0061ss_name": "Lambda"}',
    ),
    "zstandard": ("m.pkl.zst", lambda: zstandard.compress(EVIL)),
    "zstandard in frames": ("m.pkl.zst", lambda: zstandard.compress(pickle.dumps(1)) + zstandard.compress(EVIL)),
    "zstandard cut short": ("m.pkl.zst", lambda: zstandard.compress(EVIL)[:-4]),
    "zstandard behind a frame that is passed over": ("m.zst", lambda: b"\x53\x2a\x4d\x18\1\0\0\0x" + EVIL),
    "joblib's oldest compression": ("m.dat", lambda: b"ZF0x1b               " + zlib.compress(EVIL)),
    "a template in a folder of templates": (
        "additional_chat_templates/rag.jinja",
        lambda: b"{{ self._TemplateReference__context }}",
    ),
    "classes of another repository": (
        "config.json",
        lambda: b'{"auto_map": {"AutoModel": ["me/x--modeling.Model", null]}}',
    ),
    "a stream of Arrow's with a type of Python's": (
        "m.arrow",
        lambda: b"\xff\xff\xff\xff\x10\0\0\0" + b"ARROW:extension:name arrow.py_extension_type",
    ),
    "old lz4": ("m.joblib", lambda: b"\x02\x21\x4c\x18" + bytes(64)),
    "a promise of R": ("m.rds", lambda: gzip.compress(r_data(R_PROMISE))),
    "a promise of R, in the third version": ("m.rds", lambda: gzip.compress(r_data(R_PROMISE, version=3))),
    "a promise in R's workspace": ("m.RData", lambda: gzip.compress(b"RDX2\n" + r_data(R_PROMISE))),
    "a function of R": ("m.rds", lambda: r_data(r_item(3, r_item(253) + NIL + NIL, 0x400))),
    "bytecode of R": ("m.rds", lambda: r_data(r_item(21, bytes(4)))),
    "R's values from another file": ("m.rds", lambda: r_data(R_MAPPED)),
    "R's data as text": ("m.rds", lambda: b"A\n3\n262146\n"),
    "R's data cut short": ("m.rds", lambda: r_data(R_TEXT)[:-1]),
    "R's data with more behind": ("m.rds", lambda: r_data(R_TEXT) + b"x"),
    "something else called R's data": ("m.rds", lambda: b"hello"),
    "HDF5's mark and junk": ("m.h5", lambda: HDF5 + bytes(range(256)) * 9),
    "HDF5's mark alone": ("m.h5", lambda: HDF5),
    "HDF5 cut short": ("m.h5", lambda: asset("keras.h5")[:-9]),
    "HDF5 whose root is none": ("m.h5", lambda: hdf5().replace(b"OHDR", b"OHDX")),
    "HDF5 with a link of a user's kind": ("m.h5", lambda: hdf5((6, b"\x01\x08\x42\x01a\x00\x00"))),
    "HDF5 with a link to nowhere": ("m.h5", lambda: hdf5((6, b"\x01\x00\x01a" + struct.pack("<Q", 1 << 40)))),
    "HDF5 with a link outside of its heap": (
        "m.h5",
        lambda: (lambda h, at: h[:at] + b"\x10" + h[at + 1 :])(MANY_LINKS, MANY_LINKS.index(b"BTLF") + 10),
    ),
    "HDF5 in many files": ("m.h5", lambda: hdf5((0x14, bytes(20)))),
    "HDF5 with headers in a circle": ("m.h5", lambda: hdf5((0x10, struct.pack("<QQ", 48, 40)))),
    "HDF5 with a link out, behind a user's block": (
        "m.h5",
        lambda: bytes(512) + hdf5((6, b"\x01\x08\x40\x01a" + struct.pack("<H", 8) + LEAVES[8:16])),
    ),
    "Core ML's custom model of the first version": ("m.bin", lambda: SPEC_1 + protobuf(555, b"\x0a\x01x")),
    "Core ML's custom layer": ("m.mlmodel", lambda: SPEC_1 + protobuf(500, protobuf(1, protobuf(500, b"")))),
    "Core ML's custom model in a pipeline": (
        "m.mlmodel",
        lambda: SPEC_1 + protobuf(202, protobuf(1, SPEC_1 + protobuf(555, b""))),
    ),
    "a handler for TorchServe": ("m.mar", lambda: zipped({"MAR-INF/MANIFEST.json": b"{}", "handler.py": b"x = 1"})),
    "TensorFlow Lite that is none": ("m.tflite", lambda: b"\x1c\0\0\0TFL3" + bytes(range(256))),
    "an engine that nobody can read": ("m.engine", lambda: b"ftrt" + bytes(64)),
    "a tree of Torch 7": ("m.t7", lambda: bytes(64)),
    "a table that is none": ("m.parquet", lambda: bytes(64)),
    "safetensors whose numbers do not fit their shape": (
        "m.safetensors",
        lambda: (lambda h: struct.pack("<Q", len(h)) + h + bytes(8))(
            b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,8]}}'
        ),
    ),
    "safetensors of an unknown type": (
        "m.safetensors",
        lambda: (lambda h: struct.pack("<Q", len(h)) + h + bytes(8))(
            b'{"a":{"dtype":"PY","shape":[8],"data_offsets":[0,8]}}'
        ),
    ),
}


@pytest.mark.parametrize("trick", SILENT)
def test_nothing_passes_silently(trick: str) -> None:
    name, make = SILENT[trick]
    verdict = scan(make(), name)
    assert verdict.verdict in (Verdict.UNSAFE, Verdict.UNREADABLE), verdict


ORDINARY: dict[str, bytes] = {
    "notes.json": b'{"a": 1, "a": 2}',
    "deep.json": b"[" * 300 + b"]" * 300,
    "lines.json": b'{"a": "\\u003cb\\u003e"}\n{"a": 2}\n',
    "broken.json": b"{",
    "settings.json": '{"a": "é"}'.encode("utf-16"),
    "notes.txt": b"ftrt",
    "picture.png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "house.plan": b"first floor: two rooms\n",
    "table.csv": b"a,b\n1,2\n",
    "page.html": b"<html><body>model</body></html>",
    "weights.bin": bytes(range(256)) * 9,
}


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_file_is_no_model(name: str) -> None:
    assert scan(ORDINARY[name], name).verdict is Verdict.UNRECOGNISED


HARMLESS: dict[str, tuple[str, bytes]] = {
    "a formula and its environment in R": (
        "m.rds",
        r_data(
            r_item(6, r_item(254) + R_SYMBOL + NIL, 0x200),
            r_item(240, r_item(254) + R_SYMBOL + NIL),
            r_item(239, r_item(254) + R_TEXT + NIL),
            r_item(4, bytes(4) + r_item(242) + NIL + NIL + NIL),
            r_item(14, struct.pack(">Id", 1, 2.5)),
            r_item(16, struct.pack(">I", 1) + R_TEXT),
            r_item(255, b"", 0x100),
            version=3,
        ),
    ),
    "a compact sequence in R": (
        "m.rds",
        r_data(r_item(238, r_item(2, r_item(1, R_TEXT) + NIL) + r_item(14, struct.pack(">Id", 1, 3.0)) + NIL)),
    ),
    "a configuration in HDF5": ("m.h5", keras_h5(b'{"class_name": "Dense", "config": {}}')),
    "HDF5 with a soft link": ("m.h5", hdf5((6, b"\x01\x08\x01\x01a\x02\x00/b"))),
    "HDF5 behind a user's block": ("m.h5", bytes(1024) + hdf5()),
    "a plain model of Core ML": ("m.mlmodel", SPEC_1 + protobuf(500, protobuf(1, protobuf(140, b"")))),
    "a stream of Arrow's": ("data-00000-of-00001.arrow", b"\xff\xff\xff\xff\x10\0\0\0" + bytes(64)),
    "classes of its own repository": (
        "config.json",
        b'{"auto_map": {"AutoModel": "modeling.Model"}, "class_name": "X"}',
    ),
    "safetensors without numbers": ("m.safetensors", struct.pack("<Q", 2) + b"{}"),
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_only_describes_is_safe(kind: str) -> None:
    name, data = HARMLESS[kind]
    assert scan(data, name).verdict is Verdict.SAFE, scan(data, name)


def test_what_bears_a_models_name_and_is_none_is_told() -> None:
    result = check_model_files(inventory_of({"app/a.pt": b"plain words", "app/m.npy": asset("onnx.onnx")}))
    told_of = {f.rule_id.partition("/")[2]: f.where for f in result.findings}
    assert (result.status, told_of) == ("passed", {"safe": "app/m.npy", "unknown-content": "app/a.pt"})


_OTHER_LZMA = lzma.compress(EVIL, lzma.FORMAT_ALONE, filters=[{"id": lzma.FILTER_LZMA1, "lc": 1, "lp": 2}])
COMPRESSED = {
    "app/w": lzma.compress(EVIL, lzma.FORMAT_ALONE),
    "app/w.pkl.xz": _OTHER_LZMA,
    "app/w.LZMA": _OTHER_LZMA,
    "app/w.xz": b"LZIP\x01\x0c",
    "app/w.zst": b"\x5a\x2a\x4d\x18" + bytes(4),
    "app/graph.cpb": b"\0",
    "app/graph": bytes.fromhex("83af70d10d884a3f"),
}


@pytest.mark.parametrize("path", COMPRESSED)
def test_an_image_keeps_what_loaders_unpack(path: str) -> None:
    assert classify(path, COMPRESSED[path], 300) is FileClass.MODEL


@pytest.mark.parametrize("head", [b"]\0" + b"\x40\x1f\0\0" * 5, b"]\0\0\x80" + bytes(range(20)), b"]\0"])
def test_an_image_does_not_keep_what_only_begins_as_lzma(head: bytes) -> None:
    assert classify("app/weights", head, 300) is None


KEPT = ("app/chat_template.jinja", "app/graph.pbtxt", "app/arch.json", "app/model.xml", "app/old.dat", "app/t.parquet")


@pytest.mark.parametrize("path", KEPT)
def test_an_image_keeps_what_is_to_be_judged(path: str) -> None:
    heads = {"arch.json": b'{"a": ' * 600, "model.xml": b'<?xml version="1.0"?><net name="x">', "old.dat": b"ZF0x1"}
    head = heads.get(path.rpartition("/")[2], b"words")
    wanted = FileClass.SOURCE if path.endswith(".jinja") else FileClass.MODEL
    assert classify(path, head, 300_000 if wanted is FileClass.MODEL else 300) is wanted


def test_the_tables_hold_as_many_as_they_should() -> None:
    malicious = [*by_hand.MALICIOUS, *tricks.PICKLES, *tricks.FORMATS, *GADGETS]
    benign = [*by_hand.BENIGN, *tricks.HONEST, *PLAIN, *HARMLESS]
    assert len(set(malicious)) == len(malicious) >= 40
    assert len(set(benign)) == len(benign) >= 20
    assert sum(not name.startswith((*UNSAFE_ASSETS, *UNREAD_ASSETS)) for name in NAMES) >= 20


# --- any bytes --------------------------------------------------------------------------------------------------------

_CHANGED = {
    "m.h5": asset("hdf5-new-form.h5"),
    "old.h5": hdf5((6, b"\x01\x08\x40\x01a\x00\x00")),
    "m.rds": HARMLESS["a formula and its environment in R"][1],
    "m.tflite": asset("tflite-mine.tflite"),
    "m.mlmodel": SPEC_1 + protobuf(202, protobuf(1, SPEC_1 + protobuf(555, b""))),
    "m.zst": zstandard.compress(EVIL),
    "m.parquet": asset("table.parquet"),
}


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(sorted(_CHANGED)), st.integers(0, 1 << 16), st.integers(0, 255), st.integers(0, 1 << 16))
def test_changed_bytes_get_a_verdict(name: str, place: int, value: int, length: int) -> None:
    data = bytearray(_CHANGED[name])
    data[place % len(data)] = value
    scan(bytes(data[: max(1, length % (2 * len(data)))]), name)
