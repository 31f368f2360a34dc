"""Pickles among other bytes: PyTables keeps some in the attributes and arrays of HDF5, and loads them when asked.

A value that is unpickled whole is followed whatever it begins with. Anywhere else what `pickle` writes is found by how
it begins, or by an import written as text; one that was made by hand to begin as nothing else does is not found so.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from itertools import chain

from checks.model_files.hdf5_values import Value
from checks.model_files.opcodes import Unparsable
from checks.model_files.parts import Found, Part
from checks.model_files.pickles import MAX_STEPS, Walk
from checks.model_files.report import Problem, Report, plausible
from pratique.intake.image.classify import HEAD
from pratique.intake.image.pickled import looks_like_pickle

_CHUNK = 1 << 20
_OVERLAP = 256
_NAMES = rb"[A-Za-z_][A-Za-z0-9_.]{1,100}\n[A-Za-z_][A-Za-z0-9_.]{0,100}\n"
_BEGINS = re.compile(
    rb"\x80[\x00-\x05]"  # PROTO
    rb"|c(?=" + _NAMES + rb")"  # GLOBAL
    rb"|\((?=c" + _NAMES + rb"|(?:[SVIFL][^\n]{0,100}\n)?i" + _NAMES + rb")"  # MARK of OBJ and INST
)
_FREE_STEPS = 50
"""Random bytes are followed no farther; what goes on counts."""
_RARE = 2000
"""Bytes for each of which, on average, one may look like the beginning of a pickle; among random ones it is 10,000."""


def pickles_in(part: Part, found: Found, values: Iterable[Value]) -> Iterator[Problem]:
    """Problems of the pickles in HDF5, in its `values` and anywhere else; those that call nothing tell nothing.

    Raises `Unparsable` where there is too much to follow.
    """
    steps = 0
    for number, offset in enumerate(chain(_values(part, values), _offsets(part))):
        if number > _RARE + part.size // _RARE:
            raise Unparsable("far too much in it that begins like a pickle", offset)
        report = Report(steps=steps)
        part.stream.seek(offset)
        with contextlib.suppress(Unparsable):
            Walk(part.stream, part.size, report).run()
        steps = max(steps, report.steps - _FREE_STEPS)
        if steps > MAX_STEPS:
            raise Unparsable(f"more than {MAX_STEPS:,} opcodes of pickles in it", offset)
        if report.calls and any(plausible(*pair) for pair in report.imports):
            found.imports |= {f"{module}.{name}" for module, name in report.imports if plausible(module, name)}
            yield from report.problems


def _values(part: Part, values: Iterable[Value]) -> Iterator[int]:
    """Where the values begin that may be pickles; the stream may be moved in between."""
    for value in values:
        part.stream.seek(value.start)
        if looks_like_pickle(part.stream.read(min(HEAD, value.size)), value.size):
            yield value.start


def _offsets(part: Part) -> Iterator[int]:
    """Where a pickle may begin; the stream may be moved in between."""
    start = 0
    while start < part.size:
        part.stream.seek(start)
        window = part.stream.read(_CHUNK + _OVERLAP)
        yield from (start + at.start() for at in _BEGINS.finditer(window) if at.start() < _CHUNK)
        start += _CHUNK
