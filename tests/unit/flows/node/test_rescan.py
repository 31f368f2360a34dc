"""Rescans: what became known since the inspection is told, recorded once, and withdrawn where the policy says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
from typer.testing import CliRunner

from checks.advisories import import_snapshot
from checks.interface import CheckResult, Evidence, Status
from checks.sbom.cyclonedx import write_document
from checks.sbom.model import Component, package_url
from checks.vulnerabilities import check_vulnerabilities
from console.terminal.app import app
from flows.acceptance import accept
from flows.decide import admit, withdraw
from flows.node import Node
from flows.rescan import Rescanned, rescan, rescan_all, worst
from flows.vulnerabilities import LookedUp, look_up_listing
from pratique.digests import canonical_json, sha256_bytes
from pratique.errors import CouldNotDecide, Refused
from records import intoto
from records.admissions import signed_statements
from records.dsse import sign_statement
from records.statements import (
    INSPECTION_EXTENSION,
    TEST_RESULT,
    VSA,
    VULNS,
    PolicyReference,
    ToolIdentity,
    inspection_statement,
)
from records.verify import verify_ledger
from records.words import in_words
from tests.unit.checks.feeds import LOW, record, write_zip
from tests.unit.flows.node.federations import Federation
from tests.unit.flows.node.homes import ANNA, MANIFEST, SUBMITTER, Home, image_config, statements_of

VERDICT = b'{"rules": [{"inputs": {"checks.image.status": "passed", "facts.tool.name": "scorer"}}]}'
OLD = record("GHSA-0000-0000-0001", name="unrelated")
NEW = record("GHSA-aaaa-bbbb-cccc", aliases=["CVE-2026-1"])


def advisories(home: Home, *records: dict[str, Any]) -> None:
    """The snapshot of today."""
    archive = write_zip(home.directory / "feed" / "PyPI" / "all.zip", records)
    import_snapshot(archive, home.node().settings.advisories, taken=home.moment.date())


def component(name: str, version: str) -> Component:
    return Component(name=name, version=version, purl=package_url("pypi", name, version), ecosystem="PyPI")


def onboarded(home: Home, name: str = "scorer", *packages: tuple[str, str], sbom: bytes | None = None) -> str:
    """An inspection with SBOM and vulnerabilities in the ledger, and the tool admitted."""
    run_id = inspected(home, name, *packages, sbom=sbom)
    admit(home.node(), run_id, ANNA)
    return run_id


def inspected(
    home: Home,
    name: str = "scorer",
    *packages: tuple[str, str],
    sbom: bytes | None = None,
    leaving: Sequence[str] = ("sbom", "vulnerabilities"),
    tool: ToolIdentity | None = None,
    known: Status = Status.PASSED,
) -> str:
    """An inspection in the ledger, with the results of the checks in `leaving`, of `tool` or one called `name`.

    `known` is what the sbom check says of the packages.
    """
    node = home.node()
    components = [component(*package) for package in packages or (("widget", "1.0"),)]
    tool = tool or ToolIdentity(
        name, "1.0.0", sha256_bytes(f"manifest of {name}".encode()), sha256_bytes(image_config(name))
    )
    document = sbom or write_document(components, image_name=name, image_digest=tool.image_digest)
    bill = node.store.put(document, name="sbom.cdx.json", media_type="application/json")
    results = {
        "sbom": CheckResult(check="sbom", version="1", status=known, summary="", evidence=(bill,)),
        "vulnerabilities": check_vulnerabilities(
            components,
            node.settings.advisories,
            max_age=timedelta(days=7),
            clock=node.clock,
            store=node.store,
        ),
    }
    home.runs += 1
    run_id = f"20260301T120000-{home.runs:08x}"
    results = {check: result for check, result in results.items() if check in leaving}
    statement = inspection_statement(
        tool,
        results,
        stored={check: _stored(node, check, result) for check, result in results.items()},
        configuration=[PolicyReference("urn:pratique:policy:test", node.policy.digest).descriptor()],
        run_id=run_id,
        finished=home.moment,
        outcome="admit",
        verdict=node.store.put(VERDICT, name="verdict.json", media_type="application/json"),
        submitter=SUBMITTER,
        manifest=node.store.put(MANIFEST, name="scorer.cwl", media_type="application/yaml"),
        image_config=node.store.put(image_config(name), name="config.json", media_type="application/json"),
    )
    node.append(sign_statement(statement, node.key))
    return run_id


def _stored(node: Node, check: str, result: CheckResult) -> Evidence:
    data = canonical_json(result.model_dump(mode="json"))
    return node.store.put(data, name=f"{check}.json", media_type="application/json")


def strict(home: Home) -> None:
    """A policy that wants no known vulnerabilities, of tools whose name it knows."""
    demand = {
        "id": "no-known-vulnerabilities",
        "stage": "before-execution",
        "require": 'checks.vulnerabilities.status == "passed" && facts.tool.name == "scorer"',
        "otherwise": "refuse",
        "say": "There are known vulnerabilities.",
    }
    home.policy["rules"] = [demand]


def test_what_became_known_between_inspection_and_admission_keeps_the_tool_out(home: Home) -> None:
    strict(home)
    advisories(home, OLD)
    run_id = inspected(home)
    home.later(days=30)
    advisories(home, OLD, NEW)
    with pytest.raises(Refused, match="on the advisories of today the rule no-known-vulnerabilities"):
        admit(home.node(), run_id, ANNA)
    assert home.node().validated() == ()


def test_a_waiver_that_ended_between_inspection_and_admission_counts_for_none(home: Home) -> None:
    strict(home)
    home.policy["advisories"] = {"waivers": [{"id": "CVE-2026-1", "until": "2026-03-02", "by": "A", "reason": "B"}]}
    advisories(home, NEW)
    run_id = inspected(home)
    home.later(days=2)
    with pytest.raises(Refused, match="any more"):
        admit(home.node(), run_id, ANNA)


def test_an_inspection_on_advisories_that_are_too_old_by_now_is_undecided(home: Home) -> None:
    strict(home)
    advisories(home, OLD)
    run_id = inspected(home)
    home.later(days=30)
    with pytest.raises(CouldNotDecide, match="nobody can tell") as error:
        admit(home.node(), run_id, ANNA)
    assert "30 days old" in error.value.cause
    advisories(home, OLD)
    assert admit(home.node(), run_id, ANNA).entry is not None


@pytest.mark.parametrize("leaving", [["vulnerabilities"], ["sbom"]], ids=str)
def test_an_inspection_without_the_answers_that_a_rule_needs_is_undecided(leaving: list[str], home: Home) -> None:
    strict(home)
    home.policy["rules"][0]["require"] += ' && checks.sbom.status == "passed"'
    advisories(home, OLD)
    run_id = inspected(home, leaving=leaving)
    if "sbom" in leaving:  # which is all that is needed to ask again
        assert admit(home.node(), run_id, ANNA).entry is not None
        return
    with pytest.raises(CouldNotDecide, match="no answer of the check sbom"):
        admit(home.node(), run_id, ANNA)


def rescanned(home: Home, **options: Any) -> dict[str, Rescanned]:
    return {one.name: one for one in rescan(home.node(), **options)}


@pytest.fixture
def admitted(home: Home) -> Home:
    """A node where `scorer`, made of widget 1.0, was admitted when nothing was known against it."""
    advisories(home, OLD)
    onboarded(home)
    home.later(days=2)
    return home


def test_nothing_new_is_nothing_recorded(admitted: Home) -> None:
    advisories(admitted, OLD)
    size = admitted.node().head().size
    assert rescanned(admitted)["scorer"].status is Status.PASSED
    assert admitted.node().head().size == size


def test_what_became_known_is_told_and_recorded_once(admitted: Home) -> None:
    advisories(admitted, OLD, NEW)
    found = rescanned(admitted)["scorer"]
    assert (found.status, found.new, found.withdrawn) == (Status.FAILED, ("CVE-2026-1",), False)
    (statement,) = statements_of(admitted.node(), VULNS)
    assert statement["subject"][0]["digest"]["sha256"] == found.image.removeprefix("sha256:")
    scanner = statement["predicate"]["scanner"]
    assert [one["id"] for one in scanner["result"]] == ["CVE-2026-1"]
    assert scanner["db"]["lastUpdate"] == "2026-03-03T00:00:00Z"
    again = rescanned(admitted)["scorer"]
    assert (again.status, again.new) == (Status.FAILED, ())
    assert len(statements_of(admitted.node(), VULNS)) == 1
    assert len(admitted.node().validated()) == 1


def test_a_later_one_is_new_again(admitted: Home) -> None:
    advisories(admitted, OLD, NEW)
    rescanned(admitted)
    advisories(admitted, OLD, NEW, record("PYSEC-2026-9", vector=LOW))
    assert rescanned(admitted)["scorer"].new == ("PYSEC-2026-9",)


def test_what_was_known_at_admission_is_not_new(home: Home) -> None:
    advisories(home, record("GHSA-aaaa-bbbb-cccc", aliases=["CVE-2026-1"], vector=LOW))
    onboarded(home)
    advisories(home, record("CVE-2026-1", vector=LOW))
    found = rescanned(home)["scorer"]
    assert (found.status, found.new) == (Status.PASSED, ())


def test_a_waiver_that_has_ended_makes_it_new(home: Home) -> None:
    advisories(home, OLD)
    home.policy["advisories"] = {
        "waivers": [{"id": "CVE-2026-1", "until": "2026-03-02", "by": "A", "reason": "not called"}]
    }
    onboarded(home)
    advisories(home, OLD, NEW)
    assert rescanned(home)["scorer"].new == ()
    home.later(days=2)
    advisories(home, OLD, NEW)
    assert rescanned(home)["scorer"].new == ("CVE-2026-1",)


def test_looking_only_records_nothing(admitted: Home) -> None:
    admitted.policy["advisories"] = {"rescan": "withdraw"}
    advisories(admitted, NEW)
    found = rescanned(admitted, record=False)["scorer"]
    assert (found.new, found.withdrawn) == (("CVE-2026-1",), False)
    assert statements_of(admitted.node(), VULNS) == []


def test_the_policy_may_withdraw_at_once(admitted: Home) -> None:
    onboarded(admitted, "other", ("gadget", "1.0"))
    admitted.policy["advisories"] = {"rescan": "withdraw"}
    advisories(admitted, NEW)
    found = rescanned(admitted)
    assert (found["scorer"].withdrawn, found["other"].withdrawn) == (True, False)
    node = admitted.node()
    assert [one.name for one in node.validated()] == ["other"]
    assert statements_of(node, VSA)[-1]["predicate"]["verificationResult"] == "FAILED"
    assert list(rescanned(admitted)) == ["other"]
    assert verify_ledger(node.settings.ledger, node.key.verifier).verified


def test_a_hub_takes_back_from_where_it_admitted_to(admitted: Home) -> None:
    """Who reads its statements looks for those to the federation, as `admit` writes them."""
    place = "urn:pratique:federation:eucaim"
    admitted.policy |= {"advisories": {"rescan": "withdraw"}, "federation": {"place": place}}
    advisories(admitted, NEW)
    rescanned(admitted)
    assert statements_of(admitted.node(), VSA)[-1]["predicate"]["resourceUri"] == place


def test_a_tool_that_was_withdrawn_is_not_asked_about(admitted: Home) -> None:
    withdraw(admitted.node(), "scorer", ANNA)
    assert rescanned(admitted) == {}


def stale(home: Home) -> None:
    home.later(days=30)


def without_advisories(home: Home) -> None:
    (home.node().settings.advisories / "index.json").unlink()


def without_sbom(home: Home) -> None:
    for path in [path for path in home.node().settings.store.rglob("*") if path.is_file()]:
        if b"CycloneDX" in path.read_bytes():
            path.unlink()


def with_another_sbom(home: Home) -> None:
    for path in [path for path in home.node().settings.store.rglob("*") if path.is_file()]:
        if b"CycloneDX" in path.read_bytes():
            path.chmod(0o600)
            path.write_bytes(path.read_bytes().replace(b"widget", b"gadget"))


def with_a_broken_policy(home: Home) -> None:
    home.policy["advisories"] = {
        "vex": [{"file": "none.json", "sha256": "0" * 64, "until": "2027-01-01", "by": "A. Person"}]
    }


UNDECIDED = {
    "stale advisories": stale,
    "no advisories": without_advisories,
    "SBOM gone from the store": without_sbom,
    "SBOM changed in the store": with_another_sbom,
    "a VEX document that is not there": with_a_broken_policy,
}


@pytest.mark.parametrize("case", UNDECIDED)
def test_a_tool_that_cannot_be_answered_for_is_undecided_and_stays(case: str, admitted: Home) -> None:
    admitted.policy["advisories"] = {"rescan": "withdraw"}
    UNDECIDED[case](admitted)
    found = rescanned(admitted)["scorer"]
    assert (found.status, found.withdrawn) == (Status.INCONCLUSIVE, False)
    assert len(admitted.node().validated()) == 1
    assert worst([found]) == 3


def test_a_tool_with_packages_that_nobody_knows_of_never_passes_but_may_fail(home: Home) -> None:
    """Its SBOM is there, and names only what could be read: a hub may have admitted it on other grounds."""
    home.policy["advisories"] = {"rescan": "withdraw"}
    advisories(home, OLD)
    admit(home.node(), inspected(home, known=Status.INCONCLUSIVE), ANNA)
    found = rescanned(home)["scorer"]
    assert (found.status, found.withdrawn, worst([found])) == (Status.INCONCLUSIVE, False, 3)
    assert "not all that is in the image is known" in found.summary
    advisories(home, OLD, NEW)
    found = rescanned(home)["scorer"]
    assert (found.status, found.withdrawn, worst([found])) == (Status.FAILED, True, 1)


def test_an_answer_in_another_form_does_not_hide_another_tool(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another version of the check would have left it."""
    advisories(home, OLD)
    with monkeypatch.context() as patched:
        patched.setattr(f"{__name__}.canonical_json", lambda _: b'{"check": "sbom", "status": "settled"}')
        run_id = inspected(home, "broken")
    admit(home.node(), run_id, ANNA)
    onboarded(home, "scorer")
    found = rescanned(home)
    assert {name: one.status for name, one in found.items()} == {
        "broken": Status.INCONCLUSIVE,
        "scorer": Status.PASSED,
    }
    assert "Onboard the tool again" in found["broken"].problem


def test_an_image_handed_in_again_with_papers_that_break_its_inspection_is_asked_about_all_the_same(
    admitted: Home,
) -> None:
    """A declared SBOM that is too large keeps the sbom check from leaving one, and nobody has to admit that run."""
    inspected(admitted, leaving=["vulnerabilities"])
    admitted.policy["advisories"] = {"rescan": "withdraw"}
    advisories(admitted, OLD, NEW)
    found = rescanned(admitted)["scorer"]
    assert (found.status, found.new, found.withdrawn) == (Status.FAILED, ("CVE-2026-1",), True)


def test_what_a_later_inspection_of_the_image_finds_is_told_as_new_for_what_was_admitted(admitted: Home) -> None:
    advisories(admitted, OLD, NEW)
    inspected(admitted)
    assert rescanned(admitted)["scorer"].new == ("CVE-2026-1",)
    assert len(statements_of(admitted.node(), VULNS)) == 1
    assert rescanned(admitted)["scorer"].new == ()


def test_an_inspection_between_another_and_its_admission_is_not_what_was_admitted(home: Home) -> None:
    advisories(home, OLD)
    run_id = inspected(home)
    inspected(home, leaving=["vulnerabilities"])
    admit(home.node(), run_id, ANNA)
    advisories(home, NEW)
    assert rescanned(home)["scorer"].status is Status.FAILED


def own_statement(kind: str, predicate: Any) -> Callable[[Home], None]:
    """Has the node sign a statement about its tool that is in no form of this program's."""

    def append(home: Home) -> None:
        subject = ToolIdentity("scorer", "1.0.0", sha256_bytes(b"manifest of scorer")).subject()
        node = home.node()
        node.append(sign_statement(intoto.statement([subject], kind, predicate), node.key))

    return append


MALFORMED = {
    "an admission that rests on nothing": own_statement(VSA, {"verificationResult": "PASSED", "inputAttestations": []}),
    "an admission that names nothing": own_statement(VSA, {"verificationResult": "PASSED"}),
    "an admission that rests on a text": own_statement(
        VSA, {"verificationResult": "PASSED", "inputAttestations": ["x"]}
    ),
    "an admission that rests on no SHA-256": own_statement(
        VSA, {"verificationResult": "PASSED", "inputAttestations": [{"digest": {"sha256": "abc"}}]}
    ),
    "an inspection in another form": own_statement(TEST_RESULT, {INSPECTION_EXTENSION: []}),
    "an inspection whose results have no digests": own_statement(
        TEST_RESULT, {INSPECTION_EXTENSION: {"results": [{"name": "sbom"}, "x"]}}
    ),
    "a rescan without annotations": own_statement(VULNS, {"metadata": {"annotations": []}}),
    "a rescan whose document has no SHA-256": own_statement(
        VULNS, {"metadata": {"annotations": [{"document": {"digest": {"sha256": "x"}}}]}}
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_statement_of_the_node_in_another_form_hides_no_other_tool(case: str, admitted: Home) -> None:
    onboarded(admitted, "other")
    MALFORMED[case](admitted)
    advisories(admitted, OLD, NEW)
    found = rescanned(admitted)
    assert found["other"].new == ("CVE-2026-1",)
    assert found["scorer"].status is (Status.INCONCLUSIVE if "admission" in case else Status.FAILED)


@pytest.mark.parametrize("case", MALFORMED)
def test_a_statement_of_the_node_in_another_form_holds_up_no_decision(case: str, home: Home) -> None:
    advisories(home, OLD)
    MALFORMED[case](home)
    run_id = inspected(home)
    MALFORMED[case](home)
    assert admit(home.node(), run_id, ANNA).entry is not None


def test_what_an_inspection_finds_after_a_hubs_admission_was_accepted_is_told_as_new(federation: Federation) -> None:
    """Whoever hands the image in on the day on which a vulnerability becomes known must not keep that from being told.

    Neither where it is the first inspection here, nor where there was one before.
    """
    node, papers = federation.node, federation.admitted()
    advisories(node, OLD)
    federation.told()
    accept(node.node(), papers)
    assert rescanned(node)["scorer"].status is Status.INCONCLUSIVE
    advisories(node, OLD, NEW)
    inspected(node, tool=federation.hub.tool())
    assert rescanned(node)["scorer"].new == ("CVE-2026-1",)
    assert rescanned(node)["scorer"].new == ()
    later = record("PYSEC-2026-9", vector=LOW)
    advisories(node, OLD, NEW, later)
    inspected(node, tool=federation.hub.tool())
    assert rescanned(node)["scorer"].new == ("PYSEC-2026-9",)
    assert len(statements_of(node.node(), VULNS)) == 2


def test_what_an_inspection_found_before_a_hubs_admission_was_accepted_is_not_new(federation: Federation) -> None:
    node, papers = federation.node, federation.admitted()
    advisories(node, OLD, NEW)
    inspected(node, tool=federation.hub.tool())
    federation.told()
    accept(node.node(), papers)
    found = rescanned(node)["scorer"]
    assert (found.status, found.new) == (Status.FAILED, ())


def test_one_tool_that_cannot_be_read_does_not_hide_another(home: Home) -> None:
    advisories(home, OLD)
    onboarded(home, "broken", sbom=b"{}")
    onboarded(home, "scorer")
    advisories(home, NEW)
    found = rescanned(home)
    assert {name: one.status for name, one in found.items()} == {
        "broken": Status.INCONCLUSIVE,
        "scorer": Status.FAILED,
    }
    assert worst(found.values()) == 1


def lose(home: Home, *marks: bytes) -> int:
    """Remove from the store what contains all of `marks`; how many files that were."""
    store = home.node().settings.store
    lost = [p for p in store.rglob("*") if p.is_file() and all(mark in p.read_bytes() for mark in marks)]
    for path in lost:
        path.unlink()
    return len(lost)


def test_what_an_earlier_rescan_left_may_be_lost_without_hiding_any_tool(admitted: Home) -> None:
    onboarded(admitted, "other", ("gadget", "1.0"))
    advisories(admitted, OLD, NEW)
    rescanned(admitted)
    assert lose(admitted, b"CVE-2026-1", b'"unanswered"') == 1
    found = rescanned(admitted)
    assert {name: one.status for name, one in found.items()} == {"scorer": Status.FAILED, "other": Status.PASSED}
    assert found["scorer"].new == ("CVE-2026-1",), "nobody knows any more that it was told"
    assert rescanned(admitted)["scorer"].new == ()


def test_what_the_inspection_found_may_be_lost_and_all_is_new(home: Home) -> None:
    advisories(home, record("CVE-2026-1", vector=LOW))
    onboarded(home)
    assert lose(home, b'"unanswered"', b"CVE-2026-1") == 1
    home.later(days=1)
    assert rescanned(home)["scorer"].new == ("CVE-2026-1",)


def test_a_tool_with_very_many_flaws_under_long_names_is_withdrawn_all_the_same(home: Home) -> None:
    advisories(home, OLD)
    long = package_url("pypi", "widget", "1.0", qualifiers={"x": "y" * 1900})
    onboarded(home, sbom=write_bill(long))
    home.policy["advisories"] = {"rescan": "withdraw"}
    advisories(home, *(record(f"GHSA-aaaa-bbbb-{n:04d}") for n in range(300)))
    found = rescanned(home)["scorer"]
    assert (found.status, len(found.new), found.withdrawn) == (Status.FAILED, 300, True)
    (statement,) = statements_of(home.node(), VULNS)
    assert len(statement["predicate"]["scanner"]["result"]) == 50
    assert statement["predicate"]["metadata"]["annotations"][0]["vulnerabilities"] == 300
    assert home.node().validated() == ()


def write_bill(url: str) -> bytes:
    parts = [{"type": "library", "name": "widget", "purl": url}]
    return json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": parts}).encode()


def test_what_was_told_before_is_named_when_it_is_withdrawn_for(admitted: Home) -> None:
    advisories(admitted, OLD, NEW)
    rescanned(admitted)
    admitted.policy["advisories"] = {"rescan": "withdraw"}
    assert rescanned(admitted)["scorer"].withdrawn
    first, second = (one["predicate"]["scanner"]["result"] for one in statements_of(admitted.node(), VULNS))
    assert [one["id"] for one in first] == [one["id"] for one in second] == ["CVE-2026-1"]
    assert [one[0]["annotations"][0]["new"] for one in (first, second)] == [True, False]


def test_the_ledger_tells_in_words_what_was_new_and_what_a_rescan_withdrew(admitted: Home) -> None:
    advisories(admitted, OLD, NEW)
    rescanned(admitted)
    admitted.policy["advisories"] = {"rescan": "withdraw"}
    rescanned(admitted)
    told = [in_words(statement) for _, statement in signed_statements(admitted.node().ledger, start=3)]
    assert [(one.what, one.detail) for one in told[:2]] == [
        ("rescanned", "failed, 1 new vulnerabilities"),
        ("rescanned", "failed, 0 new vulnerabilities"),
    ]
    assert (told[2].what, told[2].detail) == ("withdrawn", f"at {admitted.node().place}, after a rescan")


def test_two_rescans_at_once_tell_it_once(admitted: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second looks at what was told only when the first has told it, however long that one takes."""
    advisories(admitted, OLD, NEW)
    nodes, meeting = [admitted.node(), admitted.node()], Barrier(2)

    def slowly(*subject: Any) -> LookedUp:
        with suppress(BrokenBarrierError):
            meeting.wait(1)
        return look_up_listing(*subject)

    monkeypatch.setattr("flows.rescan.look_up_listing", slowly)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(rescan_all, nodes))
    assert sorted(len(tools[0].new) for tools in done) == [0, 1]
    assert len(statements_of(admitted.node(), VULNS)) == 1


def test_a_rescan_beside_other_work_of_the_node_loses_nothing(admitted: Home) -> None:
    advisories(admitted, OLD, NEW)
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(onboarded, admitted, "other", ("gadget", "1.0"))
        two = pool.submit(rescan_all, admitted.node())
        one.result(), two.result()
    node = admitted.node()
    assert {tool.name for tool in node.validated()} == {"scorer", "other"}
    assert len(statements_of(node, VULNS)) == 1
    assert verify_ledger(node.settings.ledger, node.key.verifier).verified


def test_a_node_without_a_ledger_has_nothing_to_ask_about(home: Home) -> None:
    assert rescanned(home) == {}


def test_the_command(admitted: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    advisories(admitted, NEW)
    monkeypatch.setattr(Node, "open", lambda _: admitted.node())
    done = CliRunner().invoke(app, ["rescan", "--format", "json", "--no-record"])
    assert done.exit_code == 1, done.output
    (tool,) = json.loads(done.stdout)["tools"]
    assert (tool["tool"], tool["status"], tool["new"]) == ("scorer", "failed", ["CVE-2026-1"])
