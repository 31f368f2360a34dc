"""A bounded reader of tar streams that reads them as container engines do, or not at all.

Engines unpack layers with Go's `archive/tar`; a reader that understands an archive differently would inspect other
files than those that run. So this one follows Go's rules (V7, ustar, GNU and pax forms; GNU long names over pax over
header; header-only entries have no data) and refuses what readers are known to disagree about: sparse files, STAR,
global pax headers that change entries, repeated or contradictory long names, unknown types. It also refuses the marks
by which overlay file systems hide or move files once they are unpacked: engines set them as a layer says.
Python's `tarfile` is not used on submissions: it reads extended headers of any length into memory.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, NoReturn

from pratique.errors import InvalidInput
from pratique.intake.image.model import Kind
from pratique.intake.image.streams import ByteSource

BLOCK = 512
_MAX_EXTENDED = 1 << 20
"""Longest extended header, bytes; Go's limit too."""
_WHOLE = "Copy or export it again; it was cut off on the way."
_BUILT = "Build the image again with a current docker, buildah, kaniko or skopeo."
_ZERO = bytes(BLOCK)
_BLANK = b" \0"
_KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"1": Kind.FILE,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHARACTER_DEVICE,
    b"4": Kind.BLOCK_DEVICE,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
}
_WITH_DATA = frozenset((b"0", b"\0"))
_DECIMAL = re.compile(rb"[0-9]{1,18}")
_OCTAL = re.compile(rb"[0-7]{1,21}")
_XATTR = b"SCHILY.xattr."
_OVERLAY_XATTRS = (_XATTR + b"trusted.", _XATTR + b"user.overlay.")


class TarEntry(NamedTuple):
    """One entry as the archive states it; names are raw bytes, `size` is that of the data that follow."""

    name: bytes
    kind: Kind
    hard_link: bool
    linkname: bytes
    size: int
    mode: int
    uid: int
    gid: int
    capabilities: bool


@dataclass(slots=True)
class _Extended:
    """Extended headers that wait for the entry they describe."""

    records: dict[bytes, bytes] | None = None
    name: bytes | None = None
    linkname: bytes | None = None


class TarReader:
    """Entries one after the other, and the data of the present one.

    Raises `InvalidInput`: `tar/truncated`, `tar/checksum`, `tar/number`, `tar/type`, `tar/extended-header`,
    `tar/contradiction`, `tar/sparse`, `tar/attribute`, and what the source raises.
    """

    def __init__(self, source: ByteSource, *, where: str) -> None:
        self._source = source
        self._where = where
        self._data_left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[TarEntry]:
        while (entry := self.next()) is not None:
            yield entry

    def next(self) -> TarEntry | None:
        """The next entry, None at the end of the archive; unread data of the present one are passed over."""
        extended = _Extended()
        while (header := self._header()) is not None:
            flag = header[156:157]
            if flag in (b"x", b"g", b"L", b"K"):
                self._extend(extended, flag, self._extended_data(header))
                continue
            return self._entry(header, flag, extended)
        if extended != _Extended():
            self._refuse("truncated", "the archive ends after an extended header")
        return None

    def chunks(self) -> Iterator[bytes]:
        """Data of the present entry, in pieces."""
        while self._data_left:
            data = self._source.some(self._data_left)
            if not data:
                self._refuse("truncated", "the archive ends in the middle of a file")
            self._data_left -= len(data)
            yield data

    def _header(self) -> bytes | None:
        """The next header block, None at the end mark (two zero blocks) or at a clean end of the stream."""
        pending = self._data_left + self._padding
        if pending and self._source.skip(pending) != pending:
            self._refuse("truncated", "the archive ends in the middle of a file")
        self._data_left = self._padding = 0
        block = self._source.read(BLOCK)
        if not block:
            return None
        if block == _ZERO:
            if self._source.read(BLOCK) != _ZERO:
                self._refuse("truncated", "the end mark of the archive is incomplete")
            return None
        if len(block) < BLOCK:
            self._refuse("truncated", "the archive ends in the middle of a header")
        stated = self._number(block[148:156], "checksum")
        if stated != 256 + _sum(block[:148]) + _sum(block[156:334]) + _sum(block[334:]):
            self._refuse("checksum", "a header's checksum is wrong")
        return block

    def _extended_data(self, header: bytes) -> bytes:
        size = self._number(header[124:136], "size")
        if size > _MAX_EXTENDED:
            self._refuse("extended-header", f"an extended header of {size:,} bytes")
        data = self._source.read(size)
        padding = -size % BLOCK
        if len(data) < size or self._source.skip(padding) < padding:
            self._refuse("truncated", "the archive ends in the middle of an extended header")
        return data

    def _extend(self, extended: _Extended, flag: bytes, data: bytes) -> None:
        if flag == b"g":
            if set(self._records(data)) - {b"comment"} or extended != _Extended():
                self._refuse("contradiction", "a global extended header, which readers do not agree about")
        elif flag == b"x":
            if extended.records is not None:
                self._refuse("contradiction", "two extended headers for one entry")
            extended.records = self._records(data)
        elif flag == b"L":
            if extended.name is not None:
                self._refuse("contradiction", "two long names for one entry")
            extended.name = data.split(b"\0", 1)[0]
        else:
            if extended.linkname is not None:
                self._refuse("contradiction", "two long link names for one entry")
            extended.linkname = data.split(b"\0", 1)[0]

    def _records(self, data: bytes) -> dict[bytes, bytes]:
        """The `<length> <key>=<value>\\n` records of a pax header."""
        records: dict[bytes, bytes] = {}
        at = 0
        while at < len(data):
            length_text, space, _ = data[at : at + 20].partition(b" ")
            if not space or not _DECIMAL.fullmatch(length_text):
                self._refuse("extended-header", "a pax record without a length")
            length = int(length_text)
            record = data[at + len(length_text) + 1 : at + length]
            key, equals, value = record[:-1].partition(b"=")
            if length > len(data) - at or not record.endswith(b"\n") or not equals or not key:
                self._refuse("extended-header", "a malformed pax record")
            if key in records:
                self._refuse("contradiction", f"the pax record {_show(key)} appears twice")
            if b"\0" in key or (b"\0" in value and key in (b"path", b"linkpath")):
                self._refuse("extended-header", f"the pax record {_show(key)} holds a zero byte")
            records[key] = value
            at += length
        return records

    def _entry(self, header: bytes, flag: bytes, extended: _Extended) -> TarEntry:
        kind = _KINDS.get(flag)
        if kind is None:
            rule = "sparse" if flag == b"S" else "type"
            self._refuse(rule, f"an entry of type {_show(flag)}, which layers do not hold")
        records = extended.records or {}
        if records:
            self._check_records(records)
        if kind is Kind.CHARACTER_DEVICE and not any(self._number(header[at : at + 8], "device") for at in (329, 337)):
            self._refuse("type", "the character device 0/0, by which overlay file systems mark a removed file")
        name = self._text(self._header_name(header), records.get(b"path"), extended.name)
        linkname = self._text(_c_string(header[157:257]), records.get(b"linkpath"), extended.linkname)
        size = self._pax_number(records, b"size", self._number(header[124:136], "size"))
        self._data_left = size if flag in _WITH_DATA else 0
        if flag == b"\0" and name.endswith(b"/"):  # how V7 archives mark a directory
            kind, self._data_left = Kind.DIRECTORY, 0
        self._padding = -self._data_left % BLOCK
        return TarEntry(
            name=name,
            kind=kind,
            hard_link=flag == b"1",
            linkname=linkname,
            size=self._data_left,
            mode=self._number(header[100:108], "mode") & 0o7777,
            uid=self._pax_number(records, b"uid", self._number(header[108:116], "uid")),
            gid=self._pax_number(records, b"gid", self._number(header[116:124], "gid")),
            capabilities=b"SCHILY.xattr.security.capability" in records,
        )

    def _check_records(self, records: dict[bytes, bytes]) -> None:
        if any(key.startswith(b"GNU.sparse") for key in records):
            self._refuse("sparse", "a sparse file")
        if any(key.startswith(_OVERLAY_XATTRS) for key in records):
            self._refuse("attribute", "an attribute by which an overlay file system shows other files than the layer's")

    def _header_name(self, header: bytes) -> bytes:
        name = _c_string(header[:100])
        if header[257:263] != b"ustar\0":
            for start in (345, 357):  # Go reads a prefix from GNU headers whose times are malformed
                if header[start]:
                    self._number(header[start : start + 12], "time")
            return name
        if header[508:512] == b"tar\0":
            self._refuse("type", "a STAR archive, which readers do not agree about")
        prefix = _c_string(header[345:500])
        return prefix + b"/" + name if prefix else name

    def _text(self, plain: bytes, record: bytes | None, long: bytes | None) -> bytes:
        """The name that counts; an empty pax record leaves the header's name in force."""
        if record and long and record != long:
            self._refuse("contradiction", "a pax name and a GNU long name that differ")
        return long or record or plain

    def _number(self, field: bytes, what: str) -> int:
        plain = _octal(field)
        if plain is not None:
            return plain
        if not field[0] & 0x80:
            self._refuse("number", f"a {what} that is not an octal number: {_show(field.strip(_BLANK))}")
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if field[0] & 0x40 or value >= 1 << 62:
            self._refuse("number", f"a {what} that is negative or absurd")
        return value

    def _pax_number(self, records: dict[bytes, bytes], key: bytes, plain: int) -> int:
        value = records.get(key)
        if not value:
            return plain
        if not _DECIMAL.fullmatch(value):
            self._refuse("number", f"the pax record {_show(key)} is not a number: {_show(value)}")
        return int(value)

    def _refuse(self, rule: str, message: str) -> NoReturn:
        raise InvalidInput(
            message,
            rule=f"tar/{rule}",
            where=self._where,
            next_step=_WHOLE if rule == "truncated" else _BUILT,
        )


@lru_cache(maxsize=1024)  # modes and owners are the same in most headers
def _octal(field: bytes) -> int | None:
    """The number in octal digits; None where there is something else."""
    digits = field.strip(_BLANK)
    if not digits:
        return 0
    return int(digits, 8) if _OCTAL.fullmatch(digits) else None


def _sum(data: bytes) -> int:
    """The sum of at most 256 bytes, which Adler-32 counts ten times as fast as `sum` does."""
    return (zlib.adler32(data) & 0xFFFF) - 1


def _c_string(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _show(data: bytes) -> str:
    return repr(data[:40])[1:]
