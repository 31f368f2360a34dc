"""Who ended a run, from facts that disagree."""

from __future__ import annotations

import pytest

from sandbox.outcome import Facts, decide
from sandbox.record import EndedBy

CASES = {
    "it ended well": (Facts(exit_code=0), EndedBy.EXIT, False),
    "it failed": (Facts(exit_code=3), EndedBy.EXIT, False),
    "the kernel killed it for memory": (Facts(exit_code=137, engine_says_oom=True), EndedBy.OUT_OF_MEMORY, True),
    "only the control group noticed": (Facts(exit_code=137, oom_kills=1), EndedBy.OUT_OF_MEMORY, True),
    "a child was killed, it went on": (Facts(exit_code=0, engine_says_oom=True), EndedBy.EXIT, True),
    "a child was killed, it failed": (Facts(exit_code=1, oom_kills=2), EndedBy.EXIT, True),
    "it says 137 itself": (Facts(exit_code=137), EndedBy.EXIT, False),
    "its output was full and it failed": (Facts(exit_code=1, output_full=True), EndedBy.OUTPUT_CAP, False),
    "its output was full and it did not mind": (Facts(exit_code=0, output_full=True), EndedBy.EXIT, False),
    "we killed it at the deadline": (Facts(stopped=EndedBy.DEADLINE, exit_code=137), EndedBy.DEADLINE, False),
    "we killed it while memory was short": (
        Facts(stopped=EndedBy.LOG_CAP, exit_code=137, engine_says_oom=True),
        EndedBy.LOG_CAP,
        True,
    ),
    "somebody removed it": (Facts(vanished=True), EndedBy.KILLED, False),
}


@pytest.mark.parametrize(("facts", "ended_by", "oom"), CASES.values(), ids=CASES.keys())
def test_exit_code_flag_and_who_killed_are_kept_apart(facts: Facts, ended_by: EndedBy, oom: bool) -> None:
    """As the engine's flag alone would get wrong."""
    found = decide(facts)
    assert found[:2] == (ended_by, oom)
