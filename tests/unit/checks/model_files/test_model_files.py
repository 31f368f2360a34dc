"""Model files: every trick is refused, every benign one passes; nothing made here is ever loaded."""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import io
import json
import lzma
import pickle
import re
import struct
import zipfile
import zlib
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_selection import SelectKBest, mutual_info_classif
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from checks.interface import Level, Status
from checks.model_files import Verdict, check_model_files
from checks.model_files.known import known_test_data
from checks.model_files.tree import scan_paths
from tests.unit.checks.inventories import inventory_of
from tests.unit.checks.model_files.makers import (
    EVIL,
    EVIL_0,
    Payload,
    asset,
    chat,
    dumped,
    joblib_with_pickle_in_array,
    keras_h5,
    keras_zip,
    npy,
    onnx,
    safetensors,
    scan,
    state_dict,
    tarred,
    torch_zip,
    with_proto,
    zipped,
)

TABLE = np.random.default_rng(7).normal(size=(80, 4))
TRUTH = (TABLE[:, 0] + TABLE[:, 1] > 0).astype(int)


MALICIOUS: dict[str, tuple[str, Callable[[], bytes]]] = {
    **{f"os.system in protocol {p}": ("m.pkl", partial(pickle.dumps, Payload(), p)) for p in range(6)},
    "named like a text": ("readme.txt", lambda: EVIL_0),
    "named like weights": ("weights.bin", lambda: EVIL),
    "builtins.eval": ("m.pkl", lambda: pickle.dumps(Payload("builtins", "eval", "1"))),
    "builtins.getattr": ("m.pkl", lambda: pickle.dumps(Payload("builtins", "getattr", 1, "real"))),
    "importlib.import_module": ("m.pkl", lambda: pickle.dumps(Payload("importlib", "import_module", "os"))),
    "subprocess.call": ("m.pkl", lambda: pickle.dumps(Payload("subprocess", "call", ["true"]))),
    "runpy.run_path": ("m.pkl", lambda: pickle.dumps(Payload("runpy", "run_path", "x"))),
    "a module no deny list names": ("m.pkl", lambda: pickle.dumps(Payload("statistics", "mean", [1]))),
    "functools.partial": ("m.pkl", lambda: pickle.dumps(Payload("functools", "partial", print))),
    "operator.attrgetter": ("m.pkl", lambda: pickle.dumps(Payload("operator", "attrgetter", "x"))),
    "numpy function that is not listed": ("m.pkl", lambda: pickle.dumps(Payload("numpy", "load", "x"))),
    "dotted name": ("m.pkl", lambda: with_proto(b"\x8c\x0bcollections\x8c\x15OrderedDict.__class__\x93.")),
    "name from a computed string": ("m.pkl", lambda: with_proto(b"\x8c\x02os]\x93.")),
    "name through the memo": ("m.pkl", lambda: with_proto(b"\x8c\x02os\x94\x8c\x06system\x940\x30h\x00h\x01\x93)R.")),
    "name duplicated on the stack": ("m.pkl", lambda: with_proto(b"\x8c\x04eval2\x93.")),
    "name after a mark": (
        "m.pkl",
        lambda: with_proto(b"\x8c\x05posix(10\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R."),
    ),
    "memo overwritten": (
        "m.pkl",
        lambda: with_proto(
            b"\x8c\x0bcollectionsq\x00\x8c\x0bOrderedDictq\x01\x8c\x05posixq\x00\x8c\x06systemq\x01h\x00h\x01\x93."
        ),
    ),
    "Python 2 name": ("m.pkl", lambda: b"c__builtin__\neval\n(S'1'\ntR."),
    "Python 2 commands": ("m.pkl", lambda: b"ccommands\ngetoutput\n(S'true'\ntR."),
    "INST": ("m.pkl", lambda: b"(S'true'\niposix\nsystem\n."),
    "OBJ": ("m.pkl", lambda: b"(cposix\nsystem\nS'true'\no."),
    "extension code": ("m.pkl", lambda: with_proto(b"\x82\x01.")),
    "call of something that is no import": ("m.pkl", lambda: with_proto(b"]\x8c\x04true\x85R.")),
    "constructor of a class that may only be named": (
        "m.pkl",
        lambda: with_proto(b"\x8c\x0cxgboost.core\x8c\x07Booster\x93)R."),
    ),
    "class changed by BUILD": (
        "m.pkl",
        lambda: with_proto(b"\x8c\x0dnumpy.ma.core\x8c\x0bMaskedArray\x93N}\x8c\x01a\x8c\x01bs\x86b."),
    ),
    "item set on an import": ("m.pkl", lambda: with_proto(b"\x8c\x0bcollections\x8c\x0bOrderedDict\x93K\x01K\x02s.")),
    "attack before the bytes end": ("m.pkl", lambda: EVIL[:-1]),
    "attack before broken bytes": ("x.bin", lambda: b"cposix\nsystem\n(S'true'\ntR\xff\xff"),
    "second pickle in one file": ("m.pkl", lambda: pickle.dumps({"a": 1}) + EVIL),
    "joblib": ("m.joblib", lambda: dumped([TABLE, Payload()])),
    **{
        f"joblib packed by {c}": ("m.joblib", partial(dumped, [TABLE, Payload()], (c, 3)))
        for c in ("zlib", "gzip", "bz2", "xz", "lzma")
    },
    "joblib array that is also a pickle": ("m.joblib", joblib_with_pickle_in_array),
    "object array in joblib": ("m.joblib", lambda: dumped(np.array([Payload()], dtype=object))),
    "object array in npy": ("m.npy", lambda: npy(np.array([Payload()], dtype=object))),
    "object array in npz": ("m.npz", lambda: zipped({"a.npy": npy(np.array([Payload()], dtype=object))})),
    "torch archive": ("m.pt", lambda: torch_zip(EVIL)),
    "torch archive, attack in another member": ("m.pt", lambda: torch_zip(state_dict(), {"archive/x.dat": EVIL})),
    "torch of before 1.6": ("m.pt", lambda: b"".join(map(pickle.dumps, (0x1950A86A20F9469CFC6C, 1001, {}))) + EVIL),
    "zip in a zip": ("m.zip", lambda: zipped({"inner.zip": zipped({"x": EVIL})})),
    "tar": ("m.tar", lambda: tarred({"w.pkl": EVIL})),
    "gzip in gzip": ("m.pkl.gz", lambda: gzip.compress(gzip.compress(EVIL))),
    "bz2": ("m.dat", lambda: bz2.compress(EVIL)),
    "xz": ("m.dat", lambda: lzma.compress(EVIL)),
    "zlib": ("m.dat", lambda: zlib.compress(EVIL)),
    "Keras Lambda": ("m.keras", lambda: keras_zip({"class_name": "Lambda", "module": "keras.layers"})),
    "Keras object of any module": (
        "m.keras",
        lambda: keras_zip({"class_name": "system", "module": "os", "config": "x"}),
    ),
    "Keras Lambda in HDF5": (
        "m.h5",
        lambda: keras_h5(b'{"class_name": "Lambda", "config": {}}'),
    ),
    "Keras Lambda, escaped": (
        "m.h5",
        lambda: keras_h5(b'{"class_name": "Dense"}, {"class_name": "\\u004cambda"}'),
    ),
    "ONNX external data outside": ("m.onnx", lambda: onnx(location=b"../../etc/passwd")),
    "ONNX external data absolute": ("m.onnx", lambda: onnx(location=b"/etc/passwd")),
    "ONNX custom operators": ("m.onnx", lambda: onnx(domain=b"evil.ops")),
    "GGUF template": ("m.gguf", lambda: chat("{{ ''.__class__.__mro__ }}")),
    "TorchScript that reads files": (
        "m.pt",
        lambda: torch_zip(
            state_dict(), {"archive/constants.pkl": with_proto(b")."), "archive/code/m.py": b"torch.from_file(x)"}
        ),
    ),
    "TensorFlow graph that runs Python": ("saved_model.pb", lambda: b"\x08\x01\x12\x08\x0a\x01p\x12\x06PyFunc"),
    "TensorFlow graph that writes a file": ("saved_model.pb", lambda: b"\x08\x01" + b"\x12\x09WriteFile"),
    "Keras Lambda in a JSON of any name": (
        "architecture.json",
        lambda: json.dumps({"config": {"layers": [{"class_name": "Lambda", "config": {}}]}}).encode(),
    ),
    "a pickle that begins as CatBoost": (
        "m.bin",
        lambda: b"CBM1" + bytes(64) + b"cposix\nsystem\n(S'true'\ntR.",
    ),
    "a pickle that begins as XGBoost": ("m.pkl", lambda: EVIL + b"binf"),
    "skops with an unknown class": (
        "m.skops",
        lambda: zipped({"schema.json": json.dumps({"__module__": "os", "__class__": "system"}).encode()}),
    ),
}


@pytest.mark.parametrize("trick", MALICIOUS, ids=str)
def test_a_malicious_file_is_unsafe(trick: str) -> None:
    name, make = MALICIOUS[trick]
    verdict = scan(make(), name)
    assert verdict.verdict is Verdict.UNSAFE, verdict
    assert all(reason.message and reason.rule for reason in verdict.reasons)


def encrypted_zip() -> bytes:
    """A zip archive whose member claims to be encrypted."""
    data = bytearray(zipped({"data.pkl": pickle.dumps({})}, zipfile.ZIP_STORED))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def twice_in_zip() -> bytes:
    """A zip archive with two members of one name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("data.pkl", pickle.dumps({}))
        archive.writestr("data.pkl", pickle.dumps({"b": 1}))
    return buffer.getvalue()


UNREADABLE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "cut short": ("m.pkl", lambda: pickle.dumps(list(range(1000)))[:-5]),
    "no pickle at all": ("m.pkl", lambda: b"\xde\xad\xbe\xef" * 9),
    "empty": ("m.joblib", lambda: b""),
    "bytes after the pickle": ("m.pkl", lambda: pickle.dumps({}) + b"\xff\xfe rest"),
    "stack underflow": ("m.pkl", lambda: with_proto(b"R.")),
    "memo never filled": ("m.pkl", lambda: with_proto(b"h\x07.")),
    "argument longer than the file": ("m.pkl", lambda: with_proto(b"\x8d" + struct.pack("<Q", 1 << 60))),
    "negative length": ("m.pkl", lambda: b"T\xff\xff\xff\xff."),
    "line without an end": ("m.pkl", lambda: b"I" + b"1" * 100),
    "deflate cut short": ("m.npz", lambda: zipped({"a.npy": npy(TABLE)})[:-40]),
    "gzip cut short": ("m.pkl.gz", lambda: gzip.compress(pickle.dumps(list(range(999))))[:-20]),
    "encrypted zip": ("m.pt", encrypted_zip),
    "one name twice in a zip": ("m.pt", twice_in_zip),
    "pickle with a zip behind it": ("m.pkl", lambda: pickle.dumps({}) + zipped({"a": b"b"})),
    "7z": ("m.7z", lambda: b"7z\xbc\xaf\x27\x1c" + bytes(64)),
    "lz4": ("m.joblib", lambda: b"\x04\x22\x4d\x18" + bytes(64)),
    "npy with a broken header": ("m.npy", lambda: b"\x93NUMPY\x01\x00\x10\x00" + b"{" * 16),
    "npy with an odd type": ("m.npy", lambda: b"\x93NUMPY\x01\x00\x10\x00" + b"{'descr':(1,2)}\n"),
    "packed too often": ("m.gz", lambda: pack(9)),
    "joblib array of an impossible shape": ("m.joblib", lambda: dumped(TABLE).replace(b"KPK\x04\x86", b"KPK\xff\x86")),
    "safetensors that ends early": ("m.safetensors", lambda: safetensors(10_000)),
    "ONNX that is none": ("m.onnx", lambda: b"\xff" * 40),
}


def pack(times: int) -> bytes:
    """Something harmless, compressed many times over."""
    data = pickle.dumps({})
    for _ in range(times):
        data = gzip.compress(data)
    return data


@pytest.mark.parametrize("trick", UNREADABLE, ids=str)
def test_what_cannot_be_followed_is_refused(trick: str) -> None:
    name, make = UNREADABLE[trick]
    assert scan(make(), name).verdict is Verdict.UNREADABLE


def fitted(model: Any) -> Any:
    """The model, fitted on a small table."""
    return model.fit(TABLE, TRUTH)


def forest(protocol: int) -> bytes:
    """A pickled random forest."""
    return pickle.dumps(fitted(RandomForestClassifier(5)), protocol)


def packed_regression(compression: str) -> bytes:
    """A compressed joblib file."""
    return dumped(fitted(LogisticRegression()), (compression, 3))


def searched(scoring: str) -> bytes:
    """A search of parameters, with its splitter, its scorer and its masked table of results."""
    grid = {"C": [1.0, 2.0]}
    return pickle.dumps(
        fitted(GridSearchCV(LogisticRegression(), grid, cv=KFold(2), scoring=None if scoring == "default" else scoring))
    )


BENIGN: dict[str, tuple[str, Callable[[], bytes]]] = {
    **{f"forest in protocol {p}": ("m.pkl", partial(forest, p)) for p in range(6)},
    "pipeline": ("m.pkl", lambda: pickle.dumps(fitted(make_pipeline(StandardScaler(), LogisticRegression())))),
    "gradient boosting": ("m.pkl", lambda: pickle.dumps(fitted(GradientBoostingClassifier(n_estimators=5)))),
    "histogram boosting": ("m.pkl", lambda: pickle.dumps(fitted(HistGradientBoostingClassifier(max_iter=5)))),
    "support vectors": ("m.pkl", lambda: pickle.dumps(fitted(SVC()))),
    "neighbours": ("m.pkl", lambda: pickle.dumps(fitted(KNeighborsClassifier(algorithm="kd_tree")))),
    "gradient descent": ("m.pkl", lambda: pickle.dumps(fitted(SGDClassifier()))),
    "categories": ("m.pkl", lambda: pickle.dumps(OneHotEncoder().fit([["a"], ["b"]]))),
    "joblib": ("m.joblib", lambda: dumped(fitted(RandomForestClassifier(5)))),
    **{
        f"joblib packed by {c}": ("m.joblib", partial(packed_regression, c))
        for c in ("zlib", "gzip", "bz2", "xz", "lzma")
    },
    "joblib with all kinds of arrays": (
        "m.joblib",
        lambda: dumped(
            {
                "o": np.array(["a", None, {"b": 1}], dtype=object),
                "s": np.zeros(3, dtype=[("x", "f8"), ("Outcome", "i4")]),
                "u": np.array(["ab", "cdef"]),
                "d": np.array(["2020-01-01"], dtype="M8[D]"),
                "e": np.zeros((0, 3)),
                "b": np.array([True]),
                "z": np.float64(3),
            }
        ),
    ),
    "plain containers": (
        "m.pkl",
        lambda: pickle.dumps({"a": [1, 2.0, None, True, b"x", "y"], "b": {1, 2}, "d": date(2020, 1, 1)}),
    ),
    "ordered and default dicts": ("m.pkl", lambda: pickle.dumps([OrderedDict(a=1), defaultdict(list, a=[1])])),
    "several pickles": ("m.pkl", lambda: pickle.dumps(1) + pickle.dumps([2])),
    "random generator": ("m.pkl", lambda: pickle.dumps(np.random.default_rng(1))),
    **{f"search by {s}": ("m.pkl", partial(searched, s)) for s in ("default", "roc_auc", "neg_brier_score")},
    "kernel": ("m.pkl", lambda: pickle.dumps(fitted(GaussianProcessRegressor(Matern() + WhiteKernel())))),
    "selection": ("m.pkl", lambda: pickle.dumps(fitted(SelectKBest(mutual_info_classif, k=2)))),
    "masked array": ("m.pkl", lambda: pickle.dumps(np.ma.masked_array([1, 2], [True, False]))),
    "npy": ("m.npy", lambda: npy(TABLE)),
    "npz": ("m.npz", lambda: zipped({"a.npy": npy(TABLE), "b.npy": npy(np.zeros(2, dtype=[("Outcome", "f4")]))})),
    "torch state": ("m.pt", lambda: torch_zip(state_dict())),
    "Keras": ("m.keras", lambda: keras_zip({"class_name": "Dense", "module": "keras.layers", "config": {"units": 3}})),
    "Keras in HDF5": ("m.h5", lambda: keras_h5(b'{"class_name": "Dense", "config": {"name": "Lambda1"}}')),
    "ONNX": ("m.onnx", onnx),
    "safetensors": ("m.safetensors", lambda: safetensors(16)),
    "GGUF": ("m.gguf", lambda: chat("{{ messages[0].content }}")),
    "XGBoost JSON": ("m.json", lambda: b'{"learner": {"attributes": {}}, "version": [3, 0, 0]}'),
    "XGBoost UBJSON": ("m.ubj", lambda: b"{L" + (7).to_bytes(8, "big") + b"learner{}" + bytes(range(256))),
    "XGBoost binary": ("m.model", lambda: b"binf" + bytes(range(256))),
    "LightGBM": ("m.txt", lambda: b"tree\nversion=v4\nnum_class=1\nTree=0\nnum_leaves=2\n"),
    "CatBoost": ("m.cbm", lambda: b"CBM1" + bytes(range(256))),
    "TensorFlow Lite": ("m.tflite", lambda: asset("tflite.tflite")),
    "TensorFlow graph": ("saved_model.pb", lambda: b"\x08\x01" + b"\x12\x06MatMul" + b"a PyFunc is not called"),
    "MATLAB": ("m.mat", lambda: b"MATLAB 5.0 MAT-file" + bytes(200)),
}


@pytest.mark.parametrize("kind", BENIGN, ids=str)
def test_a_benign_model_is_safe(kind: str) -> None:
    name, make = BENIGN[kind]
    verdict = scan(make(), name)
    assert verdict.verdict is Verdict.SAFE, verdict
    assert verdict.formats


@pytest.mark.parametrize(
    ("name", "data"),
    [("notes.txt", b"config\nfoo\nbar\n"), ("data.bin", bytes(range(256)) * 4), ("a.csv", b"a,b\n1,2\n"), ("e", b"")],
)
def test_what_is_no_model_is_left_alone(name: str, data: bytes) -> None:
    assert scan(data, name).verdict is Verdict.UNRECOGNISED


def test_a_bomb_is_stopped_by_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checks.model_files.parts.MAX_UNPACKED", 1 << 20)
    verdict = scan(gzip.compress(bytes(1 << 24)), "m.pkl.gz")
    assert verdict.verdict is Verdict.UNREADABLE
    assert "unpacks to more than" in verdict.reasons[0].message


def test_endless_opcodes_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checks.model_files.pickles.MAX_STEPS", 1000)
    assert scan(b"\x80\x04" + b"N0" * 5000 + b"N.").verdict is Verdict.UNREADABLE


def test_the_reason_names_member_and_import() -> None:
    (reason,) = scan(torch_zip(EVIL), "m.pt").reasons
    assert reason.member.startswith("m.pt/archive/data.pkl@")
    assert "posix.system" in reason.message


def test_a_file_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(EVIL)
    ((found,), skipped) = scan_paths([path], ask_others=False)
    assert (found.path, found.verdict.verdict, skipped) == (str(path), Verdict.UNSAFE, 0)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_get_a_verdict(data: bytes) -> None:
    for name in ("m.pkl", "m.npy", "m.onnx", "m"):
        scan(data, name)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, len(EVIL) - 1), st.integers(0, 255), st.sampled_from(["pickle", "joblib", "torch", "npy"]))
def test_a_changed_byte_never_makes_an_exception(place: int, value: int, kind: str) -> None:
    data = bytearray(_CARRIERS[kind])
    data[place % len(data)] = value
    scan(bytes(data), "m.pkl")


_CARRIERS = {
    "pickle": EVIL,
    "joblib": dumped([TABLE[:2], {"a": 1}]),
    "torch": torch_zip(state_dict()),
    "npy": npy(np.array([{"a": 1}], dtype=object)),
}

_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None)
@given(_PLAIN, st.integers(0, 5))
def test_plain_values_are_safe_in_every_protocol(value: Any, protocol: int) -> None:
    assert scan(pickle.dumps(value, protocol=protocol)).verdict is Verdict.SAFE


def test_the_check_fails_on_an_unsafe_file_and_says_how_to_mend_it() -> None:
    result = check_model_files(inventory_of({"app/m.pkl": EVIL, "app/w.npy": npy(TABLE)}))
    assert result.status is Status.FAILED
    assert result.measured("model_files") == 2
    assert result.measured("unsafe") == 1
    (finding,) = [f for f in result.findings if f.level == "error"]
    assert finding.rule_id == "model_files/dangerous-import"
    assert finding.fix


def test_the_check_passes_on_safe_files() -> None:
    result = check_model_files(inventory_of({"app/w.npy": npy(TABLE)}))
    assert result.status is Status.PASSED


def test_the_check_passes_where_there_is_no_model() -> None:
    assert check_model_files(inventory_of({"app/main.py": b""})).measured("model_files") == 0


@pytest.mark.parametrize(
    "path", ["app/x.dist-info/RECORD", "app/x.dist-info/METADATA", "etc/os-release", "lib/apk/db/installed"]
)
@pytest.mark.parametrize("data", [EVIL, EVIL_0])
def test_a_model_in_the_place_of_a_systems_own_file_is_one(path: str, data: bytes) -> None:
    """These are kept for their names; a tool may load them all the same."""
    assert check_model_files(inventory_of({path: data})).status is Status.FAILED


def test_a_file_that_was_not_kept_hides_no_unsafe_one() -> None:
    files = {"app/m.pkl": pickle.dumps({}), "app/n.pkl": EVIL}
    assert check_model_files(inventory_of(files, not_kept={"app/m.pkl": "too large"})).status is Status.FAILED


def test_a_file_that_was_not_kept_is_inconclusive() -> None:
    files = {"app/m.pkl": pickle.dumps({})}
    result = check_model_files(inventory_of(files, not_kept={"app/m.pkl": "too large"}))
    assert result.status is Status.INCONCLUSIVE


SITE = "usr/lib/python3.11/site-packages"
PY2_ARRAY = "numpy/lib/tests/data/py2-np0-objarr.npy"


def vouched_for(path: str, data: bytes, package: str = "numlib") -> dict[str, bytes]:
    """A file in an installed package whose RECORD has its true hash, as any provider can write it."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    record = f"{path},sha256={digest.decode()},{len(data)}\n{package}-1.dist-info/RECORD,,\n".encode()
    return {f"{SITE}/{path}": data, f"{SITE}/{package}-1.dist-info/RECORD": record}


def old_numpy_array() -> bytes:
    """The array of objects that numpy tests itself with, written by Python 2."""
    import importlib.util

    spec = importlib.util.find_spec("numpy")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent.joinpath(PY2_ARRAY.removeprefix("numpy/")).read_bytes()


FORGED: dict[str, dict[str, bytes]] = {
    "a package of the provider's own with a payload in its tests": vouched_for("numlib/tests/data/old.pkl", EVIL),
    "a payload under the name of known test data": vouched_for(PY2_ARRAY, EVIL, "numpy"),
    "known test data with a payload behind it": vouched_for(PY2_ARRAY, old_numpy_array() + EVIL, "numpy"),
    "known test data as the tool's model": {"app/model.npy": old_numpy_array()},
    "known test data in another package": vouched_for("numlib/tests/data/py2-np0-objarr.npy", old_numpy_array()),
    "an unreadable file in a package's tests": vouched_for("numlib/tests/data/odd.pkl", b"\x80\x04nonsense"),
}


@pytest.mark.parametrize("attack", FORGED)
def test_no_record_vouches_for_an_unsafe_file(attack: str) -> None:
    result = check_model_files(inventory_of(FORGED[attack]))
    assert result.status is Status.FAILED
    assert result.measured("test_data") == 0


def test_the_exact_bytes_that_a_library_tests_itself_with_are_noted() -> None:
    result = check_model_files(inventory_of(vouched_for(PY2_ARRAY, old_numpy_array(), "numpy")))
    assert result.status is Status.PASSED
    assert [(f.rule_id, f.level) for f in result.findings] == [("model_files/known-test-data", Level.NOTE)]
    assert result.measured("test_data") == 1


def test_the_list_of_known_files_is_one() -> None:
    listed = known_test_data()
    assert len(listed) >= 2
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in listed)
    assert all("/test" in data.path for known in listed.values() for data in known)
