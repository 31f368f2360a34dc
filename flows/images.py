"""Where an image comes from: what a submission says, and what a node remembers of it for later.

What is remembered decides nothing: an image is opened by its digest wherever it lies.
"""

from __future__ import annotations

import json
from pathlib import Path

from flows.files import write_whole
from pratique.bounds import read_bounded, strict_json
from pratique.digests import Digest, hex_of
from pratique.errors import InvalidInput
from pratique.intake.image import ArchiveImage, ImageSource, LayoutImage, RegistryImage
from pratique.intake.submission import Submission
from pratique.settings import Settings

_MAX_BYTES = 16 << 10


def source_of(submission: Submission) -> ImageSource:
    """Where the image of a submission is."""
    declared = submission.document.image
    if declared.layout is not None:
        return LayoutImage(submission.path(declared.layout))
    if declared.archive is not None:
        return ArchiveImage(submission.path(declared.archive))
    return RegistryImage(str(declared.reference))


def source_from(text: str) -> ImageSource:
    """Where a person says that an image is: a layout directory, an archive, or a registry reference by digest."""
    path = Path(text)
    if path.is_dir():
        return LayoutImage(path.resolve())
    return ArchiveImage(path.resolve()) if path.is_file() else RegistryImage(text)


def remember_image(settings: Settings, digest: Digest, source: ImageSource) -> None:
    """Keep in mind where the image with this manifest digest was found last.

    A registry's image that was reached through a multi-platform index is remembered by its own digest.
    """
    place = f"{source.reference.partition('@')[0]}@{digest}" if isinstance(source, RegistryImage) else str(source.path)
    settings.images.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(settings.images / f"{hex_of(digest)}.json", json.dumps({"source": place}))


def remembered_image(settings: Settings, digest: Digest) -> ImageSource | None:
    """Where the image with this manifest digest was found last; None where nobody knows."""
    try:
        data = read_bounded(settings.images / f"{hex_of(digest)}.json", _MAX_BYTES)
        found = strict_json(data, where="image source", max_bytes=_MAX_BYTES)
    except InvalidInput:
        return None
    place = found.get("source") if isinstance(found, dict) else None
    return source_from(place) if isinstance(place, str) else None
