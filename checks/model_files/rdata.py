"""R's serialised data (`.rds`, `.RData`): followed item by item for what R would run.

The form is that of `ReadItem` in R's `serialize.c`, big-endian. Vectors, lists, symbols and environments are data.
Functions run when a method of the model calls them, promises and bytecode as soon as the value is touched; what runs of
formulas and other calls is judged by what they call.
"""

from __future__ import annotations

from typing import Final

from checks.model_files.opcodes import Unparsable
from checks.model_files.parts import Found, Part
from checks.model_files.r_calls import (
    MAX_NAME,
    ODD_CALL,
    OF_CALL,
    OF_LIST,
    Role,
    looks_up,
    odd_name,
    odd_text,
    tagged,
)

_STARTS = (b"RDX2\n", b"RDX3\n", b"RDA2\n", b"RDA3\n", b"RDB2\n", b"RDB3\n")
_BARE = (b"X\n\0\0\0\x02\0", b"X\n\0\0\0\x03\0", b"A\n2\n", b"A\n3\n", b"B\n\x02\0\0\0", b"B\n\x03\0\0\0")
_MAX_ITEMS = 3_000_000
_MAX_TEXT = 65_536
_MAX_TEXTS_IN_CALLS = 16 * 1024**2
_MAX_TOLD = 20
_SYMBOL, _ENVIRONMENT, _BYTECODE, _TEXT, _TEXTS, _WEAK, _POINTER, _S4, _ALTERNATIVE, _REFERENCE = (
    *(1, 4, 21, 9, 16, 23, 22, 25),
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
_CALLS = frozenset((6, 240))
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
        self.todo: list[tuple[Role, int]] = [(Role.DATA, 1)]
        """How many items of what role are still to be read, for each level that is open; the innermost last."""
        self.names: list[bytes] = []
        """What later items may refer to, in its order: names of symbols, and nothing of the rest."""
        self.told = 0
        self.searched = 0
        """Bytes of texts in calls, which are searched."""
        self.alternative = False
        self.mapped = False

    def run(self) -> None:
        self._begin()
        while self.todo:
            role, count = self.todo.pop()
            if count > 1:
                self.todo.append((role, count - 1))
            if count:
                self._count()
                self._item(role)
        if self.alternative and self.mapped:
            self.found.unsafe("external-data", "R data whose values are read from another file", self.part.name)
        if self.part.stream.tell() != self.part.size:
            raise Unparsable("R data with bytes behind their end", self.part.stream.tell())

    def _count(self) -> None:
        self.items += 1
        self.part.followed.items += 1
        if self.items > _MAX_ITEMS:
            raise Unparsable(f"more than {_MAX_ITEMS:,} items of R")

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

    def _item(self, role: Role) -> None:
        at = self.part.stream.tell()
        flags = self._number() & 0xFFFFFFFF
        kind = flags & 0xFF
        attributes = 1 if flags & _HAS_ATTRIBUTES else 0
        if kind in _CODE:
            self._tell(f"{_CODE[kind]} in R's data, which runs when the model is used", at)
        if role is Role.OPERATOR and kind not in (_SYMBOL, _REFERENCE):
            self._tell(ODD_CALL, at)
        if kind == _BYTECODE:
            self._tell("bytecode in R's data, which runs when the model is used", at)
            raise Unparsable("bytecode of R, which is not followed here", at)
        if kind in (7, 8):
            self._text(Role.DATA, at)
        elif kind in _PAIRS:
            self._pair(role, kind, flags, at)
        elif kind in _WIDTHS:
            self._skip(self._length() * _WIDTHS[kind], at)
            self._expect(Role.DATA, attributes)
        elif kind in _VECTORS:
            self._expect(Role.DATA, attributes)
            self._expect(role if kind == _TEXTS else Role.DATA, self._length())
        else:
            self._other(role, kind, flags, attributes, at)

    def _expect(self, role: Role, count: int = 1) -> None:
        self.todo.append((role, count))

    def _pair(self, role: Role, kind: int, flags: int, at: int) -> None:
        """A cell: what is expected first is noted last."""
        of_arguments = role in OF_LIST  # whatever the kind of its cells, R takes it for a list
        value, rest = OF_LIST.get(role, (Role.DATA, Role.DATA))
        if kind in _CALLS and not of_arguments:
            value, rest = OF_CALL.get(role, (Role.HEAD, Role.ARGUMENTS))
            if role is Role.BY_NAME:
                self._tell(ODD_CALL, at)
        self._expect(rest)
        self._expect(value)
        if flags & _HAS_TAG:
            self._expect(Role.TAG if of_arguments else Role.DATA)
        if flags & _HAS_ATTRIBUTES or kind in (239, 240):
            self._expect(Role.DATA)

    def _other(self, role: Role, kind: int, flags: int, attributes: int, at: int) -> None:
        if kind == _TEXT:
            self._text(role, at)
            self._expect(Role.DATA, attributes)
        elif kind == _SYMBOL:
            self._symbol(role, at)
        elif kind == _ENVIRONMENT:
            self._take(4)
            self.names.append(b"")
            self._expect(Role.DATA, 4)
        elif kind == _REFERENCE:
            self._reference(role, flags >> 8 or self._number(), at)
        elif kind in _NAMED:
            self._take(4)
            self.names.append(b"")
            self._expect(Role.DATA, self._length())
        elif kind == _POINTER:
            self.names.append(b"")
            self._expect(Role.DATA, 2 + attributes)
        elif kind in (_WEAK, _S4):
            if kind == _WEAK:
                self.names.append(b"")
            self._expect(Role.DATA, attributes)
        elif kind == _ALTERNATIVE:
            self.alternative = True
            self._expect(Role.DATA, 3)
        elif kind not in _CONSTANTS:
            raise Unparsable(f"an item of R of the unknown kind {kind}", at)

    def _symbol(self, role: Role, at: int) -> None:
        self._count()
        if self._number() & (_HAS_ATTRIBUTES | 0xFF) != _TEXT:
            raise Unparsable("a symbol of R without a plain name", at)
        name = self._string(at, whole=True)
        self.names.append(name if len(name) <= MAX_NAME else b"")
        self._named(role, name, at)

    def _reference(self, role: Role, number: int, at: int) -> None:
        if not 0 < number <= len(self.names):
            raise Unparsable("an item of R that refers to none before it", at)
        self._named(role, self.names[number - 1], at)

    def _named(self, role: Role, name: bytes, at: int) -> None:
        """Judge a symbol where it stands; some say what the next items are."""
        self._tell(odd_name(role, name), at)
        if role is Role.HEAD and looks_up(name):
            self.todo[-1] = (Role.LOOKED_UP, 1)
        elif role is Role.TAG:
            self.todo[-1] = (tagged(self.todo[-1][0], name), 1)

    def _text(self, role: Role, at: int) -> None:
        text = self._string(at, whole=role is not Role.DATA)
        if role is Role.DATA:
            return
        self.searched += len(text)
        if self.searched > _MAX_TEXTS_IN_CALLS:
            raise Unparsable(f"more than {_MAX_TEXTS_IN_CALLS:,} bytes of texts in calls", at)
        self._tell(odd_name(role, text) or odd_text(text), at)

    def _string(self, at: int, *, whole: bool) -> bytes:
        """A text; empty for one that is missing, and for a very long one that need not be read as a whole."""
        length = self._number()
        if length > _MAX_TEXT:
            if whole:
                raise Unparsable(f"a name, or a text in a call, of {length:,} bytes", at)
            self._skip(length, at)
            return b""
        text = self._take(max(0, length))
        self.mapped = self.mapped or text in _MAPPED
        return text

    def _tell(self, message: str, at: int) -> None:
        if message and self.told < _MAX_TOLD:
            self.told += 1
            self.found.unsafe("r-code", message, self._where(at))

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
