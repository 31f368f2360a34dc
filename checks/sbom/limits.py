"""Bounds that every form of an SBOM is read within, and how one is refused."""

from __future__ import annotations

from pratique.errors import InvalidInput

MAX_SIZE = 64 * 1024**2
MAX_COMPONENTS = 100_000
MAX_DEPTH = 128
MAX_VALUES = 4_000_000
"""Values of a JSON document, judged by its commas, and lines of one in tag-value form."""
MAX_TEXT = 8000
"""Characters of a name, version, licence or package URL."""


def refuse(rule: str, where: str, message: str) -> InvalidInput:
    """The error of a document that is not read (`sbom/<rule>`)."""
    return InvalidInput(
        message,
        rule=f"sbom/{rule}",
        where=where,
        next_step="Write the SBOM again as CycloneDX 1.4 to 1.6 (JSON or XML) or SPDX 2.3 (JSON or tag-value), with "
        "package URLs.",
    )
