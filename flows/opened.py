"""An image that a person named, opened and inventoried in scratch space; nothing of it is executed."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pratique.intake.image.inventory import read_inventory
from pratique.intake.image.locate import locate
from pratique.intake.image.model import Image, ImageLimits, Inventory, LayoutImage
from pratique.intake.image.opening import open_image
from pratique.settings import Settings


def image_limits(settings: Settings) -> ImageLimits:
    """The limits for images of the node's policy; raises `UsageError` where that cannot be applied.

    The shipped policy keeps intake's own, so it is not read: that would take as long as reading a small image.
    """
    if settings.policy is None:
        return ImageLimits()
    from flows.node import Node

    return Node.open(settings).policy.policy.image.limits()


@contextmanager
def open_inventory(name: str, work: Path, limits: ImageLimits) -> Iterator[tuple[Image, Inventory]]:
    """The image that `name` means (see `pratique.intake.image.locate`) and its inventory, with scratch space in `work`.

    Raises `UsageError`, `InvalidInput` and `CouldNotDecide` as opening and reading do.
    """
    work.mkdir(parents=True, exist_ok=True, mode=0o700)
    workdir = Path(tempfile.mkdtemp(prefix="contents-", dir=work))
    try:
        source, digest = locate(name, workdir, limits)
        image = open_image(source, expected=digest, limits=limits, workdir=workdir)
        if isinstance(source, LayoutImage) and source.path.is_relative_to(workdir):  # made here, of a tree
            image = dataclasses.replace(image, name=name)
        yield image, read_inventory(image, limits)
    finally:
        shutil.rmtree(workdir, ignore_errors=True)
