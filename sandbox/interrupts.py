"""Ctrl-C that lets cleaning up finish."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Shelter:
    """Inside it an interrupt waits; inside `open()` it strikes at once, as usual."""

    def __init__(self) -> None:
        self.exposed = False
        self.waiting = False

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """Raise now, or later."""
        if self.exposed:
            self.exposed = False  # a second Ctrl-C does not disturb what the first one started
            raise KeyboardInterrupt
        self.waiting = True

    @contextmanager
    def open(self) -> Iterator[None]:
        """Where an interrupt may strike."""
        self.exposed = True
        try:
            if self.waiting:
                raise KeyboardInterrupt
            yield
        finally:
            self.exposed = False


@contextmanager
def undisturbed() -> Iterator[Shelter]:
    """Hold SIGINT back but where the shelter is open; raises `KeyboardInterrupt` at the end if one came meanwhile.

    Only the main thread is interrupted by Python; in other threads nothing is changed.
    """
    shelter = Shelter()
    if threading.current_thread() is not threading.main_thread():
        yield shelter
        return
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:
        yield shelter  # somebody else decides what an interrupt means
        return
    signal.signal(signal.SIGINT, shelter.on_signal)
    try:
        yield shelter
    finally:
        signal.signal(signal.SIGINT, before)
    if shelter.waiting:
        raise KeyboardInterrupt
