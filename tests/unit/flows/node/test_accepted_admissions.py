"""What ends an admission that a node accepted from its hub, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.acceptance import accept
from flows.decide import admit, refuse, withdraw
from flows.lists import export_list, import_list
from flows.node import Node
from pratique.digests import sha256_bytes
from pratique.errors import Refused
from records.keys import load_or_create_key
from records.standing import NotAdmitted
from tests.unit.flows.node.federations import FEDERATION, HUB, Federation, hub_withdraws, node_withdraws
from tests.unit.flows.node.homes import ANNA, MANIFEST, Home, image_config, image_manifest


def hub_refuses_the_same_image_later(federation: Federation) -> None:
    refuse(federation.hub.node(), federation.hub.inspected(), ANNA)
    federation.told()


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
    new = federation.admitted(despite=True)
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
    """A little: the withdrawal seems older than the admission, and counts all the same."""
    papers = federation.admitted()
    federation.told()
    accept(federation.node.node(), papers)
    home = federation.hub if who == "hub" else federation.node
    home.later(minutes=-4)
    withdraw(home.node(), "scorer", ANNA)
    home.later(minutes=4)
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


def test_an_older_admission_after_another_image_took_the_name_of_the_one_withdrawn(federation: Federation) -> None:
    """What stands under its name now does not make the node forget what it withdrew."""
    papers, alias = federation.admitted(), federation.admitted(name="alias")
    federation.told()
    accept(federation.node.node(), papers)
    federation.later(hours=1)
    node_withdraws(federation)
    other = federation.vsa(tool=federation.hub.tool("two"))
    accept(federation.node.node(), replace(other, documents=(MANIFEST, image_config("two"), image_manifest("two"))))
    with pytest.raises(NotAdmitted, match="withdrawn after"):
        accept(federation.node.node(), alias)


def test_a_withdrawal_that_is_older_than_the_admission_and_heard_of_later(
    federation: Federation, tmp_path: Path
) -> None:
    """The list ends what was accepted, and the hub's later word brings it back: this node withdrew nothing itself."""
    federation.told()
    federation.admitted()
    withdraw(federation.hub.node(), "scorer", ANNA)
    federation.later(hours=1)
    papers = federation.admitted(despite=True)
    accept(federation.node.node(), papers)
    federation.told()
    federation.refused(tmp_path, "run/withdrawn")
    accept(federation.node.node(), papers)
    assert federation.run(tmp_path).calls


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
