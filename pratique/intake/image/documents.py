"""The JSON documents of an image: index, manifest, config, and the list in a Docker archive, strictly read.

Engines read JSON with Go, which takes keys in any letter case and the last of several. A document that Go would read
otherwise than it looks is refused (`image/json-case`; duplicate keys by `strict_json`).
"""

from __future__ import annotations

from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pratique.bounds import strict_json
from pratique.digests import Digest
from pratique.errors import InvalidInput
from pratique.intake.image.model import History, ImageConfig, ImageLimits, Platform
from pratique.intake.image.packing import Packing

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
INDEXES = frozenset((OCI_INDEX, DOCKER_INDEX))
MANIFESTS = frozenset((OCI_MANIFEST, DOCKER_MANIFEST))
CONFIGS = frozenset((OCI_CONFIG, DOCKER_CONFIG))
PLAIN_LAYERS = frozenset((OCI_LAYER, "application/vnd.docker.image.rootfs.diff.tar"))
LAYER_PACKING = {
    **dict.fromkeys(PLAIN_LAYERS, Packing.NONE),
    OCI_LAYER + "+gzip": Packing.GZIP,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": Packing.GZIP,
    OCI_LAYER + "+zstd": Packing.ZSTD,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": Packing.ZSTD,
}
"""Media types of layers that are read, and how each is packed."""

_Text = Annotated[str, Field(max_length=65_536)]
_Texts = Annotated[tuple[_Text, ...], Field(max_length=10_000)]
_AsDigest = Annotated[Digest, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class _Document(BaseModel):
    """Made ready when one is first read: no image has documents of every kind."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=False, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _as_go_reads_it(cls, data: Any) -> Any:
        """Known keys in their own letter case only; absent lists and maps, which Go writes as null, left out."""
        if not isinstance(data, dict):
            return data
        known = {field.alias or name for name, field in cls.model_fields.items()}
        folded = {name.casefold() for name in known}
        for key in data:
            if key not in known and key.casefold() in folded:
                raise ValueError(f"the key {key[:40]!r} is a known key in other letter case")
        return {key: value for key, value in data.items() if value is not None}


class _PlatformDocument(_Document):
    os: _Text = ""
    architecture: _Text = ""
    variant: _Text = ""


class Descriptor(_Document):
    """Points to a blob: what it is, its digest and its size in bytes."""

    media_type: Annotated[_Text, Field(alias="mediaType")] = ""
    digest: _AsDigest
    size: Annotated[int, Field(ge=0, le=1 << 50, strict=True)]
    artifact_type: Annotated[_Text, Field(alias="artifactType")] = ""
    platform: _PlatformDocument | None = None
    annotations: Annotated[dict[_Text, _Text], Field(max_length=1000)] | None = None

    @property
    def is_attestation(self) -> bool:
        """Whether this is what BuildKit puts beside an image (platform unknown/unknown)."""
        return self.platform is not None and (self.platform.os, self.platform.architecture) == ("unknown",) * 2

    def shown_platform(self) -> str:
        """The platform in words."""
        return f"{self.platform.os}/{self.platform.architecture}" if self.platform else "no platform stated"


class Index(_Document):
    """An OCI index, a Docker manifest list, or a layout's `index.json`."""

    schema_version: Annotated[int, Field(alias="schemaVersion")]
    media_type: Annotated[_Text, Field(alias="mediaType")] = ""
    manifests: Annotated[tuple[Descriptor, ...], Field(max_length=1000)]


class Manifest(_Document):
    """An image manifest."""

    schema_version: Annotated[int, Field(alias="schemaVersion")]
    media_type: Annotated[_Text, Field(alias="mediaType")] = ""
    artifact_type: Annotated[_Text, Field(alias="artifactType")] = ""
    config: Descriptor
    layers: tuple[Descriptor, ...]


class _Health(_Document):
    test: Annotated[_Texts, Field(alias="Test")] = ()


class _Run(_Document):
    entrypoint: Annotated[_Texts, Field(alias="Entrypoint")] = ()
    cmd: Annotated[_Texts, Field(alias="Cmd")] = ()
    env: Annotated[_Texts, Field(alias="Env")] = ()
    user: Annotated[_Text, Field(alias="User")] = ""
    working_dir: Annotated[_Text, Field(alias="WorkingDir")] = ""
    volumes: Annotated[dict[_Text, Any], Field(alias="Volumes", max_length=1000)] = {}
    exposed_ports: Annotated[dict[_Text, Any], Field(alias="ExposedPorts", max_length=1000)] = {}
    healthcheck: Annotated[_Health, Field(alias="Healthcheck")] = _Health()
    onbuild: Annotated[_Texts, Field(alias="OnBuild")] = ()
    stop_signal: Annotated[_Text, Field(alias="StopSignal")] = ""
    labels: Annotated[dict[_Text, _Text], Field(alias="Labels", max_length=10_000)] = {}


class _Step(_Document):
    created_by: _Text = ""
    comment: _Text = ""
    empty_layer: bool = False


class _RootFs(_Document):
    type: Annotated[str, Field(pattern=r"^layers$")]
    diff_ids: tuple[_AsDigest, ...]


class _Config(_Document):
    os: _Text
    architecture: _Text
    created: _Text = ""
    config: _Run = _Run()
    rootfs: _RootFs
    history: Annotated[tuple[_Step, ...], Field(max_length=10_000)] = ()


class DockerArchiveItem(_Document):
    """One image in the `manifest.json` of a Docker archive: member names."""

    config: Annotated[_Text, Field(alias="Config")]
    layers: Annotated[_Texts, Field(alias="Layers")]


class _DockerArchiveList(_Document):
    items: tuple[DockerArchiveItem, ...]

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.items) != 1:
            raise ValueError(f"it holds {len(self.items)} images; save exactly one")
        return self


_Model = TypeVar("_Model", bound=_Document)


def _parse(model: type[_Model], value: Any, *, where: str, what: str) -> _Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(
            f"not {what}",
            rule="image/json-case" if "letter case" in first["msg"] else "image/document",
            where=where,
            cause=f"{place}: {first['msg']}" if place else first["msg"],
            next_step="Export the image again with docker, buildah or skopeo.",
        ) from error


def parse_index_or_manifest(data: bytes, media_type: str, limits: ImageLimits, *, where: str) -> Index | Manifest:
    """The document in `data`, which must be what `media_type` (empty: unknown) and its own words say.

    A document that could be read as either (CVE-2021-41190) is refused. Raises `InvalidInput`: `image/document`,
    `image/ambiguous-document`, `image/media-type`, `json/…`.
    """
    value = strict_json(data, where=where, max_bytes=limits.manifest_bytes)
    keys = {str(key).casefold() for key in value} if isinstance(value, dict) else set()
    is_index = "manifests" in keys
    if is_index and keys & {"layers", "config", "fslayers"}:
        raise _refusal("ambiguous-document", "the document is an index and a manifest at once", where)
    document: Index | Manifest
    if is_index:
        document = _parse(Index, value, where=where, what="an image index")
    else:
        document = _parse(Manifest, value, where=where, what="an image manifest (OCI, or Docker schema 2)")
    if document.schema_version != 2:
        raise _refusal("document", "not an OCI or Docker schema 2 document", where)
    stated = {text for text in (media_type, document.media_type) if text}
    if len(stated) > 1 or not stated <= (INDEXES if is_index else MANIFESTS):
        raise _refusal(
            "media-type", "the document is not of the type it is said to be", where, ", ".join(sorted(stated))
        )
    return document


def parse_config(data: bytes, limits: ImageLimits, *, where: str) -> ImageConfig:
    """The image config in `data`; raises `InvalidInput`: `image/document`, `image/json-case`, `json/…`."""
    value = strict_json(data, where=where, max_bytes=limits.config_bytes)
    document = _parse(_Config, value, where=where, what="an image config")
    run = document.config
    return ImageConfig(
        os=document.os,
        architecture=document.architecture,
        entrypoint=run.entrypoint,
        cmd=run.cmd,
        env=tuple((name, text) for name, _, text in (item.partition("=") for item in run.env)),
        user=run.user,
        workdir=run.working_dir,
        volumes=tuple(sorted(run.volumes)),
        exposed_ports=tuple(sorted(run.exposed_ports)),
        healthcheck=run.healthcheck.test,
        onbuild=run.onbuild,
        stop_signal=run.stop_signal,
        labels=dict(sorted(run.labels.items())),
        history=tuple(History(step.created_by, step.comment, step.empty_layer) for step in document.history),
        diff_ids=document.rootfs.diff_ids,
        created=document.created,
    )


def parse_layout_index(data: bytes, limits: ImageLimits, *, where: str) -> Index:
    """A layout's `index.json`."""
    document = parse_index_or_manifest(data, OCI_INDEX, limits, where=where)
    if not isinstance(document, Index):
        raise _refusal("document", "index.json is not an index", where)
    return document


def parse_docker_archive_list(data: bytes, limits: ImageLimits, *, where: str) -> DockerArchiveItem:
    """The one image that the `manifest.json` of a Docker archive describes."""
    value = strict_json(data, where=where, max_bytes=limits.manifest_bytes)
    return _parse(_DockerArchiveList, {"items": value}, where=where, what="a list of exactly one saved image").items[0]


def choose(index: Index, platform: Platform, *, where: str) -> Descriptor:
    """The one manifest of `index` for `platform`.

    Raises `InvalidInput`: `image/no-such-platform`, `image/ambiguous-platform`.
    """
    images = [item for item in index.manifests if not item.is_attestation and not item.artifact_type]
    fitting = [
        item
        for item in images
        if item.platform and (item.platform.os, item.platform.architecture) == (platform.os, platform.architecture)
    ]
    if not fitting:
        offered = ", ".join(sorted({item.shown_platform() for item in images})) or "nothing"
        raise InvalidInput(
            f"the image is not there for {platform}",
            rule="image/no-such-platform",
            where=where,
            cause=f"the index offers {offered}",
            next_step=f"Build the image for {platform} too, e.g. `docker buildx build --platform {platform}`.",
        )
    if len({item.digest for item in fitting}) > 1:
        raise InvalidInput(
            f"the index holds {len(fitting)} different images for {platform}",
            rule="image/ambiguous-platform",
            where=where,
            cause=", ".join(item.digest for item in fitting[:5]),
            next_step="Name the digest of the one manifest that is meant instead of the index.",
        )
    return fitting[0]


def _refusal(rule: str, message: str, where: str, cause: str = "") -> InvalidInput:
    return InvalidInput(
        message,
        rule=f"image/{rule}",
        where=where,
        cause=cause,
        next_step="Export the image again with docker, buildah or skopeo.",
    )
