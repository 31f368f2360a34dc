"""YAML that means the same to every parser: texts in double quotes or literal blocks, comments in ASCII.

Platforms read YAML 1.1 (Go, PyYAML) or 1.2; unquoted `no`, `1_0` or `1:30` mean different things to them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pratique.clock import rfc3339

if TYPE_CHECKING:
    from records.enforcement.model import Selection

_BLOCK = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?\n){2,}", re.ASCII)
"""Lines of printable ASCII without space at their ends, as PEM and our own expressions are: fit for a literal block."""

_WIDTH = 1 << 20
"""Wide enough that no text is ever folded."""


def render(documents: Sequence[Mapping[str, Any]], comments: Sequence[str]) -> str:
    """`documents` (plain data) below `comments`, as YAML text."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = _WIDTH
    yaml.allow_unicode = False
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump_all([_marked(document) for document in documents], stream)
    return "".join(f"# {line}\n" for line in comments) + stream.getvalue()


def header(selection: Selection, what: str) -> list[str]:
    """The comments at the head of an export: what it is, how long it is good, and what is admitted."""
    lines = [f"{what}, made by `pratique export`: do not edit it, export it again."]
    if not selection.images:
        return [*lines, "Nothing is admitted, so everything is denied."]
    if selection.valid_until is not None:
        lines.append(
            f"Good until {rfc3339(selection.valid_until)}, when an admission expires: export it again by then."
        )
    lines.append("Admitted:")
    for image in selection.images:
        until = f" until {rfc3339(image.expires)}" if image.expires is not None else ""
        lines.append(f"  {image.label} {image.where}{until}")
    return lines


def _marked(value: Any) -> Any:
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

    if isinstance(value, Mapping):
        return {key: _marked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_marked(item) for item in value]
    if isinstance(value, str):
        return LiteralScalarString(value) if _BLOCK.fullmatch(value) else DoubleQuotedScalarString(value)
    return value
