"""`pratique precheck` and `pratique onboard`: the inspection, on a laptop and at the gate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.failures import explained
from console.terminal.options import (
    Format,
    HomeOption,
    OutputFormat,
    OutputOption,
    PolicyOption,
    QuietOption,
    deliver,
    directory_named,
    settings_from,
)

if TYPE_CHECKING:
    from console.terminal.progress import Progress
    from flows.node import Node
    from flows.report import Report

_EXIT = {"admit": 0, "refuse": 1, "review": 3}

Submission = Annotated[
    Path,
    typer.Argument(
        metavar="DIRECTORY",
        parser=directory_named,
        help="Directory of the submission (it contains submission.yaml).",
    ),
]


@explained
def precheck(
    submission: Submission,
    static: Annotated[
        bool, typer.Option("--static", help="Only the checks that run nothing; needs no engine.")
    ] = False,
    everything: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Run the tool in the sandbox also where a rule refuses it before, to hear everything at once; for a "
            "tool of your own, as long as it is not signed.",
        ),
    ] = False,
    home: HomeOption = None,
    policy: PolicyOption = None,
    output_format: Format = OutputFormat.HUMAN,
    output: OutputOption = None,
    quiet: QuietOption = False,
) -> None:
    """Ask the gate's questions on your own machine. Nothing is recorded.

    For a provider, before the tool is handed in. With the node's own policy (`--policy`) the answer is the node's.
    Exits with 0 when the policy would admit, 1 when it would refuse, 3 when something could not be decided (`--static`
    leaves the sandbox and privacy questions open, so it never says 0).
    """
    from console.report.wording import why_not_asked
    from console.terminal.progress import Progress
    from flows.direct import inspect
    from flows.inspection import REFUSED_BEFORE
    from flows.node import Node
    from pratique.errors import UsageError

    if static and everything:
        raise UsageError("--static runs nothing, --all runs all", next_step="give one of the two")
    node = Node.open(settings_from(home, policy))
    with Progress(quiet=quiet) as progress:
        if node.settings.policy is None:
            progress.say(
                "under the shipped policy, which trusts nobody: ask the node for its own, and give it --policy"
            )
        report = inspect(node, submission, progress, static_only=static, gated=not everything)
        why = why_not_asked(report)
        if why and not static:
            anyway = "; --all runs it here all the same" if why.startswith(REFUSED_BEFORE) else ""
            progress.say(f"the tool was {why}{anyway}")
    _finish(report, node.settings.store, output_format, output)


@explained
def onboard(
    submission: Submission,
    home: HomeOption = None,
    policy: PolicyOption = None,
    output_format: Format = OutputFormat.HUMAN,
    output: OutputOption = None,
    quiet: QuietOption = False,
) -> None:
    """Inspect a submission at the gate, and record the verdict.

    Every check is made; the ledger gets the signed statement of it, and the report lies in the node's home. Exits with
    0 when the verdict is admit, 1 when it is refuse, 3 when people have to look. A verdict admits nothing by itself:
    `pratique admit RUN --reason …` does.
    """
    from console.terminal.progress import Progress
    from flows.node import Node

    node = Node.open(settings_from(home, policy))
    with Progress(quiet=quiet) as progress:
        progress.say(f"inspecting {submission} under policy {node.policy.policy.name}")
        report = _onboard(node, submission, progress)
        progress.say(f"next: {_next(report)}")
    _finish(report, node.settings.store, output_format, output)


def _onboard(node: Node, submission: Path, progress: Progress) -> Report:
    """Run the flow on the local server where one answers; the HTML report goes beside its JSON."""
    from console.report import render
    from flows import server
    from flows.files import write_whole
    from flows.prefect_environment import enter_prefect_environment
    from pratique.intake.submission import load_submission

    settings = node.settings
    present = server.running(settings.server)
    if present is None:
        load_submission(submission)  # a mistake in it is told now, not in 20 seconds
        progress.say("no local server runs (`pratique up` starts one), so this takes some 20 seconds longer")
    enter_prefect_environment(settings.server, present.api_url if present else None)
    from flows.onboard import onboard_with

    report = onboard_with(node, submission, progress)
    page = settings.runs / report.run_id / "report.html"
    write_whole(page, render(report, "html", settings.store))
    progress.say(f"report: {page}")
    return report


def _next(report: Report) -> str:
    """What the maintainer does with the verdict."""
    if report.verdict.outcome == "admit":
        return f"read the report; then pratique admit {report.run_id} --reason … --as … (or refuse it)"
    if report.verdict.outcome == "review":
        return "settle what is undecided, and onboard it again: what is under review cannot be admitted"
    return "send the report to the provider; a mended submission is onboarded anew"


def _finish(report: Report, store: Path, output_format: OutputFormat, output: Path | None) -> None:
    from console.report import render

    deliver(render(report, output_format.value, store), output)
    raise typer.Exit(_EXIT[report.verdict.outcome])
