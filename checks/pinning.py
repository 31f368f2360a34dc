"""The `pinning` check: is this image what was validated under this tool's name and version?

A validated version is a name and version bound to one image digest by an admission. The same version with another
digest is a substitution (or a mistake that looks like one) and fails; everything else passes with a note.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from checks.interface import CheckResult, Finding, Level, Measurement, status_of
from pratique.digests import Digest

CHECK = "pinning"
VERSION = "2"
_RISKS = ("G3",)


@dataclass(frozen=True)
class ValidatedVersion:
    """What the last admission of a tool's version says: its image digest, and the ledger entry that says so."""

    name: str
    version: str
    image_digest: Digest
    entry: int
    config_digest: Digest | None = field(default=None, compare=False)


@dataclass(frozen=True)
class TakenBack:
    """That this node took an image back, as this tool and version, and has not admitted it since; `entry` says so."""

    name: str
    version: str
    entry: int
    when: str
    reason: str = ""

    def __str__(self) -> str:
        said = f": {self.reason}" if self.reason else ""
        return f"as {self.name} {self.version} on {self.when} (ledger entry {self.entry}){said}"


def check_pinning(
    name: str,
    version: str,
    image_digest: Digest,
    known: Sequence[ValidatedVersion],
    *,
    config_digest: Digest | None = None,
    taken_back: TakenBack | None = None,
) -> CheckResult:
    """Compare `image_digest` with the validated versions in `known`, of which a later one replaces an earlier one.

    Measurement `relation`: `new` (tool), `new-version`, `same` or `substituted`. Names are compared without case and
    surrounding space, so that `Lesion-Segmenter` cannot pass for a new tool beside `lesion-segmenter`. Of the same
    config is the same image, packed once more. An image that was `taken_back` here gets a warning: whether it may come
    back is for people to say.
    """
    of_tool = {_key(item.version): item for item in known if _key(item.name) == _key(name)}
    pinned = of_tool.get(_key(version))
    elsewhere = [item for item in known if _is_of(item, image_digest, config_digest) and _key(item.name) != _key(name)]
    if pinned is None:
        relation = "new-version" if of_tool else "new"
    else:
        relation = "same" if pinned.image_digest == image_digest else "substituted"
    finding = _finding(relation, name, version, image_digest, pinned)
    findings = [finding, *(_known_as(item) for item in elsewhere[-1:])]
    if taken_back is not None:
        findings.append(_withdrawn(taken_back))
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


def _withdrawn(taken_back: TakenBack) -> Finding:
    return Finding(
        rule_id=f"{CHECK}/withdrawn-here",
        level=Level.WARNING,
        message=f"This very image was withdrawn here {taken_back}",
        fix="Mend what it was withdrawn for and submit new bytes. To admit these all the same, everybody who decides "
        "must say so: pratique admit RUN --despite-withdrawal.",
        risks=_RISKS,
    )


def _is_of(item: ValidatedVersion, image: Digest, config: Digest | None) -> bool:
    return item.image_digest == image or (config is not None and item.config_digest == config)


def _key(text: str) -> str:
    return text.strip().casefold()
