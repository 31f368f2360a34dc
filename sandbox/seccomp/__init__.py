"""The system calls that a tool may make: a readable source and the profile that the engine loads.

`source.txt` is what people read and change, `parse_source` reads it strictly, `render` writes Docker's JSON.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from pratique.digests import Digest, sha256_bytes
from sandbox.seccomp.source import Rule, SeccompSource, parse_source, render

__all__ = ["Rule", "SeccompSource", "default_source", "parse_source", "profile_digest", "profile_json", "render"]


@cache
def default_source() -> SeccompSource:
    """The source that is shipped."""
    return parse_source(resources.files(__package__).joinpath("source.txt").read_text(encoding="utf-8"))


@cache
def profile_json() -> str:
    """The shipped profile as Docker's `security-opt seccomp=` wants it."""
    return render(default_source())


def profile_digest() -> Digest:
    """SHA-256 of `profile_json()`."""
    return sha256_bytes(profile_json().encode())
