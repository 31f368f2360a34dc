"""Unpacking in bounded steps: gzip as it comes, zstd block by block, and bombs that stop early."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pratique.digests import sha256_bytes
from pratique.errors import InvalidInput
from pratique.intake.image import ArchiveImage, ImageLimits, LayoutImage, open_image, read_inventory
from pratique.intake.image.packing import MAX_WINDOW, Packing, packing_of_bytes, unpacking
from tests.assets.images import LAYER, ZSTD_LAYER, MadeImage, make_tar

MIB = 1 << 20
RUN_OF_ZEROS = ((131_072 << 3) | (1 << 1)).to_bytes(3, "little") + b"\0"
"""A block that stands for 128 KiB of zeros: four bytes."""
LAST_EMPTY = b"\x01\0\0"
HEADER = b"\x28\xb5\x2f\xfd\x00\x58"
"""Magic, descriptor of a frame without size and checksum, window of 2 MiB."""


def unpacked(data: bytes, packing: Packing = Packing.ZSTD) -> bytes:
    """Everything in `data`."""
    source = unpacking(io.BytesIO(data), packing, where="test")
    parts = []
    while not source.ended:
        parts.append(source.next())
        assert len(parts[-1]) <= 2 * MIB
    return b"".join(parts)


def rule_of(data: bytes) -> str:
    with pytest.raises(InvalidInput) as caught:
        unpacked(data)
    assert caught.value.next_step
    return caught.value.rule


def pressed(data: bytes, **options: object) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(data)  # type: ignore[arg-type]  # names of its own options


MIXED = b"".join(b"%d," % (n * n) for n in range(60_000)) + bytes(300_000)
SKIPPED = (0x184D2A53).to_bytes(4, "little") + (70_000).to_bytes(4, "little") + bytes(70_000)
HONEST: dict[str, tuple[bytes, bytes]] = {
    "one frame": (pressed(MIXED), MIXED),
    "with a checksum": (pressed(MIXED, write_checksum=True), MIXED),
    "without its size": (pressed(MIXED, write_content_size=False), MIXED),
    "the highest level": (pressed(MIXED[:200_000], level=22), MIXED[:200_000]),
    "several frames": (pressed(MIXED[:1000]) + pressed(b"") + pressed(MIXED[1000:]), MIXED),
    "skippable frames around it": (SKIPPED + pressed(MIXED) + SKIPPED, MIXED),
    "an empty one": (pressed(b""), b""),
    "what a stream writes": (
        zstandard.ZstdCompressor(level=1).compressobj().compress(b"") + HEADER + LAST_EMPTY,
        b"",
    ),
}


@pytest.mark.parametrize(("packed", "data"), HONEST.values(), ids=HONEST.keys())
def test_what_compressors_write_is_read(packed: bytes, data: bytes) -> None:
    """Byte for byte."""
    assert unpacked(packed) == data


DAMAGED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "image/truncated"),
    "a magic alone": (HEADER[:4], "image/truncated"),
    "half a magic": (pressed(b"x") + HEADER[:2], "image/truncated"),
    "no last block": (HEADER + RUN_OF_ZEROS, "image/truncated"),
    "only a skippable frame": (SKIPPED, "image/truncated"),
    "a skippable frame that is cut": (SKIPPED[:-1], "image/truncated"),
    "a skippable frame that claims 4 GiB": (SKIPPED[:4] + b"\xff" * 4 + b"x", "image/truncated"),
    "bytes after the end": (pressed(b"x") + b"trailing", "image/zstd-damaged"),
    "gzip after the end": (pressed(b"x") + gzip.compress(b"x"), "image/zstd-damaged"),
    "a block of the reserved kind": (HEADER + b"\x07\0\0", "image/zstd-damaged"),
    "a block of more than 128 KiB": (HEADER + ((131_073 << 3) | 1).to_bytes(3, "little"), "image/zstd-damaged"),
    "a wrong checksum": (pressed(MIXED, write_checksum=True)[:-4] + b"wrng", "image/zstd-damaged"),
    "a window of 2 GiB": (HEADER[:4] + b"\x00\xa8" + LAST_EMPTY, "image/zstd-window"),
    "a dictionary": (HEADER[:4] + b"\x01\x58\x07" + LAST_EMPTY, "image/zstd-window"),
    "gzip": (gzip.compress(b"x"), "image/zstd-damaged"),
}


@pytest.mark.parametrize(("packed", "rule"), DAMAGED.values(), ids=DAMAGED.keys())
def test_what_is_damaged_is_refused(packed: bytes, rule: str) -> None:
    """Cut, continued, or asking for too much memory."""
    assert rule_of(packed) == rule


SKIPPED = (0x184D2A50).to_bytes(4, "little") + bytes(4)
PIECES = {
    "empty members of gzip": gzip.compress(b"x") + gzip.compress(b"") * 20,
    "empty frames of zstd": zstandard.ZstdCompressor(write_content_size=False).compress(b"") * 21,
    "frames of zstd to be passed over": zstandard.compress(b"x") + SKIPPED * 20,
}


@pytest.mark.parametrize("packed", PIECES.values(), ids=PIECES.keys())
def test_pieces_without_content_end_somewhere(packed: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs time and none of the bytes that are counted."""
    monkeypatch.setattr("pratique.intake.image.packing.MAX_FRAMES", 21)
    packing = packing_of_bytes(packed)
    assert unpacked(packed, packing) in (b"x", b"")
    monkeypatch.setattr("pratique.intake.image.packing.MAX_FRAMES", 20)
    with pytest.raises(InvalidInput) as caught:
        unpacked(packed, packing)
    assert caught.value.rule == "image/too-many-frames"


def test_a_layer_cut_anywhere_is_refused() -> None:
    """No prefix of a frame passes for the whole."""
    packed = pressed(b"some text, and more of it", write_checksum=True)
    assert {rule_of(packed[:length]) for length in range(len(packed))} == {"image/truncated"}


def test_the_largest_window_is_taken() -> None:
    """128 MiB, which `zstd --long` writes."""
    parameters = zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)
    packed = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = packed.compress(b"x" * 1000) + packed.flush()
    assert zstandard.get_frame_parameters(data).window_size == MAX_WINDOW
    assert unpacked(data) == b"x" * 1000


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_make_it_raise_anything_else(data: bytes, framed: bool) -> None:
    """Whatever stands in a blob."""
    source = unpacking(io.BytesIO((HEADER if framed else b"") + data), Packing.ZSTD, where="test")
    try:
        while not source.ended:
            source.next()
    except InvalidInput as error:
        assert error.rule.startswith("image/")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=4000), min_size=1, max_size=4), st.integers(1, 19), st.booleans())
def test_frames_in_a_row_are_read_as_their_content(parts: list[bytes], level: int, checksum: bool) -> None:
    """Whatever the content, level and checksum."""
    packed = b"".join(pressed(part, level=level, write_checksum=checksum) for part in parts)
    assert unpacked(packed) == b"".join(parts)


def test_a_step_never_gives_more_than_a_little() -> None:
    """64 KiB of four-byte blocks stand for 2 GiB; a step of them costs neither that time nor that memory."""
    source = unpacking(io.BytesIO(HEADER + RUN_OF_ZEROS * 16_000), Packing.ZSTD, where="test")
    tracemalloc.start()
    try:
        while not (data := source.next()):
            continue
        assert MIB <= len(data) < 2 * MIB
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


# --- images ----------------------------------------------------------------------------------------------------------


class _Stored(MadeImage):
    """An image whose layers are stored as given, whatever they unpack to."""

    packed: tuple[bytes, ...] = ()

    def stored(self, layer: bytes) -> bytes:
        return self.packed[list(self.layers).index(layer)]


def rule_of_image(tmp_path: Path, media_type: str, limits: ImageLimits, *packed: bytes) -> str:
    """The rule that refuses an image of these layers; empty where none does."""
    layers = [b"%d" % number for number in range(len(packed))]
    image = _Stored(layers, media_type=media_type)
    image.packed = packed
    image.config_changes = {
        "rootfs": {"type": "layers", "diff_ids": [sha256_bytes(_whole(one, media_type)) for one in packed]}
    }
    top = image.manifest()
    layout = image.write_layout(tmp_path / "layout", [top])
    try:
        read_inventory(open_image(LayoutImage(layout), expected=top["digest"], workdir=tmp_path), limits)
    except InvalidInput as error:
        return error.rule
    return ""


def _whole(packed: bytes, media_type: str) -> bytes:
    if media_type == LAYER:
        return packed
    return gzip.decompress(packed) if media_type.endswith("gzip") else unpacked(packed)


SMALL = ImageLimits(plausible_bytes=2 * MIB, ratio=100)
ZEROS, NOISE = make_tar([("zeros", bytes(6 * MIB))]), make_tar([("noise", bytes(range(256)) * 4)])
RATIOS: dict[str, tuple[str, ImageLimits, tuple[bytes, ...], str]] = {
    "a bomb of gzip": (LAYER + "+gzip", SMALL, (gzip.compress(ZEROS),), "image/compression-ratio"),
    "a bomb of zstd": (ZSTD_LAYER, SMALL, (pressed(ZEROS),), "image/compression-ratio"),
    "a bomb in the second layer": (
        ZSTD_LAYER, SMALL, (pressed(NOISE), pressed(ZEROS)), "image/compression-ratio",
    ),
    "zeros that are stored as zeros": (LAYER, SMALL, (ZEROS,), ""),
    "zeros beside what is worth them": (
        ZSTD_LAYER, ImageLimits(plausible_bytes=2 * MIB, ratio=20_000), (pressed(NOISE), pressed(ZEROS)), "",
    ),
    "few enough zeros": (ZSTD_LAYER, ImageLimits(plausible_bytes=7 * MIB, ratio=1), (pressed(ZEROS),), ""),
}  # fmt: skip


@pytest.mark.parametrize(("media_type", "limits", "packed", "rule"), RATIOS.values(), ids=RATIOS.keys())
def test_a_bomb_is_refused_by_what_it_weighs(
    tmp_path: Path, media_type: str, limits: ImageLimits, packed: tuple[bytes, ...], rule: str
) -> None:
    """Long before the ceiling; what is stored in full, or small altogether, is none."""
    assert rule_of_image(tmp_path, media_type, limits, *packed) == rule


def test_the_same_blob_counts_once(tmp_path: Path) -> None:
    """Naming one small layer many times makes an image no heavier."""
    bomb = pressed(ZEROS)
    limits = ImageLimits(plausible_bytes=2 * MIB, ratio=7 * MIB // len(bomb))
    assert rule_of_image(tmp_path, ZSTD_LAYER, limits, bomb) == ""
    image = _Stored([ZEROS, ZEROS], media_type=ZSTD_LAYER)
    image.packed = (bomb, bomb)
    top = image.manifest()
    layout = image.write_layout(tmp_path / "twice", [top])
    opened = open_image(LayoutImage(layout), expected=top["digest"], workdir=tmp_path)
    with pytest.raises(InvalidInput) as caught:
        read_inventory(opened, limits)
    assert caught.value.rule == "image/compression-ratio"


@pytest.mark.parametrize("press", [gzip.compress, pressed], ids=["gzip", "zstd"])
def test_a_compressed_archive_is_weighed_too(tmp_path: Path, press: type[bytes]) -> None:
    """Before anything of it lies unpacked on the disk beyond that; an honest one is read."""
    made = MadeImage([make_tar([("a", b"text")])], media_type=LAYER)
    path = tmp_path / "image.tar.packed"
    path.write_bytes(press(made.docker_archive()))
    digest = sha256_bytes(made.config())
    assert read_inventory(open_image(ArchiveImage(path), expected=digest, workdir=tmp_path)).files["a"].size == 4
    path.write_bytes(press(MadeImage([ZEROS], media_type=LAYER).docker_archive()))
    with pytest.raises(InvalidInput) as caught:
        open_image(ArchiveImage(path), expected=digest, workdir=tmp_path, limits=SMALL)
    assert caught.value.rule == "image/compression-ratio"
    assert sum(one.stat().st_size for one in tmp_path.glob("archive-*")) < 4 * MIB


def test_what_the_first_bytes_say() -> None:
    """Of a file whose name says nothing."""
    assert packing_of_bytes(gzip.compress(b"")[:4]) is Packing.GZIP
    assert packing_of_bytes(pressed(b"")[:4]) is Packing.ZSTD
    assert packing_of_bytes(b"blob") is packing_of_bytes(b"") is Packing.NONE
