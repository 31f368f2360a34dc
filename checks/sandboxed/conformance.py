"""Does the tool do what its manifest says: on its own example, and on a synthetic cohort it has never seen?"""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from checks.interface import CheckResult, EvidenceStore, Level
from checks.sandboxed.compare import Likeness, compare_files, file_names
from checks.sandboxed.formats import VOLUMES, check_readable
from checks.sandboxed.judging import Judgement, answered, judge_end, keep_run, log_tail, peak_memory
from checks.sandboxed.picture import slice_picture
from checks.sandboxed.plan import ToolRun
from checks.sandboxed.session import SandboxSession
from pratique.errors import InvalidInput
from pratique.intake.manifest.model import OutputParameter, ParameterType
from sandbox.cohorts import CohortKind
from sandbox.spec import MIB

CHECK = "conformance"
VERSION = "1"
RISKS = ("G5", "G6", "G7", "T7")

LEAST_TOLERANCE = 1e-6
"""Differences from the expected output that another machine's arithmetic may make, whatever the tool claims."""

CORES_SLACK = 0.25
"""Cores above the declared number that start-up and measuring may account for."""

_PROSE = (".md", ".txt", ".rst")


def check_conformance(session: SandboxSession, store: EvidenceStore) -> CheckResult:
    """Run on the example and on the cohort: exit code, declared outputs, expected output, declared resources.

    Evidence: `resource-curve.json`, both logs, and for NIfTI `slice.json`. Passes only when both runs were made.
    """
    return answered(CHECK, VERSION, RISKS, lambda: _judge(session, store))


def _judge(session: SandboxSession, store: EvidenceStore) -> CheckResult:
    judgement = Judgement(CHECK, VERSION)
    runs: list[tuple[str, ToolRun]] = []
    if session.has_example:
        run = session.example()
        runs.append(("its example", run))
        if _judge_run(judgement, session, run, "its example"):
            _judge_expected(judgement, session, run)
    else:
        judgement.cannot_say(
            "no-example",
            "The submission has no example, so nothing shows that the tool does what its provider saw it do.",
            fix="Add `example` with inputs and expected outputs to submission.yaml.",
        )
    if session.fit is not None:
        run = session.counted()
        runs.append(("the synthetic cohort", run))
        if _judge_run(judgement, session, run, "the synthetic cohort"):
            _keep_slice(judgement, session, run, store)
    else:
        judgement.cannot_say(
            "no-cohort",
            "The submission does not say which synthetic data fit the tool, so it ran on nothing but its example.",
            fix="Add `cohort` (kind tabular, nifti or dicom, and the input) to submission.yaml.",
        )
    _judge_resources(judgement, session, [run for _, run in runs])
    _keep_evidence(judgement, runs, store)
    return judgement.result(
        session,
        passed="The tool did what its manifest says on its example and on a synthetic cohort.",
        failed="The tool did not do what its manifest says.",
    )


def _judge_run(judgement: Judgement, session: SandboxSession, run: ToolRun, on_what: str) -> bool:
    """Exit and outputs of one run; True when the outputs are worth looking at further."""
    manifest = session.runner.manifest
    if not judge_end(judgement, run, manifest.expected_exit_codes, on_what):
        return False
    names = file_names(run.output)
    claimed: set[str] = set()
    for output in manifest.outputs:
        claimed |= _judge_output(judgement, run, output, names, on_what, manifest.dialect == "CommandLineTool")
    for name in names:
        if name not in claimed:
            judgement.add(
                "output-undeclared",
                Level.WARNING,
                f"On {on_what} the tool wrote {name}, which no output of its manifest covers.",
                where=name,
                fix="Declare it in `outputs`, or do not write it.",
                risks=("T3",),
            )
        _judge_file(judgement, run.output / name, name, on_what)
    return True


def _judge_output(
    judgement: Judgement, run: ToolRun, output: OutputParameter, names: list[str], on_what: str, exactly_one: bool
) -> set[str]:
    """Whether a declared output is there and of its type; returns the files that it covers."""
    if not output.type.is_path:
        return set()
    globs = run.invocation.globs.get(output.id, output.globs)
    if output.type is ParameterType.DIRECTORY:
        found = sorted({name for name in names for glob in globs if _below(name, glob)})
    else:
        found = sorted({name for name in names for glob in globs if _matches(name, glob)})
    shown = ", ".join(globs)
    if not found:
        judgement.add(
            "output-missing",
            Level.ERROR,
            f"On {on_what} the tool wrote nothing that its output {output.id} ({shown}) covers.",
            where=f"outputs/{output.id}; written: {', '.join(names[:10]) or 'nothing'}",
            fix="Write the file under the declared name into the output directory, or correct the glob.",
            risks=("T7",),
        )
    elif output.type is ParameterType.FILE and not output.array and len(found) > 1:
        judgement.add(
            "output-several",
            Level.ERROR if exactly_one else Level.NOTE,
            f"On {on_what} {len(found)} files match the output {output.id}, which is declared as one file.",
            where=f"outputs/{output.id}",
            fix="Declare it as an array of files, or narrow the glob.",
        )
    return set(found)


def _matches(name: str, glob: str) -> bool:
    """CWL's glob(3): `*`, `?` and `[…]` stay within one path segment."""
    parts, patterns = PurePosixPath(name).parts, PurePosixPath(glob).parts
    return len(parts) == len(patterns) and all(
        fnmatchcase(part, pattern) for part, pattern in zip(parts, patterns, strict=True)
    )


def _below(name: str, glob: str) -> bool:
    depth = len(PurePosixPath(glob).parts)
    parts = PurePosixPath(name).parts
    return glob == "." or (len(parts) > depth and _matches("/".join(parts[:depth]), glob))


def _judge_file(judgement: Judgement, path: Path, name: str, on_what: str) -> None:
    if path.stat().st_size == 0:
        judgement.add(
            "output-empty",
            Level.WARNING,
            f"On {on_what} the tool wrote {name} empty.",
            where=name,
            fix="Write the file only when there is something in it.",
        )
        return
    try:
        check_readable(path)
    except InvalidInput as error:
        judgement.add(
            "output-unreadable",
            Level.ERROR,
            f"On {on_what}: {error}",
            where=name,
            fix=error.next_step,
            risks=("T7",),
        )


def _judge_expected(judgement: Judgement, session: SandboxSession, run: ToolRun) -> None:
    """Compare with the provider's expected output, file by file; prose in that directory is not an output."""
    example = session.submission.document.example
    if example is None or example.expected is None:
        judgement.add(
            "nothing-expected",
            Level.NOTE,
            "The example has no expected output to compare with.",
            fix="Add `expected` with the directory of the example's outputs.",
        )
        return
    claims = session.submission.document.claims
    tolerance = max(claims.tolerance, LEAST_TOLERANCE)
    expected = session.submission.path(example.expected)
    largest = 0.0
    for name in file_names(expected):
        if name.lower().endswith(_PROSE):
            continue
        if not (run.output / name).is_file():
            judgement.add(
                "expected-missing",
                Level.ERROR,
                f"The example's expected {name} was not written.",
                where=name,
                fix="Correct the tool, or the expected output.",
                risks=("T7",),
            )
            continue
        found = compare_files(expected / name, run.output / name, tolerance)
        largest = max(largest, found.largest)
        if found.likeness is Likeness.DIFFERENT:
            random = claims.determinism == "nondeterministic"
            judgement.add(
                "expected-differs",
                Level.NOTE if random else Level.ERROR,
                f"The example's {name} differs from the expected one ({found.where or 'content'}, "
                f"largest difference {found.largest:.3g}, allowed {tolerance:.3g}).",
                where=name,
                fix="Hand in the output of this very image, or state the tolerance in `claims`.",
                risks=() if random else ("T7", "G3"),
            )
    judgement.measure("expected_difference", min(largest, 1e300), "1", "largest |a-b| / max(1, |a|, |b|)")
    judgement.measure("expected_tolerance", tolerance)


def _judge_resources(judgement: Judgement, session: SandboxSession, runs: list[ToolRun]) -> None:
    """Declared against measured: memory at its peak, cores as CPU time over wall time."""
    if not runs:
        return
    records = [run.sandbox_run for run in runs]
    peaks = [peak for record in records if (peak := peak_memory(record)) is not None]
    cpu = [record.cpu_seconds for record in records if record.cpu_seconds is not None]
    wall = max(record.seconds for record in records)
    judgement.measure("peak_memory", max(peaks, default=None), "By", "control group, else samples; highest run")
    judgement.measure("cpu_seconds", max(cpu, default=None), "s", "highest run")
    judgement.measure("wall_seconds", wall, "s", "start to end by the engine's clock; longest run")
    judgement.measure("peak_processes", max((r.peak_pids for r in records if r.peak_pids is not None), default=None))
    judgement.measure("output_bytes", max(record.output_bytes for record in records), "By")
    _judge_memory(judgement, session, max(peaks, default=None))
    declared = session.runner.manifest.requirements.cores_min
    judgement.measure("declared_cores", declared, "1", "ResourceRequirement.coresMin")
    used = max((r.cpu_seconds / r.seconds for r in records if r.cpu_seconds and r.seconds > 0.5), default=None)
    judgement.measure("cores_used", None if used is None else round(used, 3), "1", "CPU time over wall time")
    if declared is not None and used is not None and used > declared + CORES_SLACK:
        judgement.add(
            "cpu-above-declared",
            Level.WARNING,
            f"The tool kept {used:.2f} cores busy and declares {declared:g}.",
            where="requirements/ResourceRequirement",
            fix="State the cores in `coresMin`, or limit the number of threads.",
            risks=("G5",),
        )


def _judge_memory(judgement: Judgement, session: SandboxSession, peak: int | None) -> None:
    declared = session.runner.manifest.requirements.ram_min_mib
    if declared is None:
        judgement.add(
            "resources-undeclared",
            Level.WARNING,
            "The manifest does not say how much memory the tool needs.",
            where="requirements",
            fix="Add ResourceRequirement with coresMin and ramMin"
            + (f"; it used {-(-peak // MIB)} MiB here." if peak is not None else "."),
            risks=("G5",),
        )
        return
    judgement.measure("declared_memory", declared * MIB, "By", "ResourceRequirement.ramMin")
    if peak is None:
        judgement.cannot_say("memory-not-measured", "The engine could not say how much memory the tool used.")
    elif peak > declared * MIB:
        judgement.add(
            "memory-above-declared",
            Level.ERROR,
            f"The tool used {-(-peak // MIB)} MiB of memory and declares {declared} MiB.",
            where="requirements/ResourceRequirement/ramMin",
            fix="State what it needs in `ramMin`, with room for larger data, or lower what it uses.",
            risks=("G5",),
        )
    ceiling = session.runner.spec.limits.memory
    if declared * MIB > ceiling:
        judgement.add(
            "resources-above-ceiling",
            Level.WARNING,
            f"The manifest asks for {declared} MiB, this node gives {ceiling // MIB} MiB.",
            where="requirements/ResourceRequirement/ramMin",
            fix="Lower the need, or ask the node for a higher ceiling.",
            risks=("G5",),
        )


def _keep_evidence(judgement: Judgement, runs: list[tuple[str, ToolRun]], store: EvidenceStore) -> None:
    if not runs:
        return
    longest = max((run for _, run in runs), key=lambda run: run.sandbox_run.seconds).sandbox_run
    curve = {"samples": [{"t": s.t, "memory": s.memory, "cpu": s.cpu} for s in longest.samples]}
    judgement.evidence.append(store.put(_json(curve), name="resource-curve.json", media_type="application/json"))
    for on_what, run in runs:
        name = re.sub(r"[^a-z]+", "-", on_what)
        keep_run(judgement, store, f"run-on-{name}.json", run)
        judgement.evidence.append(
            store.put(log_tail(run).encode(), name=f"log-end-on-{name}.txt", media_type="text/plain")
        )


def _keep_slice(judgement: Judgement, session: SandboxSession, run: ToolRun, store: EvidenceStore) -> None:
    """A picture of a synthetic volume with the tool's mask, where it made one of the same shape."""
    cohort = session.cohort()
    if cohort.request.kind is not CohortKind.NIFTI:
        return
    masks = [run.output / name for name in file_names(run.output) if name.lower().endswith(VOLUMES)]
    picture = slice_picture(cohort.root / cohort.files[0], masks)
    if picture is not None:
        judgement.evidence.append(store.put(_json(picture), name="slice.json", media_type="application/json"))


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()
