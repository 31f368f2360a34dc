"""The inspection at the gate, on Prefect: one task a check, cached by the digests of what its answer depends on.

Put Prefect's settings into the environment (`flows.prefect_environment`) before this module is imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import httpx
from prefect import Task, flow
from prefect.client.schemas.objects import State

from checks.interface import CheckResult, Status, inconclusive
from flows.case import Case, open_case
from flows.ephemeral import ephemeral_server
from flows.inspection import Inspection, Progress
from flows.node import Node
from flows.record import record_inspection
from flows.report import Report
from flows.steps import AFTER, BEFORE, Step, answer
from pratique.errors import CouldNotDecide
from pratique.settings import Settings

Answer = dict[str, Any]
"""A `CheckResult` as plain data, which is what Prefect keeps."""

_PROGRESS: ContextVar[Progress | None] = ContextVar("progress", default=None)


class Undecided(Exception):
    """Carries an *inconclusive* result out of its task, so that Prefect keeps nothing of it."""

    def __init__(self, result: CheckResult) -> None:
        super().__init__(result.summary)
        self.result = result


class _Silent:
    """Progress for nobody."""

    def say(self, text: str) -> None:
        """Nothing."""

    def started(self, name: str) -> None:
        """Nothing."""

    def finished(self, result: CheckResult, *, cached: bool = False) -> None:
        """Nothing."""


def onboard_with(node: Node, directory: Path, progress: Progress) -> Report:
    """Run the flow in this process and tell `progress`.

    Raises `InvalidInput` for a submission that cannot be read, `CouldNotDecide` where the local server goes away.
    """
    token = _PROGRESS.set(progress)
    settings = node.settings
    try:
        with ephemeral_server():
            return onboard(str(directory), str(settings.home), str(settings.policy) if settings.policy else None)
    except (httpx.HTTPError, RuntimeError) as error:  # checks turn those of their own into answers: these are Prefect's
        if isinstance(error, RuntimeError) and not isinstance(error.__cause__, httpx.HTTPError):
            raise
        raise CouldNotDecide(
            "the local server went away, or could not answer, during the inspection",
            cause=str(error)[:300],
            next_step="start it with `pratique up` and onboard again; `pratique log show` says whether it was recorded",
        ) from error
    finally:
        _PROGRESS.reset(token)


@flow(name="onboard", validate_parameters=False, persist_result=False)
def onboard(directory: str, home: str, policy: str | None = None) -> Report:
    """Inspect the submission in `directory` for the node in `home`: checks, verdict, signed statement, report."""
    progress = _PROGRESS.get() or _Silent()
    settings = Settings(home=Path(home), policy=Path(policy) if policy else None)
    node = Node.open(settings)
    progress.say(f"reading {directory}")
    with open_case(node, Path(directory)) as case:
        inspection = Inspection(case)
        _ask(BEFORE, inspection, progress)
        if not inspection.closed():
            _ask(AFTER, inspection, progress)
        return record_inspection(inspection)


def _ask(steps: Iterable[Step], inspection: Inspection, progress: Progress) -> None:
    """One check after the other, in this thread, where Ctrl-C reaches the sandbox."""
    for step in steps:
        progress.started(step.name)
        _take_in(step, _task(step, inspection.case)(return_state=True), inspection, progress)


def _task(step: Step, case: Case) -> Task[[], Answer]:
    def ask() -> Answer:
        result = answer(step, case)
        if result.status is Status.INCONCLUSIVE:
            raise Undecided(result)
        return result.model_dump(mode="json")

    key = step.cache_key(case) if step.keeps else None
    return Task(
        fn=ask,
        name=step.name,
        version=step.version,
        cache_key_fn=(lambda _context, _parameters: key) if key else None,
        persist_result=step.keeps,
        result_serializer="json",
    )


def _take_in(step: Step, state: State[Any], inspection: Inspection, progress: Progress) -> None:
    result = _result(step, state)
    cached = state.name == "Cached"
    if cached and not _evidence_is_there(result, inspection.case):
        again = _task(step, inspection.case).with_options(refresh_cache=True)
        result, cached = _result(step, again(return_state=True)), False
    inspection.add(result, cached=cached)
    progress.finished(result, cached=cached)


def _result(step: Step, state: State[Any]) -> CheckResult:
    """The answer in a finished task's state; a task that crashed could not decide."""
    value = state.result(raise_on_failure=False)
    if isinstance(value, Undecided):
        return value.result
    if isinstance(value, dict):
        return CheckResult.model_validate(value)
    return inconclusive(
        step.name,
        step.version,
        f"the check did not end: {state.name}: {str(value)[:500]}",
        fix="Run the inspection again; if it stays so, report it.",
    )


def _evidence_is_there(result: CheckResult, case: Case) -> bool:
    try:
        for evidence in result.evidence:
            case.node.store.path_of(evidence.digest)
    except CouldNotDecide:
        return False
    return True
