"""Attaching an admission to the image in its registry, where those who pull it can find it."""

from __future__ import annotations

from flows.acceptance import papers_at
from flows.decide import Admission
from flows.images import remembered_image
from flows.node import Node
from pratique.digests import Digest
from pratique.errors import UsageError
from pratique.intake.image import RegistryImage
from pratique.intake.image.attach import attach
from records.dsse import PAYLOAD_TYPE


def publish(node: Node, admission: Admission) -> Digest:
    """Push the signed admission, and the documents that it names, as a referrer of the image; its digest.

    Raises `UsageError` where the image was not submitted from a registry, or the tool is not admitted yet, and what
    `attach` raises.
    """
    if admission.entry is None:
        raise UsageError("the tool is not admitted yet", next_step="push it with the decision that admits it")
    source = remembered_image(node.settings, admission.tool.image_digest)
    if not isinstance(source, RegistryImage):
        raise UsageError(
            "the image was not submitted from a registry, so there is nowhere to push the admission to",
            next_step="push the image, and onboard a submission that names it by `reference`",
        )
    return attach(source, papers_at(node, admission.entry).attachments(), artifact_type=PAYLOAD_TYPE)
