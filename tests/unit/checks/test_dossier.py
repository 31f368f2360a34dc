"""The dossier check: what is declared and present, and no more than that."""

from __future__ import annotations

from pathlib import Path

import pytest

from checks.dossier import KINDS, check_dossier
from checks.interface import RISKS, CheckResult, Level, Status
from pratique.digests import Digest
from pratique.intake.document import SubmissionDocument
from pratique.intake.manifest import load_manifest
from pratique.intake.submission import Submission

MANIFEST = Path(__file__).parents[2] / "assets" / "manifests" / "feature-harmonizer.cwl"
DIGEST = "sha256:" + "1" * 64


def inspect(root: Path, *documents: tuple[str, str]) -> CheckResult:
    """The result for a submission that declares these kinds, with files of this content."""
    for index, (_, content) in enumerate(documents):
        (root / f"{index}.md").write_text(content)
    document = SubmissionDocument.model_validate(
        {
            "apiVersion": "pratique/submission/v1",
            "tool": {"name": "feature-harmonizer", "version": "1.5"},
            "provider": {"organisation": "A", "contact": "a@example.org", "submitter": "b@example.org"},
            "manifest": "tool.cwl",
            "image": {"layout": "image", "digest": DIGEST},
            "claims": {"model": {"trained": False}, "determinism": "bitwise"},
            "documents": tuple({"kind": kind, "path": f"{index}.md"} for index, (kind, _) in enumerate(documents)),
        }
    )
    return check_dossier(Submission(root, document, load_manifest(MANIFEST), {}, Digest(DIGEST)))


def rules(result: CheckResult) -> dict[str, Level]:
    """Rule and level of each finding."""
    return {finding.rule_id: finding.level for finding in result.findings}


def test_nothing_declared_fails(tmp_path: Path) -> None:
    """Without an intended use there is nothing to admit a tool for."""
    result = inspect(tmp_path)
    assert result.status is Status.FAILED
    assert rules(result) == {"dossier/intended-use-missing": Level.ERROR, "dossier/not-declared": Level.NOTE}
    assert result.measured("documents") == 0


def test_an_intended_use_passes_and_the_rest_is_named(tmp_path: Path) -> None:
    """The result says how little was declared."""
    result = inspect(tmp_path, ("intended-use", "For research."))
    assert result.status is Status.PASSED
    assert result.summary.startswith(f"1 of {len(KINDS)} ")
    assert "dpia" in result.findings[0].message
    assert result.measured("declared_intended_use") is True
    assert result.measured("declared_dpia") is False


def test_everything_declared_has_no_finding(tmp_path: Path) -> None:
    """All known kinds, none empty."""
    result = inspect(tmp_path, *((kind, "text") for kind in KINDS))
    assert (result.status, result.findings) == (Status.PASSED, ())


@pytest.mark.parametrize(
    ("documents", "rule", "level"),
    [
        ([("intended-use", "")], "empty-document", Level.ERROR),
        ([("intended-use", "x"), ("dpia", "")], "empty-document", Level.WARNING),
        ([("intended-use", "x"), ("poem", "x")], "unknown-kind", Level.NOTE),
        ([("intended-use", "x"), ("dpia", "x"), ("dpia", "y")], "declared-twice", Level.WARNING),
    ],
    ids=["empty intended use", "empty document", "unknown kind", "declared twice"],
)
def test_paper_documents_are_found(tmp_path: Path, documents: list[tuple[str, str]], rule: str, level: Level) -> None:
    """Each has a level and a fix."""
    result = inspect(tmp_path, *documents)
    assert rules(result)[f"dossier/{rule}"] is level
    assert all(finding.fix for finding in result.findings)
    assert result.status is (Status.FAILED if level is Level.ERROR else Status.PASSED)


def test_kinds_speak_to_known_risks() -> None:
    """No risk is made up."""
    assert {risk for _, risks in KINDS.values() for risk in risks} <= RISKS
