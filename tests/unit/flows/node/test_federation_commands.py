"""Admissions and withdrawal lists at the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from console.terminal.app import app
from flows.acceptance import Papers
from flows.decide import withdraw
from pratique.clock import system_clock
from pratique.errors import PratiqueError
from tests.unit.flows.node.federations import Federation
from tests.unit.flows.node.homes import ANNA, Home


def test_the_commands(federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the hub's withdrawal list and admission, as files, to the node's list of admissions and back."""
    federation.hub.moment = federation.node.moment = system_clock()
    federation.admitted()

    def call(home: Home, *arguments: str) -> Result:
        monkeypatch.setenv("PRATIQUE_ORIGIN", home.origin)
        settings = home.node().settings
        return CliRunner().invoke(app, [*arguments, "--home", str(settings.home), "--policy", str(settings.policy)])

    papers, note = str(tmp_path / "papers"), str(tmp_path / "list")
    done = [
        call(federation.hub, "admissions", "export", "scorer", "-o", papers),
        call(federation.hub, "withdrawals", "export", "-o", note),
        call(federation.node, "withdrawals", "import", note),
        call(federation.node, "admissions", "import", papers),
        call(federation.node, "admissions", "list", "--format", "json"),
    ]
    assert [result.exit_code for result in done] == [0] * 5, [result.output for result in done]
    assert json.loads(done[-1].stdout)[0]["holds"] is True
    assert federation.hub.tool().image_digest in call(federation.node, "export", "vantage6").stdout
    withdraw(federation.hub.node(), "scorer", ANNA)
    assert call(federation.hub, "withdrawals", "export", "-o", note).exit_code == 0
    taken = call(federation.node, "withdrawals", "import", note)
    assert "1 of them new" in taken.stdout
    assert federation.hub.tool().image_digest not in call(federation.node, "export", "vantage6").stdout
    assert "scorer 1.0.0" in call(federation.node, "withdrawals", "show").stdout
    assert "✗ scorer" in call(federation.node, "admissions", "list").stdout
    refused = call(federation.node, "admissions", "import", papers)
    assert (refused.exit_code, "rule: admission/withdrawn" in refused.output) == (1, True)
    assert call(federation.node, "withdrawals", "import", papers).exit_code == 1
    assert call(federation.hub, "admissions", "export", "scorer", "-o", papers).exit_code == 2


@pytest.mark.parametrize("problem", ["no admission", "too many files", "in use", "a symlink"])
def test_directories_that_hold_no_papers(federation: Federation, tmp_path: Path, problem: str) -> None:
    """Said, and nothing is read or overwritten."""
    papers = federation.admitted()
    directory = tmp_path / "papers"
    papers.write(directory)
    if problem == "in use":
        with pytest.raises(PratiqueError, match="in use"):
            papers.write(directory)
        return
    if problem == "no admission":
        (directory / "admission.json").unlink()
    elif problem == "a symlink":
        (directory / "admission.json").unlink()
        (directory / "admission.json").symlink_to("/etc/passwd")
    else:
        for number in range(20):
            (directory / str(number)).write_bytes(b"x")
    with pytest.raises(PratiqueError):
        Papers.read(directory)
