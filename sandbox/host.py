"""Facts about this machine and its engine that a replay needs to compare."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from sandbox.engine_facts import EngineFacts
from sandbox.record import HostFacts


def host_facts(engine: EngineFacts, runtime: str) -> HostFacts:
    """What stands in every record; the processor only where the engine runs on this machine."""
    model, flags = _processor() if engine.same_machine else ("", "")
    return HostFacts(
        cpu_model=model,
        cpu_flags=flags,
        cpus=engine.cpus,
        memory=engine.memory,
        kernel=engine.kernel,
        architecture=engine.architecture,
        engine=engine.name,
        engine_version=engine.version,
        runtime=runtime,
        runtime_version=engine.runc_version if runtime == "runc" else "",
        cgroup_version=engine.cgroup_version,
        cgroup_driver=engine.cgroup_driver,
        storage_driver=engine.storage_driver,
        security=engine.security,
    )


@cache
def _processor() -> tuple[str, str]:
    """Model and flags of the first processor."""
    rows: dict[str, str] = {}
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as table:
            for line in table:
                if not line.strip() and rows:
                    break
                name, _, value = line.partition(":")
                rows[name.strip()] = value.strip()
    except OSError:
        return "", ""
    return rows.get("model name", rows.get("CPU part", "")), rows.get("flags", rows.get("Features", ""))
