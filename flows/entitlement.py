"""Whether this node may run a tool now: the admission that says so, checked as a whole, and what it admits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flows.federation import accepted_admission, check_accepted, own_demand
from flows.node import Node, has_ledger
from flows.pinned import kept
from flows.tools import ToolName
from pratique.digests import Digest
from pratique.errors import CouldNotDecide, UsageError
from records.standing import Admitted, NotAdmitted, check_admission

if TYPE_CHECKING:
    from pratique.intake.manifest.model import Manifest
    from records.admissions import AdmittedVersion


@dataclass(frozen=True)
class Entitlement:
    """The admission that lets a tool run here, and the ledger entry that it stands in."""

    admitted: Admitted
    entry: int

    @property
    def config_digest(self) -> Digest:
        """Digest of the image's config, which the admission names."""
        digest = self.admitted.tool.config_digest
        if digest is None:  # the check of an admission demands it
            raise _not("config", "the admission does not name the image's config")
        return digest


def entitlement(node: Node, tool: ToolName) -> Entitlement:
    """The admission of `tool` that holds here and now.

    Raises `NotAdmitted` (`run/not-admitted`, `run/withdrawn`, `run/profile`, `admission/…`), `UsageError` where several
    versions are admitted and none was named, `CouldNotDecide` where the ledger cannot be trusted.
    """
    if not has_ledger(node.settings):
        raise _not("not-admitted", f"{tool} is not admitted here: this node has no ledger yet")
    node.head()
    chosen = _chosen(node, tool)
    admitted = holding(node, chosen)
    policy = node.policy
    if admitted.profile not in policy.policy.sandbox.profiles:
        raise _not(
            "profile",
            f"{tool} was admitted with the sandbox profile {admitted.profile}, which the policy does not grant now",
            f"granted: {', '.join(policy.policy.sandbox.profiles) or 'none'}",
            f"name {admitted.profile} under sandbox.profiles in the policy, or have the tool admitted without it",
        )
    return Entitlement(admitted, chosen.entry)


def manifest_of(node: Node, entitled: Entitlement) -> Manifest:
    """The manifest that was admitted; raises `NotAdmitted` (`run/manifest`) where it is not there whole."""
    from pratique.intake.manifest import parse_manifest

    return parse_manifest(kept(node, entitled.admitted.manifest, "manifest"), where="manifest")


def holding(node: Node, chosen: AdmittedVersion) -> Admitted:
    """The admission in the entry of `chosen`, the node's own or one of a hub, checked as a whole for here and now.

    Raises `NotAdmitted` (`admission/…`) and `CouldNotDecide`.
    """
    data = node.ledger.entry(chosen.entry)
    accepted = accepted_admission(node, data)
    if accepted is not None:
        admitted = check_accepted(node, accepted)
    else:
        admitted = check_admission(data, own_demand(node), node.clock())
    found = admitted.tool
    if (found.name, found.version, found.image_digest) != (chosen.name, chosen.version, chosen.image_digest):
        raise CouldNotDecide(
            f"the index of admissions names entry {chosen.entry} for {chosen.name}, and it is another tool's",
            next_step=f"delete {node.settings.admissions} (it is made anew) and try again",
        )
    return admitted


def candidates(node: Node) -> list[AdmittedVersion]:
    """The admission that a run of each tool and version would rest on, of those that nobody took back."""
    by_version: dict[tuple[str, str], list[AdmittedVersion]] = {}
    for one in node.admissions.everything():
        if one.taken_back is None:
            by_version.setdefault((one.name, one.version), []).append(one)
    return [_preferred(node, by_version[key])[-1] for key in sorted(by_version)]


def _preferred(node: Node, versions: Sequence[AdmittedVersion]) -> list[AdmittedVersion]:
    """Those to this node before others, those that last before those that have expired; the newest last."""
    moment = node.clock()
    places = own_demand(node)
    lasting = [one for one in versions if one.expires is None or one.expires > moment]
    here = [one for one in lasting if places.is_for(one.resource_uri)] or lasting
    found = here or [one for one in versions if places.is_for(one.resource_uri)] or versions
    return sorted(found, key=lambda one: one.entry)


def _chosen(node: Node, tool: ToolName) -> AdmittedVersion:
    """The one admission that `tool` means; its signature, place and policy are still to be checked."""
    of_name = node.admissions.of_tool(tool.name)
    meant = [one for one in of_name if tool.means(one)]
    if not meant:
        others = ", ".join(f"{one.version} as {one.image_digest}" for one in of_name if one.taken_back is None)
        raise _not("not-admitted", f"{tool} is not admitted here", f"admitted: {others}" if others else "")
    there = [one for one in meant if one.taken_back is None]
    if not there:
        entries = ", ".join(str(one.taken_back) for one in meant)
        raise _not("withdrawn", f"the admission of {tool} was taken back", f"ledger entry {entries}")
    preferred = _preferred(node, there)
    if len({one.version for one in preferred}) > 1:
        versions = ", ".join(sorted({one.version for one in preferred}))
        raise UsageError(f"several versions of {tool} are admitted: {versions}", next_step="name one: NAME@VERSION")
    return preferred[-1]


def _not(rule: str, message: str, cause: str = "", next_step: str = "") -> NotAdmitted:
    return NotAdmitted(
        message,
        rule=f"run/{rule}",
        cause=cause,
        next_step=next_step or "onboard it and have it admitted: pratique onboard DIRECTORY, pratique admit RUN",
    )
