"""What a trusted root holds, as this check uses it: authorities and log keys, each with the time it may be used in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509

from checks.provenance.keys import PublicKey
from pratique.digests import Digest


@dataclass(frozen=True)
class Window:
    """A closed span of time; `end` None is open (sigstore's `TimeRange`: both ends belong to it)."""

    start: datetime
    end: datetime | None = None

    def covers(self, time: datetime) -> bool:
        """Whether `time` lies in the window."""
        return self.start <= time and (self.end is None or time <= self.end)

    def __str__(self) -> str:
        return f"valid from {self.start.isoformat()} to {self.end.isoformat() if self.end else 'further notice'}"


@dataclass(frozen=True)
class Authority:
    """A certificate or timestamp authority: its chain from the issuing certificate to the root."""

    name: str
    certificates: tuple[x509.Certificate, ...]
    window: Window


@dataclass(frozen=True)
class LogKey:
    """A log's key; `hint` are the four bytes that name it in a checkpoint, `library` sigstore's own form of the key."""

    name: str
    log_id: bytes
    hint: bytes
    key: PublicKey
    window: Window
    library: Any


@dataclass(frozen=True)
class TrustMaterial:
    """One trusted root, read and checked; `library` is sigstore's own view of it, for the second opinion."""

    digest: Digest
    authorities: tuple[Authority, ...]
    timestamp_authorities: tuple[Authority, ...]
    logs: tuple[LogKey, ...]
    ct_logs: tuple[LogKey, ...]
    library: Any


NO_ROOT = TrustMaterial(Digest(""), (), (), (), (), None)
"""No trusted root at all: what a trust in managed keys alone verifies against."""
