"""`pratique inspect`, `sbom`, `vulns` and `scan-model`: what is inside, each question on its own."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from console.terminal.failures import COULD_NOT_DECIDE, explained
from console.terminal.options import (
    HomeOption,
    OutputOption,
    PlainFormat,
    PlainFormatOption,
    PolicyOption,
    QuietOption,
    deliver,
    path_named,
    settings_from,
)
from pratique.errors import CouldNotDecide, UsageError

ImageArgument = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE",
        help="An OCI layout, a submission or any other directory, an archive of `docker save` (each "
        "PATH[@sha256:…]), or host/repository@sha256:….",
    ),
]


_EXIT_CODES = {"passed": 0, "not applicable": 0, "failed": 1, "inconclusive": COULD_NOT_DECIDE}
"""By the status of the answer."""


class ContentsFormat(StrEnum):
    """How what is inside an image is shown."""

    HUMAN = "human"
    JSON = "json"
    SARIF = "sarif"


class InspectionFormat(StrEnum):
    """How everything that is inside an image is shown."""

    HUMAN = "human"
    JSON = "json"
    SARIF = "sarif"
    CYCLONEDX = "cyclonedx"


class VulnerabilityFormat(StrEnum):
    """How known vulnerabilities are shown."""

    HUMAN = "human"
    JSON = "json"
    SARIF = "sarif"
    CYCLONEDX = "cyclonedx"
    IN_TOTO = "in-toto"


class AdvisorySource(StrEnum):
    """Who is asked about vulnerabilities."""

    LOCAL = "local"
    OSV = "osv"
    PYPI = "pypi"


@explained
def inspect(
    image: ImageArgument,
    home: HomeOption = None,
    policy: PolicyOption = None,
    output_format: Annotated[
        InspectionFormat,
        typer.Option("--format", help="Form of the result; cyclonedx is the SBOM with its vulnerabilities."),
    ] = InspectionFormat.HUMAN,
    output: OutputOption = None,
    quiet: QuietOption = False,
) -> None:
    """Show what is inside an image.

    Files, components, licences, vulnerabilities, model files, code, secrets. Nothing is executed. Exits with 0 when
    every check passed, 1 when one failed, 3 when one could not decide.
    """
    from console.report.contents import render_contents
    from console.report.vulnerabilities import bom_with_vulnerabilities
    from console.terminal.progress import Progress
    from flows.contents import inspect_contents, open_contents, vulnerabilities_found
    from flows.node import Node

    node = Node.open(settings_from(home, policy))
    with Progress(quiet=quiet) as progress, open_contents(node, image) as contents:
        report = inspect_contents(contents, progress)
        if output_format is InspectionFormat.CYCLONEDX:
            result = report.checks["vulnerabilities"]
            found = vulnerabilities_found(node, result)
            text = bom_with_vulnerabilities(contents.bom.document, found, result, report.image.manifest_digest)
        else:
            text = render_contents(report, output_format.value)
    deliver(text, output)
    raise typer.Exit(_EXIT_CODES[report.status.value])


@explained
def sbom(
    image: ImageArgument,
    output: OutputOption = None,
    home: HomeOption = None,
    policy: PolicyOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write what an image consists of as CycloneDX 1.6 JSON.

    The same image gives the same bytes. Exits with 1 when files contradict the packages that own them, with 3 when some
    packages cannot be known (the document is written all the same); what is amiss is told on standard error.
    """
    from checks.sbom import check_sbom
    from console.report.contents import result_in_words
    from console.terminal.progress import Patience
    from flows.opened import image_limits, open_inventory

    settings = settings_from(home, policy)
    with (
        Patience(f"still reading {image}", quiet=quiet),
        open_inventory(image, settings.work, image_limits(settings)) as (opened, inventory),
    ):
        result, bom = check_sbom(inventory, opened, None)
    if bom.document:
        deliver(bom.document.decode(), output)
    for line in result_in_words(result, "see `pratique inspect --format json`"):
        typer.echo(line, err=True)
    raise typer.Exit(_EXIT_CODES[result.status.value])


@explained
def vulns(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="SBOM|IMAGE",
            help="CycloneDX (JSON, XML) or SPDX 2 (JSON, tag-value), `-` for one on standard input, or an image as "
            "`inspect` takes it.",
        ),
    ],
    home: HomeOption = None,
    policy: PolicyOption = None,
    output_format: Annotated[
        VulnerabilityFormat,
        typer.Option("--format", help="Form of the result; in-toto is the statement vulns/v0.2, unsigned."),
    ] = VulnerabilityFormat.HUMAN,
    output: OutputOption = None,
    advisories: Annotated[
        AdvisorySource | None,
        typer.Option(
            "--advisories", help="Whom to ask: the imported ones, or a service (default: as the policy says)."
        ),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Look up known vulnerabilities of an SBOM or an image.

    In the imported advisories, or at a service, as the node's policy says. Exits with 0 when none counts, 1 when one
    does, 3 when the advisories are missing or stale, a service does not answer, or a part could not be looked up.
    """
    from checks.sbom.declared import MAX_SIZE
    from console.report.vulnerabilities import render_vulnerabilities
    from console.terminal.progress import Patience
    from flows.node import Node
    from flows.vulnerabilities import look_up, look_up_document

    node = Node.open(settings_from(home, policy))
    source = advisories.value if advisories else None
    with Patience(f"still looking up {subject}", quiet=quiet):
        if subject == "-":
            piped = typer.get_binary_stream("stdin").read(MAX_SIZE + 1)
            if not piped:  # 1 would say that something was found
                raise CouldNotDecide(
                    "nothing came on standard input", next_step="see whether the program before the pipe failed"
                )
            answer = look_up_document(node, piped, "standard input", source)
        else:
            answer = look_up(node, subject, source)
    deliver(render_vulnerabilities(answer, output_format.value), output)
    raise typer.Exit(_EXIT_CODES[answer.status.value])


@explained
def scan_model(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH…", parser=path_named, help="Model files, or directories.")
    ],
    output_format: Annotated[ContentsFormat, typer.Option("--format", help="Form of the result.")] = (
        ContentsFormat.JSON
    ),
    output: OutputOption = None,
    quiet: QuietOption = False,
) -> None:
    """Say of each model file what loading it would do.

    Safe, unsafe or unreadable; nothing is ever loaded. In directories only files that may hold a model are looked at,
    judged by content and name; what is no file there is unreadable. A file that is named here and holds no known format
    is unreadable too, by the rule no-model. Other scanners (picklescan, and modelaudit where it is installed) are
    asked, and shown where they disagree. Exits with 0 when all are safe, 1 when one is unsafe or unreadable, 3 when
    there was nothing to judge.
    """
    from checks.model_files import Verdict
    from checks.model_files.tree import scan_paths
    from console.report.contents import render_models
    from console.terminal.progress import Counted

    for path in paths:
        if not os.path.lexists(path):
            message = f"there is nothing at {path}"
            raise UsageError(message, next_step="Name model files, or directories that hold them.")
    with Counted(quiet=quiet) as counted:
        scanned, skipped = scan_paths(paths, begun=counted.begun)
    deliver(render_models(scanned, skipped, output_format.value), output)
    if any(one.verdict.verdict is not Verdict.SAFE for one in scanned):
        raise typer.Exit(1)
    if not scanned:
        typer.echo(f"nothing to judge: none of {skipped:,} files there looks like a model", err=True)
        raise typer.Exit(COULD_NOT_DECIDE)


@explained
def rescan(
    record: Annotated[
        bool,
        typer.Option("--record/--no-record", help="Sign what is new into the ledger; withdraw as the policy says."),
    ] = True,
    home: HomeOption = None,
    policy: PolicyOption = None,
    output_format: PlainFormatOption = PlainFormat.HUMAN,
    output: OutputOption = None,
    quiet: QuietOption = False,
) -> None:
    """Ask the advisories of today about every admitted tool.

    By the SBOM of its inspection. Exits with 1 when an admitted tool has vulnerabilities that count, 3 when one could
    not be answered.
    """
    from console.report.contents import rescan_as_json, rescan_in_words
    from console.terminal.progress import Patience
    from flows.node import Node
    from flows.rescan import rescan as only_asked
    from flows.rescan import rescan_all, worst

    node = Node.open(settings_from(home, policy))
    with Patience("still asking about the admitted tools", quiet=quiet):
        done = rescan_all(node) if record else list(only_asked(node, record=False))
    deliver(rescan_as_json(done) if output_format is PlainFormat.JSON else rescan_in_words(done), output)
    raise typer.Exit(worst(done))
