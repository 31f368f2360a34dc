"""The mapping to the engine's API, line by line, without an engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.container import Placement, container_body, host_config, run_environment, volume_targets
from sandbox.seccomp import profile_json
from sandbox.spec import GIB, Limits, Mount, Network, Profile, SandboxRequest, SandboxSpec

IMAGE = "sha256:" + "b" * 64
REQUEST = SandboxRequest(
    image_id=IMAGE,
    argv=("--in", "/input/table/x.csv"),
    entrypoint=("python", "run.py"),
    inputs=(Mount(source=Path("/data/x.csv"), target="/input/table/x.csv"),),
    image_volumes=("/data", "data/../cache/", "/proc/x", "/"),
)
PLACE = Placement(
    run_id="0123456789abcdef",
    uid=1_234_567_890,
    cpuset="3",
    deadline=1_800_000_000,
    state="/state",
    input_sources=("/state/runs/x/input/0",),
    output_source="/state/runs/x/output",
    cgroup_parent="/pratique/0123456789abcdef",
)


def body(
    spec: SandboxSpec | None = None, request: SandboxRequest = REQUEST, place: Placement = PLACE
) -> dict[str, Any]:
    return container_body(spec or SandboxSpec(), request, place)


def host(spec: SandboxSpec | None = None) -> dict[str, Any]:
    return host_config(spec or SandboxSpec(), REQUEST, PLACE)


EXPECTED = {
    "NetworkMode": "none",
    "ReadonlyRootfs": True,
    "Privileged": False,
    "CapDrop": ["ALL"],
    "CapAdd": [],
    "IpcMode": "private",
    "CgroupnsMode": "private",
    "PidMode": "",
    "Init": True,
    "Memory": 2 * GIB,
    "MemorySwap": 2 * GIB,
    "PidsLimit": 256,
    "CpuPeriod": 100_000,
    "CpuQuota": 100_000,
    "CpusetCpus": "3",
    "Runtime": "runc",
    "LogConfig": {"Type": "none", "Config": {}},
    "RestartPolicy": {"Name": "no"},
    "AutoRemove": False,
    "Devices": [],
    "DeviceRequests": [],
    "CgroupParent": "/pratique/0123456789abcdef",
    "Dns": ["127.0.0.1"],
}


@pytest.mark.parametrize("field", EXPECTED)
def test_every_limit_and_privilege_reaches_the_engine(field: str) -> None:
    """With the default spec."""
    assert host()[field] == EXPECTED[field]


def test_the_seccomp_profile_and_no_new_privileges_are_set() -> None:
    """The profile goes along whole, the engine needs no file."""
    options = host()["SecurityOpt"]
    assert options[0] == "no-new-privileges"
    assert json.loads(options[1].removeprefix("seccomp=")) == json.loads(profile_json())
    assert len(options) == 2


def test_ulimits_leave_nothing_unbounded() -> None:
    """Core dumps, locked memory, queues and real-time priorities are off."""
    limits = {limit["Name"]: (limit["Soft"], limit["Hard"]) for limit in host()["Ulimits"]}
    assert {limits[name] for name in ("core", "memlock", "msgqueue", "rtprio", "nice")} == {(0, 0)}
    assert limits["nofile"] == (1024, 1024)
    assert limits["nproc"] == (256, 256)
    assert limits["fsize"] == (1 * GIB, 1 * GIB)


def test_every_place_that_can_be_written_is_a_capped_tmpfs() -> None:
    """Scratch, shared memory and each VOLUME of the image; not the root, not the kernel's file systems."""
    scratch = host()["Tmpfs"]
    assert set(scratch) == {"/tmp", "/dev/shm", "/data", "/cache"}
    for options in scratch.values():
        words = options.split(",")
        assert {"nosuid", "nodev", "noexec"} <= set(words)
        assert any(word.startswith("size=") for word in words)
        assert any(word.startswith("nr_inodes=") for word in words)


def test_inputs_are_private_and_read_only_and_only_the_output_is_not() -> None:
    """The source is the copy, never what was handed in."""
    given_mount, output = host()["Mounts"]
    assert (given_mount["Source"], given_mount["ReadOnly"]) == ("/state/runs/x/input/0", True)
    assert (output["Source"], output["Target"], output["ReadOnly"]) == ("/state/runs/x/output", "/output", False)
    assert given_mount["BindOptions"]["Propagation"] == "rprivate"


def test_without_a_host_directory_the_output_is_a_volume() -> None:
    """The fall-back where Pratique may not mount."""
    place = Placement(
        run_id="r", uid=1, cpuset="", deadline=0, state="/s", input_sources=("/i",), output_volume="pratique-r"
    )
    output = body(place=place)["HostConfig"]["Mounts"][-1]
    assert (output["Type"], output["Source"]) == ("volume", "pratique-r")


def test_what_an_image_brings_in_its_config_is_overridden() -> None:
    """Entry point, command, user, working directory, health check, stop signal."""
    made = body()
    assert (made["Entrypoint"], made["Cmd"]) == (["python"], ["run.py", "--in", "/input/table/x.csv"])
    assert made["User"] == "1234567890:1234567890"
    assert made["WorkingDir"] == "/tmp"
    assert made["Healthcheck"] == {"Test": ["NONE"]}
    assert made["StopSignal"] == "SIGKILL"
    assert (made["OpenStdin"], made["Tty"]) == (False, False)


def test_the_gosu_profile_adds_two_capabilities_and_nothing_else() -> None:
    """It starts as root, which no other profile does."""
    gosu, default = (body(SandboxSpec(profile=profile)) for profile in (Profile.GOSU, Profile.DEFAULT))
    assert gosu["HostConfig"]["CapAdd"] == ["SETUID", "SETGID"]
    assert gosu["User"] == "0:0"
    differing = {name for name in default["HostConfig"] if default["HostConfig"][name] != gosu["HostConfig"][name]}
    assert differing == {"CapAdd", "Ulimits", "Tmpfs"}


def test_the_gpu_profile_only_asks_for_devices() -> None:
    """Everything else is as by default."""
    gpu, default = host(SandboxSpec(profile=Profile.GPU)), host()
    assert {name for name in default if default[name] != gpu[name]} == {"DeviceRequests"}


def test_in_the_sinkhole_the_tool_joins_its_network_and_nothing_else_changes() -> None:
    """The observation run and the counted run differ in their network alone."""
    place = Placement(**{**PLACE.__dict__, "network_of": "c0ffee"})
    seen = body(SandboxSpec(network=Network.SINKHOLE), place=place)
    assert seen["HostConfig"]["NetworkMode"] == "container:c0ffee"
    assert "Hostname" not in seen
    counted = body()["HostConfig"]
    differing = {name for name in counted if seen["HostConfig"].get(name) != counted[name]}
    assert differing == {"NetworkMode", "Dns", "DnsSearch"}


def test_the_request_speaks_over_the_spec_in_the_environment() -> None:
    """And both over the image."""
    request = REQUEST.model_copy(update={"environment": {"OMP_NUM_THREADS": "3", "NEW": "x"}})
    made = run_environment(SandboxSpec(), request)
    assert (made["OMP_NUM_THREADS"], made["NEW"], made["PYTHONHASHSEED"]) == ("3", "x", "0")


def test_kernel_paths_include_the_engines_own_list() -> None:
    """Ours replaces Docker's, so Docker's must be in it."""
    docker = {
        "/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
        "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
    }  # fmt: skip
    assert docker | {"/proc/cmdline", "/proc/sys/kernel/random/boot_id"} <= set(host()["MaskedPaths"])
    locked = {"/dev", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
    assert set(host()["ReadonlyPaths"]) == locked


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=8))
def test_whatever_an_image_calls_a_volume_is_a_safe_mount_target_or_none(declared: list[str]) -> None:
    """No option can be smuggled into the mount, and nothing of the system is hidden."""
    for target in volume_targets(declared):
        assert target.startswith("/")
        assert target != "/"
        assert not {"..", ".", ""} & set(target.split("/")[1:])
        assert not any(character in target for character in ":,\0")
        assert target.split("/")[1] not in {"proc", "sys", "dev"}


@settings(max_examples=50, deadline=None)
@given(st.floats(0.1, 256), st.integers(8, 32_768))
def test_the_cpu_quota_follows_the_spec(cpus: float, pids: int) -> None:
    """Rounded up, never zero (which would mean unlimited)."""
    made = host_config(SandboxSpec(limits=Limits(cpus=cpus, pids=pids)), REQUEST, PLACE)
    assert cpus * 100_000 <= made["CpuQuota"] < cpus * 100_000 + 1
    assert made["PidsLimit"] == pids
