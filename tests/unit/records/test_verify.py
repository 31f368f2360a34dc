"""Verification of a ledger finds any flipped byte, truncation, missing or extra file, and names the entry."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pratique.digests import canonical_json
from records.keys import NodeKey, load_or_create_key
from records.ledger import Ledger
from records.verify import LedgerReport, verify_ledger

ORIGIN = "node.example/ledger"
LARGE = 259


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> NodeKey:
    return load_or_create_key(tmp_path_factory.mktemp("keys") / "node.pem", ORIGIN)


def entry(number: int) -> bytes:
    return canonical_json({"number": number, "what": "a statement"})


def make(root: Path, key: NodeKey, size: int) -> Path:
    Ledger(root, ORIGIN, key).extend([entry(number) for number in range(size)])
    return root


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, key: NodeKey) -> Path:
    return make(tmp_path_factory.mktemp("small"), key, 3)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, key: NodeKey) -> Path:
    return make(tmp_path_factory.mktemp("large"), key, LARGE)


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def report_with(path: Path, data: bytes, root: Path, key: NodeKey) -> LedgerReport:
    """The report while `path` holds `data`."""
    original = path.read_bytes()
    path.write_bytes(data)
    try:
        return verify_ledger(root, key.verifier)
    finally:
        path.write_bytes(original)


def flips(data: bytes) -> Iterator[tuple[int, bytes]]:
    for position in range(len(data)):
        yield position, data[:position] + bytes([data[position] ^ 0x01]) + data[position + 1 :]


def test_a_sound_ledger_has_no_problems(small: Path, large: Path, key: NodeKey) -> None:
    """Size and root are those of the signed checkpoint."""
    report = verify_ledger(large, key.verifier)
    assert report.verified
    assert report.size == LARGE
    assert len(bytes.fromhex(report.root_hash)) == 32
    assert verify_ledger(small, key.verifier).verified


def test_every_single_flipped_byte_of_a_small_ledger_is_found(small: Path, key: NodeKey) -> None:
    """All bytes of all files, one by one; a flip in an entry or its hash names that entry."""
    names = {"entries": 0, "hashes": 0, "checkpoint": 0}
    for path in files(small):
        for position, data in flips(path.read_bytes()):
            report = report_with(path, data, small, key)
            assert not report.verified, (path, position)
            named = {problem.entry for problem in report.problems}
            if path.name == "checkpoint":
                names["checkpoint"] += 1
            elif "entries" in path.parts:
                assert min(name for name in named if name is not None) == entry_at(position)
                names["entries"] += 1
            else:
                assert named == {position // 32}
                names["hashes"] += 1
    assert all(names.values())


def entry_at(position: int) -> int:
    """Which entry the byte at `position` of the small ledger's bundle belongs to."""
    end = 0
    for number in range(3):
        end += 2 + len(entry(number))
        if position < end:
            return number
    raise AssertionError(position)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_of_a_large_ledger_is_found(large: Path, key: NodeKey, data: st.DataObject) -> None:
    """Full tiles, partial tiles, upper levels: any file, any byte, any bit."""
    path = data.draw(st.sampled_from(files(large)))
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    report = report_with(path, bytes(content), large, key)
    assert not report.verified
    if path.name != "checkpoint":
        assert any(problem.entry is not None for problem in report.problems)


@pytest.mark.parametrize("cut", [0, 1, 31, 32, 40])
def test_truncated_and_lengthened_files_are_found(small: Path, key: NodeKey, cut: int) -> None:
    """Each file cut short, emptied, or with bytes after its end."""
    for path in files(small):
        content = path.read_bytes()
        for data in (content[:cut], content[: len(content) - 1 - cut], content + b"\x00" * (cut + 1)):
            assert not report_with(path, data, small, key).verified, (path, len(data))


def test_missing_files_are_found_and_their_entries_named(large: Path, key: NodeKey, tmp_path: Path) -> None:
    """Each file away, one by one."""
    root = tmp_path / "ledger"
    shutil.copytree(large, root)
    for path in files(root):
        content = path.read_bytes()
        path.unlink()
        report = verify_ledger(root, key.verifier)
        path.write_bytes(content)
        assert not report.verified, path
        if path.name != "checkpoint":
            assert any(problem.entry is not None and "missing" in problem.message for problem in report.problems)
    assert verify_ledger(root, key.verifier).verified


@pytest.mark.parametrize(
    "extra",
    [
        "notes.txt",
        "tile/0/001",
        "tile/0/000.p/2",
        "tile/entries/001",
        "tile/entries/000.p/9",
        "tile/1/000",
        "tile/9/000.p/1",
        "tile/0/.hidden",
        ".unfinished/draft",
        "checkpoint.old",
    ],
)
def test_extra_files_are_found(small: Path, key: NodeKey, tmp_path: Path, extra: str) -> None:
    """Anything that a ledger of this size does not have."""
    root = tmp_path / "ledger"
    shutil.copytree(small, root)
    (root / extra).parent.mkdir(parents=True, exist_ok=True)
    (root / extra).write_bytes(b"")
    report = verify_ledger(root, key.verifier)
    assert [problem.message.split(":")[0] for problem in report.problems] == [extra]


@pytest.mark.parametrize("kind", ["link to a copy", "link to nothing", "directory link", "pipe"])
def test_what_is_not_a_plain_file_is_found(small: Path, key: NodeKey, tmp_path: Path, kind: str) -> None:
    """Links are not followed out of the directory, and pipes do not hang the verifier."""
    root = tmp_path / "ledger"
    shutil.copytree(small, root)
    bundle = root / "tile/entries/000.p/3"
    if kind == "link to a copy":
        shutil.copy(bundle, tmp_path / "copy")
        bundle.unlink()
        bundle.symlink_to(tmp_path / "copy")
    elif kind == "link to nothing":
        (root / "tile/0/nothing").symlink_to(tmp_path / "absent")
    elif kind == "directory link":
        (root / "tile/7").symlink_to(root / "tile/0")
    else:
        os.mkfifo(root / "pipe")
    assert not verify_ledger(root, key.verifier).verified


def test_odd_names_and_deep_directories_do_not_stop_the_verifier(small: Path, key: NodeKey, tmp_path: Path) -> None:
    """A name that is not UTF-8, and directories deeper than the interpreter's stack."""
    root = tmp_path / "ledger"
    shutil.copytree(small, root)
    with open(os.fsencode(root) + b"/\xff\xfe", "wb"):  # noqa: PTH123 (a name that pathlib cannot write)
        pass
    (problem,) = verify_ledger(root, key.verifier).problems
    problem.message.encode("utf-8")
    descriptor = os.open(root, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d", dir_fd=descriptor)
        deeper = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = deeper
    os.close(descriptor)
    assert not verify_ledger(root, key.verifier).verified
    subprocess.run(["rm", "-r", str(root)], check=True)


def test_the_signed_root_tells_which_of_entry_and_hash_was_altered(small: Path, key: NodeKey) -> None:
    """The message accuses the right one."""
    bundle, hashes = small / "tile/entries/000.p/3", small / "tile/0/000.p/3"
    altered = bundle.read_bytes().replace(b'"number":1', b'"number":7')
    (problem,) = report_with(bundle, altered, small, key).problems
    assert (problem.entry, "was altered" in problem.message) == (1, True)
    (problem,) = report_with(hashes, b"\x00" * 32 + hashes.read_bytes()[32:], small, key).problems
    assert (problem.entry, "the entry itself is genuine" in problem.message) == (0, True)


@pytest.mark.parametrize("size", [3, LARGE])
def test_an_entry_altered_with_all_hashes_above_it_does_not_lead_to_the_signed_root(
    size: int, key: NodeKey, tmp_path: Path
) -> None:
    """Every file agrees with every other, but for the checkpoint, which only the node can sign."""
    honest = make(tmp_path / "honest", key, size)
    entries = [entry(number) for number in range(size)]
    Ledger(tmp_path / "forged", ORIGIN, key).extend([canonical_json({"number": 0, "what": "a lie"}), *entries[1:]])
    shutil.copy(honest / "checkpoint", tmp_path / "forged" / "checkpoint")
    (problem,) = verify_ledger(tmp_path / "forged", key.verifier).problems
    assert "neither the entries nor the hash tiles lead to the signed root" in problem.message


def test_a_checkpoint_that_somebody_else_signed_is_none(small: Path, key: NodeKey, tmp_path: Path) -> None:
    """Files of the same entries under a checkpoint of somebody else, or of another origin."""
    stranger = load_or_create_key(tmp_path / "stranger.pem", ORIGIN)
    forged = make(tmp_path / "forged", stranger, 3)
    report = verify_ledger(forged, key.verifier)
    assert not report.verified
    assert (report.size, report.root_hash) == (0, "")
    shutil.copy(small / "checkpoint", forged / "checkpoint")
    assert verify_ledger(forged, key.verifier).verified  # the same entries have the same root: nothing was rewritten
    assert not verify_ledger(forged, key.verifier, origin="other.example").verified


def test_entries_that_no_writer_of_ours_makes_are_named(tmp_path: Path, key: NodeKey) -> None:
    """A signed history may still hold an entry that is not canonical JSON."""
    from records.checkpoint import Checkpoint, sign_checkpoint
    from records.merkle import leaf_hash, root_of
    from records.tiles import bundle

    root = make(tmp_path, key, 2)
    odd = [entry(0), b'{"a": 1}']
    leaves = [leaf_hash(data) for data in odd]
    (root / "tile/entries/000.p/2").write_bytes(bundle(odd))
    (root / "tile/0/000.p/2").write_bytes(b"".join(leaves))
    (root / "checkpoint").write_bytes(sign_checkpoint(Checkpoint(ORIGIN, 2, root_of(leaves)), key).note)
    (problem,) = verify_ledger(root, key.verifier).problems
    assert problem.entry == 1
    assert "RFC 8785" in problem.message


def test_problems_are_bounded(small: Path, key: NodeKey, tmp_path: Path) -> None:
    """Ten thousand stray files do not make ten thousand problems."""
    root = tmp_path / "ledger"
    shutil.copytree(small, root)
    for number in range(1100):
        (root / f"stray-{number}").touch()
    problems = verify_ledger(root, key.verifier).problems
    assert len(problems) == 1001
    assert "100 more problems" in problems[-1].message


def test_a_signature_by_an_unknown_key_on_the_checkpoint_is_told(small: Path, key: NodeKey, tmp_path: Path) -> None:
    """Otherwise bytes could be added to the checkpoint unseen."""
    from records.note import sign_note, verify_note

    stranger = load_or_create_key(tmp_path / "stranger.pem", "witness.example")
    path = small / "checkpoint"
    text = verify_note(path.read_bytes(), [key.verifier]).text
    (problem,) = report_with(path, sign_note(text, [key, stranger]), small, key).problems
    assert "witness.example" in problem.message
