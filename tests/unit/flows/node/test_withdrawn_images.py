"""What is withdrawn is an image: under whatever name it stands, and when its bytes come back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from checks.interface import Status
from flows.acceptance import accept
from flows.case import open_case
from flows.decide import Admission, admit, refuse, withdraw
from flows.entitlement import entitlement
from flows.steps import BEFORE, answer
from flows.tools import parse_tool
from pratique.digests import sha256_bytes
from pratique.errors import Refused, UsageError
from records.dsse import sign_statement
from records.intoto import descriptor
from records.statements import DECISION, PolicyReference, ToolIdentity, vsa
from records.words import in_words
from tests.assets.submissions import tiny_archive, write_submission
from tests.unit.flows.node.federations import Federation
from tests.unit.flows.node.homes import ANNA, BORIS, Home, statements_of

FLAWED = replace(ANNA, reason="It leaks.")


def admitted(home: Home, image: str = "one", *, despite: bool = False, **fields: Any) -> Admission:
    return admit(home.node(), home.inspected(image, **fields), ANNA, despite=despite)


def verified(home: Home, tool: ToolIdentity, *, passed: bool) -> None:
    """The node's own verification of a tool, in its ledger."""
    node = home.node()
    statement = vsa(
        tool,
        verifier_id=node.uri,
        resource_uri=node.place,
        time_verified=home.moment,
        policy=PolicyReference("urn:pratique:policy:test", node.policy.digest),
        input_attestations=[descriptor(name="inspection", digest=sha256_bytes(b"elsewhere"))],
        passed=passed,
    )
    node.append(sign_statement(statement, node.key))


def test_the_same_image_under_other_names_goes_with_it(home: Home) -> None:
    """Name, version or another manifest over the same config: none of them stands, and another image does."""
    admitted(home)
    admitted(home, name="alias")
    admitted(home, version="1.0.1")
    repacked = replace(home.tool(), name="repacked", image_digest=sha256_bytes(b"other manifest"))
    verified(home, repacked, passed=True)
    admitted(home, "two", name="other")
    taken = withdraw(home.node(), "scorer@1.0.0", FLAWED)
    assert (taken[0].name, taken[0].version) == ("scorer", "1.0.0")
    assert {(one.name, one.version) for one in taken[1:]} == {
        ("alias", "1.0.0"),
        ("repacked", "1.0.0"),
        ("scorer", "1.0.1"),
    }
    assert [one.name for one in home.node().validated()] == ["other"]
    for name in ("alias", "repacked", "scorer@1.0.1"):
        with pytest.raises(Refused, match="taken back"):
            entitlement(home.node(), parse_tool(name))


def as_it_was(home: Home) -> str:
    return home.inspected()


def under_another_name(home: Home) -> str:
    return home.inspected(name="alias")


def under_another_version(home: Home) -> str:
    return home.inspected(version="1.0.1")


@pytest.mark.parametrize("come_back", [as_it_was, under_another_name, under_another_version])
def test_bytes_that_were_withdrawn_come_back_only_where_people_say_so(
    home: Home, come_back: Callable[[Home], str]
) -> None:
    """They are told who withdrew it as what, when and why; what they then say is signed."""
    admitted(home)
    withdraw(home.node(), "scorer", FLAWED)
    run = come_back(home)
    size = home.node().head().size
    words = r"as scorer 1\.0\.0 on 2026-03-01T12:00:00Z \(ledger entry 3\): It leaks\."
    with pytest.raises(Refused, match=words) as told:
        admit(home.node(), run, ANNA)
    assert "--despite-withdrawal" in told.value.next_step
    assert home.node().head().size == size
    assert admit(home.node(), run, ANNA, despite=True).entry is not None
    said = statements_of(home.node(), DECISION)[-1]
    assert said["predicate"]["despiteWithdrawal"] == 3
    assert "despite the withdrawal in entry 3" in in_words(said).detail


@pytest.mark.parametrize("despite", [False, True])
def test_an_inspection_from_before_the_same_image_was_withdrawn_repacked(home: Home, despite: bool) -> None:
    """Other manifest, same config: what it was withdrawn for was not known when it was inspected."""
    run = home.inspected()
    verified(home, replace(home.tool(), name="repacked", image_digest=sha256_bytes(b"other manifest")), passed=True)
    withdraw(home.node(), "repacked", FLAWED)
    with pytest.raises(Refused, match="withdrawn after this inspection"):
        admit(home.node(), run, ANNA, despite=despite)


def refused(home: Home) -> None:
    refuse(home.node(), home.inspected(), FLAWED)


def failed_a_rescan(home: Home) -> None:
    verified(home, home.tool(), passed=False)


@pytest.mark.parametrize("end", [refused, failed_a_rescan])
def test_images_that_were_taken_back_otherwise(home: Home, end: Callable[[Home], None]) -> None:
    """By a refusal of a later run, or by a rescan that failed."""
    admitted(home)
    end(home)
    with pytest.raises(Refused, match="withdrew the very image"):
        admitted(home, name="alias")


def test_the_inspection_says_so(home: Home, tmp_path: Path) -> None:
    """Before anybody decides, also on a laptop (`precheck`)."""
    archive = tiny_archive(tmp_path)
    directory = write_submission(tmp_path / "submission", archive)
    pinning = next(step for step in BEFORE if step.name == "pinning")
    for passed, rules in ((True, []), (False, ["pinning/withdrawn-here"])):
        with open_case(home.node(), directory) as case:
            tool = ToolIdentity("other", "2.0.0", sha256_bytes(b"other"), case.image.config_digest)
            verified(home, tool, passed=passed)
            result = answer(pinning, case)
        assert [one.rule_id for one in result.findings if one.rule_id == "pinning/withdrawn-here"] == rules
        assert result.status is Status.PASSED, "people decide"


def test_everybody_who_decides_says_so(home: Home) -> None:
    """A second voice that does not know of the withdrawal is none."""
    admitted(home)
    withdraw(home.node(), "scorer", FLAWED)
    home.policy["approvals"] = {"admit": {"persons": 2, "organisations": 2}}
    run = home.inspected()
    assert admit(home.node(), run, ANNA, despite=True).entry is None
    with pytest.raises(Refused, match="withdrew the very image"):
        admit(home.node(), run, BORIS)
    assert admit(home.node(), run, BORIS, despite=True).entry is not None


def test_a_voice_from_before_the_image_was_taken_back_is_none(home: Home) -> None:
    """Whoever agreed to an earlier inspection did not know what a rescan would find."""
    home.policy["approvals"] = {"admit": {"persons": 2, "organisations": 2}}
    first, second = home.inspected(), home.inspected()
    for person in (ANNA, BORIS):
        admit(home.node(), first, person)
    admit(home.node(), second, ANNA)
    verified(home, home.tool(), passed=False)
    late = admit(home.node(), second, BORIS, despite=True)
    assert (late.entry, late.missing) == (None, "1 more of 2 persons and 1 more of 2 organisations")
    assert admit(home.node(), second, ANNA, despite=True).entry is not None


@pytest.mark.parametrize(
    "before",
    [lambda home: None, lambda home: (withdraw(home.node(), "scorer", FLAWED), admitted(home, despite=True))],
    ids=["never withdrawn", "admitted again since"],
)
def test_overruling_what_is_not_there(home: Home, before: Callable[[Home], object]) -> None:
    """The option is no habit: without a withdrawal it is refused, and an image that came back needs it once."""
    admitted(home)
    before(home)
    run = home.inspected()
    with pytest.raises(UsageError, match="has not withdrawn"):
        admit(home.node(), run, ANNA, despite=True)
    assert admit(home.node(), run, ANNA).entry is not None


def test_a_hubs_older_admission_of_what_this_node_withdrew_repacked(federation: Federation) -> None:
    """Other manifest, same config: the same image."""
    papers = federation.admitted()
    federation.told()
    node = federation.node
    verified(node, replace(node.tool(), name="repacked", image_digest=sha256_bytes(b"other")), passed=True)
    withdraw(node.node(), "repacked", FLAWED)
    with pytest.raises(Refused, match="withdrawn after"):
        accept(node.node(), papers)
