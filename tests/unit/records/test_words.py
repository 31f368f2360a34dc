"""Entries of a ledger in words, also where they are of another form than this version gives them."""

from __future__ import annotations

from typing import Any

import pytest

from pratique.digests import sha256_bytes
from records.intoto import descriptor, statement
from records.statements import (
    ACCEPTANCE,
    DECISION,
    PROVENANCE,
    RUN_REFUSAL,
    RUN_START,
    TEST_RESULT,
    VSA,
    VULNS,
    WITHDRAWAL_LIST,
)
from records.words import Words, in_words

TOOL = descriptor(name="scorer", digest=sha256_bytes(b"image"), annotations={"version": "1.0.0"})
KINDS = (ACCEPTANCE, DECISION, PROVENANCE, RUN_REFUSAL, RUN_START, TEST_RESULT, VSA, VULNS, WITHDRAWAL_LIST, "urn:new")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "predicate",
    [{}, {"metadata": {"annotations": []}, "person": [], "runDetails": 7, "asked": None, "inputAttestations": 1}],
    ids=["empty", "other"],
)
def test_another_form_is_told_by_its_type(kind: str, predicate: dict[str, Any]) -> None:
    assert in_words(statement([TOOL], kind, predicate)) == Words("", kind, "scorer 1.0.0")


def test_a_subject_without_a_version_has_its_name_alone() -> None:
    subject = descriptor(name="scorer", digest=sha256_bytes(b"image"))
    assert in_words(statement([subject], "urn:new", {})).tool == "scorer"
