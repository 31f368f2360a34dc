"""The one tar through which an image enters an engine, understood by `docker load` of old and new engines.

New engines (containerd image store) read it as an OCI layout, old ones (20.10) by its `manifest.json`. It carries the
one image that was opened and nothing else of what its source held, and it is the same, byte for byte, every time.
"""

from __future__ import annotations

import io
import tarfile
from typing import BinaryIO

from pratique.digests import canonical_json
from pratique.intake.image.documents import OCI_INDEX
from pratique.intake.image.model import Image


def write_engine_archive(image: Image, stream: BinaryIO) -> None:
    """Write `image` to `stream`; every layer's digest is verified once more on the way.

    What makes the archive loadable comes last, so an archive cut short by a refusal cannot be loaded.
    Raises `InvalidInput` (`image/truncated`, `image/blob-size`, `image/blob-digest`).
    """
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT) as archive:
        for folder in ("blobs", "blobs/sha256"):
            archive.addfile(_member(folder, 0, directory=True))
        for digest in sorted({layer.digest for layer in image.layers}):
            layer = next(item for item in image.layers if item.digest == digest)
            with image.open_layer(layer) as blob:
                archive.addfile(_member(_blob(digest), layer.size), blob)
        documents = {
            _blob(image.config_digest): image.config_bytes,
            _blob(image.manifest_digest): image.manifest_bytes,
            "oci-layout": canonical_json({"imageLayoutVersion": "1.0.0"}),
            "index.json": _index(image),
            "manifest.json": _docker_list(image),
        }
        for name, data in documents.items():
            archive.addfile(_member(name, len(data)), io.BytesIO(data))


def _index(image: Image) -> bytes:
    descriptor = {
        "mediaType": image.manifest_media_type,
        "digest": image.manifest_digest,
        "size": len(image.manifest_bytes),
        "platform": {"os": image.platform.os, "architecture": image.platform.architecture},
    }
    return canonical_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor]})


def _docker_list(image: Image) -> bytes:
    layers = [_blob(layer.digest) for layer in image.layers]
    return canonical_json([{"Config": _blob(image.config_digest), "RepoTags": None, "Layers": layers}])


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _member(name: str, size: int, *, directory: bool = False) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o755 if directory else 0o644
    member.type = tarfile.DIRTYPE if directory else tarfile.REGTYPE
    return member
