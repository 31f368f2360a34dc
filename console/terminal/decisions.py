"""`pratique admit`, `refuse` and `withdraw`: what people decide; `pratique key`: the key that they sign it with."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.failures import COULD_NOT_DECIDE, explained
from console.terminal.options import HomeOption, PolicyOption, settings_from

if TYPE_CHECKING:
    from flows.decide import Decision
    from flows.node import Node
    from records.keys import NodeKey

key_app = typer.Typer(help="Make the key with which a person signs decisions.", rich_markup_mode=None)

Run = Annotated[str, typer.Argument(help="The run that is decided on, as `pratique onboard` named it.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is signed and recorded.")]
Person = Annotated[str, typer.Option("--as", envvar="PRATIQUE_PERSON", help="Your identity, an e-mail address.")]
Organisation = Annotated[
    str, typer.Option("--organisation", envvar="PRATIQUE_ORGANISATION", help="The organisation you decide for.")
]
Key = Annotated[
    Path | None,
    typer.Option("--key", envvar="PRATIQUE_PERSON_KEY", help="Your own key, where the policy asks for its signature."),
]


@explained
def admit(
    run: Run,
    reason: Reason,
    person: Person,
    organisation: Organisation = "",
    until: Annotated[
        datetime | None,
        typer.Option("--until", formats=["%Y-%m-%d"], help="Last day (UTC) of the admission; default: the policy's."),
    ] = None,
    key: Key = None,
    push: Annotated[
        bool, typer.Option("--push", help="Attach the admission to the image in the registry it came from.")
    ] = False,
    home: HomeOption = None,
    policy: PolicyOption = None,
) -> None:
    """Admit an inspected tool: a signed decision and a signed admission (VSA) in the ledger.

    Only a run whose verdict is admit, under the policy in force, can be admitted, and the submitter cannot admit their
    own tool (exit code 4). Where the policy asks for several persons, each of them decides; until then it exits with 3.
    """
    from flows.decide import admit as run_admit

    node = _node(home, policy)
    admission = run_admit(node, run, _decision(person, organisation, reason, key), until=_end_of(until))
    tool = admission.tool
    if admission.entry is None or admission.expires is None:
        typer.echo(f"recorded; {tool.name} {tool.version} is not admitted yet: the policy asks for {admission.missing}")
        raise typer.Exit(COULD_NOT_DECIDE)
    typer.echo(
        f"admitted {tool.name} {tool.version} as {tool.image_digest} (entry {admission.entry}) "
        f"until {admission.expires:%Y-%m-%d %H:%M} UTC"
    )
    if push:
        from flows.publish import publish

        typer.echo(f"attached to the image as {publish(node, admission)}")


@explained
def refuse(
    run: Run,
    reason: Reason,
    person: Person,
    organisation: Organisation = "",
    key: Key = None,
    home: HomeOption = None,
    policy: PolicyOption = None,
) -> None:
    """Refuse an inspected tool for good: this run can never be admitted, and an earlier admission of its image ends."""
    from flows.decide import refuse as run_refuse

    tool = run_refuse(_node(home, policy), run, _decision(person, organisation, reason, key))
    typer.echo(f"refused {tool.name} {tool.version}, {tool.image_digest}")


@explained
def withdraw(
    tool: Annotated[str, typer.Argument(help="NAME (every version), NAME@VERSION or NAME@sha256:…")],
    reason: Reason,
    person: Person,
    organisation: Organisation = "",
    key: Key = None,
    home: HomeOption = None,
    policy: PolicyOption = None,
) -> None:
    """Take admissions back at once; one person is enough. The node runs the tool no more from the next run on."""
    from flows.decide import withdraw as run_withdraw

    for taken in run_withdraw(_node(home, policy), tool, _decision(person, organisation, reason, key)):
        typer.echo(f"withdrew {taken.name} {taken.version}, {taken.image_digest}")


@key_app.callback()
def _key() -> None:
    """Make the key with which a person signs decisions."""


@key_app.command("new")
@explained
def new_key(
    file: Annotated[Path, typer.Argument(help="Where the private key goes (mode 0600); an existing key is kept.")],
    person: Person,
) -> None:
    """Make a key of your own, and show the line that goes under `approvals.people` in the policy."""
    from records.keys import load_or_create_key

    typer.echo(load_or_create_key(file, person).verifier.vkey)


def _node(home: Path | None, policy: Path | None) -> Node:
    from flows.node import Node

    return Node.open(settings_from(home, policy))


def _decision(person: str, organisation: str, reason: str, key: Path | None) -> Decision:
    from flows.decide import Decision

    return Decision(person, organisation, reason, _own_key(person, key))


def _own_key(person: str, path: Path | None) -> NodeKey | None:
    from records.keys import load_key

    return load_key(path, person) if path is not None else None


def _end_of(day: datetime | None) -> datetime | None:
    """The last second of a day, in UTC."""
    from datetime import UTC

    return day.replace(hour=23, minute=59, second=59, tzinfo=UTC) if day is not None else None
