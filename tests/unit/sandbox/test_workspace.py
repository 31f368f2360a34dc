"""The directory of a run: private copies, locks, claims, and nothing left."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pratique.errors import CouldNotDecide, InvalidInput
from sandbox.admission import claim
from sandbox.engine_facts import EngineFacts
from sandbox.spec import GIB, Limits, Mount
from sandbox.workspace import fresh_uid, is_abandoned, new_run_id, open_workspace

LIMITS = Limits(input_files=5, input_bytes=10_000)
FACTS = EngineFacts(
    name="Docker", version="28.0.0", os="linux", architecture="x86_64", kernel="6.1", cpus=2,
    memory=8 * GIB, cgroup_version="2", cgroup_driver="systemd", storage_driver="overlay2",
    security=("name=seccomp,profile=builtin",), runtimes=("runc",), runc_version="1.3.3",
    cannot_limit=(), same_machine=False,
)  # fmt: skip


def test_a_run_is_abandoned_when_its_process_lets_go(tmp_path: Path) -> None:
    """Not before: the reaper leaves living runs alone."""
    workspace = open_workspace(tmp_path, new_run_id())
    assert not is_abandoned(workspace.root)
    os.close(workspace._lock)
    assert is_abandoned(workspace.root)


def test_closing_leaves_nothing(tmp_path: Path) -> None:
    """Also when the copies are read-only."""
    (tmp_path / "in").write_text("x")
    workspace = open_workspace(tmp_path / "state", new_run_id())
    workspace.copy_inputs((Mount(source=tmp_path / "in", target="/input/x"),), LIMITS)
    workspace.close()
    assert list((tmp_path / "state" / "runs").iterdir()) == []


def test_copies_are_private_and_readable_by_any_uid(tmp_path: Path) -> None:
    """Whatever the umask and the modes of the source; and every run sees the same times."""
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "f").write_text("x")
    (source / "sub" / "f").chmod(0o600)
    workspace = open_workspace(tmp_path / "state", new_run_id())
    before = os.umask(0o077)
    try:
        (copied,), (digest,) = workspace.copy_inputs((Mount(source=source, target="/input/x"),), LIMITS)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o7777 for path in (copied, copied / "sub", copied / "sub" / "f")}
    assert set(modes.values()) == {0o755, 0o444}
    assert {path.stat().st_mtime for path in (copied, copied / "sub", copied / "sub" / "f")} == {946_684_800}
    assert (copied / "sub" / "f").stat().st_ino != (source / "sub" / "f").stat().st_ino
    assert (digest.files, digest.size, digest.target) == (1, 1, "/input/x")
    workspace.close()


def test_a_digest_of_inputs_stands_for_names_and_bytes(tmp_path: Path) -> None:
    """And for nothing else: neither the place nor the time."""

    def digest(name: str, content: str) -> str:
        source = tmp_path / new_run_id()
        source.mkdir()
        (source / name).write_text(content)
        workspace = open_workspace(tmp_path / "state", new_run_id())
        _, (found,) = workspace.copy_inputs((Mount(source=source, target="/input/x"),), LIMITS)
        workspace.close()
        return found.digest

    assert digest("a", "1") == digest("a", "1")
    assert len({digest("a", "1"), digest("b", "1"), digest("a", "2")}) == 3


@pytest.mark.parametrize("count", [5, 6])
def test_the_number_of_input_files_is_bounded_over_all_inputs(tmp_path: Path, count: int) -> None:
    """Five fit, six do not."""
    for number in range(count):
        (tmp_path / str(number)).touch()
    mounts = tuple(Mount(source=tmp_path / str(n), target=f"/input/{n}") for n in range(count))
    workspace = open_workspace(tmp_path / "state", new_run_id())
    if count == 5:
        assert len(workspace.copy_inputs(mounts, LIMITS)[0]) == 5
    else:
        with pytest.raises(InvalidInput) as caught:
            workspace.copy_inputs(mounts, LIMITS)
        assert caught.value.rule == "input/too-many-files"
    workspace.close()


def test_an_input_that_has_more_bytes_than_it_says_is_refused(tmp_path: Path) -> None:
    """One to which somebody goes on writing would fill the disk, and a file of the kernel's is no data."""
    workspace = open_workspace(tmp_path / "state", new_run_id())
    with pytest.raises(InvalidInput) as caught:
        workspace.copy_inputs((Mount(source=Path("/proc/self/environ"), target="/input/x"),), LIMITS)
    assert caught.value.rule == "input/changed"
    workspace.close()


@pytest.mark.parametrize(("depth", "refused"), [(64, False), (65, True), (1500, True)])
def test_the_depth_of_an_input_is_bounded(tmp_path: Path, depth: int, refused: bool) -> None:
    """Also where it is deeper than Python's own stack."""
    source = tmp_path / "in"
    source.mkdir()
    opened = [os.open(source, os.O_RDONLY | os.O_DIRECTORY)]
    for _ in range(depth - 1):
        os.mkdir("d", dir_fd=opened[-1])
        opened.append(os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=opened[-1]))
        os.close(opened.pop(0))
    os.close(opened.pop())
    workspace = open_workspace(tmp_path / "state", new_run_id())
    mounts = (Mount(source=source, target="/input/x"),)
    try:
        if refused:
            with pytest.raises(InvalidInput) as caught:
                workspace.copy_inputs(mounts, Limits())
            assert caught.value.rule == "input/too-deep"
        else:
            workspace.copy_inputs(mounts, Limits())
    finally:
        workspace.close()
        subprocess.run(["rm", "-rf", str(source)], check=True)  # pytest's own way is recursive


def test_a_state_directory_that_cannot_be_made_is_could_not_decide(tmp_path: Path) -> None:
    """With the path in the next step."""
    (tmp_path / "file").touch()
    with pytest.raises(CouldNotDecide) as caught:
        open_workspace(tmp_path / "file" / "state", new_run_id())
    assert str(tmp_path) in caught.value.next_step


@settings(max_examples=50, deadline=None)
@given(st.booleans())
def test_uids_are_outside_what_a_system_assigns(remapped: bool) -> None:
    """Within 65,536 where the engine remaps users, far beyond otherwise."""
    uid = fresh_uid(remapped)
    assert 1000 < uid < 65_534 if remapped else uid >= 1_000_000_000
    assert uid < 1 << 31


@pytest.mark.parametrize(
    "limits", [Limits(cpus=3), Limits(memory=8 * GIB)], ids=["more processors", "more memory than nine tenths"]
)
def test_more_than_the_machine_has_is_refused_at_once(tmp_path: Path, limits: Limits) -> None:
    """It would wait for ever."""
    workspace = open_workspace(tmp_path, new_run_id())
    with pytest.raises(CouldNotDecide, match="smaller than"):
        claim(workspace, limits, FACTS, patience=60)
    workspace.close()


def test_two_claims_share_no_processor_and_a_third_waits(tmp_path: Path) -> None:
    """Until one of them is given back."""
    spaces = [open_workspace(tmp_path, new_run_id()) for _ in range(3)]
    cpus = {claim(space, Limits(memory=GIB), FACTS, patience=0) for space in spaces[:2]}
    assert cpus == {"0", "1"}
    with pytest.raises(CouldNotDecide, match="busy"):
        claim(spaces[2], Limits(memory=GIB), FACTS, patience=0.1)
    threading.Timer(0.1, spaces[0].close).start()
    begun = time.monotonic()
    assert claim(spaces[2], Limits(memory=GIB), FACTS, patience=10) in cpus
    assert time.monotonic() - begun < 5
    for space in spaces[1:]:
        space.close()


def test_memory_is_never_promised_twice(tmp_path: Path) -> None:
    """Nine tenths of the machine together."""
    one, two = (open_workspace(tmp_path, new_run_id()) for _ in range(2))
    claim(one, Limits(memory=5 * GIB), FACTS, patience=0)
    with pytest.raises(CouldNotDecide):
        claim(two, Limits(memory=3 * GIB), FACTS, patience=0)
    assert claim(two, Limits(memory=2 * GIB), FACTS, patience=0)
    one.close()
    two.close()


def test_the_claim_of_a_dead_launcher_does_not_count(tmp_path: Path) -> None:
    """Its lock is free."""
    dead, living = (open_workspace(tmp_path, new_run_id()) for _ in range(2))
    claim(dead, Limits(cpus=2), FACTS, patience=0)
    os.close(dead._lock)
    assert claim(living, Limits(cpus=2), FACTS, patience=0) == "0,1"
    living.close()


def changed(**values: Any) -> EngineFacts:
    return dataclasses.replace(FACTS, **values)


def test_fractions_of_a_processor_take_a_whole_one(tmp_path: Path) -> None:
    """Neighbours on one processor would see each other's load."""
    workspace = open_workspace(tmp_path, new_run_id())
    assert claim(workspace, Limits(cpus=1.5), changed(cpus=4), patience=0) == "2,3"
    workspace.close()
