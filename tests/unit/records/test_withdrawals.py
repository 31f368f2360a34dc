"""A withdrawal list is read strictly, says what the ledger says, and a later one continues an earlier one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pratique.digests import sha256_bytes
from pratique.errors import InvalidInput, PratiqueError
from records.checkpoint import Checkpoint
from records.dsse import sign_statement
from records.keys import NodeKey, load_or_create_key
from records.ledger import Ledger
from records.merkle import leaf_hash, root_of
from records.note import sign_note
from records.reader import LedgerReader
from records.statements import Action, Person, PolicyReference, ToolIdentity, decision, vsa
from records.withdrawals import (
    ForeignList,
    Withdrawal,
    WithdrawalList,
    list_origin,
    open_list,
    parse_list,
    sign_list,
    withdrawals_of,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ORIGIN = "hub.example/ledger"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> NodeKey:
    return load_or_create_key(tmp_path_factory.mktemp("keys") / "node.pem", ORIGIN)


def withdrawal(number: int) -> Withdrawal:
    return Withdrawal(number, f"tool-{number}", "1.0.0", sha256_bytes(bytes([number])), NOW + timedelta(hours=number))


def listed(count: int, **changes: object) -> WithdrawalList:
    made = WithdrawalList(list_origin(ORIGIN), NOW, tuple(withdrawal(number) for number in range(count)))
    return replace(made, **changes)  # type: ignore[arg-type]


@given(
    st.lists(
        st.builds(
            Withdrawal,
            st.integers(0, 10**9),
            st.text(st.characters(codec="utf-8"), max_size=40),
            st.text(st.characters(codec="utf-8"), max_size=40),
            st.binary(max_size=4).map(sha256_bytes),
            st.integers(0, 10**9).map(lambda seconds: NOW + timedelta(seconds=seconds)),
        ),
        max_size=8,
    )
)
@settings(deadline=None, max_examples=60)
def test_what_is_written_is_read(found: list[Withdrawal]) -> None:
    """Whatever tools are called: a name with line breaks, separators or another note in it stays a name."""
    made = listed(0, withdrawals=tuple(sorted(found, key=lambda one: one.entry)))
    lines = tuple(one.line() for one in made.withdrawals)
    text = Checkpoint(made.origin, len(lines), made.root, ("issued 2026-03-01T00:00:00Z", *lines)).text()
    assert parse_list(text) == made


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: f"o/withdrawals\n1\n{text}\n".encode()))
@settings(deadline=None, max_examples=150)
def test_arbitrary_bytes(data: bytes) -> None:
    """Refused, never another error."""
    with pytest.raises(PratiqueError):
        open_list(data, [])
    with pytest.raises(InvalidInput):
        parse_list(data.decode("utf-8", "replace"))


LINE = withdrawal(0).line()
BAD_LINES = {
    "no JSON": "x",
    "another form of the same": LINE.replace(":", ": ", 1),
    "a field more": LINE.replace("{", '{"a":1,', 1),
    "a field less": LINE.replace('"entry":0,', "", 1),
    "a field twice": LINE.replace("{", '{"entry":0,', 1),
    "a number as text": LINE.replace('"entry":0', '"entry":"0"'),
    "a truth value as a number": LINE.replace('"entry":0', '"entry":true'),
    "a negative entry": LINE.replace('"entry":0', '"entry":-1'),
    "another digest": LINE.replace("sha256:", "sha512:"),
    "no time": LINE.replace("2026-03-01T00:00:00Z", "yesterday"),
    "a time zone": LINE.replace("00:00:00Z", "00:00:00+01:00"),
    "no object": "[]",
    "a name without end": LINE.replace("tool-0", "x" * 201),
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES)
def test_lines_that_are_no_withdrawal(line: str, key: NodeKey) -> None:
    """Signed or not: one reading only."""
    text = Checkpoint(
        list_origin(ORIGIN), 1, root_of([leaf_hash(line.encode())]), ("issued 2026-03-01T00:00:00Z", line)
    )
    with pytest.raises(InvalidInput):
        open_list(sign_note(text.text(), [key]), [key.verifier])


@pytest.mark.parametrize(
    "head",
    [
        (2, ("issued 2026-03-01T00:00:00Z", LINE)),
        (0, ("issued 2026-03-01T00:00:00Z", LINE)),
        (1, (LINE,)),
        (1, ("issued 2026-03-01", LINE)),
        (1, (LINE, "issued 2026-03-01T00:00:00Z")),
    ],
    ids=["more counted", "fewer counted", "no date", "half a date", "date last"],
)
def test_heads_that_do_not_fit(head: tuple[int, tuple[str, ...]]) -> None:
    """The count and the date are those of the lines."""
    size, lines = head
    with pytest.raises(InvalidInput):
        parse_list(Checkpoint(list_origin(ORIGIN), size, root_of([leaf_hash(LINE.encode())]), lines).text())


def test_a_root_that_is_not_that_of_the_lines(key: NodeKey) -> None:
    """Signed all the same: a list that does not prove what it says is none."""
    other = root_of([leaf_hash(withdrawal(1).line().encode())])
    text = Checkpoint(list_origin(ORIGIN), 1, other, ("issued 2026-03-01T00:00:00Z", LINE)).text()
    with pytest.raises(InvalidInput, match="root"):
        open_list(sign_note(text, [key]), [key.verifier])


def test_entries_out_of_order(key: NodeKey) -> None:
    """They stand in the order of the issuer's ledger."""
    with pytest.raises(InvalidInput, match="order"):
        open_list(sign_list(listed(0, withdrawals=(withdrawal(2), withdrawal(1))), key), [key.verifier])


@pytest.mark.parametrize(
    ("earlier", "later", "good"), [(0, 0, True), (0, 3, True), (3, 3, True), (3, 9, True), (3, 2, False)]
)
def test_a_list_continues_an_earlier_one(earlier: int, later: int, good: bool) -> None:
    """By the root of its beginning."""
    before = listed(earlier)
    assert listed(later).continues(len(before.withdrawals), before.root) is good


def test_a_list_with_another_beginning() -> None:
    """As long, or longer, and not the same."""
    before, other = listed(3), listed(4, withdrawals=tuple(withdrawal(number) for number in (0, 1, 3, 4)))
    assert not other.continues(3, before.root)


def test_withdrawn_and_admitted_in_the_same_second() -> None:
    """Nobody knows which came first, so it is withdrawn; what was admitted later is not."""
    image = withdrawal(2).image
    moment = withdrawal(2).withdrawn
    found = listed(5)
    assert found.takes_back(image, moment) == withdrawal(2)
    assert found.takes_back(image, moment + timedelta(seconds=1)) is None
    assert found.takes_back(sha256_bytes(b"other"), NOW) is None


def test_a_withdrawal_by_a_clock_that_was_put_back_is_as_late_as_its_admission(key: NodeKey, tmp_path: Path) -> None:
    """Otherwise a node that reads the list would take the admission for a newer one."""
    tool = ToolIdentity("scorer", "1.0.0", sha256_bytes(b"image"))
    admission = vsa(
        tool,
        verifier_id="urn:hub",
        resource_uri="urn:hub",
        time_verified=NOW + timedelta(hours=1),
        policy=PolicyReference("urn:p", sha256_bytes(b"policy")),
        input_attestations=[],
        passed=True,
    )
    taken_back = decision(tool, Action.WITHDRAW, person=Person("a@hub.example", "Hub"), reason="Leaks.", decided=NOW)
    root = tmp_path / "ledger"
    Ledger(root, ORIGIN, key).extend([sign_statement(one, key) for one in (admission, taken_back)])
    (found,) = withdrawals_of(LedgerReader(root, ORIGIN, key.verifier))
    assert (found.entry, found.image, found.withdrawn) == (1, tool.image_digest, NOW + timedelta(hours=1))


def test_a_list_of_thousands(key: NodeKey, tmp_path: Path) -> None:
    """Far more than a plain note may be long; one too long for everybody is not signed."""
    many = tuple(replace(withdrawal(0), entry=number, name="x" * 200) for number in range(3000))
    note = sign_list(listed(0, withdrawals=many), key)
    assert len(note) > 1 << 20
    assert len(open_list(note, [key.verifier]).withdrawals) == 3000
    with pytest.raises(ForeignList):
        open_list(note, [load_or_create_key(tmp_path / "x.pem", ORIGIN).verifier])
