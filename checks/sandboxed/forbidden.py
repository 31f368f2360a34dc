"""System calls that the filter denied, with their arguments where those were heard of, as findings of containment."""

from __future__ import annotations

from collections import defaultdict

from checks.interface import Level
from checks.sandboxed.judging import Judgement
from sandbox.observe.arguments import namespaces_asked_for
from sandbox.record import ForbiddenCall, Observed, SandboxRun
from sandbox.seccomp import default_source

HOSTILE = frozenset(
    {
        "tracing",
        "kernel programs and counters",
        "keyrings",
        "namespaces and mounts",
        "files by handle",
        "the machine itself",
    }
)
"""Sections of the profile whose calls no library makes in passing: who makes one is after the host."""

PASSING = frozenset(("kcmp", "adjtimex", "clock_adjtime", "ustat", "sysfs"))
"""Calls of these sections that graphics and C libraries do make in passing."""

HOSTILE_FAMILIES = frozenset(
    ("AF_VSOCK", "AF_PACKET", "AF_KEY", "AF_BLUETOOTH", "AF_CAN", "AF_TIPC", "AF_RDS", "44")  # 44: AF_XDP
)
"""Sockets that reach the hypervisor, other machines or the wire; C libraries ask for netlink, others for alg."""

MOST_LISTED = 20
MOST_SHOWN, LONGEST_SHOWN = 5, 160
_BY_FLAGS = frozenset(("clone", "clone3", "unshare"))
_WATCHED = (Observed.COMPLETE, Observed.PARTIAL)


def judge_forbidden(judgement: Judgement, record: SandboxRun) -> None:
    """One finding for each hostile call, with what it asked for; the others in a note."""
    judgement.measure("notified", record.notified.value)
    if record.notified is Observed.PARTIAL:
        judgement.add(
            "notified-in-part",
            Level.WARNING,
            f"Not every denied call was heard of with its arguments: {record.notified_detail}",
            fix="Make fewer calls that are denied; see the forbidden calls.",
            risks=("G1",),
        )
    calls = _denied(record)
    if record.notified not in _WATCHED and record.traced not in _WATCHED:
        return
    judgement.measure("denied_calls", sum(call.count for call in calls))
    hostile: defaultdict[tuple[str, str], list[ForbiddenCall]] = defaultdict(list)
    others: defaultdict[str, int] = defaultdict(int)
    for call in calls:
        if why := why_hostile(call):
            hostile[call.name, why].append(call)
        else:
            others[call.name] += call.count
    for (name, why), group in hostile.items():
        judgement.add(
            "forbidden-call",
            Level.ERROR,
            f"The tool called {name} ({sum(call.count for call in group)} times), which is denied: {why}.",
            where=_shown(group),
            fix="Take the call out, or the library that makes it: a tool that computes on data does not need it.",
            risks=("G1", "U6"),
        )
    if others:
        judgement.add(
            "denied-calls",
            Level.NOTE,
            "Calls that were denied and that libraries make in passing: "
            + ", ".join(f"{name} ({count})" for name, count in list(others.items())[:MOST_LISTED])
            + ".",
        )


def why_hostile(call: ForbiddenCall) -> str:
    """Why nobody makes this call in passing; empty where libraries do."""
    if call.name in _BY_FLAGS and call.arguments:
        return (
            "a namespace of its own, the way to a new view of the host" if namespaces_asked_for(call.arguments) else ""
        )
    if call.name == "socket":
        family = call.arguments.partition("family=")[2].partition(" ")[0]
        if family in HOSTILE_FAMILIES:
            return "a socket that reaches past the container"
        return "a number that is to mislead the filter" if family.startswith("0x") else ""
    rule = next((rule for rule in default_source().rules if not rule.allows and call.name in rule.names), None)
    if rule is None or rule.title not in HOSTILE or call.name in PASSING:
        return ""
    return f"{rule.title}, {rule.reason}"


def _denied(record: SandboxRun) -> list[ForbiddenCall]:
    """Every denied call once: as it was heard of, and those that were only counted."""
    heard = list(record.forbidden) if record.notified in _WATCHED else []
    counted = record.denied if record.traced in _WATCHED else ()
    names = {call.name for call in heard}
    only = [ForbiddenCall(name=one.name, error=one.error, count=one.count) for one in counted if one.name not in names]
    return heard + only


def _shown(group: list[ForbiddenCall]) -> str:
    told = [call for call in group if call.arguments]
    lines = [
        f"{_cut(call.arguments)} by {_cut(call.program) or 'a program'} ({call.count})" for call in told[:MOST_SHOWN]
    ]
    more = [f"{len(told) - MOST_SHOWN} more"] if len(told) > MOST_SHOWN else []
    return "; ".join([*lines, *more])


def _cut(text: str) -> str:
    """The record has all of it."""
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"
