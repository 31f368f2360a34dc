"""Reading pickle opcodes from a stream, with bounds, and never unpickling anything.

`pickletools` gives the table of opcodes and the decoding of their arguments; reading the bytes is done here, so that
an argument of a gigabyte is skipped and not held, and a line without an end is refused.
"""

from __future__ import annotations

import codecs
import io
import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

MAX_KEPT = 512
"""Of arguments longer than this the beginning is kept: no shape or type is as long, and no name needs to be."""
_LINE_CHUNK = 1 << 16


class Unparsable(Exception):
    """The bytes cannot be followed to their end as what they seem to be."""

    def __init__(self, message: str, offset: int = -1) -> None:
        super().__init__(message if offset < 0 else f"{message} (at byte {offset:,})")
        self.offset = offset


class Opaque:
    """A value whose content does not matter to the walk."""

    __slots__ = ()


OPAQUE: Final = Opaque()


@dataclass(frozen=True, slots=True)
class Long(Opaque):
    """An argument that is too long to be kept; `begin` is what it begins with, should it be a name."""

    begin: str


@dataclass(frozen=True, slots=True)
class Step:
    """One opcode: its name, its argument (`Long` where it is long), its offset in the stream."""

    name: str
    argument: Any
    offset: int


_TABLE: Final = {ord(opcode.code): opcode for opcode in pickletools.opcodes}
_LENGTHS: Final = {
    pickletools.TAKEN_FROM_ARGUMENT1: (1, False),
    pickletools.TAKEN_FROM_ARGUMENT4: (4, True),
    pickletools.TAKEN_FROM_ARGUMENT4U: (4, False),
    pickletools.TAKEN_FROM_ARGUMENT8U: (8, False),
}
_TWO_LINES: Final = frozenset(("GLOBAL", "INST"))
_NUMBERS: Final = frozenset(("INT", "LONG"))


def starts_like_opcode(byte: bytes) -> bool:
    """Whether `byte` is an opcode at all."""
    return len(byte) == 1 and byte[0] in _TABLE


def read_steps(stream: BinaryIO, size: int) -> Iterator[Step]:
    """The opcodes from the stream's position on, up to and with `STOP`; the caller may move the stream between steps.

    `size` is where the stream ends. Raises `Unparsable`.
    """
    while True:
        offset = stream.tell()
        code = stream.read(1)
        if not code:
            raise Unparsable("the pickle ends before its STOP", offset)
        opcode = _TABLE.get(code[0])
        if opcode is None:
            raise Unparsable(f"0x{code.hex()} is not a pickle opcode", offset)
        argument = _argument(opcode, stream, size, offset) if opcode.arg is not None else None
        yield Step(opcode.name, argument, offset)
        if opcode.name == "STOP":
            return


def _argument(opcode: pickletools.OpcodeInfo, stream: BinaryIO, size: int, offset: int) -> Any:
    """The argument; `Long` where it is long, `OPAQUE` where it is not written as `pickletools` reads it.

    Loaders read numbers in any base and, when told so, texts in any encoding: they go on, so the walk goes on too.
    """
    descriptor = opcode.arg
    if descriptor is None:
        return None
    if descriptor.n in _LENGTHS:
        raw, whole = _counted(stream, size, offset, *_LENGTHS[descriptor.n])
        if not whole:
            return _long(raw, opcode)
    elif descriptor.n == pickletools.UP_TO_NEWLINE:
        lines = [_line(stream, offset) for _ in range(2 if opcode.name in _TWO_LINES else 1)]
        raw = b"".join(line for line, _ in lines)
        if not all(whole for _, whole in lines):
            return _long(b" ".join(line.rstrip(b"\n") for line, _ in lines), opcode)
    else:
        raw = stream.read(descriptor.n)
        if len(raw) < descriptor.n:
            raise Unparsable(f"the argument of {opcode.name} is cut short", offset)
    try:
        if opcode.name in _NUMBERS and raw not in (b"00\n", b"01\n"):
            return int(raw.strip().rstrip(b"L"), 0)
        return descriptor.reader(io.BytesIO(raw))
    except (ValueError, UnicodeError, OverflowError):
        return OPAQUE


def _long(begin: bytes, opcode: pickletools.OpcodeInfo) -> Long:
    if opcode.name == "STRING":
        return Long(codecs.escape_decode(begin.lstrip(b"'\""), "replace")[0].decode("latin-1"))
    return Long(begin.decode("raw-unicode-escape" if opcode.name == "UNICODE" else "latin-1", "replace"))


def _counted(stream: BinaryIO, size: int, offset: int, width: int, signed: bool) -> tuple[bytes, bool]:
    """An argument with its length before it, and True; or how a long one begins, and False."""
    prefix = stream.read(width)
    length = int.from_bytes(prefix, "little", signed=signed)
    start = stream.tell()
    if len(prefix) < width or length < 0 or length > size - start:
        raise Unparsable("an argument is longer than the file", offset)
    if length > MAX_KEPT:
        begin = stream.read(MAX_KEPT)
        stream.seek(start + length)
        return begin, False
    return prefix + stream.read(length), True


def _line(stream: BinaryIO, offset: int) -> tuple[bytes, bool]:
    """A line, and True; or how a long one begins, and False."""
    line = stream.readline(MAX_KEPT)
    whole = line
    while whole and not whole.endswith(b"\n"):
        whole = stream.readline(_LINE_CHUNK)
    if not whole:
        raise Unparsable("a line without an end", offset)
    return line, whole is line
