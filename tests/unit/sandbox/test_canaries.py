"""The canary scanner: what it must find, what it must not, and its bounds."""

from __future__ import annotations

import base64
import bz2
import gzip
import html
import io
import itertools
import json
import lzma
import os
import pickle
import quopri
import random
import struct
import tarfile
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pratique.errors import CouldNotDecide
from sandbox.canaries import Allowance, Bounds, CanaryKind, CanaryMint, Scanner, bars, scan
from sandbox.canaries.search import PatternIndex

MINT = CanaryMint(seed=7)
CANARIES = tuple(MINT.token(CanaryKind.IDENTIFIER, f"patients.csv#row {row}") for row in range(12))
NUMBER = MINT.number(CanaryKind.IDENTIFIER, "patients.csv#number")
LEAKED = CANARIES[5]
TEXT = LEAKED.value
PLAIN = TEXT.encode()
SCANNER = Scanner((*CANARIES, NUMBER))
AROUND = b"Traceback (most recent call last): ValueError: "


def zipped(data: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("notes.txt", data * 3)
    return stream.getvalue()


def tarred(data: bytes, mode: str = "w") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        entry = tarfile.TarInfo("notes.txt")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


def split(data: bytes, between: bytes, length: int = 7) -> bytes:
    return between.join(data[n : n + length] for n in range(0, len(data), length))


def nested(levels: int) -> bytes:
    data = b"patient " * 60
    for level in range(levels):
        data = base64.b64encode(data) if level % 2 else gzip.compress(data + os.urandom(200))
    return data


def png(mode: str) -> bytes:
    from PIL import Image

    steps = np.random.default_rng(0).integers(0, 3, (64, 64))
    pixels = (np.cumsum(steps, axis=1) % 255).astype(np.uint8)
    pixels[10, 20 : 20 + len(PLAIN)] = list(PLAIN)
    if mode == "RGB":
        pixels = np.stack([pixels] * 3, axis=-1)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


LISTING = b"".join(canary.value.encode() + b",0.25,stable disease,no change\n" for canary in CANARIES[5:6] * 40)
FORMS = {
    "plain": AROUND + PLAIN,
    "lower case": AROUND + PLAIN.lower(),
    "mixed case": AROUND + TEXT.title().encode(),
    "reversed": AROUND + PLAIN[::-1],
    "first 12 characters": AROUND + PLAIN[:12] + b"...",
    "last 12 characters": AROUND + PLAIN[-12:],
    "base64 at alignment 0": base64.b64encode(PLAIN),
    "base64 at alignment 1": base64.b64encode(b"a" + PLAIN + b"zz"),
    "base64 at alignment 2": base64.b64encode(b"ab" + PLAIN + b"z"),
    "base64 of lower case": base64.b64encode(b"id=" + PLAIN.lower()),
    "base64 url-safe": base64.urlsafe_b64encode(b"\xff\xfe\xfd" + PLAIN + b"\xff" * 9),
    "base64 reversed": base64.b64encode(b"id=" + PLAIN)[::-1],
    "base64 of the reverse": base64.b64encode(PLAIN[::-1]),
    "base64 of utf-16": base64.b64encode(TEXT.encode("utf-16")),
    "base64 wrapped and indented": b"\r\n    ".join(
        base64.b64encode(AROUND + PLAIN)[n : n + 7] for n in range(0, 92, 7)
    ),
    "base64 twice": base64.b64encode(base64.b64encode(AROUND + PLAIN)),
    "base32": base64.b32encode(b"abc" + PLAIN),
    "base85": base64.b85encode(b"ab" + PLAIN + b"xyz"),
    "ascii85": base64.a85encode(b"abc" + PLAIN + b"xyz"),
    "hex": PLAIN.hex().encode(),
    "hex, upper case": PLAIN.hex().upper().encode(),
    "hex with colons": PLAIN.hex(":").encode(),
    "hex dump with spaces": PLAIN.hex(" ", 2).encode(),
    "url": "".join(f"%{byte:02X}" for byte in PLAIN).encode(),
    "json escapes": "".join(f"\\u{byte:04X}" for byte in PLAIN).encode(),
    "python escapes": "".join(f"\\x{byte:02x}" for byte in PLAIN).encode(),
    "list of codes": str(list(PLAIN)).encode(),
    "list of hex codes": str([hex(byte) for byte in PLAIN]).encode(),
    "utf-16": TEXT.encode("utf-16"),
    "utf-16 big-endian": TEXT.encode("utf-16-be"),
    "utf-32": TEXT.encode("utf-32"),
    "split over lines": b"\n".join(PLAIN[n : n + 3] for n in range(0, len(PLAIN), 3)),
    "one character a line, quoted": b'",\n"'.join(bytes([byte]) for byte in PLAIN),
    "dashes": b"-".join(PLAIN[n : n + 4] for n in range(0, len(PLAIN), 4)),
    "pixels, 16 bit": np.array(list(PLAIN), dtype="<i2").tobytes(),
    "pixels, float": np.array(list(PLAIN), dtype="<f4").tobytes(),
    "pixels, double, big-endian": np.array(list(PLAIN), dtype=">f8").tobytes(),
    "gzip": gzip.compress(AROUND + PLAIN),
    "gzip in the middle": os.urandom(999) + gzip.compress(PLAIN) + os.urandom(99),
    "gzip cut off": gzip.compress(AROUND + PLAIN)[:-9],
    "gzip with a wrong checksum": gzip.compress(AROUND + PLAIN)[:-8] + b"xxxxxxxx",
    "second gzip member": gzip.compress(b"nothing here") + gzip.compress(PLAIN),
    "zlib": zlib.compress(AROUND + PLAIN, 9),
    "zlib, fast": zlib.compress(AROUND + PLAIN, 1),
    "zip": zipped(PLAIN),
    "zip without its directory": zipped(PLAIN)[:-60],
    "bzip2": bz2.compress(PLAIN),
    "xz": lzma.compress(AROUND + PLAIN),
    "lzma alone": lzma.compress(AROUND + PLAIN, format=lzma.FORMAT_ALONE),
    "base64 of gzip": base64.b64encode(gzip.compress(PLAIN)),
    "base64 of zlib after letters": b"payload" + base64.b64encode(zlib.compress(PLAIN)),
    "hex of zlib": zlib.compress(PLAIN).hex().encode(),
    "gzip of base64 of zlib": gzip.compress(base64.b64encode(zlib.compress(PLAIN))),
    "pickle": pickle.dumps({"id": TEXT, "data": [1, 2]}),
    "raw deflate": deflated(AROUND + PLAIN),
    "raw deflate in the middle": b"model" * 300 + deflated(PLAIN) + b"weights" * 300,
    "raw deflate with codes of its own, in the middle": b"model" * 300 + deflated(LISTING) + b"weights" * 300,
    "raw deflate, stored": os.urandom(9) + zlib.compressobj(0, zlib.DEFLATED, -15).compress(b"") + deflated(PLAIN),
    "zstd": zstandard.compress(AROUND + PLAIN),
    "zstd in a pickle": pickle.dumps({"id": zstandard.compress(PLAIN)}),
    "bzip2 without its header": bz2.compress(PLAIN)[4:],
    "zip with bzip2": zipped(PLAIN, zipfile.ZIP_BZIP2),
    "zip with lzma": zipped(PLAIN, zipfile.ZIP_LZMA),
    "tar": tarred(PLAIN),
    "tar.gz": tarred(PLAIN, "w:gz"),
    "tar.xz": tarred(PLAIN, "w:xz"),
    "gzip back to front": AROUND + gzip.compress(AROUND + PLAIN)[::-1],
    "base64 of gzip back to front": base64.b64encode(gzip.compress(PLAIN))[::-1],
    "base64 of gzip with dashes": split(base64.b64encode(gzip.compress(PLAIN)), b"-"),
    "base64 of gzip in quotes": split(base64.urlsafe_b64encode(gzip.compress(PLAIN)), b'", "'),
    "base64 of gzip with its case swapped": base64.b64encode(gzip.compress(PLAIN)).swapcase(),
    "base64 of gzip as UTF-16": base64.b64encode(gzip.compress(PLAIN)).decode().encode("utf-16"),
    "base32 of gzip": base64.b32encode(gzip.compress(PLAIN)),
    "base32 of gzip in lower case, over lines": split(base64.b32encode(gzip.compress(PLAIN)).lower(), b"\n"),
    "hex of gzip with colons": gzip.compress(PLAIN).hex(":").encode(),
    "base64, URL-encoded": urllib.parse.quote(base64.b64encode(zlib.compress(AROUND + PLAIN)), safe="").encode(),
    "gzip, URL-encoded": urllib.parse.quote_from_bytes(gzip.compress(PLAIN)).encode(),
    "gzip as HTML entities": "".join(f"&#{byte};" for byte in gzip.compress(PLAIN)).encode(),
    "gzip as JSON string": json.dumps(gzip.compress(PLAIN).decode("latin-1")).encode(),
    "gzip as Python bytes": repr(gzip.compress(PLAIN)).encode(),
    "gzip as list": str(list(gzip.compress(PLAIN))).encode(),
    "gzip as hex list": str([hex(byte) for byte in gzip.compress(PLAIN)]).encode(),
    "gzip as binary digits": " ".join(f"{byte:08b}" for byte in gzip.compress(PLAIN)).encode(),
    "gzip, quoted-printable": quopri.encodestring(gzip.compress(PLAIN)),
    "HTML entities": "".join(f"&#x{byte:X};" for byte in PLAIN).encode(),
    "some letters escaped": "".join(
        f"%{byte:02X}" if place % 3 else chr(byte) for place, byte in enumerate(PLAIN)
    ).encode(),
    "HTML in HTML": html.escape("".join(f"&#{byte};" for byte in PLAIN)).encode(),
    "letters rotated": PLAIN.translate(bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"NOPQRSTUVWXYZABCDEFGHIJKLM")),
    "XOR with one byte": bytes(byte ^ 0x5A for byte in AROUND + PLAIN),
    "plus one": bytes(byte + 1 & 255 for byte in PLAIN),
    "base64, XOR with one byte": bytes(byte ^ 0xA5 for byte in base64.b64encode(b"x" + PLAIN)),
    "zlib in a pickle": pickle.dumps({"id": zlib.compress(PLAIN)}),
    "grey png": png("L"),
    "colour png": png("RGB"),
}


@pytest.mark.parametrize("form", FORMS)
def test_finds_the_marker(form: str) -> None:
    """The marker is found in this form, and no other marker with it."""
    found = SCANNER.scan(FORMS[form])
    assert {hit.canary for hit in found.hits} == {LEAKED}
    assert not found.incomplete


@pytest.mark.parametrize(
    "data",
    [
        NUMBER.value.encode(),
        f"{int(NUMBER.value):.18e}".encode(),
        f"{float(NUMBER.value)}".encode(),
        f"{int(NUMBER.value):,}".encode(),
        struct.pack("<q", int(NUMBER.value)),
        struct.pack(">d", float(NUMBER.value)),
        base64.b64encode(b"xx" + NUMBER.value.encode()),
        np.array([1, int(NUMBER.value)]).tobytes(),
    ],
    ids=["plain", "exponent", "float", "thousands", "int64", "float64", "base64", "array"],
)
def test_finds_a_numeric_marker(data: bytes) -> None:
    """A numeric identifier is found as text and as binary number."""
    assert {hit.canary for hit in SCANNER.scan(data).hits} == {NUMBER}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        bytes(100_000),
        b"b" * 100_000,
        random.Random(3).randbytes(3_000_000),
        base64.b64encode(random.Random(4).randbytes(1_000_000)),
        b"site,age\nA,64\n" * 10_000,
        PLAIN[:11],
        bytes(byte ^ b"key"[place % 3] for place, byte in enumerate(PLAIN)),
    ],
    ids=[
        "empty",
        "one byte",
        "zeros",
        "one letter",
        "random",
        "random base64",
        "csv",
        "11 characters",
        "XOR with a key: cannot be found",
    ],
)
def test_finds_nothing(data: bytes) -> None:
    """What does not hold a marker in a known form is clean."""
    assert SCANNER.scan(data).hits == ()


DRAW = np.random.default_rng(8)
NATURAL = {
    "table of floats": "\n".join(",".join(f"{x:.6f}" for x in row) for row in DRAW.normal(size=(300, 5))).encode(),
    "log": b"".join(b"2026-01-01T00:%02d:00 INFO case %d done in %.3f s\n" % (n % 60, n, n / 7) for n in range(300)),
    "digests": json.dumps({str(n): DRAW.bytes(32).hex() for n in range(20)}, indent=1).encode(),
    "weights": pickle.dumps(DRAW.normal(size=(60, 50)).astype(np.float32)),
    "doubles": DRAW.normal(size=3_000).tobytes(),
    "noise of a scanner": DRAW.normal(0, 20, 20_000).astype(np.int16).tobytes(),
    "mask": gzip.compress((DRAW.random(20_000) > 0.9).astype(np.uint8).tobytes()),
    "prose": Path(__file__).read_bytes()[:6_000],
}


@pytest.mark.parametrize("what", NATURAL)
def test_honest_outputs_are_clean(what: str) -> None:
    """Nothing is found in what honest tools write, and all of it can be looked into."""
    found = SCANNER.scan(NATURAL[what])
    assert (found.hits, found.incomplete) == ((), ())


def test_offsets_point_at_the_marker() -> None:
    """Plain, split and packed markers are located in the outermost bytes."""
    packed = gzip.compress(PLAIN)
    assert SCANNER.scan(b"\n" * 1000 + PLAIN).hits[0].offset == 1000
    assert SCANNER.scan(b"\n" * 1000 + b" ".join(bytes([b]) for b in PLAIN)).hits[0].offset == 1000
    found = {hit.encoding: hit.offset for hit in SCANNER.scan(bytes(500) + packed).hits}
    assert found["gzip > plain"] == 500


def test_finds_a_marker_across_a_window_border() -> None:
    """A marker that lies across two windows of the search is found, split far apart too."""
    index = PatternIndex(CANARIES)
    for start in (8 * 2**20 - 5, 8 * 2**20 - 19):
        assert next(index.search(bytes(start) + PLAIN + bytes(10))).offset == start
    apart = PLAIN[:10] + b"\n" * (9 * 2**20) + PLAIN[10:]
    assert [match.encoding for match in index.search(apart)] == ["plain, split"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (gzip.compress(bytes(3_000_000)), "unpacks to more than"),
        (b"".join(gzip.compress(bytes(900_000)) for _ in range(4)), "in all"),
        (nested(9), "levels deep"),
        (b"".join(zlib.compress(bytes([n])) + b"\n" for n in range(200)), "places look like"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(50), "7z"),
        (b"x" * 99 + b"Rar!\x1a\x07\x01\x00", "a rar archive"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
        (b"PAR1\x15\x04" + bytes(99), "parquet"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(99), "JPEG"),
        (b"Salted__" + bytes(99), "encrypted"),
        (random.Random(3).randbytes(4096), "look encrypted"),
        (base64.b64encode(random.Random(3).randbytes(4096)), "look encrypted"),
        (bytes(1_000_001), "not read as encoded text"),
        (b"PK\x03\x04\x14\x00\x01\x00\x08\x00" + bytes(30), "encrypted"),
        (b"PK\x03\x04\x14\x00\x00\x00\x62\x00" + bytes(30), "method 98"),
    ],
    ids=[
        "bomb",
        "many bombs",
        "too deep",
        "too many streams",
        "7z",
        "rar",
        "hdf5",
        "parquet",
        "jpeg",
        "openssl",
        "random",
        "random base64",
        "one huge piece",
        "encrypted zip",
        "unknown zip method",
    ],
)
def test_says_what_it_could_not_look_into(data: bytes, words: str) -> None:
    """Beyond its bounds a scan is incomplete, never clean."""
    bounds = Bounds(total_bytes=3_000_000, part_bytes=1_000_000, depth=4, tries=100)
    found = Scanner(CANARIES, bounds).scan(data)
    assert any(words in reason for reason in found.incomplete), found.incomplete


def test_scan_raises_when_it_cannot_know() -> None:
    """The short form raises instead of returning an empty, incomplete answer."""
    with pytest.raises(CouldNotDecide, match="not everything"):
        scan(b"7z\xbc\xaf\x27\x1c" + bytes(20), CANARIES)
    assert scan(b"7z\xbc\xaf\x27\x1c" + PLAIN, CANARIES)
    assert scan(b"", CANARIES) == ()


def test_scans_files_but_follows_no_link(tmp_path: Path) -> None:
    """A file is scanned where it lies; links, directories and pipes are not decided about."""
    file = tmp_path / "log"
    file.write_bytes(PLAIN)
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to(file)
    os.mkfifo(tmp_path / "pipe")
    assert scan(file, CANARIES)[0].canary == LEAKED
    assert scan(tmp_path / "empty", CANARIES) == ()
    for name in ("link", "pipe", "absent", "."):
        with pytest.raises(CouldNotDecide):
            scan(tmp_path / name, CANARIES)


def test_canaries_come_from_the_seed_alone() -> None:
    """Equal seed and place give equal markers; another seed, place or kind gives another."""
    again = CanaryMint(7).token(CanaryKind.IDENTIFIER, "patients.csv#row 5")
    assert again == LEAKED
    assert len({canary.value for canary in CANARIES}) == len(CANARIES)
    assert CanaryMint(8).token(CanaryKind.IDENTIFIER, "patients.csv#row 5").value != TEXT
    assert MINT.token(CanaryKind.TEXT, "patients.csv#row 5").value != TEXT


@given(st.integers(0, 2**64), st.text(max_size=20))
def test_every_token_is_long_and_begins_with_a_letter(seed: int, place: str) -> None:
    """No token is short, numeric-looking or in need of quoting."""
    token = CanaryMint(seed).token(CanaryKind.TEXT, place).value
    number = CanaryMint(seed).number(CanaryKind.TEXT, place).value
    assert len(token) == 20
    assert token.isalnum()
    assert token[0].isalpha()
    assert len(number) == 15
    assert float(number) == int(number)
    assert number[-1] != "0"


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=200), st.sampled_from(["b64", "gz", "z", "b32", "plain", "hex"]))
def test_finds_the_marker_between_any_bytes(before: bytes, after: bytes, form: str) -> None:
    """Whatever surrounds the marker, it is found."""
    whole = before + PLAIN + after
    packed = {
        "b64": base64.b64encode(whole),
        "gz": gzip.compress(whole),
        "z": zlib.compress(whole),
        "b32": base64.b32encode(whole),
        "plain": whole,
        "hex": whole.hex().encode(),
    }[form]
    assert LEAKED in {hit.canary for hit in SCANNER.scan(packed).hits}


PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "base64": base64.b64encode,
    "base64, URL-safe": base64.urlsafe_b64encode,
    "base64 at another alignment": lambda data: base64.b64encode(b"q" + data),
    "base32": base64.b32encode,
    "hex": lambda data: data.hex().encode(),
    "upper-case hex": lambda data: data.hex().upper().encode(),
    "reversed": lambda data: data[::-1],
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "raw deflate": deflated,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
    "zip": zipped,
    "tar": tarred,
    "pickle": pickle.dumps,
    "URL": lambda data: urllib.parse.quote_from_bytes(data).encode(),
    "every byte URL-encoded": lambda data: "".join(f"%{byte:02x}" for byte in data).encode(),
    "HTML": lambda data: "".join(f"&#{byte};" for byte in data).encode(),
    "JSON": lambda data: json.dumps(data.decode("latin-1")).encode(),
    "unicode escapes": lambda data: "".join(f"\\u{byte:04x}" for byte in data).encode(),
    "number list": lambda data: str(list(data)).encode(),
}
SEPARATORS = {"base64": b".", "base32": b" - ", "hex": b":", "every byte URL-encoded": b"|", "HTML": b"\n"}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(list(PACKINGS)), min_size=1, max_size=3),
    st.booleans(),
    st.sampled_from([b"", b"patient ", b"site,stage\nnorth,II\n"]),
    st.integers(3, 60),
)
def test_finds_the_marker_in_any_chain(chain: list[str], interrupted: bool, before: bytes, length: int) -> None:
    """Any three encodings in any order, with separators put in where the last one allows it, hide nothing."""
    data = before + PLAIN
    for name in chain:
        data = PACKINGS[name](data)
        if interrupted and name in SEPARATORS:
            data = split(data, SEPARATORS[name], length)
    assert LEAKED in {hit.canary for hit in SCANNER.scan(data).hits}


@settings(max_examples=40, deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"\x1f\x8b\x08", b"x\x9c", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n", b"BZh91AY&SY"]),
)
def test_never_raises_on_hostile_bytes(noise: bytes, magic: bytes) -> None:
    """Damaged streams of every kind end the scan normally."""
    SCANNER.scan(noise + magic + noise)
    SCANNER.scan(magic + b"\x00\x00\x00\x0dIHDR\xff\xff\xff\xff\xff\xff\xff\xff\x10\x06\x00\x00\x00" + noise)


# --- pixels ---------------------------------------------------------------------------------------------------------

BURNED = MINT.token(CanaryKind.PIXEL, "case-001.nii.gz#voxels")
PIXEL_SCANNER = Scanner([BURNED, MINT.token(CanaryKind.PIXEL, "case-002.nii.gz#voxels")])


def picture() -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    """A noisy slice with the marker's bars in three of its rows."""
    noise = np.random.default_rng(1).normal(-1000, 9, (48, 48)).astype(np.int16)
    noise[2:5, 2:26] = [-1000 + 50 * level for level in bars(BURNED)]
    return noise


def saved(array: np.ndarray[Any, Any], *, fortran: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asfortranarray(array) if fortran else np.ascontiguousarray(array))
    return stream.getvalue()


def as_png(array: np.ndarray[Any, Any]) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def as_nifti(array: np.ndarray[Any, Any]) -> bytes:
    import nibabel as nib

    image: Any = nib.Nifti1Image(array, np.eye(4))  # type: ignore[no-untyped-call]
    return gzip.compress(image.to_bytes())


GREY = ((picture().astype(float) + 1024) / 4095 * 255).astype(np.uint8)
PICTURES = {
    "raw": picture().tobytes(),
    "raw, big-endian": picture().astype(">i2").tobytes(),
    "other units": (picture() * 0.5 + 700).astype(np.float32).tobytes(),
    "normalised": (picture().astype(np.float64) / 4095).tobytes(),
    "inverted": (-picture()).tobytes(),
    "mirrored": picture()[:, ::-1].tobytes(),
    "cropped": picture()[1:9, 1:30].tobytes(),
    "with more noise": (picture() + np.random.default_rng(2).normal(0, 8, (48, 48))).astype(np.float32).tobytes(),
    "enlarged": np.kron(picture(), np.ones((2, 2))).astype(np.int16).tobytes(),
    "npy": saved(picture()),
    "npy, turned": saved(np.rot90(picture())),
    "npy, Fortran order": saved(picture().astype(np.float32), fortran=True),
    "nifti": as_nifti(np.stack([picture()] * 3, axis=-1)),
    "nifti, turned": as_nifti(np.stack([picture()] * 3, axis=0).astype(np.float32)),
    "grey png": as_png(GREY),
    "colour png": as_png(np.stack([GREY, GREY // 2, 255 - GREY], axis=-1)),
    "png of 16 bits, turned": as_png((picture().T.astype(np.int32) + 2000).astype(np.uint16)),
    "zip of npy": zipped(saved(picture())),
    "base64": base64.b64encode(picture().tobytes()),
}


@pytest.mark.parametrize("form", PICTURES)
def test_finds_the_bar_code(form: str) -> None:
    """The marker in the pixels is found after this was done to the picture, and no other marker with it."""
    assert {hit.canary for hit in PIXEL_SCANNER.scan(PICTURES[form]).hits} == {BURNED}


def test_bar_codes_are_not_seen_where_there_are_none() -> None:
    """Noise, gradients, masks and text of every type are clean."""
    draw = np.random.default_rng(5)
    for data in (
        draw.normal(0, 100, (64, 64, 16)).astype(np.float32),
        draw.integers(-1000, 1000, (64, 64, 16), dtype=np.int16),
        (draw.random((64, 64, 16)) > 0.5).astype(np.uint8),
        np.linspace(0, 255, 65536).astype(np.uint8),
        np.cumsum(draw.normal(0, 1, 65536)).astype(np.float64),
    ):
        assert PIXEL_SCANNER.scan(as_nifti(data.reshape(-1, 64, 16))).hits == ()


def test_bars_keep_their_distance() -> None:
    """Neighbouring bars differ by two levels at least, for whatever marker."""
    for place in range(200):
        levels = bars(MINT.token(CanaryKind.PIXEL, str(place)))
        assert len(levels) == 24
        assert min(abs(one - other) for one, other in itertools.pairwise(levels)) >= 2


def test_many_small_archives_share_one_allowance() -> None:
    """A tool may leave thousands of files, each of which unpacks to much: together they end, and it is said."""
    scanner = Scanner(CANARIES, allowance=Allowance(3 << 20))
    first, *rest = [scanner.scan(gzip.compress(PLAIN + bytes(2 << 20), 9)) for _ in range(20)]
    assert {hit.canary for hit in first.hits} == {LEAKED}
    assert all(one.incomplete == ("more than can be searched in all was let out",) for one in rest[1:])
    assert not rest[-1].hits
