"""How a person names an admitted tool: `NAME`, `NAME@VERSION` or `NAME@sha256:…`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pratique.digests import Digest, parse_digest
from pratique.errors import InvalidInput, UsageError
from records.admissions import AdmittedVersion
from records.statements import ToolIdentity

_NAME = re.compile(r"(?=.{1,100}$)[a-z0-9]+([._-][a-z0-9]+)*", re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}", re.ASCII)


@dataclass(frozen=True)
class ToolName:
    """A tool, and which version or image of it is meant (None: any)."""

    name: str
    version: str | None = None
    image: Digest | None = None

    def __str__(self) -> str:
        return f"{self.name}@{self.version or self.image}" if self.version or self.image else self.name

    def means(self, known: AdmittedVersion | ToolIdentity) -> bool:
        """Whether an admission, or a tool, is of what is meant."""
        return (
            known.name == self.name
            and self.version in (None, known.version)
            and self.image in (None, known.image_digest)
        )


def parse_tool(text: str) -> ToolName:
    """The tool that `text` names; raises `UsageError`."""
    name, at, rest = text.partition("@")
    if _NAME.fullmatch(name) and not at:
        return ToolName(name)
    if _NAME.fullmatch(name) and rest.startswith("sha256:"):
        try:
            return ToolName(name, image=parse_digest(rest))
        except InvalidInput as error:
            raise _malformed(text) from error
    if _NAME.fullmatch(name) and _VERSION.fullmatch(rest):
        return ToolName(name, version=rest)
    raise _malformed(text)


def _malformed(text: str) -> UsageError:
    return UsageError(
        f"{text[:200]!r} names no tool", next_step="write NAME, NAME@VERSION or NAME@sha256:… as it was admitted"
    )
