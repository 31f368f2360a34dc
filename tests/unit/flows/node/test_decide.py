"""Who may decide what, and what a decision leads to: admit, refuse, withdraw."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from checks.pinning import ValidatedVersion
from flows.decide import Admission, Decision, admit, refuse, withdraw
from flows.node import Node
from pratique.digests import sha256_bytes
from pratique.errors import InvalidInput, NotAuthorised, PratiqueError, Refused, UsageError
from records import intoto, statements
from records.dsse import sign_statement
from records.keys import load_or_create_key
from records.statements import ADMISSION_EXTENSION, DECISION, VSA, Action, Person
from tests.unit.flows.node.homes import ANNA, BORIS, START, SUBMITTER, Home, statements_of

PEOPLE: list[dict[str, Any]] = [
    {"identity": ANNA.person, "organisation": ANNA.organisation},
    {"identity": BORIS.person, "organisation": BORIS.organisation, "may": ["admit"]},
]


def admitted(home: Home, run: str, given: Decision = ANNA, **options: Any) -> Admission:
    return admit(home.node(), run, given, **options)


def validated(home: Home) -> list[tuple[str, str]]:
    return [(one.version, str(one.image_digest)) for one in home.node().validated()]


def test_one_decision_admits_where_the_policy_asks_for_one(home: Home) -> None:
    """The admission names place, policy, inspection, decision, manifest and end."""
    run = home.inspected()
    admission = admitted(home, run)
    node = home.node()
    (statement,) = statements_of(node, VSA)
    predicate = statement["predicate"]
    assert admission.entry == 2
    assert predicate["resourceUri"] == node.uri
    assert "sha256:" + predicate["policy"]["digest"]["sha256"] == node.policy.digest
    assert [one["name"] for one in predicate["inputAttestations"]] == ["inspection", "decision"]
    extension = predicate[ADMISSION_EXTENSION]
    assert extension["expires"] == "2027-03-01T12:00:00Z"
    assert extension["toolManifest"]["name"] == "scorer.cwl"
    assert validated(home) == [("1.0.0", home.tool().image_digest)]


def test_two_persons_of_two_organisations(home: Home) -> None:
    """The first decision is recorded and admits nothing; the earlier end of the two counts."""
    home.policy["approvals"] = {"admit": {"persons": 2, "organisations": 2}}
    run = home.inspected()
    first = admitted(home, run, until=START + timedelta(days=30))
    assert first.entry is None
    assert first.missing == "1 more of 2 persons and 1 more of 2 organisations"
    assert validated(home) == []
    second = admitted(home, run, BORIS)
    assert second.entry is not None
    assert second.expires == START + timedelta(days=30)


@pytest.mark.parametrize(
    "again",
    [
        ANNA,
        replace(ANNA, person=" Anna@Node.Example "),
        replace(ANNA, person="\uff41nna@node.example", organisation=""),
    ],
    ids=["as before", "other letter case", "look-alike letter"],
)
def test_the_same_person_twice(home: Home, again: Decision) -> None:
    """One voice counts once, however it is written, also for another organisation."""
    home.policy["approvals"] = {"admit": {"persons": 2, "organisations": 1}}
    run = home.inspected()
    admitted(home, run)
    with pytest.raises(NotAuthorised, match="decided already"):
        admitted(home, run, again)
    assert len(statements_of(home.node(), DECISION)) == 1


@pytest.mark.parametrize(
    "again",
    [
        "anna+2@node.example",
        "anna@node.example.",
        "an\u200bna@node.example",
        "a\u0301nna@node.example",
        "anna @node.example",
    ],
    ids=["tagged address", "rooted domain", "zero-width space", "accent", "space"],
)
def test_the_same_person_spelled_otherwise(home: Home, again: str) -> None:
    """What nobody sees, or a mail server ignores, makes no second person."""
    home.policy["approvals"] = {"admit": {"persons": 2, "organisations": 1}}
    run = home.inspected()
    admitted(home, run)
    with pytest.raises(NotAuthorised, match="decided already"):
        admitted(home, run, replace(ANNA, person=again))


@pytest.mark.parametrize(
    "name",
    [
        "north hospital",
        "North  Hospital",
        "North-Hospital",
        "North Hospital.",
        "N\u00f6rth Hospital",
        "No\u00adrth Hospital",
    ],
    ids=["case", "two spaces", "hyphen", "full stop", "umlaut", "soft hyphen"],
)
def test_the_same_organisation_spelled_otherwise(home: Home, name: str) -> None:
    """Two persons of one hospital are one organisation, however they write it."""
    home.policy["approvals"] = {"admit": {"persons": 2, "organisations": 2}}
    run = home.inspected()
    admitted(home, run)
    assert admitted(home, run, replace(BORIS, organisation=name)).missing == "1 more of 2 organisations"


@pytest.mark.parametrize(
    "change",
    [{"person": "b\u043eris@other.example"}, {"organisation": "N\u043erth Hospital"}, {"organisation": "N\u03bfrth"}],
    ids=["Cyrillic letter in an address", "Cyrillic letter in an organisation", "Greek letter"],
)
def test_names_that_only_look_like_others(home: Home, change: dict[str, Any]) -> None:
    """A word of two alphabets is written to be taken for another word; a word of one may be in any."""
    home.policy["approvals"] = {"admit": {"persons": 2, "organisations": 2}}
    run = home.inspected()
    with pytest.raises(UsageError, match="mixes alphabets"):
        admitted(home, run, replace(BORIS, **change))
    assert admitted(home, run, replace(BORIS, organisation="\u0411\u043e\u043b\u043d\u0438\u0446\u0430 1")).missing


def test_two_persons_of_the_same_organisation(home: Home) -> None:
    """A colleague is a second person, not a second organisation."""
    home.policy["approvals"] = {"admit": {"persons": 2, "organisations": 2}}
    run = home.inspected()
    admitted(home, run)
    colleague = replace(BORIS, organisation="NORTH HOSPITAL")
    assert admitted(home, run, colleague).missing == "1 more of 2 organisations"


@pytest.mark.parametrize("person", [SUBMITTER, "Release@Provider.Example", f" {SUBMITTER}"])
def test_a_decision_by_the_submitter(home: Home, person: str) -> None:
    """The signed inspection says who submitted; nothing on disk can change that."""
    run = home.inspected()
    with pytest.raises(NotAuthorised, match="submitted this tool"):
        admitted(home, run, replace(ANNA, person=person))
    assert statements_of(home.node(), DECISION) == []


def test_an_inspection_that_does_not_say_who_submitted(home: Home) -> None:
    """Without a name nobody could be told from the submitter."""
    run = home.inspected(submitter="")
    with pytest.raises(Refused, match="who submitted"):
        admitted(home, run)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (Decision("mallory@node.example", "North Hospital", "x"), "may not admit"),
        (replace(ANNA, organisation="South Hospital"), "decides for North Hospital"),
    ],
    ids=["nobody whom the policy names", "for another organisation"],
)
def test_people_whom_the_policy_does_not_name_so(home: Home, given: Decision, match: str) -> None:
    """Where the policy names people, others decide nothing."""
    home.policy["approvals"] = {"admit": {"persons": 1, "organisations": 1}, "people": PEOPLE}
    run = home.inspected()
    with pytest.raises(NotAuthorised, match=match):
        admitted(home, run, given)
    assert admitted(home, run, replace(ANNA, organisation="")).entry is not None


def test_somebody_who_may_only_admit(home: Home) -> None:
    """A role is per kind of decision."""
    home.policy["approvals"] = {"admit": {"persons": 1, "organisations": 1}, "people": PEOPLE}
    run = home.inspected()
    with pytest.raises(NotAuthorised, match="may not refuse"):
        refuse(home.node(), run, BORIS)
    admitted(home, run)
    with pytest.raises(NotAuthorised, match="may not withdraw"):
        withdraw(home.node(), "scorer", BORIS)


def test_a_decision_without_the_persons_own_key(home: Home, tmp_path: Path) -> None:
    """Where the policy gives a person a key, their name alone is worth nothing; both signatures are in the ledger."""
    own = load_or_create_key(tmp_path / "anna.pem", ANNA.person)
    other = load_or_create_key(tmp_path / "other.pem", ANNA.person)
    people = [{**PEOPLE[0], "key": own.verifier.vkey}]
    home.policy["approvals"] = {"admit": {"persons": 1, "organisations": 1}, "people": people}
    run = home.inspected()
    for key in (None, other):
        with pytest.raises(NotAuthorised, match="not signed with the key"):
            admitted(home, run, replace(ANNA, key=key))
    assert admitted(home, run, replace(ANNA, key=own)).entry is not None


def test_one_person_with_two_names_in_the_policy(home: Home, tmp_path: Path) -> None:
    """Whether by spelling, by an alias, or by one key for both: it is no policy."""
    own = load_or_create_key(tmp_path / "anna.pem", ANNA.person).verifier.vkey
    _, _, key = own.split("+", 2)
    second: list[dict[str, Any]] = [
        {"identity": "\uff41nna@node.example", "organisation": "Other"},
        {"identity": "x@other.example", "organisation": "Other", "aliases": ["Anna+1@node.example"]},
        {"identity": "x@other.example", "organisation": "Other", "key": f"x@other.example+00000000+{key}"},
    ]
    for one in second:
        home.policy["approvals"] = {
            "admit": {"persons": 2, "organisations": 2},
            "people": [{**PEOPLE[0], "key": own}, one],
        }
        with pytest.raises(InvalidInput) as caught:
            home.node()
        assert caught.value.rule == "policy/form"


def test_a_submitter_under_another_name_of_theirs(home: Home) -> None:
    """The policy knows the addresses of its people, and none of them may admit what another of theirs submitted."""
    home.policy["approvals"] = {"admit": {"persons": 1, "organisations": 1}, "people": [*PEOPLE]}
    home.policy["approvals"]["people"][0] = {**PEOPLE[0], "aliases": ["a.smith@provider.example"]}
    run = home.inspected(submitter="A.Smith+tools@provider.example")
    for name in (ANNA.person, "a.smith@provider.example"):
        with pytest.raises(NotAuthorised, match="submitted this tool"):
            admitted(home, run, replace(ANNA, person=name))
    assert admitted(home, run, BORIS).entry is not None


def test_a_key_that_has_ended(home: Home, tmp_path: Path) -> None:
    """Nothing is decided before or after its time; what was decided within it still counts."""
    own, his = (load_or_create_key(tmp_path / f"{one.person}.pem", one.person) for one in (ANNA, BORIS))
    window = {"not_before": "2026-03-01T12:00:00Z", "not_after": "2026-03-02T12:00:00Z"}
    people = [{**PEOPLE[0], "key": own.verifier.vkey, **window}, {**PEOPLE[1], "key": his.verifier.vkey}]
    home.policy["approvals"] = {"admit": {"persons": 2, "organisations": 2}, "people": people}
    first, second = home.inspected(), home.inspected("two", version="2.0.0")
    anna = replace(ANNA, key=own)
    home.later(seconds=-1)
    with pytest.raises(NotAuthorised, match="not decide yet"):
        admitted(home, first, anna)
    home.later(seconds=1)
    admitted(home, first, anna)
    home.later(days=1, seconds=1)
    with pytest.raises(NotAuthorised, match="any more"):
        admitted(home, second, anna)
    assert admitted(home, first, replace(BORIS, key=his)).entry is not None


def test_a_decision_whose_end_has_passed_counts_no_more(home: Home) -> None:
    """Who said "until tomorrow" has to be asked again the day after."""
    home.policy["approvals"] = {"admit": {"persons": 2, "organisations": 2}}
    run = home.inspected()
    admitted(home, run, until=START + timedelta(days=1))
    home.later(days=1)
    late = admitted(home, run, BORIS)
    assert (late.entry, late.missing) == (None, "1 more of 2 persons and 1 more of 2 organisations")
    assert admitted(home, run).entry is not None


def test_people_without_keys_where_several_must_admit(home: Home, tmp_path: Path) -> None:
    """One of them could speak for the others: it is no policy, and one key too few is none either."""
    own = load_or_create_key(tmp_path / "anna.pem", ANNA.person).verifier.vkey
    for people in ([*PEOPLE], [{**PEOPLE[0], "key": own}, PEOPLE[1]]):
        home.policy["approvals"] = {"admit": {"persons": 2, "organisations": 2}, "people": people}
        with pytest.raises(InvalidInput, match="a key of their own") as caught:
            home.node()
        assert caught.value.rule == "policy/form"


def test_a_decision_that_is_replayed(home: Home) -> None:
    """The same envelope again, whoever appends it, is the same voice."""
    home.policy["approvals"] = {"admit": {"persons": 2, "organisations": 1}}
    run = home.inspected()
    admitted(home, run)
    node = home.node()
    node.append(*[node.ledger.entry(1)] * 3)
    assert admitted(home, run, BORIS).entry == 6, "Boris was needed"


@pytest.mark.parametrize("what", ["another run", "another image", "another inspection"])
def test_a_decision_on_something_else(home: Home, what: str) -> None:
    """A voice counts for the run, the image and the inspection that it names, all three."""
    home.policy["approvals"] = {"admit": {"persons": 2, "organisations": 2}}
    run, other = home.inspected(), home.inspected("two", version="2.0.0")
    node = home.node()
    digests = [sha256_bytes(node.ledger.entry(entry)) for entry in (0, 1)]
    person = Person(ANNA.person, ANNA.organisation)
    given = statements.decision(
        home.tool("two", version="2.0.0") if what == "another image" else home.tool(),
        Action.ADMIT,
        person=person,
        reason="Yes.",
        decided=home.moment,
        run_id=other if what == "another run" else run,
        inspection=intoto.descriptor(name="inspection", digest=digests[what == "another inspection"]),
    )
    node.append(sign_statement(given, node.key))
    assert admitted(home, run, BORIS).missing == "1 more of 2 persons and 1 more of 2 organisations"


@pytest.mark.parametrize("who", ["the submitter", "somebody unnamed", "somebody without their key"])
def test_a_decision_that_nobody_was_let_take(home: Home, tmp_path: Path, who: str) -> None:
    """However it came into the ledger: it counts only where the policy lets its owner decide, and under their key."""
    named = [*PEOPLE, {"identity": SUBMITTER, "organisation": "Provider"}]
    keys = {one["identity"]: load_or_create_key(tmp_path / one["identity"], one["identity"]) for one in named}
    people = [{**one, "key": keys[one["identity"]].verifier.vkey} for one in named]
    home.policy["approvals"] = {"admit": {"persons": 2, "organisations": 2}, "people": people}
    run, node = home.inspected(), home.node()
    person, signers = {
        "the submitter": (Person(SUBMITTER, "Provider"), [keys[SUBMITTER]]),
        "somebody unnamed": (Person("carla@third.example", "Third"), []),
        "somebody without their key": (Person(ANNA.person, ANNA.organisation), []),
    }[who]
    given = statements.decision(
        home.tool(),
        Action.ADMIT,
        person=person,
        reason="Yes.",
        decided=home.moment,
        run_id=run,
        inspection=intoto.descriptor(name="inspection", digest=sha256_bytes(node.ledger.entry(0))),
    )
    node.append(sign_statement(given, node.key, *signers))
    his = replace(BORIS, key=keys[BORIS.person])
    assert admitted(home, run, his).missing == "1 more of 2 persons and 1 more of 2 organisations"


def test_somebody_who_decides_for_no_organisation_is_no_second_one(home: Home) -> None:
    """Two organisations are two that have a name."""
    home.policy["approvals"] = {"admit": {"persons": 2, "organisations": 2}}
    run = home.inspected()
    admitted(home, run, replace(ANNA, organisation=""))
    assert admitted(home, run, BORIS).missing == "1 more of 2 organisations"


def test_a_decision_after_the_withdrawal(home: Home) -> None:
    """Half of the people agreed before it; the other half comes too late."""
    home.policy["approvals"] = {"admit": {"persons": 2, "organisations": 2}}
    old, late = home.inspected(), home.inspected()
    for given in (ANNA, BORIS):
        admitted(home, old, given)
    admitted(home, late)
    withdraw(home.node(), "scorer", ANNA)
    with pytest.raises(Refused, match="withdrawn after"):
        admitted(home, late, BORIS)


def test_a_withdrawal_just_before_the_admission_is_recorded(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs of one image, one of them admitted: who admits the other and stops in between has to look again."""
    first, second = home.inspected(), home.inspected()
    admitted(home, first)
    append, waiting = Node.append, [True]

    def overtaken(self: Node, *envelopes: bytes, **more: Any) -> Any:
        if more.get("after") is not None and waiting:
            waiting.clear()
            withdraw(home.node(), "scorer", ANNA)
        return append(self, *envelopes, **more)

    monkeypatch.setattr(Node, "append", overtaken)
    with pytest.raises(Refused, match="withdrawn after"):
        admitted(home, second, BORIS)
    assert validated(home) == []


def test_people_who_changed_between_two_decisions(home: Home, tmp_path: Path) -> None:
    """Who may decide is part of the policy, and another policy needs another inspection."""
    third = {"identity": "carla@third.example", "organisation": "Third"}
    keys = {
        one["identity"]: load_or_create_key(tmp_path / one["identity"], one["identity"]) for one in (*PEOPLE, third)
    }
    people = [{**one, "key": keys[one["identity"]].verifier.vkey} for one in (*PEOPLE, third)]
    approvals: dict[str, Any] = {"admit": {"persons": 2, "organisations": 2}, "people": people}
    home.policy["approvals"] = approvals
    run = home.inspected()
    admitted(home, run, replace(ANNA, key=keys[ANNA.person]))
    approvals["people"] = people[1:]
    node = home.node()
    with pytest.raises(Refused, match="policy has changed"):
        admit(node, run, replace(BORIS, key=keys[BORIS.person]))


@pytest.mark.parametrize(
    ("until", "good"),
    [(timedelta(days=1), True), (timedelta(days=365), True), (timedelta(days=366), False), (timedelta(0), False)],
    ids=["a day", "as long as the policy lets it", "longer", "no time at all"],
)
def test_the_end_of_an_admission(home: Home, until: timedelta, good: bool) -> None:
    """`--until` may shorten what the policy allows, never lengthen it."""
    run = home.inspected()
    if good:
        assert admitted(home, run, until=START + until).expires == START + until
    else:
        with pytest.raises(UsageError, match="no later than the policy"):
            admitted(home, run, until=START + until)


@pytest.mark.parametrize("outcome", ["refuse", "review", ""])
def test_a_verdict_that_is_not_admit(home: Home, outcome: str) -> None:
    """People cannot overrule the policy by hand."""
    run = home.inspected(outcome=outcome)
    with pytest.raises(Refused, match="cannot be admitted"):
        admitted(home, run)


def test_a_policy_that_changed_since_the_inspection(home: Home) -> None:
    """What was found was judged by another policy."""
    run = home.inspected()
    home.policy["description"] = "another one"
    with pytest.raises(Refused, match="policy has changed"):
        admitted(home, run)


def test_a_run_that_was_refused(home: Home) -> None:
    """A refusal closes the run; a new inspection can still be admitted."""
    run = home.inspected()
    refuse(home.node(), run, BORIS)
    with pytest.raises(Refused, match="refused this run"):
        admitted(home, run)
    assert [s["predicate"]["verificationResult"] for s in statements_of(home.node(), VSA)] == ["FAILED"]
    assert admitted(home, home.inspected()).entry is not None


def test_a_refusal_ends_an_earlier_admission_of_the_same_image(home: Home) -> None:
    """What a second look finds counts for the first admission too."""
    admitted(home, home.inspected())
    refuse(home.node(), home.inspected(), ANNA)
    assert validated(home) == []


def test_refusing_what_was_admitted(home: Home) -> None:
    """That is a withdrawal."""
    run = home.inspected()
    admitted(home, run)
    with pytest.raises(UsageError, match="was admitted"):
        refuse(home.node(), run, ANNA)


def test_admitting_twice(home: Home) -> None:
    """One run leads to one admission."""
    run = home.inspected()
    admitted(home, run)
    with pytest.raises(Refused, match="was admitted after this run"):
        admitted(home, run, BORIS)


def test_a_run_inspected_before_the_withdrawal(home: Home) -> None:
    """A withdrawal cannot be undone by an old run of the same image."""
    old, other = home.inspected(), home.inspected()
    admitted(home, other)
    withdraw(home.node(), "scorer", ANNA)
    with pytest.raises(Refused, match="withdrawn after"):
        admitted(home, old)
    with pytest.raises(Refused, match="withdrawn after"):  # the run that had led to the admission, too
        admitted(home, other, BORIS)
    assert admitted(home, home.inspected(), despite=True).entry is not None


def test_another_image_admitted_in_between(home: Home) -> None:
    """Two runs passed the pinning check before either was admitted; only the first can be."""
    first, second = home.inspected("one"), home.inspected("two")
    admitted(home, first)
    with pytest.raises(Refused, match="another image was admitted"):
        admitted(home, second)


@pytest.mark.parametrize(
    ("tool", "left"),
    [
        ("scorer", []),
        ("scorer@1.0.0", ["2.0.0"]),
        ("scorer@{two}", ["1.0.0"]),
    ],
    ids=["every version", "one version", "one image"],
)
def test_withdrawing(home: Home, tool: str, left: list[str]) -> None:
    """By name, version or image; the count of withdrawals never gets less."""
    for image, version in (("one", "1.0.0"), ("two", "2.0.0")):
        admitted(home, home.inspected(image, version=version))
    taken = withdraw(home.node(), tool.format(two=home.tool("two").image_digest), ANNA)
    assert len(taken) == 2 - len(left)
    assert [version for version, _ in validated(home)] == left
    assert home.node().admissions.withdrawals() == len(taken)
    with pytest.raises(UsageError, match="stands"):
        withdraw(home.node(), tool.format(two=home.tool("two").image_digest), ANNA)


def test_an_expired_version_stays_bound_to_its_image(home: Home) -> None:
    """Pinning must still tell a substituted image from the one that was validated."""
    admission = admitted(home, home.inspected())
    home.later(days=400)
    digest = home.tool().image_digest
    assert home.node().validated() == (ValidatedVersion("scorer", "1.0.0", digest, admission.entry or 0),)


@pytest.mark.parametrize("text", ["", "a b", "UPPER", "a@", "a@sha256:00", "../x", "a@1@2", "a" * 101, "a@-1"])
def test_names_that_name_no_tool(home: Home, text: str) -> None:
    """Nothing is guessed."""
    admitted(home, home.inspected())
    with pytest.raises(UsageError, match="names no tool"):
        withdraw(home.node(), text, ANNA)


@pytest.mark.parametrize(
    ("given", "error"),
    [(replace(ANNA, reason=" "), InvalidInput), (replace(ANNA, person=" "), UsageError)],
    ids=["without a reason", "by nobody"],
)
def test_decisions_that_say_too_little(home: Home, given: Decision, error: type[PratiqueError]) -> None:
    """Neither is recorded."""
    run = home.inspected()
    size = home.node().head().size
    with pytest.raises(error):
        admitted(home, run, given)
    assert home.node().head().size == size


def test_a_run_that_the_ledger_does_not_know(home: Home) -> None:
    """Also where there is no ledger at all."""
    with pytest.raises(UsageError, match="no ledger yet"):
        admitted(home, "20260301T120000-00000001")
    home.inspected()
    with pytest.raises(UsageError, match="knows no inspection"):
        admitted(home, "20260301T120000-ffffffff")
