"""A plain directory tree (a root file system, a project) as an OCI layout of one layer, to be read like an image.

Nothing in it is followed or executed: symbolic links go in as links, and what changes while it is read is refused.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from pratique.digests import Digest, canonical_json, hex_of, sha256_bytes
from pratique.errors import CouldNotDecide, InvalidInput
from pratique.intake.image.documents import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from pratique.intake.image.model import ImageLimits, Platform
from pratique.intake.image.shelf import open_regular
from pratique.intake.image.streams import Budget

_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def layout_of_tree(tree: Path, layout: Path, limits: ImageLimits) -> Digest:
    """Write `tree` as an OCI layout to the directory `layout`; the digest of its manifest.

    Owners are left out, so that the digest is that of names, modes, times and bytes. Raises `InvalidInput`
    (`image/too-many-bytes`, `image/too-many-entries`, `image/tree`), and `CouldNotDecide` where the disk does not take
    it.
    """
    try:
        return _write(tree, layout, limits)
    except (OSError, tarfile.TarError, UnicodeError, RecursionError) as error:
        if isinstance(error, OSError) and error.errno in _DISK_IS_FULL:
            raise CouldNotDecide(
                f"the directory cannot be packed in {layout.parent}",
                cause=error.strerror or str(error),
                next_step="Free disk space, or choose another work directory.",
            ) from error
        raise InvalidInput(
            "the directory cannot be read whole",
            rule="image/tree",
            where=str(tree),
            cause=str(error)[:500],
            next_step="Make every file in it readable, and let nothing change it meanwhile.",
        ) from error


def _write(tree: Path, layout: Path, limits: ImageLimits) -> Digest:
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    packed = layout / "layer.tar"
    if not _pack(tree, packed, limits):
        raise InvalidInput(
            "the directory is empty, so there is nothing to look at",
            rule="image/tree",
            where=str(tree),
            next_step="Name the directory of an image, or the tree of files that is meant.",
        )
    with packed.open("rb") as stream:
        digest = Digest("sha256:" + hashlib.file_digest(stream, "sha256").hexdigest())
    size = packed.stat().st_size
    packed.rename(blobs / hex_of(digest))
    platform = Platform()
    config = canonical_json(
        {
            "os": platform.os,
            "architecture": platform.architecture,
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest]},
        }
    )
    layer = {"mediaType": OCI_LAYER, "digest": digest, "size": size}
    manifest = canonical_json(
        {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": _blob(blobs, OCI_CONFIG, config), "layers": [layer]}
    )
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [_blob(blobs, OCI_MANIFEST, manifest)]}
    (layout / "index.json").write_bytes(canonical_json(index))
    (layout / "oci-layout").write_bytes(canonical_json({"imageLayoutVersion": "1.0.0"}))
    return sha256_bytes(manifest)


def _blob(blobs: Path, media_type: str, data: bytes) -> dict[str, str | int]:
    digest = sha256_bytes(data)
    (blobs / hex_of(digest)).write_bytes(data)
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def _pack(tree: Path, target: Path, limits: ImageLimits) -> int:
    """How many entries were packed."""
    budget = Budget(limits.bytes_, limits.entries)
    with tarfile.open(target, "x", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
        for path in _entries(tree):
            name = path.relative_to(tree).as_posix()
            entry = archive.gettarinfo(path, name)
            if entry is None:  # a socket: nothing that an image could hold
                continue
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            budget.take_entry(where=name)
            budget.take_bytes(entry.size, where=name)
            if not entry.isreg():
                archive.addfile(entry)
                continue
            with open_regular(path) as stream:
                archive.addfile(entry, stream)
                if stream.read(1):
                    raise OSError(f"{name} has more bytes than its size says")
    return limits.entries - budget.entries_left


def _entries(tree: Path) -> Iterator[Path]:
    """All that is below `tree`, in an order that depends on names alone; no link is followed."""

    def fail(error: OSError) -> None:
        raise error

    for folder, folders, files in os.walk(tree, onerror=fail):
        folders.sort()
        yield from (Path(folder, name) for name in sorted((*folders, *files)))
