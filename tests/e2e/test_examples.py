"""The example tools through the command: each gets its verdict for its own reason, and is told what to mend."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sandbox.engine import Engine
from tests.e2e.bench import Done, Node, Site, laboratory, write_policy

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@dataclass(frozen=True)
class Expected:
    """Verdict, deciding rule, and words that must be in what the provider is told to do."""

    code: int
    outcome: str
    rule: str | None = None
    fix: str = ""


EXPECTED = {
    "lesion-segmenter": Expected(0, "admit"),
    "combat-harmonizer": Expected(0, "admit"),
    "risk-classifier": Expected(0, "admit"),
    "risk-classifier-overfit": Expected(1, "refuse", "no-evidence-of-memorised-patients", "regularis"),
    "outdated": Expected(1, "refuse", "no-known-critical-or-high-vulnerability", r"upgrade|update|install|\d+\.\d+"),
    "smuggler": Expected(1, "refuse", "model-files-run-no-code", "safetensors"),
    "swapped": Expected(1, "refuse", "same-version-same-image", "version"),
}
AFTER = ("conformance", "containment", "canaries", "determinism", "membership", "dp_claim")


@pytest.fixture(scope="module")
def onboarded(site: Site) -> dict[str, Done]:
    """What onboarding each tool said; the first is admitted, so that `swapped` has something to imitate."""
    done = {}
    for tool in EXPECTED:
        done[tool] = site.node.onboard(site.submissions[tool])
        if tool == "lesion-segmenter" and done[tool].code == 0:
            person = ("--reason", "honest", "--as", "maintainer@node.example", "--organisation", "Example Node")
            admitted = site.node.run("admit", done[tool].report()["run_id"], *person, policy=True)
            assert admitted.code == 0, admitted.err
    return done


@pytest.mark.parametrize("tool", EXPECTED)
def test_verdict_is_right_for_the_right_reason(tool: str, onboarded: dict[str, Done]) -> None:
    done, expected = onboarded[tool], EXPECTED[tool]
    assert done.code == expected.code, done.err
    verdict = done.report()["verdict"]
    assert (verdict["outcome"], verdict["decided_by"]) == (expected.outcome, expected.rule)


@pytest.mark.parametrize("tool", [tool for tool, expected in EXPECTED.items() if expected.outcome == "refuse"])
def test_refused_tool_is_told_what_to_fix(tool: str, onboarded: dict[str, Done], site: Site) -> None:
    report = onboarded[tool].report()
    rule = next(rule for rule in report["verdict"]["rules"] if rule["id"] == EXPECTED[tool].rule)
    named = {key.split(".")[1] for key in rule["inputs"] if key.startswith("checks.")}
    errors = [f for name in named for f in report["checks"][name]["findings"] if f["level"] == "error"]
    assert errors
    assert all(finding["fix"] for finding in errors)
    assert any(re.search(EXPECTED[tool].fix, finding["fix"], re.IGNORECASE) for finding in errors)
    shown = site.node.run("report", report["run_id"])
    assert shown.code == 0
    assert f"✗ {EXPECTED[tool].rule}: " in shown.out
    assert "fix: " in shown.out


@pytest.mark.parametrize("tool", ["outdated", "smuggler", "swapped"])
def test_gate_1_kept_refused_tools_from_running(tool: str, onboarded: dict[str, Done]) -> None:
    report = onboarded[tool].report()
    assert report["tool_seconds"] == 0
    for name in AFTER:
        (finding,) = report["checks"][name]["findings"]
        assert finding["rule_id"] == f"{name}/not-asked"
        assert str(EXPECTED[tool].rule) in finding["message"]


@pytest.mark.parametrize(
    "tool", ["lesion-segmenter", "combat-harmonizer", "risk-classifier", "risk-classifier-overfit"]
)
def test_tools_that_pass_gate_1_were_run(tool: str, onboarded: dict[str, Done]) -> None:
    report = onboarded[tool].report()
    assert report["tool_seconds"] > 0
    for name in ("conformance", "containment", "canaries", "determinism"):
        assert report["checks"][name]["status"] == "passed"


class _Images(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.captions: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.captions.append(dict(attrs)["alt"] or "")


@pytest.mark.parametrize(
    ("tool", "pictures"),
    [
        ("lesion-segmenter", {"Memory and CPU", "A slice of"}),
        ("risk-classifier", {"Memory and CPU", "ROC curve"}),
        ("risk-classifier-overfit", {"Memory and CPU", "ROC curve"}),
        ("smuggler", set()),
    ],
)
def test_page_has_the_pictures_that_there_is_evidence_for(
    tool: str, pictures: set[str], onboarded: dict[str, Done], site: Site
) -> None:
    page = (site.node.home / "runs" / onboarded[tool].report()["run_id"] / "report.html").read_text()
    parser = _Images()
    parser.feed(page)
    assert {
        caption[: len(start)] for caption in parser.captions for start in pictures if caption.startswith(start)
    } == pictures
    assert bool(parser.captions) == bool(pictures)
    assert "<script" not in page
    assert "http" not in re.sub(r"https?://[^\s<\"]+", "", page).replace("http-equiv", "")


def test_every_report_has_all_28_risks_and_a_place_in_the_ledger(onboarded: dict[str, Done], site: Site) -> None:
    places = set()
    for done in onboarded.values():
        report = done.report()
        assert len(report["risks"]) == 28
        places.add(report["ledger"]["index"])
    assert len(places) == len(onboarded)
    assert site.node.entries() == len(onboarded) + 2, "the inspections, a decision and an admission"


def test_second_onboarding_answers_from_the_cache(onboarded: dict[str, Done], site: Site) -> None:
    report = site.node.onboard(site.submissions["lesion-segmenter"]).report()
    assert report["verdict"]["outcome"] == "admit"
    assert {"conformance", "containment", "canaries", "determinism"} <= set(report["cached"])
    assert not {"provenance", "pinning", "vulnerabilities"} & set(report["cached"])
    assert report["tool_seconds"] == 0


@pytest.mark.parametrize(
    ("run", "person", "code"),
    [("combat-harmonizer", "submitter", 4), ("smuggler", "maintainer@node.example", 1), ("swapped", "x@y.example", 1)],
)
def test_what_must_not_be_admitted_is_not(
    run: str, person: str, code: int, onboarded: dict[str, Done], site: Site
) -> None:
    report = onboarded[run].report()
    who = report["tool"]["submitter"] if person == "submitter" else person
    options = ("--reason", "r", "--as", who, "--organisation", "Example Node")
    assert site.node.run("admit", report["run_id"], *options, policy=True).code == code


def test_flipped_byte_in_a_copy_of_the_ledger_is_found(onboarded: dict[str, Done], site: Site, tmp_path: Path) -> None:
    ledger = site.node.home / "ledger"
    files = [path for path in sorted(ledger.rglob("*")) if path.is_file() and path.stat().st_size]
    assert len(files) >= 3
    for number, path in enumerate(files):
        copy = tmp_path / f"copy{number}"
        shutil.copytree(ledger, copy)
        target = copy / path.relative_to(ledger)
        data = bytearray(target.read_bytes())
        data[len(data) // 2] ^= 1
        target.chmod(0o644)
        target.write_bytes(data)
        done = site.node.run("log", "verify", "--ledger", copy)
        assert done.code == 1, f"{path.name}: {done.out}"
        assert "✗" in done.out
    assert site.node.run("log", "verify").code == 0


# --- the smuggler, where the rule that stops it at gate 1 is left out -------------------------------------------------


@pytest.fixture(scope="module")
def smuggled(site: Site, engine: Engine) -> Iterator[dict[str, Any]]:
    """Its report under a laboratory policy that lets the sandbox look."""
    policy = write_policy(site.directory / "laboratory.yaml", laboratory)
    node = Node(site.directory / "laboratory", policy, site.node.environment)
    done = node.precheck(site.submissions["smuggler"])
    assert done.code == 1, done.err
    assert node.settles(engine) == []
    yield done.report()
    shutil.rmtree(node.home, ignore_errors=True)


def test_smuggler_is_seen_calling_home(smuggled: dict[str, Any]) -> None:
    containment = smuggled["checks"]["containment"]
    assert containment["status"] == "failed"
    said = " ".join(f"{f['message']} {f['where']}" for f in containment["findings"])
    assert "collect.smuggler.example" in said
    assert "203.0.113.7" in said
    assert all(f["fix"] for f in containment["findings"] if f["level"] == "error")


def test_smuggler_is_caught_with_identifiers_in_log_and_output(smuggled: dict[str, Any]) -> None:
    canaries = smuggled["checks"]["canaries"]
    assert canaries["status"] == "failed"
    said = " ".join(f"{f['message']} {f['where']}" for f in canaries["findings"]).lower()
    assert "log" in said
    assert "base64" in said
    assert "output" in said or "scores.csv" in said
    assert json.dumps(canaries).count("could-not-decide") == 0


def test_smuggler_is_refused_for_what_it_does(smuggled: dict[str, Any]) -> None:
    against = {rule["id"] for rule in smuggled["verdict"]["rules"] if not rule["satisfied"]}
    assert {"stays-contained", "lets-no-identifier-out"} <= against
    assert smuggled["verdict"]["outcome"] == "refuse"


def test_report_does_not_carry_the_identifiers_on(smuggled: dict[str, Any], site: Site) -> None:
    """The cohort is synthetic, but a report must not become a leak of its own where it is not."""
    text = json.dumps(smuggled)
    example = Path(site.submissions["smuggler"] / "test/example_input/features.csv").read_text().splitlines()[1:]
    for line in example:
        identifier = line.split(",")[0]
        assert base64.b64encode(identifier.encode()).decode() not in text
