"""`pratique doctor`, `up` and `down`: the machine and the local server."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from console.plain import plain
from console.terminal.failures import explained
from console.terminal.options import Format, HomeOption, OutputFormat, PolicyOption, settings_from

_MARK = {True: "✓", False: "✗", None: "?"}


@explained
def doctor(home: HomeOption = None, policy: PolicyOption = None, output_format: Format = OutputFormat.HUMAN) -> None:
    """Look at this machine: engine, its known weaknesses, policy, advisories, ledger; say how to mend what is amiss.

    Exits with 0 when everything needed is there, with 3 when something is missing.
    """
    from flows.health import examine_node

    points = examine_node(settings_from(home, policy))
    if output_format is OutputFormat.JSON:
        typer.echo(json.dumps([point.as_json() for point in points], indent=2))
    else:
        for point in points:
            typer.echo(f"{_MARK[point.good]} {point.subject}: {plain(point.message)}")
            if point.fix:
                typer.echo(f"    fix: {plain(point.fix)}")
    if any(point.good is False for point in points):
        raise typer.Exit(3)


@explained
def up(home: HomeOption = None) -> None:
    """Start the local orchestration server, so that `onboard` answers in seconds; it runs until `pratique down`."""
    from flows import server

    typer.echo(server.start(settings_from(home).server, lambda text: typer.echo(text, err=True)).url)


@explained
def down(home: HomeOption = None) -> None:
    """Stop the local orchestration server; running it twice is no error."""
    from flows import server

    directory: Path = settings_from(home).server
    stopped = directory.is_dir() and server.stop(directory)
    typer.echo("stopped" if stopped else "no server was running", err=True)
