"""`pratique report` and `pratique log`: reading what was recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from console.plain import plain
from console.terminal.failures import explained
from console.terminal.options import Format, HomeOption, OutputFormat, OutputOption, deliver, settings_from

log_app = typer.Typer(help="Verify and read the node's ledger.", rich_markup_mode=None, no_args_is_help=True)

_LedgerOption = Annotated[
    Path | None,
    typer.Option(
        "--ledger", metavar="DIRECTORY", help="A ledger directory elsewhere, for example a copy (default: this node's)."
    ),
]
_KeyOption = Annotated[
    str | None,
    typer.Option("--key", metavar="LINE", help="The key of the ledger's node, as `pratique key show` prints it there."),
]


@explained
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run to show; `latest` for the newest.")] = "latest",
    home: HomeOption = None,
    output_format: Format = OutputFormat.HUMAN,
    output: OutputOption = None,
) -> None:
    """Show the report of an inspection again.

    Exits with 0 whatever its verdict is, 2 when there is no such run, 3 when the report cannot be read.
    """
    from console.report import render
    from flows.report import load_report

    settings = settings_from(home)
    deliver(render(load_report(settings.runs, run), output_format.value, settings.store), output)


@log_app.command("verify")
@explained
def verify(ledger: _LedgerOption = None, key: _KeyOption = None, home: HomeOption = None) -> None:
    """Check every byte of the ledger against its signed checkpoint.

    Exits with 1 and names the entry where it fails. A copy elsewhere is checked with --ledger COPY --key LINE. The
    node's own ledger must also continue the newest head that the node has seen: exits with 3 where it was put back.
    """
    from flows.node import has_ledger, ledger_verifier, require_newest_seen, require_own_name
    from pratique.errors import UsageError
    from records.verify import verify_ledger

    settings = settings_from(home)
    verifier = ledger_verifier(settings, key)
    if ledger is None and not has_ledger(settings):
        raise UsageError("this node has no ledger yet", next_step="the first `pratique onboard` makes it")
    if ledger is None and key is None:
        require_own_name(settings, verifier)
    found = verify_ledger(ledger or settings.ledger, verifier)
    for problem in found.problems:
        place = "" if problem.entry is None else f"entry {problem.entry}: "
        typer.echo(f"✗ {place}{plain(problem.message)}")
    if not found.verified:
        if ledger is not None and key is None:
            typer.echo(
                f"It was held against this node's own key ({verifier.name}); another's needs --key LINE.", err=True
            )
        typer.echo(
            "The ledger is not what was signed. Keep it as it is, and compare it with a witness or a backup.", err=True
        )
        raise typer.Exit(1)
    if ledger is None and key is None:
        require_newest_seen(settings, verifier)
    typer.echo(f"✓ {found.size} entries, root {found.root_hash}, signed by {verifier.name}")


@log_app.command("show")
@explained
def show(
    entry: Annotated[
        int | None, typer.Argument(metavar="ENTRY", help="Index of one entry; without it, a line for each.", min=0)
    ] = None,
    home: HomeOption = None,
) -> None:
    """Show what was recorded: a line for each entry, or one whole.

    One entry is shown as the signed statement, in JSON.

    A line has the entry's index, the time (UTC), what happened, to which tool, and by whom or in which run. Where the
    ledger was put back, so that later entries are missing, it exits with 3 after them.
    """
    from flows.node import open_ledger_reader, require_newest_seen
    from records.admissions import signed_statements
    from records.words import in_words

    settings = settings_from(home)
    reader, found = open_ledger_reader(settings), False
    for index, statement in signed_statements(reader):
        if entry is None:
            words = in_words(statement)
            line = f"{index:>6}  {words.time or '-':<20}  {words.what:<13} {words.tool:<30} {words.detail}"
            typer.echo(plain(line).rstrip())
        elif index == entry:
            typer.echo(json.dumps(statement, indent=2, ensure_ascii=True))
            found = True
    require_newest_seen(settings, reader.verifier)
    if entry is not None and not found:
        from pratique.errors import UsageError

        raise UsageError(f"the ledger has no signed entry {entry}", next_step="list them with `pratique log show`")
