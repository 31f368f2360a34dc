"""The ledger: append, reopen, prove; stop the world at every file operation; several writers at once."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pratique.digests import canonical_json
from pratique.errors import CouldNotDecide, InvalidInput
from records import durable, merkle
from records.durable import Disk
from records.keys import NodeKey, load_or_create_key
from records.ledger import Ledger
from records.reader import LedgerReader
from records.verify import verify_ledger

ORIGIN = "node.example/ledger"
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> NodeKey:
    return load_or_create_key(tmp_path_factory.mktemp("keys") / "node.pem", ORIGIN)


@pytest.fixture(autouse=True)
def fast_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flushing to the device is the kernel's promise, not ours, and costs these tests minutes."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def entry(number: int, padding: int = 0) -> bytes:
    return canonical_json({"number": number, "padding": "x" * padding})


def entries_of(reader: LedgerReader) -> list[bytes]:
    return [item.data for item in reader.entries()]


def is_sound(root: Path, key: NodeKey) -> bool:
    return verify_ledger(root, key.verifier).problems == ()


def test_a_new_ledger_is_empty_signed_and_sound(tmp_path: Path, key: NodeKey) -> None:
    """The empty tree has a checkpoint too."""
    ledger = Ledger(tmp_path / "ledger", ORIGIN, key)
    assert ledger.checkpoint().checkpoint.size == 0
    assert entries_of(ledger) == []
    assert verify_ledger(tmp_path / "ledger", key.verifier).root_hash == merkle.EMPTY_ROOT.hex()
    assert is_sound(tmp_path / "ledger", key)


def test_what_is_appended_is_there_proven_and_consistent(tmp_path: Path, key: NodeKey) -> None:
    """Entries come back in order; each has a proof; each checkpoint extends the one before."""
    ledger = Ledger(tmp_path, ORIGIN, key)
    heads = [ledger.append(entry(number)).checkpoint.checkpoint for number in range(20)]
    reader = LedgerReader(tmp_path, ORIGIN, key.verifier)
    assert entries_of(reader) == [entry(number) for number in range(20)]
    for number in range(20):
        proof = reader.inclusion_proof(number)
        assert proof.leaf == merkle.leaf_hash(entry(number))
        head = proof.checkpoint.checkpoint
        merkle.verify_inclusion(proof.leaf, number, head.size, proof.hashes, head.root_hash)
        assert reader.entry(number) == entry(number)
    for old, new in itertools.pairwise(heads):
        steps = reader.consistency_proof(old.size, new.size)
        merkle.verify_consistency(old.size, new.size, steps, old.root_hash, new.root_hash)
    for out_of_range in (-1, 20):
        with pytest.raises(InvalidInput):
            reader.entry(out_of_range)
    with pytest.raises(InvalidInput):
        reader.consistency_proof(3, 21)


def test_tiles_are_as_the_specification_lays_them_out(tmp_path: Path, key: NodeKey) -> None:
    """After 258 entries: a full tile and bundle, one partial each, one hash a level above, and no leftovers."""
    ledger = Ledger(tmp_path, ORIGIN, key)
    for start in range(0, 258, 43):
        ledger.extend([entry(number) for number in range(start, start + 43)])
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert found == [
        "checkpoint",
        "tile/0/000",
        "tile/0/001.p/2",
        "tile/1/000.p/1",
        "tile/entries/000",
        "tile/entries/001.p/2",
    ]
    leaves = [merkle.leaf_hash(entry(number)) for number in range(258)]
    assert (tmp_path / "tile/0/000").read_bytes() == b"".join(leaves[:256])
    assert (tmp_path / "tile/1/000.p/1").read_bytes() == merkle.root_of(leaves[:256])
    assert (tmp_path / "tile/entries/001.p/2").read_bytes() == b"".join(
        len(entry(number)).to_bytes(2, "big") + entry(number) for number in (256, 257)
    )
    assert ledger.checkpoint().checkpoint.root_hash == merkle.root_of(leaves)
    assert entries_of(ledger) == [entry(number) for number in range(258)]
    assert is_sound(tmp_path, key)


def test_several_entries_go_in_under_one_checkpoint(tmp_path: Path, key: NodeKey) -> None:
    """`extend` is one step; of nothing it does nothing."""
    ledger = Ledger(tmp_path, ORIGIN, key)
    appended = ledger.extend([entry(0), entry(1)])
    assert [item.index for item in appended] == [0, 1]
    assert appended[0].checkpoint is appended[1].checkpoint
    assert ledger.extend([]) == ()


@pytest.mark.parametrize(
    ("attack", "data", "rule"),
    [
        ("too large", canonical_json({"x": "y" * 65_535}), "ledger/entry-size"),
        ("space", b'{"a": 1}', "ledger/entry-form"),
        ("keys out of order", b'{"b":1,"a":1}', "ledger/entry-form"),
        ("not canonical number", b'{"a":1.0}', "ledger/entry-form"),
        ("number beyond RFC 8785", b'{"a":9007199254740993}', "ledger/entry-form"),
        ("escape that is not needed", b'{"a":"\\u0041"}', "ledger/entry-form"),
        ("a list", b"[]", "ledger/entry-form"),
        ("duplicate keys", b'{"a":1,"a":1}', "json/duplicate-key"),
        ("no JSON", b"\x80\x04", "json/encoding"),
        ("nothing", b"", "json/syntax"),
    ],
)
def test_entries_that_are_not_taken(tmp_path: Path, key: NodeKey, attack: str, data: bytes, rule: str) -> None:
    """Only canonical JSON of bounded size goes in, and a refused batch leaves nothing behind."""
    ledger = Ledger(tmp_path, ORIGIN, key)
    with pytest.raises(InvalidInput) as caught:
        ledger.extend([entry(0), data])
    assert caught.value.rule == rule, attack
    assert ledger.checkpoint().checkpoint.size == 0
    assert is_sound(tmp_path, key)


def test_the_largest_entry_fits(tmp_path: Path, key: NodeKey) -> None:
    """65,535 bytes is the limit, inclusive."""
    largest = canonical_json({"x": "y" * (65_535 - len(canonical_json({"x": ""})))})
    ledger = Ledger(tmp_path, ORIGIN, key)
    ledger.append(largest)
    assert len(largest) == 65_535
    assert entries_of(ledger) == [largest]


# --- crashes -------------------------------------------------------------------------------------------------------


class Crash(Exception):
    """The machine stopped."""


class FailingDisk(Disk):
    """Works for `operations` file operations, fails in the middle of the next, and stays dead."""

    def __init__(self, operations: int, error: type[BaseException] = Crash) -> None:
        self.left = operations
        self.error = error

    def _step(self) -> bool:
        self.left -= 1
        if self.left < -1:
            raise self.error
        return self.left == -1

    def make_directory(self, path: Path) -> None:
        if path.is_dir():
            return
        if self._step():
            raise self.error
        super().make_directory(path)

    def write(self, path: Path, data: bytes) -> None:
        if self._step():
            path.write_bytes(data[: len(data) // 2])
            raise self.error
        super().write(path, data)

    def rename(self, source: Path, target: Path) -> None:
        if self._step():
            raise self.error
        super().rename(source, target)

    def remove(self, path: Path) -> None:
        if self._step():
            raise self.error
        super().remove(path)

    def sync(self, directory: Path) -> None:
        if self._step():
            raise self.error
        super().sync(directory)


@pytest.mark.parametrize(
    ("start", "error"),
    [(0, Crash), (1, OSError), (3, KeyboardInterrupt), (254, Crash), (255, Crash), (256, Crash)],
)
def test_a_crash_at_any_file_operation_leaves_all_or_nothing(
    tmp_path: Path, key: NodeKey, start: int, error: type[BaseException]
) -> None:
    """Stopped anywhere, the next opening finds the old entries or the new ones, and goes on from there."""
    root = tmp_path / "ledger"
    before = [entry(number) for number in range(start)]
    new = [entry(1000), entry(1001)]
    Ledger(root, ORIGIN, key).extend(before)
    for operations in range(200):
        copy = tmp_path / "copy"
        shutil.copytree(root, copy)
        disk = FailingDisk(10_000, error)
        ledger = Ledger(copy, ORIGIN, key, disk=disk)
        disk.left = operations
        try:
            ledger.extend(new)
        except (Crash, CouldNotDecide, KeyboardInterrupt):
            recovered = Ledger(copy, ORIGIN, key)
            assert entries_of(recovered) in (before, before + new)
            assert is_sound(copy, key)
            index = recovered.append(entry(2000)).index
            assert index in (len(before), len(before) + len(new))
            assert is_sound(copy, key)
            shutil.rmtree(copy)
        else:
            assert entries_of(ledger) == before + new
            assert operations > 10
            return
    pytest.fail("the append never finished")


def test_a_crash_while_a_ledger_is_made(tmp_path: Path, key: NodeKey) -> None:
    """Making a ledger may be interrupted anywhere, too."""
    for operations in range(50):
        root = tmp_path / str(operations) / "ledger"
        try:
            Ledger(root, ORIGIN, key, disk=FailingDisk(operations))
        except Crash:
            Ledger(root, ORIGIN, key).append(entry(0))
            assert is_sound(root, key)
        else:
            return
    pytest.fail("the ledger was never made")


def test_a_crash_during_the_repair_of_a_crash(tmp_path: Path, key: NodeKey) -> None:
    """Repairing can be interrupted and done again."""
    for first in range(0, 25, 2):
        for second in (0, 1, 3, 5):
            root = tmp_path / f"{first}-{second}"
            Ledger(root, ORIGIN, key).extend([entry(0), entry(1)])
            disk = FailingDisk(10_000)
            ledger = Ledger(root, ORIGIN, key, disk=disk)
            disk.left = first
            try:
                ledger.append(entry(2))
            except Crash:
                with contextlib.suppress(Crash):
                    Ledger(root, ORIGIN, key, disk=FailingDisk(second))
            assert len(entries_of(Ledger(root, ORIGIN, key))) in (2, 3)
            assert is_sound(root, key)


def test_after_a_failed_write_the_ledger_is_sound_at_once(tmp_path: Path, key: NodeKey) -> None:
    """A full disk or Ctrl-C that does not kill the process leaves nothing to repair."""

    class FullOnce(FailingDisk):
        def _step(self) -> bool:
            self.left -= 1
            return self.left == -1

    for operations in range(14):
        root = tmp_path / str(operations)
        Ledger(root, ORIGIN, key).append(entry(0))
        disk = FullOnce(10_000, KeyboardInterrupt)
        ledger = Ledger(root, ORIGIN, key, disk=disk)
        disk.left = operations
        with pytest.raises(KeyboardInterrupt):
            ledger.append(entry(1))
        assert is_sound(root, key)


def test_an_unfinished_append_is_told_by_name(tmp_path: Path, key: NodeKey) -> None:
    """Before it is repaired, verification says what lies there."""
    disk = FailingDisk(10_000)
    ledger = Ledger(tmp_path, ORIGIN, key, disk=disk)
    disk.left = 8
    with pytest.raises(Crash):
        ledger.append(entry(0))
    messages = [problem.message for problem in verify_ledger(tmp_path, key.verifier).problems]
    assert any("an append that did not finish" in message for message in messages)


# --- what a writer refuses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attack", ["old checkpoint", "no checkpoint", "entry altered", "hash altered", "bundle gone", "foreign intent"]
)
def test_a_damaged_ledger_is_never_extended(tmp_path: Path, key: NodeKey, attack: str) -> None:
    """A writer signs nothing on top of what does not hold together, least of all a history taken back."""
    ledger = Ledger(tmp_path, ORIGIN, key)
    ledger.append(entry(0))
    old = (tmp_path / "checkpoint").read_bytes()
    ledger.append(entry(1))
    bundle, hashes = tmp_path / "tile/entries/000.p/2", tmp_path / "tile/0/000.p/2"
    if attack == "old checkpoint":
        (tmp_path / "checkpoint").write_bytes(old)
    elif attack == "no checkpoint":
        (tmp_path / "checkpoint").unlink()
    elif attack == "entry altered":
        bundle.write_bytes(bundle.read_bytes().replace(b'"number":1', b'"number":7'))
    elif attack == "hash altered":
        hashes.write_bytes(bytes(64))
    elif attack == "bundle gone":
        bundle.unlink()
    else:
        (tmp_path / ".unfinished" / "7-9").touch()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(CouldNotDecide):
        ledger.append(entry(2))
    with pytest.raises(CouldNotDecide):
        Ledger(tmp_path, ORIGIN, key)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_another_node_s_key_or_name_does_not_open_the_ledger(tmp_path: Path, key: NodeKey) -> None:
    """A ledger belongs to one key and one origin."""
    Ledger(tmp_path / "ledger", ORIGIN, key).append(entry(0))
    stranger = load_or_create_key(tmp_path / "stranger.pem", ORIGIN)
    with pytest.raises(CouldNotDecide):
        Ledger(tmp_path / "ledger", ORIGIN, stranger)
    with pytest.raises(CouldNotDecide):
        Ledger(tmp_path / "ledger", "other.example", key)


def test_readers_refuse_altered_entries(tmp_path: Path, key: NodeKey) -> None:
    """No altered entry is handed out, and no proof of one."""
    ledger = Ledger(tmp_path, ORIGIN, key)
    ledger.extend([entry(0), entry(1)])
    bundle = tmp_path / "tile/entries/000.p/2"
    bundle.write_bytes(bundle.read_bytes().replace(b'"number":1', b'"number":7'))
    reader = LedgerReader(tmp_path, ORIGIN, key.verifier)
    with pytest.raises(CouldNotDecide):
        entries_of(reader)
    with pytest.raises(CouldNotDecide):
        reader.entry(1)
    assert reader.entry(0) == entry(0)
    (tmp_path / "tile/0/000.p/2").write_bytes(bytes(64))
    for question in (lambda: reader.inclusion_proof(0), lambda: reader.consistency_proof(1, 2)):
        with pytest.raises(CouldNotDecide):
            question()


# --- several at once -------------------------------------------------------------------------------------------------

APPENDER = """
import json, pathlib, sys
from pratique.digests import canonical_json
from records.keys import load_or_create_key
from records.ledger import Ledger
root, name = pathlib.Path(sys.argv[1]), sys.argv[2]
ledger = Ledger(root / "ledger", "node.example/ledger", load_or_create_key(root / "node.pem", "node.example/ledger"))
print(json.dumps([ledger.append(canonical_json({"by": name, "number": number})).index for number in range(25)]))
"""

KILLED = """
import os, pathlib, sys
from pratique.digests import canonical_json
from records.durable import Disk
from records.keys import load_or_create_key
from records.ledger import Ledger

class KillingDisk(Disk):
    def sync(self, directory):
        super().sync(directory)
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), 9)

root = pathlib.Path(sys.argv[1])
disk = KillingDisk()
disk.left = 1000
key = load_or_create_key(root / "node.pem", "node.example/ledger")
ledger = Ledger(root / "ledger", "node.example/ledger", key, disk=disk)
disk.left = int(sys.argv[2])
ledger.append(canonical_json({"by": "killed"}))
"""


def start(script: str, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", script, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY, env=environment)


def test_two_processes_append_at_once(tmp_path: Path) -> None:
    """Both creating and appending, they share one history in which nothing is lost or doubled."""
    runs = {name: start(APPENDER, str(tmp_path), name) for name in ("first", "second")}
    indices = {name: json.loads(run.communicate(timeout=60)[0]) for name, run in runs.items()}
    key = load_or_create_key(tmp_path / "node.pem", ORIGIN)
    found: list[dict[str, Any]] = [
        json.loads(data) for data in entries_of(LedgerReader(tmp_path / "ledger", ORIGIN, key.verifier))
    ]
    assert sorted(indices["first"] + indices["second"]) == list(range(50))
    for name, places in indices.items():
        assert [found[place] for place in places] == [{"by": name, "number": number} for number in range(25)]
    assert is_sound(tmp_path / "ledger", key)


@pytest.mark.parametrize("syncs", [1, 3, 5])
def test_a_killed_process_leaves_a_ledger_that_opens(tmp_path: Path, syncs: int) -> None:
    """SIGKILL in the middle: its lock dies with it, and the next writer cleans up."""
    key = load_or_create_key(tmp_path / "node.pem", ORIGIN)
    Ledger(tmp_path / "ledger", ORIGIN, key).append(entry(0))
    run = start(KILLED, str(tmp_path), str(syncs))
    assert run.wait(timeout=60) == -9
    ledger = Ledger(tmp_path / "ledger", ORIGIN, key)
    assert entries_of(ledger)[0] == entry(0)
    ledger.append(entry(1))
    assert is_sound(tmp_path / "ledger", key)


def test_a_ledger_in_use_is_waited_for_and_then_given_up(tmp_path: Path, key: NodeKey) -> None:
    """A writer that never lets go ends in a clear error, not in waiting for ever."""
    ledger = Ledger(tmp_path, ORIGIN, key)
    with (
        durable.locked(tmp_path, exclusive=True),
        pytest.raises(CouldNotDecide, match="in use"),
        durable.locked(tmp_path, exclusive=False, seconds=0.05),
    ):
        pytest.fail("two held one lock")
    ledger.append(entry(0))


def test_reading_goes_on_while_somebody_appends(tmp_path: Path, key: NodeKey) -> None:
    """A reader sees the history as of its first step and keeps nobody from writing."""
    ledger = Ledger(tmp_path, ORIGIN, key)
    ledger.extend([entry(number) for number in range(3)])
    reading = LedgerReader(tmp_path, ORIGIN, key.verifier).entries()
    assert next(reading).data == entry(0)
    ledger.append(entry(3))
    assert [item.index for item in reading] == [1, 2]


def test_no_ledger_is_no_answer(tmp_path: Path, key: NodeKey) -> None:
    """A directory that is not there cannot be read or verified."""
    with pytest.raises(CouldNotDecide):
        verify_ledger(tmp_path / "absent", key.verifier)
    with pytest.raises(CouldNotDecide):
        LedgerReader(tmp_path / "absent", ORIGIN, key.verifier).entry(0)


# --- stateful --------------------------------------------------------------------------------------------------------


class LedgerMachine(RuleBasedStateMachine):
    """Any order of appends, batches, reopenings and crashes keeps the ledger equal to a list."""

    key: NodeKey
    base: Path

    @initialize()
    def make(self) -> None:
        shutil.rmtree(self.base, ignore_errors=True)
        self.disk = FailingDisk(10**9)
        self.ledger = Ledger(self.base, ORIGIN, self.key, disk=self.disk)
        self.model: list[bytes] = []
        self.count = 0

    def _entries(self, number: int) -> list[bytes]:
        self.count += number
        return [entry(self.count - offset) for offset in range(number)]

    @rule(number=st.integers(0, 3) | st.just(130))
    def append(self, number: int) -> None:
        new = self._entries(number)
        indices = [item.index for item in self.ledger.extend(new)]
        assert indices == list(range(len(self.model), len(self.model) + number))
        self.model += new

    @rule()
    def reopen(self) -> None:
        self.disk = FailingDisk(10**9)
        self.ledger = Ledger(self.base, ORIGIN, self.key, disk=self.disk)

    @precondition(lambda self: self.model)
    @rule(number=st.integers(1, 3), operations=st.integers(0, 25))
    def crash(self, number: int, operations: int) -> None:
        new = self._entries(number)
        self.disk.left = operations
        try:
            self.ledger.extend(new)
        except Crash:
            self.reopen()
            found = entries_of(self.ledger)
            assert found in (self.model, self.model + new)
            self.model = found
        else:
            self.disk.left = 10**9
            self.model += new

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "model"):
            assert entries_of(self.ledger) == self.model
            assert is_sound(self.base, self.key)


def test_any_history_of_appends_and_crashes(tmp_path: Path, key: NodeKey) -> None:
    """Run the state machine."""
    from hypothesis.stateful import run_state_machine_as_test

    machine = type("Machine", (LedgerMachine,), {"key": key, "base": tmp_path / "ledger"})
    run_state_machine_as_test(machine, settings=settings(max_examples=15, stateful_step_count=12, deadline=None))
