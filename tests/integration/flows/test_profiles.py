"""A tool whose entry point starts as root and drops, from submission to run, on a real engine: only where granted."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from checks.interface import Status
from console.terminal.app import app
from flows.decide import admit
from flows.direct import inspect
from flows.health import examine_node
from flows.inspected import history_of
from policies.model import Outcome
from pratique.digests import Digest
from records.admissions import signed_statements
from records.statements import ADMISSION_EXTENSION, PROVENANCE, VSA
from sandbox.doctor import examine
from sandbox.engine import Engine
from sandbox.observe.helper_image import build_archive, python_closure, with_shared_libraries
from tests.assets.submissions import EXPECTED, MODULES, TOOL, write_submission
from tests.integration.flows.gate import ANNA, node_of, onboarded, run_command

pytestmark = pytest.mark.docker

DROP = """\
import os, sys

def drop(user):
    uid, gid = map(int, user.split(":"))
    os.setgroups([gid])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)

def status(name):
    return next(line.split()[1] for line in open("/proc/self/status") if line.startswith(name + ":"))

print("started as", os.getresuid(), "with", status("CapEff"), flush=True)
drop(sys.argv[1])
print("dropped to", os.getresuid(), os.getresgid(), os.getgroups(), "with", status("CapEff"), flush=True)
for what in (lambda: os.setuid(0), lambda: os.setgroups([0]), lambda: os.chown("/tmp", 0, 0)):
    try:
        what()
        sys.exit("came back")
    except PermissionError:
        pass
os.execv(sys.argv[2], sys.argv[2:])
"""
ENTRYPOINT = ["/usr/bin/python3", "-S", "/app/drop.py", "1234:1234", "/usr/bin/python3", "-S", "/app/main.py"]


class Quiet:
    """Progress for nobody."""

    def say(self, text: str) -> None: ...

    def started(self, name: str) -> None: ...

    def finished(self, result: Any, *, cached: bool = False) -> None: ...


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Digest]:
    """The scorer behind an entry point that drops as `gosu` and `su-exec` do."""
    place = tmp_path_factory.mktemp("image")
    (place / "main.py").write_text(TOOL)
    (place / "drop.py").write_text(DROP)
    files = {"/app/main.py": place / "main.py", "/app/drop.py": place / "drop.py"}
    config = {"Entrypoint": ENTRYPOINT, "WorkingDir": "/app", "User": "0:0"}
    archive, digest, _ = build_archive(python_closure(MODULES) | files, config)
    return archive, digest


@pytest.fixture
def submission(image: tuple[bytes, Digest], tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """It asks for `gosu`."""
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    directory = write_submission(tmp_path / "submission", image)
    with (directory / "submission.yaml").open("a") as stream:
        stream.write("sandbox: {profile: gosu}\n")
    return directory


def test_a_profile_that_is_not_granted_runs_nothing(submission: Path, tmp_path: Path) -> None:
    """Precheck says the same as the gate: refused, with the field, the grant and the fix, before any container."""
    report = inspect(node_of(tmp_path, sandbox={"profiles": ["default"]}), submission, Quiet())
    assert (report.verdict.outcome, report.verdict.decided_by) == (Outcome.REFUSE, "manifest-is-sound")
    (finding,) = [one for one in report.checks["manifest"].findings if one.rule_id == "manifest/profile-not-granted"]
    assert (finding.where, "gosu" in finding.fix) == ("submission.yaml/sandbox/profile", True)
    assert report.checks["conformance"].status is Status.INCONCLUSIVE
    assert report.tool_seconds == 0
    assert not (tmp_path / "home" / "sandbox" / "runs").exists()


def test_from_submission_to_run_under_the_granted_profile(submission: Path, tmp_path: Path) -> None:
    """Inspected, admitted, run and recorded as `gosu`; the tool itself runs without any privilege."""
    node = node_of(tmp_path, sandbox={"profiles": ["default", "gosu"]})
    report = onboarded(node, submission)
    assert report.verdict.outcome is Outcome.ADMIT, report.checks["conformance"]
    assert report.tool.profile == "gosu"
    assert history_of(node, report.run_id).inspected.profile == "gosu"
    assert admit(node, report.run_id, ANNA).entry is not None
    called = CliRunner().invoke(app, run_command(node, submission / "in/patients.csv", tmp_path / "out"))
    assert called.exit_code == 0, called.output
    assert (tmp_path / "out" / "scores.csv").read_text() == EXPECTED
    (papers,) = node.settings.runs.glob("*/sandbox-run.json")
    run = json.loads(papers.read_text())["run"]
    assert run["spec"]["profile"] == "gosu"
    first, second = papers.with_name("log").read_text().splitlines()[:2]
    assert first == "started as (0, 0, 0) with 00000000000000c0"
    assert second == "dropped to (1234, 1234, 1234) (1234, 1234, 1234) [1234] with 0000000000000000"
    statements = {one["predicateType"]: one["predicate"] for _, one in signed_statements(node.ledger)}
    assert statements[VSA][ADMISSION_EXTENSION]["sandboxProfile"] == "gosu"
    assert statements[PROVENANCE]["buildDefinition"]["internalParameters"]["sandboxProfile"] == "gosu"


def test_without_the_profile_the_entry_point_cannot_drop(submission: Path, tmp_path: Path) -> None:
    """The same tool that does not ask: it starts as nobody, and fails the check, not the sandbox."""
    document = submission / "submission.yaml"
    document.write_text(document.read_text().replace("sandbox: {profile: gosu}\n", ""))
    report = onboarded(node_of(tmp_path, sandbox={"profiles": ["default", "gosu"]}), submission)
    assert (report.verdict.outcome, report.tool.profile) == (Outcome.REFUSE, "default")
    assert report.checks["conformance"].status is Status.FAILED


def test_a_runtime_that_the_engine_has_not_runs_nothing(submission: Path, tmp_path: Path) -> None:
    """The policy demands it: nothing is run at the gate, and an admitted tool is not started either."""
    here = node_of(tmp_path, sandbox={"profiles": ["gosu"]})
    admit(here, onboarded(here, submission).run_id, ANNA)
    demanding = {"profiles": ["gosu"], "runtime": "kata-of-tomorrow"}
    report = onboarded(node_of(tmp_path / "other", sandbox=demanding), submission)
    finding = report.checks["conformance"].findings[0]
    assert report.checks["conformance"].status is Status.INCONCLUSIVE
    assert "no runtime 'kata-of-tomorrow'" in finding.message
    assert "daemon.json" in finding.fix
    assert report.tool_seconds == 0
    node_of(tmp_path, admissions={"also_under": [here.policy.digest]}, sandbox=demanding)
    called = CliRunner().invoke(app, run_command(here, submission / "in/patients.csv", tmp_path / "out"))
    assert called.exit_code == 3, called.output
    assert "no runtime 'kata-of-tomorrow'" in called.output
    assert not (tmp_path / "out").exists()


def test_setpriv_drops_too(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real program for it (util-linux), started by the command with a spec of this profile."""
    program = shutil.which("setpriv")
    if program is None:
        pytest.skip("needs setpriv (Debian: util-linux)")
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    libraries = with_shared_libraries({"/usr/bin/python3": Path(program)})
    files = python_closure(("sys",)) | {**libraries, "/usr/bin/setpriv": Path(program)}
    files["/usr/bin/python3"] = Path(sys.executable).resolve()
    drop = ["/usr/bin/setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", "--inh-caps=-all"]
    archive, _, _ = build_archive(files, {"Entrypoint": [*drop, "/usr/bin/python3", "-S", "-c"]})
    (tmp_path / "image.tar").write_bytes(archive)
    (tmp_path / "spec.yaml").write_text("{profile: gosu, limits: {memory: 134217728}}")
    code = "import os; print(os.getresuid(), os.getresgid(), os.getgroups())"
    options = ["--image", str(tmp_path / "image.tar"), "--spec", str(tmp_path / "spec.yaml"), "--json"]
    called = CliRunner().invoke(app, ["sandbox", "run", "--home", str(tmp_path / "home"), *options, "--", code])
    assert called.exit_code == 0, called.output
    assert json.loads(called.stdout)["log_head"].endswith("(1234, 1234, 1234) (1234, 1234, 1234) []\n")


def test_a_weakness_of_the_real_node_that_the_policy_refuses_runs_nothing(
    engine: Engine, submission: Path, tmp_path: Path
) -> None:
    """Whatever this machine's first one is: nothing runs, the checks and the doctor name it with its fix."""
    weaknesses = examine(engine)
    if not weaknesses:
        pytest.skip("this machine has no known weakness")
    worst = weaknesses[0]
    node = node_of(tmp_path, sandbox={"profiles": ["gosu"], "refuse_weaknesses": [worst.id]})
    report = onboarded(node, submission)
    (finding,) = report.checks["conformance"].findings
    assert report.checks["conformance"].status is Status.INCONCLUSIVE
    assert worst.id in finding.message
    assert worst.fix in finding.fix
    assert report.tool_seconds == 0
    points = {point.subject: point for point in examine_node(node.settings)}
    assert points[f"refused weakness {worst.id}"].good is False
    assert points[f"refused weakness {worst.id}"].fix == worst.fix
