"""The `pratique` command: one thin module a command, each imported when it is called."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from console.terminal import (
    advisories,
    contents,
    decisions,
    exports,
    federation,
    inspections,
    node,
    policy,
    records,
    run,
    sandbox,
    trust,
)
from console.terminal.failures import EXIT_CODES, INTERRUPTED, refuse_closed_streams, report_crash

app = typer.Typer(
    name="pratique",
    help=(
        "Inspect AI tool containers before they may touch a federated health-data node, admit them with evidence, and "
        "keep a record that a stranger can verify.\n\n" + EXIT_CODES
    ),
    epilog="Start with: pratique doctor, then pratique precheck DIRECTORY. Every command has --help.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=False,
)


def _tell_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"pratique {version('pratique')}")
        raise typer.Exit


@app.callback()
def _pratique(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """What all commands share."""


app.command("precheck")(inspections.precheck)
app.command("onboard")(inspections.onboard)
app.command("admit")(decisions.admit)
app.command("refuse")(decisions.refuse)
app.command("withdraw")(decisions.withdraw)
app.add_typer(decisions.key_app, name="key")
app.add_typer(federation.admissions_app, name="admissions")
app.add_typer(federation.withdrawals_app, name="withdrawals")
app.add_typer(policy.policy_app, name="policy")
app.command("run")(run.run)
app.command("export")(exports.export)
app.command("report")(records.report)
app.add_typer(records.log_app, name="log")
app.add_typer(advisories.advisories_app, name="advisories")
app.add_typer(sandbox.sandbox_app, name="sandbox")
app.add_typer(trust.trust_app, name="trust")
app.command("inspect")(contents.inspect)
app.command("sbom")(contents.sbom)
app.command("vulns")(contents.vulns)
app.command("scan-model")(contents.scan_model)
app.command("rescan")(contents.rescan)
app.command("doctor")(node.doctor)
app.command("up")(node.up)
app.command("down")(node.down)


def _tell_exit_codes(group: typer.Typer) -> None:
    """End the help of every command with the exit codes, which are the same everywhere."""
    for command in group.registered_commands:
        command.epilog = EXIT_CODES
    for child in group.registered_groups:
        if child.typer_instance is not None:
            _tell_exit_codes(child.typer_instance)


_tell_exit_codes(app)


def main() -> None:
    """Entry point of the `pratique` command; a service manager's SIGTERM ends it as Ctrl-C does, cleaned up."""
    from sandbox.interrupts import terminated_as_interrupted

    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # none has a say, and looking for some takes long
    refuse_closed_streams()
    try:
        with terminated_as_interrupted():
            app()
    except KeyboardInterrupt:  # before a command began, or after it ended
        sys.exit(INTERRUPTED)
    except Exception as error:  # noqa: BLE001 the outermost boundary: a crash must never look like a refusal or a pass
        sys.exit(report_crash(error))
