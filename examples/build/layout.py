"""OCI image layouts (image-spec 1.1) written blob by blob; layers that images share are hard links."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CREATED = "1970-01-01T00:00:01Z"


@dataclass(frozen=True)
class ImageSettings:
    """What the image's configuration says beside its layers."""

    entrypoint: tuple[str, ...]
    user: str = "65534:65534"
    environment: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)


def _dump(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": "sha256:" + hashlib.sha256(data).hexdigest(), "size": len(data)}


def _blob(layout: Path, data: bytes) -> None:
    (layout / "blobs" / "sha256" / hashlib.sha256(data).hexdigest()).write_bytes(data)


def write_layout(layout: Path, layers: list[Path], settings: ImageSettings) -> str:
    """Write the layout of an image of `layers` (uncompressed tars); returns the digest of its manifest."""
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    descriptors = []
    for layer in layers:
        with layer.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if not (blobs / digest).exists():
            os.link(layer, blobs / digest)
        descriptors.append({"mediaType": LAYER, "digest": f"sha256:{digest}", "size": layer.stat().st_size})
    config = _dump(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": CREATED,
            "config": {
                "Entrypoint": list(settings.entrypoint),
                "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", *settings.environment],
                "User": settings.user,
                "WorkingDir": "/",
                "Labels": settings.labels,
            },
            "rootfs": {"type": "layers", "diff_ids": [descriptor["digest"] for descriptor in descriptors]},
            "history": [{"created": CREATED, "created_by": "examples.build"} for _ in descriptors],
        }
    )
    manifest = _dump(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(CONFIG, config),
            "layers": descriptors,
        }
    )
    _blob(layout, config)
    _blob(layout, manifest)
    (layout / "oci-layout").write_bytes(_dump({"imageLayoutVersion": "1.0.0"}))
    (layout / "index.json").write_bytes(_dump({"schemaVersion": 2, "manifests": [_descriptor(MANIFEST, manifest)]}))
    return str(_descriptor(MANIFEST, manifest)["digest"])
