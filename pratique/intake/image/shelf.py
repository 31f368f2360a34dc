"""Where the blobs of an image are taken from: what layouts, archives and registries have in common."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from pathlib import Path
from typing import BinaryIO, Protocol

from pratique.digests import Digest, sha256_bytes
from pratique.errors import CouldNotDecide, InvalidInput


class Shelf(Protocol):
    """Blobs by digest. Documents (index, manifest, config) are verified here, layers by whoever reads them."""

    def open(self, digest: Digest) -> BinaryIO:
        """The raw bytes stored under `digest`; raises `InvalidInput` (`image/blob-missing`)."""

    def document(self, digest: Digest, limit: int) -> bytes:
        """The verified document `digest` of at most `limit` bytes.

        Raises `InvalidInput`: `image/blob-missing`, `image/document-too-large`, `image/blob-digest`.
        """

    def fetch(self, digest: Digest, size: int) -> None:
        """See to it that the blob can be opened and has `size` bytes.

        Raises `InvalidInput`: `image/blob-missing`, `image/truncated`, `image/blob-size`.
        """

    def offered(self) -> tuple[str, ...]:
        """The digests by which images can be found here, for messages."""


class LocalShelf(ABC):
    """A shelf whose blobs are on this machine."""

    @abstractmethod
    def open(self, digest: Digest) -> BinaryIO:
        """See `Shelf`."""

    @abstractmethod
    def size_of(self, digest: Digest) -> int:
        """Stored bytes of the blob; raises `InvalidInput` (`image/blob-missing`)."""

    @abstractmethod
    def offered(self) -> tuple[str, ...]:
        """See `Shelf`."""

    def document(self, digest: Digest, limit: int) -> bytes:
        """See `Shelf`."""
        if self.size_of(digest) > limit:
            raise InvalidInput(
                f"a document of the image has more than the {limit:,} bytes allowed",
                rule="image/document-too-large",
                where=digest,
                next_step="Check that the digest names an image and not one of its layers.",
            )
        with self.open(digest) as stream:
            data = stream.read(limit)
        found = sha256_bytes(data)
        if found != digest:
            raise InvalidInput(
                "the blob's bytes are not what its digest says",
                rule="image/blob-digest",
                where=digest,
                cause=f"found {found}",
                next_step="Export the image again; do not edit the files of a layout or an archive.",
            )
        return data

    def fetch(self, digest: Digest, size: int) -> None:
        """See `Shelf`."""
        there = self.size_of(digest)
        if there != size:
            raise InvalidInput(
                "the blob is truncated" if there < size else "the blob is longer than its descriptor says",
                rule="image/truncated" if there < size else "image/blob-size",
                where=digest,
                cause=f"{there:,} bytes are there, {size:,} are stated",
                next_step="Export the image again and compare the size of the file with the original.",
            )


def open_regular(path: Path) -> BinaryIO:
    """The regular file at `path`; a symlink is not followed, a pipe or device is not waited for.

    Raises `InvalidInput` (`image/blob-missing`, `image/not-regular`) and `CouldNotDecide`.
    """
    try:
        stream = os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb", buffering=0)
    except FileNotFoundError as error:
        raise missing_blob(path.name) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        raise _not_regular(path)
    return stream


def missing_blob(name: str) -> InvalidInput:
    """A blob that the image needs and that is not there."""
    return InvalidInput(
        "a part of the image is missing",
        rule="image/blob-missing",
        where=name,
        next_step="Export the whole image again (all layers, for the platform that is meant).",
    )


def _not_regular(path: Path) -> InvalidInput:
    return InvalidInput(
        "a part of the image is not a regular file",
        rule="image/not-regular",
        where=str(path),
        next_step="Put the file itself there: no symlink, pipe or device.",
    )


def _unreadable(path: Path, error: OSError) -> InvalidInput | CouldNotDecide:
    import errno

    if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
        return _not_regular(path)
    return CouldNotDecide(
        f"{path} cannot be read", cause=error.strerror or str(error), next_step="Check its permissions and the disk."
    )
