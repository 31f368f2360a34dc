"""Known vulnerabilities of an SBOM or an image, looked up in the node's own advisories: `pratique vulns`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from checks.interface import CheckResult, Finding, Level, Status
from checks.sbom.declared import MAX_SIZE, Listing, is_document, read_listing
from checks.sbom.model import Component
from flows.contents import ask_vulnerabilities, open_contents, vulnerabilities_found
from flows.node import Node
from pratique.bounds import read_bounded
from pratique.clock import rfc3339
from pratique.digests import Digest, sha256_bytes
from pratique.errors import InvalidInput, UsageError
from pratique.intake.image.locate import is_archive, path_and_digest


@dataclass(frozen=True)
class LookedUp:
    """The answer for one subject: the check's result and, where it answered, the whole document of vulnerabilities."""

    name: str
    digest: Digest
    """Of the image's manifest, or of the SBOM's bytes."""
    result: CheckResult
    document: dict[str, Any]
    components: Sequence[Component]
    unidentified: int
    asked: datetime

    @property
    def status(self) -> Status:
        """The check's status; a pass in which some part, or everything, was not looked up is none."""
        left_out = self.unidentified or self.result.measured("unchecked") or not self.components
        return Status.INCONCLUSIVE if self.result.status is Status.PASSED and left_out else self.result.status


def look_up(node: Node, subject: str, source: str | None = None) -> LookedUp:
    """Vulnerabilities of the SBOM file or the image that `subject` names; `source` as in the policy, before that.

    Raises `InvalidInput` for an SBOM that cannot be read and as opening an image does, and `UsageError`.
    """
    path = Path(subject)
    if path.is_file() and _is_document(path):
        return look_up_document(node, read_bounded(path, MAX_SIZE), path.name, source, where=str(path))
    if path.is_file() and not is_archive(path):
        raise InvalidInput(
            "neither an SBOM nor an archive of an image",
            rule="sbom/format",
            where=str(path),
            next_step="Give CycloneDX (JSON or XML) or SPDX 2 (JSON or tag-value) in UTF-8, or an image.",
        )
    base, digest = path_and_digest(subject)
    if subject and not digest and not Path(base).exists():
        raise UsageError(
            f"there is neither an SBOM nor an image {subject[:200]!r}",
            next_step="Name a file with an SBOM (CycloneDX, SPDX), an OCI layout or any directory, an archive of "
            "`docker save`, or host/repository@sha256:….",
        )
    with open_contents(node, subject) as contents:
        image = contents.image
        return _asked(node, contents.components, 0, image.name, image.manifest_digest, of_image=True, source=source)


def look_up_document(node: Node, data: bytes, name: str, source: str | None = None, *, where: str = "") -> LookedUp:
    """Vulnerabilities of what the SBOM in `data` lists; raises `InvalidInput` for one that cannot be read."""
    listing = read_listing(data, where=where or name)
    return _asked(node, listing.components, listing.unidentified, name, sha256_bytes(data), source=source)


def look_up_listing(node: Node, listing: Listing, name: str, image: Digest) -> LookedUp:
    """Vulnerabilities of what the SBOM of an image lists."""
    return _asked(node, listing.components, listing.unidentified, name, image, of_image=True)


def scan_predicate(
    answer: LookedUp, results: Sequence[Mapping[str, Any]], annotations: Mapping[str, Any]
) -> dict[str, Any]:
    """The predicate vulns/v0.2 of in-toto: scanner, its database, `results`, when, and `annotations` on all of it."""
    moment = rfc3339(answer.asked)
    taken = min((snapshot["taken"] for snapshot in answer.document["snapshots"]), default=moment[:10])
    return {
        "scanner": {
            "uri": "https://pypi.org/project/pratique/",
            "version": answer.result.version,
            "db": {
                "uri": "https://osv.dev",
                "version": str(answer.result.measured("snapshot_digest") or ""),
                "lastUpdate": f"{taken}T00:00:00Z",
            },
            "result": list(results),
        },
        "metadata": {"scanStartedOn": moment, "scanFinishedOn": moment, "annotations": [dict(annotations)]},
    }


def _asked(
    node: Node,
    components: Sequence[Component],
    unidentified: int,
    name: str,
    digest: Digest,
    *,
    of_image: bool = False,
    source: str | None = None,
) -> LookedUp:
    moment = node.clock()
    result = ask_vulnerabilities(node, components, digest if of_image else None, source)
    document = vulnerabilities_found(node, result)
    left_out = [_unidentified(unidentified)] if unidentified else [] if components else [_nothing_listed()]
    if left_out:
        result = result.model_copy(update={"findings": (*result.findings, *left_out)})
    return LookedUp(name, digest, result, document, components, unidentified, moment)


def _unidentified(count: int) -> Finding:
    return Finding(
        rule_id="vulnerabilities/not-identified",
        level=Level.WARNING,
        message=f"{count} parts have no package URL, so that nothing could be asked about them",
        fix="Write the SBOM with a generator that gives package URLs, or ask about the image itself.",
        risks=("G2",),
    )


def _nothing_listed() -> Finding:
    return Finding(
        rule_id="vulnerabilities/nothing-listed",
        level=Level.WARNING,
        message="no component is listed, so that nothing was asked about",
        fix="Write the SBOM with a generator that reads the whole image, or ask about the image itself.",
        risks=("G2",),
    )


def _is_document(path: Path) -> bool:
    with path.open("rb") as stream:
        return is_document(stream.read(4096))
