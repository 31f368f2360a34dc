"""Model files: loading one may run code. Each is followed by content, whatever its name, and never loaded."""

from __future__ import annotations

import time
from dataclasses import replace

from checks.interface import CheckResult, Finding, Level, Measurement, inconclusive, status_of
from checks.model_files.auditor import ask_about, modelaudit
from checks.model_files.known import TestData, recognise
from checks.model_files.opinion import disagreement
from checks.model_files.parts import Reason, Verdict
from checks.model_files.scan import ModelVerdict, may_be_configuration, scan_stream
from pratique.errors import CouldNotDecide
from pratique.intake.image.classify import HEAD, looks_like_model
from pratique.intake.image.model import FileClass, FileEntry, Inventory

__all__ = ["ModelVerdict", "Reason", "Verdict", "check_model_files", "scan_stream"]

CHECK = "model_files"
VERSION = "8"
_RISKS = ("G1", "T2", "U6")
_MAX_SHOWN = 8
_KEPT_BY_NAME = (FileClass.SYSTEM, FileClass.PACKAGE_DATABASE, FileClass.PYTHON_METADATA, FileClass.NODE_METADATA)
_ORDER = {Level.ERROR: 0, Level.WARNING: 1, Level.NOTE: 2}
_SAFE_FORMATS = (
    "Save weights in a format without code (safetensors, ONNX, NumPy arrays, JSON), or a pickle of plain containers, "
    "arrays and the listed library classes only."
)
_FIXES = {
    "unreadable": "Save the model again with the library's own writer, in one format, uncompressed or zip/gzip/xz.",
    "keras-code": "Replace Lambda layers and custom objects by layers of Keras itself, and save again.",
    "custom-operators": "Export the model with standard ONNX operators.",
    "graph-operator": "Export the graph for inference only, without operators for Python or files.",
    "external-data": "Keep external tensors beside the model, by a relative name without '..'.",
}


def check_model_files(inventory: Inventory) -> CheckResult:
    """Does any model file of the image, or file in an archive of it, do more than hold a model when it is loaded?

    Failed where one is unsafe or cannot be followed to its end; inconclusive where the content of one was not kept.
    Only bytes that stand in `known_test_data.txt` are noted instead. Measurements: `model_files` (recognised),
    `unsafe`, `unreadable`, `test_data`.
    """
    started = time.monotonic()
    verdicts: list[ModelVerdict] = []
    not_kept: list[str] = []
    entries = [*inventory.of_class(FileClass.MODEL), *inventory.of_class(FileClass.ARCHIVE)]
    entries += [entry for entry in inventory.of_class(FileClass.SOURCE) if may_be_configuration(entry.path)]
    entries += [e for kind in _KEPT_BY_NAME for e in inventory.of_class(kind) if _opens_model(inventory, e)]
    for entry in entries:
        try:
            verdicts.append(_scan(inventory, entry))
        except (CouldNotDecide, OSError) as error:
            not_kept.append(f"{entry.path}: {error}")
    if not_kept and not any(_refused(verdict) for verdict in verdicts):
        why = f"{len(not_kept)} model files could not be examined: {'; '.join(not_kept[:3])}"
        return inconclusive(CHECK, VERSION, why, fix="Raise the policy's limits for model files.", risks=_RISKS)
    refused = () if not_kept else (verdict for verdict in verdicts if _refused(verdict))  # nothing hides behind tests
    known = {v.name: data for v in refused if (data := recognise(inventory.files[v.name]))}
    recognised = [v for v in verdicts if v.verdict is not Verdict.UNRECOGNISED]
    verdicts = _with_others(inventory, verdicts)
    found = [f for v in verdicts for f in (_as_test_data(v, known[v.name]) if v.name in known else _findings(v))]
    named = [entry.path for entry in inventory.of_class(FileClass.MODEL) if not may_be_configuration(entry.path)]
    names = {verdict.name for verdict in recognised}
    found += _unknown([name for name in named if name not in names])
    findings = tuple(sorted(found, key=lambda finding: _ORDER[finding.level]))
    unsafe = sum(v.verdict is Verdict.UNSAFE and v.name not in known for v in verdicts)
    unreadable = sum(v.verdict is Verdict.UNREADABLE and v.name not in known for v in verdicts)
    return CheckResult(
        check=CHECK,
        version=VERSION,
        status=status_of(findings),
        summary=_summary(len(recognised), unsafe, unreadable),
        findings=findings,
        measurements=(
            Measurement(name="model_files", value=len(recognised), unit="files", method="by content"),
            Measurement(name="unsafe", value=unsafe, unit="files", method="opcode walk, exact allow-list of imports"),
            Measurement(name="unreadable", value=unreadable, unit="files", method="opcode walk"),
            Measurement(name="test_data", value=len(known), unit="files", method="listed by SHA-256"),
        ),
        inputs={entry.path: entry.sha256 for entry in entries if entry.sha256 and entry.path in names},
        seconds=time.monotonic() - started,
    )


def _opens_model(inventory: Inventory, entry: FileEntry) -> bool:
    """Whether what was kept for its name alone begins as a model does: a tool may load it under any name."""
    if entry.path in inventory.not_kept:
        return looks_like_model(entry.head, entry.size)
    with inventory.open(entry.path) as stream:
        return looks_like_model(stream.read(HEAD), entry.size)


def _scan(inventory: Inventory, entry: FileEntry) -> ModelVerdict:
    with inventory.open(entry.path) as stream:
        return scan_stream(stream, entry.size, entry.path)


def _unknown(names: list[str]) -> list[Finding]:
    """What bears a model's name and is of no known format: told, since somebody may load it all the same."""
    if not names:
        return []
    message = (
        f"{len(names)} files are named as models are and hold none of a known format: {', '.join(names[:_MAX_SHOWN])}"
    )
    return [
        Finding(rule_id=f"{CHECK}/unknown-content", level=Level.NOTE, message=message, where=names[0], risks=_RISKS)
    ]


def _refused(verdict: ModelVerdict) -> bool:
    return verdict.verdict in (Verdict.UNSAFE, Verdict.UNREADABLE)


def _as_test_data(verdict: ModelVerdict, known: TestData) -> list[Finding]:
    """A note instead of a refusal, for the very bytes that a library is known to test itself with."""
    message = (
        f"{verdict.name} is {verdict.verdict.value} ({verdict.reasons[0].message}), and known: {known.package} carries "
        f"it for its own tests (first listed for version {known.version})"
    )
    fix = "Leave the tests of libraries out of the image."
    rule = f"{CHECK}/known-test-data"
    return [Finding(rule_id=rule, level=Level.NOTE, message=message, where=verdict.name, fix=fix, risks=_RISKS)]


def _with_others(inventory: Inventory, verdicts: list[ModelVerdict]) -> list[ModelVerdict]:
    """The verdicts with what modelaudit says, where it is installed."""
    asked = [verdict.name for verdict in verdicts if verdict.formats] if modelaudit() else []
    opinions = ask_about(dict.fromkeys(asked, inventory.open))
    return [
        replace(verdict, opinions=(*verdict.opinions, opinions[verdict.name])) if verdict.name in opinions else verdict
        for verdict in verdicts
    ]


def _disagreements(verdict: ModelVerdict) -> list[Finding]:
    """Notes of what other scanners say otherwise; they change nothing."""
    return [
        Finding(
            rule_id=f"{CHECK}/disagreement",
            level=Level.NOTE,
            message=f"{verdict.name} is {verdict.verdict.value}; {disagreement(opinion)}",
            where=verdict.name,
        )
        for opinion in verdict.disagreements
    ]


def _findings(verdict: ModelVerdict) -> list[Finding]:
    if verdict.verdict is Verdict.UNRECOGNISED:
        return []
    return [*_reasons(verdict), *_disagreements(verdict)]


def _reasons(verdict: ModelVerdict) -> list[Finding]:
    if verdict.verdict is Verdict.SAFE:
        formats = ", ".join(verdict.formats)
        message = f"{verdict.name} holds a model ({formats}) that runs nothing when it is loaded"
        return [Finding(rule_id=f"{CHECK}/safe", level=Level.NOTE, message=message, where=verdict.name)]
    shown = [_finding(verdict, reason) for reason in verdict.reasons[:_MAX_SHOWN]]
    hidden = len(verdict.reasons) - len(shown)
    if hidden:
        message = f"{hidden} more reasons against {verdict.name} are not listed"
        shown.append(Finding(rule_id=f"{CHECK}/more", level=Level.NOTE, message=message, where=verdict.name))
    return shown


def _finding(verdict: ModelVerdict, reason: Reason) -> Finding:
    return Finding(
        rule_id=f"{CHECK}/{reason.rule}",
        level=Level.ERROR,
        message=f"{verdict.name}: {reason.message}",
        where=reason.member or verdict.name,
        fix=_FIXES.get(reason.rule, _SAFE_FORMATS),
        risks=_RISKS,
    )


def _summary(files: int, unsafe: int, unreadable: int) -> str:
    if unsafe or unreadable:
        return f"of {files} model files {unsafe} would run code when loaded, {unreadable} cannot be read to their end"
    return f"{files} model files, none of which runs anything when it is loaded" if files else "no model files"
