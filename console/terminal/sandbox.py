"""`pratique sandbox`: one container run under the sandbox, for people and for outside test suites."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

from console.terminal.failures import explained
from console.terminal.options import HomeOption, QuietOption, settings_from, writable

if TYPE_CHECKING:
    from sandbox.record import SandboxRun


class _WithRecord(TyperCommand):
    """A command whose `--json` holds for wrong usage too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As usual, with a record on standard output before an option that there is not is complained about."""
        options = args[: args.index("--")] if "--" in args else list(args)
        try:
            return super().parse_args(ctx, args)
        except TyperException as error:
            if "--json" in options:
                _say_not_run((), str(error), next_step="See `pratique sandbox run --help`.")
            raise


sandbox_app = typer.Typer(help="Run a container under the node's sandbox.", rich_markup_mode=None, no_args_is_help=True)

_SHOWN = 20


@sandbox_app.command("run", cls=_WithRecord)
@explained
def run(
    argv: Annotated[
        list[str] | None, typer.Argument(help="What the image's entry point is given; put it behind `--`.")
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--image",
            help="OCI layout or archive (PATH[@sha256:…]), HOST/NAME@sha256:…, or an image that the engine holds "
            "(default: a small one with Python). Nothing is pulled by tag.",
        ),
    ] = None,
    spec: Annotated[
        Path | None, typer.Option("--spec", help="Sandbox spec, YAML or JSON (default: the shipped limits).")
    ] = None,
    input_: Annotated[
        Path | None,
        typer.Option("--input", help="Directory that appears read-only at /input, or file that appears in it."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Empty directory for what the tool left in /output.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option("--log", callback=writable, help="File for what the tool printed, as it came.")
    ] = None,
    entrypoint: Annotated[
        str | None, typer.Option("--entrypoint", help="Instead of the image's entry point; '' for none.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole record as one line of JSON.")] = False,
    home: HomeOption = None,
    quiet: QuietOption = False,
) -> None:
    """Run one container confined as a tool is at the gate.

    Nothing is recorded. Exits with 0 when the tool ended well, 1 when it failed or was stopped, 3 when it could not be
    run. With --json a record is printed in every case, also when there was nothing to run. SIGTERM ends it as Ctrl-C
    does.
    """
    from flows.single_run import Asked, exit_code, run_once
    from pratique.errors import PratiqueError

    asked = Asked(tuple(argv or ()), image, spec, input_, output, log, entrypoint)
    tell = None if quiet or as_json else _tell
    try:
        record = run_once(settings_from(home), asked, tell)
    except (PratiqueError, OSError, KeyboardInterrupt) as error:
        if as_json:
            rule, next_step = getattr(error, "rule", ""), getattr(error, "next_step", "")
            _say_not_run(asked.argv, str(error), rule, next_step, interrupted=isinstance(error, KeyboardInterrupt))
        raise
    typer.echo(record.model_dump_json() if as_json else _in_words(record))
    raise typer.Exit(exit_code(record))


def _say_not_run(
    argv: tuple[str, ...], detail: str, rule: str = "", next_step: str = "", *, interrupted: bool = False
) -> None:
    """The record of a run that there was not, or that nobody knows the end of."""
    from sandbox.record import EndedBy, NotRun

    said = NotRun(
        ended_by=EndedBy.INTERRUPTED if interrupted else EndedBy.NOT_STARTED,
        argv=tuple(_text(word) for word in argv),
        detail=_text(detail) or "interrupted",
        rule=rule,
        next_step=_text(next_step),
    )
    typer.echo(said.model_dump_json())


def _text(text: str) -> str:
    """What JSON can hold of it."""
    return text.encode("utf-8", "backslashreplace").decode()


def _tell(stage: str) -> None:
    typer.echo(stage, err=True)


def _in_words(record: SandboxRun) -> str:
    """The record for people: what is unusual, and how to see the rest."""
    code = "" if record.exit_code is None else f", exit code {record.exit_code}"
    peaks = ", ".join(
        f"{name} {value}"
        for name, value in (
            ("CPU", None if record.cpu_seconds is None else f"{record.cpu_seconds:.2f} s"),
            ("memory", None if record.peak_memory is None else f"{record.peak_memory / 2**20:.0f} MiB"),
            ("processes", record.peak_pids),
        )
        if value is not None
    )
    lines = [
        f"ended by: {record.ended_by.value}{code}" + (" (killed for memory)" if record.oom_killed else ""),
        f"time: {record.seconds:.2f} s, {record.total_seconds:.2f} s with all around it; peaks: {peaks or 'unknown'}",
        f"observed: {record.observed.value}, tier {record.tier}, {len(record.observations)} attempts",
    ]
    lines += [f"detail: {record.detail}"] if record.detail else []
    lines += [f"output: {file.path}  {file.size} bytes" for file in record.outputs[:_SHOWN]]
    lines += [f"output: and {len(record.outputs) - _SHOWN} more"] if len(record.outputs) > _SHOWN else []
    lines += [f"refused: {entry.path}  {entry.reason}" for entry in record.refused[:_SHOWN]]
    more = len(record.refused) + record.refused_more - _SHOWN
    lines += [f"refused: and {more} more"] if more > 0 else []
    lines += [
        f"attempt: {one.kind.value} {one.name} {one.address} {one.port or ''}".rstrip()
        for one in record.observations[:_SHOWN]
    ]
    lines += [
        f"denied: {call.name} {call.arguments}".rstrip() + f" ({call.count})" for call in record.forbidden[:_SHOWN]
    ]
    lines.append(f"log: {record.log_bytes} bytes" + (", cut at the cap" if record.log_truncated else ""))
    return "\n".join(lines) + ("\n" + record.log_head.rstrip("\n") if record.log_head else "")
