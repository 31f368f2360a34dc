"""A machine that calls a Python function where the real one starts a container."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.machine import Machine
from pratique.digests import Digest, sha256_file
from pratique.errors import Refused
from pratique.intake.image import Image
from sandbox.record import EndedBy, InputDigest, OutputFile, SandboxRun
from sandbox.spec import SandboxRequest, SandboxSpec

Tool = Callable[[SandboxRequest, Path], int]


def score(request: SandboxRequest, output: Path) -> int:
    """An honest tool: one line for each line of its table."""
    lines = request.inputs[0].source.read_text().splitlines()
    (output / "scores.csv").write_text("\n".join(["score", *("0.5" for _ in lines[1:])]))
    return 0


@dataclass
class FakeMachine:
    """Holds images by id and diff ids; `calls` are the requests that were started."""

    images: dict[str, tuple[Digest, ...]] = field(default_factory=dict)
    tool: Tool = score
    facts: dict[str, Any] = field(default_factory=dict)
    calls: list[SandboxRequest] = field(default_factory=list)
    specs: list[SandboxSpec] = field(default_factory=list)
    loaded: list[Image] = field(default_factory=list)
    connected: int = 0
    while_queued: Callable[[], None] = lambda: None

    @contextmanager
    def connect(self) -> Iterator[Machine]:
        self.connected += 1
        yield self

    def held(self, ids: Sequence[Digest], diff_ids: Sequence[Digest]) -> str | None:
        for wanted in ids:
            if wanted in self.images:
                if self.images[wanted] != tuple(diff_ids):
                    raise Refused("the engine's image of this id is not the one that was verified")
                return wanted
        return None

    def load(self, image: Image) -> str:
        self.loaded.append(image)
        self.images[image.config_digest] = image.config.diff_ids
        return image.config_digest

    def run(
        self,
        request: SandboxRequest,
        spec: SandboxSpec,
        *,
        output: Path,
        log: Path,
        before_start: Callable[[], None],
    ) -> SandboxRun:
        self.while_queued()
        before_start()
        self.calls.append(request)
        self.specs.append(spec)
        code = self.tool(request, output)
        log.write_text("scored\n")
        files = sorted(path for path in output.rglob("*") if path.is_file())
        record: dict[str, Any] = {
            "run_id": "0123456789abcdef",
            "purpose": request.purpose,
            "image_id": request.image_id,
            "argv": request.argv,
            "spec": spec,
            "spec_digest": spec.digest,
            "exit_code": code,
            "ended_by": EndedBy.EXIT,
            "started": datetime(2026, 3, 1, 12, 0, tzinfo=UTC),
            "seconds": 1.25,
            "log_digest": sha256_file(log),
            "inputs": tuple(
                InputDigest(target=one.target, digest=sha256_file(one.source), files=1, size=1)
                for one in request.inputs
            ),
            "outputs": tuple(
                OutputFile(path=path.name, size=path.stat().st_size, sha256=sha256_file(path)) for path in files
            ),
        }
        return SandboxRun(**(record | self.facts))
