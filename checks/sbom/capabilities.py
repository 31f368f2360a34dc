"""Which package another one needs, where packages offer more names than their own (`Provides`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from pratique.errors import CouldNotDecide

_MOST_OFFERING = 100
"""How many packages may offer one name; what more of them say counts for nothing."""
MAX_EDGES = 500_000
"""Dependency edges of one image."""


class Offers:
    """The names that packages go by: their own, and what they provide."""

    def __init__(self) -> None:
        self._by_name: defaultdict[str, set[str]] = defaultdict(set)
        self._edges = 0

    def add(self, package: str, provided: Iterable[str]) -> None:
        """Note that `package` is there under its own name and the `provided` ones."""
        self._by_name[package].add(package)
        for name in provided:
            if len(self._by_name[name]) < _MOST_OFFERING:
                self._by_name[name].add(package)

    def needed(self, package: str, wanted: Iterable[Sequence[str]]) -> tuple[str, ...]:
        """Packages that `package` needs, in order: of each choice in `wanted`, who offers the first that is there.

        Raises `CouldNotDecide` where all packages together need more than `MAX_EDGES`.
        """
        found: set[str] = set()
        for choice in wanted:
            found |= next((self._by_name[name] for name in choice if name in self._by_name), set())
        self._edges = bounded_edges(self._edges + len(found))
        return tuple(sorted(found - {package}))


def bounded_edges(count: int) -> int:
    """`count`; raises `CouldNotDecide` where it is more than `MAX_EDGES`."""
    if count > MAX_EDGES:
        raise CouldNotDecide(
            f"the packages of the image depend on each other more than {MAX_EDGES:,} times",
            next_step="Look at what the packages say that they provide and need; install fewer packages.",
        )
    return count
