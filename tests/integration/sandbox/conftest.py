"""One launcher for the attacks, and a short way to run a line of Python in it."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sandbox.container import LABEL_STATE
from sandbox.engine import Engine
from sandbox.launcher import Launcher
from sandbox.mounts import mounted_below
from sandbox.record import SandboxRun
from sandbox.spec import MIB, Limits, Mount, SandboxRequest, SandboxSpec

PYTHON = ("/usr/bin/python3", "-S", "-c")


@dataclass(frozen=True)
class Outcome:
    """A run, with its log and its output directory."""

    run: SandboxRun
    log: str
    output: Path

    @property
    def lines(self) -> list[str]:
        return self.log.splitlines()


Sandboxed = Callable[..., Outcome]


@pytest.fixture(scope="session")
def launcher(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """A launcher whose state directory must be empty at the end: no container, mount or directory stays."""
    made = Launcher(engine, tmp_path_factory.mktemp("state"))
    yield made
    made.close()
    assert_nothing_left(engine, made.state_dir)


@pytest.fixture
def sandboxed(launcher: Launcher, tool_image: str, tmp_path: Path) -> Sandboxed:
    """Run Python source in the sandbox; keyword arguments are limits, or one of the named ones."""
    number = itertools.count()

    def run(
        source: str,
        *,
        image: str = tool_image,
        inputs: Sequence[Mount] = (),
        by: Launcher = launcher,
        spec: dict[str, Any] | None = None,
        request: dict[str, Any] | None = None,
        **limits: Any,
    ) -> Outcome:
        place = tmp_path / f"run{next(number)}"
        place.mkdir()
        body = {"image_id": image, "entrypoint": PYTHON, "argv": (textwrap.dedent(source),), "inputs": tuple(inputs)}
        defaults = {"memory": 128 * MIB, "wall_seconds": 20.0, "output_bytes": 8 * MIB, "output_files": 100}
        made = SandboxSpec(limits=Limits(**{**defaults, **limits}), **(spec or {}))
        asked = SandboxRequest(**{**body, **(request or {})})
        result = by.run(asked, made, output=place / "output", log=place / "log")
        text = (place / "log").read_bytes()[: 1 << 20].decode("utf-8", "replace")
        return Outcome(result, text, place / "output")

    return run


def assert_nothing_left(engine: Engine, state_dir: Path) -> None:
    """No container, volume, mount, control group or directory of any run."""
    label = f"{LABEL_STATE}={state_dir}"
    assert engine.labelled(label) == []
    assert engine.labelled_volumes(label) == []
    assert mounted_below(state_dir) == ()
    runs = state_dir / "runs"
    assert not runs.exists() or list(runs.iterdir()) == []
