"""`pratique policy`: a policy of one's own, to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console.terminal.failures import explained

policy_app = typer.Typer(help="Begin a policy of your own.", rich_markup_mode=None, no_args_is_help=True)


@policy_app.callback()
def _policy() -> None:
    """Begin a policy of your own."""


@policy_app.command("new")
@explained
def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the policy goes; nothing is overwritten.")],
) -> None:
    """Write the shipped policy as a file of your own.

    The files that it pins are put beside it. It trusts nobody yet, so every image is refused until you name somebody.
    """
    from policies.load import copy_default

    written = copy_default(file)
    typer.echo(f"wrote {', '.join(map(str, written))}", err=True)
    typer.echo(
        "next: name whose signatures count under trust.identities (or keys), and who may decide under "
        f"approvals.people; then `pratique doctor --policy {file}`",
        err=True,
    )
