"""The one tar through which an image enters an engine, understood by `docker load` of old and new engines.

New engines (containerd image store) read it as an OCI layout, old ones (20.10) by its `manifest.json`. It carries the
one image that was opened and nothing else of what its source held, and it is the same, byte for byte, every time.

Engines before 23 do not know zstd: a layer packed so is in there twice, as it is for the new ones, and as the plain tar
that its `diff_id` names, to which `manifest.json` leads.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from pratique.digests import canonical_json
from pratique.errors import InvalidInput
from pratique.intake.image.documents import LAYER_PACKING, OCI_INDEX
from pratique.intake.image.model import Image, ImageLimits, Layer
from pratique.intake.image.packing import Packing
from pratique.intake.image.streams import Budget, UnpackedLayer

_CHUNK = 1 << 20


def write_engine_archive(image: Image, stream: BinaryIO) -> None:
    """Write `image` to `stream`; every layer's digest is verified once more on the way.

    What makes the archive loadable comes last, so an archive cut short by a refusal cannot be loaded.
    Raises `InvalidInput` (`image/truncated`, `image/blob-size`, `image/blob-digest`, `image/diff-id` …).
    """
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT) as archive:
        for folder in ("blobs", "blobs/sha256"):
            archive.addfile(_member(folder, 0, directory=True))
        for digest in sorted({layer.digest for layer in image.layers}):
            layer = next(item for item in image.layers if item.digest == digest)
            with image.open_layer(layer) as blob:
                archive.addfile(_member(_blob(digest), layer.size), blob)
        for diff_id in sorted({layer.diff_id for layer in image.layers if _is_zstd(layer)}):
            _add_unpacked(archive, image, next(item for item in image.layers if item.diff_id == diff_id))
        documents = {
            _blob(image.config_digest): image.config_bytes,
            _blob(image.manifest_digest): image.manifest_bytes,
            "oci-layout": canonical_json({"imageLayoutVersion": "1.0.0"}),
            "index.json": _index(image),
            "manifest.json": _docker_list(image),
        }
        for name, data in documents.items():
            archive.addfile(_member(name, len(data)), io.BytesIO(data))


def _is_zstd(layer: Layer) -> bool:
    return LAYER_PACKING[layer.media_type] is Packing.ZSTD


def _add_unpacked(archive: tarfile.TarFile, image: Image, layer: Layer) -> None:
    """The layer as a plain tar, read twice: a member's size comes before its data."""
    with _unpacked(image, layer) as first:
        size = 0
        while data := first.some(_CHUNK):
            size += len(data)
        if first.finish() != layer.diff_id:
            raise InvalidInput(
                "a layer is not the one that the config names",
                rule="image/diff-id",
                where=layer.digest,
                next_step="Build and export the image again with docker, buildah or skopeo.",
            )
    with _unpacked(image, layer) as second:
        archive.addfile(_member(_blob(layer.diff_id), size), cast(BinaryIO, second))


@contextmanager
def _unpacked(image: Image, layer: Layer) -> Iterator[UnpackedLayer]:
    limits = ImageLimits()
    budget = Budget(limits.bytes_, limits.entries, plausible=limits.plausible(sum(one.size for one in image.layers)))
    with image.open_layer(layer) as blob:
        yield UnpackedLayer(blob, packing=Packing.ZSTD, budget=budget, where=layer.digest)


def _index(image: Image) -> bytes:
    descriptor = {
        "mediaType": image.manifest_media_type,
        "digest": image.manifest_digest,
        "size": len(image.manifest_bytes),
        "platform": {"os": image.platform.os, "architecture": image.platform.architecture},
    }
    return canonical_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor]})


def _docker_list(image: Image) -> bytes:
    layers = [_blob(layer.diff_id if _is_zstd(layer) else layer.digest) for layer in image.layers]
    return canonical_json([{"Config": _blob(image.config_digest), "RepoTags": None, "Layers": layers}])


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _member(name: str, size: int, *, directory: bool = False) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o755 if directory else 0o644
    member.type = tarfile.DIRTYPE if directory else tarfile.REGTYPE
    return member
