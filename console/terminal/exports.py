"""`pratique export`: what the site's own platform needs to run only what was admitted."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.terminal.failures import explained
from console.terminal.options import HomeOption, OutputOption, PolicyOption, deliver, settings_from
from records.enforcement import SignatureForm, Target

if TYPE_CHECKING:
    from flows.node import Node
    from pratique.digests import Digest
    from records.enforcement import Signers
    from records.enforcement.collect import Collected


class Signatures(StrEnum):
    """Which signatures the platform looks for again."""

    BUNDLE = SignatureForm.BUNDLE.value
    TAG = SignatureForm.TAG.value
    NONE = "none"


_READ_BY = {
    Target.KYVERNO: Signatures.BUNDLE,
    Target.POLICY_CONTROLLER: Signatures.BUNDLE,
    Target.KYVERNO_CEL: Signatures.NONE,
    Target.CONTAINERS_POLICY: Signatures.TAG,
}
"""What each target that reads signatures reads unless told otherwise; the others go by digest alone."""


@explained
def export(
    target: Annotated[Target, typer.Argument(metavar="TARGET", help="The platform that starts the containers.")],
    output: OutputOption = None,
    repository: Annotated[
        list[str] | None,
        typer.Option("--repository", help="NAME=REPOSITORY: where the images of the tool NAME lie; repeatable."),
    ] = None,
    manifest: Annotated[
        list[Path] | None,
        typer.Option(
            "--manifest", help="A tool's manifest whose dockerPull, by digest, says where it lies; repeatable."
        ),
    ] = None,
    signatures: Annotated[
        Signatures | None,
        typer.Option(
            "--signatures",
            help="Signatures to find again: bundle (cosign 3), tag (cosign 2), or none, so that the digest alone "
            "decides (default: what the platform reads).",
        ),
    ] = None,
    home: HomeOption = None,
    policy: PolicyOption = None,
) -> None:
    """Export the admissions in force as your platform's policy.

    The platform then runs these images and nothing else. Images are named by digest, and with nothing admitted
    everything is denied. What the platform cannot be told is left out and said on standard error. Export again after
    every admission and withdrawal, and before the expiry that the file names. Exits with 1, and writes nothing, where
    the platform cannot make what the node's policy demands.
    """
    from flows.node import Node
    from records.enforcement import export as export_to

    node = Node.open(settings_from(home, policy))
    collected = _collected(node, repository or (), manifest or ())
    exported = export_to(target, collected.images, _signers(node, target, signatures), moment=node.clock())
    for warning in (*collected.warnings, *exported.warnings):
        typer.echo(f"warning: {warning}", err=True)
    if not exported.allowed:
        typer.echo("warning: it names no image, so it denies everything", err=True)
    deliver(exported.text, output)


def _collected(node: Node, repositories: Sequence[str], manifests: Sequence[Path]) -> Collected:
    from flows.entitlement import candidates, holding
    from flows.node import has_ledger
    from pratique.errors import UsageError
    from records.enforcement.collect import admitted_images
    from records.enforcement.references import quoted

    by_name, by_digest = dict(_named(item) for item in repositories), _located(manifests)
    if not has_ledger(node.settings):
        raise UsageError("this node has no ledger yet", next_step="the first `pratique onboard` makes it")
    node.head()
    collected = admitted_images(
        candidates(node),
        lambda version: holding(node, version),
        lambda name, digest: by_name.get(name) or by_digest.get(digest) or _remembered(node, digest),
    )
    for name in sorted(by_name.keys() - {image.name for image in collected.images}):
        typer.echo(f"warning: no tool called {quoted(name)} is admitted, so where it lies does not matter", err=True)
    return collected


def _remembered(node: Node, digest: Digest) -> str | None:
    """The repository from which the image was inspected; None where it came as a file."""
    from flows.images import remembered_image
    from pratique.intake.image import RegistryImage
    from records.enforcement.references import repository_by_digest

    source = remembered_image(node.settings, digest)
    found = repository_by_digest(source.reference) if isinstance(source, RegistryImage) else None
    return found[0] if found is not None and found[1] == digest else None


def _named(item: str) -> tuple[str, str]:
    """Tool name and repository of `NAME=REPOSITORY`; a name may hold `=`, a repository may not."""
    from pratique.errors import UsageError
    from records.enforcement.references import parse_repository

    name, separator, repository = item.rpartition("=")
    if not separator or not name:
        raise UsageError(
            f"{item[:200]!r} is not NAME=REPOSITORY",
            next_step="write --repository risk-classifier=registry.example.org/tools/risk-classifier",
        )
    return name, parse_repository(repository)


def _located(manifests: Sequence[Path]) -> dict[Digest, str]:
    """Repositories by digest, as the manifests' own references say; one without a digest says nothing."""
    from pratique.intake.manifest import load_manifest
    from records.enforcement.references import repository_by_digest

    located = {}
    for path in manifests:
        found = repository_by_digest(load_manifest(path).requirements.image)
        if found is None:
            typer.echo(f"warning: {path} does not name its image by digest, so it says nothing here", err=True)
        else:
            repository, digest = found
            located[digest] = repository
    return located


def _signers(node: Node, target: Target, chosen: Signatures | None) -> Signers | None:
    from records.enforcement.collect import trusted_signers

    signatures = chosen or _READ_BY.get(target, Signatures.NONE)
    if target not in _READ_BY or signatures is Signatures.NONE:
        return None
    return trusted_signers(node.policy.trust(), SignatureForm(signatures.value), node.clock())
