"""Every form that `inspect`, `vulns` and `scan-model` write is what its specification asks for, and written whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.interface import Finding, Level
from console.report import render
from console.report.sarif import sarif_of
from console.terminal.progress import Patience
from tests.unit.console.contents import EVIL, WIDGET, bill, honest, image, package, pratique
from tests.unit.console.reports import report

SCHEMAS = Path(__file__).resolve().parents[2] / "assets" / "schemas"
FLAWED = {**WIDGET, "purl": "pkg:pypi/widget@1.9"}


@cache
def sarif_schema() -> jsonschema.Draft4Validator:
    return jsonschema.Draft4Validator(json.loads((SCHEMAS / "sarif-2.1.0-rtm.5.json").read_bytes()))


def valid_sarif(text: str) -> dict[str, Any]:
    """The one run of a SARIF log that its schema accepts."""
    log = json.loads(text)
    assert [error.message for error in sarif_schema().iter_errors(log)] == []
    (run,) = log["runs"]
    assert isinstance(run, dict)
    return run


def test_the_schema_finds_faults() -> None:
    log = json.loads(sarif_of([], {}, complete=True))
    log["runs"][0]["results"] = [{"level": "fatal"}]
    assert len(list(sarif_schema().iter_errors(log))) > 0


# --- SARIF -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("command", ["inspect", "vulns", "scan-model"])
def test_sarif_is_valid(command: str, tmp_path: Path) -> None:
    layout = image(tmp_path, *package("widget", "1.0"), ("app/main.py", b"import os\nos.system('x')\n"))
    (tmp_path / "m.pkl").write_bytes(EVIL)
    found = pratique(command, tmp_path / "m.pkl" if command == "scan-model" else layout, "--format", "sarif", "-q")
    assert found.exit_code == 1
    run = valid_sarif(found.stdout)
    assert any(result["level"] == "error" for result in run["results"])
    assert {result["ruleId"] for result in run["results"]} == {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert run["invocations"] == [{"executionSuccessful": True}]


def test_the_sarif_of_a_report_is_valid(tmp_path: Path) -> None:
    valid_sarif(render(report(), "sarif", tmp_path))


def test_sarif_says_that_a_run_could_not_decide(home: Path, tmp_path: Path) -> None:
    (home / "advisories" / "index.json").unlink()
    (tmp_path / "bill.json").write_bytes(bill(WIDGET))
    (tmp_path / "empty").mkdir()
    for arguments in (
        ("vulns", tmp_path / "bill.json"),
        ("inspect", honest(tmp_path)),
        ("scan-model", tmp_path / "empty"),
    ):
        found = pratique(*arguments, "--format", "sarif", "-q")
        assert found.exit_code == 3
        assert valid_sarif(found.stdout)["invocations"] == [{"executionSuccessful": False}]


TEXT = st.text(max_size=30) | st.sampled_from(["\x1b[2J", "\u202e", "/a b/c:7", "/x:0", "<script>", "\0", "/%:1", ""])


FINDINGS = st.builds(
    Finding, rule_id=st.sampled_from(["a/b", "c/d-1"]), level=st.sampled_from(Level), message=TEXT, where=TEXT, fix=TEXT
)


@given(st.lists(FINDINGS, max_size=5))
@settings(max_examples=12, deadline=None)
def test_any_findings_are_valid_sarif(findings: list[Finding]) -> None:
    assert len(valid_sarif(sarif_of(findings, {}, complete=True))["results"]) == len(findings)


# --- CycloneDX and in-toto -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("home")
def test_vulnerabilities_as_cyclonedx_are_valid_whatever_they_are_of(tmp_path: Path) -> None:
    odd = {**FLAWED, "purl": "pkg:pypi/widget@%3Cb%3E%20x"}
    (tmp_path / "bill.json").write_bytes(bill(FLAWED, odd, {**WIDGET, "purl": "pkg:golang/x/y@1"}))
    found = pratique("vulns", tmp_path / "bill.json", "--format", "cyclonedx")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(found.stdout) is None
    (vulnerability,) = json.loads(found.stdout)["vulnerabilities"]
    assert {one["ref"] for one in vulnerability["affects"]} == {FLAWED["purl"], odd["purl"]}


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("form", ["json", "sarif", "cyclonedx", "in-toto"])
def test_what_programs_read_drives_no_screen(form: str, tmp_path: Path) -> None:
    """U+009B begins a command to many terminals, U+202E turns a line round; JSON lets both stand as they are."""
    odd = {**FLAWED, "name": "widget\x9b2J\u202e", "purl": "pkg:pypi/widget@1.9%C2%9B2J%E2%80%AE"}
    (tmp_path / "bill.json").write_bytes(bill(odd, {**WIDGET, "name": "\x9b2J\u202e", "purl": "pkg:pypi/%C2%9B@1"}))
    found = pratique("vulns", tmp_path / "bill.json", "--format", form).stdout
    assert found.isascii()
    assert json.loads(found)


def moment(text: str) -> datetime:
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("purl", ["pkg:pypi/widget@1.9", "pkg:pypi/widget@2.0"])
def test_an_in_toto_statement_has_every_field_of_the_predicate_vulns(purl: str, tmp_path: Path) -> None:
    """https://github.com/in-toto/attestation/blob/main/spec/predicates/vulns_02.md, field by field."""
    (tmp_path / "bill.json").write_bytes(bill({**WIDGET, "purl": purl}))
    statement = json.loads(pratique("vulns", tmp_path / "bill.json", "--format", "in-toto").stdout)
    assert statement.keys() == {"_type", "subject", "predicateType", "predicate"}
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://in-toto.io/attestation/vulns/v0.2"
    (subject,) = statement["subject"]
    assert len(bytes.fromhex(subject["digest"]["sha256"])) == 32
    scanner, metadata = statement["predicate"]["scanner"], statement["predicate"]["metadata"]
    assert scanner["uri"].startswith("https://")
    assert isinstance(scanner["version"], str)
    assert scanner["db"]["uri"].startswith("https://")
    assert isinstance(scanner["db"]["version"], str)
    moment(scanner["db"]["lastUpdate"])
    assert moment(metadata["scanStartedOn"]) <= moment(metadata["scanFinishedOn"])
    assert [result["id"] for result in scanner["result"]] == (["CVE-2024-1"] if purl.endswith("1.9") else [])
    for result in scanner["result"]:
        assert result["severity"] == [
            {"method": "qualitative", "score": "critical"},
            {"method": "CVSSv31", "score": "9.8"},
        ]
        assert all(isinstance(note, dict) for note in result["annotations"])


# --- where results go ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("home")
def test_a_result_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path, output = tmp_path / "bill.json", tmp_path / "out" / "result.json"
    path.write_bytes(bill(WIDGET))
    output.parent.mkdir()
    output.write_text("before")
    os.link(output, tmp_path / "reader")  # who has it open keeps what was there
    assert pratique("vulns", path, "--format", "json", "-o", output).exit_code == 0
    assert json.loads(output.read_text())["status"] == "passed"
    assert (tmp_path / "reader").read_text() == "before"
    assert [path.name for path in output.parent.iterdir()] == ["result.json"]


LINKED: dict[str, tuple[str, ...]] = {
    "result": ("vulns", "bill.json", "-o"),
    "withdrawal list": ("withdrawals", "export", "-o"),
    "log": ("sandbox", "run", "image.tar", "--log"),
}


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("command", LINKED.values(), ids=LINKED)
@pytest.mark.parametrize("there", [True, False], ids=["file", "nothing yet"])
@pytest.mark.parametrize("root", ["/", "/proc/self/root"])
def test_a_result_does_not_follow_a_link(
    command: tuple[str, ...], there: bool, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that a provider filled it could lead to any file of the person's; told before the work.

    Where the system has links of its own, not every link is one of them: /dev/shm is everybody's.
    """
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "precious"
    if there:
        target.write_text("kept")
    (tmp_path / "link").symlink_to(target)
    found = pratique(*command, Path(root, *tmp_path.parts[1:], "link"))
    assert found.exit_code == 2
    assert "is a link" in " ".join(found.stderr.split())
    assert (target.read_text() == "kept") if there else not target.exists()


@pytest.mark.usefixtures("home")
def test_a_result_goes_where_the_system_leads(tmp_path: Path) -> None:
    """`/dev/stdout` is a link too, to a pipe or to a file, where what was there before is not ours to remove."""
    (tmp_path / "bill.json").write_bytes(bill(WIDGET))
    command = [sys.executable, "-c", "from console.terminal.app import main; main()", "vulns", "bill.json"]
    command += ["--format", "json", "-o", "/dev/stdout"]
    (tmp_path / "result").write_bytes(b"before\n")
    with (tmp_path / "result").open("ab") as stream:
        subprocess.run(command, cwd=tmp_path, stdout=stream, timeout=60, check=False)
    piped = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, timeout=60, check=False)
    before, _, result = (tmp_path / "result").read_bytes().partition(b"\n")
    assert before == b"before"
    for told in (piped.stdout, result):
        assert "status" in json.loads(told)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("output", ["missing/result.json", "."])
def test_a_result_without_a_place_is_told_before_the_work(output: str, tmp_path: Path) -> None:
    found = pratique("vulns", tmp_path / "nothing.json", "-o", tmp_path / output)
    assert found.exit_code == 2
    assert "disk space" not in found.stderr
    assert "nothing.json" not in found.stderr


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("command", [("vulns", "nothing.json"), ("withdrawals", "export")], ids=" ".join)
def test_a_directory_in_which_nobody_may_write_is_told_before_the_work(command: tuple[str, ...]) -> None:
    found = pratique(*command, "-o", "/proc/result.json")  # where not even root makes a file
    assert found.exit_code == 2
    assert "nothing can be written in '/proc'" in " ".join(found.stderr.split())
    assert "nothing.json" not in found.stderr


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("name", ["nothere.json", "./nothere.json", "registry.example/tool:1.0"])
def test_what_is_neither_an_sbom_nor_an_image_is_told_as_either(name: str) -> None:
    found = pratique("vulns", name)
    assert found.exit_code == 2
    assert f"neither an SBOM nor an image '{name}'" in found.stderr
    assert "SPDX" in found.stderr


@pytest.mark.usefixtures("home")
def test_a_device_takes_a_result_in_a_directory_of_others(tmp_path: Path) -> None:
    (tmp_path / "bill.json").write_bytes(bill(WIDGET))
    assert pratique("vulns", tmp_path / "bill.json", "-o", "/dev/null").exit_code == 0


@pytest.mark.usefixtures("home")
def test_a_reader_that_goes_away_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "bill.json").write_bytes(
        bill(*({**WIDGET, "purl": f"pkg:pypi/p{number}@1.0"} for number in range(3000)), FLAWED)
    )
    command = [sys.executable, "-c", "from console.terminal.app import main; main()", "vulns", "--format", "cyclonedx"]
    process = subprocess.Popen(
        [*command, str(tmp_path / "bill.json")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ}
    )
    process.stdout.close()  # type: ignore[union-attr]
    told = process.stderr.read()  # type: ignore[union-attr]
    assert process.wait(timeout=60) != 0
    assert b"Traceback" not in told


def test_what_takes_long_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("console.terminal.progress._FIRST", 0.01)
    told = ""
    with Patience("still reading \x1b[2J"):
        while not told:
            told = capsys.readouterr().err
    assert told == "still reading \ufffd[2J\n"
    with Patience("still reading", quiet=True):
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


JUNK: dict[str, bytes] = {
    "text": b"not an SBOM at all\n",
    "a list": b"[1, 2",
    "a string": b'"CycloneDX"',
    "nothing": b"",
    "zeros": bytes(5000),
    "noise": bytes(range(256)) * 20,
    "UTF-16": '{"bomFormat": "CycloneDX"}'.encode("utf-16"),
}


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("case", JUNK)
def test_a_file_that_is_nothing_is_told_as_that(case: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(JUNK[case])
    found = pratique("vulns", tmp_path / "file")
    assert (found.exit_code, "neither an SBOM nor an archive" in found.stderr) == (1, True)
    for command in ("inspect", "sbom"):
        found = pratique(command, tmp_path / "file")
        assert (found.exit_code, "no archive of an image" in found.stderr) == (1, True)


@pytest.mark.usefixtures("home")
def test_an_empty_bill_says_why_nothing_was_decided(tmp_path: Path) -> None:
    (tmp_path / "bill.json").write_bytes(bill())
    found = pratique("vulns", tmp_path / "bill.json")
    assert found.exit_code == 3
    assert "vulnerabilities/nothing-listed" in found.stdout
