"""`pratique advisories`: snapshots of known vulnerabilities."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from console.terminal.failures import COULD_NOT_DECIDE, explain, explained
from console.terminal.options import HomeOption, PlainFormat, PlainFormatOption, PolicyOption, settings_from
from pratique.errors import PratiqueError

advisories_app = typer.Typer(
    help="Fetch or import advisories (OSV), say how old they are.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


@advisories_app.command("import")
@explained
def import_(
    archive: Annotated[
        Path,
        typer.Argument(
            exists=True,
            help="An export of osv.dev (ECOSYSTEM/all.zip), FIRST's epss_scores-….csv.gz, CISA's "
            "known_exploited_vulnerabilities.json, or a directory of them.",
        ),
    ],
    date: Annotated[
        datetime,
        typer.Option("--date", formats=["%Y-%m-%d"], help="The day on which the snapshot was taken from its source."),
    ],
    ecosystem: Annotated[
        str | None, typer.Option("--ecosystem", help="PyPI, Debian, npm …; needed where the path does not say it.")
    ] = None,
    label: Annotated[str, typer.Option("--label", help="A note that is shown with every verdict.")] = "",
    replace_newer: Annotated[
        bool, typer.Option("--replace-newer", help="Also where what is in use is of a later day or holds far more.")
    ] = False,
    home: HomeOption = None,
) -> None:
    """Import a snapshot, from a file or a USB stick.

    It replaces the one of its ecosystem, or the list of its kind. The date decides when verdicts on it become stale,
    and no record's own date is believed. EPSS (how likely attackers are to use a vulnerability) and KEV (which ones
    they do use) are told apart from advisories by their content.
    """
    from checks.advisories import Snapshot
    from console.plain import plain
    from console.terminal.progress import Patience
    from flows.advisories import import_advisories

    typer.echo(f"reading {plain(str(archive))}", err=True)
    with Patience(f"still reading {archive}"):
        for one in import_advisories(
            settings_from(home).advisories,
            archive,
            taken=date.date(),
            ecosystem=ecosystem,
            label=label,
            replace_newer=replace_newer,
        ):
            if isinstance(one, Snapshot):
                what = ", ".join(one.ecosystems) + _aside(one.withdrawn, one.broken)
            else:
                what = one.kind.value.upper()
            typer.echo(f"imported {one.records} records of {what}, taken {one.taken}, {one.digest}")


@advisories_app.command("update")
@explained
def update(
    ecosystems: Annotated[
        list[str] | None,
        typer.Option(
            "--ecosystem", help="PyPI, Debian, npm …; again for more (default: the policy's, or those there)."
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option("--from", help="A mirror of osv.dev's exports (default: osv.dev's own storage).")
    ] = None,
    sha256: Annotated[
        str | None, typer.Option("--sha256", help="The checksum that the archive must have; for one ecosystem.")
    ] = None,
    date: Annotated[
        datetime | None,
        typer.Option("--date", formats=["%Y-%m-%d"], help="The day of the copy, for a mirror that does not tell it."),
    ] = None,
    home: HomeOption = None,
    policy: PolicyOption = None,
) -> None:
    """Fetch fresh snapshots from osv.dev or a mirror.

    An interrupted download goes on when it is run again. Exits with 3 when one could not be fetched; what was imported
    before then stays in use, and grows stale.
    """
    from console.plain import plain
    from console.terminal.progress import Patience
    from flows.advisories import update_advisories
    from flows.node import Node

    node = Node.open(settings_from(home, policy))
    failed = False
    with Patience("still fetching"):
        for name, outcome in update_advisories(node, ecosystems, base=base, sha256=sha256, day=date and date.date()):
            if isinstance(outcome, PratiqueError):
                failed = True
                typer.echo(f"{plain(name)}:", err=True)
                explain(outcome)
            else:
                aside = _aside(outcome.withdrawn, outcome.broken)
                typer.echo(f"{name}: {outcome.records} records{aside}, taken {outcome.taken}, {outcome.digest}")
    if failed:
        raise typer.Exit(COULD_NOT_DECIDE)


@advisories_app.command("status")
@explained
def status(
    home: HomeOption = None, policy: PolicyOption = None, output_format: PlainFormatOption = PlainFormat.HUMAN
) -> None:
    """Say which snapshots there are, and whether they still count.

    Snapshots and lists, from when, and whether the policy still lets them be used. Exits with 3 when there is no
    snapshot, or one is too old.
    """
    from console.plain import plain
    from flows.advisories import held_advisories
    from flows.node import Node

    held = held_advisories(Node.open(settings_from(home, policy)))
    if output_format is PlainFormat.JSON:
        typer.echo(json.dumps([one.as_json() for one in held], indent=2))
    else:
        for one in held:
            age = f"taken {one.taken} ({one.age_days} days ago)"
            counts = f"{one.records} records{_aside(one.withdrawn, one.unreadable)}"
            typer.echo(f"{one.name}: {counts}, {age}, {one.digest} {plain(one.label)}".rstrip())
            if one.problem:
                typer.echo(f"    {one.problem}")
    if any(one.problem for one in held):
        raise typer.Exit(COULD_NOT_DECIDE)


def _aside(withdrawn: int, unreadable: int) -> str:
    told = [f"{n} {what}" for n, what in ((withdrawn, "withdrawn"), (unreadable, "unreadable")) if n]
    return f" ({', '.join(told)})" if told else ""
