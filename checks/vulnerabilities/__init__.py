"""Vulnerabilities: which known ones do the components have? Answered from local snapshots of OSV, or not at all."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from subprocess import SubprocessError

from checks.advisories import AdvisoryStore, Decision, Match, Severity, load
from checks.advisories.severity import at_least
from checks.advisories.store import stale
from checks.advisories.versions import base_ecosystem, known_ecosystem
from checks.interface import (
    CheckResult,
    EvidenceStore,
    Finding,
    Level,
    Measurement,
    Status,
    inconclusive,
    status_of,
)
from checks.sbom.model import Component
from checks.vulnerabilities.groups import Vulnerability, group
from checks.vulnerabilities.waivers import POLICY, Waiver, find_waiver
from pratique.clock import Clock, rfc3339, system_clock
from pratique.digests import Digest, canonical_json
from pratique.errors import CouldNotDecide

__all__ = ["Vulnerability", "Waiver", "check_vulnerabilities", "find_vulnerabilities"]

CHECK = "vulnerabilities"
VERSION = "2"
_RISKS = ("G2",)
_MAX_SHOWN = 200
_LEVELS = {Severity.MEDIUM: Level.WARNING, Severity.LOW: Level.NOTE}
Judged = tuple[Vulnerability, Waiver | None, bool]
"""A vulnerability, the waiver that covers it, and whether that holds."""
_IMPORT = "Import a fresh snapshot: pratique advisories import FILE --date YYYY-MM-DD."


def find_vulnerabilities(components: Sequence[Component], store: AdvisoryStore) -> list[Vulnerability]:
    """Vulnerabilities of `components`, one for each group of aliases, gravest first.

    Components of ecosystems without a snapshot are passed over (see `uncovered`). Raises `CouldNotDecide`.
    """
    asked = [c for c in components if c.ecosystem and store.covering(c.ecosystem) and known_ecosystem(c.ecosystem)]
    matched = _python([c for c in asked if c.ecosystem == "PyPI"], store)
    matched += [(c, store.matches(c.ecosystem, *c.asked)) for c in asked if c.ecosystem != "PyPI"]
    found = [vulnerability for component, matches in matched for vulnerability in group(component, matches)]
    order = {severity: place for place, severity in enumerate(Severity)}
    return sorted(found, key=lambda v: (order[v.severity], v.component.name, v.component.version, v.id))


def _python(components: Sequence[Component], store: AdvisoryStore) -> list[tuple[Component, list[Match]]]:
    if not components:
        return []
    from checks.vulnerabilities.python_audit import audit

    return audit(components, store)


def uncovered(components: Sequence[Component], store: AdvisoryStore) -> Counter[str]:
    """How many components there are of each ecosystem that no snapshot speaks of."""
    return Counter(
        c.ecosystem
        for c in components
        if c.ecosystem and not (store.covering(c.ecosystem) and known_ecosystem(c.ecosystem))
    )


def check_vulnerabilities(
    components: Sequence[Component],
    home: Path,
    *,
    max_age: timedelta,
    waivers: Sequence[Waiver] = (),
    clock: Clock = system_clock,
    store: EvidenceStore,
    ecosystems: Sequence[str] | None = None,
    fail_at: Severity = Severity.HIGH,
    image: Digest | None = None,
) -> CheckResult:
    """Do the components have known vulnerabilities?

    `home` holds the imported snapshots. `ecosystems` are those that must be covered (without release, `Debian`); by
    default all that the components belong to. Errors are vulnerabilities rated `fail_at` or worse and malicious
    packages; a waiver that holds (a VEX statement may be one, for `image` alone) makes a note of any. A missing, empty,
    altered, stale or unreadable snapshot, an ecosystem without one, an advisory that cannot be evaluated and a
    vulnerability that nobody rated are inconclusive. Measurements: the number of each severity, `undecided`, `waived`,
    `unchecked`, the snapshot's date and digest.
    Leaves `vulnerabilities.json` as evidence.
    """
    started = time.monotonic()
    try:
        with load(home) as advisories:
            moment = clock()
            problem = _unusable(advisories, components, ecosystems, moment, max_age)
            if problem:
                return inconclusive(CHECK, VERSION, problem, fix=_IMPORT, risks=_RISKS)
            found = find_vulnerabilities(components, advisories)
            missing = uncovered(components, advisories)
            judged = [_judge(v, waivers, moment, image) for v in found]
            return _result(judged, missing, advisories, waivers, moment, store, fail_at, started)
    except CouldNotDecide as error:
        return inconclusive(CHECK, VERSION, str(error), fix=error.next_step or _IMPORT, risks=_RISKS)
    except (ImportError, SubprocessError) as error:  # a library below pip-audit runs `pip --version` when imported
        why = f"pip-audit cannot be loaded: {error}"
        return inconclusive(CHECK, VERSION, why, fix="Install Pratique's dependencies anew.", risks=_RISKS)


def _unusable(
    advisories: AdvisoryStore,
    components: Sequence[Component],
    ecosystems: Sequence[str] | None,
    moment: datetime,
    max_age: timedelta,
) -> str:
    """Why the snapshots cannot answer for these components; empty where they can."""
    present = {base_ecosystem(c.ecosystem) for c in components if c.ecosystem}
    wanted = present if ecosystems is None else {base_ecosystem(e) for e in ecosystems}
    covered = {base_ecosystem(name) for snapshot in advisories.snapshots for name in snapshot.ecosystems}
    lacking = sorted(wanted - covered)
    if lacking:
        return f"there is no advisory snapshot for {', '.join(lacking)}"
    used = [s for s in advisories.snapshots if base_ecosystem(s.ecosystems[0]) in wanted | present]
    problems = [problem for snapshot in used if (problem := stale(snapshot, moment, max_age))]
    empty = [s.ecosystems[0] for s in used if s.records - s.withdrawn <= 0]
    problems += [f"the {name} snapshot is empty" for name in empty]
    return "; ".join(problems)


def _judge(vulnerability: Vulnerability, waivers: Sequence[Waiver], moment: datetime, image: Digest | None) -> Judged:
    found = find_waiver(waivers, vulnerability.identifiers, vulnerability.component, moment.date(), image)
    return (vulnerability, *found)


def _result(
    judged: Sequence[Judged],
    missing: Counter[str],
    advisories: AdvisoryStore,
    waivers: Sequence[Waiver],
    moment: datetime,
    store: EvidenceStore,
    fail_at: Severity,
    started: float,
) -> CheckResult:
    counted = [v for v, _, holds in judged if not holds]
    affected = [v for v in counted if v.decision is Decision.AFFECTED]
    undecided = [v for v in counted if v.decision is Decision.UNDECIDED]
    findings = [_finding(v, waiver, holds, fail_at) for v, waiver, holds in judged]
    findings += [_not_covered(ecosystem, count) for ecosystem, count in sorted(missing.items())]
    findings += _unreadable_records(advisories)
    findings += _unused(waivers, judged, moment)
    status = status_of(findings)
    counts = Counter(v.severity for v in affected)
    if status is Status.PASSED and (undecided or counts[Severity.UNKNOWN]):
        status = Status.INCONCLUSIVE
    evidence = store.put(
        canonical_json(_document(judged, advisories, moment)),
        name="vulnerabilities.json",
        media_type="application/json",
    )
    return CheckResult(
        check=CHECK,
        version=VERSION,
        status=status,
        summary=_summary(counts, len(undecided), len(judged) - len(counted), advisories.taken),
        findings=_bounded(findings),
        measurements=(
            *(Measurement(name=s.value, value=counts[s], unit="vulnerabilities", method="OSV, CVSS") for s in Severity),
            Measurement(name="undecided", value=len(undecided), unit="vulnerabilities", method="OSV"),
            Measurement(name="waived", value=len(judged) - len(counted), unit="vulnerabilities", method="policy"),
            Measurement(name="unchecked", value=sum(missing.values()), unit="components", method="no snapshot"),
            Measurement(name="snapshot_date", value=advisories.taken.isoformat(), unit="date", method="oldest used"),
            Measurement(name="snapshot_digest", value=advisories.digest, unit="sha256", method="source bytes"),
        ),
        evidence=(evidence,),
        inputs={f"advisories.{s.ecosystems[0]}": s.digest for s in advisories.snapshots},
        seconds=time.monotonic() - started,
    )


def _finding(vulnerability: Vulnerability, waiver: Waiver | None, holds: bool, fail_at: Severity) -> Finding:
    component = vulnerability.component
    rule, level = _rule(vulnerability, fail_at)
    names = f"{vulnerability.id} ({', '.join(vulnerability.aliases)})" if vulnerability.aliases else vulnerability.id
    version = component.version or "of unknown version"
    message = f"{component.name} {version}: {names}, severity {vulnerability.severity.value}"
    if vulnerability.decision is Decision.UNDECIDED:
        message = f"{component.name} {version} may be affected by {names}: the advisory cannot be evaluated for it"
    if vulnerability.summary:
        message += f". {vulnerability.summary}"
    if waiver is not None and holds:
        rule, level = "waived", Level.NOTE
        source = "" if waiver.origin == POLICY else f" on the word of {waiver.origin}"
        message += f" [waived by {waiver.by}{source} until {waiver.until}: {waiver.reason}]"
    elif waiver is not None:
        message += f" [the waiver by {waiver.by} expired on {waiver.until} and counts for nothing]"
    return Finding(
        rule_id=f"{CHECK}/{rule}",
        level=level,
        message=message,
        where=component.purl or component.path,
        fix=_fix(vulnerability),
        risks=_RISKS,
    )


def _rule(vulnerability: Vulnerability, fail_at: Severity) -> tuple[str, Level]:
    if vulnerability.decision is Decision.UNDECIDED:
        return "undecided", Level.WARNING
    if vulnerability.id.startswith("MAL-"):
        return "malicious-package", Level.ERROR
    severity = vulnerability.severity
    if at_least(severity, fail_at):
        return severity.value, Level.ERROR
    return severity.value, _LEVELS.get(severity, Level.WARNING)


def _fix(vulnerability: Vulnerability) -> str:
    name = vulnerability.component.name
    if vulnerability.decision is Decision.UNDECIDED:
        return "Read the advisory; where it does not concern this version, the node may waive it with a reason."
    if vulnerability.id.startswith("MAL-"):
        return f"Remove {name}: the package itself is malicious."
    if vulnerability.fixed:
        return f"Install {name} {vulnerability.fixed} or later and build the image again."
    return f"No fixed version is named: replace {name}, or ask the node for a waiver with a reason."


def _not_covered(ecosystem: str, count: int) -> Finding:
    return Finding(
        rule_id=f"{CHECK}/not-covered",
        level=Level.WARNING,
        message=f"{count} components of {ecosystem} were not looked up: no snapshot speaks of them",
        fix=_IMPORT,
        risks=_RISKS,
    )


def _unused(waivers: Sequence[Waiver], judged: Sequence[Judged], moment: datetime) -> list[Finding]:
    """How many waivers of each source waive nothing here, and how many of those have expired."""
    used = {waiver.statement for _, waiver, _ in judged if waiver is not None}
    idle = list({waiver.statement: waiver for waiver in waivers if waiver.statement not in used}.values())
    findings: list[Finding] = []
    for origin in dict.fromkeys(waiver.origin for waiver in idle):
        there = [waiver for waiver in idle if waiver.origin == origin]
        expired = sum(waiver.until < moment.date() for waiver in there)
        message = f"{len(there)} waivers of the {origin} concern nothing found here"
        message += f"; {expired} of them have expired" if expired else ""
        findings.append(Finding(rule_id=f"{CHECK}/waivers-unused", level=Level.NOTE, message=message))
    return findings


def _unreadable_records(advisories: AdvisoryStore) -> list[Finding]:
    return [
        Finding(
            rule_id=f"{CHECK}/unreadable-records",
            level=Level.WARNING,
            message=f"records of the {s.ecosystems[0]} snapshot could not be read: {'; '.join(s.unreadable[:3])}",
            fix="Take the snapshot again from its source.",
            risks=_RISKS,
        )
        for s in advisories.snapshots
        if s.unreadable
    ]


def _bounded(findings: list[Finding]) -> tuple[Finding, ...]:
    order = {Level.ERROR: 0, Level.WARNING: 1, Level.NOTE: 2}
    ranked = sorted(findings, key=lambda f: order[f.level])
    if len(ranked) <= _MAX_SHOWN:
        return tuple(ranked)
    message = f"{len(ranked) - _MAX_SHOWN} more findings are in vulnerabilities.json"
    return (*ranked[:_MAX_SHOWN], Finding(rule_id=f"{CHECK}/more", level=Level.NOTE, message=message))


def _document(judged: Sequence[Judged], advisories: AdvisoryStore, moment: datetime) -> dict[str, object]:
    """All of it, for the report and for replay."""
    return {
        "asked": rfc3339(moment),
        "snapshots": [
            {
                "ecosystem": s.ecosystems[0],
                "taken": s.taken.isoformat(),
                "digest": s.digest,
                "records": s.records,
                "withdrawn": s.withdrawn,
                "label": s.label,
            }
            for s in advisories.snapshots
        ],
        "vulnerabilities": [
            {
                "id": v.id,
                "aliases": list(v.aliases),
                "component": v.component.name,
                "version": v.component.version,
                "purl": v.component.purl,
                "severity": v.severity.value,
                "vector": v.vector,
                "decision": v.decision.value,
                "fixed": v.fixed,
                "summary": v.summary,
                "waived": _waived(waiver) if waiver is not None and holds else None,
            }
            for v, waiver, holds in judged
        ],
    }


def _waived(waiver: Waiver) -> dict[str, str]:
    return {
        "by": waiver.by,
        "until": waiver.until.isoformat(),
        "reason": waiver.reason,
        "origin": waiver.origin,
    }


def _summary(counts: Counter[Severity], undecided: int, waived: int, taken: date) -> str:
    parts = [f"{counts[severity]} {severity.value}" for severity in Severity if counts[severity]]
    parts += [f"{undecided} undecided"] if undecided else []
    parts += [f"{waived} waived"] if waived else []
    what = ", ".join(parts) if parts else "none"
    return f"known vulnerabilities: {what} (advisories of {taken})"
