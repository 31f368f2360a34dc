"""An image in a tar file: an OCI layout in a tar (what `docker save` writes since Docker 25), or the older form.

The older form has no manifest. One is synthesised from its config and layers, always the same for the same archive;
it can also be found by its config digest, the one identity that Docker shows for it ("image ID").
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from pratique.digests import Digest, canonical_json, hex_of, sha256_bytes
from pratique.errors import CouldNotDecide, InvalidInput
from pratique.intake.image.documents import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    DockerArchiveItem,
    parse_config,
    parse_docker_archive_list,
    parse_layout_index,
)
from pratique.intake.image.guards import clean_path
from pratique.intake.image.model import KIB, ImageLimits, Kind
from pratique.intake.image.oci_layout import check_layout_version
from pratique.intake.image.packing import Packing, packing_of_bytes
from pratique.intake.image.shelf import LocalShelf, missing_blob, open_regular
from pratique.intake.image.streams import Budget, ByteSource, UnpackedLayer
from pratique.intake.image.tar import TarReader

_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class _Member:
    """Where the bytes of a regular member lie in the archive."""

    offset: int
    size: int


class _FileSource(ByteSource):
    """A seekable file as the source of a `TarReader`; knows its position."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._size = os.fstat(stream.fileno()).st_size
        self.at = 0

    def some(self, limit: int) -> bytes:
        data = self._stream.read(min(limit, _CHUNK))
        self.at += len(data)
        return data

    def skip(self, count: int) -> int:
        passed = min(count, self._size - self.at)
        self.at = self._stream.seek(self.at + passed)
        return passed


class _Slice(io.RawIOBase):
    """The bytes of one member, as a stream of its own."""

    def __init__(self, stream: BinaryIO, member: _Member) -> None:
        super().__init__()
        stream.seek(member.offset)
        self._stream = stream
        self._left = member.size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


class ArchiveShelf(LocalShelf):
    """Blobs in the tar file at `path`; a compressed archive is unpacked to `workdir` first, within the limits.

    `synthesised` is the digest of the manifest made for an archive of the older form, else None.
    Raises `InvalidInput`: `image/archive`, `image/archive-members`, `image/duplicate-member`,
    `image/more-than-one-image`, `image/layout`, `image/document`, `tar/…`, `json/…`, `image/path-…`.
    """

    def __init__(self, path: Path, limits: ImageLimits, workdir: Path) -> None:
        self._path = _plain_tar(path, limits, workdir)
        self._limits = limits
        self._members: dict[str, _Member] = {}
        self._links: dict[str, str] = {}
        self._documents: dict[Digest, bytes] = {}
        self._where = str(path)
        self._scan()
        self._blobs = {
            Digest(f"sha256:{found[1]}"): member
            for name, member in self._members.items()
            if (found := _BLOB.fullmatch(name))
        }
        self._offered: tuple[str, ...] = ()
        self.synthesised: Digest | None = None
        self.config_digest: Digest | None = None
        if "index.json" in self._members:
            self._read_layout()
        elif "manifest.json" in self._members:
            self._synthesise()
        else:
            raise self._refusal("archive", "neither a saved image nor an OCI layout: no index.json, no manifest.json")

    def open(self, digest: Digest) -> BinaryIO:
        """See `Shelf`."""
        if digest in self._documents:
            return io.BytesIO(self._documents[digest])
        if digest not in self._blobs:
            raise missing_blob(digest)
        return cast(BinaryIO, _Slice(open_regular(self._path), self._blobs[digest]))

    def size_of(self, digest: Digest) -> int:
        """See `LocalShelf`."""
        if digest in self._documents:
            return len(self._documents[digest])
        if digest not in self._blobs:
            raise missing_blob(digest)
        return self._blobs[digest].size

    def offered(self) -> tuple[str, ...]:
        """See `Shelf`."""
        return self._offered

    def _scan(self) -> None:
        """Note where every member lies."""
        with open_regular(self._path) as stream:
            source = _FileSource(stream)
            for count, entry in enumerate(TarReader(source, where=self._where), start=1):
                if count > self._limits.archive_members:
                    raise self._refusal(
                        "archive-members", f"more than the {self._limits.archive_members:,} members allowed"
                    )
                name = clean_path(entry.name, self._limits, where=self._where)
                if name in self._members or name in self._links:
                    raise self._refusal("duplicate-member", f"the member {name!r} appears twice")
                if entry.kind is Kind.SYMLINK:
                    self._links[name] = entry.linkname.decode("utf-8", "backslashreplace")
                elif entry.kind is Kind.FILE and not entry.hard_link:
                    self._members[name] = _Member(source.at, entry.size)
                elif entry.kind is not Kind.DIRECTORY:
                    raise self._refusal("archive", f"the member {name!r} is neither a file nor a directory")

    def _read_layout(self) -> None:
        check_layout_version(self._member("oci-layout", 64 * KIB), where=f"{self._where}: oci-layout")
        data = self._member("index.json", self._limits.manifest_bytes)
        index = parse_layout_index(data, self._limits, where=f"{self._where}: index.json")
        self._offered = tuple(item.digest for item in index.manifests)

    def _synthesise(self) -> None:
        """Write the manifest that the archive does not have."""
        where = f"{self._where}: manifest.json"
        item = parse_docker_archive_list(
            self._member("manifest.json", self._limits.manifest_bytes), self._limits, where=where
        )
        config = self._member(item.config, self._limits.config_bytes)
        self.config_digest = sha256_bytes(config)
        self._documents[self.config_digest] = config
        descriptors = self._layer_descriptors(item, parse_config(config, self._limits, where=item.config).diff_ids)
        manifest = canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": {"mediaType": OCI_CONFIG, "digest": self.config_digest, "size": len(config)},
                "layers": descriptors,
            }
        )
        self.synthesised = sha256_bytes(manifest)
        self._documents[self.synthesised] = manifest
        self._offered = (self.synthesised, f"{self.config_digest} (config)")

    def _layer_descriptors(self, item: DockerArchiveItem, diff_ids: tuple[Digest, ...]) -> list[dict[str, str | int]]:
        if len(item.layers) != len(diff_ids) or len(diff_ids) > self._limits.layers:
            raise self._refusal(
                "layer-count",
                f"{len(item.layers)} layers for {len(diff_ids)} diff_ids (at most {self._limits.layers} are allowed)",
            )
        descriptors: list[dict[str, str | int]] = []
        for name, diff_id in zip(item.layers, diff_ids, strict=True):
            member = self._find(name)
            packing = packing_of_bytes(self._head(member))
            digest = diff_id if packing is Packing.NONE else self._hash(member)
            self._blobs[digest] = member
            media_type = OCI_LAYER if packing is Packing.NONE else f"{OCI_LAYER}+{packing.value}"
            descriptors.append({"mediaType": media_type, "digest": digest, "size": member.size})
        return descriptors

    def _find(self, name: str) -> _Member:
        """The member called `name`; old Docker wrote a repeated layer as a symlink to the first, within the archive."""
        if name in self._links:
            name = os.path.normpath(f"{name}/../{self._links[name]}")
        if name not in self._members:
            raise missing_blob(f"{self._where}: {name}")
        return self._members[name]

    def _member(self, name: str, limit: int) -> bytes:
        member = self._find(name)
        if member.size > limit:
            raise self._refusal("document-too-large", f"{name} has more than the {limit:,} bytes allowed")
        with open_regular(self._path) as stream:
            return _Slice(stream, member).read()

    def _head(self, member: _Member) -> bytes:
        with open_regular(self._path) as stream:
            return _Slice(stream, member).read(4)

    def _hash(self, member: _Member) -> Digest:
        digest = hashlib.sha256()
        with open_regular(self._path) as stream:
            piece = _Slice(stream, member)
            while data := piece.read(_CHUNK):
                digest.update(data)
        return Digest("sha256:" + digest.hexdigest())

    def _refusal(self, rule: str, message: str) -> InvalidInput:
        return InvalidInput(
            message,
            rule=f"image/{rule}",
            where=self._where,
            next_step="Save the image again, alone: `docker save NAME@sha256:… -o image.tar`.",
        )


def _plain_tar(path: Path, limits: ImageLimits, workdir: Path) -> Path:
    """`path`, or what it unpacks to when it is compressed."""
    with open_regular(path) as stream:
        packing = packing_of_bytes(stream.read(4))
        if packing is Packing.NONE:
            return path
        stream.seek(0)
        plausible = limits.plausible(os.fstat(stream.fileno()).st_size)
        budget = Budget(limits.bytes_, limits.entries, plausible=plausible)
        unpacked = UnpackedLayer(stream, packing=packing, budget=budget, where=str(path))
        target = workdir / f"archive-{hex_of(sha256_bytes(os.fsencode(path)))[:16]}.tar"
        try:
            with target.open("wb") as out:
                while data := unpacked.some(_CHUNK):
                    out.write(data)
        except OSError as error:
            raise CouldNotDecide(
                f"{path} cannot be unpacked to {workdir}",
                cause=error.strerror or str(error),
                next_step="Free disk space, or choose another work directory.",
            ) from error
    return target
