"""From an image that was read and verified to the id that is run, and back."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

import pytest

from pratique.digests import Digest
from pratique.errors import InvalidInput, Refused
from pratique.intake.image import ArchiveImage, ImageLimits, Platform, open_image
from sandbox.engine import Engine, EngineError
from sandbox.observe.helper_image import build_archive, python_closure

pytestmark = pytest.mark.docker

FILES = {name: path for name, path in python_closure(("sys",)).items() if name.startswith("/usr/bin")}


def archive(name: str) -> tuple[bytes, Digest, Digest]:
    return build_archive(FILES, {"Labels": {"test": name}})


def test_an_archive_that_was_read_is_loaded_under_its_config_digest(engine: Engine, tmp_path: Path) -> None:
    """Twice: the second time nothing is sent."""
    data, config_digest, _ = archive("load")
    (tmp_path / "image.tar").write_bytes(data)
    image = open_image(
        ArchiveImage(tmp_path / "image.tar"),
        expected=config_digest,
        limits=ImageLimits(),
        platform=Platform(architecture="amd64" if engine.facts.architecture == "x86_64" else "arm64"),
        workdir=tmp_path,
    )
    assert engine.load(image) in {image.config_digest, image.manifest_digest}

    def never(_: BinaryIO) -> None:
        raise AssertionError("the image is there, it must not be sent again")

    assert engine.load_archive(never, ids=(image.config_digest,), diff_ids=image.config.diff_ids)


def test_an_image_with_other_layers_than_verified_is_refused(engine: Engine) -> None:
    """What the engine holds must be what was checked."""
    data, config_digest, diff_id = archive("layers")
    assert engine.load_archive(lambda out: _write(out, data), ids=(config_digest,), diff_ids=(diff_id,))
    with pytest.raises(Refused):
        engine.load_archive(lambda out: _write(out, data), ids=(config_digest,), diff_ids=(config_digest,))


def test_an_archive_of_another_image_than_announced_is_refused(engine: Engine) -> None:
    """The id after the load is compared, not believed."""
    data, _, diff_id = archive("other")
    with pytest.raises(Refused):
        engine.load_archive(lambda out: _write(out, data), ids=(Digest("sha256:" + "0" * 64),), diff_ids=(diff_id,))


def test_a_damaged_archive_is_the_engines_error(engine: Engine) -> None:
    """With what the engine said."""
    with pytest.raises(EngineError):
        engine.load_archive(
            lambda out: _write(out, b"no archive" * 100), ids=(Digest("sha256:" + "1" * 64),), diff_ids=()
        )


def test_an_error_while_writing_breaks_the_load_off(engine: Engine) -> None:
    """A layer whose digest turns out wrong while it is streamed never becomes an image."""
    data, config_digest, diff_id = build_archive(FILES, {"Labels": {"test": "broken off"}})

    def write(out: BinaryIO) -> None:
        out.write(data[: len(data) // 2])
        raise InvalidInput("the layer's digest is wrong", rule="image/digest")

    with pytest.raises(InvalidInput):
        engine.load_archive(write, ids=(config_digest,), diff_ids=(diff_id,))
    assert engine.image(config_digest) is None


def _write(out: BinaryIO, data: bytes) -> None:
    source = io.BytesIO(data)
    while chunk := source.read(1 << 16):
        out.write(chunk)
