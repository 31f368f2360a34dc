"""Queueing of concurrent runs: each gets whole CPUs and a share of memory that nobody else has.

Claims lie in the runs' own directories and count while their process lives, so a killed launcher frees its share by
dying. All launchers with one state directory share one queue.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pratique.errors import CouldNotDecide
from sandbox.engine_facts import EngineFacts
from sandbox.spec import Limits
from sandbox.workspace import Workspace, is_abandoned

MEMORY_SHARE = 0.9
"""Part of the machine's memory that runs may claim together."""

_POLL = 0.05


def claim(workspace: Workspace, limits: Limits, facts: EngineFacts, *, patience: float) -> str:
    """Wait for `limits.cpus` (rounded up) CPUs and `limits.memory` bytes; returns the cpuset, e.g. `0,3`.

    Raises `CouldNotDecide` when the machine is too small or `patience` seconds have passed.
    """
    cpus, most = _cpus(facts), int(facts.memory * MEMORY_SHARE)
    wanted = math.ceil(limits.cpus)
    if wanted > len(cpus) or limits.memory > most:
        raise CouldNotDecide(
            "the machine is smaller than the sandbox spec",
            cause=f"{wanted} CPUs and {limits.memory} bytes wanted, {len(cpus)} and {most} there",
            next_step="Lower the limits in the policy, or use a larger machine.",
        )
    end = time.monotonic() + patience
    while (cpuset := _try(workspace, wanted, limits.memory, cpus, most)) is None:
        if time.monotonic() >= end:
            raise CouldNotDecide(
                "other runs kept the machine busy",
                cause=f"waited {patience:.0f} s for {wanted} CPUs and {limits.memory} bytes",
                next_step="Run again later, or lower the limits in the policy.",
            )
        time.sleep(_POLL)
    return cpuset


def _try(workspace: Workspace, wanted: int, memory: int, cpus: list[int], most: int) -> str | None:
    runs = workspace.root.parent
    with _one_at_a_time(runs.parent / "admission.lock"):
        taken: set[int] = set()
        used = 0
        for other in runs.iterdir():
            if other != workspace.root and (found := _read(other)) is not None and not is_abandoned(other):
                taken.update(found[0])
                used += found[1]
        free = [cpu for cpu in cpus if cpu not in taken]
        if len(free) < wanted or used + memory > most:
            return None
        mine = free[-wanted:]  # from the top: the machine's own interrupts tend to sit on CPU 0
        (workspace.root / "claim").write_text(json.dumps({"cpus": mine, "memory": memory}))
    return ",".join(str(cpu) for cpu in mine)


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(root: Path) -> tuple[list[int], int] | None:
    try:
        value = json.loads((root / "claim").read_text())
        return [int(cpu) for cpu in value["cpus"]], int(value["memory"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not admitted yet, or gone


def _cpus(facts: EngineFacts) -> list[int]:
    own = sorted(os.sched_getaffinity(0))
    return own if facts.same_machine and len(own) == facts.cpus else list(range(facts.cpus))
