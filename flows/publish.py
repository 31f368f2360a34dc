"""Attaching an admission to the image in its registry, where those who pull it can find it."""

from __future__ import annotations

from flows.decide import Admission
from flows.images import remembered_image
from flows.node import Node
from pratique.digests import Digest
from pratique.errors import UsageError
from pratique.intake.image import RegistryImage
from pratique.intake.image.attach import attach
from records.dsse import ENVELOPE_MEDIA_TYPE, PAYLOAD_TYPE


def publish(node: Node, admission: Admission) -> Digest:
    """Push the signed admission as a referrer of the image; the digest of what was pushed.

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
    envelope = node.ledger.entry(admission.entry)
    return attach(source, {ENVELOPE_MEDIA_TYPE: envelope}, artifact_type=PAYLOAD_TYPE)
