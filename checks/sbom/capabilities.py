"""Which package another one needs, where packages offer more names than their own (`Provides`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence


class Offers:
    """The names that packages go by: their own, and what they provide."""

    def __init__(self) -> None:
        self._by_name: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, package: str, provided: Iterable[str]) -> None:
        """Note that `package` is there under its own name and the `provided` ones."""
        for name in (package, *provided):
            self._by_name[name].add(package)

    def needed(self, package: str, wanted: Iterable[Sequence[str]]) -> tuple[str, ...]:
        """Packages that `package` needs, in order: of each choice in `wanted`, who offers the first that is there."""
        found: set[str] = set()
        for choice in wanted:
            found |= next((self._by_name[name] for name in choice if name in self._by_name), set())
        return tuple(sorted(found - {package}))
