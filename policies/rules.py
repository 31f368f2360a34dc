"""Rules in CEL: what an expression may refer to, and its answer over check results.

An expression speaks of `checks.<name>.status`, `checks.<name>.measurements.<measurement>` and `facts.<name>`. All are
named literally, so that every rule says beforehand what it rests on; anything cleverer is refused when the policy is
read. Evaluation fails closed: an error, or an answer that is not `true`, is never *satisfied*.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from checks.interface import CheckResult, Status

if TYPE_CHECKING:
    from cel import Program

_STATIC = (
    "manifest",
    "dossier",
    "image",
    "provenance",
    "pinning",
    "sbom",
    "vulnerabilities",
    "licenses",
    "model_files",
    "model_signatures",
    "code",
)
_RUN = ("conformance", "containment", "canaries", "determinism", "membership", "dp_claim")

CHECKS = frozenset(_STATIC + _RUN)
"""Names of the checks that a rule may refer to."""

Scalar = bool | int | float | str | None

_MAX_CHARACTERS = 4000
_ROOTS = frozenset({"checks", "facts"})
_LITERAL = re.compile(r'[rRbB]{0,2}(?:"""[\s\S]*?"""|\'\'\'[\s\S]*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\')')
_COMMENT = re.compile(r"//[^\n]*")
_MACRO_VARIABLE = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")
_ANY_CHECKS = re.compile(r"(?<![\w.])checks\b")
_CHECK = re.compile(r"(?<![\w.])checks\s*\.\s*([A-Za-z_]\w*)\s*\.\s*(?:status\b|measurements\s*\.\s*([A-Za-z_]\w*))")
_ANY_FACTS = re.compile(r"(?<![\w.])facts\b")
_FACT = re.compile(r"(?<![\w.])facts((?:\s*\.\s*[A-Za-z_]\w*\b)+)(?!\s*\()")
_CEL_ERRORS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class Expression:
    """A compiled expression and what it refers to."""

    source: str
    program: Program
    checks: tuple[str, ...]
    measurements: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Answer:
    """Answer of an expression: whether it is satisfied, why not, and the values it rested on.

    `strict` marks an undecided answer that must not be milder than a plain no: a check failed, or the rule broke.
    """

    satisfied: bool
    undecided: bool
    strict: bool
    why: str
    inputs: dict[str, Scalar]


def check_expression(source: str) -> str:
    """`source` itself when it is an expression that may stand in a rule; raises `ValueError`."""
    compile_expression(source)
    return source


@lru_cache(maxsize=512)
def compile_expression(source: str) -> Expression:
    """Compile `source`; raises `ValueError` for what is not CEL or refers to anything but named checks and facts."""
    from policies.cel_core import compile_program

    if len(source) > _MAX_CHARACTERS:
        raise ValueError(f"an expression of more than {_MAX_CHARACTERS} characters")
    program = compile_program(source)
    text = _COMMENT.sub("", _LITERAL.sub('""', source))
    references, fact_references = list(_CHECK.finditer(text)), list(_FACT.finditer(text))
    if len(references) != len(_ANY_CHECKS.findall(text)) or len(fact_references) != len(_ANY_FACTS.findall(text)):
        raise ValueError("write checks.<name>.status, checks.<name>.measurements.<measurement> or facts.<name>")
    names = tuple(dict.fromkeys(match[1] for match in references))
    unknown = sorted(set(names) - CHECKS)
    if unknown:
        raise ValueError(f"there is no check called {', '.join(unknown)}; there are {', '.join(sorted(CHECKS))}")
    strangers = sorted(set(program.variables()) - _ROOTS - set(_MACRO_VARIABLE.findall(text)))
    if strangers:
        raise ValueError(f"unknown name {', '.join(strangers)}; a rule speaks of checks and facts")
    facts = tuple(tuple(re.split(r"\s*\.\s*", match[1].strip())[1:]) for match in fact_references)
    if not names and not facts:
        raise ValueError("the expression refers to no check and no fact, so it demands nothing")
    measurements = tuple(dict.fromkeys((match[1], match[2]) for match in references if match[2]))
    return Expression(source, program, names, measurements, tuple(dict.fromkeys(facts)))


def evaluate(source: str, results: Mapping[str, CheckResult], facts: Mapping[str, Any]) -> Answer:
    """Answer of the expression `source` over check results and facts; never raises for what these contain."""
    expression = compile_expression(source)
    known = {name: results[name] for name in expression.checks if name in results and results[name].check == name}
    inputs = _inputs(expression, known, facts)
    absent = [name for name in expression.checks if name not in known]
    open_ = [name for name, result in known.items() if result.status is Status.INCONCLUSIVE]
    failed = any(result.status is Status.FAILED for result in known.values())
    if absent or open_:
        return Answer(False, True, failed, _why_undecided(absent, open_), inputs)
    context = {"checks": {name: _as_cel(result) for name, result in known.items()}, "facts": dict(facts)}
    try:
        value = expression.program.execute(context)
    except _CEL_ERRORS as error:
        return Answer(False, True, True, f"The rule could not be evaluated: {_describe(error)}.", inputs)
    if not isinstance(value, bool):
        return Answer(False, True, True, "The rule's answer is neither true nor false.", inputs)
    return Answer(value, False, False, "" if value else "The requirement is not met.", inputs)


def _as_cel(result: CheckResult) -> dict[str, Any]:
    return {"status": result.status.value, "measurements": _measurements(result)}


def _measurements(result: CheckResult) -> dict[str, bool | int | float | str]:
    """Measurements by name, without those that no comparison can be trusted with: NaN, infinite, given twice."""
    names = [measurement.name for measurement in result.measurements]
    return {
        item.name: item.value
        for item in result.measurements
        if names.count(item.name) == 1 and not (isinstance(item.value, float) and not math.isfinite(item.value))
    }


def _inputs(expression: Expression, known: Mapping[str, CheckResult], facts: Mapping[str, Any]) -> dict[str, Scalar]:
    """Every value that the expression refers to, by the path it is written with; None for what is not there."""
    inputs: dict[str, Scalar] = {}
    for name in expression.checks:
        inputs[f"checks.{name}.status"] = known[name].status.value if name in known else None
    for name, measurement in expression.measurements:
        values = _measurements(known[name]) if name in known else {}
        inputs[f"checks.{name}.measurements.{measurement}"] = values.get(measurement)
    for path in expression.facts:
        value: Any = facts
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        inputs[f"facts.{'.'.join(path)}"] = value if isinstance(value, Scalar) else str(value)[:500]
    return inputs


def _why_undecided(absent: list[str], open_: list[str]) -> str:
    parts = [f"{name} was not checked" for name in absent] + [f"{name} could not be decided" for name in open_]
    return "; ".join(parts).capitalize() + "."


def _describe(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"there is no {error.args[0]!r}"
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__
