"""The readable form of a seccomp profile, and how Docker's JSON is made of it.

    architectures x86_64 aarch64
    default ENOSYS

    [allow] files: reading and writing what the mounts offer
    open openat read write

    [deny EPERM] tracing: reads the memory of other processes
    ptrace process_vm_readv

    [allow if arg0 == 2] IPv4 sockets: they end in the sinkhole
    socket

A `#` starts a comment. A call may stand in one section without a condition, or in several that all have one; calls
that stand nowhere get the default error. The parser knows nothing else and refuses everything it does not know.
"""

from __future__ import annotations

import errno
import json
import re
from dataclasses import dataclass
from typing import Any

from pratique.errors import InvalidInput

MAX_SOURCE = 256 * 1024

_ARCHITECTURES = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,63}", re.ASCII)
_HEADER = re.compile(
    r"\[(?:(?P<allow>allow)|deny (?P<errno>E[A-Z0-9]{1,15}))(?: if (?P<condition>[^\]]{1,80}))?\] "
    r"(?P<title>[^:\n]{1,80}): (?P<reason>[^\n]{1,300})",
    re.ASCII,
)
_CONDITION = re.compile(
    r"arg(?P<index>[0-5])(?: & (?P<mask>0x[0-9a-f]{1,16}))? == (?P<value>0x[0-9a-f]{1,16}|[0-9]{1,18})", re.ASCII
)


@dataclass(frozen=True)
class Condition:
    """The rule holds where argument `index`, masked by `mask` when there is one, equals `value`."""

    index: int
    mask: int | None
    value: int


@dataclass(frozen=True)
class Rule:
    """One section: the calls `names` are allowed (`errno_name` empty) or fail with an error."""

    names: tuple[str, ...]
    errno_name: str
    condition: Condition | None
    title: str
    reason: str

    @property
    def allows(self) -> bool:
        """Whether the calls go through."""
        return not self.errno_name


@dataclass(frozen=True)
class SeccompSource:
    """A whole profile: rules in order, native architectures, and the error of every call that no rule names."""

    architectures: tuple[str, ...]
    default_errno: str
    rules: tuple[Rule, ...]


def parse_source(text: str) -> SeccompSource:
    """Read a source; raises `InvalidInput` (`seccomp/…`) for whatever is not exactly as the module says."""
    if len(text) > MAX_SOURCE:
        raise _wrong("longer than 256 KiB", 0)
    architectures: tuple[str, ...] = ()
    default = ""
    sections: list[tuple[int, str, list[str]]] = []
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.split("#", 1)[0].strip()
        if not line:
            continue
        if line.startswith("["):
            sections.append((number, line, []))
        elif sections:
            sections[-1][2].extend(_names(line, number))
        elif line.startswith("architectures ") and not architectures:
            architectures = _architectures(line, number)
        elif line.startswith("default ") and not default:
            default = _errno(line.removeprefix("default ").strip(), number)
        else:
            raise _wrong("neither a setting, a section nor a list of calls", number)
    if not architectures or not default or not sections:
        raise _wrong("needs `architectures`, `default` and at least one section", 0)
    rules = tuple(_rule(number, header, names) for number, header, names in sections)
    _refuse_contradictions(rules)
    return SeccompSource(architectures, default, rules)


def render(source: SeccompSource) -> str:
    """Docker's JSON, the same bytes for the same source."""
    calls = [_entry(rule) for rule in source.rules]
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": getattr(errno, source.default_errno),
        "architectures": [_ARCHITECTURES[name] for name in source.architectures],
        "syscalls": calls,
    }
    return json.dumps(profile, sort_keys=True, separators=(",", ":"))


def _entry(rule: Rule) -> dict[str, Any]:
    entry: dict[str, Any] = {"names": list(rule.names)}
    if rule.allows:
        entry["action"] = "SCMP_ACT_ALLOW"
    else:
        entry |= {"action": "SCMP_ACT_ERRNO", "errnoRet": getattr(errno, rule.errno_name)}
    if (condition := rule.condition) is not None:
        if condition.mask is None:
            argument = {"index": condition.index, "value": condition.value, "op": "SCMP_CMP_EQ"}
        else:
            argument = {
                "index": condition.index,
                "value": condition.mask,
                "valueTwo": condition.value,
                "op": "SCMP_CMP_MASKED_EQ",
            }
        entry["args"] = [argument]
    return entry


def _rule(number: int, header: str, names: list[str]) -> Rule:
    match = _HEADER.fullmatch(header)
    if match is None:
        raise _wrong("a section starts `[allow] title: reason` or `[deny ERRNO if …] title: reason`", number)
    if not names:
        raise _wrong("a section without calls", number)
    if len(set(names)) != len(names):
        raise _wrong("a call twice in one section", number)
    error = _errno(match["errno"], number) if match["errno"] else ""
    condition = _condition(match["condition"], number) if match["condition"] else None
    return Rule(tuple(names), error, condition, match["title"], match["reason"])


def _condition(text: str, number: int) -> Condition:
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise _wrong("a condition is `argN == VALUE` or `argN & MASK == VALUE`", number)
    mask = int(match["mask"], 16) if match["mask"] else None
    value = int(match["value"], 16 if match["value"].startswith("0x") else 10)
    if value >= 1 << 63 or (mask or 0) >= 1 << 63:
        raise _wrong("a number of more than 63 bits", number)
    return Condition(int(match["index"]), mask, value)


def _refuse_contradictions(rules: tuple[Rule, ...]) -> None:
    """A call with an unconditional rule has no other: which one wins is not for libseccomp to decide."""
    plain: set[str] = set()
    conditional: dict[str, bool] = {}
    for rule in rules:
        for name in rule.names:
            clash = name in plain or (rule.condition is None and name in conditional)
            if clash or conditional.get(name, rule.allows) != rule.allows:
                raise _wrong(f"{name} stands in two sections that contradict each other", 0)
            if rule.condition is None:
                plain.add(name)
            else:
                conditional[name] = rule.allows


def _names(line: str, number: int) -> list[str]:
    names = line.split()
    for name in names:
        if not _NAME.fullmatch(name):
            raise _wrong(f"{name[:40]!r} is not the name of a call", number)
    return names


def _architectures(line: str, number: int) -> tuple[str, ...]:
    names = tuple(line.split()[1:])
    if not names or len(set(names)) != len(names) or any(name not in _ARCHITECTURES for name in names):
        raise _wrong(f"architectures are some of {', '.join(_ARCHITECTURES)}", number)
    return names


def _errno(name: str, number: int) -> str:
    if name not in errno.errorcode.values():
        raise _wrong(f"{name[:20]!r} is not the name of an error", number)
    return name


def _wrong(message: str, number: int) -> InvalidInput:
    return InvalidInput(
        message,
        rule="seccomp/source",
        where=f"line {number}" if number else "seccomp source",
        next_step="mend the source; its form is described in sandbox/seccomp/source.py",
    )
