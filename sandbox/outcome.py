"""Who ended a run: pure, because the facts that decide it come from four places that disagree in known ways.

`OOMKilled` of the engine is true with exit code 0 when only a child died, and false when the tool itself exits 137;
the control group's own counter knows better where there is one.
"""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.record import EndedBy

KILLED_BY_SIGNAL_9 = 137


@dataclass(frozen=True)
class Facts:
    """What is known when a container has ended."""

    stopped: EndedBy | None = None
    """Why Pratique killed it; None when it did not."""
    exit_code: int | None = None
    engine_says_oom: bool = False
    oom_kills: int = 0
    output_full: bool = False
    vanished: bool = False
    """The container was removed or killed by somebody else."""


def decide(facts: Facts) -> tuple[EndedBy, bool, str]:
    """Who ended it, whether the kernel killed for memory, and a remark."""
    oom = facts.engine_says_oom or facts.oom_kills > 0
    if facts.stopped is not None:
        return facts.stopped, oom, ""
    if facts.vanished:
        return EndedBy.KILLED, oom, "the container was removed by somebody else while it ran"
    if oom and facts.exit_code == KILLED_BY_SIGNAL_9:
        return EndedBy.OUT_OF_MEMORY, True, "the tool needed more memory than its limit"
    remarks = []
    if oom:
        remarks.append("a process of the tool was killed for memory, the tool itself went on")
    if facts.output_full:
        remarks.append("the output file system was full")
        if facts.exit_code != 0:
            return EndedBy.OUTPUT_CAP, oom, "; ".join(remarks)
    if facts.exit_code == KILLED_BY_SIGNAL_9 and not oom:
        remarks.append("exit code 137: the tool killed itself, or somebody outside Pratique killed it")
    return EndedBy.EXIT, oom, "; ".join(remarks)
