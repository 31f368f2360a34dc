"""How errors reach the person: what happened, why, what to do next, and the exit code that follows."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer

from console.plain import plain
from pratique.errors import PratiqueError

EXIT_CODES = (
    "Exit codes: 0 admitted, verified or passed; 1 refused or failed; 2 wrong usage; 3 could not decide; "
    "4 not authorised; 130 interrupted."
)

COULD_NOT_DECIDE = 3
INTERRUPTED = 130

Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")


def explained(command: Callable[Arguments, Returned]) -> Callable[Arguments, Returned]:
    """Turn the errors that Pratique raises on purpose, and Ctrl-C, into a message and their exit code."""

    @functools.wraps(command)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Returned:
        try:
            return command(*args, **kwargs)
        except PratiqueError as error:
            explain(error)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            typer.echo("interrupted; the ledger has whole entries only (`pratique log show` lists them)", err=True)
            raise typer.Exit(INTERRUPTED) from error
        except OSError as error:
            typer.echo(f"error: {plain(str(error))}", err=True)
            typer.echo(
                "  next: free disk space or mend the permissions that it names, and run the command again", err=True
            )
            raise typer.Exit(COULD_NOT_DECIDE) from error

    return run


def explain(error: PratiqueError) -> None:
    """Write `error` to standard error, in red on a terminal."""
    kind = "refused" if error.exit_code == 1 else "error"
    typer.secho(f"{kind}: {plain(str(error))}", err=True, fg="red" if _coloured() else None)
    rule = getattr(error, "rule", "")
    if rule:
        typer.echo(f"  rule: {plain(rule)}", err=True)
    if error.next_step:
        typer.echo(f"  next: {plain(error.next_step)}", err=True)


def refuse_closed_streams() -> None:
    """Exit with *could not decide* where standard output or error is closed.

    Nothing could be said there, and the next file that is opened would get the stream's number.
    """
    if sys.stdout is None or sys.stderr is None:
        if sys.stderr is not None:
            sys.stderr.write("error: standard output is closed, so nothing could be said\n  next: use >/dev/null\n")
        sys.exit(COULD_NOT_DECIDE)


def report_crash(error: Exception) -> int:
    """Say that Pratique itself failed, with what a bug report needs; the exit code of *could not decide*."""
    sys.stderr.write("".join(traceback.format_exception(error)))
    sys.stderr.write(
        "error: Pratique itself failed, so nothing was decided. Please report this with the lines above.\n"
    )
    return COULD_NOT_DECIDE


def _coloured() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")
