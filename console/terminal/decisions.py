"""`pratique admit`: what people decide."""

from __future__ import annotations

from typing import Annotated

import typer

from console.terminal.failures import COULD_NOT_DECIDE, explained
from console.terminal.options import HomeOption, PolicyOption, settings_from


@explained
def admit(
    run: Annotated[str, typer.Argument(help="The run whose verdict is accepted, as `pratique onboard` named it.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is signed and recorded.")],
    person: Annotated[str, typer.Option("--as", envvar="PRATIQUE_PERSON", help="Your identity, an e-mail address.")],
    organisation: Annotated[
        str, typer.Option("--organisation", envvar="PRATIQUE_ORGANISATION", help="The organisation you decide for.")
    ] = "",
    home: HomeOption = None,
    policy: PolicyOption = None,
) -> None:
    """Admit an inspected tool: a signed decision and a signed admission (VSA) in the ledger.

    Only a run whose verdict is admit, under the policy in force, can be admitted, and the submitter cannot admit their
    own tool (exit code 4). Where the policy asks for several persons, each of them decides; until then it exits with 3.
    """
    from flows.decide import admit as run_admit
    from flows.node import Node

    node = Node.open(settings_from(home, policy))
    admission = run_admit(node, run, reason=reason, person=person, organisation=organisation)
    tool = admission.tool
    if admission.entry is None:
        typer.echo(f"recorded; {tool.name} {tool.version} is not admitted yet: the policy asks for {admission.missing}")
        raise typer.Exit(COULD_NOT_DECIDE)
    typer.echo(f"admitted {tool.name} {tool.version} as {tool.image_digest} (entry {admission.entry})")
