"""Reading pickle opcodes from a stream, with bounds, and never unpickling anything.

`pickletools` gives the table of opcodes and the decoding of their arguments; reading the bytes is done here, so that
an argument of a gigabyte is skipped and not held, and a line without an end is refused.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

MAX_LINE = 1 << 20
MAX_KEPT = 4096
"""Arguments longer than this are skipped: no module, name, shape or type is as long."""


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
class Step:
    """One opcode: its name, its argument (`OPAQUE` where it is long), its offset in the stream."""

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
    descriptor = opcode.arg
    if descriptor is None:
        return None
    if descriptor.n in _LENGTHS:
        raw = _counted(stream, size, offset, *_LENGTHS[descriptor.n])
        if raw is None:
            return OPAQUE
    elif descriptor.n == pickletools.UP_TO_NEWLINE:
        raw = _line(stream, offset) + (_line(stream, offset) if opcode.name in _TWO_LINES else b"")
        if len(raw) > MAX_KEPT and opcode.name not in _TWO_LINES:
            return OPAQUE
    else:
        raw = stream.read(descriptor.n)
    try:
        return descriptor.reader(io.BytesIO(raw))
    except (ValueError, UnicodeError, OverflowError) as error:
        raise Unparsable(f"the argument of {opcode.name} cannot be read", offset) from error


def _counted(stream: BinaryIO, size: int, offset: int, width: int, signed: bool) -> bytes | None:
    """An argument with its length before it; None where it is long and was skipped."""
    prefix = stream.read(width)
    length = int.from_bytes(prefix, "little", signed=signed)
    start = stream.tell()
    if len(prefix) < width or length < 0 or length > size - start:
        raise Unparsable("an argument is longer than the file", offset)
    if length > MAX_KEPT:
        stream.seek(start + length)
        return None
    return prefix + stream.read(length)


def _line(stream: BinaryIO, offset: int) -> bytes:
    line = stream.readline(MAX_LINE)
    if not line.endswith(b"\n"):
        raise Unparsable("a line without an end", offset)
    return line
