"""The newest times that a node signed: a lower bound of now, whatever the machine's clock shows.

A clock that is set back would bring expired admissions, waivers, advisories and withdrawal lists back to life. What the
node signed into its ledger it signed before now; and the ledger cannot be put back together with the clock, since the
newest head seen is remembered beside the node's key. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pratique.clock import rfc3339
from pratique.errors import CouldNotDecide
from records.admissions import LONG_AGO, moment_of
from records.standing import SKEW
from records.words import in_words


class ClockSetBack(CouldNotDecide):
    """The machine's clock shows a time before one that this node has signed."""


@dataclass(frozen=True)
class SignedTime:
    """The time that the node wrote into this entry of its ledger."""

    entry: int
    moment: datetime


def with_time_of(known: Sequence[SignedTime], entry: int, statement: dict[str, Any]) -> tuple[SignedTime, ...]:
    """`known` and the time of the node's own statement at `entry`, without those that a later entry has reached.

    So times fall from first to last, and the first of those from some entry on is the newest from there on.
    """
    moment = moment_of(in_words(statement).time)
    if moment == LONG_AGO:
        return tuple(known)
    return (*(one for one in known if one.moment > moment), SignedTime(entry, moment))


def require_not_before(known: Sequence[SignedTime], now: datetime, *, since: int) -> None:
    """Raise `ClockSetBack` where an entry from `since` on is later than `now`, beyond a small tolerance."""
    ahead = [one for one in known if one.entry >= since and one.moment > now + SKEW]
    if ahead:
        raise ClockSetBack(
            "this machine's clock was set back: it shows a time before one that this node has signed itself",
            cause=f"now {rfc3339(now)}, entry {ahead[0].entry} of its ledger was signed on {rfc3339(ahead[0].moment)}",
            next_step="Set the clock right (timedatectl, hwclock). Only if it is right now, and was ahead when that "
            f"entry was signed: write `trust_times_from: {ahead[-1].entry + 1}` under admissions in the policy, and "
            "the digest of the policy so far under also_under.",
        )
