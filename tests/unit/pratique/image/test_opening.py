"""Images are found by the digest that was expected, or refused with the rule that they break."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pratique.digests import Digest, sha256_bytes
from pratique.errors import InvalidInput
from pratique.intake.image import (
    ArchiveImage,
    DigestOrigin,
    Image,
    ImageLimits,
    ImageSource,
    LayoutImage,
    Platform,
    open_image,
    read_inventory,
    write_engine_archive,
)
from tests.assets.images import INDEX, LAYER, MadeImage, entry, made, make_tar, to_json

FILES = (("usr/bin/tool", b"#!/bin/true\n"), ("etc/os-release", b"ID=debian\n"))


def _open(source: ImageSource, digest: str, tmp_path: Path, **options: Any) -> Image:
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    return open_image(source, expected=Digest(digest), workdir=work, **options)


def _layout(image: MadeImage, tmp_path: Path) -> tuple[LayoutImage, str]:
    top = image.manifest()
    return LayoutImage(image.write_layout(tmp_path / "layout", [top])), top["digest"]


def _rule(action: Callable[[], object]) -> str:
    with pytest.raises(InvalidInput) as caught:
        action()
    assert caught.value.next_step, "every refusal says what to do next"
    return caught.value.rule


@pytest.mark.parametrize("media_type", [LAYER, LAYER + "+gzip"])
def test_a_layout_is_opened_by_its_manifest_digest(tmp_path: Path, media_type: str) -> None:
    """Identity, configuration and layers come from verified documents."""
    run = {"Env": ["A=b=c", "BARE"], "User": "1000", "Entrypoint": ["/usr/bin/tool"], "Volumes": {"/data": {}}}
    made_image = made(*FILES, media_type=media_type, run=run | {"Cmd": None, "Labels": None})
    source, digest = _layout(made_image, tmp_path)
    image = _open(source, digest, tmp_path)
    assert (image.manifest_digest, image.index_digest) == (digest, None)
    assert image.digest_origin is DigestOrigin.MANIFEST
    assert image.config_digest == sha256_bytes(made_image.config())
    assert image.config.env == (("A", "b=c"), ("BARE", ""))
    assert (image.config.volumes, image.config.cmd) == (("/data",), ())
    assert read_inventory(image).files["usr/bin/tool"].sha256 == sha256_bytes(b"#!/bin/true\n")


def test_a_multi_platform_index_leads_to_the_platform_of_the_node(tmp_path: Path) -> None:
    """Both digests are recorded; BuildKit's attestation beside the image is passed over."""
    image = made(*FILES)
    ours = image.manifest() | {"platform": {"os": "linux", "architecture": "amd64"}}
    other = MadeImage(image.layers, architecture="arm64", blobs=image.blobs)
    theirs = other.manifest() | {"platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}}
    attestation = ours | {"platform": {"os": "unknown", "architecture": "unknown"}}
    index = image.index([theirs, ours, attestation])
    source = LayoutImage(image.write_layout(tmp_path / "layout", [index]))
    opened = _open(source, index["digest"], tmp_path)
    assert (opened.index_digest, opened.manifest_digest) == (index["digest"], ours["digest"])
    arm = _open(source, index["digest"], tmp_path, platform=Platform("linux", "arm64"))
    assert arm.manifest_digest == theirs["digest"]
    assert _rule(lambda: _open(source, theirs["digest"], tmp_path)) == "image/wrong-architecture"
    nowhere = Platform("linux", "s390x")
    assert _rule(lambda: _open(source, index["digest"], tmp_path, platform=nowhere)) == "image/no-such-platform"


def test_an_index_with_two_images_for_one_platform_is_refused(tmp_path: Path) -> None:
    """Which of two images runs must not be left to chance; the digest of either one decides."""
    image = made(*FILES)
    platform = {"platform": {"os": "linux", "architecture": "amd64"}}
    first = image.manifest() | platform
    second = MadeImage([make_tar([("evil", b"x")])], blobs=image.blobs).manifest() | platform
    index = image.index([first, second])
    source = LayoutImage(image.write_layout(tmp_path / "layout", [first, second, index]))
    assert _rule(lambda: _open(source, index["digest"], tmp_path)) == "image/ambiguous-platform"
    assert _open(source, second["digest"], tmp_path).manifest_digest == second["digest"]


def test_indexes_inside_each_other_end_somewhere(tmp_path: Path) -> None:
    """A chain of indexes cannot keep the reader busy."""
    image = made(*FILES)
    top = image.manifest()
    for _ in range(5):
        top = image.index([top])
    source = LayoutImage(image.write_layout(tmp_path / "layout", [top]))
    assert _rule(lambda: _open(source, top["digest"], tmp_path)) == "image/nested-indexes"


def _descriptor(digest: str, size: int, media_type: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


SOME = "sha256:" + "0" * 64
TAR = make_tar(FILES)
BAD_DOCUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "diff_ids fewer than layers": (
        {"config_changes": {"rootfs": {"type": "layers", "diff_ids": []}}},
        "image/layer-count",
    ),
    "diff_ids of another layer": (
        {"config_changes": {"rootfs": {"type": "layers", "diff_ids": [SOME]}}, "media_type": LAYER},
        "image/diff-id",
    ),
    "wrong architecture": ({"architecture": "arm64"}, "image/wrong-architecture"),
    "another operating system": ({"config_changes": {"os": "windows"}}, "image/wrong-architecture"),
    "xz layer": ({"media_type": LAYER + "+xz"}, "image/layer-type"),
    "encrypted layer": ({"media_type": LAYER + "+encrypted"}, "image/layer-type"),
    "foreign layer": (
        {"media_type": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"},
        "image/layer-type",
    ),
    "artifact instead of an image": (
        {"manifest_changes": {"artifactType": "application/x-thing"}},
        "image/not-an-image",
    ),
    "index and manifest at once": ({"manifest_changes": {"manifests": []}}, "image/ambiguous-document"),
    "manifest that calls itself an index": ({"manifest_changes": {"mediaType": INDEX}}, "image/media-type"),
    "Docker schema 1": ({"manifest_changes": {"schemaVersion": 1}}, "image/document"),
    "key in other letter case, which Go would take": (
        {"manifest_changes": {"Layers": []}},
        "image/json-case",
    ),
    "config key in other letter case": ({"run": {"user": "root"}}, "image/json-case"),
    "config key with a Kelvin sign": ({"run": {"Health\u212aheck": {}, "Wor\u212aingDir": "/"}}, "image/json-case"),
    "missing layer": (
        {"manifest_changes": {"layers": [_descriptor(SOME, 5, LAYER + "+gzip")]}},
        "image/blob-missing",
    ),
    "digest that is a path": (
        {"manifest_changes": {"layers": [_descriptor("sha256:../../../etc/passwd", 5, LAYER)]}},
        "image/document",
    ),
    "digest of another algorithm": (
        {"manifest_changes": {"layers": [_descriptor("md5:" + "0" * 32, 5, LAYER)]}},
        "image/document",
    ),
    "negative size": ({"manifest_changes": {"layers": [_descriptor(SOME, -1, LAYER)]}}, "image/document"),
    "environment that is no list": ({"run": {"Env": {"A": "b"}}}, "image/document"),
    "rootfs of another type": ({"config_changes": {"rootfs": {"type": "x", "diff_ids": []}}}, "image/document"),
    "layers null": ({"manifest_changes": {"layers": None}}, "image/document"),
}


@pytest.mark.parametrize("name", BAD_DOCUMENTS)
def test_bad_documents_are_refused(tmp_path: Path, name: str) -> None:
    """Each lie or trick in the documents of an image has its rule."""
    fields, rule = BAD_DOCUMENTS[name]
    source, digest = _layout(made(*FILES, **fields), tmp_path)
    assert _rule(lambda: _open(source, digest, tmp_path)) == rule


def test_documents_and_layers_have_ceilings(tmp_path: Path) -> None:
    """Layers, manifest and config are bounded before they are looked into."""
    source, digest = _layout(MadeImage([TAR] * 5), tmp_path)
    assert _rule(lambda: _open(source, digest, tmp_path, limits=ImageLimits(layers=4))) == "image/too-many-layers"
    small = ImageLimits(config_bytes=50)
    assert _rule(lambda: _open(source, digest, tmp_path, limits=small)) == "image/document-too-large"
    tiny = ImageLimits(bytes_=100)
    assert _rule(lambda: _open(source, digest, tmp_path, limits=tiny)) == "image/too-many-bytes"


def _spoil_layer(layout: Path, digest: str, spoil: Callable[[Path], object]) -> None:
    spoil(layout / "blobs" / "sha256" / digest.removeprefix("sha256:"))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _link_elsewhere(path: Path) -> None:
    moved = path.parent.parent.parent.parent / "elsewhere"
    path.rename(moved)
    path.symlink_to(moved)


def _to_pipe(path: Path) -> None:
    import os

    path.unlink()
    os.mkfifo(path)


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-7]), "image/truncated"),
    "longer": (lambda path: path.write_bytes(path.read_bytes() + b"x"), "image/blob-size"),
    "flipped byte": (_flip, "image/blob-digest"),
    "missing": (lambda path: path.unlink(), "image/blob-missing"),
    "symlink to the right bytes": (_link_elsewhere, "path/symlink"),
    "pipe that nobody writes to": (_to_pipe, "image/not-regular"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_spoiled_layers_are_refused_when_opened_or_read(tmp_path: Path, name: str) -> None:
    """No byte that differs from what was pinned gets through; no link is followed."""
    spoil, rule = SPOILED[name]
    image = made(*FILES, media_type=LAYER)
    source, digest = _layout(image, tmp_path)
    _spoil_layer(source.path, sha256_bytes(image.layers[0]), spoil)
    assert _rule(lambda: read_inventory(_open(source, digest, tmp_path))) == rule


def test_a_layer_changed_after_opening_is_refused_at_every_use(tmp_path: Path) -> None:
    """There is no gap between check and use: whoever reads a layer verifies it again."""
    made_image = made(*FILES, media_type=LAYER)
    source, digest = _layout(made_image, tmp_path)
    image = _open(source, digest, tmp_path)
    read_inventory(image)
    _spoil_layer(source.path, sha256_bytes(made_image.layers[0]), _flip)
    assert _rule(lambda: read_inventory(image)) == "image/blob-digest"
    out = io.BytesIO()
    assert _rule(lambda: write_engine_archive(image, out)) == "image/blob-digest"
    assert b"manifest.json" not in out.getvalue(), "an archive cut short must not be loadable"


def test_links_in_the_folders_of_a_layout_are_not_followed(tmp_path: Path) -> None:
    """`blobs`, index.json and oci-layout must lie in the layout themselves."""
    source, digest = _layout(made(*FILES), tmp_path)
    (source.path / "blobs").rename(tmp_path / "blobs")
    (source.path / "blobs").symlink_to(tmp_path / "blobs")
    assert _rule(lambda: _open(source, digest, tmp_path)) == "path/symlink"


BAD_LAYOUTS: dict[str, tuple[str, bytes | None, str]] = {
    "no oci-layout": ("oci-layout", None, "file/missing"),
    "oci-layout of another version": ("oci-layout", b'{"imageLayoutVersion":"2.0.0"}', "image/layout"),
    "oci-layout that is a list": ("oci-layout", b"[]", "image/layout"),
    "no index": ("index.json", None, "file/missing"),
    "index that is not JSON": ("index.json", b"{", "json/syntax"),
    "index with a key twice": (
        "index.json",
        b'{"manifests":[],"manifests":[],"schemaVersion":2}',
        "json/duplicate-key",
    ),
    "index that is a manifest": (
        "index.json",
        to_json({"schemaVersion": 2, "config": {}, "layers": []}),
        "image/document",
    ),
    "index nested deeply": ("index.json", b"[" * 500 + b"]" * 500, "json/too-deep"),
}


@pytest.mark.parametrize("name", BAD_LAYOUTS)
def test_bad_layouts_are_refused(tmp_path: Path, name: str) -> None:
    """A directory that is no layout says so."""
    file, data, rule = BAD_LAYOUTS[name]
    source, digest = _layout(made(*FILES), tmp_path)
    (source.path / file).unlink()
    if data is not None:
        (source.path / file).write_bytes(data)
    assert _rule(lambda: _open(source, digest, tmp_path)) == rule


def test_another_digest_than_expected_names_what_is_there(tmp_path: Path) -> None:
    """The message helps whoever wrote the wrong digest."""
    source, digest = _layout(made(*FILES), tmp_path)
    with pytest.raises(InvalidInput, match=digest) as caught:
        _open(source, SOME, tmp_path)
    assert caught.value.rule == "image/digest-mismatch"
    assert _rule(lambda: _open(LayoutImage(tmp_path / "nowhere"), digest, tmp_path)) == "image/layout"


def test_a_manifest_that_the_index_names_and_nobody_packed_is_missing(tmp_path: Path) -> None:
    """The digest was right, so it is not called another one."""
    source, digest = _layout(made(*FILES), tmp_path)
    (source.path / "blobs" / "sha256" / digest.removeprefix("sha256:")).unlink()
    assert _rule(lambda: _open(source, digest, tmp_path)) == "image/blob-missing"


def test_a_layer_expected_as_image_is_refused(tmp_path: Path) -> None:
    """A digest that is there but is no manifest."""
    image = made(*FILES, media_type=LAYER)
    source, _ = _layout(image, tmp_path)
    assert _rule(lambda: _open(source, sha256_bytes(image.layers[0]), tmp_path)).startswith("json/")
    assert _rule(lambda: _open(source, sha256_bytes(image.config()), tmp_path)).startswith("image/")


# --- archives --------------------------------------------------------------------------------------------------------


def _archive(data: bytes, tmp_path: Path) -> ArchiveImage:
    path = tmp_path / "image.tar"
    path.write_bytes(data)
    return ArchiveImage(path)


@pytest.mark.parametrize("media_type", [LAYER, LAYER + "+gzip", LAYER + "+zstd"])
@pytest.mark.parametrize("packed", [False, True])
def test_the_engine_archive_reads_back_as_the_same_image(tmp_path: Path, packed: bool, media_type: str) -> None:
    """What goes to the engine is this image, byte for byte the same every time, also when gzipped on the way."""
    source, digest = _layout(MadeImage([TAR, make_tar([("b", b"2")]), TAR], media_type=media_type), tmp_path)
    image = _open(source, digest, tmp_path)
    first, second = io.BytesIO(), io.BytesIO()
    write_engine_archive(image, first)
    write_engine_archive(image, second)
    assert first.getvalue() == second.getvalue()
    data = gzip.compress(first.getvalue()) if packed else first.getvalue()
    again = _open(_archive(data, tmp_path), digest, tmp_path)
    assert (again.layers, again.manifest_bytes, again.config_bytes) == (
        image.layers,
        image.manifest_bytes,
        image.config_bytes,
    )
    assert again.digest_origin is DigestOrigin.MANIFEST
    assert read_inventory(again).files == read_inventory(image).files


def test_old_engines_find_layers_of_zstd_unpacked(tmp_path: Path) -> None:
    """`manifest.json` leads to the plain tars, the layout to the blobs that the manifest names."""
    layers = [TAR, make_tar([("b", b"2")])]
    source, digest = _layout(MadeImage(layers, media_type=LAYER + "+zstd"), tmp_path)
    out = io.BytesIO()
    write_engine_archive(_open(source, digest, tmp_path), out)
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        (listed,) = json.loads(archive.extractfile("manifest.json").read())  # type: ignore[union-attr]
        found = [archive.extractfile(name).read() for name in listed["Layers"]]  # type: ignore[union-attr]
    assert found == layers


def test_a_layer_of_zstd_that_is_not_the_configs_is_not_handed_over(tmp_path: Path) -> None:
    """Its plain form is compared once more on the way to the engine."""
    image = MadeImage([TAR], media_type=LAYER + "+zstd")
    image.config_changes = {"rootfs": {"type": "layers", "diff_ids": [sha256_bytes(b"another")]}}
    source, digest = _layout(image, tmp_path)
    opened = _open(source, digest, tmp_path)
    assert _rule(lambda: write_engine_archive(opened, io.BytesIO())) == "image/diff-id"


@pytest.mark.parametrize("media_type", [LAYER, LAYER + "+gzip", LAYER + "+zstd"])
def test_an_old_docker_archive_gets_a_synthesised_manifest(tmp_path: Path, media_type: str) -> None:
    """It can be expected by its config digest, and by the synthesised digest, which says where it comes from."""
    made_image = MadeImage([TAR, make_tar([("b", b"2")]), TAR], media_type=media_type)
    source = _archive(made_image.docker_archive(links=True), tmp_path)
    by_config = _open(source, sha256_bytes(made_image.config()), tmp_path)
    by_manifest = _open(source, by_config.manifest_digest, tmp_path)
    assert by_config.digest_origin is by_manifest.digest_origin is DigestOrigin.SYNTHESISED
    assert sha256_bytes(by_config.manifest_bytes) == by_config.manifest_digest
    assert set(read_inventory(by_config).files) == {"usr", "usr/bin", "usr/bin/tool", "etc", "etc/os-release", "b"}
    out = io.BytesIO()
    write_engine_archive(by_config, out)


def test_an_old_docker_archive_with_another_layer_is_refused_when_read(tmp_path: Path) -> None:
    """The config's diff_ids hold for every layer."""
    image = made(*FILES, media_type=LAYER)
    data = image.docker_archive().replace(b"#!/bin/true", b"#!/bin/evil")
    opened = _open(_archive(data, tmp_path), sha256_bytes(image.config()), tmp_path)
    assert _rule(lambda: read_inventory(opened)) == "image/blob-digest"


def _tar_of(*items: Any) -> bytes:
    return make_tar(items)


GOOD_CONFIG = MadeImage([TAR]).config()
VERSION = ("oci-layout", to_json({"imageLayoutVersion": "1.0.0"}))
BAD_ARCHIVES: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "image/archive"),
    "not a tar": (b"hello world " * 100, "tar/number"),
    "a tar of something else": (_tar_of(("readme", b"x")), "image/archive"),
    "truncated": (made(*FILES).docker_archive()[:700], "tar/truncated"),
    "two images": (made(*FILES).docker_archive(copies=2), "image/document"),
    "no image": (_tar_of(("manifest.json", b"[]")), "image/document"),
    "list that is a number": (_tar_of(("manifest.json", b"7")), "image/document"),
    "layout without version": (
        _tar_of(("index.json", to_json({"schemaVersion": 2, "manifests": []}))),
        "image/blob-missing",
    ),
    "member twice": (_tar_of(("manifest.json", b"[]"), ("manifest.json", b"[]")), "image/duplicate-member"),
    "device in the archive": (_tar_of(entry("dev", tarfile.CHRTYPE, devmajor=1)), "image/archive"),
    "hard link in the archive": (_tar_of(("a", b""), entry("b", tarfile.LNKTYPE, linkname="a")), "image/archive"),
    "member that climbs": (_tar_of(("../manifest.json", b"[]")), "image/path-climbs"),
    "layer outside the archive": (
        _tar_of(("c.json", GOOD_CONFIG), ("manifest.json", to_json([{"Config": "c.json", "Layers": ["/etc/passwd"]}]))),
        "image/blob-missing",
    ),
    "layer link out of the archive": (
        _tar_of(
            ("c.json", GOOD_CONFIG),
            entry("l", tarfile.SYMTYPE, linkname="/etc/passwd"),
            ("manifest.json", to_json([{"Config": "c.json", "Layers": ["l"]}])),
        ),
        "image/blob-missing",
    ),
    "more layers than diff_ids": (
        _tar_of(("c.json", GOOD_CONFIG), ("manifest.json", to_json([{"Config": "c.json", "Layers": []}]))),
        "image/layer-count",
    ),
    "digest not in the layout": (
        _tar_of(VERSION, ("index.json", to_json({"schemaVersion": 2, "manifests": []}))),
        "image/digest-mismatch",
    ),
    "damaged gzip": (gzip.compress(make_tar(FILES))[:-20], "image/truncated"),
}


@pytest.mark.parametrize("name", BAD_ARCHIVES)
def test_bad_archives_are_refused(tmp_path: Path, name: str) -> None:
    """Each way an archive can be wrong has its rule."""
    data, rule = BAD_ARCHIVES[name]
    with pytest.raises(InvalidInput) as caught:
        _open(_archive(data, tmp_path), SOME, tmp_path)
    assert caught.value.rule == rule
    assert ("Copy or export" in caught.value.next_step) == (rule.endswith("/truncated") or name == "damaged gzip")


def test_a_gzipped_archive_bomb_stops_at_the_ceiling(tmp_path: Path) -> None:
    """Counted while it is unpacked: the disk never sees more than the limit."""
    bomb = _archive(gzip.compress(bytes(30 << 20), 9), tmp_path)
    limits = ImageLimits(bytes_=8 << 20)
    assert _rule(lambda: _open(bomb, SOME, tmp_path, limits=limits)) == "image/too-many-bytes"
    assert sum(path.stat().st_size for path in (tmp_path / "work").rglob("*")) <= limits.bytes_


def test_an_archive_has_a_bounded_number_of_members(tmp_path: Path) -> None:
    """A tar of very many members is not indexed to its end."""
    archive = _archive(make_tar([(f"m{n}", b"") for n in range(50)]), tmp_path)
    limits = ImageLimits(archive_members=20)
    assert _rule(lambda: _open(archive, SOME, tmp_path, limits=limits)) == "image/archive-members"


def test_the_documents_of_one_image_are_the_docker_media_types_too(tmp_path: Path) -> None:
    """What Docker's registries serve (schema 2) is read like OCI."""
    image = made(*FILES, media_type="application/vnd.docker.image.rootfs.diff.tar")
    image.manifest_changes = {
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": image.put(image.config(), "application/vnd.docker.container.image.v1+json"),
    }
    top = image.manifest()
    opened = _open(LayoutImage(image.write_layout(tmp_path / "l", [top])), top["digest"], tmp_path)
    assert opened.manifest_media_type.startswith("application/vnd.docker")
    assert opened.config_media_type.startswith("application/vnd.docker")
