"""Values of HDF5 that readers unpickle whole: where each begins, in attributes and in heaps of values of any length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from checks.model_files.hdf5_heap import Bytes
from checks.model_files.opcodes import Unparsable
from checks.model_files.parts import Part

_COLLECTION = b"GCOL\x01\0\0\0"
_WINDOW = 1 << 20


@dataclass(frozen=True)
class Value:
    """A value of `size` bytes at `start` of the file; the size may be too large."""

    start: int
    size: int


def attribute_value(data: Bytes, start: int, end: int, base: int) -> Value:
    """The value of the attribute whose message begins at `start`; raises `Unparsable`."""
    data.seek(start)
    version = data.number(1)
    data.skip(1)
    lengths = [data.number(2) for _ in range(3)]  # of its name, its type and its form
    if version not in (1, 2, 3):
        raise Unparsable("an attribute of HDF5 of an unknown form", start)
    if version == 1:
        lengths = [-(-length // 8) * 8 for length in lengths]
    begin = start + (9 if version == 3 else 8) + sum(lengths)
    return Value(base + begin, max(0, end - begin))


def heap_values(part: Part, length_size: int) -> Iterator[Value]:
    """Every object of the heaps that HDF5 calls global, which are found by their mark; raises `Unparsable`."""
    objects = 0
    for start in _collections(part):
        part.stream.seek(start + len(_COLLECTION))
        end = min(part.size, start + int.from_bytes(part.stream.read(length_size), "little"))
        at = start + len(_COLLECTION) + length_size
        while at + 8 + length_size <= end:
            part.stream.seek(at)
            head = part.stream.read(8 + length_size)
            size = int.from_bytes(head[8:], "little")
            at += len(head)
            if head[:2] == b"\0\0":  # what is left free
                break
            objects += 1
            if objects > part.size // (8 + length_size):
                raise Unparsable("heaps of HDF5 that lie in each other", start)
            yield Value(at, min(size, part.size - at))
            at += -(-size // 8) * 8


def _collections(part: Part) -> Iterator[int]:
    """Where the mark of a heap stands; the stream may be moved in between."""
    start = 0
    while start < part.size:
        part.stream.seek(start)
        window = part.stream.read(_WINDOW + len(_COLLECTION) - 1)
        at = window.find(_COLLECTION)
        while at >= 0:
            yield start + at
            at = window.find(_COLLECTION, at + 1)
        start += _WINDOW
