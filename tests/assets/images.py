"""Images made in tests, with every knob that an attacker has."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

from pratique.digests import Digest, sha256_bytes

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
GZIP_LAYER = LAYER + "+gzip"
ZSTD_LAYER = LAYER + "+zstd"

Item = tarfile.TarInfo | tuple[str, bytes]


def entry(name: str, kind: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
    """A tar entry without data."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = fields.pop("mode", 0o755 if kind == tarfile.DIRTYPE else 0o644)
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def make_tar(items: Sequence[Item], format_: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of entries and (name, content) pairs."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format_) as archive:
        for item in items:
            if isinstance(item, tarfile.TarInfo):
                archive.addfile(item)
            else:
                info = entry(item[0])
                info.size = len(item[1])
                archive.addfile(info, io.BytesIO(item[1]))
    return out.getvalue()


def to_json(value: Any) -> bytes:
    """`value` as JSON."""
    return json.dumps(value).encode()


@dataclass
class MadeImage:
    """Blobs by digest and the JSON documents over them; change them before `write_…`."""

    layers: Sequence[bytes]
    media_type: str = GZIP_LAYER
    architecture: str = "amd64"
    run: dict[str, Any] = field(default_factory=dict)
    config_changes: dict[str, Any] = field(default_factory=dict)
    manifest_changes: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    blobs: dict[Digest, bytes] = field(default_factory=dict)

    def put(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Keep a blob; returns its descriptor."""
        digest = sha256_bytes(data)
        self.blobs[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def stored(self, layer: bytes) -> bytes:
        """The layer as its media type says."""
        if self.media_type.endswith("zstd"):
            return zstandard.ZstdCompressor().compress(layer)
        return gzip.compress(layer, 1, mtime=0) if self.media_type == GZIP_LAYER else layer

    def config(self) -> bytes:
        """The image config."""
        return to_json(
            {
                "os": "linux",
                "architecture": self.architecture,
                "config": self.run,
                "rootfs": {"type": "layers", "diff_ids": [sha256_bytes(layer) for layer in self.layers]},
                "history": self.history,
                **self.config_changes,
            }
        )

    def manifest(self) -> dict[str, Any]:
        """Make config, layers and manifest; returns the manifest's descriptor."""
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.put(self.config(), CONFIG),
            "layers": [self.put(self.stored(layer), self.media_type) for layer in self.layers],
            **self.manifest_changes,
        }
        return self.put(to_json(document), MANIFEST)

    def index(self, manifests: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """An index over `manifests`; returns its descriptor."""
        return self.put(to_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(manifests)}), INDEX)

    def write_layout(self, directory: Path, tops: Sequence[dict[str, Any]]) -> Path:
        """Write an OCI layout whose index.json lists `tops`."""
        folder = directory / "blobs" / "sha256"
        folder.mkdir(parents=True)
        for digest, data in self.blobs.items():
            (folder / digest.removeprefix("sha256:")).write_bytes(data)
        (directory / "oci-layout").write_bytes(to_json({"imageLayoutVersion": "1.0.0"}))
        (directory / "index.json").write_bytes(to_json({"schemaVersion": 2, "manifests": list(tops)}))
        return directory

    def docker_archive(self, *, links: bool = False, copies: int = 1) -> bytes:
        """The older form of `docker save`; `links` writes repeated layers as symlinks, as Docker did."""
        config = self.config()
        name = sha256_bytes(config).removeprefix("sha256:") + ".json"
        items: list[Item] = []
        names: list[str] = []
        seen: dict[bytes, str] = {}
        for number, layer in enumerate(self.layers):
            names.append(f"{number}/layer.tar")
            if links and layer in seen:
                items.append(entry(names[-1], tarfile.SYMTYPE, linkname=f"../{seen[layer]}"))
            else:
                seen[layer] = names[-1]
                items.append((names[-1], self.stored(layer)))
        listed = [{"Config": name, "RepoTags": ["tool:latest"], "Layers": names}] * copies
        return make_tar([*items, (name, config), ("manifest.json", to_json(listed))])


def made(*items: Item, **fields: Any) -> MadeImage:
    """An image of one layer with `items`."""
    return MadeImage([make_tar(items)], **fields)
