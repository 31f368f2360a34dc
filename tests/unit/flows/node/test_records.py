"""What the commands tell of a node's records: entries in words, its public line, its name, keys that are none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from console.terminal.app import app
from flows.decide import admit, refuse, withdraw
from pratique.clock import system_clock
from tests.unit.flows.node.homes import ANNA, BORIS, Home


def pratique(home: Home, *arguments: str | Path, **environment: str) -> Result:
    """The command, in the home's directory."""
    given = {"PRATIQUE_HOME": str(home.directory / "home"), "PRATIQUE_ORIGIN": home.origin, **environment}
    return CliRunner(env=given).invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def recorded(home: Home) -> Home:
    """A tool that was admitted and withdrawn, and one that was refused."""
    admit(home.node(), home.inspected(), ANNA)
    withdraw(home.node(), "scorer", BORIS)
    refuse(home.node(), home.inspected("two", name="other", outcome="review"), BORIS)
    return home


def test_entries_are_listed_in_words(recorded: Home) -> None:
    """When, what, which tool, by whom or in which run: enough to find the entry that one looks for."""
    lines = [line.split(maxsplit=2) for line in pratique(recorded, "log", "show").stdout.splitlines()]
    assert [line[0] for line in lines] == [str(index) for index in range(len(lines))]
    assert {line[1] for line in lines} == {"2026-03-01T12:00:00Z"}
    told = [" ".join(line[2].split()) for line in lines]
    assert told[0] == "inspected scorer 1.0.0 verdict admit, run 20260301T120000-00000001"
    assert told[1] == "says admit scorer 1.0.0 anna@node.example, North Hospital, of run 20260301T120000-00000001"
    assert told[2].startswith("admitted scorer 1.0.0 at urn:pratique:node:")
    assert told[3] == "says withdraw scorer 1.0.0 boris@other.example, South Hospital"
    assert [words.split()[0] for words in told[4:]] == ["inspected", "says", "closed"]


def test_a_withdrawal_names_what_goes_with_it(home: Home) -> None:
    """Whoever withdraws one name must see that another one ends, too."""
    home.moment = system_clock()
    for name in ("scorer", "alias"):
        admit(home.node(), home.inspected(name=name), ANNA)
    given = ("--reason", "It leaks.", "--as", BORIS.person, "--organisation", BORIS.organisation)
    done = pratique(home, "withdraw", "scorer", *given, "--policy", home.policy_file)
    assert done.exit_code == 0, done.output
    image = home.tool().image_digest
    assert done.stdout.splitlines() == [
        f"withdrew scorer 1.0.0, {image}",
        f"withdrew alias 1.0.0, {image}, since it is the same image",
    ]


def test_a_copy_is_verified_with_the_line_that_the_node_shows(recorded: Home, tmp_path: Path) -> None:
    """On a machine that has nothing else of the node."""
    line = pratique(recorded, "key", "show").stdout.strip()
    ledger = recorded.directory / "home" / "ledger"
    done = pratique(recorded, "log", "verify", "--ledger", ledger, "--key", line, PRATIQUE_HOME=str(tmp_path / "other"))
    assert (done.exit_code, done.stdout[:11]) == (0, "✓ 7 entries")


def test_a_ledger_of_another_node_needs_its_key(recorded: Home, tmp_path: Path) -> None:
    """What fails with one's own key may be whole; that is said beside the failure."""
    other = Home(tmp_path / "other", recorded.policy, origin="other.example/ledger")
    other.directory.mkdir()
    other.inspected()
    done = pratique(recorded, "log", "verify", "--ledger", other.directory / "home" / "ledger")
    assert done.exit_code == 1
    assert "another's needs --key LINE" in done.stderr


@pytest.mark.parametrize("command", [("log", "verify"), ("log", "show"), ("admissions", "list"), ("key", "show")])
def test_a_node_under_another_name_is_no_incident(recorded: Home, command: tuple[str, ...]) -> None:
    """A forgotten setting is told as that, not as a ledger that somebody altered."""
    done = pratique(recorded, *command, PRATIQUE_ORIGIN="another.example/ledger")
    assert done.exit_code == 2
    assert f"PRATIQUE_ORIGIN={recorded.origin}" in done.stderr


@pytest.mark.parametrize(
    "command",
    [("log", "verify"), ("log", "show"), ("admissions", "list"), ("withdrawals", "show"), ("export", "kyverno")],
)
def test_a_ledger_that_is_gone_is_not_a_new_node(recorded: Home, command: tuple[str, ...]) -> None:
    """The mark beside the key remembers that there was one."""
    shutil.rmtree(recorded.directory / "home" / "ledger")
    done = pratique(recorded, *command)
    assert done.exit_code == 3
    assert "the ledger that this node had" in done.stderr


def doctor(home: Home, subject: str, **environment: str) -> str:
    """What doctor says of one subject."""
    done = pratique(home, "doctor", "--format", "json", DOCKER_HOST="unix:///nowhere", **environment)
    (point,) = (one for one in json.loads(done.stdout) if one["subject"] == subject)
    return f"{point['good']} {point['message']} {point['fix']}"


def test_doctor_sees_what_keeps_the_gates_closed(recorded: Home) -> None:
    """What a command would stop at, and `log verify` finds."""
    place = recorded.directory / "home"
    shutil.copytree(place / "ledger", place / "old")
    recorded.inspected("three", name="third")
    assert doctor(recorded, "ledger").startswith("True 8 entries")
    assert f"PRATIQUE_ORIGIN={recorded.origin}" in doctor(recorded, "ledger", PRATIQUE_ORIGIN="another.example/ledger")
    shutil.rmtree(place / "ledger")
    (place / "old").rename(place / "ledger")
    assert doctor(recorded, "ledger").startswith("False the ledger is not the one that this node has seen")
    assert doctor(recorded, "state directory").startswith("True")
    place.chmod(0o777)
    told = doctor(recorded, "state directory")
    assert told.startswith("False others may write") and "chmod go-w" in told


def test_a_node_key_that_others_may_read_refuses_nobody(recorded: Home) -> None:
    """It is the node's own mistake."""
    (recorded.directory / "home" / "keys" / "node.pem").chmod(0o644)
    for command in (("log", "verify"), ("admissions", "list")):
        done = pratique(recorded, *command)
        assert (done.exit_code, "chmod 600" in done.stderr) == (3, True)


def test_a_checkpoint_under_another_name_that_the_key_did_not_sign_is_one(recorded: Home) -> None:
    """Whoever edits the name in the checkpoint is noticed as ever."""
    path = recorded.directory / "home" / "ledger" / "checkpoint"
    path.write_bytes(path.read_bytes().replace(recorded.origin.encode(), b"another.example/ledger"))
    assert pratique(recorded, "log", "verify").exit_code == 1


@pytest.mark.parametrize(
    "section",
    [
        {"approvals": {"admit": {"persons": 1, "organisations": 1}, "people": [
            {"identity": "anna@node.example", "organisation": "North", "key": "nonsense"}]}},
        {"federation": {"withdrawals": ["south.example/ledger+00000000+AAAA"]}},
        {"federation": {"hubs": [{"verifier": "urn:x", "key": "x", "place": "urn:y", "policies": ["a" * 64]}]}},
    ],
    ids=["a person's", "of a list", "a hub's"],
)  # fmt: skip
def test_a_key_line_that_is_none_is_told_when_the_policy_is_read(home: Home, section: dict[str, object]) -> None:
    """Not when it is needed, months later."""
    home.policy |= section
    home.node()
    done = pratique(home, "admissions", "list", "--policy", home.policy_file)
    assert done.exit_code == 2
    assert "key" in done.stderr and "pratique key" in done.stderr
