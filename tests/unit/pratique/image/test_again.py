"""Files that are read once more: once for all checks that ask, and only the bytes that the inventory saw."""

from __future__ import annotations

import dataclasses
import tarfile
from pathlib import Path
from typing import BinaryIO

import pytest

from checks.code import check_code
from checks.image_secrets import find_secrets
from pratique.digests import Digest
from pratique.errors import InvalidInput
from pratique.intake.image import Image, LayoutImage, open_image, read_inventory
from pratique.intake.image.again import read_again
from pratique.intake.image.reread import MAX_KEPT
from tests.assets.images import LAYER, Item, MadeImage, entry, make_tar

OWN = "usr/lib/python3/dist-packages/own.py"
KEY = b"api_key = 'AKIAZ7QXJ3N5WTHVEXMQ'\nimport socket\n"


class Counting:
    """Blobs that remember how often each was opened."""

    def __init__(self, image: Image) -> None:
        self._blobs = image.blobs
        self.opened: list[str] = []

    def open(self, digest: Digest) -> BinaryIO:
        self.opened.append(digest)
        return self._blobs.open(digest)


def opened(tmp_path: Path, *layers: list[Item]) -> tuple[Image, Counting]:
    made = MadeImage([make_tar(layer) for layer in layers], media_type=LAYER)
    top = made.manifest()
    layout = made.write_layout(tmp_path / "layout", [top])
    (tmp_path / "work").mkdir()
    image = open_image(LayoutImage(layout), expected=top["digest"], workdir=tmp_path / "work")
    blobs = Counting(image)
    return dataclasses.replace(image, blobs=blobs), blobs


def test_the_checks_share_one_second_pass(tmp_path: Path) -> None:
    image, blobs = opened(tmp_path, [(OWN, KEY), ("opt/gone.py", KEY)], [("opt/.wh.gone.py", b"")])
    inventory = read_inventory(image)
    assert len(blobs.opened) == 2
    list(find_secrets(image, inventory))
    assert len(blobs.opened) == 3
    assert check_code(image, inventory).measured("files") == 1
    assert len(blobs.opened) == 3


def test_what_is_kept_is_bounded(tmp_path: Path) -> None:
    image, blobs = opened(tmp_path, [("usr/lib/large", b"x" * (MAX_KEPT + 1)), ("usr/lib/small", b"x")])
    inventory = read_inventory(image)
    entries = list(inventory.files.values())
    for count in (2, 3):
        found = read_again(image, inventory, entries, most=2 * MAX_KEPT)
        assert {len(data) for data in found.values()} == {MAX_KEPT + 1, 1}
        assert len(blobs.opened) == count
    assert list(inventory.reread.files.values()) == [b"x"]


def test_bytes_that_the_inventory_did_not_see_are_refused(tmp_path: Path) -> None:
    """Somebody writes to the blob between the two readings, and a reader of its beginning never comes to its end."""
    image, blobs = opened(tmp_path, [("usr/lib/a", b"seen"), ("usr/lib/z", bytes(3 << 20))])
    inventory = read_inventory(image)
    layer = blobs.opened[-1]
    path = tmp_path / "layout" / "blobs" / "sha256" / layer.removeprefix("sha256:")
    path.write_bytes(path.read_bytes().replace(b"seen\0", b"else\0", 1))
    with pytest.raises(InvalidInput) as refused:
        read_again(image, inventory, [inventory.files["usr/lib/a"]], most=MAX_KEPT)
    assert refused.value.rule == "image/blob-digest"


def test_a_hard_link_is_read_where_its_bytes_are(tmp_path: Path) -> None:
    """Also where a later layer removed the name that they came under."""
    link = entry("usr/lib/link", tarfile.LNKTYPE, linkname="usr/lib/name")
    image, _ = opened(tmp_path, [("usr/lib/name", b"bytes"), link], [("usr/lib/.wh.name", b"")])
    inventory = read_inventory(image)
    found = read_again(image, inventory, [inventory.files["usr/lib/link"]], most=MAX_KEPT)
    assert list(found.values()) == [b"bytes"]
