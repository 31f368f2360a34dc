"""Progress on standard error: a spinner on a terminal, plain lines elsewhere, nothing with `--quiet`."""

from __future__ import annotations

import sys
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

from console.plain import plain

if TYPE_CHECKING:
    from rich.console import Console

    from checks.interface import CheckResult

_FIRST, _THEN = 2.0, 10.0
_MARKS = {
    "passed": ("✓", "green"),
    "failed": ("✗", "red"),
    "inconclusive": ("?", "yellow"),
    "not applicable": ("–", "dim"),
}


class Patience:
    """Says on standard error that something long goes on: after two seconds, then every ten."""

    def __init__(self, words: str, *, quiet: bool = False) -> None:
        self._words = words
        self._quiet = quiet
        self._ended = Event()

    def _tell(self) -> None:
        wait = _FIRST
        while not self._ended.wait(wait):
            wait = _THEN
            if self._words:
                sys.stderr.write(f"{plain(self._words)}\n")
                sys.stderr.flush()

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._tell, daemon=True)
        if not self._quiet:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if not self._quiet:
            self._thread.join()


class Counted(Patience):
    """Says so how far a long row of files has come."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__("", quiet=quiet)
        self._done = 0

    def begun(self, name: str) -> None:
        """Another file begins."""
        self._done += 1
        self._words = f"{self._done:,} files so far, now at {name}"


class Progress:
    """Shows what an inspection is doing."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = _console(quiet)
        self._status = self._console.status("") if sys.stderr.isatty() and not quiet else None
        if self._status is not None:
            self._status.start()

    def say(self, text: str) -> None:
        """One line about what happens now."""
        self._console.print(plain(text), markup=False, soft_wrap=True)

    def started(self, name: str) -> None:
        """A check begins."""
        self._show(f"running {name}")

    def finished(self, result: CheckResult, *, cached: bool = False) -> None:
        """A check ended."""
        mark, colour = _MARKS[result.status]
        time = "cached" if cached else f"{result.seconds:.1f} s"
        self._console.print(f"  [{colour}]{mark}[/] {result.check:<17}", end="")
        self._console.print(
            f"{result.status:<15}{time:>8}  {plain(result.summary)}", markup=False, overflow="ellipsis", no_wrap=True
        )
        self._show("")

    def close(self) -> None:
        """Stop the spinner."""
        if self._status is not None:
            self._status.stop()

    def _show(self, text: str) -> None:
        if self._status is not None:
            self._status.update(text)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _console(quiet: bool) -> Console:
    """Standard error; where nobody reads it any more (`2>&1 | head`), the work goes on in silence.

    Left to itself, rich would exit with 1 there, which looks like a refusal.
    """
    from rich.console import Console

    class Unread(Console):
        def on_broken_pipe(self) -> None:
            self.quiet = True

    return Unread(stderr=True, highlight=False, quiet=quiet)
