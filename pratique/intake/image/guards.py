"""Rules for the names in a layer: where an entry may lie, and what it may point to."""

from __future__ import annotations

from typing import NoReturn

from pratique.errors import InvalidInput
from pratique.intake.image.model import ImageLimits

_CONTROL = frozenset(range(32)) | {127}


def refuse_entry(rule: str, message: str, *, where: str, cause: str = "") -> NoReturn:
    """Raise `InvalidInput` (`image/<rule>`) about an entry of a layer."""
    raise InvalidInput(
        message,
        rule=f"image/{rule}",
        where=where,
        cause=cause,
        next_step="Build the image with a current docker, buildah or kaniko; do not assemble layers by hand.",
    )


def clean_path(raw: bytes, limits: ImageLimits, *, where: str) -> str:
    """`raw` as a path below the image's root, without a leading slash; empty for the root itself.

    Raises `InvalidInput`: `image/path-absolute`, `image/path-climbs`, `image/path-encoding`, `image/path-too-long`,
    `image/path-too-deep`.
    """
    if len(raw) > limits.path_bytes:
        refuse_entry("path-too-long", f"a path of {len(raw):,} bytes", where=where, cause=repr(raw[:80]))
    if raw.startswith(b"/"):
        refuse_entry("path-absolute", "an entry with an absolute path", where=where, cause=repr(raw[:200]))
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        refuse_entry("path-encoding", "a file name that is not UTF-8", where=where, cause=repr(raw[:200]))
    if not text.isprintable() and any(ord(character) in _CONTROL for character in text):
        refuse_entry("path-encoding", "a file name with control characters", where=where, cause=repr(raw[:200]))
    if text.endswith(("/", "/.")) or text.startswith("./") or "//" in text or "/./" in text or text == ".":
        text = "/".join(part for part in text.split("/") if part not in ("", "."))
    depth = text.count("/") + 1
    if depth > limits.path_depth:
        refuse_entry("path-too-deep", f"a path of {depth} levels", where=where, cause=repr(raw[:200]))
    if ".." in text and ".." in text.split("/"):
        refuse_entry("path-climbs", "an entry whose path climbs with '..'", where=where, cause=repr(raw[:200]))
    return text


def clean_link_target(raw: bytes, limits: ImageLimits, *, where: str) -> str:
    """Path that a hard link was made from; a leading slash means the image's root, as engines take it."""
    return clean_path(raw.lstrip(b"/"), limits, where=where)


def climbs(path: str, target: str) -> bool:
    """Whether the symlink at `path` with the relative `target` climbs above the image's root.

    Judged from the words alone: a container stops at its root, but a program that unpacks the image may not.
    """
    depth = path.count("/")
    for part in target.split("/"):
        if part == "..":
            depth -= 1
        elif part not in ("", "."):
            depth += 1
        if depth < 0:
            return True
    return False
