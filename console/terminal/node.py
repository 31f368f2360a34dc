"""`pratique doctor`, `up` and `down`: the machine and the local server."""

from __future__ import annotations

import json

import typer

from console.plain import plain
from console.terminal.failures import explained
from console.terminal.options import HomeOption, PlainFormat, PlainFormatOption, PolicyOption, settings_from

_MARK = {True: "✓", False: "✗", None: "?"}


@explained
def doctor(
    home: HomeOption = None, policy: PolicyOption = None, output_format: PlainFormatOption = PlainFormat.HUMAN
) -> None:
    """Look at this machine, and say how to mend what is amiss.

    Engine and its known weaknesses, policy, advisories, disk, ledger, server. Exits with 0 when everything needed is
    there, with 3 when something is missing.
    """
    from flows.health import examine_node

    points = examine_node(settings_from(home, policy))
    if output_format is PlainFormat.JSON:
        typer.echo(json.dumps([point.as_json() for point in points], indent=2))
    else:
        for point in points:
            typer.echo(f"{_MARK[point.good]} {point.subject}: {plain(point.message)}")
            if point.fix:
                typer.echo(f"    fix: {plain(point.fix)}")
    if any(point.good is False for point in points):
        raise typer.Exit(3)


@explained
def up(home: HomeOption = None, policy: PolicyOption = None) -> None:
    """Start the local server, so that `onboard` answers sooner.

    It runs until `pratique down`; its address is printed on standard output. Where the policy says how often
    (`advisories.rescan_every`), every admitted tool is asked about on schedule, too.
    """
    from flows import scheduler, server
    from flows.node import Node
    from flows.rescan import last_rescan

    node = Node.open(settings_from(home, policy))
    settings, every = node.settings, node.policy.policy.advisories.rescan_every
    present = server.start(settings.server, lambda text: typer.echo(text, err=True))
    if every is None:
        scheduler.stop(settings)
    else:
        scheduler.start(settings, every)
        last = last_rescan(settings)
        typer.echo(f"rescan every {every}; {plain(last.in_words()) if last else 'not done yet'}", err=True)
    typer.echo(present.url)


@explained
def down(home: HomeOption = None) -> None:
    """Stop the local server and scheduled rescans.

    Running it twice is no error.
    """
    from flows import scheduler, server

    settings = settings_from(home)
    there = settings.server.is_dir()
    ended = there and scheduler.stop(settings)
    stopped = (there and server.stop(settings.server)) or ended
    typer.echo("stopped" if stopped else "no server was running", err=True)
