"""Do the markers of the synthetic patients come out: in the log, in outputs, in their names, over the network?

A tool may hand the declared identifier column through, so that its results can be matched to patients: in a table of
the output, in a column of that name, as it is. Everywhere else, and in the log always, a marker is a leak. Runs on
good input, on good input with a network to call home on (a sinkhole), and on broken input are all searched.
"""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from checks.interface import CheckResult, EvidenceStore, Level
from checks.sandboxed.compare import file_names
from checks.sandboxed.formats import TABLES, VOLUMES, read_table
from checks.sandboxed.judging import Judgement, answered, keep_run
from checks.sandboxed.plan import ToolRun
from checks.sandboxed.session import SandboxSession
from pratique.errors import CouldNotDecide, InvalidInput
from sandbox.canaries import Allowance, Canary, CanaryKind, Scan, Scanner
from sandbox.cohorts import Cohort
from sandbox.record import UNDECIDED

CHECK = "canaries"
VERSION = "2"
RISKS = ("T3", "U6")

_IMAGES = (*VOLUMES, ".dcm", ".png", ".mha", ".nrrd", ".npy", ".npz")
_PLAIN = frozenset({"plain", "truncated plain"})


@dataclass(frozen=True)
class _Leak:
    """Markers of one kind found in one place in one form."""

    rule: str
    kind: CanaryKind
    where: str
    encoding: str


@dataclass
class _Found:
    """Whose markers a leak let out, at which byte each was first seen, and in which runs."""

    offsets: dict[Canary, int] = field(default_factory=dict)
    runs: dict[str, None] = field(default_factory=dict)


class _Leaks:
    """What was found, gathered so that ninety identifiers in one file of three runs become one finding."""

    def __init__(self) -> None:
        self.found: defaultdict[_Leak, _Found] = defaultdict(_Found)
        self.incomplete: list[str] = []
        self.searched_bytes = 0

    def add(self, scan: Scan, rule: str, where: str, on_what: str, size: int) -> None:
        """Keep what a scan found, each canary under its plainest form in this place."""
        self.searched_bytes += size
        self.incomplete += [f"{where} on {on_what}: {reason}" for reason in scan.incomplete]
        plainest: dict[Canary, tuple[int, str, int]] = {}
        for hit in scan.hits:
            form = (len(hit.encoding), hit.encoding, hit.offset)
            plainest[hit.canary] = min(plainest.get(hit.canary, form), form)
        for canary, (_, encoding, offset) in plainest.items():
            found = self.found[_Leak(rule, canary.kind, where, encoding)]
            found.offsets.setdefault(canary, offset)
            found.runs[on_what] = None


def check_canaries(session: SandboxSession, store: EvidenceStore) -> CheckResult:
    """Search logs, outputs and network attempts for the cohort's canaries. Evidence: `canary-hits.json`.

    The forms that are recognised, and those that cannot be, are listed in `sandbox.canaries`.
    """
    return answered(CHECK, VERSION, RISKS, lambda: _judge(session, store))


def _judge(session: SandboxSession, store: EvidenceStore) -> CheckResult:
    judgement = Judgement(CHECK, VERSION)
    cohort = session.cohort()
    leaks = _Leaks()
    runs = 0
    allowance = Allowance()
    scanner = Scanner(cohort.canaries, allowance=allowance)
    allowed = _identifier_columns(session)
    for run, on_what in ((session.counted(), "the cohort"), (session.observed(), "the cohort with a network")):
        runs += _search_run(judgement, leaks, scanner, run, on_what, allowed)
    for broken, run in session.on_broken():
        keep_run(judgement, store, f"run-broken-{broken.variant}.json", run)
        on_what = f"broken input ({broken.variant})"
        same = {canary.value for canary in broken.canaries} <= {canary.value for canary in cohort.canaries}
        searcher = scanner if same else Scanner(broken.canaries, allowance=allowance)
        runs += _search_run(judgement, leaks, searcher, run, on_what, allowed)
    _report(judgement, leaks, cohort)
    for reason in dict.fromkeys(leaks.incomplete):
        judgement.cannot_say(
            "not-searched",
            f"Not everything could be searched: {reason}.",
            fix="Write plain files (tables, JSON, NIfTI, uncompressed DICOM, PNG), or small zip archives of them.",
        )
    judgement.measure("canaries_planted", len(cohort.canaries))
    judgement.measure(
        "canaries_leaked", len({canary.value for found in leaks.found.values() for canary in found.offsets})
    )
    judgement.measure("runs_searched", runs)
    judgement.measure("bytes_searched", leaks.searched_bytes, "By")
    judgement.evidence.append(store.put(_hits(leaks), name="canary-hits.json", media_type="application/json"))
    return judgement.result(
        session,
        passed=f"None of {len(cohort.canaries)} canaries came out, in any form that can be recognised.",
        failed="Data of the synthetic patients came out where they must not.",
    )


def _identifier_columns(session: SandboxSession) -> frozenset[str]:
    """The columns in which the submission says that identifiers are handed through."""
    document = session.submission.document
    names = set(document.cohort.columns.identifier) if document.cohort is not None else set()
    if document.privacy is not None:
        names |= {document.privacy.identifier, document.privacy.prediction.identifier}
    return frozenset(names)


def _search_run(
    judgement: Judgement, leaks: _Leaks, scanner: Scanner, run: ToolRun, on_what: str, allowed: frozenset[str]
) -> int:
    """Search everything that one run let out; 1 when it was carried out."""
    record = run.sandbox_run
    if record.ended_by in UNDECIDED:
        judgement.cannot_say(
            "not-run", f"The run on {on_what} could not be carried out ({record.ended_by.value}): {record.detail[:400]}"
        )
        return 0
    _search_file(leaks, scanner, run.log, "in-log", "the log", on_what)
    if record.log_truncated:
        leaks.incomplete.append(f"the log on {on_what} was cut at its limit")
    names = file_names(run.output)
    leaks.add(scanner.scan("\n".join(names).encode()), "in-file-name", "names of outputs", on_what, 0)
    for name in names:
        _search_output(leaks, scanner, run.output / name, name, on_what, allowed)
    if record.refused:
        refused = "\n".join(entry.path for entry in record.refused).encode()
        leaks.add(scanner.scan(refused), "in-file-name", "names of refused outputs", on_what, 0)
        count = len(record.refused) + record.refused_more
        leaks.incomplete.append(f"{count} outputs on {on_what} were refused and could not be searched")
    sent = "\n".join(f"{seen.name} {seen.detail}" for seen in record.observations).encode()
    leaks.add(scanner.scan(sent), "in-network", "what it tried to send", on_what, len(sent))
    return 1


def _search_output(
    leaks: _Leaks, scanner: Scanner, path: Path, name: str, on_what: str, allowed: frozenset[str]
) -> None:
    if name.lower().endswith(TABLES) and allowed:
        try:
            data = _without_identifiers(read_table(path), scanner.canaries, allowed)
        except InvalidInput:
            data = None  # not a table after all: nothing is allowed in it
        if data is not None:
            leaks.add(scanner.scan(data), "in-output", name, on_what, len(data))
            return
    _search_file(leaks, scanner, path, "in-output", name, on_what)


def _search_file(leaks: _Leaks, scanner: Scanner, path: Path, rule: str, where: str, on_what: str) -> None:
    try:
        leaks.add(scanner.scan_file(path), rule, where, on_what, path.stat().st_size)
    except CouldNotDecide as error:
        leaks.incomplete.append(f"{where} on {on_what}: {error}")


def _without_identifiers(rows: list[list[str]], canaries: Sequence[Canary], allowed: frozenset[str]) -> bytes:
    """The table with those cells of the allowed columns emptied that hold an identifier exactly and nothing else."""
    known = {canary.value for canary in canaries if canary.kind is CanaryKind.IDENTIFIER}
    columns = [index for index, name in enumerate(rows[0]) if name.strip() in allowed]
    for row in rows[1:]:
        for index in columns:
            # Libraries print a whole number that was read into a float column with ".0" behind it.
            if row[index] in known or row[index].removesuffix(".0") in known:
                row[index] = ""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogatepass")


def _report(judgement: Judgement, leaks: _Leaks, cohort: Cohort) -> None:
    planted: defaultdict[CanaryKind, int] = defaultdict(int)
    for canary in cohort.canaries:
        planted[canary.kind] += 1
    for leak, found in leaks.found.items():
        level = Level.ERROR
        if leak.kind is CanaryKind.PIXEL and leak.rule == "in-output" and leak.where.lower().endswith(_IMAGES):
            level = Level.WARNING  # an image made from the input may show what the input shows
        hidden = leak.rule in ("in-output", "in-file-name", "in-network") and leak.encoding not in _PLAIN
        form = "in plain text" if leak.encoding == "plain" else f"as {leak.encoding}"
        count = len(found.offsets)
        first, offset = min(found.offsets.items(), key=lambda item: item[1])
        judgement.add(
            f"{leak.rule}-encoded" if hidden else leak.rule,
            level,
            f"{count} of {max(planted[leak.kind], count)} {leak.kind.value} markers of synthetic patients are in "
            f"{leak.where} {form} (on {', '.join(found.runs)}).",
            where=f"{leak.where}, byte {offset}: what was planted at {first.placed_in}",
            fix=_FIXES[leak.rule],
            risks=("T3", "U6") if hidden else ("T3",),
        )


_FIXES = {
    "in-log": "Never print records, cells or headers: log counts, and of an exception its type only.",
    "in-output": "Write results only. Where they must be matched to patients, write the identifier as it is in a "
    "column of the name declared in `cohort.columns.identifier`; give images new headers, not copies of the input's.",
    "in-file-name": "Name outputs after the input files or by number, never after their content.",
    "in-network": "Take out every network call: at a node there is no network, and no data may leave.",
}


def _hits(leaks: _Leaks) -> bytes:
    """Every place and form with where its markers were planted, not their values."""
    listed = [
        {
            "rule": f"{CHECK}/{leak.rule}",
            "kind": leak.kind.value,
            "where": leak.where,
            "runs": list(found.runs),
            "encoding": leak.encoding,
            "planted": sorted(canary.placed_in for canary in found.offsets)[:1000],
            "first_offset": min(found.offsets.values()),
        }
        for leak, found in leaks.found.items()
    ]
    return json.dumps({"hits": listed}, sort_keys=True, separators=(",", ":")).encode()
