"""Weaknesses by name, from what an engine says of itself and what its machine's files say."""

from __future__ import annotations

import dataclasses
import gzip
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox import kernel
from sandbox.doctor import WEAKNESSES, examine, reachable_tier
from sandbox.engine import Engine
from sandbox.engine_facts import EngineFacts
from sandbox.flaws import FLAWS, has, known_flaws, version_of

GOOD = EngineFacts(
    name="Docker Engine - Community", version="29.3.1", os="linux", architecture="x86_64",
    kernel="6.12", cpus=8, memory=1 << 34, cgroup_version="2", cgroup_driver="cgroupfs", storage_driver="overlay2",
    security=("name=apparmor", "name=seccomp,profile=builtin", "name=userns"),
    runtimes=("pratique-notify", "runc", "runsc"),
    runc_version="1.3.3", cannot_limit=(), same_machine=True,
    containerd_version="v2.2.0", backing="xfs", data_root="/var/lib/docker",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _tracing_is_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever machine the tests run on."""
    monkeypatch.setattr("sandbox.doctor.why_impossible", lambda: "")
    monkeypatch.setattr("sandbox.doctor.look_around", lambda facts, host: [])
    monkeypatch.setattr("sandbox.doctor.DOCUMENTS", Path("/nonexistent"))


def found(*, root: bool = True, host: str = "unix:///run/docker.sock", **changes: Any) -> set[str]:
    engine = SimpleNamespace(facts=dataclasses.replace(GOOD, **changes), root_here=root, host=host)
    return {weakness.id for weakness in examine(cast(Engine, engine))}


def test_a_good_host_has_no_weakness() -> None:
    """Nothing is said for the sake of saying something."""
    assert found() == set()


CASES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "runc before the mount races were mended": ({"runc_version": "1.2.7"}, {"runc-cve-2025"}),
    "the next series before that": ({"runc_version": "1.3.2"}, {"runc-cve-2025"}),
    "a candidate of the series after": ({"runc_version": "1.4.0-rc.2"}, {"runc-cve-2025"}),
    "the candidate that was mended": ({"runc_version": "1.4.0-rc.3"}, set()),
    "runc with the leaked descriptor": (
        {"runc_version": "1.1.5+ds1"},
        {"runc-cve-2025", "runc-cve-2024-21626", "runc-cve-2024-45310"},
    ),
    "runc just mended": ({"runc_version": "1.2.8"}, set()),
    "runc that does not say": ({"runc_version": ""}, {"runc-unknown"}),
    "an old engine": (
        {"version": "20.10.24+dfsg1"},
        {"engine-old", "docker-cve-2024-41110", "docker-cve-2026-34040"},
    ),
    "an engine that was not mended": ({"version": "29.3.0"}, {"docker-cve-2026-34040"}),
    "an old containerd": ({"containerd_version": "1.6.20~ds1"}, {"containerd-cve-2024-25621"}),
    "containerd of the next series": ({"containerd_version": "v1.7.29"}, set()),
    "containerd of a series without a mend": ({"containerd_version": "1.5.18"}, {"containerd-cve-2024-25621"}),
    "Podman, which is no Docker": ({"name": "Podman Engine", "version": "4.3.1"}, set()),
    "no remap": ({"security": ("name=apparmor", "name=seccomp,profile=builtin")}, {"no-user-namespace"}),
    "no seccomp": ({"security": ("name=apparmor", "name=userns")}, {"no-seccomp"}),
    "no AppArmor": ({"security": ("name=seccomp", "name=rootless")}, {"no-mandatory-access-control"}),
    "only runc": ({"runtimes": ("runc",)}, {"not-notified", "shared-kernel"}),
    "no runtime that hands calls over": ({"runtimes": ("runc", "kata")}, {"not-notified"}),
    "control groups version 1": ({"cgroup_version": "1"}, {"cgroup-v1"}),
    "no limit on processes": ({"cannot_limit": ("pids",)}, {"no-limit-pids"}),
    "systemd": ({"cgroup_driver": "systemd"}, {"observation-tier-0"}),
    "no root": ({"root": False}, {"observation-tier-0"}),
    "elsewhere": ({"same_machine": False, "host": "tcp://1.2.3.4:2375"}, {"engine-elsewhere", "engine-over-network"}),
}


@pytest.mark.parametrize(("changes", "expected"), CASES.values(), ids=CASES.keys())
def test_each_weakness_is_named(changes: dict[str, Any], expected: set[str]) -> None:
    """A policy can refuse on the identifier."""
    assert found(**changes) == expected
    assert expected <= WEAKNESSES


def test_that_nothing_can_be_traced_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason."""
    monkeypatch.setattr("sandbox.doctor.why_impossible", lambda: "no bpftrace")
    assert found() == {"not-traced"}


def test_each_weakness_says_how_to_mend_it() -> None:
    """And the worst come first."""
    engine = SimpleNamespace(
        facts=dataclasses.replace(GOOD, runc_version="1.0.0", version="19.3.0", security=(), cgroup_version="1"),
        root_here=True,
        host="unix:///x",
    )
    weaknesses = examine(cast(Engine, engine))
    assert all(weakness.fix.endswith((".", ")")) for weakness in weaknesses)
    severities = [weakness.severity for weakness in weaknesses]
    assert severities == sorted(severities, key=["high", "medium", "low"].index)


VERSIONS = (
    "1.0.0-rc6", "1.0.0-rc7", "1.0.0-rc95", "1.0.0", "1.1.0~rc1+ds1", "1.1.0", "1.1.12", "1.2.0-rc.2", "1.2.0-rc.3",
    "1.2.0", "1.2.7", "1.2.8", "1.3.0-rc.1", "1.3.0", "1.3.3", "1.4.0-beta.1", "1.4.0-rc.2", "1.4.0-rc.3", "1.4.0",
    "1.10.0", "2.0.0",
)  # fmt: skip


def test_versions_are_ordered_by_number_and_candidates_come_first() -> None:
    """Not by letters: 1.10 is after 1.9, and a release after its candidates."""
    parsed = [version_of(text) for text in VERSIONS]
    assert None not in parsed
    assert parsed == sorted(cast("list[tuple[int, ...]]", parsed))
    assert version_of("v1.7.27") == version_of("1.7.27~ds1") == version_of("1.7.27+deb12u1") == (1, 7, 27, 3, 0)
    assert version_of("1.0-rc6") == version_of("1.0.0-rc.6")


MENDED = ("1.2.8", "1.3.3", "1.4.0-rc3")


@pytest.mark.parametrize("text", VERSIONS)
def test_a_flaw_is_there_until_its_own_series_is_mended(text: str) -> None:
    """A series without a mend has it, unless it is newer than the last one."""
    version = version_of(text)
    assert version is not None
    assert has(version, MENDED) is (text not in {"1.2.8", "1.3.3", "1.4.0-rc.3", "1.4.0", "1.10.0", "2.0.0"})


def test_every_flaw_is_listed_in_order() -> None:
    """Ascending, one mend a series, so that `has` can rely on it."""
    for flaw in FLAWS:
        found = [version_of(text) for text in flaw.mended]
        assert None not in found
        assert found == sorted(cast("list[tuple[int, ...]]", found))
        assert len({version[:2] for version in found if version}) == len(found)
        assert flaw.id.startswith(flaw.component)
    assert len({flaw.id for flaw in FLAWS}) == len(FLAWS)


CHANGELOG = """\
runc (1.1.5+ds1-1+deb12u2) bookworm-security; urgency=high

  * CVE-2025-31133, CVE-2025-52565: mount races

runc (1.1.5+ds1-1+deb12u1) bookworm-security; urgency=high

  * CVE-2024-21626: several container breakouts

runc (1.1.5+ds1-1) unstable; urgency=medium

  * New upstream version
"""

PACKAGED: dict[str, tuple[str, set[str]]] = {
    # what the engine says it was built from, and the flaws that are left
    "the package that mended it": ("1.1.5+ds1-1+deb12u1", {"runc-cve-2025", "runc-cve-2024-45310"}),
    "the package before": ("1.1.5+ds1-1", {"runc-cve-2025", "runc-cve-2024-21626", "runc-cve-2024-45310"}),
    "a package that mended two of three": ("1.1.5+ds1-1+deb12u2", {"runc-cve-2025", "runc-cve-2024-45310"}),
    "another build": ("v1.1.5-0-gf19387a6", {"runc-cve-2025", "runc-cve-2024-21626", "runc-cve-2024-45310"}),
    "nothing": ("", {"runc-cve-2025", "runc-cve-2024-21626", "runc-cve-2024-45310"}),
}


@pytest.mark.parametrize(("revision", "left"), PACKAGED.values(), ids=PACKAGED.keys())
def test_what_a_distribution_mended_is_believed_of_that_very_package(
    tmp_path: Path, revision: str, left: set[str]
) -> None:
    """Its changelog names every CVE of the flaw, at or below the version that the engine was built from."""
    place = tmp_path / "runc"
    place.mkdir()
    (place / "changelog.Debian.gz").write_bytes(gzip.compress(CHANGELOG.encode()))
    assert {flaw.id for flaw in known_flaws("runc", "1.1.5+ds1", revision, tmp_path)} == left


@pytest.mark.parametrize("data", [b"", b"no gzip", gzip.compress(CHANGELOG.encode())[:60]], ids=["", "text", "cut"])
def test_a_changelog_that_cannot_be_read_mends_nothing(tmp_path: Path, data: bytes) -> None:
    """Nor does one that is not there."""
    (tmp_path / "runc").mkdir()
    (tmp_path / "runc" / "changelog.Debian.gz").write_bytes(data)
    for place in (tmp_path, tmp_path / "none"):
        assert "runc-cve-2024-21626" in {
            flaw.id for flaw in known_flaws("runc", "1.1.5+ds1", "1.1.5+ds1-1+deb12u1", place)
        }


FILES: dict[str, tuple[dict[str, str], set[str]]] = {
    "a kernel that is locked down": ({}, set()),
    "a kernel that is not": ({"sys/kernel/security/lockdown": "[none] integrity"}, {"no-kernel-lockdown"}),
    "a kernel without lockdown": ({"sys/kernel/security/lockdown": ""}, {"no-kernel-lockdown"}),
    "programs for everybody": ({"proc/sys/kernel/unprivileged_bpf_disabled": "0\n"}, {"unprivileged-bpf"}),
    "swap on a disk": ({"proc/swaps": "Filename Type\n/dev/sda2 partition 1 0 -2\n"}, {"swap"}),
    "swap in memory": ({"proc/swaps": "Filename Type\n/dev/zram0 partition 1 0 -2\n"}, set()),
    "a processor that leaks": (
        {"sys/devices/system/cpu/vulnerabilities/mds": "Vulnerable: no microcode"},
        {"processor-flaws"},
    ),
    "a disk without quotas": (
        {"proc/self/mountinfo": "1 0 8:1 / /var/lib/docker rw - xfs /dev/sda1 rw,noquota"},
        {"no-storage-quota"},
    ),
    "quotas on another disk": (
        {"proc/self/mountinfo": "1 0 8:1 / / rw - xfs /dev/a rw\n2 1 8:2 / /var/lib/doc rw - xfs /dev/b prjquota"},
        {"no-storage-quota"},
    ),
}


@pytest.mark.parametrize(("changes", "expected"), FILES.values(), ids=FILES.keys())
def test_what_the_machines_files_say(tmp_path: Path, changes: dict[str, str], expected: set[str]) -> None:
    """Each weakness from its file; what is not weak is not said."""
    good = {
        "proc/sys/kernel/unprivileged_bpf_disabled": "2\n",
        "proc/swaps": "Filename Type Size Used Priority\n",
        "proc/self/mountinfo": "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /var rw shared:1 - xfs /dev/b rw,prjquota\n",
        "sys/kernel/security/lockdown": "none [integrity] confidentiality\n",
        "sys/devices/system/cpu/vulnerabilities/mds": "Mitigation: Clear CPU buffers\n",
    }
    for name, text in (good | changes).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = kernel.look_around(GOOD, "tcp://127.0.0.1:1", tmp_path)
    assert {weakness.id for weakness in found} == expected
    assert expected <= WEAKNESSES
    assert all(weakness.fix for weakness in found)


def test_files_that_are_hidden_are_no_findings_but_lockdown_and_quota(tmp_path: Path) -> None:
    """Those two are weaknesses when nothing speaks for them."""
    found = {weakness.id for weakness in kernel.look_around(GOOD, "tcp://x", tmp_path)}
    assert found == {"no-kernel-lockdown", "no-storage-quota"}


@pytest.mark.parametrize(("mode", "expected"), [(0o600, set()), (0o666, {"engine-socket-open"}), (0o660, {"group"})])
def test_who_may_use_the_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, expected: set[str]) -> None:
    """Everybody; members of its group; nobody but its owner."""
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        path.chmod(mode)
        monkeypatch.setattr("sandbox.kernel.grp.getgrgid", lambda gid: SimpleNamespace(gr_mem=["root", "alice"]))
        found = {weakness.id for weakness in kernel.look_around(GOOD, f"unix://{path}")}
    wanted = {"engine-socket-group"} if expected == {"group"} else expected
    assert {name for name in found if name.startswith("engine-socket")} == wanted


TIERS: dict[str, tuple[dict[str, Any], bool, tuple[int, str]]] = {
    "root beside cgroupfs, with the runtime": ({}, True, (2, "")),
    "without the runtime": ({"runtimes": ("runc",)}, True, (1, "the engine has no runtime pratique-notify")),
    "no root": ({}, False, (0, "Pratique may not make control groups and mounts here")),
    "systemd": ({"cgroup_driver": "systemd"}, True, (0, "systemd manages the control groups")),
}


@pytest.mark.parametrize(("changes", "root", "tier"), TIERS.values(), ids=TIERS.keys())
def test_the_tier_that_can_be_reached(changes: dict[str, Any], root: bool, tier: tuple[int, str]) -> None:
    """And what keeps runs from more."""
    engine = SimpleNamespace(facts=dataclasses.replace(GOOD, **changes), root_here=root, host="unix:///x")
    assert reachable_tier(cast(Engine, engine)) == tier


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30))
def test_no_version_makes_it_raise(text: str) -> None:
    """Whatever an engine calls its version."""
    found(runc_version=text, version=text, containerd_version=text)
