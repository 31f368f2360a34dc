"""References are read as engines read them, and written in full."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pratique.errors import InvalidInput
from records.enforcement.references import parse_repository, repository_by_digest
from tests.unit.records.enforcement.bench import digest

D = digest("a")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("busybox", "docker.io/library/busybox"),
        ("group/tool", "docker.io/group/tool"),
        ("docker.io/tool", "docker.io/library/tool"),
        ("index.docker.io/group/tool", "docker.io/group/tool"),
        ("localhost/tool", "localhost/tool"),
        ("localhost:5000/tool", "localhost:5000/tool"),
        ("registry.example/a/b_c/d-e.f", "registry.example/a/b_c/d-e.f"),
        ("registry:5000/x", "registry:5000/x"),
    ],
)
def test_repositories_in_full(written: str, meant: str) -> None:
    """Docker Hub is what a name without a host means."""
    assert parse_repository(written) == meant
    assert parse_repository(meant) == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (f"registry.example/x@{D}", ("registry.example/x", D)),
        (f"registry.example:5000/x:1.0@{D}", ("registry.example:5000/x", D)),
        (f"docker://registry.example/x@{D}", ("registry.example/x", D)),
        (f"tool:latest@{D}", ("docker.io/library/tool", D)),
        ("registry.example/x:latest", None),
        ("", None),
    ],
)
def test_docker_pull(written: str, meant: tuple[str, str] | None) -> None:
    """By digest it says where an image lies; by tag it says nothing."""
    assert repository_by_digest(written) == meant


@pytest.mark.parametrize("written", ["registry.example/x@sha256:abc", "registry.example/x@", f"@{D}", f"a@b@{D}"])
def test_broken_references(written: str) -> None:
    """Are refused and never guessed."""
    with pytest.raises(InvalidInput):
        repository_by_digest(written)


@given(st.text(max_size=80))
def test_any_reference(text: str) -> None:
    """Is read or refused."""
    for written in (text, f"{text}@{D}"):
        try:
            found = repository_by_digest(written)
        except InvalidInput:
            continue
        assert found is None or found[1].startswith("sha256:")
