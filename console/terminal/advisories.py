"""`pratique advisories`: snapshots of known vulnerabilities."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from console.terminal.failures import explained
from console.terminal.options import Format, HomeOption, OutputFormat, settings_from

advisories_app = typer.Typer(
    help="Import snapshots of advisories (OSV) and say how old they are.", rich_markup_mode=None, no_args_is_help=True
)


@advisories_app.command("import")
@explained
def import_(
    archive: Annotated[
        Path, typer.Argument(exists=True, help="An export of osv.dev (ECOSYSTEM/all.zip), or a directory of them.")
    ],
    date: Annotated[
        datetime,
        typer.Option("--date", formats=["%Y-%m-%d"], help="The day on which the snapshot was taken from its source."),
    ],
    ecosystem: Annotated[
        str | None, typer.Option("--ecosystem", help="PyPI, Debian, npm …; needed where the path does not say it.")
    ] = None,
    label: Annotated[str, typer.Option("--label", help="A note that is shown with every verdict.")] = "",
    home: HomeOption = None,
) -> None:
    """Import a snapshot, from a file or a USB stick; it replaces the snapshot of its ecosystem.

    The date decides when verdicts on it become stale, and no record's own date is believed.
    """
    from checks.advisories import import_snapshot

    typer.echo(f"reading {archive}", err=True)
    snapshot = import_snapshot(
        archive, settings_from(home).advisories, taken=date.date(), ecosystem=ecosystem, label=label
    )
    typer.echo(
        f"imported {snapshot.records} records of {', '.join(snapshot.ecosystems)}, "
        f"taken {snapshot.taken}, {snapshot.digest}"
    )


@advisories_app.command("status")
@explained
def status(home: HomeOption = None, output_format: Format = OutputFormat.HUMAN) -> None:
    """Say which snapshots there are, and from when; exits with 3 when there is none."""
    from checks.advisories import load

    with load(settings_from(home).advisories) as store:
        snapshots = store.snapshots
    if output_format is OutputFormat.JSON:
        typer.echo(json.dumps([asdict(snapshot) for snapshot in snapshots], indent=2, default=str))
        return
    for snapshot in snapshots:
        names = ", ".join(snapshot.ecosystems)
        typer.echo(f"{names}: {snapshot.records} records, taken {snapshot.taken}, {snapshot.digest} {snapshot.label}")
