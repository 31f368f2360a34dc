"""The `pinning` check: is this image what was validated under this tool's name and version?

A validated version is a name and version bound to one image digest by an admission. The same version with another
digest is a substitution (or a mistake that looks like one) and fails; everything else passes with a note.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from checks.interface import CheckResult, Finding, Level, Measurement, status_of
from pratique.digests import Digest

CHECK = "pinning"
VERSION = "1"
_RISKS = ("G3",)


@dataclass(frozen=True)
class ValidatedVersion:
    """What the last admission of a tool's version says: its image digest, and the ledger entry that says so."""

    name: str
    version: str
    image_digest: Digest
    entry: int


def check_pinning(name: str, version: str, image_digest: Digest, known: Sequence[ValidatedVersion]) -> CheckResult:
    """Compare `image_digest` with the validated versions in `known`, of which a later one replaces an earlier one.

    Measurement `relation`: `new` (tool), `new-version`, `same` or `substituted`. Names are compared without case and
    surrounding space, so that `Lesion-Segmenter` cannot pass for a new tool beside `lesion-segmenter`.
    """
    of_tool = {_key(item.version): item for item in known if _key(item.name) == _key(name)}
    pinned = of_tool.get(_key(version))
    elsewhere = [item for item in known if item.image_digest == image_digest and _key(item.name) != _key(name)]
    if pinned is None:
        relation = "new-version" if of_tool else "new"
    else:
        relation = "same" if pinned.image_digest == image_digest else "substituted"
    finding = _finding(relation, name, version, image_digest, pinned)
    findings = [finding, *(_known_as(item) for item in elsewhere[-1:])]
    inputs = {"image": str(image_digest), **({"validated": str(pinned.image_digest)} if pinned else {})}
    return CheckResult(
        check=CHECK,
        version=VERSION,
        status=status_of(findings),
        summary=finding.message,
        findings=tuple(findings),
        measurements=(
            Measurement(name="relation", value=relation, method="against the validated versions in the ledger"),
            Measurement(name="validated_versions", value=len(of_tool)),
        ),
        inputs=inputs,
    )


def _finding(relation: str, name: str, version: str, digest: Digest, pinned: ValidatedVersion | None) -> Finding:
    if relation == "substituted" and pinned is not None:
        return Finding(
            rule_id=f"{CHECK}/substituted",
            level=Level.ERROR,
            message=f"{name} {version} was validated as {pinned.image_digest} (ledger entry {pinned.entry}), but this "
            f"image is {digest}: other bytes under the same version.",
            where="image.digest",
            fix="Give changed bytes a new version and submit that; or submit the very image that was validated.",
            risks=_RISKS,
        )
    messages = {
        "new": f"{name} is a new tool here: no version of it has been validated.",
        "new-version": f"{name} {version} is a new version: other versions of it have been validated.",
        "same": f"{name} {version} is byte for byte the image that was validated.",
    }
    return Finding(rule_id=f"{CHECK}/{relation}", level=Level.NOTE, message=messages[relation], risks=_RISKS)


def _known_as(item: ValidatedVersion) -> Finding:
    return Finding(
        rule_id=f"{CHECK}/known-under-another-name",
        level=Level.WARNING,
        message=f"This very image was validated as {item.name} {item.version} (ledger entry {item.entry}).",
        fix="Submit it under that name, or say why one image has two names.",
        risks=_RISKS,
    )


def _key(text: str) -> str:
    return text.strip().casefold()
