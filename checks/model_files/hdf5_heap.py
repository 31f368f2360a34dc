"""Links and attributes that HDF5 keeps in a fractal heap, found by a B-tree; and reading numbers with bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from checks.model_files.opcodes import Unparsable
from checks.model_files.parts import Part

_MAX_RECORDS = 200_000
_MAX_TAKEN = 1 << 20
_AROUND = {5: (4, 0), 6: (8, 0), 8: (0, 9), 9: (0, 5)}
"""Kinds of trees, of links and of attributes by name and by order: bytes of a record around the heap's own number."""
_OF_ATTRIBUTES = (8, 9)
_SHARED = 2
"""Flag of an attribute that is kept in a heap of the whole file."""
_HUGE = 0x10
_HUGE_TREE = 1


class Bytes:
    """The file, read at addresses that count from its base; every place outside raises `Unparsable`."""

    def __init__(self, part: Part, offset: int) -> None:
        self._part = part
        self._base = offset
        self._at = 0
        self.offset_size = 8
        self.length_size = 8

    def sizes(self, offsets: int, lengths: int) -> None:
        """How wide addresses and lengths are."""
        if offsets not in (2, 4, 8) or lengths not in (2, 4, 8):
            raise Unparsable("HDF5 with addresses of an unknown width")
        self.offset_size, self.length_size = offsets, lengths

    def seek(self, address: int) -> None:
        """Go to an address."""
        self._at = address

    def tell(self) -> int:
        """The address reached."""
        return self._at

    def skip(self, count: int) -> None:
        """Pass over bytes."""
        self._at += count

    def take(self, count: int) -> bytes:
        """The next bytes."""
        place = self._base + self._at
        if not 0 <= place <= self._part.size or count > min(_MAX_TAKEN, self._part.size - place):
            raise Unparsable("HDF5 that names a place outside of the file", place)
        self._part.stream.seek(place)
        self._at += count
        return self._part.stream.read(count)

    def number(self, width: int) -> int:
        """The next number."""
        return int.from_bytes(self.take(width), "little")

    def length(self) -> int:
        """The next length."""
        return self.number(self.length_size)

    def address(self) -> int | None:
        """The next address; None for the one of all bits, which is nowhere."""
        value = self.number(self.offset_size)
        return None if value == (1 << (8 * self.offset_size)) - 1 else value


@dataclass(frozen=True)
class _Heap:
    """What the header of a fractal heap says; `rows` is 0 where its root is the only block."""

    id_length: int
    offset_width: int
    width: int
    start: int
    largest: int
    root: int
    rows: int
    huge: int | None


def dense_records(data: Bytes, heap: int, index: int | None) -> Iterator[int]:
    """Addresses of the records that the tree at `index` names in the heap; without one the heap's form is checked."""
    header = _heap(data, heap)
    if index is None:
        return
    huge: dict[int, int] = {}
    for identifier in _identifiers(data, index, header.id_length):
        kind, number = identifier[0] & 0xF0, identifier[1:]
        if kind == _HUGE:
            huge = huge or _huge_objects(data, header.huge)
            place = huge.get(int.from_bytes(number[: data.length_size], "little"))
        elif kind:
            raise Unparsable("something of HDF5 that is kept outside of its heap", index)
        else:
            place = _place(data, header, int.from_bytes(number[: header.offset_width], "little"))
        if place is None:
            raise Unparsable("something of HDF5 that lies nowhere", index)
        yield place


def _huge_objects(data: Bytes, index: int | None) -> dict[int, int]:
    """Places of the objects that are too large for the heap's blocks, by their numbers."""
    form = {_HUGE_TREE: data.offset_size + 2 * data.length_size}
    objects = {}
    for record in _records(data, index, form)[1] if index is not None else ():
        place = int.from_bytes(record[: data.offset_size], "little")
        objects[int.from_bytes(record[-data.length_size :], "little")] = place
    return objects


def _heap(data: Bytes, address: int) -> _Heap:
    data.seek(address)
    if data.take(4) != b"FRHP" or data.number(1) != 0:
        raise Unparsable("a heap of HDF5 that is none", address)
    id_length, filters = data.number(2), data.number(2)
    if filters:
        raise Unparsable("a heap of HDF5 that is compressed", address)
    data.skip(5 + data.length_size)
    huge = data.address()
    data.skip(data.offset_size + 9 * data.length_size)
    width, start, largest = data.number(2), data.length(), data.length()
    bits = data.number(2)
    data.skip(2)
    root, rows = data.address(), data.number(2)
    if not (width and start and largest >= start and 0 < bits <= 64 and id_length > (bits + 7) // 8):
        raise Unparsable("a heap of HDF5 of an unknown form", address)
    return _Heap(id_length, (bits + 7) // 8, width, start, largest, -1 if root is None else root, rows, huge)


def _place(data: Bytes, heap: _Heap, offset: int) -> int:
    """Where the byte `offset` of the heap lies in the file."""
    block, rows = heap.root, heap.rows
    for _ in range(64):
        if block < 0:
            raise Unparsable("a link of HDF5 that lies nowhere")
        if not rows:
            return block + offset
        row, size, first = 0, heap.start, 0
        while first + size * heap.width <= offset and row < rows:
            first += size * heap.width
            row += 1
            size = heap.start << max(0, row - 1)
        if row >= rows:
            raise Unparsable("a link of HDF5 that lies nowhere")
        column = (offset - first) // size
        data.seek(block)
        if data.take(4) != b"FHIB":
            raise Unparsable("a heap of HDF5 that is none", block)
        data.seek(block + 5 + data.offset_size + heap.offset_width + (row * heap.width + column) * data.offset_size)
        child = data.address()
        block = -1 if child is None else child
        offset -= first + column * size
        # a block larger than the largest one holds blocks itself: as many rows as make up its size
        rows = (size // (heap.start * heap.width)).bit_length() if size > heap.largest else 0
    raise Unparsable("a heap of HDF5 without an end")


def _identifiers(data: Bytes, address: int, id_length: int) -> Iterator[bytes]:
    """The heap's numbers of all records of a tree of links or attributes."""
    forms = {kind: before + id_length + behind for kind, (before, behind) in _AROUND.items()}
    kind, records = _records(data, address, forms)
    before = _AROUND[kind][0]
    for record in records:
        if kind in _OF_ATTRIBUTES and record[id_length] & _SHARED:
            raise Unparsable("an attribute of HDF5 that is kept elsewhere", address)
        yield record[before : before + id_length]


def _records(data: Bytes, address: int, forms: dict[int, int]) -> tuple[int, Iterator[bytes]]:
    """Kind and records of a B-tree of the second version, which is of one of the kinds in `forms` with that width."""
    data.seek(address)
    if data.take(4) != b"BTHD" or data.number(1) != 0:
        raise Unparsable("an index of HDF5 that is none", address)
    kind, node, width, depth = data.number(1), data.number(4), data.number(2), data.number(2)
    data.skip(2)
    root, used = data.address(), data.number(2)
    if forms.get(kind) != width or depth > 8 or node <= 10 + width:
        raise Unparsable("an index of HDF5 of an unknown form", address)
    if root is None:
        return kind, iter(())
    return kind, _Tree(data, node, width, _counts(node, width, depth, data.offset_size)).records(root, used, depth)


def _counts(node: int, width: int, depth: int, offset_size: int) -> tuple[int, list[int]]:
    """Bytes of a child's own count of records, and of the count of all below it, by depth."""
    most = (node - 10) // width
    own, all_below = _bytes_for(most), [0]
    total = most
    for level in range(1, depth + 1):
        pointer = offset_size + own + (all_below[level - 1] if level > 1 else 0)
        here = (node - 10 - pointer) // (width + pointer)
        if here < 1:
            raise Unparsable("an index of HDF5 of an unknown form")
        total = (here + 1) * total + here
        all_below.append(_bytes_for(total))
    return own, all_below


def _bytes_for(value: int) -> int:
    return (value.bit_length() - 1) // 8 + 1


@dataclass
class _Tree:
    data: Bytes
    node: int
    width: int
    counts: tuple[int, list[int]]
    seen: int = 0

    def records(self, address: int, used: int, depth: int) -> Iterator[bytes]:
        self.seen += used + 1
        if self.seen > _MAX_RECORDS:
            raise Unparsable(f"more than {_MAX_RECORDS:,} links in a group of HDF5")
        if 10 + used * self.width > self.node:
            raise Unparsable("an index of HDF5 that is fuller than full", address)
        data, (own, all_below) = self.data, self.counts
        data.seek(address)
        if data.take(4) != (b"BTIN" if depth else b"BTLF"):
            raise Unparsable("an index of HDF5 that is none", address)
        data.skip(2)
        yield from [data.take(self.width) for _ in range(used)]
        if not depth:
            return
        data.seek(address + 6 + used * self.width)
        children = []
        for _ in range(used + 1):
            children.append((data.address(), data.number(own)))
            data.skip(all_below[depth - 1] if depth > 1 else 0)
        for child, count in children:
            if child is None:
                raise Unparsable("an index of HDF5 that ends nowhere", address)
            yield from self.records(child, count, depth - 1)
