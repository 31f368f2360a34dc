"""Whether a zip archive reads the same to every reader: by its directory at the end, or from its beginning on.

Loaders differ in what they believe (Python compares names and checksums, the reader in PyTorch does not, others go from
member to member), so an archive whose two accounts differ, or that has room between or behind its members, can be one
thing to whoever inspects and another to whoever loads.
"""

from __future__ import annotations

import struct
import zipfile
from typing import BinaryIO

from checks.model_files.opcodes import Unparsable

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_END = b"PK\x05\x06"
_MARKS = (b"PK\x01\x02", b"PK\x03\x04", _END, b"PK\x06\x06", b"PK\x06\x07")
_DESCRIPTOR = 24
"""Longest data descriptor: mark, checksum and two sizes of 8 bytes."""
_FLAGS = 0b1000_0000_0000_1001
"""Encrypted, sizes behind the data, and a bit that nobody uses."""
_SEE_EXTRA = 0xFFFFFFFF
_MAX_PADDING = 4096
"""Zero bytes that some writers put between members so that data lie at whole pages."""


def check_layout(archive: zipfile.ZipFile, stream: BinaryIO, size: int) -> None:
    """Compare the directory of `archive` with the headers before its members; raises `Unparsable`."""
    _check_end(stream, size)
    position = 0
    for member in sorted(archive.infolist(), key=lambda info: info.header_offset):
        _check_gap(stream, position, member.header_offset)
        position = _check_member(stream, member)
    _check_gap(stream, position, archive.start_dir)


def _check_end(stream: BinaryIO, size: int) -> None:
    stream.seek(max(0, size - 65_557))
    tail = stream.read(65_557)
    at = tail.rfind(_END)
    if at < 0 or at + 22 + int.from_bytes(tail[at + 20 : at + 22], "little") != len(tail):
        raise Unparsable("a zip archive with bytes behind its end")
    if any(mark in tail[at + 4 :] for mark in _MARKS):
        raise Unparsable("a zip archive with a second one in its comment")


def _check_gap(stream: BinaryIO, start: int, end: int) -> None:
    if end < start:
        raise Unparsable("members of a zip archive that lie in each other", end)
    stream.seek(start)
    gap = stream.read(min(end - start, _MAX_PADDING + 1))
    if len(gap) > _DESCRIPTOR and (len(gap) > _MAX_PADDING or any(gap[_DESCRIPTOR:])):
        raise Unparsable("bytes between the members of a zip archive that its directory does not name", start)


def _check_member(stream: BinaryIO, member: zipfile.ZipInfo) -> int:
    """Where the data of `member` end, after its own header was compared with the directory's."""
    stream.seek(member.header_offset)
    header = stream.read(_LOCAL.size)
    if len(header) < _LOCAL.size:
        raise Unparsable("a member of a zip archive that is not there", member.header_offset)
    mark, _, flags, method, _, _, _, packed, unpacked, name_length, extra_length = _LOCAL.unpack(header)
    name = stream.read(name_length)
    spelled = member.orig_filename.encode("utf-8" if member.flag_bits & 0x800 else "cp437", "replace")
    stated = (packed, unpacked)
    sizes_agree = bool(flags & 0b1000) or all(
        one in (_SEE_EXTRA, other) for one, other in zip(stated, (member.compress_size, member.file_size), strict=True)
    )
    agrees = (
        mark == b"PK\x03\x04"
        and (flags ^ member.flag_bits) & _FLAGS == 0
        and method == member.compress_type
        and (name == spelled or b"?" in spelled)
        and sizes_agree
    )
    if not agrees:
        raise Unparsable(f"the zip archive tells two stories of its member {member.filename[:120]!r}")
    return int(member.header_offset + _LOCAL.size + name_length + extra_length + member.compress_size)
