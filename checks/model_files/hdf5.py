"""HDF5 files: every object is followed from the root, and what would make a reader open other files is refused.

What the bytes mean is told by the HDF5 File Format Specification 3.0. Followed are superblocks 0 to 3, object headers 1
and 2, groups of both kinds (symbol tables; link messages, compact or in a fractal heap), and attributes. Other data are
never read: the library that reads them runs nothing of the file. Places that lie outside, cut-off files and unknown
forms raise `Unparsable`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

from checks.model_files.hdf5_heap import Bytes, dense_records
from checks.model_files.hdf5_values import Value, attribute_value, heap_values
from checks.model_files.opcodes import Unparsable
from checks.model_files.parts import Found, Part

MARK: Final = b"\x89HDF\r\n\x1a\n"
_MAX_OBJECTS = 200_000
_MAX_MESSAGES = 2_000_000
_LINK_INFO, _LINK, _EXTERNAL_FILES, _LAYOUT, _CONTINUATION, _SYMBOL_TABLE, _DRIVER, _ATTRIBUTES = (
    *(0x02, 0x06, 0x07, 0x08),
    *(0x10, 0x11, 0x14, 0x15),
)
_ATTRIBUTE = 0x0C
_SHARED = 2
"""Flag of a message that only names the place of another."""
_HARD, _SOFT, _EXTERNAL = 0, 1, 64
_VIRTUAL = 3


def examine_structure(part: Part, found: Found, offset: int) -> Iterator[Value]:
    """Follow the file whose mark stands at `offset`, and give the values that its readers may unpickle.

    Raises `Unparsable` where it cannot be followed to its end.
    """
    walk = _Walk(part, found, offset)
    walk.run()
    return chain(walk.values, heap_values(part, walk.data.length_size))


class _Walk:
    def __init__(self, part: Part, found: Found, offset: int) -> None:
        self.part = part
        self.found = found
        self.offset = offset
        self.data = Bytes(part, offset)
        self.pending: list[int] = []
        self.seen: set[int] = set()
        self.messages = 0
        self.values: list[Value] = []

    def run(self) -> None:
        self._superblock()
        while self.pending:
            address = self.pending.pop()
            if address in self.seen:
                continue
            self.seen.add(address)
            if len(self.seen) > _MAX_OBJECTS:
                raise Unparsable(f"more than {_MAX_OBJECTS:,} objects of HDF5")
            for kind, start, size in self._header(address):
                self._message(kind, start, size)

    def _refuse(self, message: str) -> None:
        self.found.unsafe("external-data", message, self.part.name)

    # --- where it begins ---------------------------------------------------------------------------------------------

    def _superblock(self) -> None:
        data = self.data
        data.seek(8)
        version = data.number(1)
        if version > 3:
            raise Unparsable(f"HDF5 with a superblock of the unknown version {version}")
        if version < 2:
            data.skip(4)
            data.sizes(data.number(1), data.number(1))
            data.skip(9 if version == 0 else 13)
            base, _, end, driver = (data.address() for _ in range(4))
            if driver is not None:
                raise Unparsable("HDF5 that is spread over several files")
            self._check_places(base, end)
            data.address()
            self._object(data.address())
        else:
            data.sizes(data.number(1), data.number(1))
            data.skip(1)
            base, extension, end, root = (data.address() for _ in range(4))
            self._check_places(base, end)
            self._object(root)
            if extension is not None:
                self._object(extension)

    def _check_places(self, base: int | None, end: int | None) -> None:
        """Addresses count from the mark, whatever the file says of a block before it."""
        if base not in (0, self.offset) or end is None:
            raise Unparsable("HDF5 that says it begins elsewhere")
        if end > self.part.size - (0 if base else self.offset):
            raise Unparsable("HDF5 that is cut short")

    def _object(self, address: int | None) -> None:
        if address is None:
            raise Unparsable("HDF5 that names an object at no place")
        self.pending.append(address)

    # --- object headers ----------------------------------------------------------------------------------------------

    def _header(self, address: int) -> Iterator[tuple[int, int, int]]:
        """Kind, place and size of each message of the object at `address`, continuations included."""
        data = self.data
        data.seek(address)
        if data.take(4) == b"OHDR":
            yield from self._header_2(address)
            return
        data.seek(address)
        if data.number(1) != 1:
            raise Unparsable("an object of HDF5 without a header", address)
        data.skip(7)
        size = data.number(4)
        yield from self._blocks([(address + 16, size)], 8, b"")

    def _header_2(self, address: int) -> Iterator[tuple[int, int, int]]:
        data = self.data
        data.seek(address + 4)
        version, flags = data.number(1), data.number(1)
        if version != 2:
            raise Unparsable("an object of HDF5 with an unknown header", address)
        data.skip((16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0))
        size = data.number(1 << (flags & 3))
        yield from self._blocks([(data.tell(), size)], 6 if flags & 4 else 4, b"OCHK")

    def _blocks(self, blocks: list[tuple[int, int]], width: int, mark: bytes) -> Iterator[tuple[int, int, int]]:
        """Messages in a run of blocks; `width` is that of a message's own header, 8 in the first version."""
        known = set(blocks)
        while blocks:
            start, size = blocks.pop(0)
            end = start + size
            while start + width <= end:
                kind, length = self._message_head(start, width)
                start += width
                if start + length > end:
                    raise Unparsable("a message of HDF5 that is longer than its block", start)
                yield kind, start, length
                if kind == _CONTINUATION:
                    more = self._continuation(start, mark)
                    if more in known:
                        raise Unparsable("headers of HDF5 that go in a circle", start)
                    known.add(more)
                    blocks.append(more)
                start += length

    def _message_head(self, start: int, width: int) -> tuple[int, int]:
        self.messages += 1
        if self.messages > _MAX_MESSAGES:
            raise Unparsable(f"more than {_MAX_MESSAGES:,} messages of HDF5")
        self.data.seek(start)
        kind, size = self.data.number(2 if width == 8 else 1), self.data.number(2)
        if kind == _ATTRIBUTE and self.data.number(1) & _SHARED:
            raise Unparsable("an attribute of HDF5 that is kept elsewhere", start)
        return kind, size

    def _continuation(self, start: int, mark: bytes) -> tuple[int, int]:
        data = self.data
        data.seek(start)
        address, size = data.address(), data.length()
        if address is None:
            raise Unparsable("a header of HDF5 that goes on nowhere", start)
        if not mark:
            return address, size
        data.seek(address)
        if data.take(4) != mark or size < 8:
            raise Unparsable("a header of HDF5 that goes on where none is", address)
        return address + 4, size - 8

    # --- messages ----------------------------------------------------------------------------------------------------

    def _message(self, kind: int, start: int, size: int) -> None:
        data = self.data
        data.seek(start)
        if kind == _SYMBOL_TABLE:
            self._symbols(data.address(), 0)
        elif kind == _LINK:
            self._link(start)
        elif kind in (_LINK_INFO, _ATTRIBUTES):
            data.skip(1)
            flags = data.number(1)
            data.skip((8 if kind == _LINK_INFO else 2) if flags & 1 else 0)
            heap, index = data.address(), data.address()
            if heap is not None:
                for record in dense_records(data, heap, index):
                    if kind == _LINK_INFO:
                        self._link(record)
                    else:
                        self._attribute(record, self.part.size - self.offset)
        elif kind == _ATTRIBUTE:
            self._attribute(start, start + size)
        elif kind == _EXTERNAL_FILES:
            self._refuse("HDF5 whose data lie in other files")
        elif kind == _DRIVER:
            raise Unparsable("HDF5 that is spread over several files")
        elif kind == _LAYOUT and data.number(1) >= 4 and size > 1 and data.number(1) == _VIRTUAL:
            self._refuse("HDF5 with a virtual dataset, which is put together from other files")

    def _attribute(self, start: int, end: int) -> None:
        self.values.append(attribute_value(self.data, start, end, self.offset))
        if len(self.values) > _MAX_MESSAGES:
            raise Unparsable(f"more than {_MAX_MESSAGES:,} attributes of HDF5")

    def _link(self, start: int) -> None:
        data = self.data
        data.seek(start)
        version, flags = data.number(1), data.number(1)
        if version != 1:
            raise Unparsable("a link of HDF5 of an unknown form", start)
        kind = data.number(1) if flags & 8 else _HARD
        data.skip((8 if flags & 4 else 0) + (1 if flags & 0x10 else 0))
        data.skip(data.number(1 << (flags & 3)))
        if kind == _HARD:
            self._object(data.address())
        elif kind == _EXTERNAL:
            target = data.take(data.number(2))[1:].partition(b"\0")[0].decode("utf-8", "replace")
            self._refuse(f"HDF5 with a link into the file {target[:200]!r}")
        elif kind != _SOFT:
            raise Unparsable("a link of HDF5 that needs code of its own", start)

    def _symbols(self, address: int | None, depth: int) -> None:
        """The objects of a group that keeps them in a B-tree of symbol table nodes."""
        data = self.data
        if address is None or depth > 16:
            raise Unparsable("a group of HDF5 without an end")
        self._count_node(address)
        data.seek(address)
        if data.take(4) != b"TREE" or data.number(1) != 0:
            raise Unparsable("a group of HDF5 that is none", address)
        level, used = data.number(1), data.number(2)
        data.skip(2 * data.offset_size)
        children = []
        for _ in range(used):
            data.length()
            children.append(data.address())
        for child in children:
            if level:
                self._symbols(child, depth + 1)
            else:
                self._symbol_node(child)

    def _symbol_node(self, address: int | None) -> None:
        data = self.data
        if address is None:
            raise Unparsable("a group of HDF5 without an end")
        self._count_node(address)
        data.seek(address)
        if data.take(4) != b"SNOD":
            raise Unparsable("a group of HDF5 that is none", address)
        data.skip(2)
        for _ in range(data.number(2)):
            data.skip(data.offset_size)
            header, kind = data.address(), data.number(4)
            data.skip(20)
            if kind != 2:  # a soft link
                self._object(header)

    def _count_node(self, address: int) -> None:
        if address in self.seen:
            raise Unparsable("groups of HDF5 that lie in each other", address)
        self.seen.add(address)
        if len(self.seen) > _MAX_OBJECTS:
            raise Unparsable(f"more than {_MAX_OBJECTS:,} objects of HDF5")
