"""Attaching a signed statement to an image in a registry, as an OCI referrer or under the fallback tag."""

from __future__ import annotations

from typing import Any

from pratique.bounds import MIB, strict_json
from pratique.digests import Digest, canonical_json, hex_of, sha256_bytes
from pratique.errors import CouldNotDecide
from pratique.intake.image.accounts import account_for
from pratique.intake.image.documents import INDEXES, MANIFESTS, OCI_INDEX, OCI_MANIFEST
from pratique.intake.image.model import RegistryImage
from pratique.intake.image.reference import parse_reference
from pratique.intake.image.registry_http import RegistryHttp

EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_EMPTY = b"{}"
_MAX_BYTES = 4 * MIB


def attach(source: RegistryImage, payload: bytes, *, media_type: str, artifact_type: str) -> Digest:
    """Push `payload` as a referrer of the image that `source` names; the digest of its manifest.

    Attaching the same twice changes nothing. Raises `CouldNotDecide` where the registry does not have the image, does
    not let us push, or fails; `InvalidInput` (`image/registry-redirect`) where it sends uploads elsewhere.
    """
    reference = parse_reference(source.reference)
    account = source.credentials or account_for(reference.host)
    http = RegistryHttp(reference, account, actions="pull,push")
    image = http.read(f"manifests/{reference.digest}", accept=", ".join(sorted(INDEXES | MANIFESTS)), limit=_MAX_BYTES)
    if image is None or sha256_bytes(image) != reference.digest:
        raise CouldNotDecide(
            f"the registry {reference.host} has no image {reference.digest}",
            next_step="Push the image there first, and name it by its digest.",
        )
    for blob in (payload, _EMPTY):
        _push_blob(http, blob)
    described = strict_json(image, where=reference.digest, max_bytes=_MAX_BYTES)
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": _descriptor(_EMPTY, EMPTY_TYPE),
            "layers": [_descriptor(payload, media_type)],
            "subject": _descriptor(image, str(described.get("mediaType", OCI_MANIFEST))),
        }
    )
    digest = sha256_bytes(manifest)
    answer = http.write("PUT", f"manifests/{digest}", content=manifest, media_type=OCI_MANIFEST)
    if "oci-subject" not in {name.lower() for name in answer.headers}:
        _list_under_fallback_tag(http, reference.digest, _descriptor(manifest, OCI_MANIFEST), artifact_type)
    return digest


def _push_blob(http: RegistryHttp, data: bytes) -> None:
    begun = http.write("POST", "blobs/uploads/", content=b"")
    location = begun.headers.get("location", "")
    joint = "&" if "?" in location else "?"
    http.write("PUT", f"{location}{joint}digest={sha256_bytes(data)}", content=data)


def _list_under_fallback_tag(http: RegistryHttp, image: Digest, entry: dict[str, Any], artifact_type: str) -> None:
    """What a registry without referrers leaves to its clients; of two at once one can be lost."""
    tag = f"manifests/sha256-{hex_of(image)}"
    present = http.read(tag, accept=OCI_INDEX, limit=_MAX_BYTES)
    listed = strict_json(present, where="fallback tag", max_bytes=_MAX_BYTES).get("manifests", []) if present else []
    if any(item.get("digest") == entry["digest"] for item in listed):
        return
    entries = [*listed, {**entry, "artifactType": artifact_type}]
    index = canonical_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
    http.write("PUT", tag, content=index, media_type=OCI_INDEX)


def _descriptor(data: bytes, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": sha256_bytes(data), "size": len(data)}
