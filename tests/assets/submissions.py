"""A small submission that is right in every way, for tests that break one thing in it."""

from __future__ import annotations

from pathlib import Path

from pratique.digests import Digest
from sandbox.observe.helper_image import build_archive, python_closure

MODULES = ("csv", "encodings.idna", "os", "pathlib", "sys", "time")
SUBMITTER = "provider@hospital.example"

TOOL = """\
import csv, sys, time

table, out, delay = sys.argv[2], sys.argv[4], float(sys.argv[6])
with open(table, newline="", encoding="utf-8", errors="replace") as stream:
    rows = list(csv.DictReader(stream))
print("scoring", len(rows), "rows", flush=True)
time.sleep(delay)
try:
    lines = [f"{row['patient_id']},{float(row['age']) / 100:.4f}" for row in rows]
except (KeyError, TypeError, ValueError) as error:
    sys.exit("cannot score this table: " + type(error).__name__)
with open(out + "/scores.csv", "w") as stream:
    stream.write("\\n".join(["patient_id,score", *lines]) + "\\n")
"""

MANIFEST = """\
cwlVersion: v1.2
class: FEMTask
id: scorer
label: Scorer
doc: Divides ages by a hundred.
requirements:
  - {class: DockerRequirement, dockerPull: registry.example.org/scorer}
  - {class: ResourceRequirement, coresMin: 1, ramMin: 100}
baseCommand: []
inputs:
  - {id: table, type: File, required: true, inputBinding: {position: 1, prefix: -i}}
  - {id: output_dir, type: string, required: true, hidden: true,
     inputBinding: {position: 2, prefix: -o, valueFrom: $(runtime.outdir)}}
  - {id: delay, type: float, required: true, default: DELAY, inputBinding: {position: 3, prefix: -d}}
outputs:
  - {id: scores, type: File, outputBinding: {glob: $(runtime.outdir)/scores.csv}}
expectedExitCode: 0
metadata: {author: A, version: 1.0.0, orchestrator: {network: bridge}}
"""

SUBMISSION = """\
apiVersion: pratique/submission/v1
tool: {name: scorer, version: 1.0.0}
provider: {organisation: Example Hospital, contact: provider@hospital.example, submitter: provider@hospital.example}
manifest: scorer.cwl
image: {archive: image.tar, digest: "DIGEST"}
example: {inputs: {table: in/patients.csv}, expected: out}
cohort: {kind: tabular, input: table, columns: {identifier: [patient_id], text: [notes], category: [site]}}
claims: {model: {trained: false}, determinism: bitwise}
"""

EXAMPLE = "patient_id,site,age,notes\n" + "".join(f"P{n:04d},{'AB'[n % 2]},{40 + n},seen\n" for n in range(6))
EXPECTED = "patient_id,score\n" + "".join(f"P{n:04d},{(40 + n) / 100:.4f}\n" for n in range(6))


def tiny_archive(directory: Path) -> tuple[bytes, Digest]:
    """A Docker archive of a few bytes, which is never run; with the digest of its config."""
    source = directory / "main.py"
    source.write_text(TOOL)
    archive, digest, _ = build_archive({"/app/main.py": source}, {"User": "65534:65534"})
    return archive, digest


def runnable_archive(directory: Path, **labels: str) -> tuple[bytes, Digest]:
    """The same with this machine's own Python, so that an engine can run it; other `labels` make another image."""
    source = directory / "main.py"
    source.write_text(TOOL)
    command = {"Entrypoint": ["/usr/bin/python3", "-S", "/app/main.py"], "WorkingDir": "/app"}
    config = {**command, "User": "65534:65534", "Labels": labels}
    archive, digest, _ = build_archive(python_closure(MODULES) | {"/app/main.py": source}, config)
    return archive, digest


def write_submission(directory: Path, image: tuple[bytes, Digest], *, delay: float = 0) -> Path:
    """The submission of `image` in `directory`, whose tool waits `delay` seconds; returns `directory`."""
    archive, digest = image
    content = {
        "scorer.cwl": MANIFEST.replace("DELAY", f"{delay:.1f}").encode(),
        "submission.yaml": SUBMISSION.replace("DIGEST", digest).encode(),
        "in/patients.csv": EXAMPLE.encode(),
        "out/scores.csv": EXPECTED.encode(),
        "image.tar": archive,
    }
    for name, data in content.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return directory
