"""Others' withdrawal lists at a node: what they end, and what keeps an older one out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.acceptance import accept
from flows.decide import admit, withdraw
from flows.lists import export_list, import_list
from pratique.digests import sha256_bytes
from pratique.errors import Refused
from records import intoto, statements
from records.dsse import sign_statement
from records.keys import load_or_create_key
from records.mark import RolledBack
from records.note import sign_note
from records.standing import NotAdmitted
from records.statements import WITHDRAWAL_LIST, PolicyReference
from records.withdrawals import ForeignList
from tests.unit.flows.node.federations import FEDERATION, HUB, Federation, hub_withdraws
from tests.unit.flows.node.homes import ANNA, statements_of


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
