"""`pratique run`: an admitted tool, on data of this node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.failures import COULD_NOT_DECIDE, explained
from console.terminal.options import HomeOption, PlainFormat, PlainFormatOption, PolicyOption, settings_from

if TYPE_CHECKING:
    from flows.run import Finished


InputsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="ID=VALUE",
        help="ID=PATH or ID=VALUE, as the manifest names its inputs; again for more. Or a directory whose entries "
        "are named so.",
    ),
]
ImageOption = Annotated[
    str | None,
    typer.Option(
        "--image",
        metavar="SOURCE",
        help="Where the image lies, should the engine have lost it: an OCI layout, an archive, or "
        "host/repository@sha256:….",
    ),
]


@explained
def run(
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="The admitted tool: NAME, NAME@VERSION or NAME@sha256:…")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIRECTORY", help="For its outputs; empty, or not there yet."),
    ],
    inputs: InputsOption = None,
    person: Annotated[
        str,
        typer.Option(
            "--as", metavar="IDENTITY", envvar="PRATIQUE_PERSON", help="Who asks; recorded under the node's salt."
        ),
    ] = "",
    dataset: Annotated[
        str, typer.Option("--dataset", metavar="NAME", help="Which dataset; recorded under the node's salt.")
    ] = "",
    image: ImageOption = None,
    home: HomeOption = None,
    policy: PolicyOption = None,
    output_format: PlainFormatOption = PlainFormat.HUMAN,
) -> None:
    """Run an admitted tool in the sandbox, and record it.

    Works without a network. The admission is verified each time: signature, place, policy, end, withdrawals, manifest,
    and the image in the engine. What is not admitted exits with 1, nothing runs, and the refusal is recorded. Exits
    with 0 when the tool ended as its manifest says, with 3 when the engine or somebody else ended it, else with 1; its
    outputs are then kept with the run's papers.
    """
    from flows.images import source_from
    from flows.machine import engine_machine
    from flows.node import Node
    from flows.run import Order
    from flows.run import run as run_tool
    from flows.tools import parse_tool

    node = Node.open(settings_from(home, policy))
    source = source_from(image) if image is not None else None
    order = Order(parse_tool(tool), tuple(inputs or ()), output, person, dataset, source)
    _show(run_tool(node, order, lambda: engine_machine(node.settings)), output_format)


def _show(finished: Finished, output_format: PlainFormat) -> None:
    from sandbox.record import UNDECIDED

    happened = finished.execution.happened
    if happened is None:
        raise ValueError("only a run that has ended is shown")
    if output_format is PlainFormat.JSON:
        document = {
            "run_id": finished.execution.run_id,
            "entry": finished.entry,
            "succeeded": finished.succeeded,
            "ended_by": happened.ended_by.value,
            "exit_code": happened.exit_code,
            "seconds": happened.seconds,
            "outputs": str(finished.outputs),
            "files": [one.model_dump(mode="json") for one in happened.outputs],
        }
        typer.echo(json.dumps(document, indent=2))
    else:
        tool = finished.execution.entitled.admitted.tool
        typer.echo(f"{'ran' if finished.succeeded else 'failed'}: {tool.name} {tool.version}, {tool.image_digest}")
        typer.echo(f"  ended by {happened.ended_by.value}, exit code {happened.exit_code}, {happened.seconds:.1f} s")
        typer.echo(f"  outputs: {len(happened.outputs)} files in {finished.outputs}")
        typer.echo(f"  record: run {finished.execution.run_id}, ledger entry {finished.entry}")
    if happened.ended_by in UNDECIDED:
        raise typer.Exit(COULD_NOT_DECIDE)
    if not finished.succeeded:
        raise typer.Exit(1)
