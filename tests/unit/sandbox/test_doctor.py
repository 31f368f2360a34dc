"""Weaknesses by name, from what an engine says of itself."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.doctor import WEAKNESSES, examine, version_of
from sandbox.engine import Engine, EngineFacts

GOOD = EngineFacts(
    name="Docker Engine - Community", version="28.5.2", api_version="1.51", os="linux", architecture="x86_64",
    kernel="6.12", cpus=8, memory=1 << 34, cgroup_version="2", cgroup_driver="cgroupfs", storage_driver="overlay2",
    security=("name=apparmor", "name=seccomp,profile=builtin", "name=userns"), runtimes=("runc", "runsc"),
    default_runtime="runc", runc_version="1.3.3", cannot_limit=(), same_machine=True,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _tracing_is_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever machine the tests run on."""
    monkeypatch.setattr("sandbox.doctor.why_impossible", lambda: "")


def found(*, root: bool = True, host: str = "unix:///run/docker.sock", **changes: Any) -> set[str]:
    engine = SimpleNamespace(facts=dataclasses.replace(GOOD, **changes), root_here=root, host=host)
    return {weakness.id for weakness in examine(cast(Engine, engine))}


def test_a_good_host_has_no_weakness() -> None:
    """Nothing is said for the sake of saying something."""
    assert found() == set()


CASES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "runc before the mount races were mended": ({"runc_version": "1.2.7"}, {"runc-cve-2025"}),
    "the next series before that": ({"runc_version": "1.3.2"}, {"runc-cve-2025"}),
    "runc with the leaked descriptor": ({"runc_version": "1.1.5+ds1"}, {"runc-cve-2025", "runc-cve-2024-21626"}),
    "runc just mended": ({"runc_version": "1.2.8"}, set()),
    "runc that does not say": ({"runc_version": ""}, {"runc-unknown"}),
    "an old engine": ({"version": "20.10.24+dfsg1"}, {"engine-old"}),
    "no remap": ({"security": ("name=apparmor", "name=seccomp,profile=builtin")}, {"no-user-namespace"}),
    "no seccomp": ({"security": ("name=apparmor", "name=userns")}, {"no-seccomp"}),
    "no AppArmor": ({"security": ("name=seccomp", "name=rootless")}, {"no-mandatory-access-control"}),
    "only runc": ({"runtimes": ("runc",)}, {"shared-kernel"}),
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


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30))
def test_no_version_makes_it_raise(text: str) -> None:
    """Whatever an engine calls its version."""
    found(runc_version=text, version=text)
    assert version_of(f"1.2.3{text[:0]}") == (1, 2, 3)
