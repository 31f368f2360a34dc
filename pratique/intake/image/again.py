"""Files of an image read once more, for checks that know only after the inventory which ones they need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from pratique.digests import sha256_bytes
from pratique.intake.image.documents import LAYER_PACKING
from pratique.intake.image.guards import clean_path
from pratique.intake.image.model import FileEntry, Image, ImageLimits, Inventory, Kind
from pratique.intake.image.streams import Budget, UnpackedLayer
from pratique.intake.image.tar import TarReader

_DEFAULT_LIMITS = ImageLimits()
Place = tuple[int, str]
"""Number of the layer, and path."""


def read_again(
    image: Image,
    inventory: Inventory,
    entries: Iterable[FileEntry],
    *,
    most: int,
    limits: ImageLimits = _DEFAULT_LIMITS,
) -> dict[Place, bytes]:
    """Content of regular files of the image, also of hidden ones, by layer and path; `most` bytes together.

    Files beyond `most`, small ones first, are left out. For the rest see `read_each_again`.
    """
    chosen = _smallest(entries, most)
    return {(entry.layer, entry.path): data for entry, data in read_each_again(image, inventory, chosen, limits=limits)}


def read_each_again(
    image: Image, inventory: Inventory, entries: Iterable[FileEntry], *, limits: ImageLimits = _DEFAULT_LIMITS
) -> Iterator[tuple[FileEntry, bytes]]:
    """Regular files of the image, also hidden ones, with their content; one at a time is in memory.

    What the inventory kept is taken from there; only layers that hold something else are read, each once, to its end or
    to the last file wanted, and what there is room for stays with the inventory for whoever asks next. What is no
    regular file, and files whose bytes are not those of the inventory, are left out: the caller sees what is missing.
    Raises as `read_inventory` does.
    """
    source = _first_places(inventory)
    wanted: dict[int, dict[str, list[FileEntry]]] = {}
    for entry in entries:
        if entry.kind is not Kind.FILE or entry.sha256 is None:
            continue
        data = _at_hand(inventory, entry)
        if data is not None:
            yield entry, data
        else:
            place = source.get((entry.layer, entry.sha256), entry.path)
            wanted.setdefault(entry.layer, {}).setdefault(place, []).append(entry)
    for number, names in wanted.items():
        for entry, data in _read_layer(image, number, names, limits):
            inventory.reread.keep(str(entry.sha256), data)
            yield entry, data


def _smallest(entries: Iterable[FileEntry], most: int) -> Iterator[FileEntry]:
    """The smallest of `entries`, as far as `most` bytes go."""
    for entry in sorted(entries, key=lambda e: (e.size, e.layer, e.path)):
        if entry.size > most:
            return
        most -= entry.size
        yield entry


def _first_places(inventory: Inventory) -> dict[tuple[int, str], str]:
    """Where a layer has the bytes of a digest themselves: a hard link has none."""
    places: dict[tuple[int, str], str] = {}
    for entry in chain(inventory.files.values(), inventory.hidden):
        if entry.sha256 and not entry.linkname:
            places.setdefault((entry.layer, entry.sha256), entry.path)
    return places


def _at_hand(inventory: Inventory, entry: FileEntry) -> bytes | None:
    if inventory.files.get(entry.path) == entry and entry.path in inventory.contents:
        return inventory.contents[entry.path]
    return b"" if entry.size == 0 else inventory.reread.files.get(str(entry.sha256))


def _read_layer(
    image: Image, number: int, names: dict[str, list[FileEntry]], limits: ImageLimits
) -> Iterator[tuple[FileEntry, bytes]]:
    layer = image.layers[number]
    with image.open_layer(layer) as blob:
        budget = Budget(limits.bytes_, limits.entries)
        packing = LAYER_PACKING[layer.media_type]
        unpacked = UnpackedLayer(blob, packing=packing, budget=budget, where=layer.digest)
        reader = TarReader(unpacked, where=layer.digest)
        for entry in reader:
            if entry.kind is not Kind.FILE or entry.hard_link:
                continue
            path = clean_path(entry.name, limits, where=layer.digest)
            waiting = names.get(path, [])
            if all(entry.size != one.size for one in waiting):
                continue
            data = b"".join(reader.chunks())
            digest = sha256_bytes(data)
            for one in [one for one in waiting if one.sha256 == digest]:
                waiting.remove(one)
                yield one, data
            if not waiting:
                del names[path]
            if not names:
                return
