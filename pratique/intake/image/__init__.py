"""Images: opened by digest from a layout, an archive or a registry, guarded, and inventoried in one pass.

Use `open_image`, then `read_inventory`, then (for the engine) `write_engine_archive`.
"""

from __future__ import annotations

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
]
