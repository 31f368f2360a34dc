"""The spec refuses what is out of range, and its digest stands for every part of it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sandbox.spec import GIB, MIB, Limits, Mount, Profile, SandboxRequest, SandboxSpec, smaller_of

IMAGE = "sha256:" + "a" * 64

OUT_OF_RANGE: dict[str, dict[str, Any]] = {
    "no cpu": {"cpus": 0},
    "a cpu that is no number": {"cpus": float("nan")},
    "endless cpus": {"cpus": float("inf")},
    "memory below what a process needs": {"memory": 1024},
    "negative memory": {"memory": -1},
    "one process": {"pids": 1},
    "a fork bomb's worth of processes": {"pids": 10_000_000},
    "no time": {"wall_seconds": 0},
    "endless time": {"wall_seconds": float("inf")},
    "no log": {"log_bytes": 0},
    "a log that fills a disk": {"log_bytes": 1 << 40},
    "a word for a number": {"memory": "lots"},
    "an unknown limit": {"gpus": 1},
}


@pytest.mark.parametrize("values", OUT_OF_RANGE.values(), ids=OUT_OF_RANGE.keys())
def test_limits_out_of_range_are_refused(values: dict[str, Any]) -> None:
    """Every limit has a floor and a ceiling."""
    with pytest.raises(ValidationError):
        Limits(**values)


BAD_SPECS: dict[str, dict[str, Any]] = {
    "an unknown profile": {"profile": "privileged"},
    "the host's network": {"network": "host"},
    "a runtime that is a path": {"runtime": "/bin/sh"},
    "a variable with a space": {"environment": {"A B": "1"}},
    "a variable with a NUL": {"environment": {"A": "1\0"}},
    "an unknown field": {"privileged": True},
}


@pytest.mark.parametrize("values", BAD_SPECS.values(), ids=BAD_SPECS.keys())
def test_a_spec_that_weakens_the_sandbox_is_refused(values: dict[str, Any]) -> None:
    """There is no way to say it."""
    with pytest.raises(ValidationError):
        SandboxSpec(**values)


BAD_REQUESTS: dict[str, dict[str, Any]] = {
    "an image by tag": {"image_id": "python:latest"},
    "nothing to run": {"argv": ()},
    "an argument with a NUL": {"argv": ("a\0b",)},
    "an output over the root": {"output_target": "/"},
    "an output over the kernel's files": {"output_target": "/proc/self"},
    "an output that climbs": {"output_target": "/output/../etc"},
    "a relative output": {"output_target": "output"},
    "an output with a mount option": {"output_target": "/output:rw"},
    "an input over a library directory": {"inputs": (Mount.model_construct(source=Path("/x"), target="/output/in"),)},
    "a relative working directory": {"working_dir": "output"},
}


@pytest.mark.parametrize("values", BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_a_request_that_reaches_out_is_refused(values: dict[str, Any]) -> None:
    """Targets are absolute, normal, apart from each other and from the system's directories."""
    good = {"image_id": IMAGE, "argv": ("run",)}
    assert SandboxRequest(**good).output_target == "/output"
    with pytest.raises(ValidationError):
        SandboxRequest(**{**good, **values})


@pytest.mark.parametrize(
    "target", ["/", "/usr", "/etc/ssl", "/usr/lib/x", "/proc/1", "/sys/x", "input", "/a//b", "/a/./b", "/a/", "/a,b"]
)
def test_an_input_cannot_hide_what_a_program_needs(target: str) -> None:
    """Nor carry an option into the mount."""
    with pytest.raises(ValidationError):
        Mount(source=Path("/data"), target=target)


def test_every_field_changes_the_digest() -> None:
    """The digest in a record stands for the whole spec."""
    variants = [
        SandboxSpec(),
        SandboxSpec(profile=Profile.GOSU),
        SandboxSpec(runtime="runsc"),
        SandboxSpec(limits=Limits(pids=255)),
        SandboxSpec(environment={"OMP_NUM_THREADS": "2"}),
        SandboxSpec().with_network("sinkhole"),
        SandboxSpec(ceilings=Limits()),
        SandboxSpec(requested=Limits()),
    ]
    digests = [spec.digest for spec in variants]
    assert len(set(digests)) == len(variants)
    for one, other in itertools.combinations(variants, 2):
        assert one != other


def test_a_spec_read_back_is_the_same_spec() -> None:
    """What a record holds can be run again."""
    spec = SandboxSpec(limits=Limits(memory=3 * GIB), environment={"ZZ": "1"}, ceilings=Limits())
    again = SandboxSpec.model_validate_json(spec.model_dump_json())
    assert again == spec
    assert again.digest == spec.digest
    assert list(spec.environment) == sorted(spec.environment)


def test_the_environment_of_the_spec_goes_over_the_reproducible_one() -> None:
    """And the default is one thread."""
    assert SandboxSpec().environment["OMP_NUM_THREADS"] == "1"
    assert SandboxSpec(environment={"OMP_NUM_THREADS": "4"}).environment["OMP_NUM_THREADS"] == "4"


limits = st.builds(
    Limits,
    cpus=st.floats(0.1, 256),
    memory=st.integers(16 * MIB, 1024 * GIB),
    pids=st.integers(8, 32_768),
    wall_seconds=st.floats(1, 86_400),
)


@settings(max_examples=60, deadline=None)
@given(limits, limits)
def test_the_smaller_of_each_limit_wins(one: Limits, other: Limits) -> None:
    """Whichever side it comes from, and it is no larger than either."""
    result = smaller_of(one, other)
    assert result == smaller_of(other, one)
    assert all(getattr(result, name) == min(getattr(one, name), getattr(other, name)) for name in Limits.model_fields)
