"""The same answers as a second, simple implementation of OSV's algorithm, and as pip-audit's client gets from it.

The reference is written from the schema's text alone and shares no code with ours but `packaging`.
"""

from __future__ import annotations

import json
import random
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name, canonicalize_version
from packaging.version import InvalidVersion, Version
from pip_audit._service.interface import ResolvedDependency  # type: ignore[import-untyped]
from pip_audit._service.osv import OsvService  # type: ignore[import-untyped]

from checks.advisories import AdvisoryStore, Decision, Snapshot, load
from tests.unit.checks.advisory_services import Service, serving
from tests.unit.checks.feeds import shared_snapshot

Records = dict[str, list[dict[str, Any]]]


class Unclear(Exception):
    """A record that the reference cannot evaluate: it names a bound that is no version."""


def in_range(version: Version, events: list[dict[str, str]]) -> bool:
    """OSV: sort the events; the last one at or before the version decides."""

    def bound(event: dict[str, str]) -> Version:
        text = next(iter(event.values()))
        try:
            return Version("0.dev0") if text == "0" else Version(text)
        except InvalidVersion as error:
            raise Unclear(text) from error

    vulnerable = False
    for event in sorted(events, key=lambda event: (bound(event), "introduced" in event)):
        kind = next(iter(event))
        if kind == "introduced":
            vulnerable = vulnerable or version >= bound(event)
        elif version > bound(event) or (kind != "last_affected" and version == bound(event)):
            vulnerable = False
    return vulnerable


def concerns(record: dict[str, Any], name: str, version: Version) -> bool:
    """Whether the record says that the package is affected at the version."""
    for affected in record["affected"]:
        if canonicalize_name(affected["package"]["name"]) != name:
            continue
        listed = {canonicalize_version(text) for text in affected.get("versions", [])}
        ranges = [r["events"] for r in affected.get("ranges", []) if r["type"] == "ECOSYSTEM"]
        if canonicalize_version(version) in listed or any(in_range(version, events) for events in ranges):
            return True
    return False


@pytest.fixture(scope="module")
def records() -> Records:
    """All records of the real snapshot that were not withdrawn, by package."""
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    with zipfile.ZipFile(shared_snapshot()) as archive:
        for member in archive.namelist():
            record = json.loads(archive.read(member))
            if "withdrawn" not in record:
                for name in {canonicalize_name(a["package"]["name"]) for a in record["affected"]}:
                    found[name].append(record)
    return dict(found)


@pytest.fixture
def store(real_snapshot: tuple[Path, Snapshot]) -> Iterator[AdvisoryStore]:
    with load(real_snapshot[0]) as opened:
        yield opened


def pairs(records: Records, count: int, seed: int) -> list[tuple[str, str]]:
    """Packages at versions that advisories name, at their bounds, and a little beside them."""
    draw = random.Random(seed)
    found: list[tuple[str, str]] = []
    names = sorted(records)
    while len(found) < count:
        name = draw.choice(names)
        affected = draw.choice(draw.choice(records[name])["affected"])
        bounds = [v for r in affected.get("ranges", []) for e in r["events"] for v in e.values()]
        text = draw.choice([*affected.get("versions", []), *bounds, "1.0"])
        try:
            version = Version(text)
        except InvalidVersion:
            continue
        found.append((name, draw.choice([text, text, f"{version.base_version}.1", f"{version.base_version}rc1"])))
    return found


def test_thousands_of_records_are_judged_as_the_reference_does(records: Records, store: AdvisoryStore) -> None:
    compared = 0
    for name, version in pairs(records, 1500, seed=1):
        ours = {m.id: m.decision for m in store.matches("PyPI", name, version)}
        for record in records[name]:
            try:
                expected = concerns(record, name, Version(version))
            except Unclear:
                continue
            decided = ours.get(record["id"], Decision.NOT_AFFECTED)
            by_commits_alone = decided is Decision.UNDECIDED and not expected
            assert by_commits_alone or (decided is Decision.AFFECTED) == expected, (name, version, record["id"])
            compared += 1
    assert compared > 5000


def test_pip_audit_gets_the_same_set_of_names(records: Records, store: AdvisoryStore) -> None:
    """Through HTTP: pip-audit's client, a service that matches by the reference, and our store."""

    def matches(question: dict[str, Any]) -> list[dict[str, Any]]:
        name, version = question["package"]["name"], Version(question["version"])
        return [record for record in records.get(name, []) if concerns(record, name, version)]

    compared = 0
    with serving(Service(matches)) as service:
        client = OsvService(cache_dir=Path("/dev/null"), timeout=10, osv_url=service.osv)
        for name, version in pairs(records, 200, seed=2):
            try:
                _, results = client.query(ResolvedDependency(name, Version(version)))
            except (InvalidVersion, OSError):
                continue  # a fix that is no version stops pip-audit; a bound that is none stops the reference
            theirs = {frozenset((result.id, *result.aliases)) for result in results}
            found = [m for m in store.matches("PyPI", name, version) if m.decision is Decision.AFFECTED]
            assert theirs == {frozenset((match.id, *match.aliases)) for match in found}, (name, version)
            compared += 1
    assert compared > 120
