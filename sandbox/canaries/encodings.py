"""The forms in which a canary may come out: every byte string by which the scanner recognises it."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator

from sandbox.canaries.tokens import Canary

TRUNCATED = 12
"""Leading or trailing characters of a token that still give it away (60 bits)."""

_PER_CHARACTER = (
    ("hex", "%02x"),
    ("url", "%%%02x"),
    ("escaped", "\\x%02x"),
    ("escaped", "\\u%04x"),
    ("escaped", "\\%03o"),
)

_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def patterns(canary: Canary) -> Iterator[tuple[str, bytes]]:
    """Every (encoding, pattern) of `canary`. The search folds case, so only *encoded* lower case is listed apart."""
    value = canary.value
    yield from _text_patterns(value, "")
    yield from _text_patterns(value[::-1], "reversed ")
    if canary.numeric:
        yield from _number_patterns(value)
        return
    yield from _text_patterns(value.lower(), "lower-case ")
    yield from _text_patterns(value[::-1].lower(), "reversed lower-case ")
    for turned in _rotated(value):
        yield "letters rotated", turned.encode("ascii")
    for part in (value[:TRUNCATED].encode(), value[-TRUNCATED:].encode()):
        yield "truncated plain", part
        yield "truncated hex", part.hex().encode()


def _text_patterns(text: str, prefix: str) -> Iterator[tuple[str, bytes]]:
    plain = text.encode("ascii")
    yield prefix + "plain", plain
    for name, form in _PER_CHARACTER:
        pattern = "".join(form % byte for byte in plain).encode()
        yield prefix + name, pattern
        yield f"{prefix}{name} reversed", pattern[::-1]
    yield prefix + "hex list", ", ".join(f"0x{byte:02x}" for byte in plain).encode()
    yield prefix + "decimal list", ", ".join(str(byte) for byte in plain).encode()
    for name, codec in (("", "ascii"), ("utf-16", "utf-16-le"), ("utf-16be", "utf-16-be")):
        raw = text.encode(codec)
        words = prefix + (name + " " if name else "")
        if name:
            yield prefix + name, raw
        yield words + "hex", raw.hex().encode()
        for pattern in _aligned(raw, 3, 6, base64.b64encode):
            yield words + "base64", pattern
            yield words + "base64 reversed", pattern[::-1]
        for pattern in _aligned(raw, 5, 5, base64.b32encode):
            yield words + "base32", pattern
            yield words + "base32 reversed", pattern[::-1]
    for encode in (base64.b85encode, base64.a85encode):
        for pattern in _aligned_by_group(plain, encode):
            yield prefix + "base85", pattern
    # Characters as numbers: what a row of pixels, a column or an array file holds.
    for name, form in (("int32", "i"), ("int64", "q"), ("float32", "f"), ("float64", "d")):
        for order in "<>":
            yield f"{prefix}{name} array", struct.pack(f"{order}{len(plain)}{form}", *plain)


def masked_texts(canary: Canary) -> Iterator[tuple[str, bytes]]:
    """What is looked for combined with one byte (XOR, addition): the text and its simplest encodings."""
    for text, note in ((canary.value, "plain"), (canary.value[::-1], "reversed plain")):
        yield note, text.encode("ascii")
        yield note, text.lower().encode("ascii")
    yield "hex", canary.value.encode("ascii").hex().encode()
    for pattern in _aligned(canary.value.encode("ascii"), 3, 6, base64.b64encode):
        yield "base64", pattern


def deflated(canary: Canary) -> Iterator[tuple[str, bytes]]:
    """The marker and its simplest encodings as raw deflate writes a text that is too short for a code of its own."""
    plain = canary.value.encode("ascii")
    encoded = (plain.hex().encode(), base64.b32encode(plain), *_aligned(plain, 3, 6, base64.b64encode))
    for text in (plain, plain[::-1], plain.lower(), plain[::-1].lower(), *encoded):
        for pattern in _as_literals(text):
            yield "deflate", pattern


def _as_literals(plain: bytes) -> Iterator[bytes]:
    """`plain` as literals of deflate's fixed code (RFC 1951 3.2.6), at each of the eight places in a byte.

    Such a literal (below 144) takes eight bits, so it is found wherever a stream without a header begins.
    """
    stream = sum(_MIRRORED[0x30 + byte] << 8 * place for place, byte in enumerate(plain))
    for shift in range(8):
        yield (stream >> shift).to_bytes(len(plain), "little")[: len(plain) - (shift > 0)]


def _rotated(text: str) -> Iterator[str]:
    """The text with its letters moved through the alphabet (ROT13 and its 24 siblings)."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for step in range(1, 26):
        yield text.translate(str.maketrans(letters, letters[step:] + letters[:step]))


def _number_patterns(value: str) -> Iterator[tuple[str, bytes]]:
    for order in "<>":
        yield "int64", struct.pack(f"{order}q", int(value))
        yield "float64", struct.pack(f"{order}d", float(value))
    yield "exponent", f"{value[0]}.{value[1:]}".encode()


def _aligned(raw: bytes, group: int, bits: int, encode: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """The characters that depend on `raw` alone, for each of the `group` places at which it can begin in a stream."""
    for before in range(group):
        encoded = encode(b"\0" * before + raw + b"\0" * group)
        yield encoded[-(-before * 8 // bits) : (before + len(raw)) * 8 // bits]


def _aligned_by_group(raw: bytes, encode: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """As `_aligned` for encodings of 4 bytes in 5 characters, where only a whole group depends on its bytes alone."""
    for before in range(4):
        encoded = encode(b"\1" * before + raw + b"\1" * 4)
        yield encoded[-(-before // 4) * 5 : (before + len(raw)) // 4 * 5]
