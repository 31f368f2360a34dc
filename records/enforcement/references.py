"""Image references, written in full (distribution's grammar): nothing else may reach an allow-list.

What passes here holds lower-case letters, digits and `. _ - : /` only, so that it has no special meaning in CEL
strings, globs, wildcards or YAML, and only `.` in a regular expression.
"""

from __future__ import annotations

import json
import re

from pratique.digests import Digest, parse_digest
from pratique.errors import InvalidInput

MAX_REPOSITORY = 255
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*(?::[1-9][0-9]{{0,4}})?", re.ASCII)
_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", re.ASCII)
_DOCKER_HUB = ("index.docker.io", "registry-1.docker.io")


def quoted(text: str) -> str:
    """`text` in double quotes on one line of printable ASCII, whatever it holds."""
    return json.dumps(text).replace("\x7f", "\\u007f")


def parse_repository(text: str) -> str:
    """`text` as a repository with its registry; `tool` becomes `docker.io/library/tool`, as every engine reads it.

    Raises `InvalidInput` (`enforcement/repository`) for anything else, also for one with a tag or a digest.
    """
    head, separator, rest = text.partition("/")
    if not separator or not ("." in head or ":" in head or head == "localhost"):
        head, rest = "docker.io", text
    if head in _DOCKER_HUB:
        head = "docker.io"
    if head == "docker.io" and "/" not in rest:
        rest = f"library/{rest}"
    whole = f"{head}/{rest}"
    well_formed = _HOST.fullmatch(head) and all(_PART.fullmatch(part) for part in rest.split("/"))
    if not well_formed or len(whole) > MAX_REPOSITORY:
        raise InvalidInput(
            "not an image repository",
            rule="enforcement/repository",
            where=text[:200],
            next_step="Write it as registry.example.org/group/tool, in lower case, without tag or digest.",
        )
    return whole


def repository_by_digest(reference: str) -> tuple[str, Digest] | None:
    """Repository and digest of an image reference, such as a manifest's `dockerPull`; None where it has no digest.

    A tag beside the digest is dropped: the digest alone says which image is meant. Raises `InvalidInput`.
    """
    named, separator, digest = reference.removeprefix("docker://").partition("@")
    if not separator:
        return None
    head, slash, last = named.rpartition("/")
    return parse_repository(f"{head}{slash}{last.partition(':')[0]}"), parse_digest(digest, where=reference[:200])
