"""The whole probe on small cohorts with known answers, and on the two example tools as they are handed in."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from checks.interface import CheckResult, Status
from checks.membership import PrivacyLimits, TableRun, TableRunner, check_membership
from checks.membership.attacks import PRIMARY
from checks.membership.decision import Outcome
from checks.membership.probe import examine
from checks.membership.samples import Records
from checks.membership.statistics import auc
from pratique.intake.submission import Submission, load_submission
from tests.unit.checks.membership.cohorts import Model, learned, records_of, table
from tests.unit.checks.stores import MemoryStore

TOOLS = Path(__file__).parents[4] / "examples" / "tools"
LIMITS = PrivacyLimits()


def submitted(
    directory: Path, tool: str = "risk-classifier", *, members: bytes = b"", others: bytes = b"", trained: bool = True
) -> Submission:
    """A submission made from an example tool's papers, with other samples where given."""
    root = directory / "submission"
    shutil.copytree(TOOLS / tool, root, ignore=shutil.ignore_patterns("app", "train.py"))
    for paper in (root / "submission.yaml", root / "metadata" / f"{tool}.cwl"):
        text = paper.read_text().replace("@DIGEST@", "sha256:" + "0" * 64)
        if not trained:
            text = text.replace("trained: true, training_records: 1000", "trained: false")
        paper.write_text(text)
    (root / "image").mkdir()
    (root / "evidence" / "image.sigstore.json").write_text("{}")
    for name, data in (("members.csv", members), ("non_members.csv", others)):
        if data:
            (root / "evidence" / name).write_bytes(data)
    return load_submission(root)


def asked(submission: Submission, runner: TableRunner, store: MemoryStore, *, model_files: int = 1) -> CheckResult:
    """The check with the default limits."""
    return check_membership(
        submission=submission, runner=runner, limits=LIMITS, seed=1, inventory_model_files=model_files, store=store
    )


class NeverRun:
    """A runner that must not be used."""

    def run_table(self, input_id: str, table: Path) -> TableRun:
        """Fail the test."""
        raise AssertionError("the tool was run")


class Broken:
    """A tool that ends with an error."""

    def run_table(self, input_id: str, table: Path) -> TableRun:
        """No output."""
        return TableRun(None, "exit code 3")


def load_app(tool: str) -> ModuleType:
    """The example tool's program as a module."""
    spec = importlib.util.spec_from_file_location(f"app_{tool.replace('-', '_')}", TOOLS / tool / "app" / "main.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class ExampleTool:
    """An example tool, run in this process with its real command line."""

    def __init__(self, tool: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._main: Callable[[], int] = load_app(tool).main
        self._directory = directory
        self._monkeypatch = monkeypatch

    def run_table(self, input_id: str, table: Path) -> TableRun:
        """One run."""
        output = self._directory / "output"
        output.mkdir()
        self._monkeypatch.setattr("sys.argv", ["main.py", "-i", str(table), "-o", str(output), "--threshold", "0.5"])
        return TableRun(output if self._main() == 0 else None)


# --- the example tools ---------------------------------------------------------------------------------------------


def test_the_regularised_tool_passes_with_margin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both upper bounds of the primary attack lie well below the limits."""
    store = MemoryStore()
    result = asked(submitted(tmp_path), ExampleTool("risk-classifier", tmp_path, monkeypatch), store)
    assert result.status is Status.PASSED, result.summary
    assert float(str(result.measured("auc_high"))) < 0.57
    assert float(str(result.measured("tpr_at_1pct_high"))) < 0.045
    assert result.measured("n_members") == result.measured("n_non_members") == 1_000
    assert "No evidence" in result.summary
    assert "cannot be verified" in result.summary


def test_the_memorising_tool_is_refused_and_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its figures exceed both limits provably; the evidence lets anybody compute them again."""
    tool = "risk-classifier-overfit"
    store = MemoryStore()
    result = asked(submitted(tmp_path, tool), ExampleTool(tool, tmp_path, monkeypatch), store)
    assert result.status is Status.FAILED, result.summary
    assert {"membership/auc-above-limit", "membership/tpr-above-limit"} <= {f.rule_id for f in result.findings}
    assert all("egularise" in finding.fix for finding in result.findings)
    _check_evidence(result, store)


def _check_evidence(result: CheckResult, store: MemoryStore) -> None:
    """The AUC follows from the recorded scores; no identifier is in the record; the curve can be drawn."""
    (kept,) = result.evidence
    data = store.get(kept.digest)
    assert kept.name == "membership.json"
    assert b"RC-" not in data
    record = json.loads(data)
    member = np.array(record["records"]["member"], dtype=bool)
    scores = {attack["name"]: np.array(attack["scores"]) for attack in record["attacks"]}
    primary = scores[PRIMARY]
    assert auc(primary[member], primary[~member]).value == pytest.approx(result.measured("auc"), abs=1e-6)
    assert set(scores) == {"rmia", "attack_p", "lira", "worst_case"}
    assert record["roc"][0] == [0.0, 0.0]
    assert record["roc"][-1] == [1.0, 1.0]


# --- power and false alarms ----------------------------------------------------------------------------------------


def judged(records: Records, tmp_path: Path, *, memorise: bool, seed: int) -> Outcome:
    """The outcome for a model trained on the members of `records`."""
    model = Model(learned(records, memorise=memorise), tmp_path)

    def ask(audit: object) -> object:
        from checks.membership.audit import AuditTable, read_answers

        assert isinstance(audit, AuditTable)
        path = tmp_path / f"answers{seed}.csv"
        path.write_text(model.answer(audit.data.decode()))
        return read_answers(path, audit, identifier="patient_id", probability="probability", where="x")

    return examine(records, ask, LIMITS, seed).decision.outcome  # type: ignore[arg-type]  # the protocol is structural


@pytest.mark.parametrize("seed", [21, 22])
def test_a_memorising_model_is_found_out_with_150_patients(tmp_path: Path, seed: int) -> None:
    """Power: below the size at which a pass is possible, a plain leak is still refused."""
    assert judged(records_of(seed, 150), tmp_path, memorise=True, seed=seed) is Outcome.REFUSE


@pytest.mark.parametrize("seed", [31, 32])
def test_a_regularised_model_is_not_called_a_leak(tmp_path: Path, seed: int) -> None:
    """False alarms: small samples leave the question open, they do not refuse."""
    assert judged(records_of(seed, 150), tmp_path, memorise=False, seed=seed) is not Outcome.REFUSE


def test_the_same_seed_gives_the_same_record(tmp_path: Path) -> None:
    """Everything random is seeded."""
    generator = np.random.default_rng(5)
    members, others = table(generator, 110, "m"), table(generator, 110, "n")
    digests = []
    for attempt in ("a", "b"):
        place = tmp_path / attempt
        place.mkdir()
        submission = submitted(place, members=members, others=others)
        result = asked(submission, Model(lambda x: 1 / (1 + np.exp(-x[:, 0])), place), MemoryStore())
        digests.append([evidence.digest for evidence in result.evidence])
        assert digests[-1]
    assert digests[0] == digests[1]


# --- what keeps the probe from knowing -----------------------------------------------------------------------------


def test_samples_that_differ_anyway_are_not_probed(tmp_path: Path) -> None:
    """Members from another hospital would look like a leak: the tool is not even run."""
    generator = np.random.default_rng(6)
    submission = submitted(tmp_path, members=table(generator, 150, "m", shift=0.7), others=table(generator, 150, "n"))
    result = asked(submission, NeverRun(), MemoryStore())
    assert result.status is Status.INCONCLUSIVE
    assert [finding.rule_id for finding in result.findings] == ["membership/control-blind"]
    assert "at random from one cohort" in result.findings[0].fix


def test_outcomes_that_anybody_can_predict_leave_the_probe_without_power(tmp_path: Path) -> None:
    """Where even a memorising model betrays nothing, a pass would mean nothing."""
    generator = np.random.default_rng(7)
    rows = [
        "\n".join(
            ["patient_id,age,crp,volume,score,outcome"]
            + [
                f"{tag}{i},{value:.4f},{value:.4f},{value:.4f},{value:.4f},{int(value > 0)}"
                for i, value in enumerate(generator.choice([-1, 1], 320) * generator.uniform(3, 4, 320))
            ]
        ).encode()
        for tag in "mn"
    ]
    submission = submitted(tmp_path, members=rows[0], others=rows[1])
    result = asked(submission, Model(lambda x: np.where(x[:, 0] > 0, 0.9, 0.1), tmp_path), MemoryStore())
    assert result.status is Status.INCONCLUSIVE
    assert "membership/control-positive" in {finding.rule_id for finding in result.findings}


def test_too_few_patients_are_reported_only(tmp_path: Path) -> None:
    """Figures yes, verdict no, and how many patients would do."""
    generator = np.random.default_rng(8)
    submission = submitted(tmp_path, members=table(generator, 60, "m"), others=table(generator, 60, "n"))
    result = asked(submission, Model(lambda x: 1 / (1 + np.exp(-x[:, 0])), tmp_path), MemoryStore())
    assert result.status is Status.INCONCLUSIVE
    assert result.measured("auc") is not None
    assert result.findings[0].rule_id == "membership/too-few-samples"
    assert "300" in result.findings[0].fix


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (lambda text: text.rsplit("\n", 2)[0], "membership/predictions-missing-rows"),
        (lambda text: text.replace("probability", "p"), "membership/predictions-columns"),
        (lambda text: "", "membership/csv-header"),
    ],
    ids=["a missing row", "another header", "an empty file"],
)
def test_a_tool_that_answers_badly_is_not_passed(tmp_path: Path, spoil: Callable[[str], str], rule: str) -> None:
    """Malformed predictions leave the question open, with the reason."""
    generator = np.random.default_rng(9)
    submission = submitted(tmp_path, members=table(generator, 110, "m"), others=table(generator, 110, "n"))
    runner = Model(lambda x: 1 / (1 + np.exp(-x[:, 0])), tmp_path, spoil=spoil)
    result = asked(submission, runner, MemoryStore())
    assert result.status is Status.INCONCLUSIVE
    assert [finding.rule_id for finding in result.findings] == [rule]
    assert runner.runs == 1


def test_a_tool_that_fails_is_not_passed(tmp_path: Path) -> None:
    """The summary says how it ended."""
    generator = np.random.default_rng(10)
    submission = submitted(tmp_path, members=table(generator, 110, "m"), others=table(generator, 110, "n"))
    result = asked(submission, Broken(), MemoryStore())
    assert result.status is Status.INCONCLUSIVE
    assert "exit code 3" in result.summary
    assert result.findings[0].fix


def test_samples_changed_after_they_were_hashed_are_not_probed(tmp_path: Path) -> None:
    """What is probed is what was handed in."""
    submission = submitted(tmp_path)
    (submission.root / "evidence" / "members.csv").write_text("patient_id,outcome\n1,1\n")
    assert asked(submission, NeverRun(), MemoryStore()).status is Status.INCONCLUSIVE


def test_without_a_model_there_is_nothing_to_probe_unless_one_was_found(tmp_path: Path) -> None:
    """Saying "not trained" does not help where model files lie in the image."""
    submission = submitted(tmp_path, trained=False)
    assert asked(submission, NeverRun(), MemoryStore(), model_files=0).status is Status.NOT_APPLICABLE
    hidden = asked(submission, NeverRun(), MemoryStore(), model_files=2)
    assert hidden.status is Status.INCONCLUSIVE
    assert "2 model files" in hidden.summary
