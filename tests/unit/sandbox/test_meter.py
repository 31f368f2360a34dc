"""Reading control groups of both versions, from trees made for the test."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.engine import EngineFacts
from sandbox.meter import (
    Files,
    Meter,
    files_of_process,
    files_v1,
    files_v2,
    make_group,
    remove_group,
    remove_old_groups,
)
from sandbox.spec import Limits


def write(root: Path, values: dict[str, str]) -> None:
    for name, value in values.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(value)


V1 = {
    "memory/memory.usage_in_bytes": "1000\n",
    "memory/memory.max_usage_in_bytes": "5000\n",
    "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    "cpuacct/cpuacct.usage": "1500000000\n",
    "pids/pids.current": "3\n",
    "pids/pids.peak": "9\n",
}
V2 = {
    "memory.current": "1000\n",
    "memory.peak": "5000\n",
    "memory.events": "low 0\nhigh 0\nmax 7\noom 2\noom_kill 2\n",
    "cpu.stat": "usage_usec 1500000\nuser_usec 1000000\n",
    "pids.current": "3\n",
    "pids.peak": "9\n",
}


@pytest.mark.parametrize("version", [1, 2])
def test_both_versions_say_the_same(tmp_path: Path, version: int) -> None:
    """Bytes, seconds, counts."""
    write(tmp_path, V1 if version == 1 else V2)
    directories = {name: tmp_path / name for name in ("memory", "cpuacct", "pids")}
    meter = Meter(files_v1(directories) if version == 1 else files_v2(tmp_path))
    meter.start()
    meter.sample()
    usage = meter.finish()
    assert (usage.cpu_seconds, usage.peak_memory, usage.peak_pids, usage.oom_kills) == (1.5, 5000, 9, 2)
    assert [(sample.memory, sample.cpu) for sample in usage.samples] == [(1000, 1.5)]


def test_without_any_file_every_figure_is_unknown_not_zero() -> None:
    """None, so that nobody takes it for a measurement."""
    meter = Meter(Files())
    meter.sample()
    usage = meter.finish()
    assert (usage.cpu_seconds, usage.peak_memory, usage.peak_pids, usage.samples) == (None, None, None, ())


def test_where_peaks_are_not_kept_the_largest_sample_is_the_peak(tmp_path: Path) -> None:
    """An older kernel, or a group that went away with its container."""
    write(tmp_path, {name: value for name, value in V2.items() if "peak" not in name})
    meter = Meter(files_v2(tmp_path))
    for used in (1000, 9000, 2000):
        write(tmp_path, {"memory.current": f"{used}\n"})
        meter.sample()
    for name in V2:
        (tmp_path / name).unlink(missing_ok=True)
    usage = meter.finish()
    assert (usage.peak_memory, usage.cpu_seconds, usage.peak_pids) == (9000, 1.5, 3)


def test_a_long_run_keeps_a_bounded_number_of_samples(tmp_path: Path) -> None:
    """Evenly spread: every second one goes when there are many."""
    write(tmp_path, V2)
    meter = Meter(files_v2(tmp_path))
    before = meter.interval
    for _ in range(1000):
        meter.sample()
    assert 100 < len(meter.finish().samples) <= 400
    assert meter.interval >= 4 * before


def test_a_process_is_found_in_either_hierarchy(tmp_path: Path) -> None:
    """Hybrid counts as version 1 where memory is there."""
    write(tmp_path / "proc", {"7/cgroup": "4:memory:/docker/x\n2:cpuacct,cpu:/docker/x\n0::/\n", "8/cgroup": "0::/y\n"})
    hybrid = files_of_process(7, tmp_path / "cg", tmp_path / "proc")
    assert hybrid.memory == tmp_path / "cg/memory/docker/x/memory.usage_in_bytes"
    assert hybrid.cpu == tmp_path / "cg/cpuacct/docker/x/cpuacct.usage"
    unified = files_of_process(8, tmp_path / "cg", tmp_path / "proc")
    assert unified.memory == tmp_path / "cg/y/memory.current"
    assert files_of_process(9, tmp_path / "cg", tmp_path / "proc") == Files()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60))
def test_no_content_makes_the_meter_raise(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """The kernel's files are trusted, but a race may show anything."""
    root = tmp_path_factory.mktemp("cg")
    for name in V2:
        (root / name).write_bytes(data)
    meter = Meter(files_v2(root))
    meter.sample()
    meter.finish()


def test_groups_are_removed_from_every_hierarchy_and_old_ones_by_age(tmp_path: Path) -> None:
    """Of this run; groups of others stay until they are old."""
    for place in ("memory/pratique/aa", "pids/pratique/aa", "memory/pratique/bb"):
        (tmp_path / place).mkdir(parents=True)
    remove_group("aa", tmp_path)
    assert [path.name for path in tmp_path.glob("*/pratique/*")] == ["bb"]
    remove_old_groups(3600, tmp_path)
    assert (tmp_path / "memory/pratique/bb").exists()
    remove_old_groups(-1, tmp_path)
    assert not (tmp_path / "memory/pratique/bb").exists()


def test_a_group_of_version_1_has_its_parents_processors(tmp_path: Path) -> None:
    """Only runc fills an empty cpuset on the way down; other runtimes fail at it."""
    for controller in ("memory", "pids", "cpuacct", "cpuset"):
        (tmp_path / controller).mkdir()
    values = {"cpuset.cpus": "0-3\n", "cpuset.mems": "0\n"}
    for place in ("cpuset", "cpuset/pratique", "cpuset/pratique/0123456789abcdef"):
        (tmp_path / place).mkdir(exist_ok=True)
        for name, value in values.items():
            (tmp_path / place / name).write_text(value if place == "cpuset" else "\n")
    for controller in ("memory", "pids", "cpuacct"):
        (tmp_path / controller / "pratique" / "0123456789abcdef").mkdir(parents=True)
    facts = cast(EngineFacts, SimpleNamespace(cgroup_driver="cgroupfs", cgroup_version="1"))
    assert make_group("0123456789abcdef", Limits(), facts, root=tmp_path) is not None
    for name, value in values.items():
        assert (tmp_path / "cpuset/pratique/0123456789abcdef" / name).read_text() == value


def test_groups_that_a_killed_engine_left_inside_go_too(tmp_path: Path) -> None:
    """Empty ones, at any depth; a living group cannot be removed by rmdir."""
    for inner in ("memory/pratique/run/container/nested", "pids/pratique/run/container"):
        (tmp_path / inner).mkdir(parents=True)
    remove_group("run", root=tmp_path, patience=0.1)
    assert not list(tmp_path.glob("*/pratique/run"))
