"""GGUF: numbers after a list of keys and values; some of the values are templates that a program will render."""

from __future__ import annotations

from typing import Final, Literal

from checks.model_files.opcodes import Unparsable
from checks.model_files.parts import Found, Part
from checks.model_files.templates import examine_template

_MAX_PAIRS = 100_000
_MAX_ITEMS = 2_000_000
"""Texts and arrays in all arrays; vocabularies have some hundred thousand. Numbers are passed over at once."""
_MAX_TEXT = 16 << 20
_MAX_NESTED = 4
_WIDTHS: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9


def examine_gguf(part: Part, found: Found) -> None:
    """Read the keys and values; raises `Unparsable` where they do not fit the file."""
    found.formats.append("GGUF")
    _Reader(part, found).read()


class _Reader:
    def __init__(self, part: Part, found: Found) -> None:
        self.part = part
        self.found = found
        self.items = 0
        part.stream.seek(4)
        raw = self._take(4)
        self.order: Literal["little", "big"] = "little" if int.from_bytes(raw, "little") < 1 << 16 else "big"
        self.version = int.from_bytes(raw, self.order)
        if not 1 <= self.version <= 3:
            raise Unparsable(f"a GGUF file of the unknown version {self.version}")

    def read(self) -> None:
        self._length()
        pairs = self._length()
        if pairs > _MAX_PAIRS:
            raise Unparsable(f"a GGUF file with {pairs:,} keys")
        for _ in range(pairs):
            key = self._text().decode("utf-8", "replace")
            self._value(key, self._number(4), 0)

    def _value(self, key: str, kind: int, depth: int) -> None:
        if kind == _STRING:
            text = self._text()
            if "template" in key.lower():
                examine_template(text.decode("utf-8", "replace"), self.found, f"{self.part.name}/{key[:80]}")
        elif kind == _ARRAY:
            inner, count = self._number(4), self._length()
            self._array(key, inner, count, depth)
        elif kind in _WIDTHS:
            self._pass(_WIDTHS[kind])
        else:
            raise Unparsable(f"a GGUF value of the unknown type {kind}", self.part.stream.tell())

    def _array(self, key: str, kind: int, count: int, depth: int) -> None:
        if kind in _WIDTHS:
            self._pass(_WIDTHS[kind] * count)
            return
        self.items += count
        if self.items > _MAX_ITEMS or depth > _MAX_NESTED:
            raise Unparsable("a GGUF array that is far too long or too deep", self.part.stream.tell())
        for _ in range(count):
            self._value(key, kind, depth + 1)

    def _text(self) -> bytes:
        length = self._length()
        if length > _MAX_TEXT:
            raise Unparsable("a GGUF text that is far too long", self.part.stream.tell())
        return self._take(length)

    def _length(self) -> int:
        """A count or length; 4 bytes in the first version, 8 since."""
        return self._number(4 if self.version == 1 else 8)

    def _number(self, width: int) -> int:
        return int.from_bytes(self._take(width), self.order)

    def _take(self, count: int) -> bytes:
        data = self.part.stream.read(count)
        if len(data) < count:
            raise Unparsable("a GGUF file that ends early", self.part.stream.tell())
        return data

    def _pass(self, count: int) -> None:
        position = self.part.stream.tell() + count
        if position > self.part.size:
            raise Unparsable("a GGUF file that ends early", position)
        self.part.stream.seek(position)
