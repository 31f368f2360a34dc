"""Whether a file may be a pickle, by its first bytes: opcodes are counted out on them, and nothing is loaded.

A pickle may begin with any value, so no list of beginnings is whole. What unpickling does is followed as far as it
matters here: how long each opcode is, and how many values it takes and leaves. Ordinary texts and data fail within the
first few. `pickletools` gives the table.
"""

from __future__ import annotations

import pickletools
import re
from typing import Final

_MAX_PROTOCOL = 5
_MAX_STEPS = 200
"""What goes on for so many opcodes is taken for a pickle."""
_MAX_NAMES = 404
"""A module and a name that an import may ask for, two lines; those in pieces may be longer."""
_NAMES: Final = re.compile(rb"[A-Za-z_][\w.]{0,200}\n[A-Za-z_][\w.]{0,200}\n")
_NAMES_BEGUN: Final = re.compile(rb"(?:[\w\x80-\xff]{1,255}+[.\n])*+[\w\x80-\xff]{0,255}")
"""Names in pieces, which lead from one to the next (`os.path.os.path`) for as long as one likes."""
_NUMBER: Final = re.compile(rb"[\s0-9a-fox_+.\-intyjl]*(?:\0.*)?", re.IGNORECASE | re.DOTALL)
"""Letters of numbers in any base and of `nan` and `infinity`; unpicklers written in C stop at a zero byte."""
_QUOTED: Final = re.compile(rb"(?P<quote>['\"]).*(?P=quote)\s*", re.DOTALL)
_QUOTE: Final = re.compile(rb"(?:['\"].*)?", re.DOTALL)
_WIDTHS: Final = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_TABLE: Final = {ord(opcode.code): opcode for opcode in pickletools.opcodes}
_STARTS: Final = frozenset(code for code, opcode in _TABLE.items() if not opcode.stack_before)
_GIVES: Final = frozenset(("EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"))
"""Opcodes after which there may be something to call that no name in the pickle tells."""
_IMPORTS: Final = frozenset(("GLOBAL", "INST"))
_CALLS: Final = frozenset(("REDUCE", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"))
_ANY: Final = re.compile(rb".*", re.DOTALL)
_LINES: Final = {
    **dict.fromkeys(("INT", "LONG", "FLOAT", "GET", "PUT"), (_NUMBER, _NUMBER)),
    **dict.fromkeys(("UNICODE", "PERSID"), (_ANY, _ANY)),
    "STRING": (_QUOTED, _QUOTE),
}
"""What an argument to the end of the line is, as a whole and where it is cut off."""


def looks_like_pickle(head: bytes, size: int) -> bool:
    """Whether a file of `size` bytes that begins with `head` may be a pickle of any protocol.

    False only where unpicklers fail before anything is imported or called, or where it says itself to be of none of
    the protocols. Whatever else it is, the walk over all of it decides.
    """
    if head[:1] == b"\x80":
        return len(head) > 1 and head[1] <= _MAX_PROTOCOL
    return bool(head) and head[0] in _STARTS and _Count(head, max(size, len(head))).decide()


class _Count:
    """Counts out opcodes: `depth` values since the last mark, `below` before each mark."""

    def __init__(self, head: bytes, size: int) -> None:
        self.head = head
        self.size = size
        self.at = 0
        self.depth = 0
        self.below: list[int] = []
        self.memo = False
        self.given = False
        self.ended = False

    def decide(self) -> bool:
        for _ in range(_MAX_STEPS):
            if self.at >= len(self.head):
                return self.at < self.size or (self.ended and self.at == self.size)
            opcode = _TABLE.get(self.head[self.at])
            if opcode is None:
                return False
            decided = self._step(opcode)
            if decided is not None:
                return decided
        return True

    def _step(self, opcode: pickletools.OpcodeInfo) -> bool | None:
        """One opcode: None where it goes on, else whether it may be a pickle."""
        name = opcode.name
        if not self._take(opcode):
            return False
        if name in _IMPORTS:
            return self._pass_names()
        if name == "STACK_GLOBAL" or (name in _CALLS and self.given):
            return True
        if name in _CALLS and name != "BUILD":
            return False  # a call of what is no import
        self.given = self.given or name in _GIVES
        self.memo = self.memo or name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT")
        self.ended = name == "STOP"
        if self.ended:  # another pickle may follow
            self.depth, self.below, self.memo, self.given = 0, [], False, False
        return self._pass(opcode)

    # --- what it takes from the stack, and leaves ---------------------------------------------------------------------

    def _take(self, opcode: pickletools.OpcodeInfo) -> bool:
        """Whether the opcode finds what it works on."""
        name, before = opcode.name, opcode.stack_before
        if name == "MARK":
            self.below.append(self.depth)
            self.depth = 0
            return True
        if (name == "POP" and not self.depth) or pickletools.markobject in before:
            if not self.below or (name == "OBJ" and not self.depth):
                return False
            self.depth = self.below.pop()
            before = before[: before.index(pickletools.markobject)] if name != "POP" else []
        kept = name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
        needed = 1 if kept else len(before)
        if self.depth < needed or ("GET" in name and not self.memo):
            return False
        self.depth += 0 if kept else len(opcode.stack_after) - needed
        return True

    # --- what it has behind it ----------------------------------------------------------------------------------------

    def _pass(self, opcode: pickletools.OpcodeInfo) -> bool | None:
        """Go behind the opcode's argument; as `_step`."""
        self.at += 1
        argument = opcode.arg
        if argument is None:
            return None
        if argument.n == pickletools.UP_TO_NEWLINE:
            return self._pass_line(*_LINES[opcode.name])
        if argument.n >= 0:
            too_new = opcode.name == "PROTO" and self.head[self.at : self.at + 1] > bytes([_MAX_PROTOCOL])
            self.at += argument.n
            return False if too_new else None
        width = _WIDTHS[argument.n]
        prefix = self.head[self.at : self.at + width]
        signed = argument.n == pickletools.TAKEN_FROM_ARGUMENT4
        self.at += width
        self.at += max(0, int.from_bytes(prefix, "little", signed=signed))
        return False if self.at > self.size else None

    def _pass_line(self, whole: re.Pattern[bytes], begun: re.Pattern[bytes]) -> bool | None:
        end = self.head.find(b"\n", self.at)
        if end < 0:
            return len(self.head) < self.size and begun.fullmatch(self.head, self.at) is not None
        if whole.fullmatch(self.head, self.at, end) is None:
            return False
        self.at = end + 1
        return None

    def _pass_names(self) -> bool | None:
        """True where they are names that Python imports, or where the head ends in them; odd ones may be a file's."""
        start = self.at + 1
        if _NAMES.match(self.head, start):
            return True
        lines = self.head[start:].split(b"\n", 2)
        if len(lines) < 3:
            short = len(self.head) - start < _MAX_NAMES
            return len(self.head) < self.size and (short or _NAMES_BEGUN.fullmatch(self.head, start) is not None)
        self.at = len(self.head) - len(lines[2])
        self.given = True
        return None
