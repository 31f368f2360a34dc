"""Are the files of the image the ones that a model signature lists: all of them, unchanged, and no model beside them?

Hashes by SHA-256 over whole files are those of the inventory. Others are taken from what the inventory kept, or from
the layers read once more with a bound; nothing is extracted, and nothing is followed but the table of the inventory.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, BinaryIO

from checks.model_signatures.signed import Piece, SignedModel
from pratique.digests import hex_of
from pratique.errors import CouldNotDecide
from pratique.intake.image.again import read_again
from pratique.intake.image.model import MIB, FileClass, FileEntry, Image, ImageLimits, Inventory, Kind

MAX_REREAD_BYTES = 256 * MIB
_CHUNK = MIB


@dataclass(frozen=True)
class Mismatch:
    """One file that is not as signed: `rule` is the last part of a finding's rule id."""

    rule: str
    path: str
    message: str


@dataclass(frozen=True)
class Place:
    """Where a signed model lies in the image: `folder` ends with a slash (empty for the root), `single` is one file."""

    folder: str
    single: str = ""

    def path(self, relative: str) -> str:
        """Path in the image of a file of the model."""
        return self.single if self.single and relative == "." else self.folder + relative

    def __str__(self) -> str:
        return self.single or f"/{self.folder}"


def find_place(model: SignedModel, signature: str, inventory: Inventory) -> Place:
    """Where the model of the signature at the path `signature` lies: around it, or in the directory that it names."""
    folder = signature.rpartition("/")[0]
    base = f"{folder}/" if folder else ""
    if set(model.files) == {"."}:
        return Place(base, base + model.name)
    below = [f"{base}{model.name}/"] if model.name else []
    places = [Place(one) for one in (base, *below)]
    return max(places, key=lambda place: sum(place.path(path) in inventory.files for path in model.files))


def compare(
    model: SignedModel,
    place: Place,
    signatures: frozenset[str],
    inventory: Inventory,
    image: Image,
    limits: ImageLimits,
) -> list[Mismatch]:
    """What of the image is not as `model` lists it; `signatures` are the files with signatures of models.

    Raises `CouldNotDecide` where content is needed that cannot be had within the bounds.
    """
    found: dict[str, FileEntry] = {}
    wrong: list[Mismatch] = []
    for relative in model.files:
        path = place.path(relative)
        entry = inventory.resolve(path) if model.symlinks else inventory.files.get(path)
        if entry is None or entry.kind is not Kind.FILE:
            kind = f"is a {entry.kind}" if entry else "is not in the image"
            wrong.append(Mismatch("missing-file", path, f"{path} is listed by the signature and {kind}"))
        else:
            found[relative] = entry
    wrong += _changed(model, found, inventory, image, limits)
    if not place.single:
        wrong += _unlisted(model, place, signatures, inventory)
    return wrong


def _changed(
    model: SignedModel, found: Mapping[str, FileEntry], inventory: Inventory, image: Image, limits: ImageLimits
) -> Iterator[Mismatch]:
    contents = _Contents(found.values(), inventory, image, limits)
    for relative, entry in found.items():
        pieces = model.files[relative]
        if model.algorithm == "sha256" and pieces[0].end is None:
            same = entry.sha256 is not None and hex_of(entry.sha256) == pieces[0].digest.hex()
        else:
            same = pieces[-1].end in (None, entry.size) and _same(pieces, contents.open(entry), model.algorithm)
        if not same:
            yield Mismatch("changed-file", entry.path, f"{entry.path} is not the file that was signed")


def _unlisted(model: SignedModel, place: Place, signatures: frozenset[str], inventory: Inventory) -> Iterator[Mismatch]:
    """Files in the model's directory that nobody signed; a model among what the signer ignored counts too."""
    expected = signatures | {place.path(relative) for relative in model.files}
    for path, entry in inventory.files.items():
        if not path.startswith(place.folder) or path in expected or entry.kind is Kind.DIRECTORY:
            continue
        relative = path.removeprefix(place.folder)
        is_model = inventory.classes.get(path) in (FileClass.MODEL, FileClass.ARCHIVE)
        if is_model or not (model.ignores(relative) or (model.empty_left_out and entry.size == 0)):
            what = "a model file" if is_model else "a file"
            yield Mismatch("unlisted-file", path, f"{path} is {what} in the signed directory that the signature omits")


def _same(pieces: tuple[Piece, ...], stream: BinaryIO, algorithm: str) -> bool:
    with stream:
        for piece in pieces:
            hasher = new_hash(algorithm)
            left = None if piece.end is None else piece.end - piece.start
            while left != 0 and (data := stream.read(_CHUNK if left is None else min(left, _CHUNK))):
                hasher.update(data)
                left = None if left is None else left - len(data)
            if left or hasher.digest() != piece.digest:
                return False
    return True


def new_hash(algorithm: str) -> Any:
    """A hash object; raises `CouldNotDecide` for BLAKE3 where the package `blake3` is not installed."""
    if algorithm == "blake3":
        if find_spec("blake3") is None:
            raise CouldNotDecide(
                "the model is signed with BLAKE3, which this installation cannot compute",
                next_step="Install the package blake3, or have the model signed with SHA-256 (the default).",
            )
        make: Callable[[], Any] = import_module("blake3").blake3
        return make()
    return hashlib.new(algorithm)


class _Contents:
    """Streams of files: what the inventory kept, else the layers read once more, in one pass when first asked."""

    def __init__(self, entries: Iterable[FileEntry], inventory: Inventory, image: Image, limits: ImageLimits) -> None:
        self._entries, self._inventory, self._image, self._limits = entries, inventory, image, limits
        self._read: dict[tuple[int, str], bytes] | None = None

    def open(self, entry: FileEntry) -> BinaryIO:
        inventory = self._inventory
        if entry.path in inventory.contents or entry.path in inventory.spooled:
            return inventory.open(entry.path)
        if self._read is None:
            wanted = [one for one in self._entries if one.path not in inventory.spooled]
            self._read = read_again(self._image, inventory, wanted, most=MAX_REREAD_BYTES, limits=self._limits)
        data = self._read.get((entry.layer, entry.path))
        if data is None:
            raise CouldNotDecide(
                f"{entry.path} is too large to be read again for its hash",
                next_step="Have the model signed by whole files with SHA-256, the default of model-signing.",
            )
        return io.BytesIO(data)
