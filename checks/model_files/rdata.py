"""R's serialised data (`.rds`, `.RData`): followed item by item for what R would run.

The form is that of `ReadItem` in R's `serialize.c`, big-endian. Vectors, lists, symbols, environments and formulas are
data. Functions run when a method of the model calls them, promises and bytecode as soon as the value is touched.
"""

from __future__ import annotations

from typing import Final

from checks.model_files.opcodes import Unparsable
from checks.model_files.parts import Found, Part

_STARTS = (b"RDX2\n", b"RDX3\n", b"RDA2\n", b"RDA3\n", b"RDB2\n", b"RDB3\n")
_BARE = (b"X\n\0\0\0\x02\0", b"X\n\0\0\0\x03\0", b"A\n2\n", b"A\n3\n", b"B\n\x02\0\0\0", b"B\n\x03\0\0\0")
_MAX_ITEMS = 3_000_000
_MAX_NAME = 4096
_SYMBOL, _ENVIRONMENT, _BYTECODE, _TEXT, _WEAK, _POINTER, _S4, _ALTERNATIVE, _REFERENCE = (
    *(1, 4, 21, 9, 23, 22, 25),
    *(238, 255),
)
_CODE: Final = {
    3: "a function",
    5: "a promise",
    7: "a function of R itself",
    8: "a function of R itself",
    17: "promises",
}
_PAIRS = frozenset((2, 3, 5, 6, 17, 239, 240))
"""Cells of lists: attributes, tag, value, rest. 239 and 240 always have attributes."""
_WIDTHS: Final = {10: 4, 13: 4, 14: 8, 15: 16, 24: 1}
_VECTORS = frozenset((16, 19, 20))
_NAMED = frozenset((247, 248, 249))
_CONSTANTS = frozenset((241, 242, 250, 251, 252, 253, 254, 0))
_MAPPED = (b"mmap_integer", b"mmap_real")
"""Vectors whose values R reads from a file that they name."""
_HAS_ATTRIBUTES, _HAS_TAG = 0x200, 0x400


def is_rdata(head: bytes) -> bool:
    """Whether R's data begin so."""
    return head.startswith((*_STARTS, *_BARE))


def examine_rdata(part: Part, found: Found) -> None:
    """Raises `Unparsable` where the items cannot be followed to the end of the file."""
    found.formats.append("R data")
    _Walk(part, found).run()


class _Walk:
    def __init__(self, part: Part, found: Found) -> None:
        self.part = part
        self.found = found
        self.items = 0
        self.todo: list[int] = [1]
        """How many items are still to be read, for each of the levels that are open; the innermost last."""
        self.alternative = False
        self.mapped = False

    def run(self) -> None:
        self._begin()
        while self.todo:
            if not self.todo[-1]:
                self.todo.pop()
                continue
            self.todo[-1] -= 1
            self.items += 1
            if self.items > _MAX_ITEMS:
                raise Unparsable(f"more than {_MAX_ITEMS:,} items of R")
            self._item()
        if self.alternative and self.mapped:
            self.found.unsafe("external-data", "R data whose values are read from another file", self.part.name)
        if self.part.stream.tell() != self.part.size:
            raise Unparsable("R data with bytes behind their end", self.part.stream.tell())

    def _begin(self) -> None:
        start = 5 if self.part.head(5) in _STARTS else 0
        self.part.stream.seek(start)
        if self._take(2) != b"X\n":
            raise Unparsable("R data written as text, or in the order of one processor")
        version = self._number()
        self._take(8)
        if version == 3:
            self._take(self._length())
        elif version != 2:
            raise Unparsable(f"R data of the unknown version {version}")

    def _item(self) -> None:
        at = self.part.stream.tell()
        flags = self._number() & 0xFFFFFFFF
        kind = flags & 0xFF
        attributes = 1 if flags & _HAS_ATTRIBUTES else 0
        if kind in _CODE:
            self.found.unsafe(
                "r-code", f"{_CODE[kind]} in R's data, which runs when the model is used", self._where(at)
            )
        if kind == _BYTECODE:
            self.found.unsafe("r-code", "bytecode in R's data, which runs when the model is used", self._where(at))
            raise Unparsable("bytecode of R, which is not followed here", at)
        if kind in (7, 8):
            self._text(at)
        elif kind in _PAIRS:
            attributes = 1 if kind in (239, 240) else attributes
            self.todo.append(attributes + (1 if flags & _HAS_TAG else 0) + 2)
        elif kind in _WIDTHS:
            self._skip(self._length() * _WIDTHS[kind], at)
            self.todo.append(attributes)
        elif kind in _VECTORS:
            self.todo += [attributes, self._length()]
        else:
            self._other(kind, flags, attributes, at)

    def _other(self, kind: int, flags: int, attributes: int, at: int) -> None:
        if kind == _TEXT:
            self._text(at)
            self.todo.append(attributes)
        elif kind == _SYMBOL:
            self.todo.append(1)
        elif kind == _ENVIRONMENT:
            self._take(4)
            self.todo.append(4)
        elif kind == _REFERENCE:
            self._take(0 if flags >> 8 else 4)
        elif kind in _NAMED:
            self._take(4)
            self.todo.append(self._length())
        elif kind == _POINTER:
            self.todo.append(2 + attributes)
        elif kind in (_WEAK, _S4):
            self.todo.append(attributes)
        elif kind == _ALTERNATIVE:
            self.alternative = True
            self.todo.append(3)
        elif kind not in _CONSTANTS:
            raise Unparsable(f"an item of R of the unknown kind {kind}", at)

    def _text(self, at: int) -> None:
        length = self._number()
        if 0 < length <= _MAX_NAME:
            self.mapped = self._take(length) in _MAPPED or self.mapped
        elif length > 0:
            self._skip(length, at)

    def _where(self, at: int) -> str:
        return f"{self.part.name}@{at}"

    def _number(self) -> int:
        return int.from_bytes(self._take(4), "big", signed=True)

    def _length(self) -> int:
        length = self._number()
        if length == -1:
            length = (self._number() << 32) + (self._number() & 0xFFFFFFFF)
        if not 0 <= length <= self.part.size:
            raise Unparsable("an item of R that is longer than the file", self.part.stream.tell())
        return length

    def _skip(self, count: int, at: int) -> None:
        end = self.part.stream.tell() + count
        if end > self.part.size:
            raise Unparsable("an item of R that is longer than the file", at)
        self.part.stream.seek(end)

    def _take(self, count: int) -> bytes:
        if count > self.part.size:
            raise Unparsable("an item of R that is longer than the file", self.part.stream.tell())
        data = self.part.stream.read(count)
        if len(data) < count:
            raise Unparsable("R data that are cut short", self.part.stream.tell())
        return data
