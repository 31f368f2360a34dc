"""The tables of `docs/reference/sandbox.md`, written from the code so that they cannot say anything else.

    python -m sandbox.reference docs/reference/sandbox.md

puts them between the markers `<!-- name -->` and `<!-- /name -->` of that file; a test keeps the file equal.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from pratique.errors import UsageError
from sandbox.doctor import WEAKNESSES
from sandbox.seccomp import Rule, default_source
from sandbox.spec import KIB, MIB, NEUTRAL_ENVIRONMENT, REPRODUCIBLE_ENVIRONMENT, Limits

_SAID = {
    "cpus": "processors: quota and pinned set",
    "memory": "bytes of memory; swap is off, and what is written to a tmpfs counts",
    "pids": "processes and threads",
    "output_bytes": "bytes in the output directory",
    "output_files": "files that are taken over",
    "output_depth": "directories inside each other in the output",
    "tmp_bytes": "bytes in /tmp",
    "tmp_files": "files in /tmp",
    "shm_bytes": "bytes in /dev/shm",
    "input_bytes": "bytes of all inputs",
    "input_files": "files and directories of all inputs",
    "open_files": "open files of a process",
    "wall_seconds": "seconds from start to kill",
    "log_bytes": "bytes of stdout and stderr, after which the tool is ended",
}


def tables() -> dict[str, str]:
    """Marker → Markdown."""
    return {
        "limits": _limits(),
        "environment": _environment(),
        "denied": _denied(),
        "conditional": _conditional(),
        "weaknesses": ", ".join(f"`{name}`" for name in sorted(WEAKNESSES)) + ".\n",
    }


def filled(text: str) -> str:
    """`text` with every table between its markers; raises `UsageError` for a marker that is missing."""
    for name, table in tables().items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise UsageError(f"the document has no markers for {name}", next_step=f"Add <!-- {name} --> and its end.")
        text = pattern.sub(lambda found, table=table: found[1] + table + found[2], text)  # type: ignore[misc]
    return text


def _limits() -> str:
    properties: dict[str, Any] = Limits.model_json_schema()["properties"]
    lines = ["| limit | what | default | least | most |", "|---|---|---|---|---|"]
    for name, schema in properties.items():
        least = schema.get("minimum", schema.get("exclusiveMinimum"))
        shown = [_amount(name, value) for value in (schema["default"], least, schema.get("maximum"))]
        shown[1] = f"above {shown[1]}" if "exclusiveMinimum" in schema else shown[1]
        lines.append(f"| `{name}` | {_SAID[name]} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def _amount(name: str, value: float) -> str:
    if name.endswith("_bytes") or name == "memory":
        for unit, size in (("GiB", 1024 * MIB), ("MiB", MIB), ("KiB", KIB)):
            if value >= size and value % size == 0:
                return f"{value // size:,} {unit}"
    return f"{value:,g}" if isinstance(value, float) else f"{value:,}"


def _environment() -> str:
    given = {**REPRODUCIBLE_ENVIRONMENT, **NEUTRAL_ENVIRONMENT}
    return "```\n" + "".join(f"{name}={value}\n" for name, value in sorted(given.items())) + "```\n"


def _denied() -> str:
    rules = [rule for rule in default_source().rules if not rule.allows]
    rows = [f"| {rule.title} | {rule.errno_name} | {rule.reason} | {_names(rule)} |" for rule in rules]
    return "\n".join(["| what | answer | why | calls |", "|---|---|---|---|", *rows]) + "\n"


def _conditional() -> str:
    lines = ["| what | calls | only where |", "|---|---|---|"]
    for rule in default_source().rules:
        if (condition := rule.condition) is not None and rule.allows:
            mask = f" & {condition.mask:#x}" if condition.mask is not None else ""
            lines.append(
                f"| {rule.title}: {rule.reason} | {_names(rule)} | `arg{condition.index}{mask} == {condition.value}` |"
            )
    return "\n".join(lines) + "\n"


def _names(rule: Rule) -> str:
    return " ".join(f"`{name}`" for name in sorted(rule.names))


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.write_text(filled(place.read_text(encoding="utf-8")), encoding="utf-8")
