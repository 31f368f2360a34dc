"""The command line: exit codes, where output goes, help, and what is imported when."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from checks.interface import CheckResult, Status
from console.terminal.app import app
from console.terminal.failures import explain, explained, report_crash
from console.terminal.progress import Progress
from flows.files import write_whole
from policies.load import DEFAULT_POLICY
from pratique.errors import CouldNotDecide, InvalidInput, NotAuthorised, PratiqueError, Refused, UsageError
from tests.assets.submissions import tiny_archive, write_submission
from tests.unit.console.reports import ANSI, HOSTILE, report, result

PRATIQUE = [sys.executable, "-c", "from console.terminal.app import main; main()"]
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
DEAD_ENGINE = "unix:///nonexistent/docker.sock"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, no engine, and nothing of the user's environment."""
    for name in [name for name in os.environ if name.startswith(("PRATIQUE_", "PREFECT_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PRATIQUE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DOCKER_HOST", DEAD_ENGINE)
    return tmp_path / "home"


@pytest.fixture(scope="session")
def submission(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny")
    return write_submission(directory / "submission", tiny_archive(directory))


def pratique(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group, as the words that call it."""
    command = command or typer.main.get_command(app)
    yield path
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*path, name))


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    done = pratique(*path, "--help")
    assert done.exit_code == 0
    assert done.stdout.startswith("Usage: ")
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert any(len(line) > 30 for line in lines[1:]), "it says what it does"
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_help_names_the_exit_codes_and_cuts_nothing_off(path: tuple[str, ...]) -> None:
    """Of every command; a group tells what each of its commands is for, in whole sentences at 80 columns."""
    done = CliRunner(env={"COLUMNS": "80"}).invoke(app, [*path, "--help"])
    words = " ".join(done.stdout.split())
    is_group = "COMMAND [ARGS]" in words
    assert "130 interrupted" in words or (is_group and path)
    assert not is_group or "..." not in words.replace("COMMAND [ARGS]...", "")


WRONG_USAGE: dict[str, tuple[str, ...]] = {
    "a form that a status has not": ("advisories", "status", "--format", "sarif"),
    "a form that a list has not": ("admissions", "list", "--format", "html"),
    "no command": (),
    "unknown command": ("nope",),
    "unknown option": ("precheck", ".", "--nope"),
    "no submission": ("precheck",),
    "no submission to onboard": ("onboard",),
    "submission that is not there": ("precheck", "/nonexistent"),
    "onboarding what is not there": ("onboard", "/nonexistent"),
    "submission that is a file": ("precheck", "/etc/hostname"),
    "unknown format": ("precheck", ".", "--format", "pdf"),
    "policy that is not there": ("precheck", ".", "--policy", "/nonexistent"),
    "home that is a file": ("precheck", ".", "--home", "/etc/hostname"),
    "group without command": ("log",),
    "other group without command": ("advisories",),
    "admit without run": ("admit",),
    "admit without reason": ("admit", "20260101T000000-0badcafe", "--as", "a@b.example"),
    "admit without person": ("admit", "20260101T000000-0badcafe", "--reason", "r"),
    "admit without a word": ("admit", "20260101T000000-0badcafe", "--reason", " ", "--as", "a@b.example"),
    "withdraw without a word": ("withdraw", "tool", "--reason", "", "--as", "a@b.example"),
    "a key that is not there": ("refuse", "x", "--reason", "r", "--as", "a@b.example", "--key", "/nonexistent"),
    "a key that is none": ("refuse", "x", "--reason", "r", "--as", "a@b.example", "--key", "/etc/hostname"),
    "a new key where a file is": ("key", "new", "/etc/hostname", "--as", "a@b.example"),
    "a key for nobody": ("key", "new", "/nonexistent/key", "--as", "two words"),
    "a policy where a file is": ("policy", "new", "/etc/hostname"),
    "group for keys without command": ("key",),
    "an unset variable for the submission": ("precheck", ""),
    "an unset variable for a model": ("scan-model", ""),
    "an unset variable for the image": ("inspect", ""),
    "an unset variable for the home": ("admissions", "list", "--home", ""),
    "an unset variable for the policy": ("admissions", "list", "--policy", ""),
    "a submission that is not there": ("precheck", "/nonexistent"),
    "a submission that is a file": ("onboard", "/etc/hostname"),
    "nothing and everything at once": ("precheck", ".", "--static", "--all"),
    "the key of a node that has none": ("key", "show"),
    "an admission in a file": ("admissions", "import", "/etc/hostname"),
    "an admission from nowhere": ("admissions", "import", "/nonexistent"),
    "an image that no path can name": ("vulns", "x" * 5000),
    "admit where there is no ledger": ("admit", "20260101T000000-0badcafe", "--reason", "r", "--as", "a@b.example"),
    "report of nothing": ("report",),
    "report of an unknown run": ("report", "20260101T000000-0badcafe"),
    "report of a path": ("report", "../../../etc"),
    "report with a huge name": ("report", "x" * 5000),
    "report with control characters": ("report", "\x1b[31m"),
    "log verify without ledger": ("log", "verify"),
    "log show without ledger": ("log", "show"),
    "log show of no number": ("log", "show", "one"),
    "log show of a negative entry": ("log", "show", "--", "-1"),
    "advisories without date": ("advisories", "import", "/etc/hostname"),
    "advisories of no date": ("advisories", "import", "/etc/hostname", "--date", "yesterday"),
    "advisories that are not there": ("advisories", "import", "/nonexistent", "--date", "2026-01-01"),
    "down with an argument": ("down", "now"),
}


@pytest.mark.parametrize("arguments", WRONG_USAGE.values(), ids=WRONG_USAGE)
def test_wrong_usage_exits_with_2_and_says_why_on_standard_error(arguments: tuple[str, ...], home: Path) -> None:
    done = pratique(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert len(done.stderr) > 20
    assert not CONTROLS.search(done.stderr.replace("\n", ""))
    assert len(done.stderr) < 3000


def test_log_verify_with_a_key_that_is_none(home: Path) -> None:
    (home / "ledger").mkdir(parents=True)
    assert pratique("log", "verify", "--key", "garbage").exit_code in (1, 2)


def test_advisories_status_cannot_decide_without_a_snapshot(home: Path) -> None:
    done = pratique("advisories", "status")
    assert done.exit_code == 3
    assert "pratique advisories import" in done.stderr


def test_advisories_that_are_none_are_refused(home: Path) -> None:
    done = pratique("advisories", "import", "/etc/hostname", "--date", "2026-01-01", "--ecosystem", "PyPI")
    assert done.exit_code == 1
    assert "rule: advisories/" in done.stderr


def test_doctor_finds_what_is_missing_and_says_how_to_mend_it(home: Path) -> None:
    done = pratique("doctor")
    assert done.exit_code == 3
    assert "✗ engine" in done.stdout
    assert done.stdout.count("fix: ") >= 3
    points = json.loads(pratique("doctor", "--format", "json").stdout)
    assert {point["subject"] for point in points} >= {"engine", "policy", "advisories", "disk", "ledger", "server"}
    assert all(point["fix"] for point in points if point["good"] is False)


def test_doctor_tells_a_mistake_in_the_policy_once(home: Path, tmp_path: Path) -> None:
    broken = tmp_path / "policy.yaml"
    broken.write_text("apiVersion: pratique/policy/v1\nname: [\n")
    points = {
        one["subject"]: one for one in json.loads(pratique("doctor", "--format", "json", "--policy", broken).stdout)
    }
    assert str(broken) in points["policy"]["message"]
    for subject in ("advisories", "rescan"):
        assert (points[subject]["good"], points[subject]["message"]) == (
            False,
            "it cannot be judged without the policy",
        )
        assert "policy" in points[subject]["fix"]


def test_a_policy_of_ones_own_begins_with_the_files_that_it_pins(home: Path, tmp_path: Path) -> None:
    """It is the shipped one, and doctor notices when a file beside it is lost."""
    own = tmp_path / "node" / "policy.yaml"
    assert pratique("policy", "new", own).exit_code == 0
    assert own.read_bytes() == DEFAULT_POLICY.read_bytes()
    assert pratique("policy", "new", own.with_name("second.yaml")).exit_code == 0, "the pinned files are there already"
    assert "pinned file" not in pratique("doctor", "--policy", own).stdout
    (own.parent / "sigstore-public-good.json").unlink()
    assert "✗ pinned file: the trusted root sigstore-public-good.json" in pratique("doctor", "--policy", own).stdout
    own.with_name("sigstore-public-good.json").write_text("{}")
    assert pratique("policy", "new", own.with_name("third.yaml")).exit_code == 2, "another file is in the way"


@pytest.mark.parametrize("name", ["policy.yaml", "sigstore-public-good.json"])
def test_a_new_policy_is_written_through_no_link(name: str, home: Path, tmp_path: Path) -> None:
    """Also one that leads to nothing yet."""
    directory, elsewhere = tmp_path / "node", tmp_path / "elsewhere"
    directory.mkdir()
    (directory / name).symlink_to(elsewhere)
    assert pratique("policy", "new", directory / "policy.yaml").exit_code == 2
    assert not elsewhere.exists()


def test_down_without_a_server_is_no_error(home: Path) -> None:
    done = pratique("down")
    assert done.exit_code == 0
    assert "no server was running" in done.stderr


@pytest.mark.parametrize("content", ["", "- a\n", "rules: []\n", "apiVersion: pratique/policy/v1\nname: x\nrules: 7\n"])
def test_policy_that_cannot_be_applied_is_the_nodes_mistake(
    content: str, home: Path, submission: Path, tmp_path: Path
) -> None:
    (tmp_path / "policy.yaml").write_text(content)
    done = pratique("precheck", submission, "--policy", tmp_path / "policy.yaml")
    assert done.exit_code == 2
    assert "error: " in done.stderr
    assert "refused" not in done.stderr


def test_setting_out_of_range_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRATIQUE_ORIGIN", "NOT AN ORIGIN")
    done = pratique("report")
    assert done.exit_code == 2
    assert "PRATIQUE_ORIGIN" in done.stderr


# --- results and progress --------------------------------------------------------------------------------------------


def test_static_precheck_answers_on_standard_output_and_tells_on_standard_error(home: Path, submission: Path) -> None:
    done = pratique("precheck", "--static", submission, "--format", "json")
    assert done.exit_code == 1
    answer = json.loads(done.stdout)
    assert answer["verdict"]["outcome"] == "refuse"
    assert all(answer["checks"][name]["status"] == "inconclusive" for name in ("conformance", "canaries", "membership"))
    assert "manifest" in done.stderr
    assert not (home / "ledger").exists(), "a precheck records nothing"
    assert not (home / "runs").exists()
    assert list((home / "work").iterdir()) == [], "no scratch stays"


def test_a_provider_may_hear_everything_before_the_tool_is_signed(home: Path, submission: Path) -> None:
    """A rule that refuses before execution leaves the rest unasked, unless it is one's own tool and machine."""
    gated = pratique("precheck", submission, "-q")
    assert "refused before execution by the rule" in gated.stdout
    done = pratique("precheck", submission, "--all")
    assert done.exit_code == gated.exit_code == 1, "the verdict is the same"
    assert "the tool was not run" not in done.stderr
    assert "refused before execution" not in done.stdout
    assert "no container engine answers" in done.stdout, "it was asked for"


def test_a_tool_that_is_not_run_hears_why(home: Path, submission: Path, tmp_path: Path) -> None:
    """Only a refusal before execution can be overruled on one's own machine."""
    gated = pratique("precheck", submission)
    assert "the tool was not run: refused before execution by the rule" in gated.stderr
    assert "--all runs it" in gated.stderr
    own = tmp_path / "asks-for-more"
    shutil.copytree(submission, own)
    with (own / "submission.yaml").open("a") as stream:
        stream.write("sandbox: {profile: gosu}\n")
    done = pratique("precheck", own, "--all")
    assert "the tool was not run: the sandbox profile gosu is asked for" in done.stderr
    assert "--all runs it" not in done.stderr


def test_onboarding_tells_a_mistake_before_it_starts_a_server(home: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    begun = time.monotonic()
    done = pratique("onboard", tmp_path / "empty")
    assert time.monotonic() - begun < 8
    assert done.exit_code == 1
    assert "rule: file/missing" in done.stderr
    assert not (home / "ledger").exists()


def test_quiet_is_quiet(home: Path, submission: Path) -> None:
    assert pratique("precheck", "--static", submission, "-q").stderr == ""


def test_output_goes_to_a_file(home: Path, submission: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    done = pratique("precheck", "--static", submission, "-q", "--format", "html", "-o", target)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert target.read_text().startswith("<!doctype html>")


def test_output_to_a_dash_is_standard_output(
    home: Path, submission: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = pratique("precheck", "--static", submission, "-q", "--format", "html", "-o", "-")
    assert done.stdout.startswith("<!doctype html>")
    assert not (tmp_path / "-").exists()


def test_version_is_told(home: Path) -> None:
    done = pratique("--version")
    assert (done.exit_code, done.stderr) == (0, "")
    assert re.fullmatch(r"pratique \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.parametrize("name", ["HOME", "POLICY"])
def test_setting_that_is_empty_is_not_the_current_directory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"PRATIQUE_{name}", "")
    monkeypatch.chdir(tmp_path)
    done = pratique("rescan")
    assert done.exit_code == 2
    assert f"PRATIQUE_{name} cannot be used: it is empty" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_looking_at_withdrawals_founds_no_ledger(home: Path) -> None:
    """The first entry fixes the node's name for good."""
    assert pratique("withdrawals", "show").exit_code == 0
    assert pratique("admissions", "list").exit_code == 0
    assert not (home / "ledger").exists()
    assert not (home / "keys").exists()


def test_pipe_that_nothing_came_through_has_found_nothing_out(home: Path) -> None:
    """As when the program before it failed."""
    done = CliRunner().invoke(app, ["vulns", "-"], input=b"")
    assert done.exit_code == 3
    assert "before the pipe" in done.stderr


def test_where_no_model_is_found_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("words")
    done = pratique("scan-model", tmp_path)
    assert done.exit_code == 3
    assert "nothing to judge" in done.stderr


def test_doctor_tells_a_home_that_cannot_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("DOCKER_HOST", DEAD_ENGINE)
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        points = {
            one["subject"]: one for one in json.loads(pratique("doctor", "--home", home, "--format", "json").stdout)
        }
        assert points["state directory"]["good"] is False
        assert "--home" in points["state directory"]["fix"]


def test_output_without_a_place_is_wrong_usage_and_told_before_the_work(home: Path, submission: Path) -> None:
    done = pratique("precheck", "--static", submission, "-o", "/nonexistent/directory/report")
    assert done.exit_code == 2
    assert "/nonexistent/directory" in done.stderr
    assert "manifest" not in done.stderr


def test_output_that_cannot_be_written_decides_nothing(home: Path, submission: Path) -> None:
    done = pratique("precheck", "--static", submission, "-q", "-o", "/dev/full")
    assert done.exit_code == 3
    assert "No space left" in done.stderr


@pytest.mark.parametrize("form", ["human", "json", "sarif", "markdown", "html"])
def test_report_is_shown_again_in_every_form(form: str, home: Path) -> None:
    made = report(HOSTILE["all"])
    (home / "runs" / made.run_id).mkdir(parents=True)
    write_whole(home / "runs" / made.run_id / "report.json", made.to_json())
    for run in (made.run_id, "latest"):
        done = pratique("report", run, "--format", form)
        assert done.exit_code == 0
        assert done.stderr == ""
        assert "refuse" in done.stdout.lower()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"api_version": "pratique/report/v2"}', "\x00", "[" * 100_000])
def test_report_that_cannot_be_read_decides_nothing(content: str, home: Path) -> None:
    directory = home / "runs" / "20260102T030405-0badcafe"
    directory.mkdir(parents=True)
    (directory / "report.json").write_text(content)
    done = pratique("report")
    assert done.exit_code == 3
    assert "cannot be read" in done.stderr


# --- errors ----------------------------------------------------------------------------------------------------------

ERRORS: dict[int, PratiqueError | BaseException] = {
    1: Refused("no"),
    2: UsageError("no"),
    3: CouldNotDecide("no"),
    4: NotAuthorised("no"),
    130: KeyboardInterrupt(),
}


@pytest.mark.parametrize("code", ERRORS)
def test_exit_code_follows_the_error(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    @explained
    def command() -> None:
        raise ERRORS[code]

    with pytest.raises(typer.Exit) as exit_:
        command()
    assert exit_.value.exit_code == code
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), PermissionError("not yours")])
def test_failing_machine_is_undecided(error: OSError, capsys: pytest.CaptureFixture[str]) -> None:
    @explained
    def command() -> None:
        raise error

    with pytest.raises(typer.Exit) as exit_:
        command()
    assert exit_.value.exit_code == 3
    assert "next: " in capsys.readouterr().err


@pytest.mark.parametrize("text", [*HOSTILE.values(), "x" * 1_000_000], ids=[*HOSTILE, "enormous"])
def test_errors_do_not_drive_or_flood_the_terminal(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    explain(InvalidInput(text, rule=text, where=text, cause=text, next_step=text))
    said = capsys.readouterr().err
    assert said.count("\n") == 3
    assert not CONTROLS.search(said.replace("\n", ""))
    assert len(said) < 10_000


def test_an_error_is_a_record_where_json_was_asked_for(home: Path) -> None:
    """One JSON object on standard output, and the words on standard error as ever."""
    done = pratique("report", "20260101T000000-0badcafe", "--format", "json")
    error = json.loads(done.stdout)["error"]
    assert (done.exit_code, error["exit_code"]) == (2, 2)
    assert error["message"] in done.stderr and error["next_step"] in done.stderr
    assert pratique("report", "20260101T000000-0badcafe").stdout == ""


def test_crash_is_told_from_a_refusal(capsys: pytest.CaptureFixture[str]) -> None:
    assert report_crash(ValueError("oops")) == 3
    said = capsys.readouterr().err
    assert "Pratique itself failed" in said
    assert "oops" in said


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_progress_does_not_drive_the_terminal(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress.say(text)
        progress.started("manifest")
        progress.finished(result(text))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 2
    assert not CONTROLS.search(captured.err.replace("\n", ""))


def test_progress_marks_every_status(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        for status in Status:
            progress.finished(CheckResult(check="manifest", version="1", status=status, summary="s"), cached=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == ["✓", "✗", "?", "–"]
    assert all("cached" in line for line in lines)


# --- as a program ----------------------------------------------------------------------------------------------------


def run(*arguments: str | Path, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PRATIQUE_", "PREFECT_"))}
    return subprocess.run(
        [*PRATIQUE, *map(str, arguments)],
        env={**clean, "PRATIQUE_HOME": str(home), "DOCKER_HOST": DEAD_ENGINE, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}, {"FORCE_COLOR": "", "NO_COLOR": "1"}])
def test_no_colour_where_nobody_sees_it(environment: dict[str, str], tmp_path: Path, submission: Path) -> None:
    done = run("precheck", "--static", submission, home=tmp_path, **environment)
    assert done.returncode == 1
    assert "\x1b" not in done.stdout + done.stderr


def test_hostile_manifest_cannot_drive_the_terminal(tmp_path: Path, submission: Path) -> None:
    for name in ("submission.yaml", "image.tar", "in/patients.csv"):
        target = tmp_path / "s" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((submission / name).read_bytes())
    (tmp_path / "s" / "out").mkdir()
    manifest = (submission / "scorer.cwl").read_text()
    escape = ANSI.encode("unicode_escape").decode()
    (tmp_path / "s" / "scorer.cwl").write_text(manifest.replace("class: FEMTask", f'class: "{escape}"'))
    done = run("precheck", "--static", tmp_path / "s", home=tmp_path / "home")
    assert done.returncode == 1
    assert "rule: " in done.stderr
    assert not CONTROLS.search(done.stderr.replace("\n", ""))


@pytest.mark.parametrize("number", [1, 2], ids=["output", "error"])
def test_closed_stream_is_never_a_pass(number: int) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$@" {number}>&-', "sh", *PRATIQUE, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("command", "into"),
    [("precheck --static", "2>&1 | true"), ("precheck --static", "2>/dev/full"), ("chek", "2>/dev/full")],
    ids=["gone", "full", "usage"],
)
def test_what_nobody_could_read_is_neither_a_pass_nor_a_refusal(
    command: str, into: str, home: Path, submission: Path
) -> None:
    """A reader who went away (`2>&1 | head`) and a full disk leave the exit code of what could not be decided."""
    script = f'"$@" {command} {submission} {into}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", script, "bash", *PRATIQUE], capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stdout + done.stderr


def test_ctrl_c_before_a_command_begins_is_an_interrupt() -> None:
    """While the words are read, where no command can tell it: no traceback."""
    press = "def app(): raise KeyboardInterrupt\nimport console.terminal.app as it\nit.app = app\nit.main()"
    done = subprocess.run([sys.executable, "-c", press], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


def test_reader_who_goes_away_is_no_full_disk(capsys: pytest.CaptureFixture[str]) -> None:
    def unread() -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with pytest.raises(typer.Exit) as ended:
        explained(unread)()
    assert ended.value.exit_code == 3
    said = capsys.readouterr().err
    assert "stopped before its end" in said
    assert "disk" not in said


def imported(code: str) -> set[str]:
    """The modules that are loaded after `code`."""
    ask = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


HEAVY = {
    "prefect",
    "numpy",
    "docker",
    "sigstore",
    "pydantic",
    "httpx",
    "jinja2",
    "matplotlib",
    "sklearn",
    "cryptography",
}


def test_program_starts_without_what_only_some_commands_need() -> None:
    assert not HEAVY & imported("import console.terminal.app")


def test_precheck_never_imports_prefect(tmp_path: Path, submission: Path) -> None:
    code = f"""
import contextlib, io, os
os.environ["PRATIQUE_HOME"] = {str(tmp_path)!r}
from typer.testing import CliRunner
from console.terminal.app import app
done = CliRunner().invoke(app, ["precheck", "--static", {str(submission)!r}, "-q"])
assert done.exit_code == 1, done.output
assert "REFUSE" in done.stdout, done.output
"""
    modules = imported(code)
    assert "checks.manifest" in modules, "it did check"
    assert not {name for name in modules if name.split(".")[0] in ("prefect", "torch", "opacus")}
