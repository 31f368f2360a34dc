"""Decodes text that may hold something: base64, base32, hexadecimal, escapes, lists of numbers; straight and reversed.

A run of one alphabet is decoded as it stands (line ends, indents and zero bytes taken out). Besides, a buffer is read
with *everything* taken out that is not of the alphabet, so that separators of any kind do not help. What that gives
is mostly rubbish, and is looked into only where something can be recognised in it: a compressed stream, or text.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from sandbox.canaries.encodings import TRUNCATED
from sandbox.canaries.opaque import random_looking
from sandbox.canaries.parts import Bounds, Part
from sandbox.canaries.streams import Streams, streams_in_rubbish

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WINDOW = 8 << 20
"""Bytes of text read at a time when looking for encoded runs."""

SMALL = 1 << 14
"""Bytes of decoded rubbish that are searched for markers all the same."""

MEDIUM = 1 << 20
"""Bytes of text up to which it is also read back to front, and what it gives also searched for raw deflate."""

_SPACING = b" \t\r\n\v\f\0"
_URLSAFE = bytes.maketrans(b"-_", b"+/")
_SWAPPED = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)
_UPPER = bytes.maketrans(b"abcdefghijklmnopqrstuvwxyz", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t\r\n"
_TEXT = re.compile(rb"[\t\r\n\x20-\x7e]{32,}")
_VARIED = 6
_BLOCK = 16


@dataclass(frozen=True, slots=True)
class _Alphabet:
    """An encoding: its characters, how few in a row count, in how many places a run may begin, and how it is read."""

    name: str
    characters: bytes
    least: int
    places: int
    decode: Callable[[bytes], bytes]

    @property
    def others(self) -> bytes:
        """Every byte that is not in the alphabet."""
        return bytes(set(range(256)) - set(self.characters))


def decoded_parts(data: bytes | memoryview, bounds: Bounds) -> Iterator[Part]:
    """What the encoded text in `data` stands for, straight and reversed."""
    for alphabet in _ALPHABETS:
        yield from _runs(data, alphabet, bounds)
    for start in range(0, len(data), WINDOW):
        window = bytes(data[start : start + WINDOW])
        yield from _fused(window, start, bounds)
        yield from escaped_parts(window, start, bounds)


def escaped_parts(window: bytes, offset: int, bounds: Bounds) -> Iterator[Part]:
    """What escapes and lists of numbers in `window` stand for; separators between the escapes are seen through too."""
    yield from _unescaped(window, offset)
    if sum(map(window.count, (b"%", b"\\", b"&"))) * _DENSE > len(window):
        for others in (_NOT_OF_ESCAPES, _NOT_OF_ESCAPES + _URL_SAFE):
            if len(fused := window.translate(None, others)) < len(window):
                yield from _unescaped(fused, offset)
    yield from _numbers(window, offset, bounds)
    if window.count(b",") * _DENSE > len(window):
        yield from _numbers(window.translate(None, _SPACING), offset, bounds)


def reversed_escapes(window: bytes, bounds: Bounds) -> Iterator[Part]:
    """What escapes in `window` stand for when it is read back to front, where that makes more of them."""
    turned = window[::-1]
    if _TURNED.search(window) or sum(1 for _ in _ESCAPE.finditer(turned)) > 2 * sum(
        1 for _ in _ESCAPE.finditer(window)
    ):
        yield from escaped_parts(turned, 0, bounds)


# --- runs of one alphabet -------------------------------------------------------------------------------------------


def _runs(data: bytes | memoryview, alphabet: _Alphabet, bounds: Bounds) -> Iterator[Part]:
    """Decode every run of `alphabet` in `data`, wrapped and indented ones too; offsets are those of the window."""
    run = re.compile(b"[" + re.escape(alphabet.characters) + b"]{%d,}" % alphabet.least)
    carried, carried_from = bytearray(), 0
    for start in range(0, len(data), WINDOW):
        text = bytes(data[start : start + WINDOW]).translate(_URLSAFE, _SPACING)
        begin = carried_from if carried else start
        last = start + WINDOW >= len(data)
        if not last and not text.translate(None, alphabet.characters):  # nothing ends in this window
            carried_from = begin
            carried += text
            text = b""
        else:
            text, carried = bytes(carried + text), bytearray()
        whole = len(text) if last else len(text.rstrip(alphabet.characters))
        if whole < len(text):  # a run that touches the end goes on in the next window
            carried, carried_from = bytearray(text[whole:]), begin
        if _holds_run(text, alphabet.characters):
            for found in run.finditer(text, 0, whole):
                yield from _read(found.group(), alphabet, begin, bounds, always=True)
        if len(carried) > bounds.part_bytes:
            yield Part("text", begin, b"", cut=f"encoded text of more than {bounds.part_bytes} bytes in one piece")
            carried.clear()


def _fused(window: bytes, offset: int, bounds: Bounds) -> Iterator[Part]:
    """Decode all that is of an alphabet in `window` as if nothing else stood in between."""
    for alphabet in _ALPHABETS:
        texts = {window.translate(None, alphabet.others)}
        if alphabet.places == 4:  # base64: `-`, `_`, `+` and `/` may belong to it or be separators
            texts.add(window.translate(_URLSAFE, bytes(set(alphabet.others) - set(b"-_"))))
            texts.add(window.translate(None, alphabet.others + b"+/"))
        for text in texts:
            if len(text) >= alphabet.least:
                yield from _read(text, alphabet, offset, bounds, always=False)


def _read(text: bytes, alphabet: _Alphabet, offset: int, bounds: Bounds, *, always: bool) -> Iterator[Part]:
    """Decode at every place at which a group of characters may begin; `always` gives rubbish too, to be searched."""
    texts = [text]
    if alphabet.places == 4 and len(text) <= SMALL:
        texts.append(text.translate(_SWAPPED))
    for one in texts:
        for direction in (one, one[::-1]) if len(one) <= MEDIUM else (one,):
            for place in range(alphabet.places):
                decoded = alphabet.decode(direction[place:])
                if (always and direction is one) or len(decoded) <= SMALL:
                    yield Part(alphabet.name, offset, decoded, leaf=True)
                if always and direction is text and not place:
                    yield from _unreadable(decoded, bounds)
                yield from _promising(decoded, alphabet.name, offset, bounds)


def _promising(decoded: bytes, how: str, offset: int, bounds: Bounds) -> Iterator[Part]:
    """What is worth unpacking further in bytes that may be rubbish: streams, either way round, and text."""
    yield from streams_in_rubbish(decoded, how, offset, bounds, headerless=len(decoded) <= MEDIUM)
    if len(decoded) <= MEDIUM:
        for part in streams_in_rubbish(decoded[::-1], f"{how} > reversed", offset, bounds):
            yield replace(part, cut="")
    if _holds_run(decoded, _PRINTABLE):
        for found in _TEXT.finditer(decoded):
            if len(set(found.group())) >= _VARIED:
                yield Part(how, offset, found.group())


def _unreadable(decoded: bytes, bounds: Bounds) -> Iterator[Part]:
    streams = Streams(decoded, bounds)
    for _ in streams.parts():
        pass  # what they hold is looked into elsewhere; here it counts which bytes they take up
    yield from random_looking(decoded, streams.covered)


def _holds_run(text: bytes, alphabet: bytes) -> bool:
    """Whether a run of at least 32 bytes of `alphabet` can be in `text`: it fills one aligned block of 16, at least."""
    import numpy as np

    blocks = len(text) // _BLOCK
    inside = _members(alphabet)[np.frombuffer(text, dtype=np.uint8, count=blocks * _BLOCK)]
    return bool(inside.reshape(blocks, _BLOCK).all(axis=1).any())


@cache
def _members(alphabet: bytes) -> NDArray[np.bool_]:
    import numpy as np

    belongs = np.zeros(256, dtype=np.bool_)
    belongs[list(alphabet)] = True
    return belongs


def _base64(run: bytes) -> bytes:
    usable = len(run) - (len(run) % 4 == 1)  # one character alone holds no byte
    return base64.b64decode(run[:usable] + b"=" * (-usable % 4))


def _hexadecimal(run: bytes) -> bytes:
    return binascii.unhexlify(run[: len(run) // 2 * 2])


def _base32(run: bytes) -> bytes:
    """RFC 4648 base32 of either case; characters at the end that make no whole byte are left out."""
    import numpy as np

    padded = np.frombuffer(run.translate(_UPPER) + b"A" * (-len(run) % 8), dtype=np.uint8)
    values = np.where(padded < 65, padded - 24, padded - 65).astype(np.uint64).reshape(-1, 8)
    bits = np.zeros(len(values), dtype=np.uint64)
    for place in range(8):
        bits |= values[:, place] << np.uint64(35 - 5 * place)
    return bits.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 3:].tobytes()[: len(run) * 5 // 8]


_CAPITALS, _SMALL_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz"
_ALPHABETS = (
    _Alphabet("base64", _CAPITALS + _SMALL_LETTERS + b"0123456789+/", 32, 4, _base64),
    _Alphabet("base32", _CAPITALS + b"234567", 32, 8, _base32),
    _Alphabet("base32", _SMALL_LETTERS + b"234567", 32, 8, _base32),
    _Alphabet("hex", b"0123456789abcdefABCDEF", 48, 2, _hexadecimal),
)

# --- escapes and numbers --------------------------------------------------------------------------------------------

_ESCAPE = re.compile(
    rb"%(?P<url>[0-9A-Fa-f]{2})|[%\\]u(?P<u>[0-9A-Fa-f]{4})|\\[ux]\{(?P<brace>[0-9A-Fa-f]{1,6})\}|\\x(?P<x>[0-9A-Fa-f]{2})"
    rb"|\\U(?P<long>[0-9A-Fa-f]{8})|\\(?P<octal>[0-7]{3})|&#(?P<decimal>[0-9]{1,7});?"
    rb"|&#[xX](?P<entity>[0-9A-Fa-f]{1,6});?|=(?P<quoted>[0-9A-F]{2})|=\r?\n|\\\r?\n|\\(?P<self>[/\\\"'abfnrtv])|&(?P<named>amp|lt|gt|quot|apos);"
)
_URL_SAFE = b"_.-~/+"
_NOT_OF_ESCAPES = bytes(set(range(256)) - set(_CAPITALS + _SMALL_LETTERS + b"0123456789%\\&#;={}" + _URL_SAFE))
_CONTROL = bytes.maketrans(b"abfnrtv", b"\a\b\f\n\r\t\v")
_NAMED = {b"amp": b"&", b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'"}
_DENSE = 20
_TURNED = re.compile(rb"(?:[0-9A-Fa-f]{2}%){6,}(?![0-9A-Fa-f]{2})")
_MARGIN = 256
_NUMBERS = re.compile(
    rb"(?<![0-9A-Za-z])(?:(?:0[xX][0-9A-Fa-f]{1,2}|[0-9]{1,3})[^0-9A-Za-z]{1,6}){15,}(?:0[xX][0-9A-Fa-f]{1,2}|[0-9]{1,3})?"
)
_NUMBER = re.compile(rb"0[xX][0-9A-Fa-f]{1,2}|[0-9]{1,3}")
_DIGITS = re.compile(rb"[01]{96,}")


def _unescaped(window: bytes, offset: int) -> Iterator[Part]:
    """The surroundings of escapes (URL, HTML, JSON, Python, C, quoted-printable) with the characters meant."""
    start = end = -1
    for found in _ESCAPE.finditer(window):
        if end >= 0 and found.start() - end > 2 * _MARGIN:
            yield from _plain(window, start, end, offset)
            start = -1
        start = found.start() if start < 0 else start
        end = found.end()
    if end >= 0:
        yield from _plain(window, start, end, offset)


def _plain(window: bytes, start: int, end: int, offset: int) -> Iterator[Part]:
    """What is meant from `start` to `end`; what looks like an escape among bytes that are no text is none."""
    around = window[max(0, start - _MARGIN) : end + _MARGIN]
    meant = _ESCAPE.sub(_meant, around)
    gain = len(around) - len(meant)
    if len(meant) < TRUNCATED:
        return
    if gain * 4 > end - start > _MARGIN // 16 or len(around.translate(None, _PRINTABLE)) * 4 < len(around):
        yield Part("escaped", offset + start, meant)


def _meant(found: re.Match[bytes]) -> bytes:
    kind, text = found.lastgroup, found.group(found.lastgroup or 0)
    if kind is None:  # a soft line break
        return b""
    if kind == "self":
        return text.translate(_CONTROL)
    if kind == "named":
        return _NAMED[text]
    number = int(text, {"octal": 8, "decimal": 10}.get(kind, 16))
    if number < 256:
        return bytes([number])
    return chr(number).encode("utf-8", "surrogatepass") if number < 0x110000 else b""


def _numbers(window: bytes, offset: int, bounds: Bounds) -> Iterator[Part]:
    """Lists of bytes written as numbers, decimal or with 0x, and runs of binary digits."""
    for found in _NUMBERS.finditer(window):
        values = [int(one, 16 if one[1:2] in b"xX" and len(one) > 2 else 10) for one in _NUMBER.findall(found.group())]
        listed = bytes(value for value in values if value < 256)
        yield Part("number list", offset + found.start(), listed, leaf=True)
        yield from _promising(listed, "number list", offset + found.start(), bounds)
    for found in _DIGITS.finditer(window.translate(None, _SPACING)):
        for place in range(8):
            digits = found.group()[place:]
            listed = int(digits[: len(digits) // 8 * 8] or b"0", 2).to_bytes(len(digits) // 8 or 1, "big")
            yield Part("binary digits", offset, listed, leaf=True)
            yield from _promising(listed, "binary digits", offset, bounds)
