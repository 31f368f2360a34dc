"""Handing an admission on to other nodes of a federation, and accepting one that a hub made.

What is handed on is the signed admission and the documents that it names by digest: the tool's manifest, and config,
manifest and indexes of the image. They go as files in a directory, or as one referrer of the image in its registry.
The image itself goes its own way; the node that runs it compares it with these.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flows.admissible import require_same_image
from flows.entitlement import candidates
from flows.federation import (
    Accepted,
    accepted_admission,
    check_accepted,
    hub_named,
    known_lists,
    require_not_withdrawn_elsewhere,
)
from flows.images import remember_image
from flows.node import Node, has_ledger
from flows.pinned import kept, pinned_config, pinned_documents
from flows.tools import ToolName
from pratique.bounds import read_bounded
from pratique.digests import hex_of, sha256_bytes
from pratique.errors import InvalidInput, UsageError
from pratique.intake.image import RegistryImage
from pratique.intake.image.attached import MAX_PAPERS, Paper, papers_attached_to
from pratique.intake.image.reference import parse_reference
from pratique.intake.manifest import MAX_BYTES as MAX_MANIFEST_BYTES
from records.dsse import ENVELOPE_MEDIA_TYPE, PAYLOAD_TYPE, sign_statement, verify_envelope
from records.intoto import descriptor
from records.keys import parse_verifier
from records.standing import Admitted, NotAdmitted, check_admission
from records.statements import VSA, acceptance
from records.withdrawals import list_origin, own_withdrawals

if TYPE_CHECKING:
    from policies.sections.decisions import FederationHub

ADMISSION_FILE = "admission.json"
DOCUMENT_TYPE = "application/octet-stream"
_MAX_DOCUMENT_BYTES = max(4 << 20, MAX_MANIFEST_BYTES)


@dataclass(frozen=True)
class Papers:
    """A signed admission and the documents that it names."""

    envelope: bytes = field(repr=False)
    documents: tuple[bytes, ...] = field(repr=False)

    def attachments(self) -> list[Paper]:
        """These as what is attached to an image."""
        return [Paper(ENVELOPE_MEDIA_TYPE, self.envelope), *(Paper(DOCUMENT_TYPE, one) for one in self.documents)]

    def write(self, directory: Path) -> None:
        """Write these into `directory`, which is new or empty; raises `UsageError`."""
        if directory.is_symlink() or (directory.exists() and (not directory.is_dir() or any(directory.iterdir()))):
            raise UsageError(f"{directory} is in use", next_step="name an empty or a new directory")
        directory.mkdir(exist_ok=True)
        (directory / ADMISSION_FILE).write_bytes(self.envelope)
        for document in self.documents:
            (directory / hex_of(sha256_bytes(document))).write_bytes(document)

    @classmethod
    def read(cls, directory: Path) -> Papers:
        """The papers in `directory`; raises `InvalidInput` (`file/…`) and `UsageError` for too many files."""
        names = sorted(path.name for path in directory.iterdir() if path.name != ADMISSION_FILE)
        if len(names) > MAX_PAPERS:
            raise UsageError(
                f"{directory} holds other things than an admission",
                next_step="name a directory that `pratique admissions export` wrote",
            )
        documents = tuple(read_bounded(directory / name, _MAX_DOCUMENT_BYTES) for name in names)
        return cls(read_bounded(directory / ADMISSION_FILE, _MAX_DOCUMENT_BYTES), documents)


def papers_of(node: Node, tool: ToolName) -> Papers:
    """The papers of the admission by this node that stands of `tool`.

    Raises `UsageError` where none or several stand, `NotAdmitted` where a document is not in the store as it was.
    """
    found = [one for one in candidates(node) if tool.means(one)] if has_ledger(node.settings) else []
    own = [one for one in found if accepted_admission(node, node.ledger.entry(one.entry)) is None]
    if len(own) != 1:
        raise UsageError(
            f"{'several admissions' if own else 'no admission'} of {tool} by this node {'stand' if own else 'stands'}",
            next_step="name one: NAME@VERSION; `pratique admissions list` shows them",
        )
    return papers_at(node, own[0].entry)


def papers_at(node: Node, entry: int) -> Papers:
    """The papers of the node's own admission in this entry of the ledger; raises `NotAdmitted`."""
    from flows.federation import own_demand

    envelope = node.ledger.entry(entry)
    admitted = check_admission(envelope, own_demand(node), node.clock())
    manifest = kept(node, admitted.manifest, "manifest")
    return Papers(envelope, (manifest, *pinned_documents(node, admitted.tool)))


def attached_papers(node: Node, reference: str) -> tuple[Papers, ...]:
    """The admissions attached to the image in its registry, found and not yet judged; raises as `attached_to`."""
    image = parse_reference(reference).digest
    found = []
    for papers in papers_attached_to(RegistryImage(reference), image, PAYLOAD_TYPE):
        envelopes = [paper.data for paper in papers if paper.media_type == ENVELOPE_MEDIA_TYPE]
        if len(envelopes) == 1:
            documents = (paper.data for paper in papers if paper.media_type != ENVELOPE_MEDIA_TYPE)
            found.append(Papers(envelopes[0], tuple(documents)))
    return tuple(found)


def accept(node: Node, papers: Papers, *, reference: str = "") -> Admitted:
    """Let a hub's admission count here from now on; the policy is asked again before each run.

    Raises `NotAdmitted` (`admission/…`, `run/…` for documents that are not those that it names) and other `Refused`.
    """
    return node.settled(lambda size: _accept(node, papers, reference, size))


def _accept(node: Node, papers: Papers, reference: str, size: int) -> Admitted:
    hub = _signer(node, papers.envelope)
    admitted = check_accepted(node, Accepted(papers.envelope, hub.verifier))
    tool = admitted.tool
    require_same_image(node, tool)
    _require_not_withdrawn(node, hub, admitted, papers.envelope)
    for document in papers.documents:
        node.store.put(document, name="document", media_type=DOCUMENT_TYPE)
    kept(node, admitted.manifest, "manifest")
    pinned_config(node, tool)
    stored = node.store.put(papers.envelope, name=ADMISSION_FILE, media_type=ENVELOPE_MEDIA_TYPE)
    statement = acceptance(
        tool,
        admission=descriptor(name="admission", digest=stored.digest, annotations={"predicateType": VSA}),
        verifier_id=admitted.verifier_id,
        resource_uri=admitted.place,
        accepted=node.clock(),
        expires=admitted.expires,
        node_id=node.uri,
    )
    node.append(sign_statement(statement, node.key), after=size)
    if reference:
        remember_image(node.settings, tool.image_digest, RegistryImage(reference))
    return admitted


def accept_attached(node: Node, reference: str) -> Admitted:
    """Accept the newest admission attached to the image in a registry that counts here.

    Raises `NotAdmitted` (the reason of the last one that does not count; `admission/none-attached`).
    """
    refused = NotAdmitted(
        "no admission is attached to the image",
        rule="admission/none-attached",
        cause=reference[:200],
        next_step="ask the hub to push it (`pratique admit … --push`), or for its files (`pratique admissions export`)",
    )
    counting: list[tuple[Admitted, Papers]] = []
    for papers in attached_papers(node, reference):
        try:
            hub = _signer(node, papers.envelope)
            counting.append((check_accepted(node, Accepted(papers.envelope, hub.verifier)), papers))
        except NotAdmitted as error:
            refused = error
    if not counting:
        raise refused
    _, newest = max(counting, key=lambda one: one[0].verified)
    return accept(node, newest, reference=reference)


def _signer(node: Node, envelope: bytes) -> FederationHub:
    """The hub of the policy that signed, and says that it made, this admission; raises `NotAdmitted`."""
    keys = [parse_verifier(hub.key) for hub in node.policy.policy.federation.hubs]
    try:
        predicate = verify_envelope(envelope, keys, predicate_type=VSA)["predicate"]
    except InvalidInput as error:
        raise NotAdmitted(
            "the admission is not signed by a hub whose admissions count here",
            rule="admission/no-hub",
            cause=str(error),
            next_step="name the hub and its key under federation.hubs in the policy, or onboard the tool here",
        ) from error
    verifier = predicate.get("verifier")
    return hub_named(node, str(verifier.get("id")) if isinstance(verifier, dict) else "")


def _require_not_withdrawn(node: Node, hub: FederationHub, admitted: Admitted, envelope: bytes) -> None:
    image, origin = admitted.tool.image_digest, list_origin(parse_verifier(hub.key).name)
    for listed in known_lists(node):
        found = listed.takes_back(image, admitted.verified) if listed.origin == origin else None
        if found is not None:
            raise _withdrawn(f"the hub withdrew it (entry {found.entry} of its ledger)")
    require_not_withdrawn_elsewhere(node, image, but=origin)
    for entry, one, moment in own_withdrawals(node.ledger):
        if one.images & {image, admitted.tool.config_digest}:
            before = accepted_admission(node, node.ledger.entry(one.entry))
            if moment >= admitted.verified or (before is not None and before.envelope == envelope):
                raise _withdrawn(f"this node withdrew it (entry {entry})")


def _withdrawn(cause: str) -> NotAdmitted:
    return NotAdmitted(
        "the image was withdrawn after this admission",
        rule="admission/withdrawn",
        cause=cause,
        next_step="ask the hub to look at it again; only an admission made after the withdrawal counts",
    )
