"""`pratique admit`, `refuse` and `withdraw`: what people decide; `pratique key`: the key that they sign it with."""

from __future__ import annotations

from collections.abc import Callable
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

key_app = typer.Typer(help="Make a person's key, show the node's.", rich_markup_mode=None, no_args_is_help=True)

Run = Annotated[str, typer.Argument(metavar="RUN", help="The run that is decided on, as `pratique onboard` named it.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is signed and recorded.")]
Person = Annotated[
    str, typer.Option("--as", metavar="IDENTITY", envvar="PRATIQUE_PERSON", help="Who you are, an e-mail address.")
]
Organisation = Annotated[
    str,
    typer.Option(
        "--organisation",
        metavar="NAME",
        envvar="PRATIQUE_ORGANISATION",
        help="The organisation you decide for; not needed where the policy names you.",
    ),
]
Key = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="FILE",
        envvar="PRATIQUE_PERSON_KEY",
        help="Your own key, where the policy gives you one (`pratique key new` makes it).",
    ),
]


@explained
def admit(
    run: Run,
    reason: Reason,
    person: Person,
    organisation: Organisation = "",
    until: Annotated[
        datetime | None,
        typer.Option(
            "--until",
            metavar="YYYY-MM-DD",
            formats=["%Y-%m-%d"],
            help="Last day (UTC) of the admission; default: the policy's.",
        ),
    ] = None,
    key: Key = None,
    despite_withdrawal: Annotated[
        bool,
        typer.Option(
            "--despite-withdrawal",
            help="Admit an image that this node withdrew before; signed and recorded with the reason.",
        ),
    ] = False,
    push: Annotated[
        bool, typer.Option("--push", help="Attach the admission to the image in the registry it came from.")
    ] = False,
    home: HomeOption = None,
    policy: PolicyOption = None,
) -> None:
    """Admit an inspected tool, by a signed decision.

    With the last decision that the policy asks for, the signed admission (VSA) goes into the ledger. Only a run whose
    verdict is admit, under the policy in force, can be admitted, and the submitter cannot admit their own tool (exit
    code 4). Where the policy asks for several persons, each of them decides; until then it exits with 3. An image that
    this node withdrew before, whatever its name, is refused unless each of them says `--despite-withdrawal`.
    """
    from flows.decide import admit as run_admit

    node = _node(home, policy)
    given = _decision(person, organisation, reason, key)
    admission = run_admit(node, run, given, until=_end_of(until), despite=despite_withdrawal)
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
    """Refuse an inspected tool for good.

    This run can never be admitted, and an earlier admission of its image ends. Exits with 0 when that is recorded.
    """
    from flows.decide import refuse as run_refuse

    tool = run_refuse(_node(home, policy), run, _decision(person, organisation, reason, key))
    typer.echo(f"refused {tool.name} {tool.version}, {tool.image_digest}")


@explained
def withdraw(
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="NAME (every version), NAME@VERSION or NAME@sha256:…")],
    reason: Reason,
    person: Person,
    organisation: Organisation = "",
    key: Key = None,
    home: HomeOption = None,
    policy: PolicyOption = None,
) -> None:
    """Take admissions back at once; one person is enough.

    Admissions of the same image under other names and versions are taken back as well, and named. The node runs the
    tool no more from the next run on. Exits with 0 when that is recorded, 2 when no admission stands.
    """
    from flows.decide import withdraw as run_withdraw
    from flows.tools import parse_tool

    wanted = parse_tool(tool)
    for taken in run_withdraw(_node(home, policy), tool, _decision(person, organisation, reason, key)):
        also = "" if wanted.means(taken) else ", since it is the same image"
        typer.echo(f"withdrew {taken.name} {taken.version}, {taken.image_digest}{also}")


@key_app.callback()
def _key() -> None:
    """Make a person's key, show the node's."""


@key_app.command("new")
@explained
def new_key(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where the private key goes (mode 0600); an existing key is kept.")
    ],
    person: Person,
) -> None:
    """Make a key of your own, and print its public line.

    The line goes under `approvals.people` in the node's policy; the file is the secret half.

    The line is all that is printed on standard output. Exits with 0, also where the key was there already.
    """
    from pratique.errors import UsageError
    from records.keys import is_key_name, load_or_create_key

    if not is_key_name(person):
        raise UsageError(
            f"{person[:80]!r} cannot be the name of a key",
            next_step="give an identity without spaces and '+', such as you@node.example, with --as",
        )
    kept = file.exists()
    line = _usable(load_or_create_key, file, person, "name another file, which is not there yet").verifier.vkey
    typer.echo(
        f"{'kept' if kept else 'made'} {file}, which is secret; in the policy, under approvals.people:", err=True
    )
    typer.echo(f'  - {{identity: {person}, organisation: YOURS, key: "{line}"}}', err=True)
    typer.echo(line)


@key_app.command("show")
@explained
def show_key(home: HomeOption = None) -> None:
    """Print the public line of this node's key.

    It is what hubs, other nodes and investigators verify this node's records with.

    Exits with 2 where the node has no key yet; the first `pratique onboard` makes it.
    """
    from flows.node import ledger_verifier, require_own_name

    settings = settings_from(home)
    verifier = ledger_verifier(settings, None)
    require_own_name(settings, verifier)
    typer.echo(verifier.vkey)


def _node(home: Path | None, policy: Path | None) -> Node:
    from flows.node import Node

    return Node.open(settings_from(home, policy))


def _decision(person: str, organisation: str, reason: str, key: Path | None) -> Decision:
    from flows.decide import Decision

    if not reason.strip():
        from pratique.errors import UsageError

        raise UsageError("a decision needs a reason", next_step="say why with --reason; it is signed and recorded")
    return Decision(person, organisation, reason, _own_key(person, key))


def _own_key(person: str, path: Path | None) -> NodeKey | None:
    from records.keys import load_key

    made = "name the file that `pratique key new FILE --as YOU` made, with mode 0600"
    return _usable(load_key, path, person, made) if path is not None else None


def _usable(load: Callable[[Path, str], NodeKey], path: Path, person: str, next_step: str) -> NodeKey:
    """The person's key; one that cannot be used is a mistake of theirs, which refuses no tool."""
    from pratique.errors import InvalidInput, UsageError

    try:
        return load(path, person)
    except InvalidInput as error:
        raise UsageError(f"the key {path} cannot be used: {error.message}", next_step=next_step) from error


def _end_of(day: datetime | None) -> datetime | None:
    """The last second of a day, in UTC."""
    from datetime import UTC

    return day.replace(hour=23, minute=59, second=59, tzinfo=UTC) if day is not None else None
