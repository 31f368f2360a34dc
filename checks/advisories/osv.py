"""One OSV record (https://ossf.github.io/osv-schema/) read with bounds.

A record that is not OSV raises; a record that is OSV but cannot be evaluated for a package keeps its place and is
marked so, because the one record that is skipped may be the one that matters.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from checks.advisories.ecosystems import base_ecosystem, package_name
from checks.advisories.orders import MAX_VERSION
from checks.advisories.severity import Severity, base_score, from_score, from_word, worst
from checks.advisories.versions import Event, version_text
from pratique.bounds import strict_json
from pratique.clock import system_clock
from pratique.errors import InvalidInput

MAX_RECORD = 8 * 1024 * 1024
_MAX_AFFECTED = 20_000
_MAX_VERSIONS = 200_000
_MAX_EVENTS = 20_000
_MAX_ALIASES = 1_000
_MAX_SUMMARY = 300
_ID = re.compile(r"[A-Za-z][A-Za-z0-9]*-[\w.:+~-]{1,120}", re.ASCII)
_KINDS = ("introduced", "fixed", "last_affected", "limit")
_CVE = re.compile(r"CVE-[0-9]{4}-[0-9]{4,}", re.ASCII)
_OWN_CVE = re.compile(r"(?:DEBIAN|UBUNTU|ALPINE|ECHO|MINI)-(CVE-[0-9]{4}-[0-9]{4,})", re.ASCII)


@dataclass(frozen=True)
class Affected:
    """What a record says of one package: ranges of versions, and versions by name."""

    ecosystem: str
    name: str
    ranges: tuple[tuple[Event, ...], ...]
    versions: tuple[str, ...]
    decidable: bool
    severity: Severity


@dataclass(frozen=True)
class Advisory:
    """The facts of one OSV record that a verdict needs."""

    id: str
    aliases: tuple[str, ...]
    upstream: tuple[str, ...]
    """CVEs that it is about without being one of them under another name: an erratum mends several."""
    summary: str
    published: str
    withdrawn: bool
    severity: Severity
    vector: str
    affected: tuple[Affected, ...]
    modified: datetime | None = None

    @property
    def malicious(self) -> bool:
        """Whether it reports a malicious package (OpenSSF malicious-packages) and not a flaw."""
        return self.id.startswith("MAL-")


def parse_record(data: bytes, *, where: str) -> Advisory:
    """The advisory in `data`; raises `InvalidInput` (`advisories/…`, `json/…`) where it is not an OSV record."""
    record = strict_json(data, where=where, max_bytes=MAX_RECORD)
    if not isinstance(record, dict):
        raise _refuse("record", where, "not a JSON object")
    schema = record.get("schema_version", "1.0.0")
    if not isinstance(schema, str) or not schema.startswith("1."):
        raise _refuse("schema-version", where, f"OSV schema version {schema!r} is not known")
    identifier = _identifier(record.get("id"), where)
    malicious = identifier.startswith("MAL-")
    severity, vector = (Severity.CRITICAL, "") if malicious else _severity(record)
    packages = _list(record, "affected", where, _MAX_AFFECTED)
    aliases = _aliases(record, identifier, where)
    return Advisory(
        id=identifier,
        aliases=aliases,
        upstream=_upstream(record, {identifier, *aliases}),
        summary=_one_line(record.get("summary") or record.get("details")),
        published=_one_line(record.get("published"))[:40],
        withdrawn=_is_past(record.get("withdrawn")),
        severity=severity,
        vector=vector,
        affected=tuple(_affected(entry, where) for entry in packages),
        modified=_moment(record.get("modified")),
    )


def salvage_record(data: bytes) -> Advisory | None:
    """What can still be told of a record that `parse_record` refuses: which packages it names, undecidable for all.

    None where not even that can be told.
    """
    try:
        record = json.loads(data[:MAX_RECORD])
    except (ValueError, RecursionError):
        return None
    listed = record.get("affected") if isinstance(record, dict) else None
    named: dict[tuple[str, str], Affected] = {}
    for entry in listed[:_MAX_AFFECTED] if isinstance(listed, list) else ():
        package = entry.get("package") if isinstance(entry, dict) else None
        ecosystem, name = (package.get("ecosystem"), package.get("name")) if isinstance(package, dict) else (None, None)
        if not isinstance(ecosystem, str) or not isinstance(name, str) or not ecosystem or not 0 < len(name) <= 400:
            return None
        if not (ecosystem + name).isprintable():  # half of a character, which cannot be stored
            return None
        named[ecosystem, name] = Affected(ecosystem, package_name(ecosystem, name), (), (), False, Severity.UNKNOWN)
    identifier = record.get("id") if isinstance(record, dict) else None
    if not named or not isinstance(identifier, str) or not _ID.fullmatch(identifier):
        return None
    summary = "the record cannot be read"
    return Advisory(identifier, (), (), summary, "", False, Severity.UNKNOWN, "", tuple(named.values()))


def _affected(entry: Any, where: str) -> Affected:
    package = entry.get("package") if isinstance(entry, dict) else None
    if not isinstance(package, dict):
        raise _refuse("package", where, "an affected entry names no package")
    ecosystem, name = package.get("ecosystem"), package.get("name")
    if not isinstance(ecosystem, str) or not isinstance(name, str) or not 0 < len(name) <= 400 or not ecosystem:
        raise _refuse("package", where, "an affected entry names no package")
    versions, versions_fine = _versions(entry.get("versions"), ecosystem)
    ranges, ranges_fine = _ranges(entry.get("ranges"))
    return Affected(
        ecosystem=ecosystem,
        name=package_name(ecosystem, name),
        ranges=ranges,
        versions=versions,
        decidable=versions_fine and ranges_fine and bool(ranges or versions),
        severity=_severity(entry)[0],
    )


def _versions(value: Any, ecosystem: str) -> tuple[tuple[str, ...], bool]:
    if value is None:
        return (), True
    if not isinstance(value, list) or len(value) > _MAX_VERSIONS:
        return (), False
    kept = [v for v in value if isinstance(v, str) and 0 < len(v) <= MAX_VERSION and v.isprintable()]
    return tuple(dict.fromkeys(version_text(ecosystem, v) for v in kept)), len(kept) == len(value)


def _ranges(value: Any) -> tuple[tuple[tuple[Event, ...], ...], bool]:
    """Ranges in version numbers, and whether all of them could be read; commit ranges say nothing of a release."""
    if value is None:
        return (), True
    if not isinstance(value, list):
        return (), False
    result: list[tuple[Event, ...]] = []
    for item in value:
        if not isinstance(item, dict) or item.get("type") not in ("ECOSYSTEM", "SEMVER", "GIT"):
            return tuple(result), False
        if item["type"] == "GIT":
            continue
        events = _events(item.get("events"))
        if not events:
            return tuple(result), False
        result.append(events)
    return tuple(result), True


def _events(value: Any) -> tuple[Event, ...]:
    if not isinstance(value, list) or len(value) > _MAX_EVENTS:
        return ()
    events: list[Event] = []
    for item in value:
        if not isinstance(item, dict) or not item:
            return ()
        for kind, version in item.items():
            if kind not in _KINDS or not isinstance(version, str) or not 0 < len(version) <= MAX_VERSION:
                return ()
            events.append((kind, version))
    unlimited = ("limit", "*") in events  # it is as if there were no limit at all, whatever others there are
    return tuple(event for event in events if not (unlimited and event[0] == "limit"))


def _severity(record: dict[str, Any]) -> tuple[Severity, str]:
    """The gravest rating that a record (or an affected entry) carries, and its CVSS vector."""
    rated: list[tuple[float, str]] = []
    scores = record.get("severity")
    words = [_get(record, place, "severity") for place in ("database_specific", "ecosystem_specific")]
    for entry in scores[:32] if isinstance(scores, list) else ():
        vector = entry.get("score") if isinstance(entry, dict) else None
        score = base_score(vector) if isinstance(vector, str) else None
        if score is not None and isinstance(vector, str):
            rated.append((score, vector))
        words.append(vector)  # Ubuntu writes its word where others write a vector
    words.append(_get(record, "ecosystem_specific", "urgency"))
    stated = worst(from_word(word) for word in words)
    if not rated:
        return stated, ""
    score, vector = max(rated)
    return worst((from_score(score), stated)), vector


def _get(record: dict[str, Any], place: str, key: str) -> Any:
    inner = record.get(place)
    return inner.get(key) if isinstance(inner, dict) else None


def _aliases(record: dict[str, Any], identifier: str, where: str) -> tuple[str, ...]:
    names = [name for name in _list(record, "aliases", where, _MAX_ALIASES) if isinstance(name, str)]
    own = _OWN_CVE.fullmatch(identifier)  # a distribution's record of one CVE is that CVE
    names += [own[1]] if own else []
    return tuple(sorted({name for name in names if _ID.fullmatch(name) and name != identifier}))


def _upstream(record: dict[str, Any], own: set[str]) -> tuple[str, ...]:
    """CVEs under `upstream`, or under `related` in a record that names none otherwise."""
    for key in ("upstream", "related"):
        listed = record.get(key)
        names = listed[:_MAX_ALIASES] if isinstance(listed, list) else []
        found = {name for name in names if isinstance(name, str) and _CVE.fullmatch(name)} - own
        if found or any(_CVE.fullmatch(name) for name in own):
            return tuple(sorted(found))
    return ()


def _is_past(value: Any) -> bool:
    """Whether it is a time that has come, the form in which a record was withdrawn; anything else withdraws nothing."""
    moment = _moment(value)
    return moment is not None and moment <= system_clock()


def _moment(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _identifier(value: Any, where: str) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise _refuse("id", where, "no usable id")
    return value


def _list(record: dict[str, Any], key: str, where: str, limit: int) -> list[Any]:
    value = record.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > limit:
        raise _refuse("record", where, f"{key} is not a list of at most {limit:,} entries")
    return value


def _one_line(value: Any) -> str:
    text = " ".join(value[: 4 * _MAX_SUMMARY].split()) if isinstance(value, str) else ""
    return text if len(text) <= _MAX_SUMMARY else text[: _MAX_SUMMARY - 1] + "…"


def ecosystems_of(advisory: Advisory) -> set[str]:
    """Ecosystems (without release) that the advisory speaks of."""
    return {base_ecosystem(affected.ecosystem) for affected in advisory.affected}


def _refuse(rule: str, where: str, message: str) -> InvalidInput:
    return InvalidInput(
        message,
        rule=f"advisories/{rule}",
        where=where,
        next_step="Take the snapshot again from its source; report the record to the database if it stays so.",
    )
