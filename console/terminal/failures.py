"""How errors reach the person: what happened, why, what to do next, and the exit code that follows."""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

import typer

from console.plain import plain
from pratique.errors import CouldNotDecide, PratiqueError, UsageError

EXIT_CODES = (
    "Exit codes: 0 admitted, verified or passed; 1 refused or failed; 2 wrong usage; 3 could not decide; "
    "4 not authorised; 130 interrupted."
)

COULD_NOT_DECIDE = 3
INTERRUPTED = 130

Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")


def explained(command: Callable[Arguments, Returned]) -> Callable[Arguments, Returned]:
    """Turn the errors that Pratique raises on purpose, and Ctrl-C, into a message and their exit code.

    Where the result was asked for as JSON, the error is also a JSON object on standard output, whose `error` has the
    exit code, the message, the rule and the next step.
    """

    @functools.wraps(command)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Returned:
        try:
            return command(*args, **kwargs)
        except (PratiqueError, OSError) as error:
            told = error if isinstance(error, PratiqueError) else _of_the_system(error)
            with contextlib.suppress(OSError):  # nobody reads standard error: the exit code still tells
                explain(told)
            _record(kwargs, told.exit_code, str(told), getattr(told, "rule", ""), told.next_step)
            raise typer.Exit(told.exit_code) from error
        except KeyboardInterrupt as error:
            with contextlib.suppress(OSError):
                typer.echo("interrupted; the ledger has whole entries only (`pratique log show` lists them)", err=True)
            _record(kwargs, INTERRUPTED, "interrupted")
            raise typer.Exit(INTERRUPTED) from error

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


def _record(options: Mapping[str, object], exit_code: int, message: str, rule: str = "", next_step: str = "") -> None:
    """The error for a program, where it asked for JSON; on standard output, wherever the result was to go."""
    if options.get("output_format") != "json":
        return
    error = {"exit_code": exit_code, "message": message, "rule": rule, "next_step": next_step}
    with contextlib.suppress(OSError):  # nobody reads it any more; what happened was told on standard error
        typer.echo(json.dumps({"error": error}))


def _of_the_system(error: OSError) -> PratiqueError:
    """What the operating system would not do, with what helps."""
    if error.errno == errno.ENAMETOOLONG:
        name = str(error.filename or "")
        return UsageError(
            f"a path of {len(name):,} characters is longer than this system can have",
            cause=name[:80] + "…",
            next_step="name a shorter path",
        )
    if error.errno == errno.EPIPE:
        return CouldNotDecide(
            "whoever was to read the result stopped before its end", next_step="read all of it, or save it to a file"
        )
    return CouldNotDecide(
        str(error), next_step="free disk space or mend the permissions that it names, and run the command again"
    )


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
    with contextlib.suppress(OSError):
        if isinstance(error, OSError):  # of a command they are told there; here help or wrong usage was not written
            explain(_of_the_system(error))
        else:
            sys.stderr.write("".join(traceback.format_exception(error)))
            sys.stderr.write(
                "error: Pratique itself failed, so nothing was decided. Please report this with the lines above.\n"
            )
    return COULD_NOT_DECIDE


def _coloured() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")
