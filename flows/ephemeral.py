"""Prefect's ephemeral server for one command, where no server is named: nothing pressed at the terminal ends it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from signal import SIG_BLOCK, SIGHUP, SIGINT, pthread_sigmask
from threading import Thread

import httpx

from pratique.errors import CouldNotDecide
from sandbox.interrupts import undisturbed


@contextmanager
def ephemeral_server() -> Iterator[None]:
    """The server for as long as a flow runs; raises `CouldNotDecide` where it does not start.

    A terminal sends Ctrl-C to every process of a command. A flow that is interrupted tells the server so, and without
    one it would try to for more than a minute, and then speak of a lost server.
    """
    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    from prefect.server.api.server import SubprocessASGIServer

    server = SubprocessASGIServer()
    try:
        unreached(server.start)
        yield
    finally:
        with undisturbed():
            server.stop()


def unreached(start: Callable[[], object]) -> None:
    """Call `start` where no Ctrl-C reaches it, nor the processes that it begins; whoever waits here it does reach.

    The same holds for the hanging up of a terminal.
    Raises `CouldNotDecide` where `start` fails.
    """
    failed: list[Exception] = []

    def run() -> None:
        pthread_sigmask(SIG_BLOCK, {SIGINT, SIGHUP})
        try:
            start()
        except (RuntimeError, OSError, httpx.HTTPError) as error:
            failed.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
    if failed:
        raise CouldNotDecide(
            "the local server did not start",
            cause=str(failed[0])[:300],
            next_step="start it with `pratique up`, which says where its log is, and onboard again",
        ) from failed[0]
