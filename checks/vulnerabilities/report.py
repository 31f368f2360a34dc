"""The answer of the vulnerabilities check: findings, measurements, and the document that holds all of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from checks.advisories import AdvisorySource, Decision, Severity
from checks.advisories.exploitation import Exploitation, Exploited
from checks.advisories.index import Feed, FeedKind
from checks.advisories.severity import at_least
from checks.interface import Finding, Level, Measurement
from checks.vulnerabilities.groups import Vulnerability
from checks.vulnerabilities.lookup import Lookup
from checks.vulnerabilities.waivers import POLICY, Waiver
from pratique.clock import rfc3339

CHECK = "vulnerabilities"
RISKS = ("G2",)
IMPORT = "Get a fresh snapshot: pratique advisories update, or pratique advisories import FILE --date YYYY-MM-DD."
_MAX_SHOWN = 200
_MAX_NAMED = 10
_LEVELS = {Severity.MEDIUM: Level.WARNING, Severity.LOW: Level.NOTE}
_FEED_NAMES = {FeedKind.EPSS: "exploit prediction scores (EPSS)", FeedKind.KEV: "known exploited vulnerabilities (KEV)"}
_NUMBERS = {FeedKind.EPSS: "epss_max", FeedKind.KEV: "known_exploited"}
"""Measurements that rest on a list."""


@dataclass(frozen=True)
class Judged:
    """A vulnerability, the waiver that covers it, whether that holds, and what is known of its use by attackers."""

    vulnerability: Vulnerability
    waiver: Waiver | None
    holds: bool
    exploited: Exploited


@dataclass(frozen=True)
class Answer:
    """Everything that the check found out at `moment`."""

    judged: Sequence[Judged]
    lookup: Lookup
    lacking: Sequence[str]
    """Ecosystems that the policy wants advisories of, and there are none."""
    source: AdvisorySource
    exploitation: Exploitation
    waivers: Sequence[Waiver]
    moment: datetime
    max_age: timedelta
    fail_at: Severity

    @property
    def counted(self) -> list[Judged]:
        """Those that no waiver holds for."""
        return [one for one in self.judged if not one.holds]

    @property
    def undecided(self) -> int:
        """How many advisories could not be evaluated."""
        return sum(one.vulnerability.decision is Decision.UNDECIDED for one in self.counted)

    @property
    def counts(self) -> Counter[Severity]:
        """How many there are of each severity."""
        affected = (one.vulnerability for one in self.counted if one.vulnerability.decision is Decision.AFFECTED)
        return Counter(vulnerability.severity for vulnerability in affected)

    @property
    def nameless(self) -> int:
        """Records that may concern any package."""
        return sum(snapshot.nameless for snapshot in self.source.snapshots)

    def fresh(self, feed: Feed) -> bool:
        """Whether the list is new enough for what is *not* on it to mean something."""
        return abs((self.moment.date() - feed.day).days) <= self.max_age.days


# --- findings --------------------------------------------------------------------------------------------------------


def findings_of(answer: Answer) -> list[Finding]:
    """All of them, in no order."""
    found = [_finding(one, answer.fail_at, answer.moment.date()) for one in answer.judged]
    found += [_lacking(answer.lacking)] if answer.lacking else []
    found += [_not_covered(ecosystem, count) for ecosystem, count in sorted(answer.lookup.uncovered.items())]
    found += [_of_every_release(name, count) for name, count in sorted(answer.lookup.of_every_release.items())]
    found += _not_answered(answer.lookup)
    found += _unreadable_records(answer.source)
    found += _unused(answer.waivers, answer.judged, answer.moment)
    return found + [_old_list(feed) for feed in answer.exploitation.feeds if not answer.fresh(feed)]


def bounded(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The gravest 200; where there are more, one says so."""
    order = {Level.ERROR: 0, Level.WARNING: 1, Level.NOTE: 2}
    ranked = sorted(findings, key=lambda f: order[f.level])
    if len(ranked) <= _MAX_SHOWN:
        return tuple(ranked)
    message = f"{len(ranked) - _MAX_SHOWN} more findings are in vulnerabilities.json"
    return (*ranked[:_MAX_SHOWN], Finding(rule_id=f"{CHECK}/more", level=Level.NOTE, message=message))


def _finding(one: Judged, fail_at: Severity, today: date) -> Finding:
    vulnerability, waiver = one.vulnerability, one.waiver
    component = vulnerability.component
    rule, level = _rule(vulnerability, fail_at)
    names = f"{vulnerability.id} ({', '.join(vulnerability.aliases)})" if vulnerability.aliases else vulnerability.id
    version = component.version or "of unknown version"
    message = f"{component.name} {version}: {names}, severity {vulnerability.severity.value}"
    if vulnerability.decision is Decision.UNDECIDED:
        message = f"{component.name} {version} may be affected by {names}: the advisory cannot be evaluated for it"
    message += _in_use(one.exploited)
    if vulnerability.summary:
        message += f". {vulnerability.summary}"
    if waiver is not None and one.holds:
        rule, level = "waived", Level.NOTE
        source = "" if waiver.origin == POLICY else f" on the word of {waiver.origin}"
        message += f" [waived by {waiver.by}{source} until {waiver.until}: {waiver.reason}]"
    elif waiver is not None:
        message += f" [{_idle(waiver, today)} and counts for nothing]"
    return Finding(
        rule_id=f"{CHECK}/{rule}",
        level=level,
        message=message,
        where=component.purl or component.path,
        fix=_fix(vulnerability),
        risks=RISKS,
    )


def _idle(waiver: Waiver, today: date) -> str:
    """Why a waiver that covers it does not hold."""
    if waiver.until < today:
        return f"the waiver by {waiver.by} expired on {waiver.until}"
    if waiver.since > today:
        return f"{waiver.origin} clears it from {waiver.since} on, which has not come"
    return f"the waiver by {waiver.by} accepts {waiver.id}, not each of these CVEs,"


def _in_use(exploited: Exploited) -> str:
    known = f", known to be exploited since {exploited.kev} (CISA KEV)" if exploited.kev else ""
    rated = f", {exploited.epss:.1%} likely to be exploited within 30 days (EPSS)" if exploited.epss is not None else ""
    return known + rated


def _rule(vulnerability: Vulnerability, fail_at: Severity) -> tuple[str, Level]:
    if vulnerability.decision is Decision.UNDECIDED:
        return "undecided", Level.WARNING
    if vulnerability.malicious:
        return "malicious-package", Level.ERROR
    severity = vulnerability.severity
    if at_least(severity, fail_at):
        return severity.value, Level.ERROR
    return severity.value, _LEVELS.get(severity, Level.WARNING)


def _fix(vulnerability: Vulnerability) -> str:
    name = vulnerability.component.name
    if vulnerability.decision is Decision.UNDECIDED:
        return "Read the advisory; where it does not concern this version, the node may waive it with a reason."
    if vulnerability.malicious:
        return f"Remove {name}: the package itself is malicious."
    if vulnerability.fixed:
        return f"Install {name} {vulnerability.fixed} or later and build the image again."
    return f"No fixed version is named: replace {name}, or ask the node for a waiver with a reason."


def _lacking(ecosystems: Sequence[str]) -> Finding:
    return Finding(
        rule_id=f"{CHECK}/could-not-decide",
        level=Level.WARNING,
        message=f"there is no advisory snapshot for {', '.join(ecosystems)}",
        fix=IMPORT,
        risks=RISKS,
    )


def _not_covered(ecosystem: str, count: int) -> Finding:
    return Finding(
        rule_id=f"{CHECK}/not-covered",
        level=Level.WARNING,
        message=f"{count} components of {ecosystem} were not looked up: no advisories speak of it, or of that release",
        fix=IMPORT,
        risks=RISKS,
    )


def _of_every_release(distribution: str, count: int) -> Finding:
    """Derivatives such as Kali and Raspbian number their own releases, testing has none."""
    return Finding(
        rule_id=f"{CHECK}/every-release",
        level=Level.NOTE,
        message=f"{count} packages name no release of {distribution}, as those of its derivatives and of its testing "
        "do: they were held against the advisories of every release, so that some of what is told may be mended there",
        fix=f"Build on a release of {distribution} itself where the answer must be exact.",
        risks=RISKS,
    )


def _not_answered(lookup: Lookup) -> list[Finding]:
    shown = [
        Finding(
            rule_id=f"{CHECK}/not-looked-up",
            level=Level.WARNING,
            message=f"{one.component.name[:80]!r} {one.component.version[:80]} could not be looked up: {one.why}",
            where=one.component.purl or one.component.path,
            fix=one.fix,
            risks=RISKS,
        )
        for one in lookup.unanswered[:_MAX_NAMED]
    ]
    more = len(lookup.unanswered) - len(shown)
    if more:
        message = f"{more} more components could not be looked up"
        shown.append(Finding(rule_id=f"{CHECK}/not-looked-up", level=Level.WARNING, message=message, risks=RISKS))
    return shown


def _unused(waivers: Sequence[Waiver], judged: Sequence[Judged], moment: datetime) -> list[Finding]:
    """How many waivers of each source waive nothing here, and how many of those have expired."""
    used = {one.waiver.statement for one in judged if one.waiver is not None}
    idle = list({waiver.statement: waiver for waiver in waivers if waiver.statement not in used}.values())
    findings: list[Finding] = []
    for origin in dict.fromkeys(waiver.origin for waiver in idle):
        there = [waiver for waiver in idle if waiver.origin == origin]
        expired = sum(waiver.until < moment.date() for waiver in there)
        message = f"{len(there)} waivers of the {origin} concern nothing found here"
        message += f"; {expired} of them have expired" if expired else ""
        findings.append(Finding(rule_id=f"{CHECK}/waivers-unused", level=Level.NOTE, message=message))
    return findings


def _unreadable_records(source: AdvisorySource) -> list[Finding]:
    return [
        Finding(
            rule_id=f"{CHECK}/unreadable-records",
            level=Level.WARNING,
            message=f"{s.broken} records of the {s.ecosystems[0]} snapshot could not be read: "
            + "; ".join(s.unreadable[:3]),
            fix="Take the snapshot again from its source.",
            risks=RISKS,
        )
        for s in source.snapshots
        if s.broken
    ]


def _old_list(feed: Feed) -> Finding:
    return Finding(
        rule_id=f"{CHECK}/old-list",
        level=Level.WARNING,
        message=f"the list of {_FEED_NAMES[feed.kind]} is of {feed.day}: nothing is concluded from what is not on it, "
        f"and a rule that rests on {_NUMBERS[feed.kind]} cannot be decided",
        fix="Import the list of today: pratique advisories import FILE --date YYYY-MM-DD.",
    )


# --- measurements and document ---------------------------------------------------------------------------------------


def measurements_of(answer: Answer) -> tuple[Measurement, ...]:
    """The numbers that rules may rest on; of a list that is absent or old, none."""
    source, counts = answer.source, answer.counts
    unchecked = sum(answer.lookup.uncovered.values()) + len(answer.lookup.unanswered)
    unreadable = sum(snapshot.broken for snapshot in source.snapshots)
    unit = "vulnerabilities"
    return (
        *(Measurement(name=s.value, value=counts[s], unit=unit, method="OSV, CVSS") for s in Severity),
        Measurement(name="undecided", value=answer.undecided, unit=unit, method="OSV"),
        Measurement(name="malicious", value=_malicious(answer.counted), unit=unit, method="OSV, MAL-"),
        Measurement(name="waived", value=len(answer.judged) - len(answer.counted), unit=unit, method="policy"),
        Measurement(name="unchecked", value=unchecked, unit="components", method="no advisories to ask"),
        Measurement(name="unreadable_records", value=unreadable, unit="records", method="OSV"),
        Measurement(name="snapshot_date", value=source.taken.isoformat(), unit="date", method="oldest used"),
        Measurement(name="snapshot_digest", value=source.digest, unit="sha256", method="source bytes"),
        *(number for feed in answer.exploitation.feeds if answer.fresh(feed) for number in _of_list(feed, answer)),
    )


def _malicious(judged: Iterable[Judged]) -> int:
    return sum(one.vulnerability.malicious for one in judged)


def _of_list(feed: Feed, answer: Answer) -> tuple[Measurement, ...]:
    if feed.kind is FeedKind.KEV:
        known = sum(bool(one.exploited.kev) for one in answer.counted)
        number = Measurement(name=_NUMBERS[feed.kind], value=known, unit="vulnerabilities", method="CISA KEV")
    else:
        worst = max((one.exploited.epss or 0.0 for one in answer.counted), default=0.0)
        number = Measurement(name=_NUMBERS[feed.kind], value=worst, unit="probability in 30 days", method="FIRST EPSS")
    prefix, digest = feed.kind.value, feed.digest
    return (
        number,
        Measurement(name=f"{prefix}_date", value=feed.day.isoformat(), unit="date", method="taken, or as it states"),
        Measurement(name=f"{prefix}_digest", value=digest, unit="sha256", method="source bytes"),
    )


def document_of(answer: Answer) -> dict[str, object]:
    """All of it, for the report and for replay."""
    return {
        "asked": rfc3339(answer.moment),
        "snapshots": [
            {
                "ecosystem": s.ecosystems[0],
                "taken": s.taken.isoformat(),
                "digest": s.digest,
                "records": s.records,
                "withdrawn": s.withdrawn,
                "label": s.label,
            }
            for s in answer.source.snapshots
        ],
        "lists": [
            {"kind": f.kind.value, "taken": f.taken.isoformat(), "stated": f.stated, "digest": f.digest}
            for f in answer.exploitation.feeds
        ],
        "unanswered": [
            {"component": one.component.name[:400], "version": one.component.version[:400], "why": one.why}
            for one in answer.lookup.unanswered
        ],
        "vulnerabilities": [_vulnerability(one) for one in answer.judged],
    }


def document_bytes(document: Mapping[str, object]) -> bytes:
    """The document as it is stored: the same for the same facts. (RFC 8785 would cost more than the lookup itself.)"""
    text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "replace")


def _vulnerability(one: Judged) -> dict[str, object]:
    v = one.vulnerability
    return {
        "id": v.id,
        "aliases": list(v.aliases),
        "upstream": list(v.upstream),
        "component": v.component.name,
        "version": v.component.version,
        "purl": v.component.purl,
        "severity": v.severity.value,
        "vector": v.vector,
        "decision": v.decision.value,
        "fixed": v.fixed,
        "summary": v.summary,
        "known_exploited_since": one.exploited.kev,
        "epss": one.exploited.epss,
        "waived": _waived(one.waiver) if one.waiver is not None and one.holds else None,
    }


def _waived(waiver: Waiver) -> dict[str, str]:
    return {
        "by": waiver.by,
        "until": waiver.until.isoformat(),
        "reason": waiver.reason,
        "origin": waiver.origin,
    }


def summary_of(answer: Answer) -> str:
    """One line."""
    counts, waived = answer.counts, len(answer.judged) - len(answer.counted)
    exploited = sum(bool(one.exploited.kev) for one in answer.counted)
    parts = [f"{counts[severity]} {severity.value}" for severity in Severity if counts[severity]]
    parts += [f"{answer.undecided} undecided"] if answer.undecided else []
    parts += [f"{exploited} known to be exploited"] if exploited else []
    parts += [f"{waived} waived"] if waived else []
    what = ", ".join(parts) if parts else "none"
    unanswered = len(answer.lookup.unanswered)
    what += f"; {unanswered} components were not looked up" if unanswered else ""
    lacking = f"there is no advisory snapshot for {', '.join(answer.lacking)}; " if answer.lacking else ""
    return f"{lacking}known vulnerabilities: {what} (advisories of {answer.source.taken})"
