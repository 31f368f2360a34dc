"""Vulnerabilities: which known ones do the components have? Answered from advisories in OSV's format, or not at all."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from subprocess import SubprocessError
from typing import TYPE_CHECKING

from checks.advisories import AdvisorySource, Severity, load
from checks.advisories.ecosystems import base_ecosystem
from checks.advisories.exploitation import Exploitation, load_exploitation
from checks.advisories.index import existing_index
from checks.advisories.source import stale
from checks.interface import CheckResult, EvidenceStore, Status, inconclusive, status_of
from checks.sbom.model import Component
from checks.vulnerabilities.groups import Vulnerability
from checks.vulnerabilities.lookup import lacking, look_up
from checks.vulnerabilities.report import (
    CHECK,
    IMPORT,
    RISKS,
    Answer,
    Judged,
    bounded,
    document_bytes,
    document_of,
    findings_of,
    measurements_of,
    summary_of,
)
from checks.vulnerabilities.waivers import Waiver, find_waiver
from pratique.clock import Clock, system_clock
from pratique.digests import Digest
from pratique.errors import CouldNotDecide

if TYPE_CHECKING:
    from checks.advisories.online import Service

__all__ = ["Vulnerability", "Waiver", "check_vulnerabilities", "look_up"]

VERSION = "6"


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
    service: Service | None = None,
) -> CheckResult:
    """Do the components have known vulnerabilities?

    `home` holds the imported snapshots; with a `service` that is asked instead. `ecosystems` are those that must be
    covered (without release, `Debian`); by default all that the components belong to. Errors are vulnerabilities rated
    `fail_at` or worse and malicious packages; a waiver that holds (a VEX statement may be one, for `image` alone) makes
    a note of any.

    Inconclusive: a snapshot that is missing, empty, altered, stale or unreadable, a service that does not answer as it
    should, an ecosystem or a release without advisories, a component that cannot be looked up, an advisory that cannot
    be evaluated, a record that cannot be read, and a vulnerability that nobody rated.
    Measurements: the number of each severity, `undecided`, `malicious`, `waived`, `unchecked`, `unreadable_records`,
    the snapshot's date and digest; where these lists were imported `known_exploited` (KEV) and `epss_max`, with theirs.
    Leaves `vulnerabilities.json` as evidence.
    """
    started = time.monotonic()
    moment = clock()
    try:
        with _opened(home, service, moment) as (source, exploitation):
            problem = _unusable(source, components, ecosystems, moment, max_age)
            if problem:
                return inconclusive(CHECK, VERSION, problem, fix=IMPORT, risks=RISKS)
            lookup = look_up(components, source)
            by_id: dict[str, list[Waiver]] = {}
            for waiver in waivers:
                by_id.setdefault(waiver.id, []).append(waiver)
            judged = [_judge(v, by_id, exploitation, moment, image) for v in lookup.found]
            missing = tuple(lacking(source, components, ecosystems))
            answer = Answer(judged, lookup, missing, source, exploitation, waivers, moment, max_age, fail_at)
            return _result(answer, store, started)
    except CouldNotDecide as error:
        return inconclusive(CHECK, VERSION, str(error), fix=error.next_step or IMPORT, risks=RISKS)
    except (ImportError, SubprocessError) as error:  # a library below pip-audit runs `pip --version` when imported
        why = f"pip-audit cannot be loaded: {error}"
        return inconclusive(CHECK, VERSION, why, fix="Install Pratique's dependencies anew.", risks=RISKS)


@contextmanager
def _opened(home: Path, service: Service | None, moment: datetime) -> Iterator[tuple[AdvisorySource, Exploitation]]:
    """What is asked, and the lists of what attackers use; raises `CouldNotDecide`."""
    with ExitStack() as stack:
        held = existing_index(home)
        exploitation = stack.enter_context(load_exploitation(home) if held.feeds else Exploitation())
        if service is None:
            yield stack.enter_context(load(home)), exploitation
            return
        from checks.advisories.online import ask_online

        rest = stack.enter_context(load(home)) if service.name == "pypi" and held.snapshots else None
        yield ask_online(service, moment.date(), rest), exploitation


def _unusable(
    source: AdvisorySource,
    components: Sequence[Component],
    ecosystems: Sequence[str] | None,
    moment: datetime,
    max_age: timedelta,
) -> str:
    """Why the advisories cannot be believed about these components; empty where they can."""
    wanted = {base_ecosystem(c.ecosystem) for c in components if c.ecosystem}
    wanted |= {base_ecosystem(name) for name in ecosystems or ()}
    used = [s for s in source.snapshots if base_ecosystem(s.ecosystems[0]) in wanted]
    problems = [problem for snapshot in used if (problem := stale(snapshot, moment, max_age))]
    empty = [s.ecosystems[0] for s in used if s.records - s.withdrawn <= 0]
    problems += [f"the {name} snapshot is empty" for name in empty]
    return "; ".join(problems)


def _judge(
    vulnerability: Vulnerability,
    waivers: Mapping[str, Sequence[Waiver]],
    exploitation: Exploitation,
    moment: datetime,
    image: Digest | None,
) -> Judged:
    speaking_of_it = [waiver for name in vulnerability.identifiers for waiver in waivers.get(name, ())]
    waiver, holds = find_waiver(
        speaking_of_it, vulnerability.identifiers, vulnerability.component, moment.date(), image
    )
    exploited = exploitation.about((*vulnerability.identifiers, *vulnerability.upstream))
    return Judged(vulnerability, waiver, holds, exploited)


def _result(answer: Answer, store: EvidenceStore, started: float) -> CheckResult:
    findings = findings_of(answer)
    status = status_of(findings)
    if status is Status.PASSED and _open(answer):
        status = Status.INCONCLUSIVE
    evidence = store.put(
        document_bytes(document_of(answer)), name="vulnerabilities.json", media_type="application/json"
    )
    return CheckResult(
        check=CHECK,
        version=VERSION,
        status=status,
        summary=summary_of(answer),
        findings=bounded(findings),
        measurements=measurements_of(answer),
        evidence=(evidence,),
        inputs={f"advisories.{s.ecosystems[0]}": s.digest for s in answer.source.snapshots}
        | {f"advisories.{f.kind.value}": f.digest for f in answer.exploitation.feeds},
        seconds=time.monotonic() - started,
    )


def _open(answer: Answer) -> bool:
    """Whether something was left undecided; an ecosystem that the policy leaves out is not, a release of one is."""
    spoken_of = {base_ecosystem(snapshot.ecosystems[0]) for snapshot in answer.source.snapshots}
    return bool(
        answer.lacking
        or answer.undecided
        or answer.counts[Severity.UNKNOWN]
        or answer.lookup.unanswered
        or answer.nameless
        or any(base_ecosystem(name) in spoken_of for name in answer.lookup.uncovered)
    )
