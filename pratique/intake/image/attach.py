"""Attaching signed statements to an image in a registry, as an OCI referrer or under the fallback tag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pratique.bounds import MIB, strict_json
from pratique.digests import Digest, canonical_json, hex_of, sha256_bytes
from pratique.errors import CouldNotDecide
from pratique.intake.image.attached import Paper
from pratique.intake.image.documents import INDEXES, MANIFESTS, OCI_INDEX, OCI_MANIFEST
from pratique.intake.image.model import RegistryImage
from pratique.intake.image.reference import parse_reference
from pratique.intake.image.registry_http import RegistryHttp

EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_EMPTY = b"{}"
_MAX_BYTES = 4 * MIB
_ATTEMPTS = 4


def attach(source: RegistryImage, papers: Sequence[Paper], *, artifact_type: str) -> Digest:
    """Push `papers` as one referrer of the image that `source` names; its manifest's digest.

    Attaching the same twice changes nothing. Raises `CouldNotDecide` where the registry does not have the image, does
    not let us push, or fails; `InvalidInput` (`image/registry-redirect`) where it sends uploads elsewhere.
    """
    reference = parse_reference(source.reference)
    http = RegistryHttp(reference, source.credentials, actions="pull,push")
    image = http.read(f"manifests/{reference.digest}", accept=", ".join(sorted(INDEXES | MANIFESTS)), limit=_MAX_BYTES)
    if image is None or sha256_bytes(image) != reference.digest:
        raise CouldNotDecide(
            f"the registry {reference.host} has no image {reference.digest}",
            next_step="Push the image there first, and name it by its digest.",
        )
    for blob in (*(paper.data for paper in papers), _EMPTY):
        _push_blob(http, blob)
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": _descriptor(_EMPTY, EMPTY_TYPE),
            "layers": [_descriptor(paper.data, paper.media_type) for paper in papers],
            "subject": _descriptor(image, _media_type(image, reference.digest)),
        }
    )
    digest = sha256_bytes(manifest)
    answer = http.write("PUT", f"manifests/{digest}", content=manifest, media_type=OCI_MANIFEST)
    if "oci-subject" not in {name.lower() for name in answer.headers}:
        _list_under_fallback_tag(http, reference.digest, _descriptor(manifest, OCI_MANIFEST), artifact_type)
    return digest


def _media_type(image: bytes, digest: Digest) -> str:
    described = strict_json(image, where=digest, max_bytes=_MAX_BYTES)
    return str(described.get("mediaType", OCI_MANIFEST)) if isinstance(described, dict) else OCI_MANIFEST


def _push_blob(http: RegistryHttp, data: bytes) -> None:
    begun = http.write("POST", "blobs/uploads/", content=b"")
    location = begun.headers.get("location", "")
    joint = "&" if "?" in location else "?"
    http.write("PUT", f"{location}{joint}digest={sha256_bytes(data)}", content=data)


def _list_under_fallback_tag(http: RegistryHttp, image: Digest, entry: dict[str, Any], artifact_type: str) -> None:
    """What a registry without referrers leaves to its clients; of two at once one is lost, so we look again."""
    tag = f"manifests/sha256-{hex_of(image)}"
    for _ in range(_ATTEMPTS):
        listed = _listed(http.read(tag, accept=OCI_INDEX, limit=_MAX_BYTES))
        if any(item.get("digest") == entry["digest"] for item in listed):
            return
        entries = [*listed, {**entry, "artifactType": artifact_type}]
        index = canonical_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
        http.write("PUT", tag, content=index, media_type=OCI_INDEX)
    raise CouldNotDecide(
        "what was pushed does not appear among what is attached to the image",
        cause=tag,
        next_step="Push it again; should others push at the same time, one after the other.",
    )


def _listed(index: bytes | None) -> list[dict[str, Any]]:
    """The entries of a fallback tag; whatever else somebody put there is not kept."""
    document = strict_json(index, where="fallback tag", max_bytes=_MAX_BYTES) if index is not None else {}
    manifests = document.get("manifests") if isinstance(document, dict) else None
    return [item for item in manifests if isinstance(item, dict)] if isinstance(manifests, list) else []


def _descriptor(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": sha256_bytes(data), "size": len(data)}
