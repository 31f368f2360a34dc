"""Pictures are drawn from evidence; evidence that is gone, altered or odd gives none, and never an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.interface import Evidence
from console.report import render
from console.report.pictures import MAX_EVIDENCE_BYTES, Picture, pictures
from records.store import Store
from tests.unit.console.reports import DIGEST, report, result

GOOD: dict[str, Any] = {
    "resource-curve.json": {"samples": [{"t": 0, "memory": 1e6, "cpu": 0.0}, {"t": 1, "memory": 5e6, "cpu": 0.5}]},
    "membership.json": {"roc": [[0, 0], [0.1, 0.4], [1, 1]]},
    "slice.json": {"image": [[0, 128], [200, 255]], "mask": [[0, 1], [0, 0]]},
}
ODD: dict[str, Any] = {
    "nothing": None,
    "text": "roc",
    "number": 7,
    "list": [],
    "empty": {},
    "no samples": {"samples": []},
    "samples of text": {"samples": ["a"]},
    "samples as object": {"samples": {"t": 1}},
    "huge integer": {"samples": [{"t": 10**400, "memory": 1, "cpu": 1}]},
    "huge numbers": {"samples": [{"t": 1e308, "memory": 1e308, "cpu": -1e308}, {"t": -1e308, "memory": 0, "cpu": 0}]},
    "negative memory": {"samples": [{"t": 0, "memory": -1, "cpu": 0}]},
    "triples": {"roc": [[1, 2, 3]]},
    "roc of text": {"roc": "ab"},
    "empty roc": {"roc": []},
    "huge roc": {"roc": [[1e308, -1e308], [10**400, 0]]},
    "ragged": {"image": [[1, 2], [3]], "mask": [[1, 2], [3]]},
    "out of range": {"image": [[999]], "mask": [[1]]},
    "negative": {"image": [[-1]], "mask": [[1]]},
    "of different shape": {"image": [[1]], "mask": [[1, 2]]},
    "one-dimensional": {"image": [1], "mask": [1]},
    "no pixel": {"image": [[]], "mask": [[]]},
    "too wide": {"image": [[1] * 2000], "mask": [[1] * 2000]},
    "text pixels": {"image": [["a"]], "mask": [[1]]},
    "deep": {"image": [[[[[[1]]]]]], "mask": [[[[[[1]]]]]]},
}


def drawn(store: Path, name: str, data: bytes, *, size: int | None = None) -> tuple[Picture, ...]:
    evidence = Store(store).put(data, name=name, media_type="application/json")
    if size is not None:
        evidence = evidence.model_copy(update={"size": size})
    return pictures(report(checks={"manifest": result("x", evidence=[evidence])}), store)


@pytest.mark.parametrize("name", GOOD)
def test_good_evidence_is_drawn_with_a_caption(name: str, tmp_path: Path) -> None:
    (picture,) = drawn(tmp_path, name, json.dumps(GOOD[name]).encode())
    assert picture.source.startswith("data:image/svg+xml;base64,")
    assert len(picture.caption) > 20


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_odd_evidence_is_no_error(name: str, value: Any, tmp_path: Path) -> None:
    assert len(drawn(tmp_path, name, json.dumps(value).encode())) <= 1


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xfe", b"NaN", b'{"roc": [[NaN, 1]]}', b'{"roc": [], "roc": []}', b"[" * 5000]
)
@pytest.mark.parametrize("name", GOOD)
def test_evidence_that_is_no_json_gives_no_picture(name: str, data: bytes, tmp_path: Path) -> None:
    assert drawn(tmp_path, name, data) == ()


def test_missing_evidence_gives_no_picture_and_no_error(tmp_path: Path) -> None:
    gone = Evidence(name="slice.json", digest=DIGEST, media_type="application/json", size=10)
    made = report(checks={"manifest": result("x", evidence=[gone])})
    assert pictures(made, tmp_path / "no-store") == ()
    assert not (tmp_path / "no-store").exists(), "reading makes nothing"
    assert "<img" not in render(made, "html", tmp_path / "no-store")


def test_altered_evidence_gives_no_picture(tmp_path: Path) -> None:
    data = json.dumps(GOOD["slice.json"]).encode()
    evidence = Store(tmp_path).put(data, name="slice.json", media_type="application/json")
    path = Store(tmp_path).path_of(evidence.digest)
    path.chmod(0o644)
    path.write_bytes(data.replace(b"255", b"254"))
    assert pictures(report(checks={"manifest": result("x", evidence=[evidence])}), tmp_path) == ()


def test_enormous_evidence_is_not_read(tmp_path: Path) -> None:
    assert drawn(tmp_path, "slice.json", json.dumps(GOOD["slice.json"]).encode(), size=MAX_EVIDENCE_BYTES + 1) == ()


def test_evidence_of_another_name_is_no_picture(tmp_path: Path) -> None:
    assert drawn(tmp_path, "other.json", json.dumps(GOOD["slice.json"]).encode()) == ()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["samples", "t", "memory", "cpu", "roc", "image", "mask"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(sorted(GOOD)), value=_JSON)
def test_any_json_is_drawn_or_left_out(name: str, value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    store = tmp_path_factory.mktemp("store")
    assert len(drawn(store, name, json.dumps(value).encode())) <= 1
