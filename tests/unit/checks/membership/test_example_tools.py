"""The two risk classifiers on what a cohort can bring: gaps, non-numbers, unknown categories, broken tables."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest

TOOLS = Path(__file__).parents[4] / "examples" / "tools"
HEADER = (
    b"patient_id,site,sex,age,bmi,systolic_bp,creatinine,crp,haemoglobin,lesion_volume,texture_entropy,"
    b"texture_contrast,sphericity,mean_suv,kurtosis\n"
)
BOTH = pytest.mark.parametrize("tool", ["risk-classifier", "risk-classifier-overfit"])


def run(tool: str, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Exit code of one run on the table `data`."""
    spec = importlib.util.spec_from_file_location("app", TOOLS / tool / "app" / "main.py")
    assert spec is not None
    assert spec.loader is not None
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    (tmp_path / "in.csv").write_bytes(data)
    monkeypatch.setattr("sys.argv", ["main.py", "-i", str(tmp_path / "in.csv"), "-o", str(tmp_path)])
    return int(app.main())


def example(tool: str) -> bytes:
    """The example input."""
    return (TOOLS / tool / "test" / "example_input" / "patients.csv").read_bytes()


@BOTH
def test_the_example_gives_the_expected_output_and_a_log_without_names(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Byte for byte."""
    assert run(tool, example(tool), tmp_path, monkeypatch) == 0
    expected = (TOOLS / tool / "test" / "example_output" / "predictions.csv").read_bytes()
    assert (tmp_path / "predictions.csv").read_bytes() == expected
    printed = capsys.readouterr()
    assert "RC-" not in printed.out + printed.err


@BOTH
def test_gaps_nonsense_and_unknown_categories_are_scored(
    tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row gets a probability."""
    rows = list(csv.reader(example(tool).decode().splitlines()))
    for line, cell in enumerate(["", "nan", "inf", "-inf", "1e300", "-1e300", "unknown"], start=1):
        rows[line][3] = cell
        rows[line][1] = f"elsewhere{cell}"
        rows[line][2] = ""
    data = "\n".join(",".join(row) for row in rows).encode()
    assert run(tool, data, tmp_path, monkeypatch) == 0
    with (tmp_path / "predictions.csv").open(newline="") as stream:
        answers = list(csv.DictReader(stream))
    assert [answer["patient_id"] for answer in answers] == [row[0] for row in rows[1:]]
    assert all(0 <= float(answer["probability"]) <= 1 for answer in answers)


@BOTH
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe\x00\x01",
        b"patient_id,age\nSECRET-1,50\n",
        b'patient_id,age\n"SECRET-1,50\n',
        HEADER + b"SECRET-1,50\n",
        HEADER + b"SECRET-1,north,F" + b",x" * 12 + b"\n",
    ],
    ids=["empty", "not text", "columns missing", "open quote", "ragged", "no numbers"],
)
def test_a_broken_table_ends_in_a_clear_message_without_data(
    tool: str, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3, no output file, nothing of the table in the message."""
    assert run(tool, data, tmp_path, monkeypatch) == 3
    printed = capsys.readouterr()
    assert "table" in printed.err
    assert "SECRET" not in printed.out + printed.err
    assert not (tmp_path / "predictions.csv").exists()


@BOTH
def test_the_model_file_needs_no_pickle(tool: str) -> None:
    """Plain arrays only."""
    with np.load(TOOLS / tool / "app" / "model.npz", allow_pickle=False) as model:
        assert all(model[name].dtype.kind in "iufU" for name in model.files)


def test_both_tools_hand_in_the_same_samples() -> None:
    """The overfit tool learned from the very patients of its sibling."""
    for name in ("members.csv", "non_members.csv"):
        first, second = (TOOLS / tool / "evidence" / name for tool in ("risk-classifier", "risk-classifier-overfit"))
        assert first.read_bytes() == second.read_bytes()
