"""Ctrl-C, and SIGTERM and SIGHUP where they are to mean the same, that let cleaning up finish."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDINGS = (signal.SIGTERM, signal.SIGHUP)
_SIGNALS = (signal.SIGINT, *_ENDINGS)


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
def terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP of a terminal that was closed, do what Ctrl-C does.

    In the main thread only, and each only where nobody else decides what it means (`nohup` does).
    """
    here = threading.current_thread() is threading.main_thread()
    ours = [one for one in _ENDINGS if here and signal.getsignal(one) is signal.SIG_DFL]
    for one in ours:
        signal.signal(one, signal.default_int_handler)
    try:
        yield
    finally:
        for one in ours:
            signal.signal(one, signal.SIG_DFL)


@contextmanager
def undisturbed() -> Iterator[Shelter]:
    """Hold interrupts back but where the shelter is open; raises `KeyboardInterrupt` at the end if one came meanwhile.

    Only the main thread is interrupted by Python; in other threads nothing is changed.
    """
    shelter = Shelter()
    if threading.current_thread() is not threading.main_thread():
        yield shelter
        return
    # any other handler means that somebody else decides what an interrupt is
    ours = [one for one in _SIGNALS if signal.getsignal(one) is signal.default_int_handler]
    for one in ours:
        signal.signal(one, shelter.on_signal)
    try:
        yield shelter
    finally:
        for one in ours:
            signal.signal(one, signal.default_int_handler)
    if shelter.waiting:
        raise KeyboardInterrupt
