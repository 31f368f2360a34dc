"""Models that real libraries wrote just now pass; what another scanner says of them is shown."""

from __future__ import annotations

import io
import json
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from checks.model_files import Verdict, check_model_files
from checks.model_files import auditor as auditor_module
from checks.model_files.opinion import Opinion, together
from checks.model_files.tree import NO_MODEL, scan_paths
from tests.unit.checks.inventories import inventory_of
from tests.unit.checks.model_files.makers import EVIL, scan, with_proto


def torch_files(torch: Any) -> dict[str, Callable[[io.BytesIO], object]]:
    """How PyTorch writes models, by name."""
    layers = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.BatchNorm1d(4)).eval()
    optimizer = torch.optim.Adam(layers.parameters())
    checkpoint = {
        "model": layers.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "half": torch.zeros(3, dtype=torch.bfloat16),
        "sparse": torch.eye(3).to_sparse(),
        "type": torch.float16,
    }
    return {
        "state.pt": lambda out: torch.save(layers.state_dict(), out),
        "whole.pt": lambda out: torch.save(layers, out),
        "old.pth": lambda out: torch.save(layers.state_dict(), out, _use_new_zipfile_serialization=False),
        "old-whole.pth": lambda out: torch.save(layers, out, _use_new_zipfile_serialization=False),
        "run.ckpt": lambda out: torch.save(checkpoint, out),
        "transformer.pt": lambda out: torch.save(torch.nn.TransformerEncoderLayer(4, 2, 8), out),
        "script.pt": lambda out: torch.jit.save(torch.jit.script(layers), out),
    }


@pytest.mark.privacy
def test_what_torch_writes_is_safe() -> None:
    torch = pytest.importorskip("torch", reason="the privacy extra is not installed")
    verdicts = {}
    for name, write in torch_files(torch).items():
        out = io.BytesIO()
        write(out)
        verdicts[name] = scan(out.getvalue(), name)
    assert {name: verdict.reasons for name, verdict in verdicts.items() if verdict.verdict is not Verdict.SAFE} == {}


# --- second opinions -------------------------------------------------------------------------------------------------

UNKNOWN_TO_OTHERS = b"cstatistics\nmean\n(lI1\natR."


def test_an_opinion_is_shown_and_makes_nothing_safe() -> None:
    known, unknown, honest = scan(EVIL), scan(UNKNOWN_TO_OTHERS), scan(with_proto(b"]."))
    assert [verdict.verdict for verdict in (known, unknown, honest)] == [Verdict.UNSAFE, Verdict.UNSAFE, Verdict.SAFE]
    assert [o.says for v in (known, unknown, honest) for o in v.opinions] == [
        Verdict.UNSAFE,
        Verdict.SAFE,
        Verdict.SAFE,
    ]
    assert [bool(verdict.disagreements) for verdict in (known, unknown, honest)] == [False, True, False]


def test_what_picklescan_calls_dangerous_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checks.model_files.scan.ask_picklescan", lambda *_: Opinion("it", Verdict.UNSAFE, ("a.b",)))
    verdict = scan(with_proto(b"]."))
    assert (verdict.verdict, verdict.reasons[0].rule) == (Verdict.UNSAFE, "second-opinion")


def test_no_answer_is_no_disagreement() -> None:
    silent = Opinion("x", Verdict.UNREADABLE)
    assert not any(silent.disagrees(verdict) for verdict in Verdict)
    (one,) = together(
        [Opinion("x", Verdict.SAFE), Opinion("x", Verdict.UNSAFE, ("a",)), Opinion("x", Verdict.UNREADABLE)]
    )
    assert (one.says, one.about) == (Verdict.UNSAFE, ("a",))


def program(path: Path, body: str) -> str:
    """A program that stands for modelaudit: it is given the same words and must write the same report."""
    path.write_text(f"#!/usr/bin/env python3\nimport json, os, sys, time\nprint('modelaudit, version 9')\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


REPORT = """
if sys.argv[1] == 'scan':
    out = sys.argv[sys.argv.index('--output') + 1]
    files = sys.argv[sys.argv.index('--') + 1:]
    issue = {'severity': 'critical', 'location': files[0] + ' (pos 3)', 'message': 'seen', 'details': {}}
    part = {'severity': 'critical', 'location': files[-1], 'message': 'x', 'details': {'analysis_incomplete': True}}
    quiet = all(os.environ.get(n) for n in ('PROMPTFOO_DISABLE_TELEMETRY', 'NO_ANALYTICS', 'https_proxy'))
    ours = [n for n in os.environ if n.startswith(('PRATIQUE', 'DOCKER', 'AWS'))]
    json.dump({'issues': [issue, part] if quiet and not ours else []}, open(out, 'w'))
"""
BROKEN_PROGRAMS = {
    "fails": "sys.exit(2)",
    "writes no JSON": "open(sys.argv[sys.argv.index('--output') + 1], 'w').write('{')",
    "writes another JSON": "open(sys.argv[sys.argv.index('--output') + 1], 'w').write('[]')",
    "takes too long": "time.sleep(60) if sys.argv[1] == 'scan' else None",
}


def files_in(directory: Path) -> list[Path]:
    directory.mkdir()
    for name in ("a.pkl", "b.pkl", "c.pkl"):
        (directory / name).write_bytes(with_proto(b"]."))
    return sorted(directory.iterdir())


def test_modelaudit_is_asked_quietly_and_decides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRATIQUE_SECRET", "x")
    command = program(tmp_path / "modelaudit", REPORT)
    monkeypatch.setattr(auditor_module, "modelaudit", lambda: command)
    scanned, _ = scan_paths(files_in(tmp_path / "m"))
    assert [one.verdict.verdict for one in scanned] == [Verdict.SAFE] * 3
    told = [one.verdict.opinions[-1] for one in scanned]
    assert [one.scanner for one in told] == ["modelaudit 9"] * 3
    assert [one.says for one in told] == [Verdict.UNSAFE, Verdict.SAFE, Verdict.UNREADABLE]
    assert [bool(one.verdict.disagreements) for one in scanned] == [True, False, False]


@pytest.mark.parametrize("kind", BROKEN_PROGRAMS)
def test_a_modelaudit_that_fails_has_no_opinion(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = program(tmp_path / "modelaudit", BROKEN_PROGRAMS[kind])
    monkeypatch.setattr(auditor_module, "modelaudit", lambda: command)
    opinions = auditor_module.ask_modelaudit(files_in(tmp_path / "m"), seconds=0.4 if "long" in kind else 20.0)
    assert [one.says for one in opinions] == [Verdict.UNREADABLE] * 3


def test_the_check_notes_who_disagrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = program(tmp_path / "modelaudit", REPORT)
    monkeypatch.setattr(auditor_module, "modelaudit", lambda: command)
    monkeypatch.setattr("checks.model_files.modelaudit", lambda: command)
    result = check_model_files(inventory_of({"app/m.pkl": with_proto(b"]."), "app/n.pkl": with_proto(b").")}))
    assert result.status == "passed"
    assert [f.where for f in result.findings if f.rule_id == "model_files/disagreement"] == ["app/m.pkl"]


REAL = Path(__file__).parents[4] / "build" / "modelaudit" / "bin" / "modelaudit"


@pytest.mark.skipif(not REAL.exists(), reason="modelaudit is not installed (infra/test_tools.py does, where it can)")
def test_the_real_modelaudit_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditor_module, "modelaudit", lambda: str(REAL))
    (tmp_path / "bad.pkl").write_bytes(EVIL)
    (tmp_path / "good.pkl").write_bytes(with_proto(b"]."))
    opinions = auditor_module.ask_modelaudit(sorted(tmp_path.iterdir()))
    assert [one.says for one in opinions] == [Verdict.UNSAFE, Verdict.SAFE]
    assert all(one.scanner.startswith("modelaudit 0.") for one in opinions)


# --- files and directories -------------------------------------------------------------------------------------------


def by_name(paths: list[Path]) -> dict[str, tuple[str, str]]:
    scanned, _ = scan_paths(paths, ask_others=False)
    return {
        Path(one.path).name: (one.verdict.verdict.value, one.verdict.reasons[0].rule if one.verdict.reasons else "")
        for one in scanned
    }


def test_odd_files_get_a_verdict_and_nobody_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pkl")
    (tmp_path / "empty.pkl").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("about the model")
    with (tmp_path / "huge.pkl").open("wb") as sparse:
        sparse.truncate(10 << 30)
    (tmp_path / os.fsdecode(b"\xff\xfe.pkl")).write_bytes(EVIL)
    (tmp_path / "loop").symlink_to("loop")
    named = list(tmp_path.iterdir())
    assert by_name([*named, Path("/dev/zero"), *named]) == {
        "pipe.pkl": ("unreadable", "unreadable"),
        "empty.pkl": ("unreadable", "unreadable"),
        "notes.txt": ("unreadable", NO_MODEL),
        "huge.pkl": ("unreadable", "unreadable"),
        os.fsdecode(b"\xff\xfe.pkl"): ("unsafe", "dangerous-import"),
        "loop": ("unreadable", "unreadable"),
        "zero": ("unreadable", "unreadable"),
    }


def test_a_directory_that_cannot_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "good.pkl").write_bytes(with_proto(b"]."))
    monkeypatch.chdir(tmp_path)
    for _ in range(20):  # a path that no system call takes whole
        Path("d" * 250).mkdir()
        os.chdir("d" * 250)
    begun: list[str] = []
    scanned, _ = scan_paths([tmp_path], ask_others=False, begun=begun.append)
    assert [one.verdict.verdict for one in scanned] == [Verdict.SAFE, Verdict.UNREADABLE]
    assert "cannot be listed" in scanned[1].verdict.reasons[0].message
    assert begun == [str(tmp_path / "good.pkl")]


def test_links_are_followed_within_the_directory_only(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    (hub / "blobs").mkdir(parents=True)
    (hub / "snapshot").mkdir()
    (hub / "blobs" / "0a1b").write_bytes(json.dumps({"class_name": "Lambda", "config": {}}).encode())
    (hub / "snapshot" / "config.json").symlink_to("../blobs/0a1b")
    (hub / "snapshot" / "all").symlink_to("../blobs")
    (hub / "snapshot" / "outside.pkl").symlink_to(tmp_path / "other.pkl")
    (tmp_path / "other.pkl").write_bytes(with_proto(b"]."))
    assert by_name([hub]) == {
        "0a1b": ("unsafe", "keras-code"),
        "config.json": ("unsafe", "keras-code"),
        "outside.pkl": ("unreadable", "unreadable"),
    }


def test_settings_that_describe_no_model_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"name": "x"}')
    (tmp_path / "notes.xml").write_text("<notes/>")
    with zipfile.ZipFile(tmp_path / "docs.zip", "w") as archive:
        archive.writestr("a.txt", "text")
    scanned, skipped = scan_paths([tmp_path], ask_others=False)
    assert ([Path(one.path).name for one in scanned], skipped) == (["docs.zip"], 2)
