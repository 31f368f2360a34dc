"""Ctrl-C strikes the work and lets the cleaning up finish."""

from __future__ import annotations

import signal
import threading

import pytest

from sandbox.interrupts import terminated_as_interrupted, undisturbed


def test_an_interrupt_during_the_work_is_raised_and_the_cleanup_finishes() -> None:
    """Also when a second one comes while cleaning up."""
    steps = []
    with pytest.raises(KeyboardInterrupt), undisturbed() as shelter:
        try:
            with shelter.open():
                signal.raise_signal(signal.SIGINT)
                steps.append("not reached")
        finally:
            signal.raise_signal(signal.SIGINT)
            steps.append("cleaned")
    assert steps == ["cleaned"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_outside_the_work_waits_for_the_end() -> None:
    """It is not lost."""
    steps = []
    with pytest.raises(KeyboardInterrupt), undisturbed() as shelter:
        with shelter.open():
            steps.append("worked")
        signal.raise_signal(signal.SIGINT)
        steps.append("cleaned")
    assert steps == ["worked", "cleaned"]


def test_without_an_interrupt_nothing_happens() -> None:
    """And the handler is the old one."""
    with undisturbed() as shelter, shelter.open():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_in_another_thread_signals_are_left_alone() -> None:
    """Python interrupts the main thread only."""
    handlers = []

    def run() -> None:
        with undisturbed() as shelter, shelter.open():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_strikes_as_an_interrupt_where_it_is_to_and_only_there(number: signal.Signals) -> None:
    """Those of a service manager and of a closed terminal: cleaning up ends, then they mean what they meant before."""
    steps = []
    with pytest.raises(KeyboardInterrupt), terminated_as_interrupted(), undisturbed() as shelter:
        try:
            with shelter.open():
                signal.raise_signal(number)
                steps.append("not reached")
        finally:
            signal.raise_signal(number)
            steps.append("cleaned")
    assert steps == ["cleaned"]
    assert signal.getsignal(number) is signal.SIG_DFL
    with undisturbed():
        assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_handler_of_somebody_else_is_left_alone(number: signal.Signals) -> None:
    """`nohup` sets one."""
    signal.signal(number, signal.SIG_IGN)
    try:
        with terminated_as_interrupted(), undisturbed():
            assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, signal.SIG_DFL)
