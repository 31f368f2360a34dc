"""From the digest that was admitted down to the layers that the engine must hold: each step looked at before each run.

index (where the image was named by one) → manifest → config → layers. The documents lie in the store under their
digests since the inspection, so that none of this needs a registry, and a tag decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.node import Node
from pratique.digests import Digest
from pratique.errors import CouldNotDecide, InvalidInput
from records.standing import NotAdmitted

if TYPE_CHECKING:
    from pratique.intake.image import ImageConfig, ImageLimits
    from records.statements import ToolIdentity

_MAX_INDEXES = 4


def pinned_config(node: Node, tool: ToolIdentity) -> ImageConfig:
    """The config of the admitted image, which its manifest names, which its index names.

    Raises `NotAdmitted`: `run/index`, `run/image-manifest`, `run/config` where one is not in the store as it was,
    `run/pinning` where one does not lead to the next.
    """
    from pratique.intake.image.documents import Manifest, parse_config, parse_index_or_manifest

    limits = node.policy.policy.image.limits()
    if tool.index_digest is not None and not _leads_to(node, tool.index_digest, tool.image_digest, limits):
        raise _broken("the multi-platform index that was admitted does not name the image", tool.index_digest)
    data = kept(node, tool.image_digest, "image-manifest")
    try:
        manifest = parse_index_or_manifest(data, "", limits, where="image manifest")
    except InvalidInput as error:
        raise _broken("the manifest that was admitted is none", str(error)) from error
    if tool.config_digest is None or not isinstance(manifest, Manifest):
        raise _broken("the admission does not name an image with its config", tool.image_digest)
    if manifest.config.digest != tool.config_digest:
        raise _broken(
            "the manifest that was admitted names another config than the admission",
            f"{manifest.config.digest}, admitted {tool.config_digest}",
        )
    return parse_config(kept(node, tool.config_digest, "config"), limits, where="image config")


def kept(node: Node, digest: Digest, what: str) -> bytes:
    """The bytes with this digest from the store; raises `NotAdmitted` (`run/WHAT`) where they are not there whole."""
    try:
        return node.store.get(digest)
    except CouldNotDecide as error:
        raise NotAdmitted(
            f"the {what.replace('-', ' ')} that was admitted is not in the store as it was, and nothing is run in its "
            "place",
            rule=f"run/{what}",
            cause=error.cause,
            next_step="restore the store from its backup, or onboard the tool again",
        ) from error


def pinned_documents(node: Node, tool: ToolIdentity) -> tuple[bytes, ...]:
    """Config, manifest and indexes of the admitted image, as `pinned_config` wants them; raises as that."""
    if tool.config_digest is None:
        raise _broken("the admission does not name an image with its config", tool.image_digest)
    limits = node.policy.policy.image.limits()
    passed: list[bytes] = []
    if tool.index_digest is not None:
        _leads_to(node, tool.index_digest, tool.image_digest, limits, passed)
    return (kept(node, tool.config_digest, "config"), kept(node, tool.image_digest, "image-manifest"), *passed)


def _leads_to(node: Node, index: Digest, image: Digest, limits: ImageLimits, passed: list[bytes] | None = None) -> bool:
    """Whether an index names the image, or an index that does; those passed through are added to `passed`."""
    from pratique.intake.image.documents import INDEXES, Index, parse_index_or_manifest

    passed = [] if passed is None else passed
    passed.append(kept(node, index, "index"))
    try:
        document = parse_index_or_manifest(passed[-1], "", limits, where="image index")
    except InvalidInput as error:
        raise _broken("the multi-platform index that was admitted is none", str(error)) from error
    if not isinstance(document, Index):
        return False
    if any(one.digest == image for one in document.manifests):
        return True
    nested = [one.digest for one in document.manifests if one.media_type in INDEXES and _holds(node, one.digest)]
    return len(passed) <= _MAX_INDEXES and any(_leads_to(node, one, image, limits, passed) for one in nested)


def _holds(node: Node, digest: Digest) -> bool:
    """Of nested indexes only the one that was passed through is in the store."""
    try:
        node.store.get(digest)
    except CouldNotDecide:
        return False
    return True


def _broken(message: str, cause: str) -> NotAdmitted:
    return NotAdmitted(
        message,
        rule="run/pinning",
        cause=cause,
        next_step="keep the ledger and the store as they are, find out who changed what, and onboard the tool again",
    )
