"""Progress on standard error: a spinner on a terminal, plain lines elsewhere, nothing with `--quiet`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from console.plain import plain

if TYPE_CHECKING:
    from checks.interface import CheckResult

_MARKS = {
    "passed": ("✓", "green"),
    "failed": ("✗", "red"),
    "inconclusive": ("?", "yellow"),
    "not applicable": ("–", "dim"),
}


class Progress:
    """Shows what an inspection is doing; safe to call from several threads."""

    def __init__(self, *, quiet: bool = False) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, quiet=quiet)
        self._status = self._console.status("") if sys.stderr.isatty() and not quiet else None
        self._running: list[str] = []
        if self._status is not None:
            self._status.start()

    def say(self, text: str) -> None:
        """One line about what happens now."""
        self._console.print(plain(text), markup=False, soft_wrap=True)

    def started(self, name: str) -> None:
        """A check begins."""
        self._running.append(name)
        self._show()

    def finished(self, result: CheckResult, *, cached: bool = False) -> None:
        """A check ended."""
        if result.check in self._running:
            self._running.remove(result.check)
        mark, colour = _MARKS[result.status]
        time = "cached" if cached else f"{result.seconds:.1f} s"
        self._console.print(f"  [{colour}]{mark}[/] {result.check:<17}", end="")
        self._console.print(
            f"{result.status:<15}{time:>8}  {plain(result.summary)}", markup=False, overflow="ellipsis", no_wrap=True
        )
        self._show()

    def close(self) -> None:
        """Stop the spinner."""
        if self._status is not None:
            self._status.stop()

    def _show(self) -> None:
        if self._status is not None:
            self._status.update("running " + ", ".join(self._running) if self._running else "")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
