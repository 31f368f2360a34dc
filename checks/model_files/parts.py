"""What the scanners of single formats share: a part of a file, the budget, and what was found so far."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, BinaryIO, cast

from checks.model_files.opcodes import Unparsable

if TYPE_CHECKING:
    from checks.model_files.opinion import Opinion

MAX_DEPTH = 6
MAX_UNPACKED = 4 * 1024**3
MAX_MEMBERS = 20_000
MAX_FOLLOWED = 12_000_000
IN_MEMORY = 16 * 1024**2
_CHUNK = 1024**2


class Verdict(StrEnum):
    """Answer for one file. `UNREADABLE` is a refusal: what cannot be followed may hide anything."""

    SAFE = "safe"
    UNSAFE = "unsafe"
    UNREADABLE = "unreadable"
    UNRECOGNISED = "unrecognised"
    """No known model format and nothing a loader would run."""


@dataclass(frozen=True)
class Reason:
    """One reason: stable rule, message, and the member of the file (or the byte) that decided."""

    rule: str
    message: str
    member: str = ""
    verdict: Verdict = Verdict.UNSAFE


@dataclass
class Found:
    """What the scan of one file has seen, and how much it may still unpack."""

    reasons: list[Reason] = field(default_factory=list)
    formats: list[str] = field(default_factory=list)
    imports: set[str] = field(default_factory=set)
    opinions: list[Opinion] = field(default_factory=list)
    unpacked: int = 0
    members: int = 0
    templates: int = 0
    """Characters of templates that were parsed."""

    def unsafe(self, rule: str, message: str, member: str) -> None:
        """Note why the file is unsafe."""
        self.reasons.append(Reason(rule, message, member))

    def unreadable(self, message: str, member: str) -> None:
        """Note what could not be followed."""
        self.reasons.append(Reason("unreadable", message, member, Verdict.UNREADABLE))

    def count_member(self, member: str) -> None:
        """Raises `Unparsable` where a file has too many members, all levels together."""
        self.members += 1
        if self.members > MAX_MEMBERS:
            raise Unparsable(f"more than {MAX_MEMBERS:,} members, at {member[:120]}")


@dataclass
class Followed:
    """How many fields, items and opcodes were followed in a file and all that is packed in it."""

    items: int = 0

    @property
    def too_many(self) -> bool:
        """Whether the rest is not looked at any more: what is packed small may be long a thousand times."""
        return self.items > MAX_FOLLOWED


@dataclass(frozen=True)
class Part:
    """A file, or a member of one: a seekable stream, its size, its name inside the whole, how deep it lies.

    Scanners share the stream: each seeks before it reads.
    """

    stream: BinaryIO
    size: int
    name: str
    depth: int = 0
    torchscript: bool = False
    followed: Followed = field(default_factory=Followed)

    def head(self, length: int = 512) -> bytes:
        """The first bytes; the stream is then at its start."""
        self.stream.seek(0)
        data = self.stream.read(length)
        self.stream.seek(0)
        return data

    @property
    def suffix(self) -> str:
        """`.pkl` of `a/b.PKL`; empty where there is none."""
        base = self.name.rpartition("/")[2].lower()
        return "." + base.rpartition(".")[2] if "." in base else ""


@contextmanager
def unpacked(source: BinaryIO, parent: Part, name: str, found: Found, *, torchscript: bool = False) -> Iterator[Part]:
    """`source` written to a bounded temporary file, as a part one level below `parent`.

    Raises `Unparsable` where the budget or the depth is used up.
    """
    if parent.depth + 1 > MAX_DEPTH:
        raise Unparsable(f"packed more than {MAX_DEPTH} times")
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as target:
        while chunk := source.read(_CHUNK):
            found.unpacked += len(chunk)
            if found.unpacked > MAX_UNPACKED:
                raise Unparsable(f"unpacks to more than {MAX_UNPACKED:,} bytes")
            target.write(chunk)
        size = target.tell()
        target.seek(0)
        yield Part(cast(BinaryIO, target), size, name, parent.depth + 1, torchscript, parent.followed)
