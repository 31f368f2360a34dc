"""Whether an engine can do what a spec asks for; nothing is prepared for a run that it cannot."""

from __future__ import annotations

from pratique.errors import CouldNotDecide
from sandbox.engine import Engine
from sandbox.seccomp import profile_digest
from sandbox.spec import Profile, SandboxSpec


def refuse_unsupported(engine: Engine, spec: SandboxSpec) -> None:
    """Raise `CouldNotDecide` for what this engine cannot do or is not asked to do."""
    facts = engine.facts
    if not facts.same_machine:
        raise CouldNotDecide(
            "the engine runs on another machine, inputs cannot be handed to it",
            cause=engine.host,
            next_step="Run Pratique on the engine's machine, over its Unix socket.",
        )
    if missing := [name for name in facts.cannot_limit if name != "swap"]:
        raise CouldNotDecide(
            "the engine cannot enforce the limits of the spec",
            cause=f"its kernel does not limit {', '.join(missing)}",
            next_step="Enable the memory, pids, cpu and cpuset control groups on the engine's machine.",
        )
    if not any(option.startswith("name=seccomp") for option in facts.security):
        raise CouldNotDecide(
            "the engine does not filter system calls",
            next_step="Use an engine and a kernel with seccomp.",
        )
    if spec.seccomp_digest != profile_digest():
        raise CouldNotDecide(
            "the spec asks for a seccomp profile that this version does not have",
            cause=f"{spec.seccomp_digest} wanted, {profile_digest()} there",
            next_step="Use the version of Pratique that made the spec, or make a new spec.",
        )
    if spec.runtime not in facts.runtimes:
        raise CouldNotDecide(
            f"the engine has no runtime {spec.runtime!r}",
            cause=f"it has {', '.join(facts.runtimes)}",
            next_step=f"Install {spec.runtime} and name it under `runtimes` in /etc/docker/daemon.json, or name "
            "another runtime in the policy or spec.",
        )
    if spec.profile is Profile.GPU and "nvidia" not in facts.runtimes:
        raise CouldNotDecide(
            "the engine has no GPU runtime",
            cause=f"the profile gpu is asked for, and its runtimes are {', '.join(facts.runtimes)}",
            next_step="Install the NVIDIA container toolkit on the node, or run the tool without the gpu profile.",
        )
