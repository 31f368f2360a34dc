"""Inventories made by hand, so that checks of contents can be tested without an image."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, cast

from pratique.digests import Digest, sha256_bytes
from pratique.intake.image.model import (
    BlobStore,
    DigestOrigin,
    FileClass,
    FileEntry,
    Image,
    ImageConfig,
    Inventory,
    Kind,
    Platform,
)

_BY_NAME = {
    "METADATA": FileClass.PYTHON_METADATA,
    "PKG-INFO": FileClass.PYTHON_METADATA,
    "RECORD": FileClass.PYTHON_METADATA,
    "top_level.txt": FileClass.PYTHON_METADATA,
    "package.json": FileClass.NODE_METADATA,
    "os-release": FileClass.SYSTEM,
}
_MODELS = (".pkl", ".joblib", ".npy", ".npz", ".pt", ".h5", ".onnx")


def class_of(path: str) -> FileClass | None:
    """Why a file would be kept."""
    name = path.rpartition("/")[2]
    if name in _BY_NAME:
        return _BY_NAME[name]
    if "var/lib/dpkg/" in path or name == "copyright" or path.endswith("lib/apk/db/installed") or "/rpm/" in path:
        return FileClass.PACKAGE_DATABASE
    return FileClass.MODEL if path.endswith(_MODELS) else None


def inventory_of(files: Mapping[str, bytes], *, not_kept: Mapping[str, str] | None = None) -> Inventory:
    """The inventory of an image with just these files."""
    classes = {path: kind for path in files if (kind := class_of(path)) is not None}
    lost = dict(not_kept or {})
    return Inventory(
        files={
            path: FileEntry(
                path=path,
                kind=Kind.FILE,
                size=len(data),
                mode=0o644,
                uid=0,
                gid=0,
                layer=0,
                sha256=Digest("sha256:" + hashlib.sha256(data).hexdigest()),
                head=data[:64],
            )
            for path, data in files.items()
        },
        hidden=(),
        classes=classes,
        contents={path: files[path] for path in classes if path not in lost},
        spooled={},
        not_kept=lost,
        bytes_=sum(len(data) for data in files.values()),
        entries=len(files),
    )


class _NoBlobs:
    def open(self, digest: Digest) -> BinaryIO:
        raise AssertionError("no test of contents reads a layer")


def image_of(name: str = "tool") -> Image:
    """An image of which only the identity matters."""
    config = ImageConfig(
        os="linux",
        architecture="amd64",
        entrypoint=(),
        cmd=(),
        env=(),
        user="",
        workdir="",
        volumes=(),
        exposed_ports=(),
        healthcheck=(),
        onbuild=(),
        stop_signal="",
        labels={},
        history=(),
        diff_ids=(),
        created="",
    )
    return Image(
        name=name,
        manifest_digest=sha256_bytes(name.encode()),
        index_digest=None,
        config_digest=sha256_bytes(b"config"),
        config=config,
        layers=(),
        digest_origin=DigestOrigin.MANIFEST,
        platform=Platform(),
        manifest_media_type="application/vnd.oci.image.manifest.v1+json",
        config_media_type="application/vnd.oci.image.config.v1+json",
        manifest_bytes=b"{}",
        config_bytes=b"{}",
        blobs=cast(BlobStore, _NoBlobs()),
        workdir=Path("/nonexistent"),
    )
