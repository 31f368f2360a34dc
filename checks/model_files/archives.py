"""Files that hold files: zip (torch, npz, Keras, skops), tar, and the compressions that joblib and others use."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import BinaryIO, Self, cast

from checks.model_files.opcodes import Unparsable
from checks.model_files.parts import Found, Part, unpacked
from checks.model_files.zip_layout import check_layout
from pratique.bounded_zip import open_zip

Examine = Callable[[Part, Found], None]

_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)
"""What the standard library raises on broken or encrypted archives (RuntimeError: encrypted)."""
_PREFIX = 64 * 1024
END_OF_ZIP = b"PK\x05\x06"
_LAST = 65_557
"""The record at the end of a zip archive and its longest comment: readers look for it so far from the end."""
TWO_AT_ONCE = "the file is an archive and something else at once"
_MAX_CODE = 16 * 1024**2
_MAX_EXTENDED = 1024**2
"""Bytes of one header before a member of a tar, which is read into memory whole; Go reads no longer ones either."""
_EXTENDED = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_MAX_WINDOW = 1 << 27
"""Bytes that a decompressor may look back, which it holds in memory; `xz -9` writes for half of it."""
_TENSOR = re.compile(r"(?:.*/)?data/[0-9]+")
_FILE_ACCESS = re.compile(rb"\b(?:torch|ops\s*\.\s*aten)\s*\.\s*(?:from_file|save|load|_save|_load)\b")
_OPERATORS = re.compile(rb"\bops\s*\.\s*([A-Za-z_][A-Za-z0-9_]*)\s*\.")
_USUAL_OPERATORS = frozenset(
    (b"aten", b"prim", b"prims", b"quantized", b"quantized_decomposed", b"torchvision", b"prepacked", b"inductor")
)
TORCHSCRIPT = "TorchScript"
_ANY_CONTENT = frozenset(("zip", "tar", "TorchServe"))
"""Archives that may hold anything, such as packages with libraries in them."""
_NATIVE = (b"\x7fELF", b"MZ", b"\xfe\xed\xfa", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
_MAGICS = (b"\x80", b"PK\x03\x04", b"\x93NUMPY", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x89HDF", b"GGUF")


def examine_zip(part: Part, found: Found, examine: Examine) -> None:
    """Every member, by content; encrypted, ambiguous or broken archives raise `Unparsable`."""
    try:
        with open_zip(part.stream) as archive:
            names = [member.filename for member in archive.infolist()]
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise Unparsable(f"two members are called {twice[0][:120]!r}: loaders differ in which one they take")
            check_layout(archive, part.stream, part.size)
            kind = _zip_kind(names)
            found.formats.append(kind)
            if kind == "TorchServe":
                found.unsafe(
                    "python-code", "an archive for TorchServe, whose handler runs when it is loaded", part.name
                )
            if kind == "torch.package":
                found.unsafe("python-code", "a torch.package, whose Python modules run when it is loaded", part.name)
            for member in archive.infolist():
                found.count_member(member.filename)
                # a directory with content is a file to NumPy, which opens members by any name
                if not member.is_dir() or member.file_size:
                    with archive.open(member) as stream:
                        _member(cast(BinaryIO, stream), part, member.filename, found, examine, kind)
    except _BROKEN as error:
        raise Unparsable(f"a zip archive that cannot be read: {error}"[:300]) from error


def end_of_zip(part: Part) -> int | None:
    """Where zip readers find the end of an archive, bytes behind it or not; None where they find none."""
    start = max(0, part.size - _LAST)
    part.stream.seek(start)
    at = part.stream.read(_LAST).rfind(END_OF_ZIP)
    return start + at if at >= 0 and start + at + 22 <= part.size else None


def _zip_kind(names: list[str]) -> str:
    tails = {name.rpartition("/")[2] for name in names}
    if "extern_modules" in tails and any("/.data/" in f"/{name}" for name in names):
        return "torch.package"
    if "MAR-INF/MANIFEST.json" in names:
        return "TorchServe"
    if names and f"{names[0].partition('/')[0]}/constants.pkl" in names:  # only there PyTorch looks for it
        return TORCHSCRIPT
    if "archive_format" in tails:
        return "PyTorch export"
    if "data.pkl" in tails:
        return "PyTorch"
    if "model.weights.h5" in tails:
        return "Keras"
    if "schema.json" in tails:
        return "skops"
    return "NumPy npz" if tails and all(tail.endswith(".npy") for tail in tails) else "zip"


def _member(stream: BinaryIO, part: Part, name: str, found: Found, examine: Examine, kind: str) -> None:
    full = f"{part.name}/{name}"
    head = stream.read(_PREFIX)
    if kind == TORCHSCRIPT and name.lower().endswith(".py"):
        _torchscript(head + stream.read(_MAX_CODE), full, found)
        return
    if kind not in _ANY_CONTENT and head.startswith(_NATIVE):
        found.unsafe("native-code", "a program or library for the processor, in a model", full)
    whole = not _TENSOR.fullmatch(name) or head.startswith(_MAGICS)
    source = _Joined(head, stream if whole else None)
    with unpacked(cast(BinaryIO, source), part, full, found, torchscript=kind == TORCHSCRIPT) as inner:
        examine(inner, found)


def _torchscript(source: bytes, full: str, found: Found) -> None:
    if len(source) > _MAX_CODE:
        raise Unparsable(f"more than {_MAX_CODE:,} bytes of TorchScript code in one file, {full}")
    if _FILE_ACCESS.search(source):
        found.unsafe("torchscript-file-access", "TorchScript code that reads or writes files", full)
    for space in sorted(set(_OPERATORS.findall(source)) - _USUAL_OPERATORS):
        name = space.decode("latin-1")[:80]
        found.unsafe("custom-operators", f"operators of the library {name!r}, which need code of their own", full)


class _Joined:
    """Bytes already read, then the rest of a stream."""

    def __init__(self, head: bytes, rest: BinaryIO | None) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int) -> bytes:
        """Up to `size` bytes."""
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        return self._rest.read(size) if self._rest else b""


class _Header(tarfile.TarInfo):
    """A header of a tar within bounds."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """As in the library; raises `Unparsable` where what follows would be read into memory and is too long."""
        header = super().frombuf(buf, encoding, errors)
        if header.type in _EXTENDED and header.size > _MAX_EXTENDED:
            raise Unparsable(f"a tar with a header of {header.size:,} bytes")
        return header


class _Tar(tarfile.TarFile):
    tarinfo = _Header
    members: list[tarfile.TarInfo]


def examine_tar(part: Part, found: Found, examine: Examine) -> None:
    """Regular members of an uncompressed tar, by content; links and devices hold no model."""
    found.formats.append("tar")
    end = end_of_zip(part)
    part.stream.seek(0)
    try:
        with _Tar.open(fileobj=part.stream, mode="r:") as archive:
            for member in archive:
                found.count_member(member.name)
                stream = archive.extractfile(member) if member.isreg() else None
                if stream is not None:
                    _member(cast(BinaryIO, stream), part, member.name, found, examine, "tar")
                    if end is not None and member.offset_data <= end < member.offset_data + member.size:
                        end = None  # of a member, which was looked at
                archive.members.clear()  # which it would keep with their headers
            _check_end(part.stream, archive.offset)
    except _BROKEN as error:
        raise Unparsable(f"a tar archive that cannot be read: {error}"[:300]) from error
    if end is not None:
        raise Unparsable(TWO_AT_ONCE)


def _check_end(stream: BinaryIO, end: int) -> None:
    """Python's reader ends at the first block that is no header; others pass over it and go on."""
    stream.seek(end)
    while chunk := stream.read(_MAX_EXTENDED):
        if chunk.count(0) != len(chunk):
            raise Unparsable("a tar archive with more behind its end, or behind a header that is none", end)


def examine_compressed(part: Part, found: Found, examine: Examine, kind: str) -> None:
    """The content of a compressed stream."""
    found.formats.append(kind)
    part.stream.seek(0)
    name = (
        part.name.removesuffix(part.suffix)
        if part.suffix in (".gz", ".bz2", ".xz", ".lzma", ".z", ".zst")
        else part.name
    )
    try:
        with unpacked(_decompressor(part, kind), part, name, found) as inner:
            examine(inner, found)
    except _BROKEN as error:
        raise Unparsable(f"{kind} data that cannot be read: {error}"[:300]) from error


def _decompressor(part: Part, kind: str) -> BinaryIO:
    if kind == "gzip":
        return cast(BinaryIO, gzip.GzipFile(fileobj=part.stream, mode="rb"))
    if kind == "bzip2":
        return cast(BinaryIO, bz2.BZ2File(part.stream))
    pieces = {"zlib": _zlib_pieces, "zstandard": _zstd_pieces}.get(kind, _lzma_pieces)
    return cast(BinaryIO, _Pieces(pieces(part.stream)))


class _Pieces:
    """Pieces of a stream as something to read, so that a bomb is met with the budget and not with the memory."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self, size: int) -> bytes:
        """The next piece, of any size."""
        return next((piece for piece in self._pieces if piece), b"")


def _zlib_pieces(stream: BinaryIO) -> Iterator[bytes]:
    decompressor = zlib.decompressobj()
    while not decompressor.eof and (chunk := decompressor.unconsumed_tail or stream.read(1 << 16)):
        yield decompressor.decompress(chunk, 1 << 20)
    if not decompressor.eof:
        raise zlib.error("the stream is cut short")
    if decompressor.unused_data or stream.read(1):
        raise zlib.error("bytes after the end of the stream")


def _lzma_pieces(stream: BinaryIO) -> Iterator[bytes]:
    """xz or lzma, one after another, zeros between them; its window is bounded, which the library's file is not."""
    rest = b""
    while rest := (rest or stream.read(1 << 16)):
        if not (rest := rest.lstrip(b"\0")):
            continue
        decompressor = lzma.LZMADecompressor(memlimit=_MAX_WINDOW)
        while not decompressor.eof:
            chunk, rest = rest, b""
            if decompressor.needs_input and not (chunk := chunk or stream.read(1 << 16)):
                raise EOFError("the stream is cut short")
            yield decompressor.decompress(chunk, 1 << 20)
        rest = decompressor.unused_data


def _zstd_pieces(stream: BinaryIO) -> Iterator[bytes]:
    """Frame by frame; a piece of 1 KiB unpacks to 30 MB at most."""
    from zstandard import ZstdDecompressor, ZstdError

    rest = b""
    try:
        while rest or (rest := stream.read(1 << 10)):
            frame = ZstdDecompressor(max_window_size=_MAX_WINDOW).decompressobj()
            while not frame.eof and (chunk := rest or stream.read(1 << 10)):
                rest = b""
                yield frame.decompress(chunk)
            if not frame.eof:
                raise ValueError("the stream is cut short")
            rest = frame.unused_data
    except ZstdError as error:
        raise ValueError(str(error)) from error
