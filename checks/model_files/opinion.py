"""Second opinions: what other scanners say of the same file, shown where they disagree.

They know what is forbidden, not what is allowed, so their silence means nothing: no opinion ever makes a file safe.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

from checks.model_files.parts import Verdict

MAX_SIZE = 8 * 1024**2
MAX_STEPS = 200_000
"""picklescan reads a pickle whole and looks back from each import, so it is not asked about longer ones."""
_MAX_ABOUT = 5


@dataclass(frozen=True)
class Opinion:
    """What `scanner` says, and what about: `UNREADABLE` where it gave no answer."""

    scanner: str
    says: Verdict
    about: tuple[str, ...] = ()

    def disagrees(self, verdict: Verdict) -> bool:
        """Whether it would let pass what we refuse, or refuse what we let pass; no answer disagrees with nothing."""
        if self.says is Verdict.UNREADABLE:
            return False
        return (self.says is Verdict.SAFE) is not (verdict in (Verdict.SAFE, Verdict.UNRECOGNISED))


def disagreement(opinion: Opinion) -> str:
    """What another scanner says, in words."""
    about = f": {', '.join(opinion.about)}" if opinion.about else ""
    return f"{opinion.scanner} says otherwise: {opinion.says.value}{about}"[:400]


@cache
def picklescan_name() -> str:
    """Name and version."""
    return f"picklescan {version('picklescan')}"


def ask_picklescan(data: bytes, name: str) -> Opinion:
    """picklescan's opinion on the bytes of a pickle."""
    from picklescan.scanner import SafetyLevel, scan_pickle_bytes

    logging.getLogger("picklescan").setLevel(logging.CRITICAL)
    try:
        result = scan_pickle_bytes(io.BytesIO(data), name)
    except (ValueError, LookupError, TypeError, AttributeError, OSError, EOFError, RecursionError):
        return Opinion(picklescan_name(), Verdict.UNREADABLE)
    dangerous = {f"{g.module}.{g.name}" for g in result.globals if g.safety is SafetyLevel.Dangerous}
    says = Verdict.UNSAFE if dangerous else Verdict.UNREADABLE if result.scan_err else Verdict.SAFE
    return Opinion(picklescan_name(), says, tuple(sorted(dangerous)))


def together(opinions: Iterable[Opinion]) -> tuple[Opinion, ...]:
    """One opinion a scanner on a file of several parts: the gravest, with all that it names."""
    found: dict[str, Opinion] = {}
    order = (Verdict.SAFE, Verdict.UNREADABLE, Verdict.UNSAFE)
    for one in opinions:
        other = found.get(one.scanner, Opinion(one.scanner, Verdict.SAFE))
        says = max(one.says, other.says, key=order.index)
        about = tuple(dict.fromkeys((*other.about, *one.about)))[:_MAX_ABOUT]
        found[one.scanner] = Opinion(one.scanner, says, about)
    return tuple(found.values())
