"""Canaries: unique markers planted in synthetic data, which must never come out of a tool."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum

TOKEN_LENGTH = 20
"""Characters of a canary token: 20 of the base32 alphabet, about 99 bits."""

SHORT_TOKEN_LENGTH = 16
"""Characters of a canary for fields that hold no more (DICOM's SH): about 79 bits."""

NUMBER_DIGITS = 15
"""Digits of a numeric canary: the longest that a 64-bit float still holds exactly."""


class CanaryKind(StrEnum):
    """What a canary stands for; it says how grave its escape is."""

    IDENTIFIER = "identifier"
    TEXT = "text"
    HEADER = "header"
    PIXEL = "pixel"


@dataclass(frozen=True, slots=True)
class Canary:
    """A marker: what it stands for, its value, and where in the cohort it was planted (`file#place`)."""

    kind: CanaryKind
    value: str
    placed_in: str

    @property
    def numeric(self) -> bool:
        """Whether the value is a long integer instead of a token."""
        return self.value.isdecimal()


class CanaryMint:
    """Derives canaries from a seed by HMAC-SHA256 (RFC 2104): equal seeds, equal canaries; unguessable without it."""

    def __init__(self, seed: int) -> None:
        self._key = hashlib.sha256(f"pratique canary v1 {seed}".encode()).digest()

    def token(self, kind: CanaryKind, placed_in: str, *, length: int = TOKEN_LENGTH) -> Canary:
        """A canary of `length` upper-case letters and digits (2 to 7) that begins with a letter."""
        digits = base64.b32encode(self._digest(kind, placed_in)).decode("ascii").lstrip("234567")
        return Canary(kind, digits[:length], placed_in)

    def number(self, kind: CanaryKind, placed_in: str) -> Canary:
        """A canary of 15 decimal digits, for columns whose type is integer."""
        smallest = 10 ** (NUMBER_DIGITS - 1)
        drawn = int.from_bytes(self._digest(kind, placed_in), "big") % (9 * smallest)
        # A last digit other than zero keeps the value whole when something prints it without trailing zeros.
        return Canary(kind, str(smallest + drawn - drawn % 10 + 1 + drawn % 9), placed_in)

    def _digest(self, kind: CanaryKind, placed_in: str) -> bytes:
        return hmac.digest(self._key, f"{kind}\0{placed_in}".encode(), "sha256")
