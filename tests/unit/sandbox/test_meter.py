"""Reading control groups of both versions, from trees made for the test."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.engine_facts import EngineFacts
from sandbox.meter import (
    CGROUP_ROOT,
    SLACK_BYTES,
    SLACK_PIDS,
    Files,
    Meter,
    files_of_process,
    files_v1,
    files_v2,
    make_group,
    remove_group,
    remove_old_groups,
)
from sandbox.spec import MIB, Limits


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


# --- the three layouts of a machine ------------------------------------------------------------------------------

LIMITS = Limits(memory=64 * MIB, pids=32)
RUN = "0123456789abcdef"
CONTROLLERS_V1 = ("memory", "pids", "cpuset", "cpu,cpuacct")


def layout(root: Path, name: str) -> EngineFacts:
    """A tree as the kernel and systemd lay it out, and what an engine says of itself there."""
    if name == "v2":
        root.mkdir()
        write(root, {"cgroup.controllers": "cpuset cpu io memory pids\n", "cgroup.subtree_control": ""})
        return cast(EngineFacts, SimpleNamespace(cgroup_driver="cgroupfs", cgroup_version="2"))
    for controller in CONTROLLERS_V1:
        (root / controller).mkdir(parents=True)
    for part in ("cpu", "cpuacct"):
        (root / part).symlink_to("cpu,cpuacct")
    write(root, {"cpuset/cpuset.cpus": "0-3\n", "cpuset/cpuset.mems": "0\n"})
    if name == "hybrid":
        write(root / "unified", {"cgroup.controllers": "", "cgroup.subtree_control": ""})
    return cast(EngineFacts, SimpleNamespace(cgroup_driver="cgroupfs", cgroup_version="1"))


@pytest.mark.parametrize("name", ["v1", "v2", "hybrid"])
def test_each_layout_gets_a_group_with_limits_and_peaks(tmp_path: Path, name: str) -> None:
    """The engine is told one parent; the limits stand one level up, and the figures are read where they stand."""
    root = tmp_path / "cg"
    group = make_group(RUN, LIMITS, layout(root, name), root=root)
    assert group is not None
    assert group.parent == f"/pratique/{RUN}"
    own = Path("pratique", RUN)
    memory, pids = str(LIMITS.memory + SLACK_BYTES), str(LIMITS.pids + SLACK_PIDS)
    if name == "v2":
        for above in (root, root / "pratique", root / own):
            assert (above / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
        assert ((root / own / "memory.max").read_text(), (root / own / "pids.max").read_text()) == (memory, pids)
        write(root / own, V2)
    else:
        assert (root / "memory" / own / "memory.limit_in_bytes").read_text() == memory
        assert (root / "pids" / own / "pids.max").read_text() == pids
        for file, value in V1.items():
            controller, _, rest = file.partition("/")
            write(root / controller / own, {rest: value})
        assert not (root / "unified" / "pratique").exists(), "no controller is there"
    meter = Meter(group.files)
    meter.sample()
    usage = meter.finish()
    assert (usage.cpu_seconds, usage.peak_memory, usage.peak_pids, usage.oom_kills) == (1.5, 5000, 9, 2)


MEMBERSHIPS = {
    "v1": "9:memory:/x\n5:cpu,cpuacct:/x\n3:pids:/x\n1:name=systemd:/other\n",
    "v2": "0::/x\n",
    "hybrid": "9:memory:/x\n5:cpu,cpuacct:/x\n3:pids:/x\n1:name=systemd:/other\n0::/elsewhere\n",
    "hybrid, memory unified": "3:pids:/other\n1:name=systemd:/other\n0::/x\n",
}


@pytest.mark.parametrize("name", MEMBERSHIPS)
def test_a_containers_own_figures_are_found_in_each_layout(tmp_path: Path, name: str) -> None:
    """Where no group of its own could be made, from what the kernel says of the process."""
    root = tmp_path / "cg"
    layout(root, name.partition(",")[0])
    write(tmp_path / "proc", {"7/cgroup": MEMBERSHIPS[name]})
    if name in ("v1", "hybrid"):
        for file, value in V1.items():
            controller, _, rest = file.partition("/")
            write(root / controller / "x", {rest: value})
    else:
        write((root if name == "v2" else root / "unified") / "x", V2)
    meter = Meter(files_of_process(7, root, tmp_path / "proc"))
    meter.sample()
    usage = meter.finish()
    assert (usage.cpu_seconds, usage.peak_memory, usage.peak_pids) == (1.5, 5000, 9)


@pytest.mark.parametrize(
    ("driver", "version", "spoilt"),
    [("systemd", "2", ""), ("cgroupfs", "2", "cgroup.subtree_control"), ("cgroupfs", "1", "memory")],
)
def test_where_no_group_can_be_made_there_is_none(tmp_path: Path, driver: str, version: str, spoilt: str) -> None:
    """Then the tier is 0; a run does not fail for it."""
    root = tmp_path / "cg"
    layout(root, "v2" if version == "2" else "v1")
    if spoilt == "memory":
        (root / "memory").rmdir()
        (root / "memory").symlink_to("/proc/self")  # a directory in which nothing can be made
    elif spoilt:
        (root / spoilt).unlink()
        (root / spoilt).mkdir()
    facts = cast(EngineFacts, SimpleNamespace(cgroup_driver=driver, cgroup_version=version))
    assert make_group(RUN, LIMITS, facts, root=root) is None


_EATING = """
import os, sys, time
data = bytearray(48 << 20)
end = time.process_time() + 0.05
while time.process_time() < end:
    pass
if os.fork() == 0:
    time.sleep(0.1)
    os._exit(0)
os.wait()
"""


def test_this_machines_own_layout_is_metered() -> None:
    """A real group, a real process in a group below it as a container would be, figures after its end."""
    version = "2" if (CGROUP_ROOT / "cgroup.controllers").exists() else "1"
    facts = cast(EngineFacts, SimpleNamespace(cgroup_driver="cgroupfs", cgroup_version=version))
    run_id = secrets.token_hex(8)
    group = make_group(run_id, LIMITS, facts) if os.geteuid() == 0 else None
    if group is None:
        pytest.skip("no control group can be made here")
    below = [path for path in (CGROUP_ROOT, *CGROUP_ROOT.iterdir()) if (path / "pratique" / run_id).is_dir()]
    tools = [path / "pratique" / run_id / "tool" for path in below if not path.is_symlink()]
    try:
        for tool in tools:
            tool.mkdir()
            if tool.parts[4] == "cpuset":
                for name in ("cpuset.cpus", "cpuset.mems"):
                    (tool / name).write_text((tool.parent / name).read_text())

        def enter() -> None:
            for tool in tools:
                (tool / "cgroup.procs").write_text("0")

        meter = Meter(group.files)
        meter.start()
        subprocess.run([sys.executable, "-I", "-S", "-c", _EATING], preexec_fn=enter, check=True)
        usage = meter.finish()
    finally:
        remove_group(run_id)
    assert not list(CGROUP_ROOT.glob(f"*/pratique/{run_id}"))
    assert usage.cpu_seconds is not None
    assert usage.cpu_seconds >= 0.05
    assert usage.peak_memory is not None
    assert 48 * MIB <= usage.peak_memory <= LIMITS.memory + SLACK_BYTES
    if group.files.pids_peak is not None and group.files.pids_peak.parent.parent.joinpath("pids.peak").exists():
        assert usage.peak_pids == 2
