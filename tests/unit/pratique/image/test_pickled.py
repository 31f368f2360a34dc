"""Which files may be pickles: what an unpickler would import for is kept, ordinary texts are not."""

from __future__ import annotations

import io
import pickle
import string
import struct
from typing import Any, ClassVar, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pratique.intake.image import FileClass
from pratique.intake.image.classify import HEAD, classify
from pratique.intake.image.pickled import looks_like_pickle

IMPORT = b"cposix\nsystem\n(Vtrue\ntR."
ODD = {
    "number": b"I1\n" + IMPORT,
    "number in hexadecimal": b"I0x1F\n" + IMPORT,
    "number without an end": b"Finf\n0" + IMPORT,
    "number without an end, in full": b"F-Infinity\n0" + IMPORT,
    "name in pieces, longer than what is looked at": b"N0\x80\x04cos\n" + b"path.os." * 600 + b"system\n(Vtrue\ntR.",
    "module in pieces, longer than what is looked at": b"N0\x80\x04cos" + b".path.os" * 600 + b"\nsystem\n(Vtrue\ntR.",
    "number with anything behind a zero byte": b"I1\0 and so on\n" + IMPORT,
    "text": b"Vsome words\n0" + IMPORT,
    "text in quotes": b"S'some words'\n0" + IMPORT,
    "long text": b"V" + b"some words " * 500 + b"\n0" + IMPORT,
    "bytes": b"C\x05\x00\x01\x02\x03\x040" + IMPORT,
    "bytes longer than what is looked at": b"B\x00\x20\x00\x00" + bytes(0x2000) + IMPORT,
    "names on the stack": b"Vposix\nVsystem\n\x93(Vtrue\ntR.",
    "names out of the memo": b"Vposix\np0\n0Vsystem\np1\n0g0\ng1\n\x93)R.",
    "list that is thrown away": b"](I1\nI2\ne0" + IMPORT,
    "mark that is taken away": b"(((NN111" + IMPORT,
    "instance of old": b"(Vtrue\niposix\nsystem\n.",
    "module of the tool's own with an odd name": b"cmy-\xc3\xa9\nx\n0" + IMPORT,
    "frame": b"\x95\x10\0\0\0\0\0\0\0" + IMPORT,
    "second pickle behind an empty one": b"N." + IMPORT,
    "object that the loader looks up, called": b"Pwhatever\n(Vtrue\ntR.",
    "object by a code": b"\x82\x01(Vtrue\ntR.",
    "three hundred values": b"N" * 300 + IMPORT,
}
TEXTS = (
    "Copyright (c) 2020\nAll rights reserved.\n",
    "The MIT License\n\nPermission is hereby granted\n",
    "In this file\ncposix\nsystem\n",
    "Life is\ncposix\nsystem\n",
    "class Model:\n    pass\n",
    "copyright\nnotice of this\n",
    "can be said in many words, " * 200,
    "cat" * 2000,
    "import os\nimport sys\n",
    "(function () {\n})();\n",
    "(import os\nsystem\n",
    "Summary\n",
    "Version 1\nmain\n",
    "Never. Or so.\n",
    "]\n",
    "}\n)\n",
    "N\n",
    "",
)


@pytest.mark.parametrize("kind", ODD)
def test_a_pickle_is_kept_whatever_it_begins_with(kind: str) -> None:
    data = ODD[kind]
    assert classify("app/weights", data[:HEAD], len(data)) is FileClass.MODEL


@pytest.mark.parametrize("text", TEXTS)
def test_an_ordinary_text_is_not_kept(text: str) -> None:
    data = text.encode()
    assert not looks_like_pickle(data[:HEAD], len(data))


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf", b"\xff\xfe"])
def test_a_configuration_of_keras_is_kept_with_any_mark_before_it(mark: bytes) -> None:
    text = '{"class_name": "Lambda"}'
    data = mark + text.encode("utf-16-le" if mark == b"\xff\xfe" else "utf-8")
    assert classify("app/weights", data, len(data)) is FileClass.MODEL


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [None, 1.5, "text", b"bytes", {"a": [1, 2]}, list(range(3000)), {1, 2}, (), range(3)])
def test_what_pickle_writes_is_kept(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    assert looks_like_pickle(data[:HEAD], len(data))


class _Asked(Exception):
    """An import was asked for."""


_IN_PYTHON: Any = pickle._Unpickler  # bounded in memory


class _Unpickler(_IN_PYTHON):  # type: ignore[misc]
    """Imports nothing, but tells that it was asked to."""

    def find_class(self, module: str, name: str) -> NoReturn:
        if not all(part.isascii() and part.isidentifier() for part in (module, name)):
            raise pickle.UnpicklingError
        raise _Asked

    def load_inst(self) -> None:
        """Without its mark it fails; this unpickler imports before it sees that, and calls nothing."""
        if not self.metastack:
            raise pickle.UnpicklingError
        _IN_PYTHON.load_inst(self)

    dispatch: ClassVar = {**_IN_PYTHON.dispatch, ord("i"): load_inst}


_FAILS = (
    *(pickle.UnpicklingError, struct.error, ArithmeticError, AssertionError, AttributeError, EOFError, LookupError),
    *(MemoryError, NotImplementedError, TypeError, ValueError),
)
_HARMLESS_TO_READ = bytes(sorted({*range(256)} - {0x96}))  # BYTEARRAY8 takes the memory it is told to
_PIECES = st.one_of(
    st.sampled_from([bytes([code]) for code in _HARMLESS_TO_READ]),
    st.sampled_from(
        [b"cposix\nsystem\n", b"Va\n", b"I1\n", b"p1\n", b"g1\n", b"q\1", b"h\1", b"(", b"U\2ab", b"N0", b")"]
    ),
    st.text(string.ascii_letters + string.digits + " \n'", max_size=8).map(str.encode),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_PIECES, max_size=12).map(lambda pieces: b"".join([*pieces, b"\n."])))
def test_whatever_asks_an_unpickler_for_an_import_is_kept(data: bytes) -> None:
    try:
        _Unpickler(io.BytesIO(data)).load()
    except _Asked:
        assert looks_like_pickle(data[:HEAD], len(data))
    except _FAILS:
        pass
