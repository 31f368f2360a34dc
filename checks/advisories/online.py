"""Advisories asked of a service on the network: OSV's API, or PyPI's, through pip-audit's clients.

pip-audit's clients take much for an answer: one that is cut into pages, or a record of another schema, is passed over
in silence, and severities and ranges are not kept. So each answer is read here once more, whole and strictly; what
cannot be read decides nothing. A service counts only where it knows what everybody knows (`_KNOWN`): one that has
nothing to say about anything is broken, or asked about a release that it never heard of.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

from packaging.version import InvalidVersion, Version
from pip_audit._service.interface import (  # type: ignore[import-untyped]
    ResolvedDependency,
    ServiceError,
    SkippedDependency,
    VulnerabilityService,
)
from pip_audit._service.osv import OsvService  # type: ignore[import-untyped]
from pip_audit._service.pypi import PyPIService  # type: ignore[import-untyped]

from checks.advisories.ecosystems import base_ecosystem, package_name, same_release
from checks.advisories.orders import known_ecosystem, place
from checks.advisories.osv import Advisory, parse_record
from checks.advisories.severity import Severity, worst
from checks.advisories.source import AdvisorySource, Match, NotKnown, Snapshot, shown_url
from checks.advisories.versions import Decision, judge, version_text
from checks.advisories.wire import FAILURES, Asking, Wire, unreachable
from pratique.bounds import strict_json
from pratique.digests import Digest, sha256_json
from pratique.errors import InvalidInput

OSV = OsvService.DEFAULT_OSV_URL
PYPI = "https://pypi.org"
_NO_CACHE = Path(os.devnull)
"""Without one pip-audit looks for pip's, by running pip; its session is replaced before anything is asked."""
_MAX_PAGES = 20
_MAX_RECORDS = 20_000
_KNOWN = {"PyPI": ("pyyaml", "5.3"), "npm": ("lodash", "1.0.0")}
_KNOWN_IN_DISTRIBUTIONS = ("openssl", "0")
_ODD = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What pip-audit's clients raise over an answer that is not what they expect."""

_HOW = Asking()


@dataclass(frozen=True)
class Service:
    """Which service is asked, where (empty: its own address), and how."""

    name: Literal["osv", "pypi"]
    url: str = ""
    how: Asking = _HOW


class OnlineAdvisories(ABC):
    """A service as an `AdvisorySource`: what it is asked once is remembered, so that its answers agree."""

    def __init__(self, service: VulnerabilityService, wire: Wire, name: str, today: date) -> None:
        self._client = service
        self._client.session = wire.session()
        self._wire = wire
        self._name = name
        self._today = today
        self._covered: dict[str, bool] = {}
        self._remembered: dict[tuple[str, str, str], list[Match]] = {}

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """One an ecosystem that was asked about: as fresh as today, as large as the number of answers."""
        return tuple(self._snapshot(ecosystem) for ecosystem, there in sorted(self._covered.items()) if there)

    @property
    def digest(self) -> Digest:
        """Of every question and answer so far."""
        return Digest(f"sha256:{self._wire.digest}")

    @property
    def taken(self) -> date:
        """Today."""
        return self._today

    def covering(self, ecosystem: str) -> Snapshot | None:
        """Whether the service speaks of it; raises `CouldNotDecide` where it does not answer."""
        if not self._speaks_of(ecosystem):
            return None
        if ecosystem not in self._covered:
            name, version = _KNOWN.get(base_ecosystem(ecosystem), _KNOWN_IN_DISTRIBUTIONS)
            self._covered[ecosystem] = bool(self.matches(ecosystem, name, version))
        return self._snapshot(ecosystem) if self._covered[ecosystem] else None

    def matches(self, ecosystem: str, name: str, version: str) -> list[Match]:
        """What the service says; raises `CouldNotDecide`, and `NotKnown` where it does not know the package."""
        spelt = package_name(ecosystem, name) if ecosystem == "PyPI" else name  # elsewhere services know case
        asked = ecosystem, spelt, version_text(ecosystem, version)
        if asked not in self._remembered:
            self._remembered[asked] = self._ask(*asked)
        return self._remembered[asked]

    @abstractmethod
    def _speaks_of(self, ecosystem: str) -> bool:
        """Whether the service has anything on the ecosystem."""

    @abstractmethod
    def _ask(self, ecosystem: str, name: str, version: str) -> list[Match]:
        """The service's answer on one package; raises as `matches`."""

    def _snapshot(self, ecosystem: str) -> Snapshot:
        label = f"asked {shown_url(self._name)}"
        return Snapshot(self.digest, self._today, (ecosystem,), max(1, self._wire.answers), label)

    def _query(self, name: str, version: Version) -> Any:
        """pip-audit's answer, None where it makes nothing of what came; raises `CouldNotDecide`."""
        try:
            with suppress(*_ODD):  # whether it is an answer is seen when it is read here
                return self._client.query(ResolvedDependency(name, version))
        except (ServiceError, *FAILURES) as error:
            raise unreachable(self._name, error.__cause__ or error) from error
        return None

    def _answer(self) -> dict[str, Any]:
        """The last answer as an object; raises `CouldNotDecide`."""
        try:
            answer = strict_json(self._wire.body, where=self._name, max_bytes=len(self._wire.body), max_depth=128)
        except InvalidInput as error:
            raise unreachable(self._name, error) from error
        if not isinstance(answer, dict):
            raise unreachable(self._name, "the answer is no object")
        return answer


class OsvAdvisories(OnlineAdvisories):
    """osv.dev's API, or one like it: `POST /v1/query`."""

    def __init__(self, service: Service, today: date) -> None:
        self._url = service.url or OSV
        wire = Wire(service.how)
        super().__init__(OsvService(cache_dir=_NO_CACHE, osv_url=self._url), wire, self._url, today)

    def _speaks_of(self, ecosystem: str) -> bool:
        return known_ecosystem(ecosystem)

    def _ask(self, ecosystem: str, name: str, version: str) -> list[Match]:
        question: dict[str, Any] = {"package": {"name": name, "ecosystem": ecosystem}}
        point = place(ecosystem, version)
        exact = point is not None and point.exact
        if exact:  # about a version that has no place in the order, everything is asked and nothing decided
            question["version"] = version
        if exact and ecosystem == "PyPI":
            self._query(name, Version(version))
            answer = self._answer()
        else:
            answer = self._post(question)
        listed = _listed(answer, self._name)
        for _ in range(_MAX_PAGES):
            token = answer.get("next_page_token")
            if not token:
                break
            answer = self._post(question | {"page_token": str(token)[:4096]})
            listed += _listed(answer, self._name)
        if answer.get("next_page_token") or len(listed) > _MAX_RECORDS:
            raise unreachable(self._name, f"the answer about {name} does not end")
        return [match for entry in listed if (match := self._match(entry, ecosystem, name, version, exact))]

    def _post(self, question: dict[str, Any]) -> dict[str, Any]:
        try:
            response = self._client.session.post(self._url, data=json.dumps(question))
            response.raise_for_status()
        except FAILURES as error:
            raise unreachable(self._name, error) from error
        return self._answer()

    def _match(self, entry: Any, ecosystem: str, name: str, version: str, exact: bool) -> Match | None:
        try:
            advisory = parse_record(json.dumps(entry).encode(), where=self._name)
        except InvalidInput as error:
            raise unreachable(self._name, error) from error
        return None if advisory.withdrawn else _as_match(advisory, ecosystem, name, version, exact)


class PypiAdvisories(OnlineAdvisories):
    """PyPI's JSON API, which tells of each release which vulnerabilities it has, but not how grave they are."""

    def __init__(self, service: Service, today: date, rest: AdvisorySource | None) -> None:
        address = (service.url or PYPI).rstrip("/")
        wire = Wire(service.how, instead_of=PYPI, address=address)
        super().__init__(PyPIService(cache_dir=_NO_CACHE), wire, address, today)
        self._rest = rest

    def _speaks_of(self, ecosystem: str) -> bool:
        return ecosystem == "PyPI"

    def _ask(self, ecosystem: str, name: str, version: str) -> list[Match]:
        try:
            asked = Version(version)
        except InvalidVersion as error:
            raise NotKnown(f"PyPI has no version {version[:80]!r} of {name}") from error
        answered = self._query(name, asked)
        if answered is not None and isinstance(answered[0], SkippedDependency):
            raise NotKnown(f"PyPI has no {name} {version[:80]}")
        answer = self._answer()
        info, listed = answer.get("info"), answer.get("vulnerabilities")
        if not isinstance(info, dict) or not isinstance(listed, list) or len(listed) > _MAX_RECORDS:
            raise unreachable(self._name, "the answer says nothing of vulnerabilities")
        if (
            package_name("PyPI", str(info.get("name"))) != name
            or version_text("PyPI", str(info.get("version"))) != version
        ):
            raise unreachable(self._name, f"the answer is not about {name} {version}")
        return [match for entry in listed if (match := self._match(entry, version))]

    def _match(self, entry: Any, version: str) -> Match | None:
        events = [("introduced", "0"), *(("fixed", str(fix)[:100]) for fix in _texts(entry, "fixed_in"))]
        record = {
            "id": entry.get("id") if isinstance(entry, dict) else None,
            "aliases": _texts(entry, "aliases"),
            "summary": entry.get("summary") or entry.get("details") if isinstance(entry, dict) else None,
            "withdrawn": entry.get("withdrawn") if isinstance(entry, dict) else None,
        }
        try:
            advisory = parse_record(json.dumps(record).encode(), where=self._name)
        except InvalidInput as error:
            raise unreachable(self._name, error) from error
        if advisory.withdrawn:
            return None
        fixed = judge("PyPI", version, [events], listed=True, decidable=True).fixed
        return Match(
            advisory.id, advisory.aliases, advisory.summary, "", Severity.UNKNOWN, "", Decision.AFFECTED, fixed
        )

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """PyPI's, and those of the rest."""
        rest = self._rest.snapshots if self._rest is not None else ()
        return (*super().snapshots, *(s for s in rest if s.ecosystems[0] != "PyPI"))

    @property
    def digest(self) -> Digest:
        """Of what PyPI answered, together with the rest."""
        return sha256_json([super().digest, self._rest.digest]) if self._rest is not None else super().digest

    @property
    def taken(self) -> date:
        """Day of the oldest part that may be asked."""
        return min(snapshot.taken for snapshot in self.snapshots) if self.snapshots else self._today

    def covering(self, ecosystem: str) -> Snapshot | None:
        """PyPI's answers, or what the rest has."""
        if ecosystem != "PyPI" and self._rest is not None:
            return self._rest.covering(ecosystem)
        return super().covering(ecosystem)

    def matches(self, ecosystem: str, name: str, version: str) -> list[Match]:
        """What PyPI says, or the rest."""
        if ecosystem != "PyPI" and self._rest is not None:
            return self._rest.matches(ecosystem, name, version)
        return super().matches(ecosystem, name, version)


def ask_online(service: Service, today: date, rest: AdvisorySource | None) -> OnlineAdvisories:
    """The service as a source; `rest` answers for the ecosystems of which PyPI does not speak."""
    return OsvAdvisories(service, today) if service.name == "osv" else PypiAdvisories(service, today, rest)


def _listed(answer: dict[str, Any], name: str) -> list[Any]:
    """The records of an answer; an empty answer has none."""
    listed = answer.get("vulns", [])
    if not isinstance(listed, list) or not set(answer) <= {"vulns", "next_page_token"}:
        raise unreachable(name, "the answer is no list of advisories")
    return listed


def _texts(entry: Any, key: str) -> list[str]:
    listed = entry.get(key) if isinstance(entry, dict) else None
    return [text for text in listed if isinstance(text, str)] if isinstance(listed, list) else []


def _as_match(advisory: Advisory, ecosystem: str, name: str, version: str, exact: bool) -> Match:
    """The service says that it concerns the version; ranges are read for the version that mends it only."""
    here = [
        affected
        for affected in advisory.affected
        if affected.name == package_name(ecosystem, name)
        and base_ecosystem(affected.ecosystem) == base_ecosystem(ecosystem)
        and same_release(affected.ecosystem, ecosystem)
    ]
    ranges = [events for affected in here for events in affected.ranges]
    return Match(
        id=advisory.id,
        aliases=advisory.aliases,
        summary=advisory.summary,
        published=advisory.published,
        severity=worst((advisory.severity, *(affected.severity for affected in here))),
        vector=advisory.vector,
        decision=Decision.AFFECTED if exact else Decision.UNDECIDED,
        fixed=judge(ecosystem, version, ranges, listed=True, decidable=True).fixed,
        upstream=advisory.upstream,
    )
