"""`pratique admissions` and `pratique withdrawals`: what is admitted and taken back, handed on and taken in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.plain import plain
from console.terminal.failures import explained
from console.terminal.options import (
    HomeOption,
    PlainFormat,
    PlainFormatOption,
    PolicyOption,
    deliver,
    replaceable,
    settings_from,
)

if TYPE_CHECKING:
    from flows.node import Node

admissions_app = typer.Typer(
    help="List admissions; hand one on, accept one of a hub.",
    rich_markup_mode=None,
    no_args_is_help=True,
)
withdrawals_app = typer.Typer(
    help="Hand on this node's withdrawal list; take in another's.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


@admissions_app.command("list")
@explained
def list_admissions(
    home: HomeOption = None, policy: PolicyOption = None, output_format: PlainFormatOption = PlainFormat.HUMAN
) -> None:
    """List every admission, and whether it holds here and now.

    Exits with 0, also where none holds.
    """
    from flows.overview import overview

    lines = overview(_node(home, policy))
    if output_format is PlainFormat.JSON:
        typer.echo(json.dumps([line.as_json() for line in lines], indent=2))
        return
    if not lines:
        typer.echo("this node knows no admission yet", err=True)
    for line in lines:
        mark = "✓" if line.holds else "✗"
        typer.echo(f"{mark} {plain(line.name)} {plain(line.version)} {line.image} (entry {line.entry})")
        typer.echo(f"    {plain(line.said)}")


@admissions_app.command("export")
@explained
def export_admission(
    tool: Annotated[
        str, typer.Argument(metavar="TOOL", help="NAME, NAME@VERSION or NAME@sha256:…, admitted by this node.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="A new or empty directory for the files.")],
    home: HomeOption = None,
    policy: PolicyOption = None,
) -> None:
    """Write an admission for nodes that accept this one's.

    The directory gets the signed admission and every document that it names. Exits with 0, or with 1 when a document is
    not in the store as it was.
    """
    from flows.acceptance import papers_of
    from flows.tools import parse_tool

    papers = papers_of(_node(home, policy), parse_tool(tool))
    papers.write(output)
    typer.echo(f"wrote the admission and {len(papers.documents)} documents to {output}", err=True)


@admissions_app.command("import")
@explained
def import_admission(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A directory of `admissions export`, or the image in its registry, by its digest."
        ),
    ],
    home: HomeOption = None,
    policy: PolicyOption = None,
) -> None:
    """Accept an admission made by a hub that the policy names.

    The hub stands under `federation.hubs`. Signature, verifier, place, policy, age, withdrawals and documents are
    checked now, and again before each run. Exits with 1 when it does not count here, 3 when that cannot be told.
    """
    from flows.acceptance import Papers, accept, accept_attached
    from pratique.errors import UsageError

    node, directory = _node(home, policy), Path(source)
    if not directory.is_dir() and "@sha256:" not in source:
        raise UsageError(
            f"{source[:200]} is {'a file' if directory.exists() else 'neither a directory nor an image by its digest'}",
            next_step="name the directory that the hub's `pratique admissions export` wrote, or "
            "host/repository@sha256:… of the image",
        )
    admitted = accept(node, Papers.read(directory)) if directory.is_dir() else accept_attached(node, source)
    tool = admitted.tool
    typer.echo(
        f"accepted {plain(tool.name)} {plain(tool.version)} as {tool.image_digest}, admitted by "
        f"{plain(admitted.verifier_id)}, until {admitted.expires:%Y-%m-%d %H:%M} UTC"
    )


@withdrawals_app.command("show")
@explained
def show_withdrawals(home: HomeOption = None, policy: PolicyOption = None) -> None:
    """Show what this node withdrew, and the lists that it took in."""
    from flows.federation import known_lists
    from flows.lists import own_list

    node = _node(home, policy)
    for listed in (own_list(node), *known_lists(node)):
        typer.echo(f"{plain(listed.origin)}: {len(listed.withdrawals)}, as of {listed.issued:%Y-%m-%d %H:%M} UTC")
        for one in listed.withdrawals:
            typer.echo(
                f"  {one.withdrawn:%Y-%m-%d %H:%M}  {plain(one.name)} {plain(one.version)} {one.image} "
                f"(entry {one.entry})"
            )


@withdrawals_app.command("export")
@explained
def export_withdrawals(
    output: Annotated[Path, typer.Option("--output", "-o", callback=replaceable, help="Where the signed list goes.")],
    home: HomeOption = None,
    policy: PolicyOption = None,
) -> None:
    """Write this node's withdrawal list as of now.

    It is one signed note, for the nodes whose policy names this one's key.
    """
    from flows.lists import export_list

    deliver(export_list(_node(home, policy)).decode(), output)


@withdrawals_app.command("import")
@explained
def import_withdrawals(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A list that another node exported.")],
    home: HomeOption = None,
    policy: PolicyOption = None,
) -> None:
    """Take in another node's withdrawal list.

    What it names is not run here from the next run on. The list must be signed by a key under `federation` in the
    policy, and continue the one taken in before; else it exits with 1.
    """
    from flows.lists import import_list
    from pratique.bounds import read_bounded
    from records.withdrawals import MAX_LIST_BYTES

    taken = import_list(_node(home, policy), read_bounded(file, MAX_LIST_BYTES, follow_links=True))
    listed = taken.listed
    typer.echo(f"took in {plain(listed.origin)}: {len(listed.withdrawals)} withdrawals, {len(taken.news)} of them new")
    for one in taken.news:
        typer.echo(f"  {plain(one.name)} {plain(one.version)} {one.image}")


def _node(home: Path | None, policy: Path | None) -> Node:
    from flows.node import Node

    return Node.open(settings_from(home, policy))
