"""JSON of megabytes: data sets and trees pass, code in it does not hide, and it costs little memory."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from checks.model_files import Verdict
from tests.unit.checks.model_files.makers import asset, keras_h5, scan

LONG = 9 << 20


def among_data(text: bytes) -> bytes:
    """Annotations as COCO writes them, with one more entry in the midst."""
    one = b'{"id": 7, "bbox": [1.5, 2.5, 3, 4], "iscrowd": 0}'
    many = b", ".join([one] * (LONG // 2 // len(one)))
    return b'{"annotations": [' + many + b", " + text + b", " + many + b"]}"


HONEST: dict[str, tuple[bytes, Verdict]] = {
    "annotations": (among_data(b"{}"), Verdict.UNRECOGNISED),
    "annotations with names of classes": (among_data(b'{"class_name": "tumor", "a": "\\u003c"}'), Verdict.SAFE),
    "trees of XGBoost": (asset("xgboost.json").replace(b"{", b"{" + b" " * 20, 1) + b" " * LONG, Verdict.SAFE),
    "what is not JSON at all": (b"words\n" * (LONG // 6), Verdict.UNRECOGNISED),
}


@pytest.mark.parametrize("kind", HONEST)
def test_long_data_are_not_refused(kind: str) -> None:
    data, verdict = HONEST[kind]
    assert scan(data, "data.json").verdict is verdict


LAMBDA = b'{"class_name": "Lambda", "config": {}}'
HIDDEN: dict[str, tuple[str, bytes]] = {
    "a Lambda": ("data.json", among_data(LAMBDA)),
    "a Lambda in wide letters": ("data.json", among_data(LAMBDA).decode().encode("utf-16")),
    "a Lambda in escaped letters": ("data.json", among_data(b'{"cl\\u0061ss_name": "Lambda"}')),
    "a Lambda behind blanks": ("data.json", among_data(b'{"class_name":' + b" " * 5000 + b'"Lambda"}')),
    "a function that loads files": (
        "data.json",
        among_data(b'{"class_name": "function", "module": "keras.models", "config": "load_model"}'),
    ),
    "a template": ("data.json", among_data(json.dumps({"chat_template": " " * 5000 + "{{ lipsum }}"}).encode())),
    "classes of another repository": ("config.json", among_data(b'{"auto_map": {"A": "me/x--a.A"}}')),
    "a schema of skops": ("schema.json", among_data(b"{}")),
}


@pytest.mark.parametrize("trick", HIDDEN)
def test_nothing_hides_in_long_data(trick: str) -> None:
    name, data = HIDDEN[trick]
    assert scan(data, name).verdict in (Verdict.UNSAFE, Verdict.UNREADABLE)


def test_a_function_that_loads_files_is_found_in_hdf5_too() -> None:
    config = b'{"class_name": "function", "module": "keras.models", "config": "load_model"}'
    assert scan(keras_h5(config), "m.h5").verdict is Verdict.UNSAFE


def test_long_data_are_not_held_in_memory() -> None:
    """A list of short texts takes twenty times its bytes once it is parsed."""
    data = b'{"class_name": "x", "a": [' + b'"0000",' * (LONG // 7) + b"0]}"
    tracemalloc.start()
    try:
        assert scan(data, "data.json").verdict is Verdict.SAFE
        assert tracemalloc.get_traced_memory()[1] - len(data) < 20 << 20  # the stream is a copy
    finally:
        tracemalloc.stop()
