"""The inspection on a laptop: every check in turn, without orchestration and without a record (`pratique precheck`)."""

from __future__ import annotations

from pathlib import Path

from flows.case import open_case
from flows.inspection import Inspection, Progress
from flows.node import Node
from flows.report import Report
from flows.steps import AFTER, BEFORE, Step, answer


def inspect(
    node: Node, directory: Path, progress: Progress, *, static_only: bool = False, gated: bool = True
) -> Report:
    """Inspect the submission in `directory`; raises `InvalidInput` where it cannot even be read.

    With `static_only`, or where gate 1 refuses (unless it is not `gated`), the checks that would run the tool are
    *inconclusive*.
    """
    progress.say(f"reading {directory}")
    with open_case(node, directory) as case:
        inspection = Inspection(case)
        _ask(BEFORE, inspection, progress)
        if static_only:
            inspection.leave_out("not run: only the static checks were asked for", "Run precheck without --static.")
        elif not inspection.closed(gated=gated):
            _ask(AFTER, inspection, progress)
        return inspection.report("precheck")


def _ask(steps: tuple[Step, ...], inspection: Inspection, progress: Progress) -> None:
    for step in steps:
        progress.started(step.name)
        result = answer(step, inspection.case)
        inspection.add(result)
        progress.finished(result)
