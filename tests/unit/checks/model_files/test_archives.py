"""Archives that other readers follow further than Python's, or that cost far more than they weigh."""

from __future__ import annotations

import io
import lzma
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from checks.model_files import Verdict, check_model_files, parts
from pratique.intake.image import LayoutImage, open_image, read_inventory
from tests.assets.images import made
from tests.unit.checks.model_files.makers import EVIL, protobuf, scan, tarred, zipped

HONEST = tarred({"a.txt": b"words"})


def behind_a_broken_header() -> bytes:
    """A member that other readers find again behind a block that is no header."""
    data = tarred({"a.txt": b"words", "m.pkl": EVIL})
    return data[:1024] + b"\x01" * 512 + data[1024:]


def with_a_long_header(size: int) -> bytes:
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, size
    record = b"%d comment=" % size
    return header.tobuf(tarfile.USTAR_FORMAT) + (record + b"x" * size)[: size - 1] + b"\n" + bytes(-size % 512) + HONEST


def torchscript_of_blanks() -> bytes:
    return zipped({"m/constants.pkl": b"\x80\x02).", "m/code/__torch__.py": b" " * (64 << 20)})


def zip_of_a_million_names() -> bytes:
    """The same member a million times in the list at the end, which is read before anything else."""
    data = zipped({"a": b""})
    start, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    size = (end - start) * 1_000_000
    return data[:start] + data[start:end] * 1_000_000 + data[end : end + 12] + struct.pack("<IIH", size, start, 0)


UNREADABLE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a member behind a block that is no header": ("m.tar", behind_a_broken_header),
    "a second tar behind the first": ("m.tar", lambda: HONEST + tarred({"m.pkl": EVIL})),
    "a header of two megabytes": ("m.tar", lambda: with_a_long_header(2 << 20)),
    "a zip with a list of a million members": ("m.npz", zip_of_a_million_names),
    "a bomb of TorchScript code": ("m.pt", torchscript_of_blanks),
    "zlib with a great deal behind it": ("m.pkl", lambda: zlib.compress(b"N.") + bytes(48 << 20)),
}


@pytest.mark.parametrize("trick", UNREADABLE)
def test_what_cannot_be_followed_is_refused_without_much_memory(trick: str) -> None:
    name, make = UNREADABLE[trick]
    data = make()
    tracemalloc.start()
    try:
        assert scan(data, name).verdict is Verdict.UNREADABLE
        assert tracemalloc.get_traced_memory()[1] - len(data) < 40 << 20  # the stream is a copy
    finally:
        tracemalloc.stop()


def test_a_tar_that_ends_as_tars_do_is_safe() -> None:
    weights = io.BytesIO()
    with zipfile.ZipFile(weights, "w") as archive:
        archive.writestr("a.txt", b"words")
    for data in (HONEST, HONEST[:1024], with_a_long_header(1 << 20), tarred({"w.zip": weights.getvalue()})):
        assert scan(data, "m.tar").verdict is Verdict.SAFE


def test_names_of_members_are_not_all_kept() -> None:
    """Each may have a megabyte, and there may be twenty thousand."""
    size = 1_000_000
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, size
    record = (b"%d path=" % size + b"x" * size)[: size - 1] + b"\n" + bytes(-size % 512)
    member = header.tobuf(tarfile.USTAR_FORMAT) + record + tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT)
    data = member * 40 + bytes(1024)
    tracemalloc.start()
    try:
        assert scan(data, "m.tar").verdict is Verdict.SAFE
        assert tracemalloc.get_traced_memory()[1] - len(data) < 20 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kilobytes", [0.25, 0.75, 1, 32, 48, 64, 8192])
def test_lzma_is_kept_and_unpacked_whatever_its_dictionary(kilobytes: float, tmp_path: Path) -> None:
    """It has no mark of its own, and joblib unpacks it under any name."""
    packed = bytearray(lzma.compress(EVIL, format=lzma.FORMAT_ALONE))
    packed[1:5] = int(kilobytes * 1024).to_bytes(4, "little")
    assert lzma.decompress(packed) == EVIL
    image = made(("opt/weights.dat", bytes(packed)))
    top = image.manifest()
    layout = image.write_layout(tmp_path / "image", [top])
    inventory = read_inventory(open_image(LayoutImage(layout), expected=top["digest"], workdir=tmp_path))
    assert check_model_files(inventory).measured("unsafe") == 1


@pytest.mark.parametrize("layer", [(605, 1), (605, 2), (615, 3), (615, 4)])
def test_a_custom_layer_in_a_branch_or_a_loop_of_core_ml_is_found(layer: tuple[int, int]) -> None:
    kind, network = layer
    inner = protobuf(network, protobuf(1, protobuf(500, b"")))
    model = b"\x08\x04" + protobuf(2, b"about") + protobuf(500, protobuf(1, protobuf(kind, inner)))
    assert scan(model, "m.mlmodel").verdict is Verdict.UNSAFE


def test_many_empty_layers_of_core_ml_take_no_memory() -> None:
    data = b"\x08\x01" + protobuf(2, b"about") + protobuf(500, protobuf(1, b"") * 20_000)
    tracemalloc.start()
    try:
        assert scan(data, "m.mlmodel").verdict is Verdict.SAFE
        assert tracemalloc.get_traced_memory()[1] - len(data) < 1 << 20
    finally:
        tracemalloc.stop()


def test_pipelines_of_core_ml_are_not_followed_without_end() -> None:
    model = b"\x08\x04" + protobuf(500, b"")
    for _ in range(40):
        model = b"\x08\x04" + protobuf(202, protobuf(1, model))
    assert scan(model, "m.mlmodel").verdict is Verdict.UNREADABLE


def test_what_is_packed_many_times_is_not_followed_for_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MAX_FOLLOWED", 100_000)
    many = b"\x80\x04](" + b"}" * 30_000 + b"e."
    model = b"\x08\x08" + protobuf(2, b"m") + protobuf(7, protobuf(1, b"") * 30_000)
    for member in (many, model):
        assert scan(zipped({"0": member}), "m.zip").verdict is Verdict.SAFE
        verdict = scan(zipped({f"{number}.dat": member for number in range(5)}), "m.zip")
        assert verdict.verdict is Verdict.UNREADABLE
        assert any("all parts together" in reason.message for reason in verdict.reasons)
