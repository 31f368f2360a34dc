"""Statements say what was done in the field's own predicates, and admissions are read back from the ledger."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from checks.interface import CheckResult, Evidence, Finding, Level, Status
from checks.pinning import ValidatedVersion
from pratique.digests import canonical_json, sha256_bytes
from pratique.errors import InvalidInput
from records import intoto, statements
from records.dsse import sign_statement, verify_envelope
from records.keys import NodeKey, load_or_create_key
from records.ledger import Ledger
from records.statements import Action, Person, PolicyReference, ToolIdentity
from tests.unit.records.admitted import validated_versions

NOW = datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC)
ONE, TWO = sha256_bytes(b"one"), sha256_bytes(b"two")
TOOL = ToolIdentity("lesion-segmenter", "1.0.0", ONE, TWO)
POLICY = PolicyReference("urn:pratique:policy:federated-node", TWO)
PERSON = Person("maintainer@node.example", "Example Hospital")
HERE = "https://node.example"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> NodeKey:
    return load_or_create_key(tmp_path_factory.mktemp("keys") / "node.pem", "node.example/ledger")


def result(check: str, status: Status, *levels: Level) -> CheckResult:
    findings = tuple(Finding(rule_id=f"{check}/x", level=level, message="x") for level in levels)
    return CheckResult(check=check, version="1", status=status, summary="", findings=findings)


def stored(result: CheckResult) -> Evidence:
    data = canonical_json(result.model_dump(mode="json"))
    return Evidence(
        name=f"{result.check}.json", digest=sha256_bytes(data), media_type="application/json", size=len(data)
    )


def inspect(*given: CheckResult, **fields: Any) -> dict[str, Any]:
    results = {item.check: item for item in given}
    return statements.inspection_statement(
        TOOL,
        results,
        stored={name: stored(item) for name, item in results.items()},
        configuration=[POLICY.descriptor()],
        run_id="run-1",
        finished=NOW,
        **fields,
    )


def vsa(tool: ToolIdentity = TOOL, *, passed: bool = True, resource_uri: str = HERE) -> dict[str, Any]:
    return statements.vsa(
        tool,
        verifier_id="https://node.example/pratique",
        resource_uri=resource_uri,
        time_verified=NOW,
        policy=POLICY,
        input_attestations=[intoto.descriptor(name="inspection", digest=ONE)],
        passed=passed,
        expires=NOW,
    )


def withdraw(tool: ToolIdentity = TOOL, action: Action = Action.WITHDRAW) -> dict[str, Any]:
    return statements.decision(tool, action, person=PERSON, reason="Because.", decided=NOW)


def test_an_inspection_is_a_test_result_with_the_image_as_subject() -> None:
    """Names of checks by status, and each result by the digest under which it is stored."""
    passed, warned = result("image", Status.PASSED), result("manifest", Status.PASSED, Level.WARNING)
    inapplicable = result("membership", Status.NOT_APPLICABLE)
    statement = inspect(passed, warned, inapplicable, submission=TWO, outcome="admit", verdict=stored(passed))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert statement["subject"] == [
        {
            "name": "lesion-segmenter",
            "digest": {"sha256": ONE.removeprefix("sha256:")},
            "annotations": {"version": "1.0.0", "configDigest": TWO},
        }
    ]
    predicate = statement["predicate"]
    assert (predicate["result"], predicate["passedTests"], predicate["warnedTests"]) == (
        "WARNED",
        ["image"],
        ["manifest"],
    )
    assert predicate["configuration"] == [{"uri": POLICY.uri, "digest": {"sha256": TWO.removeprefix("sha256:")}}]
    extension = predicate[statements.INSPECTION_EXTENSION]
    assert extension["notApplicableTests"] == ["membership"]
    assert extension["verdict"]["outcome"] == "admit"
    assert [item["digest"]["sha256"] for item in extension["results"]] == [
        stored(item).digest.removeprefix("sha256:") for item in (passed, warned, inapplicable)
    ]


@pytest.mark.parametrize(
    ("statuses", "outcome", "failed"),
    [
        ([Status.PASSED], "PASSED", []),
        ([Status.PASSED, Status.INCONCLUSIVE], "FAILED", ["check_1"]),
        ([Status.PASSED, Status.FAILED], "FAILED", ["check_1"]),
        ([Status.NOT_APPLICABLE], "PASSED", []),
        ([], "FAILED", []),
    ],
)
def test_what_was_not_decided_never_reads_as_passed(statuses: list[Status], outcome: str, failed: list[str]) -> None:
    """A reader who knows only the published predicate takes doubt, and nothing at all, for failure."""
    given = [result(f"check_{number}", status) for number, status in enumerate(statuses)]
    predicate = inspect(*given)["predicate"]
    assert (predicate["result"], predicate["failedTests"]) == (outcome, failed)
    assert predicate[statements.INSPECTION_EXTENSION]["inconclusiveTests"] == [
        item.check for item in given if item.status is Status.INCONCLUSIVE
    ]


def test_an_admission_is_a_vsa() -> None:
    """The fields that SLSA requires, and `FAILED` as level when it is none."""
    predicate = vsa()["predicate"]
    assert predicate["verificationResult"] == "PASSED"
    assert predicate["resourceUri"] == HERE
    assert predicate["timeVerified"] == "2026-11-22T03:04:05Z"
    assert predicate["policy"]["uri"] == POLICY.uri
    assert predicate["inputAttestations"][0]["digest"]
    assert predicate["verifiedLevels"] == ["PRATIQUE_ADMITTED"]
    assert vsa(passed=False)["predicate"]["verifiedLevels"] == ["FAILED"]


def test_a_decision_says_who_why_and_until_when() -> None:
    """Without a reason there is no decision."""
    predicate = statements.decision(
        TOOL, Action.ADMIT, person=PERSON, reason="Reviewed.", decided=NOW, run_id="run-1", expires=NOW
    )["predicate"]
    assert predicate["person"] == {"identity": "maintainer@node.example", "organisation": "Example Hospital"}
    assert (predicate["decision"], predicate["reason"], predicate["runId"]) == ("admit", "Reviewed.", "run-1")
    assert predicate["expires"] == "2026-11-22T03:04:05Z"
    with pytest.raises(InvalidInput):
        statements.decision(TOOL, Action.ADMIT, person=PERSON, reason="  ", decided=NOW)


def test_an_execution_record_is_slsa_provenance() -> None:
    """Image and inputs are dependencies, outputs subjects, logs byproducts; a run without outputs has its log."""
    image, table = intoto.descriptor(name="image", digest=ONE), intoto.descriptor(name="table", digest=TWO)
    log = intoto.descriptor(name="log", digest=sha256_bytes(b"log"))
    for outputs in ([table], []):
        statement = statements.execution_record(
            image=image,
            inputs=[table],
            outputs=outputs,
            byproducts=[log],
            external={"tool": "lesion-segmenter@1.0.0"},
            internal={"spec": TWO},
            node_id=HERE,
            node_version={"pratique": "0.1.0"},
            run_id="run-1",
            started=NOW,
            finished=NOW,
        )
        assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
        assert statement["subject"] == (outputs or [log])
        definition, details = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
        assert definition["resolvedDependencies"] == [image, table]
        assert details["byproducts"] == [log]
        assert details["metadata"]["invocationId"] == "run-1"


@pytest.mark.parametrize(
    "build",
    [
        lambda: intoto.statement([], statements.VSA, {}),
        lambda: intoto.statement([{"name": "x"}], statements.VSA, {}),
        lambda: intoto.descriptor(name="x"),
        lambda: statements.inspection_statement(
            TOOL,
            {"image": result("image", Status.PASSED)},
            stored={},
            configuration=[],
            run_id="r",
            finished=NOW,
        ),
    ],
)
def test_statements_that_would_say_nothing_are_not_made(build: Callable[[], object]) -> None:
    """No subject, no digest, a result that nobody kept."""
    with pytest.raises(InvalidInput) as caught:
        build()
    assert caught.value.next_step


def test_every_statement_signs_into_an_entry_and_verifies(tmp_path: Path, key: NodeKey) -> None:
    """All kinds fit the ledger as they are signed."""
    ledger = Ledger(tmp_path, "node.example/ledger", key)
    made = [inspect(result("image", Status.PASSED)), vsa(), withdraw()]
    for statement in made:
        ledger.append(sign_statement(statement, key))
    assert [verify_envelope(item.data, [key.verifier]) for item in ledger.entries()] == made


class Book:
    """A ledger written with a few words."""

    def __init__(self, root: Path, key: NodeKey) -> None:
        self.ledger = Ledger(root, "node.example/ledger", key)
        self.key = key

    def add(self, *made: dict[str, Any], key: NodeKey | None = None) -> Book:
        self.ledger.extend([sign_statement(statement, key or self.key) for statement in made])
        return self

    def versions(self) -> list[ValidatedVersion]:
        return validated_versions(self.ledger, resource_uri=HERE)


@pytest.fixture
def book(tmp_path: Path, key: NodeKey) -> Book:
    return Book(tmp_path / "ledger", key)


OTHER_IMAGE = ToolIdentity("lesion-segmenter", "1.0.0", TWO)
NEXT_VERSION = ToolIdentity("lesion-segmenter", "2.0.0", TWO)
FIRST = ValidatedVersion("lesion-segmenter", "1.0.0", ONE, 0)


def test_the_last_admission_counts(book: Book) -> None:
    """Each version has the image of its last admission, with the entry that says so."""
    assert book.versions() == []
    book.add(vsa(), vsa(NEXT_VERSION))
    assert book.versions() == [FIRST, ValidatedVersion("lesion-segmenter", "2.0.0", TWO, 1)]
    book.add(vsa(OTHER_IMAGE))
    assert book.versions()[0] == ValidatedVersion("lesion-segmenter", "1.0.0", TWO, 2)


@pytest.mark.parametrize(
    ("case", "then", "remains"),
    [
        ("withdrawn", [withdraw()], False),
        ("verified again and failed", [vsa(passed=False)], False),
        ("refused, which is not withdrawn", [withdraw(action=Action.REFUSE)], True),
        ("another image of this version withdrawn", [withdraw(OTHER_IMAGE)], True),
        ("another image of this version failed", [vsa(OTHER_IMAGE, passed=False)], True),
        ("another version withdrawn", [withdraw(NEXT_VERSION)], True),
        ("inspected again", [inspect(result("image", Status.FAILED))], True),
    ],
)
def test_what_takes_an_admission_back(book: Book, case: str, then: list[dict[str, Any]], remains: bool) -> None:
    """A withdrawal or a failed verification of the same image, and nothing else."""
    book.add(vsa(), *then)
    assert book.versions() == ([FIRST] if remains else []), case


def test_a_version_admitted_again_after_its_withdrawal(book: Book) -> None:
    """The ledger is read in order."""
    book.add(vsa(), withdraw(), vsa())
    assert book.versions() == [ValidatedVersion("lesion-segmenter", "1.0.0", ONE, 2)]


def test_what_admits_nothing(book: Book, tmp_path: Path) -> None:
    """Elsewhere's admission, a stranger's signature, other predicates, odd subjects, entries that are no statement."""
    stranger = load_or_create_key(tmp_path / "stranger.pem", "stranger.example")
    book.add(vsa(resource_uri="https://elsewhere.example"))
    book.add(vsa(), key=stranger)
    book.add(vsa() | {"predicateType": "https://slsa.dev/verification_summary/v0.2"})
    book.add(vsa(OTHER_IMAGE) | {"predicate": vsa()["predicate"] | {"verificationResult": "passed"}})
    book.add(vsa() | {"subject": [{"digest": {"sha512": "00"}}, {"name": "x", "digest": {"sha256": "A" * 64}}]})
    book.add(vsa() | {"subject": [{"name": "x", "digest": {"sha256": "0" * 64}, "annotations": {"version": 1}}]})
    book.ledger.append(canonical_json({"hello": "world"}))
    assert book.versions() == []
    assert [item.entry for item in validated_versions(book.ledger)] == [0]
    assert [item.entry for item in validated_versions(book.ledger, [stranger.verifier])] == [1]
    assert json.loads(book.ledger.entry(6)) == {"hello": "world"}
