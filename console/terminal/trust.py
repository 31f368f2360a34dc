"""`pratique trust`: whom the policy believes, changed on purpose and never by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from console.terminal.failures import explained
from console.terminal.options import HomeOption, PolicyOption, settings_from

trust_app = typer.Typer(help="Replace a pinned trusted root, seeing what changes.", rich_markup_mode=None)


@trust_app.callback()
def _trust() -> None:
    """Replace a pinned trusted root, seeing what changes."""


@trust_app.command("update")
@explained
def update(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new trusted root (Sigstore's trusted_root.json).")],
    root: Annotated[
        str | None, typer.Option("--root", help="Which root of the policy it replaces, where there are several.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Pin it; without this nothing changes.")] = False,
    home: HomeOption = None,
    policy: PolicyOption = None,
) -> None:
    """Show what another trusted root would change; --yes pins it.

    Nothing is fetched: find out first, over a second channel, that the file is genuine. Without --yes it exits with 3
    when there is something to change.
    """
    from console.terminal.failures import COULD_NOT_DECIDE
    from flows.trust import carry_out, compare_root
    from policies.load import load_policy

    found = compare_root(load_policy(settings_from(home, policy).policy), file, root)
    if found.digest == found.root.sha256:
        typer.echo(f"{found.root.file} is pinned already: {found.digest}")
        return
    typer.echo(f"{found.root.file}: {found.root.sha256} -> {found.digest}")
    for change in found.changes:
        typer.echo(f"  {change.sign} {change.what}")
    if not found.changes:
        typer.echo("  the same keys and certificates for the same time, written otherwise")
    if not yes:
        typer.echo("nothing was changed; pin it with --yes", err=True)
        raise typer.Exit(COULD_NOT_DECIDE)
    changed = carry_out(found)
    typer.echo(f"pinned; the policy is now {changed}")
    typer.echo(
        f"Admissions under the policy before ({found.policy.digest}) count only if it stands under "
        "`admissions.also_under`; otherwise onboard the tools again.",
        err=True,
    )
