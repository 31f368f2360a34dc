"""An OCI image layout 1.x in a directory; no symlink in it is followed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

from pratique.bounds import read_bounded, strict_json, within
from pratique.digests import Digest, hex_of
from pratique.errors import InvalidInput
from pratique.intake.image.documents import parse_layout_index
from pratique.intake.image.model import KIB, ImageLimits
from pratique.intake.image.shelf import LocalShelf, missing_blob, open_regular


def check_layout_version(data: bytes, *, where: str) -> None:
    """Raises `InvalidInput` (`image/layout`) unless `data` is the `oci-layout` file of version 1."""
    value: Any = strict_json(data, where=where, max_bytes=64 * KIB)
    if not isinstance(value, dict) or value.get("imageLayoutVersion") != "1.0.0":
        raise InvalidInput(
            "not an OCI image layout of version 1.0.0",
            rule="image/layout",
            where=where,
            next_step="Write the layout with `skopeo copy`, `buildah push oci:` or `docker buildx build -o type=oci`.",
        )


class LayoutShelf(LocalShelf):
    """Blobs of the layout in `directory`.

    Raises `InvalidInput`: `image/layout`, `path/symlink`, `file/…`, `json/…`, `image/document`.
    """

    def __init__(self, directory: Path, limits: ImageLimits) -> None:
        self._directory = directory
        if not directory.is_dir():
            raise InvalidInput(
                "there is no such directory",
                rule="image/layout",
                where=str(directory),
                next_step="Name the directory that holds oci-layout, index.json and blobs/.",
            )
        version, index = (within(directory, name, where=str(directory)) for name in ("oci-layout", "index.json"))
        check_layout_version(read_bounded(version, 64 * KIB), where=str(version))
        self._index = parse_layout_index(read_bounded(index, limits.manifest_bytes), limits, where=str(index))

    def open(self, digest: Digest) -> BinaryIO:
        """See `Shelf`."""
        return open_regular(self._path(digest))

    def size_of(self, digest: Digest) -> int:
        """See `LocalShelf`."""
        with self.open(digest) as stream:
            return os.fstat(stream.fileno()).st_size

    def offered(self) -> tuple[str, ...]:
        """See `Shelf`."""
        return tuple(item.digest for item in self._index.manifests)

    def _path(self, digest: Digest) -> Path:
        try:
            return within(self._directory, f"blobs/sha256/{hex_of(digest)}", where=str(self._directory))
        except InvalidInput as error:
            if error.rule == "file/missing":
                raise missing_blob(digest) from error
            raise
