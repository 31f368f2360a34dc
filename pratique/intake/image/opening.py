"""Open an image under the digest that was expected, whatever it is kept in.

From the expected digest everything else follows by verified digests: (index →) manifest → config → layers. Names, tags
and the order of things in a layout or archive decide nothing.
"""

from __future__ import annotations

from pathlib import Path

from pratique.digests import Digest
from pratique.errors import InvalidInput
from pratique.intake.image.docker_archive import ArchiveShelf
from pratique.intake.image.documents import (
    CONFIGS,
    LAYER_PACKING,
    OCI_MANIFEST,
    PLAIN_LAYERS,
    Descriptor,
    Index,
    Manifest,
    choose,
    parse_config,
    parse_index_or_manifest,
)
from pratique.intake.image.model import (
    ArchiveImage,
    DigestOrigin,
    Image,
    ImageConfig,
    ImageLimits,
    ImageSource,
    Layer,
    LayoutImage,
    Platform,
)
from pratique.intake.image.oci_layout import LayoutShelf
from pratique.intake.image.shelf import Shelf

_MAX_NESTED_INDEXES = 3
_DEFAULT_LIMITS = ImageLimits()
_DEFAULT_PLATFORM = Platform()


def open_image(
    source: ImageSource,
    *,
    expected: Digest,
    limits: ImageLimits = _DEFAULT_LIMITS,
    platform: Platform = _DEFAULT_PLATFORM,
    workdir: Path,
) -> Image:
    """The image for `platform` whose manifest (or multi-platform index) has the digest `expected`.

    `workdir` is an existing directory for downloads and spooled files; it must outlive the image. An old Docker
    archive, which has no manifest, may also be expected by its config digest. Layers of a registry are downloaded.

    Raises `InvalidInput` (`image/…`, `tar/…`, `json/…`) for an image that is not acceptable, `CouldNotDecide` when
    disk or registry fail.
    """
    shelf, origin, wanted = _shelf(source, expected, limits, workdir)
    indexes, manifest_digest, manifest_bytes, manifest = _manifest(shelf, wanted, limits, platform)
    config_bytes, config = _config(shelf, manifest, limits, platform)
    layers = _layers(manifest, config, limits)
    for layer in layers:
        shelf.fetch(layer.digest, layer.size)
    return Image(
        name=source.reference if not isinstance(source, LayoutImage | ArchiveImage) else str(source.path),
        manifest_digest=manifest_digest,
        index_digest=wanted if indexes else None,
        indexes=indexes,
        config_digest=manifest.config.digest,
        config=config,
        layers=layers,
        digest_origin=origin,
        platform=platform,
        manifest_media_type=manifest.media_type or OCI_MANIFEST,
        config_media_type=manifest.config.media_type,
        manifest_bytes=manifest_bytes,
        config_bytes=config_bytes,
        blobs=shelf,
        workdir=workdir,
    )


def _shelf(
    source: ImageSource, expected: Digest, limits: ImageLimits, workdir: Path
) -> tuple[Shelf, DigestOrigin, Digest]:
    """Where the blobs are, what the manifest's digest is worth, and the digest to start from."""
    if isinstance(source, LayoutImage):
        return LayoutShelf(source.path, limits), DigestOrigin.MANIFEST, expected
    if isinstance(source, ArchiveImage):
        archive = ArchiveShelf(source.path, limits, workdir)
        if archive.synthesised is None:
            return archive, DigestOrigin.MANIFEST, expected
        by_config = expected == archive.config_digest
        return archive, DigestOrigin.SYNTHESISED, archive.synthesised if by_config else expected
    from pratique.intake.image.registry import RegistryShelf

    return RegistryShelf(source, expected, limits, workdir), DigestOrigin.MANIFEST, expected


def _manifest(
    shelf: Shelf, expected: Digest, limits: ImageLimits, platform: Platform
) -> tuple[tuple[bytes, ...], Digest, bytes, Manifest]:
    """The indexes passed through, manifest digest, its bytes, the manifest."""
    digest, media_type, size = expected, "", None
    indexes: tuple[bytes, ...] = ()
    for _ in range(_MAX_NESTED_INDEXES + 1):
        data = _pinned(shelf, digest, limits) if digest == expected else shelf.document(digest, limits.manifest_bytes)
        if size is not None and size != len(data):
            raise _refusal("blob-size", "a manifest is not as long as its descriptor says", digest)
        document = parse_index_or_manifest(data, media_type, limits, where=digest)
        if isinstance(document, Manifest):
            return indexes, digest, data, document
        indexes = (*indexes, data)
        chosen = _choose(document, platform, where=digest)
        digest, media_type, size = chosen.digest, chosen.media_type, chosen.size
    raise _refusal("nested-indexes", f"more than {_MAX_NESTED_INDEXES} indexes inside each other", expected)


def _choose(index: Index, platform: Platform, *, where: str) -> Descriptor:
    """The manifest for `platform`; an index of one image needs no platform stated (the config is checked anyway)."""
    images = [item for item in index.manifests if not item.is_attestation and not item.artifact_type]
    if len(images) == 1 and images[0].platform is None:
        return images[0]
    return choose(index, platform, where=where)


def _pinned(shelf: Shelf, expected: Digest, limits: ImageLimits) -> bytes:
    try:
        return shelf.document(expected, limits.manifest_bytes)
    except InvalidInput as error:
        if error.rule != "image/blob-missing" or expected in shelf.offered():
            raise
        raise InvalidInput(
            "the image is not the one whose digest was given",
            rule="image/digest-mismatch",
            where=expected,
            cause=f"what is there: {', '.join(shelf.offered()[:5]) or 'nothing'}",
            next_step="Put the image with this digest there, or correct the digest if the image is the one meant.",
        ) from error


def _config(shelf: Shelf, manifest: Manifest, limits: ImageLimits, platform: Platform) -> tuple[bytes, ImageConfig]:
    descriptor = manifest.config
    if manifest.artifact_type or descriptor.media_type not in CONFIGS:
        raise _refusal(
            "not-an-image",
            "the manifest describes something other than a container image",
            descriptor.digest,
            cause=manifest.artifact_type or descriptor.media_type,
        )
    if descriptor.size > limits.config_bytes:
        raise _refusal("document-too-large", f"a config of {descriptor.size:,} bytes", descriptor.digest)
    shelf.fetch(descriptor.digest, descriptor.size)
    data = shelf.document(descriptor.digest, limits.config_bytes)
    config = parse_config(data, limits, where=descriptor.digest)
    if (config.os, config.architecture) != (platform.os, platform.architecture):
        raise InvalidInput(
            f"the image is built for {config.os}/{config.architecture}, not for {platform}",
            rule="image/wrong-architecture",
            where=descriptor.digest,
            next_step=f"Build the image for {platform}, e.g. `docker build --platform {platform}`.",
        )
    return data, config


def _layers(manifest: Manifest, config: ImageConfig, limits: ImageLimits) -> tuple[Layer, ...]:
    """The layers, each with the diff_id that the config gives it; their tars are compared when they are read."""
    if len(manifest.layers) > limits.layers:
        raise _refusal(
            "too-many-layers", f"more than the {limits.layers} layers allowed", cause=f"{len(manifest.layers)} layers"
        )
    if len(manifest.layers) != len(config.diff_ids):
        raise _refusal(
            "layer-count",
            "the config and the manifest disagree about the layers",
            cause=f"{len(config.diff_ids)} diff_ids for {len(manifest.layers)} layers",
        )
    if sum(item.size for item in manifest.layers) > limits.bytes_:
        raise _refusal("too-many-bytes", f"the layers have more than the {limits.bytes_:,} bytes allowed")
    return tuple(_layer(item, diff_id) for item, diff_id in zip(manifest.layers, config.diff_ids, strict=True))


def _layer(descriptor: Descriptor, diff_id: Digest) -> Layer:
    media_type = descriptor.media_type
    if media_type not in LAYER_PACKING:
        raise InvalidInput(
            "a layer of a kind that is not read here",
            rule="image/layer-type",
            where=descriptor.digest,
            cause=media_type[:200] or "no media type",
            next_step="Push or export the image with gzip layers, e.g. `docker buildx build --output "
            "type=oci,compression=gzip,force-compression=true` or `skopeo copy --dest-compress-format gzip`.",
        )
    if media_type in PLAIN_LAYERS and descriptor.digest != diff_id:
        raise _refusal(
            "diff-id", "a layer is not the one that the config names", descriptor.digest, cause=f"diff_id {diff_id}"
        )
    return Layer(descriptor.digest, descriptor.size, media_type, diff_id)


def _refusal(rule: str, message: str, where: str = "", cause: str = "") -> InvalidInput:
    return InvalidInput(
        message,
        rule=f"image/{rule}",
        where=where,
        cause=cause,
        next_step="Build and export the image again with docker, buildah or skopeo.",
    )
