"""Whether an image is what was validated under its name and version."""

from __future__ import annotations

import pytest

from checks.interface import Level, Status
from checks.pinning import ValidatedVersion, check_pinning
from pratique.digests import sha256_bytes

ADMITTED, OTHER = sha256_bytes(b"admitted"), sha256_bytes(b"other")
KNOWN = (
    ValidatedVersion("lesion-segmenter", "1.0.0", ADMITTED, 3),
    ValidatedVersion("combat-harmonizer", "1.0.0", sha256_bytes(b"combat"), 4),
)


@pytest.mark.parametrize(
    ("name", "version", "digest", "relation", "status"),
    [
        ("risk-classifier", "1.0.0", OTHER, "new", Status.PASSED),
        ("lesion-segmenter", "1.0.0", ADMITTED, "same", Status.PASSED),
        ("lesion-segmenter", "1.1.0", OTHER, "new-version", Status.PASSED),
        ("lesion-segmenter", "1.0.0", OTHER, "substituted", Status.FAILED),
        ("Lesion-Segmenter", "1.0.0", OTHER, "substituted", Status.FAILED),
        ("lesion-segmenter ", " 1.0.0", OTHER, "substituted", Status.FAILED),
    ],
)
def test_relation_to_the_validated_version(name: str, version: str, digest: str, relation: str, status: Status) -> None:
    """Same version with other bytes fails; a changed spelling of the name does not hide it."""
    result = check_pinning(name, version, sha256_bytes(b"admitted") if digest == ADMITTED else OTHER, KNOWN)
    assert (result.measured("relation"), result.status) == (relation, status)
    assert result.findings[0].rule_id == f"pinning/{relation}"


def test_a_substitution_names_both_digests_and_the_ledger_entry() -> None:
    """The finding says what was validated, where that is recorded, and what to do."""
    finding = check_pinning("lesion-segmenter", "1.0.0", OTHER, KNOWN).findings[0]
    assert finding.level is Level.ERROR
    assert all(text in finding.message for text in (ADMITTED, OTHER, "entry 3"))
    assert "new version" in finding.fix


def test_a_later_admission_replaces_an_earlier_one() -> None:
    """The last admission in the ledger is the validated version."""
    later = (*KNOWN, ValidatedVersion("lesion-segmenter", "1.0.0", OTHER, 9))
    assert check_pinning("lesion-segmenter", "1.0.0", OTHER, later).status is Status.PASSED
    assert check_pinning("lesion-segmenter", "1.0.0", ADMITTED, later).status is Status.FAILED


def test_one_image_under_two_names_is_a_warning() -> None:
    """The very bytes of another validated tool."""
    result = check_pinning("my-segmenter", "1.0.0", ADMITTED, KNOWN)
    assert result.status is Status.PASSED
    assert [finding.rule_id for finding in result.findings] == ["pinning/new", "pinning/known-under-another-name"]


def test_nothing_validated_yet() -> None:
    """On a new node every tool is new."""
    assert check_pinning("lesion-segmenter", "1.0.0", ADMITTED, ()).measured("relation") == "new"
