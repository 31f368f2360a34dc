"""Waivers: a person of the node says, with a reason and until a day, that an advisory may be passed over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Waiver:
    """`id` is any identifier of the advisory; an empty `package` means any; it holds up to and with `until`."""

    id: str
    until: date
    by: str
    reason: str
    package: str = ""

    def covers(self, identifiers: Iterable[str], package: str) -> bool:
        """Whether it speaks of this advisory in this package."""
        return self.id in identifiers and self.package.lower() in ("", package.lower())


def find_waiver(
    waivers: Sequence[Waiver], identifiers: Iterable[str], package: str, today: date
) -> tuple[Waiver | None, bool]:
    """The waiver that covers the advisory, and whether it holds; an expired one is returned only to be shown."""
    known = frozenset(identifiers)
    covering = [waiver for waiver in waivers if waiver.covers(known, package)]
    if not covering:
        return None, False
    longest = max(covering, key=lambda waiver: waiver.until)
    return longest, longest.until >= today
