"""The index over the ledger answers as the ledger does, notices what was put back, and costs the same at any size."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pratique.digests import sha256_bytes
from pratique.errors import CouldNotDecide
from records import intoto, statements
from records.admission_index import HEADER, AdmissionIndex
from records.admissions import standing
from records.dsse import sign_statement
from records.keys import NodeKey, load_or_create_key
from records.ledger import Ledger
from records.mark import Mark, RolledBack
from records.statements import Action, Person, PolicyReference, ToolIdentity
from tests.unit.records.admitted import validated_versions

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ORIGIN, HERE = "node.example/ledger", "urn:pratique:node:node.example/ledger"
PERSON = Person("anna@node.example", "North")


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing to the device is the kernel's promise, not ours."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> NodeKey:
    return load_or_create_key(tmp_path_factory.mktemp("keys") / "node.pem", ORIGIN)


@pytest.fixture
def ledger(tmp_path: Path, key: NodeKey) -> Ledger:
    return Ledger(tmp_path / "ledger", ORIGIN, key)


@pytest.fixture
def index(tmp_path: Path, ledger: Ledger, key: NodeKey) -> AdmissionIndex:
    return AdmissionIndex(tmp_path / "index", ledger, key)


def tool(name: str, image: str = "one", version: str = "1.0.0") -> ToolIdentity:
    return ToolIdentity(name, version, sha256_bytes(image.encode()))


def admission(of: ToolIdentity, key: NodeKey, *, passed: bool = True, expires: datetime | None = None) -> bytes:
    statement = statements.vsa(
        of,
        verifier_id=HERE,
        resource_uri=HERE,
        time_verified=NOW,
        policy=PolicyReference("urn:p", sha256_bytes(b"policy")),
        input_attestations=[intoto.descriptor(name="inspection", digest=sha256_bytes(b"inspection"))],
        passed=passed,
        expires=expires,
    )
    return sign_statement(statement, key)


def withdrawal(of: ToolIdentity, key: NodeKey) -> bytes:
    statement = statements.decision(of, Action.WITHDRAW, person=PERSON, reason="Because.", decided=NOW)
    return sign_statement(statement, key)


def accepted(of: ToolIdentity, key: NodeKey) -> bytes:
    statement = statements.acceptance(
        of,
        admission=intoto.descriptor(name="admission", digest=sha256_bytes(b"vsa")),
        verifier_id="urn:pratique:node:hub.example/ledger",
        resource_uri="urn:pratique:federation:f",
        accepted=NOW,
        expires=NOW + timedelta(days=1),
        node_id=HERE,
    )
    return sign_statement(statement, key)


def foreign_list(of: ToolIdentity, key: NodeKey, size: int = 1) -> bytes:
    """That another's list was taken in which names the image, under a name of its own."""
    statement = statements.withdrawal_list(
        [intoto.descriptor(name="elsewhere", digest=of.image_digest, annotations={"version": "9"})],
        listed=intoto.descriptor(name="withdrawals", digest=sha256_bytes(str(size).encode())),
        origin="hub.example/ledger/withdrawals",
        size=size,
        root="A" * 43 + "=",
        issued=NOW,
        accepted=NOW,
        node_id=HERE,
    )
    return sign_statement(statement, key)


def copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def names(index: AdmissionIndex) -> list[str]:
    return [one.name for one in standing(index.everything())]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["admit", "fail", "withdraw", "accept", "list", "other", "look"]),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["one", "two"]),
        st.sampled_from(["1", "2"]),
    ),
    max_size=12,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_the_index_says_what_the_ledger_says(
    tmp_path_factory: pytest.TempPathFactory, key: NodeKey, steps: list[tuple[str, str, str, str]]
) -> None:
    """Whatever was admitted and taken back, in whatever order, and whenever the index was brought up to date."""
    place = tmp_path_factory.mktemp("any")
    ledger = Ledger(place / "ledger", ORIGIN, key)
    index = AdmissionIndex(place / "index", ledger, key)
    for step, name, image, version in steps:
        of = tool(name, image, version)
        if step == "look":
            index.of_tool(name)
        elif step == "withdraw":
            ledger.append(withdrawal(of, key))
        elif step == "accept":
            ledger.append(accepted(of, key))
        elif step == "list":
            ledger.append(foreign_list(of, key, size=ledger.checkpoint().checkpoint.size))
        elif step == "other":
            ledger.append(b'{"not":"a statement"}')
        else:
            ledger.append(admission(of, key, passed=step == "admit"))
    assert standing(index.everything()) == validated_versions(ledger)
    sizes = [number for number, step in enumerate(one for one in steps if one[0] != "look") if step[0] == "list"]
    assert [one.size for one in index.lists()] == sizes[-1:]
    assert index.withdrawals() == sum(step[0] == "withdraw" for step in steps)


def test_many_at_once_are_read_in_one_pass(ledger: Ledger, index: AdmissionIndex, key: NodeKey) -> None:
    """More new entries than are proven one by one."""
    ledger.extend([admission(tool(f"tool-{number}"), key) for number in range(40)])
    assert len(names(index)) == 40
    ledger.append(withdrawal(tool("tool-7"), key))
    assert "tool-7" not in names(index)
    assert index.of_tool("tool-7")[0].taken_back == 40


def test_an_admission_signed_by_another_node(
    tmp_path: Path, ledger: Ledger, index: AdmissionIndex, key: NodeKey
) -> None:
    """It admits nothing, and its withdrawal takes nothing back."""
    foreign = load_or_create_key(tmp_path / "foreign.pem", "other.example/ledger")
    ledger.extend([admission(tool("a"), foreign), admission(tool("b"), key), withdrawal(tool("b"), foreign)])
    assert names(index) == ["b"]


def test_an_end_that_cannot_be_read(ledger: Ledger, index: AdmissionIndex, key: NodeKey) -> None:
    """An admission until then counts until its end, and one with an end that is none has ended."""
    ledger.append(admission(tool("a"), key, expires=NOW + timedelta(days=1)))
    versions = index.everything()
    assert standing(versions, moment=NOW) != []
    assert standing(versions, moment=NOW + timedelta(days=1)) == []
    assert validated_versions(ledger, moment=NOW + timedelta(days=1)) == []


def test_an_altered_index(tmp_path: Path, ledger: Ledger, index: AdmissionIndex, key: NodeKey) -> None:
    """Every byte of it is covered by the node's signature: what was altered is made anew from the ledger."""
    ledger.extend([admission(tool("a"), key), withdrawal(tool("a"), key)])
    assert index.of_tool("a")[0].taken_back == 1
    for path in sorted((tmp_path / "index").iterdir()):
        data = path.read_bytes()
        for place in range(0, len(data), 7):
            path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            assert index.of_tool("a")[0].taken_back == 1
    for path in sorted((tmp_path / "index").iterdir()):
        path.unlink()
        assert index.of_tool("a")[0].taken_back == 1


def test_an_index_signed_by_somebody_else(tmp_path: Path, ledger: Ledger, index: AdmissionIndex, key: NodeKey) -> None:
    """It is no index of this node."""
    ledger.append(admission(tool("a"), key))
    foreign = load_or_create_key(tmp_path / "foreign.pem", ORIGIN)
    other = Ledger(tmp_path / "other", ORIGIN, foreign)
    other.append(admission(tool("evil"), foreign))
    AdmissionIndex(tmp_path / "index", other, foreign).everything()
    assert names(index) == ["a"]


def test_an_older_index_is_brought_up_to_date(tmp_path: Path, ledger: Ledger, key: NodeKey) -> None:
    """Putting an old index back hides no withdrawal."""
    index = AdmissionIndex(tmp_path / "index", ledger, key)
    ledger.append(admission(tool("a"), key))
    index.everything()
    copy(tmp_path / "index", tmp_path / "old")
    ledger.append(withdrawal(tool("a"), key))
    assert names(index) == []
    copy(tmp_path / "old", tmp_path / "index")
    assert names(index) == []


@pytest.mark.parametrize("with_index", [True, False], ids=["index kept", "index put back too"])
def test_roll_back_of_the_withdrawal_list(tmp_path: Path, ledger: Ledger, key: NodeKey, with_index: bool) -> None:
    """A ledger from before the withdrawal is whole and signed; mark and index each know better."""
    index, mark = AdmissionIndex(tmp_path / "index", ledger, key), Mark(tmp_path / "mark", ledger)
    ledger.append(admission(tool("a"), key))
    index.everything()
    copy(tmp_path / "index", tmp_path / "old-index")
    copy(tmp_path / "ledger", tmp_path / "old-ledger")
    ledger.append(withdrawal(tool("a"), key))
    index.everything()
    mark.check()
    copy(tmp_path / "old-ledger", tmp_path / "ledger")
    if with_index:
        with pytest.raises(RolledBack):
            index.everything()
    else:
        copy(tmp_path / "old-index", tmp_path / "index")
        assert names(index) == ["a"]
    with pytest.raises(RolledBack, match="2 entries were there before, now 1"):
        mark.check()


@pytest.mark.parametrize("size", [2, 3], ids=["of the same length", "longer"])
def test_another_history_of_the_ledger(tmp_path: Path, ledger: Ledger, key: NodeKey, size: int) -> None:
    """A fork signed by the node's own key, which leaves the withdrawal out."""
    index, mark = AdmissionIndex(tmp_path / "index", ledger, key), Mark(tmp_path / "mark", ledger)
    ledger.append(admission(tool("a"), key))
    copy(tmp_path / "ledger", tmp_path / "fork")
    ledger.append(withdrawal(tool("a"), key))
    index.everything()
    mark.check()
    fork = Ledger(tmp_path / "fork", ORIGIN, key)
    fork.extend([admission(tool(f"b{number}"), key) for number in range(size - 1)])
    copy(tmp_path / "fork", tmp_path / "ledger")
    with pytest.raises(RolledBack):
        index.everything()
    with pytest.raises(RolledBack):
        mark.check()


def test_a_mark_that_cannot_be_read(tmp_path: Path, ledger: Ledger, key: NodeKey) -> None:
    """It is not taken for a first time."""
    mark = Mark(tmp_path / "mark", ledger)
    ledger.append(admission(tool("a"), key))
    assert mark.check().size == 1
    (tmp_path / "mark").write_bytes(b"")
    with pytest.raises(CouldNotDecide, match="newest head seen"):
        mark.check()


def test_the_index_leaves_no_old_buckets(tmp_path: Path, ledger: Ledger, index: AdmissionIndex, key: NodeKey) -> None:
    """One file a bucket, and the header."""
    for number in range(6):
        ledger.append(admission(tool("a", version=str(number)), key))
        index.everything()
    assert len(list((tmp_path / "index").iterdir())) == 2
    assert (tmp_path / "index" / HEADER).is_file()
