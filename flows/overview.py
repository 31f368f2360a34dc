"""Every admission that a node knows, and whether it holds here and now."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from flows.entitlement import holding
from flows.node import Node, has_ledger
from pratique.clock import rfc3339
from pratique.digests import Digest
from records.admissions import AdmittedVersion
from records.standing import NotAdmitted


@dataclass(frozen=True)
class Line:
    """One admission; `said` is who admitted it until when, or why it does not hold."""

    name: str
    version: str
    image: Digest
    entry: int
    holds: bool
    said: str

    def as_json(self) -> dict[str, object]:
        """This line as plain data."""
        return asdict(self)


def overview(node: Node) -> list[Line]:
    """All admissions by name, version and place; none where there is no ledger. Raises `CouldNotDecide`."""
    if not has_ledger(node.settings):
        return []
    node.head()
    return [_line(node, one) for one in node.admissions.everything()]


def _line(node: Node, one: AdmittedVersion) -> Line:
    holds, said = False, f"taken back by entry {one.taken_back}"
    if one.taken_back is None:
        try:
            admitted = holding(node, one)
            holds, said = True, f"admitted by {admitted.verifier_id} until {rfc3339(admitted.expires)}"
        except NotAdmitted as error:
            said = str(error)
    return Line(one.name, one.version, one.image_digest, one.entry, holds, said)
