"""Files of an image read once more, for checks that know only after the inventory which ones they need."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from pratique.digests import sha256_bytes
from pratique.intake.image.documents import LAYER_PACKING
from pratique.intake.image.guards import clean_path
from pratique.intake.image.model import FileEntry, Image, ImageLimits, Inventory, Kind
from pratique.intake.image.reread import Place
from pratique.intake.image.streams import Budget, UnpackedLayer
from pratique.intake.image.tar import TarReader

_DEFAULT_LIMITS = ImageLimits()


def read_again(
    image: Image,
    inventory: Inventory,
    entries: Iterable[FileEntry],
    *,
    most: int,
    limits: ImageLimits = _DEFAULT_LIMITS,
) -> dict[Place, bytes]:
    """Content of regular files of the image, also of hidden ones, by layer and path; `most` bytes together.

    What the inventory kept is taken from there; only layers that hold something else are read, each to its end or to
    the last file wanted, and what is small stays with the inventory for whoever asks next. Files beyond `most`, and
    files whose bytes are not those of the inventory, are left out: the caller sees what is missing. Raises as
    `read_inventory` does.
    """
    with inventory.reread.lock:
        return _read(image, inventory, entries, most, limits)


def _read(
    image: Image, inventory: Inventory, entries: Iterable[FileEntry], most: int, limits: ImageLimits
) -> dict[Place, bytes]:
    found: dict[Place, bytes] = {}
    read: dict[Place, bytes] = {}
    wanted: dict[int, dict[str, list[FileEntry]]] = {}
    first: dict[tuple[int, str], str] = {}
    for entry in chain(inventory.files.values(), inventory.hidden):
        if entry.sha256 and not entry.linkname:
            first.setdefault((entry.layer, entry.sha256), entry.path)
    for entry in sorted(entries, key=lambda e: (e.size, e.layer, e.path)):
        if entry.kind is not Kind.FILE or entry.sha256 is None or entry.size > most:
            continue
        most -= entry.size
        if inventory.files.get(entry.path) == entry and entry.path in inventory.contents:
            found[entry.layer, entry.path] = inventory.contents[entry.path]
        elif (entry.layer, entry.path) in inventory.reread.files:
            found[entry.layer, entry.path] = inventory.reread.files[entry.layer, entry.path]
        elif entry.size == 0:
            found[entry.layer, entry.path] = b""
        else:
            source = first.get((entry.layer, entry.sha256), entry.path)
            wanted.setdefault(entry.layer, {}).setdefault(source, []).append(entry)
    for number, names in wanted.items():
        _read_layer(image, number, names, read, limits)
    inventory.reread.keep(read)
    return found | read


def _read_layer(
    image: Image, number: int, names: dict[str, list[FileEntry]], found: dict[Place, bytes], limits: ImageLimits
) -> None:
    layer = image.layers[number]
    with image.open_layer(layer) as blob:
        budget = Budget(limits.bytes_, limits.entries)
        packing = LAYER_PACKING[layer.media_type]
        unpacked = UnpackedLayer(blob, packing=packing, budget=budget, where=layer.digest)
        reader = TarReader(unpacked, where=layer.digest)
        missing = len(names)
        for entry in reader:
            if entry.kind is not Kind.FILE or entry.hard_link:
                continue
            waiting = names.get(clean_path(entry.name, limits, where=layer.digest), ())
            if not waiting or entry.size != waiting[0].size:
                continue
            data = b"".join(reader.chunks())
            digest = sha256_bytes(data)
            found.update({(number, one.path): data for one in waiting if one.sha256 == digest})
            missing -= 1
            if not missing:
                return
