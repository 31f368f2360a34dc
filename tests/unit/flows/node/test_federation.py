"""A hub's admissions and withdrawal lists at a node of its federation: what counts there, and what never does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from console.terminal.app import app
from flows.acceptance import Papers, accept, papers_of
from flows.decide import admit, refuse, withdraw
from flows.lists import export_list, import_list
from flows.node import Node
from flows.overview import overview
from flows.run import Order, run
from flows.tools import parse_tool
from pratique.clock import system_clock
from pratique.digests import hex_of, sha256_bytes
from pratique.errors import PratiqueError, Refused
from records import intoto, statements
from records.dsse import sign_statement
from records.keys import load_or_create_key
from records.mark import RolledBack
from records.note import sign_note
from records.standing import NotAdmitted
from records.statements import ACCEPTANCE, RUN_REFUSAL, WITHDRAWAL_LIST, PolicyReference
from records.withdrawals import ForeignList
from tests.unit.flows.node.homes import ANNA, MANIFEST, Home, image_config, image_manifest, statements_of
from tests.unit.flows.node.machines import FakeMachine

FEDERATION = "urn:pratique:federation:eucaim"
HUB, NODE = "hub.example/ledger", "north.example/ledger"


@dataclass
class Federation:
    """A hub and a node that believes it, each with its own state; their clocks show the same."""

    hub: Home
    node: Home

    def later(self, **span: float) -> None:
        self.hub.later(**span)
        self.node.later(**span)

    def admitted(self, image: str = "one", **fields: Any) -> Papers:
        """The hub admits a tool to the federation."""
        admit(self.hub.node(), self.hub.inspected(image, **fields), ANNA)
        return papers_of(
            self.hub.node(), parse_tool(fields.get("name", "scorer") + "@" + fields.get("version", "1.0.0"))
        )

    def told(self) -> None:
        """The node takes in the hub's list of now."""
        import_list(self.node.node(), export_list(self.hub.node()))

    def run(self, directory: Path, tool: str = "scorer") -> FakeMachine:
        """Run a tool at the node; the machine that did."""
        table = directory / "table.csv"
        table.write_text("patient\np1\n")
        machine = FakeMachine({sha256_bytes(image_config("one")): (sha256_bytes(b"one"),)})
        output = directory / "out"
        shutil.rmtree(output, ignore_errors=True)
        run(self.node.node(), Order(parse_tool(tool), (f"table={table}",), output), machine.connect)
        return machine

    def refused(self, directory: Path, rule: str, tool: str = "scorer") -> None:
        """Nothing runs, and that stands in the node's ledger."""
        with pytest.raises(Refused) as caught:
            self.run(directory, tool)
        assert getattr(caught.value, "rule", "") == rule, caught.value
        assert caught.value.next_step
        assert statements_of(self.node.node(), RUN_REFUSAL)[-1]["predicate"]["rule"] == rule

    def vsa(self, **changes: Any) -> Papers:
        """An admission with the hub's words and key, but for what is changed."""
        hub = self.hub.node()
        fields: dict[str, Any] = {
            "verifier_id": hub.uri,
            "resource_uri": FEDERATION,
            "time_verified": self.hub.moment,
            "policy": PolicyReference("urn:p", hub.policy.digest),
            "input_attestations": [intoto.descriptor(name="inspection", digest=sha256_bytes(b"x"))],
            "passed": True,
            "manifest": intoto.descriptor(name="scorer.cwl", digest=sha256_bytes(MANIFEST)),
        }
        key, tool = changes.pop("key", hub.key), changes.pop("tool", self.hub.tool())
        envelope = sign_statement(statements.vsa(tool, **(fields | changes)), key)
        return Papers(envelope, (MANIFEST, image_config("one"), image_manifest("one")))


@pytest.fixture
def federation(home: Home, tmp_path: Path) -> Federation:
    """A hub that has admitted nothing yet, and a node whose policy names it."""
    hub = Home(tmp_path / "hub", {**home.policy, "federation": {"place": FEDERATION}}, origin=HUB)
    node = Home(tmp_path / "node", {**home.policy, "description": "another policy"}, origin=NODE)
    for one in (hub, node):
        one.directory.mkdir()
    opened = hub.node()
    node.policy["federation"] = {
        "hubs": [
            {
                "verifier": opened.uri,
                "key": opened.key.verifier.vkey,
                "place": FEDERATION,
                "policies": [opened.policy.digest],
                "list_max_age": "7d",
            }
        ]
    }
    return Federation(hub, node)


def test_an_admission_of_the_hub(federation: Federation, tmp_path: Path) -> None:
    """Accepted from files, it lets the tool run, and the record names the hub's own statement."""
    papers = federation.admitted()
    federation.told()
    papers.write(tmp_path / "papers")
    admitted = accept(federation.node.node(), Papers.read(tmp_path / "papers"))
    assert admitted.verifier_id == federation.hub.node().uri
    assert len(federation.run(tmp_path).calls) == 1
    node = federation.node.node()
    (statement,) = statements_of(node, ACCEPTANCE)
    assert statement["predicate"]["admission"]["digest"]["sha256"] == hex_of(sha256_bytes(papers.envelope))
    (line,) = overview(node)
    assert (line.holds, "hub.example" in line.said) == (True, True)


def another_node(federation: Federation) -> Papers:
    """South believes the same hub, and signs with its own key."""
    return federation.vsa(key=load_or_create_key(federation.node.directory / "south.pem", "south.example/ledger"))


def the_nodes_own_key(federation: Federation) -> Papers:
    """Who has the node's key admits as the node, not as the hub."""
    return federation.vsa(key=federation.node.node().key)


def a_key_of_the_hubs_name(federation: Federation) -> Papers:
    return federation.vsa(key=load_or_create_key(federation.node.directory / "false.pem", HUB))


def another_verifier(federation: Federation) -> Papers:
    return federation.vsa(verifier_id="urn:pratique:node:south.example/ledger")


def to_another_node(federation: Federation) -> Papers:
    return federation.vsa(resource_uri="urn:pratique:node:south.example/ledger")


def to_a_longer_name(federation: Federation) -> Papers:
    return federation.vsa(resource_uri=f"{FEDERATION}-evil")


def to_nowhere(federation: Federation) -> Papers:
    return federation.vsa(resource_uri="")


def under_another_policy(federation: Federation) -> Papers:
    return federation.vsa(policy=PolicyReference("urn:p", sha256_bytes(b"lenient")))


def under_the_nodes_policy(federation: Federation) -> Papers:
    """The node's own policy is not one of the hub's."""
    return federation.vsa(policy=PolicyReference("urn:p", federation.node.node().policy.digest))


def expired(federation: Federation) -> Papers:
    return federation.vsa(expires=federation.hub.moment)


def too_old(federation: Federation) -> Papers:
    return federation.vsa(time_verified=federation.hub.moment - timedelta(days=365))


def from_the_future(federation: Federation) -> Papers:
    return federation.vsa(time_verified=federation.hub.moment + timedelta(hours=1))


def a_refusal(federation: Federation) -> Papers:
    return federation.vsa(passed=False)


def another_kind(federation: Federation) -> Papers:
    """A decision, signed by the hub, in the place of an admission."""
    hub = federation.hub.node()
    person = statements.Person(ANNA.person, ANNA.organisation)
    decision = statements.decision(
        federation.hub.tool(), statements.Action.ADMIT, person=person, reason="x", decided=federation.hub.moment
    )
    return Papers(sign_statement(decision, hub.key), ())


def without_its_manifest(federation: Federation) -> Papers:
    papers = federation.vsa()
    return replace(papers, documents=papers.documents[1:])


def with_another_manifest(federation: Federation) -> Papers:
    papers = federation.vsa()
    return replace(papers, documents=(MANIFEST.replace(b"scorer", b"stealer"), *papers.documents[1:]))


def without_its_image_manifest(federation: Federation) -> Papers:
    papers = federation.vsa()
    return replace(papers, documents=papers.documents[:2])


def with_another_config(federation: Federation) -> Papers:
    """The config that it names is not the one that the image's manifest names."""
    tool = replace(federation.hub.tool(), config_digest=sha256_bytes(image_config("two")))
    papers = federation.vsa(tool=tool)
    return replace(papers, documents=(MANIFEST, image_config("two"), image_manifest("one")))


@pytest.mark.parametrize(
    ("forged", "rule"),
    [
        (another_node, "admission/no-hub"),
        (the_nodes_own_key, "admission/no-hub"),
        (a_key_of_the_hubs_name, "admission/no-hub"),
        (another_verifier, "admission/no-hub"),
        (another_kind, "admission/no-hub"),
        (to_another_node, "admission/other-place"),
        (to_a_longer_name, "admission/other-place"),
        (to_nowhere, "admission/other-place"),
        (under_another_policy, "admission/other-policy"),
        (under_the_nodes_policy, "admission/other-policy"),
        (expired, "admission/expired"),
        (too_old, "admission/expired"),
        (from_the_future, "admission/clock"),
        (a_refusal, "admission/result"),
        (without_its_manifest, "run/manifest"),
        (with_another_manifest, "run/manifest"),
        (without_its_image_manifest, "run/image-manifest"),
        (with_another_config, "run/pinning"),
    ],
    ids=lambda one: one.__name__ if callable(one) else "",
)
def test_admissions_of_others_that_never_count(
    federation: Federation, forged: Callable[[Federation], Papers], rule: str
) -> None:
    """Neither of another node, nor to another place, nor under another policy, nor expired; nothing is accepted."""
    federation.told()
    papers = forged(federation)
    with pytest.raises(Refused) as caught:
        accept(federation.node.node(), papers)
    assert getattr(caught.value, "rule", "") == rule, caught.value
    assert statements_of(federation.node.node(), ACCEPTANCE) == []


def test_what_was_not_forged_counts(federation: Federation) -> None:
    """The table above fails for what it changes."""
    federation.told()
    assert accept(federation.node.node(), federation.vsa()).place == FEDERATION


@pytest.mark.parametrize(
    ("place", "to", "good"),
    [
        (f"{FEDERATION}:", f"{FEDERATION}:imaging", True),
        (f"{FEDERATION}:", FEDERATION, False),
        (f"{FEDERATION}/", f"{FEDERATION}/imaging", True),
        (FEDERATION, f"{FEDERATION}:imaging", False),
    ],
)
def test_places_below_a_place(federation: Federation, place: str, to: str, good: bool) -> None:
    """Only a place that ends in `:` or `/` stands for more than itself."""
    federation.node.policy["federation"]["hubs"][0]["place"] = place
    federation.told()
    if good:
        assert accept(federation.node.node(), federation.vsa(resource_uri=to)).place == to
    else:
        with pytest.raises(NotAdmitted, match="another place"):
            accept(federation.node.node(), federation.vsa(resource_uri=to))


# --- what changes after it was accepted ------------------------------------------------------------------------------


def hub_withdraws(federation: Federation) -> None:
    withdraw(federation.hub.node(), "scorer", ANNA)
    federation.told()


def hub_refuses_the_same_image_later(federation: Federation) -> None:
    refuse(federation.hub.node(), federation.hub.inspected(), ANNA)
    federation.told()


def node_withdraws(federation: Federation) -> None:
    withdraw(federation.node.node(), "scorer", ANNA)


def list_grows_old(federation: Federation) -> None:
    federation.later(days=7)


def policy_drops_the_hub(federation: Federation) -> None:
    federation.node.policy["federation"] = {}


def policy_names_another_key(federation: Federation) -> None:
    other = load_or_create_key(federation.node.directory / "other.pem", HUB)
    federation.node.policy["federation"]["hubs"][0]["key"] = other.verifier.vkey


def policy_drops_the_hubs_policy(federation: Federation) -> None:
    federation.node.policy["federation"]["hubs"][0]["policies"] = [sha256_bytes(b"newer")]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (hub_withdraws, "run/withdrawn"),
        (hub_refuses_the_same_image_later, "run/withdrawn"),
        (node_withdraws, "run/withdrawn"),
        (list_grows_old, "admission/stale-list"),
        (policy_drops_the_hub, "admission/no-hub"),
        (policy_names_another_key, "admission/signature"),
        (policy_drops_the_hubs_policy, "admission/other-policy"),
    ],
)
def test_what_ends_an_accepted_admission(
    federation: Federation, tmp_path: Path, change: Callable[[Federation], None], rule: str
) -> None:
    """From the next run on; and what was withdrawn is not accepted again by taking in the same admission once more."""
    papers = federation.admitted()
    federation.told()
    accept(federation.node.node(), papers)
    federation.run(tmp_path)
    change(federation)
    federation.refused(tmp_path, rule)
    if rule == "run/withdrawn":
        with pytest.raises(NotAdmitted, match="withdrawn after"):
            accept(federation.node.node(), papers)
        federation.refused(tmp_path, rule)


def test_a_list_that_stays_fresh(federation: Federation, tmp_path: Path) -> None:
    """Nothing withdrawn: the same list, issued again, keeps the admission."""
    papers = federation.admitted()
    federation.told()
    accept(federation.node.node(), papers)
    federation.later(days=6)
    federation.told()
    federation.later(days=6)
    assert federation.run(tmp_path).calls


def test_no_list_no_admission(federation: Federation) -> None:
    """Without the hub's list nobody knows what it has taken back."""
    with pytest.raises(NotAdmitted) as caught:
        accept(federation.node.node(), federation.admitted())
    assert caught.value.rule == "admission/no-list"


def test_an_image_that_the_hub_looked_at_again(federation: Federation, tmp_path: Path) -> None:
    """Withdrawn, then admitted anew: only the new admission counts."""
    old = federation.admitted()
    withdraw(federation.hub.node(), "scorer", ANNA)
    federation.later(hours=1)
    new = federation.admitted()
    federation.told()
    with pytest.raises(NotAdmitted, match="withdrawn after"):
        accept(federation.node.node(), old)
    accept(federation.node.node(), new)
    assert federation.run(tmp_path).calls


@pytest.mark.parametrize("what", ["accept", "older list"])
def test_a_process_that_is_stopped_between_check_and_record(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Somebody presses Ctrl-Z just then, waits for the withdrawal, and lets it go on: it has to look again."""
    papers, old = federation.admitted(), export_list(federation.hub.node())
    federation.told()
    accept(federation.node.node(), papers)
    federation.later(minutes=1)
    old = export_list(federation.hub.node())
    federation.later(minutes=1)
    node, stopped = federation.node.node(), [True]
    append = type(node).append

    def stopping(self: Node, *envelopes: bytes, **more: Any) -> Any:
        if stopped.pop() if stopped else False:
            if what == "accept":
                withdraw(federation.node.node(), "scorer", ANNA)
            else:
                hub_withdraws(federation)
        return append(self, *envelopes, **more)

    monkeypatch.setattr(type(node), "append", stopping)
    with pytest.raises(Refused) as caught:
        accept(node, papers) if what == "accept" else import_list(node, old)
    assert getattr(caught.value, "rule", "") in ("admission/withdrawn", "withdrawals/rolled-back")


@pytest.mark.parametrize("who", ["hub", "node"])
def test_a_clock_that_was_put_back(federation: Federation, who: str) -> None:
    """The withdrawal seems older than the admission: it counts all the same."""
    papers = federation.admitted()
    federation.told()
    accept(federation.node.node(), papers)
    home = federation.hub if who == "hub" else federation.node
    home.later(hours=-1)
    withdraw(home.node(), "scorer", ANNA)
    home.later(hours=1)
    federation.told()
    with pytest.raises(NotAdmitted, match="withdrawn after"):
        accept(federation.node.node(), papers)


def test_another_admission_from_before_the_nodes_own_withdrawal(federation: Federation) -> None:
    """The hub signs the same decision once more, in other bytes; only a later one lets the image in again."""
    began = federation.hub.moment
    papers = federation.admitted()
    federation.told()
    accept(federation.node.node(), papers)
    federation.later(hours=1)
    node_withdraws(federation)
    with pytest.raises(NotAdmitted, match="withdrawn after"):
        accept(federation.node.node(), federation.vsa(time_verified=began))
    federation.later(hours=1)
    assert accept(federation.node.node(), federation.vsa()).place == FEDERATION


def test_an_image_that_a_third_node_withdrew(federation: Federation, tmp_path: Path) -> None:
    """Whose list counts is heard on what a hub admits, too, unless the policy overrules it."""
    (tmp_path / "south").mkdir()
    south = Home(tmp_path / "south", {**federation.hub.policy}, origin="south.example/ledger")
    admit(south.node(), south.inspected(), ANNA)
    withdraw(south.node(), "scorer", ANNA)
    listening = federation.node.policy["federation"]
    listening["withdrawals"] = [south.node().key.verifier.vkey]
    import_list(federation.node.node(), export_list(south.node()))
    papers = federation.admitted()
    federation.told()
    with pytest.raises(NotAdmitted) as caught:
        accept(federation.node.node(), papers)
    assert caught.value.rule == "admission/withdrawn-elsewhere"
    listening["overruled"] = [south.tool().image_digest]
    assert accept(federation.node.node(), papers).tool.image_digest == south.tool().image_digest


def test_another_image_under_a_name_that_is_known_here(federation: Federation) -> None:
    """The hub's word does not substitute what this node has validated."""
    admit(federation.node.node(), federation.node.inspected("two"), ANNA)
    papers = federation.admitted()
    federation.told()
    with pytest.raises(Refused, match="another image was admitted"):
        accept(federation.node.node(), papers)


# --- withdrawal lists ------------------------------------------------------------------------------------------------


def test_a_withdrawal_elsewhere_ends_the_nodes_own_admission(federation: Federation, tmp_path: Path) -> None:
    """The node admitted it itself; whoever the policy names took the same image back, under whatever name."""
    admit(federation.node.node(), federation.node.inspected(), ANNA)
    federation.run(tmp_path)
    federation.admitted(name="another-name")
    withdraw(federation.hub.node(), "another-name", ANNA)
    federation.told()
    federation.refused(tmp_path, "run/withdrawn")


@pytest.mark.parametrize("before", [True, False], ids=["inspected before", "inspected after"])
def test_an_image_that_was_withdrawn_elsewhere_is_not_admitted_here(federation: Federation, before: bool) -> None:
    """A provider whom the hub sent away does not come in by the next door, unless the policy overrules it."""
    federation.admitted()
    withdraw(federation.hub.node(), "scorer", ANNA)
    run_id = federation.node.inspected() if before else ""
    federation.told()
    run_id = run_id or federation.node.inspected()
    with pytest.raises(Refused, match="withdrawn"):
        admit(federation.node.node(), run_id, ANNA)
    federation.node.policy["federation"]["overruled"] = [federation.node.tool().image_digest]
    assert admit(federation.node.node(), federation.node.inspected(), ANNA).entry is not None


def test_roll_back_of_a_withdrawal_list(federation: Federation, tmp_path: Path) -> None:
    """An older list, whole and signed: refused, and what the newer one took back stays taken back."""
    papers = federation.admitted()
    federation.told()
    accept(federation.node.node(), papers)
    old = export_list(federation.hub.node())
    federation.later(minutes=1)
    hub_withdraws(federation)
    for note in (old, old):
        with pytest.raises(ForeignList) as caught:
            import_list(federation.node.node(), note)
        assert caught.value.rule == "withdrawals/rolled-back"
    federation.refused(tmp_path, "run/withdrawn")


def test_roll_back_of_the_ledger_that_lists_stand_in(federation: Federation, tmp_path: Path) -> None:
    """To forget a list one would have to put back the node's ledger, and that is noticed."""
    papers = federation.admitted()
    federation.told()
    accept(federation.node.node(), papers)
    settings = federation.node.node().settings
    for place in (settings.ledger, settings.admissions):
        shutil.copytree(place, place.with_name(place.name + ".old"))
    hub_withdraws(federation)
    for place in (settings.ledger, settings.admissions):
        shutil.rmtree(place)
        place.with_name(place.name + ".old").rename(place)
    with pytest.raises(RolledBack):
        federation.run(tmp_path)


def test_a_hub_whose_ledger_was_put_back(federation: Federation) -> None:
    """Its new list is newer by its date, and does not continue what it said before."""
    federation.admitted()
    federation.admitted("two", name="other")
    settings = federation.hub.node().settings
    shutil.copytree(settings.home, settings.home.with_name("old"))
    withdraw(federation.hub.node(), "scorer", ANNA)
    federation.told()
    shutil.rmtree(settings.home)
    settings.home.with_name("old").rename(settings.home)
    federation.later(hours=1)
    with pytest.raises(ForeignList, match="older than"):
        federation.told()
    withdraw(federation.hub.node(), "other", ANNA)
    with pytest.raises(ForeignList, match="what stood in it before is changed"):
        federation.told()


def signed_by_nobody_known(federation: Federation) -> bytes:
    text = export_list(federation.hub.node()).rpartition(b"\n\n")[0].decode() + "\n"
    return sign_note(text, [load_or_create_key(federation.node.directory / "x.pem", HUB)])


def signed_by_the_node_itself(federation: Federation) -> bytes:
    return export_list(federation.node.node())


def of_another_node(federation: Federation) -> bytes:
    """The hub signs a list in the name of somebody else."""
    text = export_list(federation.hub.node()).rpartition(b"\n\n")[0].decode() + "\n"
    return sign_note(text.replace(HUB, "south.example/ledger", 1), [federation.hub.node().key])


def with_a_line_less(federation: Federation) -> bytes:
    """Not signed again."""
    note = export_list(federation.hub.node())
    lines = note.splitlines(keepends=True)
    return b"".join([*lines[:4], *lines[5:]])


def a_checkpoint_of_the_hub(federation: Federation) -> bytes:
    return federation.hub.node().ledger.checkpoint().note


def with_a_false_root(federation: Federation) -> bytes:
    hub = federation.hub.node()
    origin, size, _, *rest = export_list(hub).rpartition(b"\n\n")[0].decode().split("\n")
    return sign_note("\n".join([origin, size, "A" * 43 + "=", *rest]) + "\n", [hub.key])


def from_tomorrow(federation: Federation) -> bytes:
    federation.hub.later(days=1)
    return export_list(federation.hub.node())


@pytest.mark.parametrize(
    ("forged", "rule"),
    [
        (signed_by_nobody_known, "withdrawals/signature"),
        (signed_by_the_node_itself, "withdrawals/signature"),
        (with_a_line_less, "withdrawals/signature"),
        (of_another_node, "withdrawals/signer"),
        (a_checkpoint_of_the_hub, "withdrawals/form"),
        (with_a_false_root, "withdrawals/form"),
        (from_tomorrow, "withdrawals/clock"),
    ],
)
def test_lists_that_are_refused(federation: Federation, forged: Callable[[Federation], bytes], rule: str) -> None:
    """Nothing of them is taken in."""
    federation.admitted()
    withdraw(federation.hub.node(), "scorer", ANNA)
    federation.node.inspected()
    with pytest.raises(Refused) as caught:
        import_list(federation.node.node(), forged(federation))
    assert getattr(caught.value, "rule", "") == rule
    assert statements_of(federation.node.node(), WITHDRAWAL_LIST) == []


def test_a_list_of_a_node_that_is_no_hub(federation: Federation, tmp_path: Path) -> None:
    """Its key under `federation.withdrawals` is enough; its admissions still count for nothing."""
    hubs = federation.node.policy["federation"].pop("hubs")
    federation.node.policy["federation"]["withdrawals"] = [hubs[0]["key"]]
    admit(federation.node.node(), federation.node.inspected(), ANNA)
    papers = federation.admitted()
    hub_withdraws(federation)
    federation.refused(tmp_path, "run/withdrawn")
    with pytest.raises(NotAdmitted, match="not signed by a hub"):
        accept(federation.node.node(), papers)


def test_a_list_of_many(federation: Federation) -> None:
    """More than fit into one entry of the ledger; the second time only what is new."""
    hub = federation.hub.node()
    decided = [
        statements.decision(
            federation.hub.tool(f"image {number}", name=f"tool-{number}"),
            statements.Action.WITHDRAW,
            person=statements.Person("a@x.example", "A"),
            reason="Bad.",
            decided=federation.hub.moment,
        )
        for number in range(230)
    ]
    admitted = [
        sign_statement(
            statements.vsa(
                federation.hub.tool(f"image {number}", name=f"tool-{number}"),
                verifier_id=hub.uri,
                resource_uri=FEDERATION,
                time_verified=federation.hub.moment,
                policy=PolicyReference("urn:p", hub.policy.digest),
                input_attestations=[intoto.descriptor(name="inspection", digest=sha256_bytes(b"x"))],
                passed=True,
            ),
            hub.key,
        )
        for number in range(230)
    ]
    hub.append(*admitted, *(sign_statement(one, hub.key) for one in decided[:220]))
    assert len(import_list(federation.node.node(), export_list(hub)).news) == 220
    assert len(statements_of(federation.node.node(), WITHDRAWAL_LIST)) == 5
    hub.append(*(sign_statement(one, hub.key) for one in decided[220:]))
    federation.later(minutes=1)
    taken = import_list(federation.node.node(), export_list(federation.hub.node()))
    assert [one.name for one in taken.news] == [f"tool-{number}" for number in range(220, 230)]
    (known,) = federation.node.node().admissions.lists()
    assert known.size == 230


# --- at the terminal -------------------------------------------------------------------------------------------------


def test_the_commands(federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the hub's withdrawal list and admission, as files, to the node's list of admissions and back."""
    federation.hub.moment = federation.node.moment = system_clock()
    federation.admitted()

    def call(home: Home, *arguments: str) -> Result:
        monkeypatch.setenv("PRATIQUE_ORIGIN", home.origin)
        settings = home.node().settings
        return CliRunner().invoke(app, [*arguments, "--home", str(settings.home), "--policy", str(settings.policy)])

    papers, note = str(tmp_path / "papers"), str(tmp_path / "list")
    done = [
        call(federation.hub, "admissions", "export", "scorer", "-o", papers),
        call(federation.hub, "withdrawals", "export", "-o", note),
        call(federation.node, "withdrawals", "import", note),
        call(federation.node, "admissions", "import", papers),
        call(federation.node, "admissions", "list", "--format", "json"),
    ]
    assert [result.exit_code for result in done] == [0] * 5, [result.output for result in done]
    assert json.loads(done[-1].stdout)[0]["holds"] is True
    assert federation.hub.tool().image_digest in call(federation.node, "export", "vantage6").stdout
    withdraw(federation.hub.node(), "scorer", ANNA)
    assert call(federation.hub, "withdrawals", "export", "-o", note).exit_code == 0
    taken = call(federation.node, "withdrawals", "import", note)
    assert "1 of them new" in taken.stdout
    assert federation.hub.tool().image_digest not in call(federation.node, "export", "vantage6").stdout
    assert "scorer 1.0.0" in call(federation.node, "withdrawals", "show").stdout
    assert "✗ scorer" in call(federation.node, "admissions", "list").stdout
    refused = call(federation.node, "admissions", "import", papers)
    assert (refused.exit_code, "rule: admission/withdrawn" in refused.output) == (1, True)
    assert call(federation.node, "withdrawals", "import", papers).exit_code == 1
    assert call(federation.hub, "admissions", "export", "scorer", "-o", papers).exit_code == 2


@pytest.mark.parametrize("problem", ["no admission", "too many files", "in use", "a symlink"])
def test_directories_that_hold_no_papers(federation: Federation, tmp_path: Path, problem: str) -> None:
    """Said, and nothing is read or overwritten."""
    papers = federation.admitted()
    directory = tmp_path / "papers"
    papers.write(directory)
    if problem == "in use":
        with pytest.raises(PratiqueError, match="in use"):
            papers.write(directory)
        return
    if problem == "no admission":
        (directory / "admission.json").unlink()
    elif problem == "a symlink":
        (directory / "admission.json").unlink()
        (directory / "admission.json").symlink_to("/etc/passwd")
    else:
        for number in range(20):
            (directory / str(number)).write_bytes(b"x")
    with pytest.raises(PratiqueError):
        Papers.read(directory)
