"""Images: opened by digest from a layout, an archive or a registry, guarded, and inventoried in one pass.

Use `open_image`, then `read_inventory`, then (for the engine) `write_engine_archive`. The three load what they need
when they are first asked for, so that the data classes import fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pratique.intake.image.model import (
    ArchiveImage,
    Credentials,
    DigestOrigin,
    FileClass,
    FileEntry,
    History,
    Image,
    ImageConfig,
    ImageLimits,
    ImageSource,
    Inventory,
    Kind,
    Layer,
    LayoutImage,
    Platform,
    RegistryImage,
)

if TYPE_CHECKING:
    from pratique.intake.image.engine_archive import write_engine_archive
    from pratique.intake.image.inventory import read_inventory
    from pratique.intake.image.opening import open_image

__all__ = [
    "ArchiveImage",
    "Credentials",
    "DigestOrigin",
    "FileClass",
    "FileEntry",
    "History",
    "Image",
    "ImageConfig",
    "ImageLimits",
    "ImageSource",
    "Inventory",
    "Kind",
    "Layer",
    "LayoutImage",
    "Platform",
    "RegistryImage",
    "open_image",
    "read_inventory",
    "write_engine_archive",
]

_LAZY = {"open_image": "opening", "read_inventory": "inventory", "write_engine_archive": "engine_archive"}


def __getattr__(name: str) -> Any:
    """Import one of the three functions when it is first used."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
