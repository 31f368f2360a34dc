"""A clock that is set back: what the node signed lies behind it, so nothing that has ended comes back to life."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.case import open_case
from flows.decide import admit, refuse, withdraw
from flows.lists import export_list
from flows.node import Node
from flows.rescan import rescan_all
from flows.run import Order, run
from flows.tools import parse_tool
from pratique.digests import sha256_bytes
from pratique.errors import CouldNotDecide, Refused
from records.dsse import sign_statement
from records.intoto import descriptor, statement
from records.keys import load_or_create_key
from records.signed_times import ClockSetBack
from records.statements import VSA
from tests.unit.flows.node.homes import ANNA, Home
from tests.unit.flows.node.machines import FakeMachine


@pytest.fixture
def order(tmp_path: Path) -> Order:
    return Order(parse_tool("scorer"), (), tmp_path / "out")


@pytest.fixture
def expired(home: Home) -> Home:
    """A tool whose admission has ended, which the node has noticed and signed."""
    home.policy["admissions"] = {"valid_for": "30d"}
    admit(home.node(), home.inspected(), ANNA)
    home.later(days=31)
    home.inspected("another", name="other")
    return home


def running(node: Node) -> None:
    run(node, Order(parse_tool("scorer"), (), node.settings.home.parent / "out"), FakeMachine({}).connect)


@pytest.mark.parametrize(
    "gate",
    [
        running,
        lambda node: admit(node, "20260301T120000-00000002", ANNA),
        lambda node: refuse(node, "20260301T120000-00000002", ANNA),
        lambda node: withdraw(node, "scorer", ANNA),
        lambda node: open_case(node, Path("submission")).__enter__(),
        rescan_all,
        export_list,
    ],
    ids=["run", "admit", "refuse", "withdraw", "onboard", "rescan", "withdrawals export"],
)
def test_every_gate_asks_the_ledger_for_the_time(expired: Home, gate: Callable[[Node], object]) -> None:
    """Undecided, with what to do, and nothing is signed with a wrong time."""
    size = expired.node().head().size
    expired.later(days=-20)
    with pytest.raises(ClockSetBack, match="set back") as caught:
        gate(expired.node())
    assert isinstance(caught.value, CouldNotDecide)
    assert "Set the clock right" in caught.value.next_step
    expired.later(days=20)
    assert expired.node().head().size == size


def test_the_right_time_says_that_the_admission_has_expired(expired: Home, order: Order) -> None:
    """What the clock would have revived."""
    with pytest.raises(Refused, match="expired"):
        run(expired.node(), order, FakeMachine({}).connect)


@pytest.mark.parametrize(("minutes", "good"), [(-4, True), (-6, False)])
def test_clocks_that_are_set_a_little(expired: Home, minutes: int, good: bool) -> None:
    """Time services step a clock by seconds; that stops no node."""
    expired.later(minutes=minutes)
    if good:
        assert expired.node().head().size
    else:
        with pytest.raises(ClockSetBack):
            expired.node().head()


def test_without_the_index_of_admissions(expired: Home) -> None:
    """It is a cache: what it knew of times stands in the ledger."""
    shutil.rmtree(expired.node().settings.admissions)
    expired.later(days=-20)
    with pytest.raises(ClockSetBack):
        expired.node().head()


def test_entries_that_the_node_did_not_sign_hide_no_time(expired: Home) -> None:
    """What somebody else signed says nothing of the time, and makes nothing forgotten."""
    stranger = load_or_create_key(expired.directory / "stranger.pem", "stranger.example/ledger")
    told = statement([descriptor(name="x", digest=sha256_bytes(b"x"))], VSA, {"timeVerified": "2030-01-01T00:00:00Z"})
    expired.node().append(sign_statement(told, stranger))
    assert expired.node().head().size
    expired.later(days=-20)
    with pytest.raises(ClockSetBack):
        expired.node().head()


def test_a_clock_that_was_ahead_once(home: Home) -> None:
    """The policy names the entry from which on times count; the message says which, past every wrong one."""
    home.inspected()
    home.later(days=4000)
    home.inspected()
    home.later(days=-1)
    home.policy["admissions"] = {"trust_times_from": 2}
    home.inspected()
    home.later(days=-3999)
    home.policy["admissions"] = {}
    with pytest.raises(ClockSetBack) as caught:
        home.node().head()
    assert "`trust_times_from: 3`" in caught.value.next_step
    home.policy["admissions"] = {"trust_times_from": 3}
    run_id = home.inspected()
    assert admit(home.node(), run_id, ANNA).entry is not None
    home.later(hours=-1)
    with pytest.raises(ClockSetBack):
        home.node().head()
