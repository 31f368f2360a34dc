"""Which image a person means: `DIRECTORY`, `ARCHIVE` (each with `@sha256:…` where several lie in it) or a reference."""

from __future__ import annotations

import tarfile
from pathlib import Path

from pratique.digests import Digest, parse_digest
from pratique.errors import InvalidInput, UsageError
from pratique.intake.image.model import ArchiveImage, ImageLimits, ImageSource, LayoutImage, RegistryImage
from pratique.intake.image.packing import Packing, packing_of_bytes

_DEFAULT_LIMITS = ImageLimits()
_BLOCK = 512
_NAME_IT = "Name an OCI layout or any directory, an archive of `docker save`, or host/repository@sha256:…."


def locate(name: str, workdir: Path, limits: ImageLimits = _DEFAULT_LIMITS) -> tuple[ImageSource, Digest]:
    """Where the image is and the digest to open it by.

    `name` is an OCI layout directory, a submission directory, any other directory tree (packed into `workdir`), an
    archive of `docker save`, or a registry reference by digest. A path without a digest means the only image that lies
    there. Raises `UsageError` where that is not clear, and `InvalidInput` as opening does.
    """
    if not name:  # a variable that is not set: never the directory that one happens to be in
        raise UsageError("no image is named", next_step=_NAME_IT)
    base, text = path_and_digest(name)
    path = Path(base)
    if path.is_dir() and (path / "submission.yaml").is_file():
        return _of_submission(path)
    if path.is_dir() and not (path / "oci-layout").exists() and not text:
        return _of_tree(path, workdir, limits)
    if path.is_dir():
        return LayoutImage(path), parse_digest(text) if text else _only_one(_in_layout(path, limits), name)
    if path.is_file():
        if not is_archive(path):
            raise InvalidInput("this is no archive of an image", rule="image/archive", where=base, next_step=_NAME_IT)
        return ArchiveImage(path), parse_digest(text) if text else _only_one(_in_archive(path, limits, workdir), name)
    if base.startswith((".", "/", "~")) or not text:
        what = (
            f"{base[:200]!r} is neither a file nor a directory"
            if path.exists()
            else f"there is no image {name[:200]!r}"
        )
        raise UsageError(what, next_step=_NAME_IT)
    from pratique.intake.image.reference import parse_reference

    return RegistryImage(name), parse_reference(name).digest


def path_and_digest(name: str) -> tuple[str, str]:
    """`PATH@sha256:…` as path and digest, which is empty where none is given; other `@` belong to the path."""
    base, _, text = name.rpartition("@")
    if not base or "/" in text or Path(name).exists():
        return name, ""
    return base, text


def is_archive(path: Path) -> bool:
    """Whether the file begins as a tar does, or as something that one may be packed in."""
    with path.open("rb") as stream:
        head = stream.read(_BLOCK)
    if packing_of_bytes(head[:4]) is not Packing.NONE:
        return True
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _of_submission(directory: Path) -> tuple[ImageSource, Digest]:
    from pratique.intake.submission import load_submission

    submission = load_submission(directory)
    declared = submission.document.image
    digest = parse_digest(declared.digest)
    if declared.layout is not None:
        return LayoutImage(submission.path(declared.layout)), digest
    if declared.archive is not None:
        return ArchiveImage(submission.path(declared.archive)), digest
    return RegistryImage(str(declared.reference)), digest


def _of_tree(directory: Path, workdir: Path, limits: ImageLimits) -> tuple[ImageSource, Digest]:
    from pratique.intake.image.tree import layout_of_tree

    layout = workdir / "tree"
    return LayoutImage(layout), layout_of_tree(directory, layout, limits)


def _in_layout(path: Path, limits: ImageLimits) -> tuple[str, ...]:
    from pratique.intake.image.oci_layout import LayoutShelf

    return LayoutShelf(path, limits).offered()


def _in_archive(path: Path, limits: ImageLimits, workdir: Path) -> tuple[str, ...]:
    from pratique.intake.image.docker_archive import ArchiveShelf

    shelf = ArchiveShelf(path, limits, workdir)
    return (shelf.synthesised,) if shelf.synthesised else shelf.offered()


def _only_one(offered: tuple[str, ...], name: str) -> Digest:
    if len(set(offered)) != 1:
        raise UsageError(
            f"which image of {name[:200]} is meant is not clear: {len(set(offered))} lie there",
            cause=", ".join(offered[:5]),
            next_step="Add the digest of one of them: PATH@sha256:….",
        )
    return parse_digest(offered[0])
