"""Which files of an image are followed: by content, wherever they lie and whatever they are packed in."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from checks.interface import Status
from checks.model_files import check_model_files
from pratique.intake.image import LayoutImage, open_image, read_inventory
from tests.assets.images import made
from tests.unit.checks.model_files.makers import EVIL


def zipped(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, data)
    return out.getvalue()


def tarred(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(out.getvalue(), mtime=0)


LAMBDA = b'{"class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda", "config": {}}]}}'
PLACES: dict[str, tuple[str, bytes]] = {
    "as it is": ("app/model.pkl", EVIL),
    "under another name": ("app/weights.dat", EVIL),
    "in a zip": ("srv/bundle.zip", zipped("a/model.pkl", EVIL)),
    "in a packed tar": ("srv/bundle.tar.gz", tarred("a/model.pkl", EVIL)),
    "as the description of a network": ("app/architecture.json", LAMBDA),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_model_that_runs_code_fails_the_check_wherever_it_lies(place: str, tmp_path: Path) -> None:
    image = made(PLACES[place])
    top = image.manifest()
    layout = image.write_layout(tmp_path / "image", [top])
    opened = open_image(LayoutImage(layout), expected=top["digest"], workdir=tmp_path)
    result = check_model_files(read_inventory(opened))
    assert result.status is Status.FAILED
    assert result.measured("unsafe") == 1
