"""What a run needs of the machine: the admitted image in the engine, and the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pratique.digests import Digest
from pratique.errors import PratiqueError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pratique.intake.image import Image
    from pratique.settings import Settings
    from sandbox.engine import Engine
    from sandbox.launcher import Launcher
    from sandbox.record import SandboxRun
    from sandbox.spec import SandboxRequest, SandboxSpec


class Machine(Protocol):
    """The engine and the sandbox, as far as a run of an admitted tool needs them."""

    def held(self, ids: Sequence[Digest], diff_ids: Sequence[Digest]) -> str | None:
        """The id of the image with these layers, None where the engine has none of `ids`; raises `Refused`."""

    def load(self, image: Image) -> str:
        """Hand a verified image to the engine; returns the id to run it by."""

    def run(
        self,
        request: SandboxRequest,
        spec: SandboxSpec,
        *,
        output: Path,
        log: Path,
        before_start: Callable[[], None],
    ) -> SandboxRun:
        """Run the tool once; whatever `before_start` raises just before the start keeps it from starting."""


class EngineMachine:
    """The real one."""

    def __init__(self, engine: Engine, launcher: Launcher) -> None:
        self._engine = engine
        self._launcher = launcher

    def held(self, ids: Sequence[Digest], diff_ids: Sequence[Digest]) -> str | None:
        """See `Machine`."""
        return self._engine.verified(ids, diff_ids)

    def load(self, image: Image) -> str:
        """See `Machine`."""
        return self._engine.load(image)

    def run(
        self,
        request: SandboxRequest,
        spec: SandboxSpec,
        *,
        output: Path,
        log: Path,
        before_start: Callable[[], None],
    ) -> SandboxRun:
        """See `Machine`: the container is there, nothing in it runs yet, when `before_start` is asked."""
        stopped: list[PratiqueError] = []

        def progress(stage: str) -> None:
            if stage != "running":
                return
            try:
                before_start()
            except PratiqueError as error:
                stopped.append(error)
                raise

        record = self._launcher.run(request, spec, output=output, log=log, on_progress=progress)
        if stopped:
            raise stopped[0]
        return record


@contextmanager
def engine_machine(settings: Settings) -> Iterator[Machine]:
    """The engine of this machine and a sandbox on it; raises `EngineUnavailable`."""
    from sandbox.engine import connect
    from sandbox.launcher import Launcher

    engine = connect()
    launcher = Launcher(engine, settings.sandbox)
    try:
        yield EngineMachine(engine, launcher)
    finally:
        launcher.close()
        engine.close()
