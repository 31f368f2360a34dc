"""What is attached to an image where it lies: signatures, attestations, admissions, found and not yet judged.

In a registry: OCI referrers (1.1), their fallback tag `sha256-<hex>` where the registry has no such API (Debian's has
none), and cosign's older tags `sha256-<hex>.sig` (signatures) and `.att` (attestations). In an OCI layout: the
manifests of its index that name the image as their subject, or carry such a tag as their reference name. Everything is
bounded, and every blob is verified by its digest; what somebody attached who had no business to is for the provenance
check to refuse.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pratique.bounds import MIB, strict_json
from pratique.digests import Digest, hex_of, parse_digest, sha256_bytes
from pratique.errors import InvalidInput
from pratique.intake.image.documents import OCI_INDEX, OCI_MANIFEST
from pratique.intake.image.model import ImageLimits, ImageSource, LayoutImage, RegistryImage
from pratique.intake.image.reference import parse_reference

MAX_ATTACHED = 64
MAX_PAPERS = 8
MAX_DOCUMENT_BYTES = 4 * MIB
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle"
"""Prefix of the types of Sigstore bundles (`….v0.3+json`)."""

SIMPLE_SIGNING_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
ENVELOPE_TYPE = "application/vnd.dsse.envelope.v1+json"
_OLD_TAGS = {".sig": SIMPLE_SIGNING_TYPE, ".att": ENVELOPE_TYPE}
_REFERENCE_NAME = "org.opencontainers.image.ref.name"
_ACCEPT = f"{OCI_INDEX}, {OCI_MANIFEST}"


@dataclass(frozen=True)
class Attached:
    """One signature: the bytes of a bundle, or cosign's older payload with the annotations that hold the signature."""

    name: str
    data: bytes = field(repr=False)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Paper:
    """One of the blobs that make up what is attached."""

    media_type: str
    data: bytes = field(repr=False)


class _Place(Protocol):
    """Where attached things are looked for; each answer is verified against the digest it was asked by."""

    def candidates(self, digest: Digest, kind: str) -> Iterator[tuple[Digest, str]]:
        """Digest of each manifest of this kind that may be attached to the image, and what it is called."""

    def tagged(self, tag: str) -> bytes | None:
        """The manifest under a tag; what a tag leads to is worth what its signatures are worth."""

    def document(self, digest: Digest) -> bytes | None:
        """The manifest with this digest."""

    def blob(self, digest: Digest) -> bytes | None:
        """The blob with this digest."""


def attached_to(source: ImageSource, digest: Digest, limits: ImageLimits) -> tuple[Attached, ...]:
    """The signatures attached to the image with this manifest digest, at most 64; none in a Docker archive.

    Raises `InvalidInput` for what is attached and is not what its digest says, `CouldNotDecide` when a registry fails.
    """
    place = _place(source, limits)
    if place is None:
        return ()
    found = list(_bundles(place, digest))
    for suffix, media_type in _OLD_TAGS.items():
        old = place.tagged(f"sha256-{hex_of(digest)}{suffix}")
        if old is not None:
            found += _annotated_layers(place, old, suffix, media_type)
    return tuple(found[:MAX_ATTACHED])


def papers_attached_to(source: RegistryImage, digest: Digest, kind: str) -> tuple[tuple[Paper, ...], ...]:
    """What others of the artifact type `kind` attached to the image: the papers of each; raises as `attached_to`."""
    place = _Registry(source)
    found = []
    for name, manifest in _referrers(place, digest, kind):
        layers = _layers(manifest)[:MAX_PAPERS]
        blobs = [(str(layer.get("mediaType")), _blob_of(place, layer, name)) for layer in layers]
        found.append(tuple(Paper(media_type, data) for media_type, data in blobs if data is not None))
    return tuple(found)


def _place(source: ImageSource, limits: ImageLimits) -> _Place | None:
    if isinstance(source, RegistryImage):
        return _Registry(source)
    return _Layout(source.path, limits) if isinstance(source, LayoutImage) else None


def _bundles(place: _Place, image: Digest) -> Iterator[Attached]:
    for name, manifest in _referrers(place, image, BUNDLE_TYPE):
        for layer in _layers(manifest):
            if str(layer.get("mediaType", "")).startswith(BUNDLE_TYPE):
                data = _blob_of(place, layer, name)
                if data is not None:
                    yield Attached(name, data)


def _referrers(place: _Place, image: Digest, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and manifest of what says of itself that it is attached to the image, at most 64."""
    for count, (digest, name) in enumerate(place.candidates(image, kind)):
        if count >= MAX_ATTACHED:
            return
        manifest = _object(place.document(digest), name)
        subject = manifest.get("subject")
        if isinstance(subject, dict) and subject.get("digest") == image:
            yield name, manifest


def _blob_of(place: _Place, layer: Mapping[str, Any], name: str) -> bytes | None:
    return place.blob(parse_digest(layer.get("digest"), where=name))


def _annotated_layers(place: _Place, data: bytes, suffix: str, media_type: str) -> Iterator[Attached]:
    """What cosign 1 and 2 left under a tag: a layer each, its certificate and log entry in annotations."""
    where = f"{suffix} tag"
    for number, layer in enumerate(_layers(_object(data, where)), start=1):
        annotations = layer.get("annotations")
        if layer.get("mediaType") != media_type or not isinstance(annotations, dict):
            continue
        payload = _blob_of(place, layer, where)
        if payload is not None:
            texts = {key: value for key, value in annotations.items() if isinstance(value, str)}
            yield Attached(f"{where}, signature {number}", payload, texts)


class _Registry:
    """A repository; a slow or broken one raises, so that nothing counts as *not signed* that was not looked at."""

    def __init__(self, source: RegistryImage) -> None:
        from pratique.intake.image.registry_http import RegistryHttp

        reference = parse_reference(source.reference)
        self._http = RegistryHttp(reference, source.credentials)

    def candidates(self, digest: Digest, kind: str) -> Iterator[tuple[Digest, str]]:
        listed = self._http.pages(f"referrers/{digest}", accept=OCI_INDEX, limit=MAX_DOCUMENT_BYTES)
        first = next(listed, None)
        pages = [self.tagged(f"sha256-{hex_of(digest)}")] if first is None else itertools.chain([first], listed)
        for page in pages:
            for item in _manifests(_object(page, "referrers")):
                if _may_hold(item, kind):
                    found = parse_digest(item.get("digest"), where="referrers")
                    yield found, f"referrer {hex_of(found)[:12]}"

    def tagged(self, tag: str) -> bytes | None:
        return self._read(f"manifests/{tag}", _ACCEPT)

    def document(self, digest: Digest) -> bytes | None:
        return _verified(self._read(f"manifests/{digest}", _ACCEPT), digest)

    def blob(self, digest: Digest) -> bytes | None:
        return _verified(self._read(f"blobs/{digest}", "*/*"), digest)

    def _read(self, path: str, accept: str) -> bytes | None:
        return self._http.read(path, accept=accept, limit=MAX_DOCUMENT_BYTES)


class _Layout:
    """An OCI layout: whatever its index names."""

    def __init__(self, directory: Path, limits: ImageLimits) -> None:
        from pratique.bounds import read_bounded, within
        from pratique.intake.image.oci_layout import LayoutShelf

        self._shelf = LayoutShelf(directory, limits)
        index = read_bounded(within(directory, "index.json", where=str(directory)), limits.manifest_bytes)
        self._items = list(_manifests(_object(index, "index.json")))

    def candidates(self, digest: Digest, kind: str) -> Iterator[tuple[Digest, str]]:
        fallback = self.tagged(f"sha256-{hex_of(digest)}")
        for item in [*self._items, *(_manifests(_object(fallback, "fallback tag")) if fallback else ())]:
            if _may_hold(item, kind):
                found = parse_digest(item.get("digest"), where="index.json")
                yield found, f"referrer {hex_of(found)[:12]}"

    def tagged(self, tag: str) -> bytes | None:
        for item in self._items:
            annotations = item.get("annotations")
            if isinstance(annotations, dict) and annotations.get(_REFERENCE_NAME) == tag:
                return self.document(parse_digest(item.get("digest"), where="index.json"))
        return None

    def document(self, digest: Digest) -> bytes | None:
        try:
            return self._shelf.document(digest, MAX_DOCUMENT_BYTES)
        except InvalidInput as error:
            if error.rule == "image/blob-missing":
                return None
            raise

    def blob(self, digest: Digest) -> bytes | None:
        return self.document(digest)


def _may_hold(item: Mapping[str, Any], kind: str) -> bool:
    """Whether a descriptor may lead to `kind`; without a type (fallback tags of old clients) one has to look."""
    stated = item.get("artifactType")
    return item.get("mediaType") == OCI_MANIFEST and (stated is None or str(stated).startswith(kind))


def _object(data: bytes | None, where: str) -> dict[str, Any]:
    if data is None:
        return {}
    value = strict_json(data, where=where, max_bytes=MAX_DOCUMENT_BYTES)
    return value if isinstance(value, dict) else {}


def _manifests(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return _objects(document.get("manifests"))


def _layers(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return _objects(document.get("layers"))


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value[:1000] if isinstance(item, dict)] if isinstance(value, list) else []


def _verified(data: bytes | None, digest: Digest) -> bytes | None:
    if data is not None and sha256_bytes(data) != digest:
        raise InvalidInput(
            "what is attached to the image is not what its digest says",
            rule="image/blob-digest",
            where=digest,
            next_step="Ask who runs the registry; sign the image again.",
        )
    return data
