"""Making the virtual environment: when it is current, when it is made anew, and what is said when it cannot be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from infra import environment


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of its own with locks, where every program that is called is only noted."""
    real = Path(environment.__file__).resolve().parent.parent
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    for name in ("ENVIRONMENT", "PYTHON", "REQUIREMENTS"):
        monkeypatch.setattr(environment, name, tmp_path / getattr(environment, name).relative_to(real))
    (tmp_path / "requirements").mkdir()
    for path in (real / "requirements").iterdir():
        (tmp_path / "requirements" / path.name).write_text("# " + path.name)
    (tmp_path / "pyproject.toml").write_text("")
    return tmp_path


class Calls:
    """Stands in for subprocess.run; `failing` names words whose commands fail."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.commands: list[str] = []
        self.failing: set[str] = set()

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        line = " ".join(command)
        self.commands.append(line)
        if "-m venv" in line:
            (self.root / ".venv" / "bin").mkdir(parents=True)
        return subprocess.CompletedProcess(command, int(any(word in line for word in self.failing)))


@pytest.fixture
def calls(root: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    made = Calls(root)
    monkeypatch.setattr(subprocess, "run", made)
    return made


def make(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["environment.py", *arguments])
    environment.main()


def test_made_once(calls: Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    make(monkeypatch)
    assert any("-m venv" in line for line in calls.commands)
    assert any("--require-hashes" in line for line in calls.commands)
    first = len(calls.commands)
    make(monkeypatch)
    assert len(calls.commands) == first, "the second time nothing is done"
    assert capsys.readouterr().out.split() == [str(environment.PYTHON)] * 2


@pytest.mark.parametrize("name", ["requirements/dev.lock", "requirements/uv.lock", "pyproject.toml"])
def test_made_anew_when_a_lock_changes(name: str, root: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    make(monkeypatch)
    (root / ".venv" / "stale").touch()
    (root / name).write_text("other")
    make(monkeypatch)
    assert not (root / ".venv" / "stale").exists()


def test_half_made_environment_is_made_anew(root: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    calls.failing = {"--editable"}
    with pytest.raises(SystemExit):
        make(monkeypatch)
    calls.failing = set()
    calls.commands.clear()
    make(monkeypatch)
    assert any("-m venv" in line for line in calls.commands)


def test_pip_is_asked_where_uv_cannot(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    calls.failing = {"uv pip install"}
    make(monkeypatch)
    assert any("-m pip install" in line and "dev.lock" in line for line in calls.commands)


@pytest.mark.parametrize(
    ("failing", "said"), [("-m venv", "python3-venv"), ("-m pip install", "package index")], ids=["venv", "index"]
)
def test_says_what_is_missing(failing: str, said: str, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    calls.failing = {failing}
    with pytest.raises(SystemExit) as exit_:
        make(monkeypatch)
    assert said in str(exit_.value.code)


def test_privacy_extra_is_kept_apart(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    make(monkeypatch)
    assert not any("torch.lock" in line for line in calls.commands)
    make(monkeypatch, "--privacy")
    assert any("torch.lock" in line for line in calls.commands)
    first = len(calls.commands)
    make(monkeypatch, "--privacy")
    assert len(calls.commands) == first


@pytest.mark.parametrize("version", [(3, 10, 1), (3, 12, 0), (3, 13, 1)])
def test_other_python_is_told_how_to_name_the_right_one(
    version: tuple[int, ...], calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    with pytest.raises(SystemExit) as exit_:
        make(monkeypatch)
    assert "make PYTHON=python3.11" in str(exit_.value.code)
    assert calls.commands == []
