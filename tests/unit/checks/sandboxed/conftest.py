"""A submission, and a launcher that runs a Python function instead of a container: no engine is needed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from checks.interface import Evidence
from checks.sandboxed.plan import ToolRunner
from checks.sandboxed.session import SandboxSession
from pratique.digests import Digest, sha256_bytes, sha256_file
from pratique.intake.image.model import DigestOrigin, Image, ImageConfig, Platform
from pratique.intake.submission import load_submission
from sandbox.record import EndedBy, Observation, Observed, OutputFile, Sample, SandboxRun
from sandbox.spec import MIB, Network, SandboxRequest, SandboxSpec

MANIFEST = """cwlVersion: v1.2
class: FEMTask
id: scorer
label: Scorer
requirements:
  - {class: DockerRequirement, dockerPull: registry.example.org/scorer}
  - {class: ResourceRequirement, coresMin: 1, ramMin: 100}
baseCommand: []
inputs:
  - {id: table, type: File, required: true, inputBinding: {position: 1, prefix: -i}}
  - {id: output_dir, type: string, required: true, hidden: true,
     inputBinding: {position: 2, prefix: -o, valueFrom: $(runtime.outdir)}}
  - {id: threshold, type: float, required: false, default: 0.5, inputBinding: {position: 3, prefix: --threshold}}
outputs:
  - {id: scores, type: File, outputBinding: {glob: $(runtime.outdir)/scores.csv}}
expectedExitCode: 0
metadata: {author: A, version: 1.0.0, orchestrator: {network: bridge}}
"""

SUBMISSION = """apiVersion: pratique/submission/v1
tool: {name: scorer, version: 1.0.0}
provider: {organisation: Example, contact: a@example.org, submitter: a@example.org}
manifest: scorer.cwl
image: {layout: image, digest: "sha256:%s"}
example: {inputs: {table: in/patients.csv, threshold: 0.25}, expected: out}
cohort: {kind: tabular, input: table, columns: {identifier: [patient_id], text: [notes], category: [site]}}
claims: {model: {trained: false}, determinism: bitwise}
""" % ("a" * 64)

PATIENTS = 20
"""Rows of the cohorts: the scanner's index takes milliseconds for each marker."""

EXAMPLE = "patient_id,site,age,suv,notes\n" + "".join(
    f"P{number:04d},{'AB'[number % 2]},{40 + number},{number / 4:.2f},seen in clinic\n" for number in range(8)
)


@dataclass
class Call:
    """What a fake tool is given, and what it can say about how it ended."""

    request: SandboxRequest
    spec: SandboxSpec
    output: Path
    printed: list[bytes] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def network(self) -> bool:
        return self.spec.network is Network.SINKHOLE

    def input(self, number: int = 0) -> Path:
        return self.request.inputs[number].source

    def rows(self) -> list[dict[str, str]]:
        with self.input().open(newline="", encoding="utf-8", errors="replace") as stream:
            return list(csv.DictReader(stream))

    def print(self, text: str | bytes) -> None:
        self.printed.append(text if isinstance(text, bytes) else text.encode())

    def write(self, name: str, text: str | bytes) -> None:
        path = self.output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def tried(self, *observations: Observation) -> None:
        if self.network:
            self.facts["observations"] = observations

    def honest(self) -> int:
        """Score every row; complain about a cell that is no number without showing it."""
        lines = ["patient_id,score"]
        for row in self.rows():
            try:
                lines.append(f"{row['patient_id']},{float(row['age']) / 100:.4f}")
            except (KeyError, TypeError, ValueError) as error:
                self.print(f"cannot score: {type(error).__name__}\n")
                return 3
        self.write("scores.csv", "\n".join(lines) + "\n")
        self.print(f"scored {len(lines) - 1} rows\n")
        return 0


Tool = Callable[[Call], int | None]


class FakeLauncher:
    """Calls the tool where the real launcher would start a container."""

    def __init__(self, tool: Tool) -> None:
        self.tool = tool
        self.calls: list[Call] = []

    def run(self, request: SandboxRequest, spec: SandboxSpec, *, output: Path, log: Path) -> SandboxRun:
        call = Call(request, spec, output)
        self.calls.append(call)
        code = self.tool(call)
        log.write_bytes(b"".join(call.printed))
        files = sorted(path for path in output.rglob("*") if path.is_file())
        record: dict[str, Any] = {
            "run_id": f"run-{len(self.calls)}",
            "purpose": request.purpose,
            "image_id": request.image_id,
            "argv": request.argv,
            "spec": spec,
            "spec_digest": spec.digest,
            "exit_code": code,
            "ended_by": EndedBy.EXIT,
            "started": datetime(2026, 1, 1, tzinfo=UTC),
            "seconds": 1.0,
            "cpu_seconds": 0.5,
            "peak_memory": 50 * MIB,
            "samples": (Sample(t=0.0, memory=1, cpu=0.0), Sample(t=0.5, memory=50 * MIB, cpu=0.4)),
            "log_bytes": log.stat().st_size,
            "log_digest": sha256_file(log),
            "outputs": tuple(
                OutputFile(path=str(path.relative_to(output)), size=path.stat().st_size, sha256=sha256_file(path))
                for path in files
            ),
            "observed": Observed.COMPLETE if call.network else Observed.NOT_ASKED,
        }
        return SandboxRun(**(record | call.facts))


class MemoryStore:
    """Evidence in a dictionary."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.digests: dict[Digest, bytes] = {}

    def put(self, data: bytes, *, name: str, media_type: str) -> Evidence:
        self.kept[name] = data
        self.digests[sha256_bytes(data)] = data
        return Evidence(name=name, digest=sha256_bytes(data), media_type=media_type, size=len(data))

    def get(self, digest: Digest) -> bytes:
        return self.digests[digest]


class NoBlobs:
    def open(self, digest: Digest) -> Any:
        raise AssertionError("no layer is read here")


def fake_image(place: Path, **config: Any) -> Image:
    given: dict[str, Any] = {
        "os": "linux",
        "architecture": "amd64",
        "entrypoint": ("/usr/bin/python3", "/app/main.py"),
        "cmd": (),
        "env": (),
        "user": "",
        "workdir": "/app",
        "volumes": (),
        "exposed_ports": (),
        "healthcheck": (),
        "onbuild": (),
        "stop_signal": "",
        "labels": {},
        "history": (),
        "diff_ids": (),
        "created": "",
    }
    return Image(
        name="scorer",
        manifest_digest=Digest("sha256:" + "a" * 64),
        index_digest=None,
        config_digest=Digest("sha256:" + "b" * 64),
        config=ImageConfig(**(given | config)),
        layers=(),
        digest_origin=DigestOrigin.MANIFEST,
        platform=Platform(),
        manifest_media_type="",
        config_media_type="",
        manifest_bytes=b"",
        config_bytes=b"",
        blobs=NoBlobs(),
        workdir=place,
    )


@dataclass
class Bench:
    """Everything a test needs: make a session for a tool, with edits to manifest and submission."""

    root: Path
    store: MemoryStore = field(default_factory=MemoryStore)
    launcher: FakeLauncher = field(default_factory=lambda: FakeLauncher(Call.honest))

    def session(
        self,
        tool: Tool = Call.honest,
        *,
        replace: Sequence[tuple[str, str]] = (),
        files: Iterable[tuple[str, str | bytes]] = (),
        config: dict[str, Any] | None = None,
        seed: int = 11,
        broken: tuple[str, ...] | None = None,
    ) -> SandboxSession:
        runner = self.runner(tool, replace=replace, files=files, config=config)
        work = self.root / "work"
        return SandboxSession(runner, runner.submission, work, seed=seed, cohort_size=PATIENTS, broken=broken)

    def runner(
        self,
        tool: Tool = Call.honest,
        *,
        replace: Sequence[tuple[str, str]] = (),
        files: Iterable[tuple[str, str | bytes]] = (),
        config: dict[str, Any] | None = None,
    ) -> ToolRunner:
        manifest, document = MANIFEST, SUBMISSION
        for old, new in replace:
            assert old in manifest or old in document, old
            manifest, document = manifest.replace(old, new), document.replace(old, new)
        expected = "patient_id,score\n" + "".join(f"P{n:04d},{(40 + n) / 100:.4f}\n" for n in range(8))
        content: dict[str, str | bytes] = {
            "scorer.cwl": manifest,
            "submission.yaml": document,
            "in/patients.csv": EXAMPLE,
            "out/scores.csv": expected,
            "out/description.md": "One line per patient.",
            "image/oci-layout": "{}",
            **dict(files),
        }
        directory = self.root / "submission"
        for name, data in content.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data if isinstance(data, bytes) else data.encode())
        submission = load_submission(directory)
        self.launcher = FakeLauncher(tool)
        return ToolRunner(
            submission,
            submission.manifest,
            fake_image(self.root, **(config or {})),
            "sha256:" + "b" * 64,
            self.launcher,
            SandboxSpec(),
            self.root / "work",
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)
