"""What is refused in a manifest before anything interprets it.

Documents that pull in others (`$import`, `$include`, `$graph`, `run:` …), JavaScript in any form, a shell, captured
streams and requirements that would change what is run: each would make the manifest say less, or something else,
than what is then checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pratique.errors import InvalidInput

CLASSES = ("FEMTask", "CommandLineTool")
_PULLS_IN = frozenset({"$import", "$include", "$mixin", "$graph", "$base", "$schemas"})
_NOT_AT_TOP = frozenset({"stdin", "stdout", "stderr"})
_UNSUPPORTED = frozenset(
    (
        "secondaryFiles",
        "loadContents",
        "outputEval",
        "expressionLib",
        "dockerFile",
        "dockerImport",
        "dockerLoad",
        "dockerOutputDirectory",
    )
)
_REQUIREMENTS = frozenset(
    {
        "DockerRequirement",
        "EnvVarRequirement",
        "ResourceRequirement",
        "CUDARequirement",
        "InitialWorkDirRequirement",
        "NetworkAccess",
        "ToolTimeLimit",
        "WorkReuse",
        "SoftwareRequirement",
        "LoadListingRequirement",
    }
)
_NEVER = frozenset({"InlineJavascriptRequirement", "ShellCommandRequirement"})
_MAX_TYPE_DEPTH = 3


def guard(document: Any, *, where: str) -> dict[str, Any]:
    """`document` as a mapping that is safe to interpret.

    Raises `InvalidInput`: `manifest/not-a-mapping`, `manifest/class`, `manifest/cwl-version`, `manifest/include`,
    `manifest/javascript`, `manifest/unsupported`, `manifest/requirement`.
    """
    if not isinstance(document, dict):
        raise refuse("not-a-mapping", where, "a manifest is a mapping of keys to values", "Start from an example.")
    if document.get("class") not in CLASSES:
        raise refuse(
            "class",
            where,
            f"class {str(document.get('class'))[:80]!r} is not known",
            "Write `class: FEMTask` or `class: CommandLineTool`; a workflow's steps are submitted one by one.",
        )
    if document.get("cwlVersion") != "v1.2":
        raise refuse(
            "cwl-version",
            where,
            f"cwlVersion is {str(document.get('cwlVersion'))[:40]!r}",
            "Write `cwlVersion: v1.2` (`cwl-upgrader` converts older CommandLineTools).",
        )
    if "run" in document:
        raise _pulls_in("run", where)
    if captured := _NOT_AT_TOP & document.keys():
        raise _unsupported(sorted(captured)[0], where)
    for key, value in document.items():
        for place_key, item, place in _walk(key, value, f"{where}/{key}"):
            _check_item(place_key, item, place, interpreted=key not in ("metadata", "intent"))
    for name in ("requirements", "hints"):
        for entry, place in requirement_entries(document.get(name), f"{where}/{name}"):
            _check_requirement(entry["class"], place, binding=name == "requirements")
    return document


def refuse(rule: str, where: str, message: str, next_step: str, cause: str = "") -> InvalidInput:
    """An `InvalidInput` of the rule `manifest/<rule>`."""
    return InvalidInput(message, rule=f"manifest/{rule}", where=where, cause=cause, next_step=next_step)


def requirement_entries(section: Any, where: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Entries of `requirements` or `hints`, written as a list or as a map by class, each with its place."""
    if section is None:
        return
    if isinstance(section, dict):
        items = [({**value, "class": key} if isinstance(value, dict) else value) for key, value in section.items()]
    else:
        items = section if isinstance(section, list) else [section]
    for index, entry in enumerate(items):
        if not isinstance(entry, dict) or not isinstance(entry.get("class"), str):
            raise refuse("field", f"{where}[{index}]", "not a requirement with a class", "Write `- class: …`.")
        yield {**entry, "class": entry["class"].removeprefix("cwltool:")}, f"{where}[{index}]"


def _check_requirement(name: str, where: str, *, binding: bool) -> None:
    if name in _NEVER:
        raise refuse(
            "javascript" if "Javascript" in name else "requirement",
            where,
            f"{name} is not allowed: neither JavaScript nor a shell is ever run",
            "Remove it; give plain arguments and parameter references such as $(inputs.x).",
        )
    if binding and name not in _REQUIREMENTS:
        raise refuse(
            "requirement",
            where,
            f"the requirement {name[:80]!r} is not supported",
            "Remove it, or move it to `hints` if the tool also runs without it.",
        )


def _walk(key: str, value: Any, where: str) -> Iterator[tuple[str, Any, str]]:
    """Every key with its value and place, downwards; depth is bounded by the YAML reader."""
    yield key, value, where
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _walk(name, item, f"{where}/{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(key if isinstance(item, str) else "", item, f"{where}[{index}]")


def _check_item(key: str, value: Any, where: str, *, interpreted: bool) -> None:
    if key in _PULLS_IN:
        raise _pulls_in(key, where)
    if not interpreted:
        return
    if key in _UNSUPPORTED and value not in (None, False, []):
        raise _unsupported(key, where)
    if isinstance(value, str) and key not in ("doc", "label") and "${" in value:
        raise refuse(
            "javascript",
            where,
            "'${' starts JavaScript, which is never run",
            "Compute it inside the tool, or use a reference such as $(inputs.x.basename).",
        )
    if key in ("type", "items") and _nesting(value) > _MAX_TYPE_DEPTH:
        raise refuse("field", where, "the type is nested too deep", "Use a type, or an array of a type.")


def _pulls_in(key: str, where: str) -> InvalidInput:
    return refuse("include", where, f"{key!r} would pull in another document", "Write everything into this one file.")


def _unsupported(key: str, where: str) -> InvalidInput:
    return refuse("unsupported", where, f"{key!r} is not supported", "Let the program write a file; name it in a glob.")


def _nesting(value: Any) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_nesting, children), default=0) if isinstance(value, dict | list) else 0
