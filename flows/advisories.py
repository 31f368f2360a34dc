"""Fresh advisories for the ecosystems that the node needs: `pratique advisories update`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING

from flows.node import Node
from pratique.digests import parse_digest
from pratique.errors import CouldNotDecide, UsageError

if TYPE_CHECKING:
    from checks.advisories import Snapshot

_FALLBACK = ("PyPI",)


def update_advisories(
    node: Node,
    ecosystems: Sequence[str] | None,
    *,
    base: str | None = None,
    sha256: str | None = None,
    day: date | None = None,
) -> Iterator[tuple[str, Snapshot | CouldNotDecide]]:
    """Fetch each ecosystem and import it; one that fails does not hold up the others.

    Without `ecosystems` those of the policy, else those that the node has, else PyPI. Raises `UsageError`.
    """
    from checks.advisories.mirror import SOURCE, update

    names = tuple(dict.fromkeys(ecosystems or _wanted(node)))
    if sha256 is not None and len(names) != 1:
        raise UsageError("a checksum is of one archive", next_step="Name one ecosystem with --ecosystem.")
    digest = parse_digest(sha256 if sha256.startswith("sha256:") else f"sha256:{sha256}") if sha256 else None
    home = node.settings.advisories
    for name in names:
        try:
            yield name, update(home, name, clock=node.clock, base=base or SOURCE, sha256=digest, taken=day)
        except CouldNotDecide as error:
            yield name, error


def _wanted(node: Node) -> Sequence[str]:
    from checks.advisories.index import read_index

    stated = node.policy.policy.advisories.ecosystems
    if stated:
        return stated
    try:
        present = [entry.snapshot.ecosystems[0] for entry in read_index(node.settings.advisories).snapshots]
    except CouldNotDecide:
        return _FALLBACK
    return present or _FALLBACK
