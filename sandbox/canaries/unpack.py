"""Everything that is packed inside bytes, one level down: streams, encoded text, both also back to front."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from sandbox.canaries.opaque import opaque_parts, random_looking
from sandbox.canaries.parts import Bounds, Part
from sandbox.canaries.streams import Streams
from sandbox.canaries.texts import decoded_parts, reversed_escapes


def packed_parts(data: bytes | memoryview, bounds: Bounds) -> Iterator[Part]:
    """Every compressed stream and all encoded text in `data`, unpacked one level, and what in it cannot be opened.

    Buffers of more than `bounds.part_bytes` are read for streams only, and a part says so.
    """
    streams = Streams(data, bounds)
    yield from opaque_parts(data)
    yield from streams.parts()
    yield from random_looking(data, streams.covered)
    if len(data) > bounds.part_bytes:
        yield Part("text", 0, b"", cut=f"more than {bounds.part_bytes} bytes in one piece, not read as encoded text")
        return
    yield from decoded_parts(data, bounds)
    for part in chain(Streams(bytes(data)[::-1], bounds).parts(), reversed_escapes(bytes(data), bounds)):
        yield replace(part, how=f"reversed > {part.how}", offset=0, cut="")
