"""What every test rests on."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import execnet
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

TOGETHER = ("tests/e2e/", "tests/integration/")
CLEANING_SECONDS = 60
PROCESSES: list[WorkerController] = []


class Shares(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Tests that share costly fixtures, such as onboarded tools, stay together, in order; the others go by file."""

    def _split_scope(self, nodeid: str) -> str:
        for together in TOGETHER:
            if nodeid.startswith(together):
                return together
        return str(super()._split_scope(nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Shares:
    """Who runs what, where tests are spread over processes (`make test`)."""
    return Shares(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodeready(node: WorkerController) -> None:
    PROCESSES.append(node)


def pytest_keyboard_interrupt() -> None:
    """Ctrl-C reached every process: each gets the time to stop its servers and containers before xdist ends it."""
    for node in PROCESSES:
        node.shutdown()
    for node in PROCESSES:
        with contextlib.suppress(OSError, EOFError, execnet.RemoteError):
            node.channel.waitclose(CLEANING_SECONDS)


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_interrupts() -> Iterator[None]:
    """A shell starts what runs in its background with Ctrl-C ignored, and what tests start would inherit it."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
