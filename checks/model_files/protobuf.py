"""The wire format of Protocol Buffers: fields with bytes, one after another; what does not matter is skipped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from checks.model_files.opcodes import Unparsable
from checks.model_files.parts import Part

_MAX_FIELDS = 3_000_000
_MAX_TEXT = 4096
_AHEAD = 1 << 14
_MAX_KEY = 0xFFFFFFFF


@dataclass(frozen=True)
class Field:
    """A field of fixed width or with a length: its number, how it is written, and where its bytes lie."""

    number: int
    wire: int
    start: int
    end: int


class Fields:
    """Reads the messages of one file, three million fields at most."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._read = 0
        self._held = b""
        self._held_at = 0

    def of(self, start: int, end: int) -> Iterator[Field]:
        """The fields of the message between two places, numbers left out; raises `Unparsable` where it is none."""
        position = start
        while position < end:
            self._read += 1
            self._part.followed.items += 1
            if self._read > _MAX_FIELDS or self._part.followed.too_many:
                raise Unparsable(f"more than {_MAX_FIELDS:,} fields", position)
            key, position = self._varint(position, end)
            if key > _MAX_KEY:
                raise Unparsable("a field of protobuf with a number that readers cut off", position)
            wire, size = key & 7, {1: 8, 5: 4}.get(key & 7)
            if wire == 0:
                _, position = self._varint(position, end)
                continue
            if wire == 2:
                size, position = self._varint(position, end)
            if size is None or position + size > end or key >> 3 == 0:
                raise Unparsable("not a protobuf message", position)
            yield Field(key >> 3, wire, position, position + size)
            position += size

    def text(self, field: Field) -> str:
        """The bytes of `field` as text."""
        if field.end - field.start > _MAX_TEXT:
            raise Unparsable("a name that is far too long", field.start)
        self._part.stream.seek(field.start)
        return self._part.stream.read(field.end - field.start).decode("utf-8", "replace")

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        value = 0
        for shift, byte in enumerate(self._ahead(position, min(10, end - position))):
            value |= (byte & 0x7F) << (7 * shift)
            if not byte & 0x80:
                return value, position + shift + 1
        raise Unparsable("not a protobuf message", position)

    def _ahead(self, position: int, count: int) -> bytes:
        """Bytes of the file, out of those that were read ahead where they are among them."""
        begin = position - self._held_at
        if begin < 0 or begin + count > len(self._held):
            self._part.stream.seek(position)
            self._held, self._held_at, begin = self._part.stream.read(_AHEAD), position, 0
        return self._held[begin : begin + count]
