"""Which calls are handed to the listener: exactly those that the profile denies, as rules that the kernel can keep.

The default action of a filter cannot be a notification (and runc refuses it), so the calls that no rule names are named
here, and a call that is allowed for some arguments only gets rules for all the others. What cannot be said so stays
denied without a notification: calls that the machine's libseccomp does not know, and other architectures, which kill.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sandbox.observe.calls import call_names
from sandbox.seccomp.source import Condition, Rule, SeccompSource

WIDEST_GAP = 64
"""So many single values between two allowed ones are named one by one."""


def notified_rules(source: SeccompSource) -> list[dict[str, Any]]:
    """`names` and `args` of what `source` denies, in the form of an OCI configuration."""
    conditional: dict[str, list[Condition]] = {}
    allowed: set[str] = set()
    for rule in source.rules:
        for name in rule.names:
            if rule.condition is not None and rule.allows:
                conditional.setdefault(name, []).append(rule.condition)
            elif rule.allows:
                allowed.add(name)
    denied = {name for rule in source.rules if not rule.allows for name in rule.names} | set(call_names().values())
    plain = sorted(denied - allowed - conditional.keys() - _conditionally_denied(source.rules))
    rules: list[dict[str, Any]] = [{"names": plain}]
    for name, conditions in sorted(conditional.items()):
        rules += [{"names": [name], "args": [argument]} for argument in everything_but(conditions)]
    return rules


def _conditionally_denied(rules: Iterable[Rule]) -> set[str]:
    return {name for rule in rules if not rule.allows and rule.condition is not None for name in rule.names}


def everything_but(conditions: Sequence[Condition]) -> list[dict[str, Any]]:
    """Comparisons, one of which holds where none of `conditions` does; empty where that cannot be said.

    Either several plain values of one argument, or one masked comparison: one rule holds one comparison of an argument.
    """
    if len(conditions) == 1 and conditions[0].mask is not None:
        return _other_bits(conditions[0], conditions[0].mask)
    if len({condition.index for condition in conditions}) == 1 and all(one.mask is None for one in conditions):
        return _other_values(conditions[0].index, sorted({condition.value for condition in conditions}))
    return []


def _other_bits(condition: Condition, mask: int) -> list[dict[str, Any]]:
    bits = [1 << shift for shift in range(64) if mask >> shift & 1]
    return [
        {"index": condition.index, "value": bit, "valueTwo": ~condition.value & bit, "op": "SCMP_CMP_MASKED_EQ"}
        for bit in bits
    ]


def _other_values(index: int, values: Sequence[int]) -> list[dict[str, Any]]:
    below = range(values[-1])
    if len(below) > WIDEST_GAP:
        return []
    gaps = [{"index": index, "value": value, "op": "SCMP_CMP_EQ"} for value in below if value not in values]
    return [*gaps, {"index": index, "value": values[-1], "op": "SCMP_CMP_GT"}]
