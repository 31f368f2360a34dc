"""Vulnerabilities: found, joined, rated, waived; and never a pass where nothing could be known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from checks.advisories import Severity, Snapshot, import_snapshot
from checks.advisories.ecosystems import of_package
from checks.interface import CheckResult, Level, Status
from checks.sbom.model import Component
from checks.vulnerabilities import Waiver, check_vulnerabilities
from pratique.errors import CouldNotDecide
from tests.assets.clocks import fixed_clock
from tests.unit.checks.feeds import LOW, record, write_zip
from tests.unit.checks.stores import MemoryStore

NOW = datetime(2026, 7, 25, 12, tzinfo=UTC)
TODAY = NOW.date()
DEMO = Path(__file__).resolve().parents[4] / "examples" / "advisories"


def component(name: str = "widget", version: str = "1.0", ecosystem: str = "PyPI", **more: Any) -> Component:
    """A component as the SBOM check finds it."""
    return Component(name=name, version=version, purl=f"pkg:x/{name}@{version}", ecosystem=ecosystem, **more)


def home_of(tmp_path: Path, *records: Any, ecosystem: str = "PyPI", taken: date = TODAY) -> Path:
    """A home with a snapshot of these records."""
    home = tmp_path / "home"
    import_snapshot(write_zip(tmp_path / "feed" / ecosystem / "all.zip", records), home, taken=taken)
    return home


def check(home: Path, components: Sequence[Component], **more: Any) -> CheckResult:
    """The check's answer on the day of the tests."""
    settings = {"max_age": timedelta(days=7), "clock": fixed_clock(NOW), "store": MemoryStore(), **more}
    return check_vulnerabilities(components, home, **settings)


def test_a_critical_vulnerability_fails_and_names_the_version_that_mends_it(tmp_path: Path) -> None:
    result = check(home_of(tmp_path, record("GHSA-a", aliases=["CVE-2024-1000"])), [component()])
    assert result.status is Status.FAILED
    assert result.measured("critical") == 1
    (finding,) = result.findings
    assert finding.rule_id == "vulnerabilities/critical"
    assert "CVE-2024-1000" in finding.message and "GHSA-a" in finding.message
    assert "2.0" in finding.fix
    assert result.measured("snapshot_date") == "2026-07-25"


def test_a_version_that_is_not_affected_passes(tmp_path: Path) -> None:
    result = check(home_of(tmp_path, record("GHSA-a")), [component(version="2.0")])
    assert result.status is Status.PASSED
    assert result.findings == ()


def test_aliases_are_one_finding_even_through_a_third_record(tmp_path: Path) -> None:
    records = [
        record("PYSEC-2024-1", aliases=["CVE-2024-1000"], vector=""),
        record("GHSA-b", aliases=["CVE-2024-1000"], events=[{"introduced": "0"}, {"fixed": "2.1"}]),
        record("OSV-2024-7", aliases=["GHSA-b"], vector=LOW),
        record("GHSA-other", vector=LOW),
    ]
    result = check(home_of(tmp_path, *records), [component()])
    assert (result.measured("critical"), result.measured("low"), result.measured("unknown")) == (1, 1, 0)
    critical = next(f for f in result.findings if f.level is Level.ERROR)
    assert critical.message.startswith("widget 1.0: PYSEC-2024-1 (CVE-2024-1000, GHSA-b, OSV-2024-7)")
    assert "2.1" in critical.fix


def test_the_same_package_twice_is_judged_by_its_own_version(tmp_path: Path) -> None:
    result = check(
        home_of(tmp_path, record("GHSA-a")), [component(), component(version="3.0"), component(version="1.5")]
    )
    assert sorted(f.message.split(":")[0] for f in result.findings) == ["widget 1.0", "widget 1.5"]


def test_an_unrated_vulnerability_is_not_a_pass(tmp_path: Path) -> None:
    result = check(home_of(tmp_path, record("GHSA-a", vector="")), [component()])
    assert result.status is Status.INCONCLUSIVE
    assert result.measured("unknown") == 1


@pytest.mark.parametrize("version", ["weird", ""])
def test_a_version_that_cannot_be_judged_is_not_a_pass(version: str, tmp_path: Path) -> None:
    result = check(home_of(tmp_path, record("GHSA-a")), [component(version=version)])
    assert result.status is Status.INCONCLUSIVE
    assert result.measured("undecided") == 1
    assert check(home_of(tmp_path, record("GHSA-a")), [component("other", version)]).status is Status.PASSED


def test_a_malicious_package_fails(tmp_path: Path) -> None:
    result = check(home_of(tmp_path, record("MAL-2024-1", events=[{"introduced": "0"}], vector="")), [component()])
    assert result.findings[0].rule_id == "vulnerabilities/malicious-package"
    assert result.findings[0].fix.startswith("Remove")


def test_the_threshold_can_be_set(tmp_path: Path) -> None:
    home = home_of(tmp_path, record("GHSA-a", vector=LOW))
    assert check(home, [component()]).status is Status.PASSED
    assert check(home, [component()], fail_at=Severity.LOW).status is Status.FAILED


# --- waivers ---------------------------------------------------------------------------------------------------------


def waiver(identifier: str, until: date = date(2026, 12, 31), package: str = "") -> Waiver:
    """A waiver by somebody, for a reason."""
    return Waiver(id=identifier, until=until, by="A. Person", reason="not reachable here", package=package)


@pytest.mark.parametrize("name", ["GHSA-a", "CVE-2024-1000"])
def test_a_waiver_by_any_name_holds_and_is_shown(name: str, tmp_path: Path) -> None:
    home = home_of(tmp_path, record("GHSA-a", aliases=["CVE-2024-1000"]))
    result = check(home, [component()], waivers=[waiver(name)])
    assert result.status is Status.PASSED
    assert (result.measured("critical"), result.measured("waived")) == (0, 1)
    (finding,) = result.findings
    assert finding.rule_id == "vulnerabilities/waived"
    assert "A. Person" in finding.message and "not reachable here" in finding.message


@pytest.mark.parametrize(
    "given",
    [waiver("GHSA-a", date(2026, 7, 24)), waiver("GHSA-b"), waiver("GHSA-a", package="gadget")],
    ids=["expired", "of another advisory", "for another package"],
)
def test_a_waiver_that_does_not_hold_counts_for_nothing(given: Waiver, tmp_path: Path) -> None:
    result = check(home_of(tmp_path, record("GHSA-a")), [component()], waivers=[given])
    assert result.status is Status.FAILED


def test_an_expired_waiver_is_shown(tmp_path: Path) -> None:
    result = check(home_of(tmp_path, record("GHSA-a")), [component()], waivers=[waiver("GHSA-a", date(2026, 7, 24))])
    assert "expired on 2026-07-24" in result.findings[0].message


def test_a_waiver_holds_through_its_last_day(tmp_path: Path) -> None:
    result = check(home_of(tmp_path, record("GHSA-a")), [component()], waivers=[waiver("GHSA-a", NOW.date())])
    assert result.status is Status.PASSED


@pytest.mark.parametrize("days", [(24, 25), (25, 24)], ids=["the older one first", "the newer one first"])
def test_of_two_waivers_the_one_that_still_holds_counts(days: tuple[int, int], tmp_path: Path) -> None:
    given = [waiver("GHSA-a", date(2026, 7, day)) for day in days]
    assert check(home_of(tmp_path, record("GHSA-a")), [component()], waivers=given).status is Status.PASSED


def test_a_waiver_of_one_cve_accepts_no_other_that_a_third_record_joins_with_it(tmp_path: Path) -> None:
    both = ["CVE-2024-1001", "CVE-2024-1002"]
    one, other = (record(f"GHSA-{name}", aliases=[cve]) for name, cve in zip("ab", both, strict=True))
    home = home_of(tmp_path, one, other, record("PYSEC-2024-1", aliases=both))
    for given in ([both[0]], [both[1]], ["GHSA-a"], ["PYSEC-2024-1"]):
        result = check(home, [component()], waivers=[waiver(name) for name in given])
        assert result.status is Status.FAILED, given
        assert f"accepts {given[0]}, not each of these CVEs" in result.findings[0].message
    assert check(home, [component()], waivers=[waiver(name) for name in both]).status is Status.PASSED
    late = waiver(both[1], date(2026, 7, 24))
    assert check(home, [component()], waivers=[waiver(both[0]), late]).status is Status.FAILED


# --- when nothing can be known ---------------------------------------------------------------------------------------


def test_no_snapshot_is_inconclusive(tmp_path: Path) -> None:
    assert check(tmp_path, [component()]).status is Status.INCONCLUSIVE
    assert check(tmp_path / "nowhere", []).status is Status.INCONCLUSIVE


@pytest.mark.parametrize("taken", [date(2026, 7, 17), date(2026, 9, 1)], ids=["stale", "from the future"])
def test_a_snapshot_of_the_wrong_age_is_inconclusive(taken: date, tmp_path: Path) -> None:
    result = check(home_of(tmp_path, record("GHSA-a"), taken=taken), [component(version="3.0")])
    assert result.status is Status.INCONCLUSIVE
    assert "advisories import" in result.findings[0].fix


def test_a_snapshot_of_the_last_allowed_day_is_used(tmp_path: Path) -> None:
    home = home_of(tmp_path, record("GHSA-a"), taken=date(2026, 7, 18))
    assert check(home, [component(version="3.0")]).status is Status.PASSED


def test_a_release_that_the_snapshot_does_not_know_is_inconclusive(tmp_path: Path) -> None:
    """The policy wants PyPI alone; what is known of Debian 12 says nothing of Debian 13."""
    home = home_of(tmp_path, record("GHSA-a"))
    debian = record("DEBIAN-CVE-2024-1000", "glibc", ecosystem="Debian:12")
    import_snapshot(write_zip(tmp_path / "feed" / "Debian" / "all.zip", [debian]), home, taken=TODAY)
    ours = component(version="3.0")
    known, unknown = (component("zlib1g", "1.3", f"Debian:{release}") for release in (12, 13))
    assert check(home, [ours, known], ecosystems=["PyPI"]).status is Status.PASSED
    assert check(home, [ours, unknown], ecosystems=["PyPI"]).status is Status.INCONCLUSIVE


def test_an_altered_snapshot_is_inconclusive(tmp_path: Path) -> None:
    home = home_of(tmp_path, record("GHSA-a"))
    database = next(home.glob("*.sqlite"))
    database.write_bytes(database.read_bytes()[:-4096])
    assert check(home, [component(version="3.0")]).status is Status.INCONCLUSIVE


def test_an_ecosystem_without_a_snapshot_is_inconclusive_unless_the_policy_leaves_it_out(tmp_path: Path) -> None:
    home = home_of(tmp_path, record("GHSA-a"))
    components = [component(version="3.0"), component("libc6", "2.36-9", "Debian:12")]
    result = check(home, components)
    assert result.status is Status.INCONCLUSIVE
    assert "Debian" in result.summary
    allowed = check(home, components, ecosystems=["PyPI"])
    assert allowed.status is Status.PASSED
    assert allowed.measured("unchecked") == 1
    assert allowed.findings[0].rule_id == "vulnerabilities/not-covered"


def test_a_store_that_breaks_in_the_middle_is_inconclusive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> list[object]:
        raise CouldNotDecide("the disk is gone")

    home = home_of(tmp_path, record("GHSA-a"))
    monkeypatch.setattr("checks.advisories.store.AdvisoryStore.matches", broken)
    assert check(home, [component(version="3.0")]).status is Status.INCONCLUSIVE


def test_an_auditor_that_forgets_packages_is_inconclusive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = home_of(tmp_path, record("GHSA-a"))
    monkeypatch.setattr("pip_audit._audit.Auditor.audit", lambda *_: iter(()))
    assert check(home, [component(version="3.0")]).status is Status.INCONCLUSIVE


def test_unreadable_records_of_the_snapshot_are_shown(tmp_path: Path) -> None:
    result = check(home_of(tmp_path, record("GHSA-a"), b"{"), [component(version="3.0")])
    assert result.findings[0].rule_id == "vulnerabilities/unreadable-records"


def test_debian_by_source_package_and_release(tmp_path: Path) -> None:
    entry = record(
        "DEBIAN-CVE-2024-1000", "glibc", ecosystem="Debian:12", events=[{"introduced": "0"}, {"fixed": "2.36-10"}]
    )
    home = home_of(tmp_path, entry, ecosystem="Debian")
    libc = component("libc6", "2.36-9", "Debian:12", advisory_name="glibc", advisory_version="2.36-9")
    result = check(home, [libc])
    assert result.status is Status.FAILED
    assert "CVE-2024-1000" in result.findings[0].message


def test_a_derivative_is_held_against_every_release_and_that_is_said(tmp_path: Path) -> None:
    old = record("DEBIAN-CVE-1", "widget", ecosystem="Debian:11")
    home = home_of(tmp_path, old, ecosystem="Debian")
    rule = "vulnerabilities/every-release"
    for distro, told in (("kali-2026.1", True), ("raspbian-12", True), ("debian-11", False)):
        found = component(ecosystem=of_package("deb", distro.partition("-")[0], distro))
        result = check(home, [found])
        assert result.measured("critical") == 1
        assert [f.level for f in result.findings if f.rule_id == rule] == [Level.NOTE] * told
    assert of_package("apk", "wolfi", "wolfi-20230201") == "Wolfi", "which has no releases"
    assert rule not in {f.rule_id for f in check(home, [component(ecosystem="Wolfi")]).findings}


def test_the_evidence_holds_all_of_it(tmp_path: Path) -> None:
    store = MemoryStore()
    home = home_of(tmp_path, record("GHSA-a"))
    result = check(home, [component()], store=store)
    document = json.loads(store.get(result.evidence[0].digest))
    assert document["snapshots"][0]["digest"] == result.measured("snapshot_digest")
    assert document["vulnerabilities"][0]["fixed"] == "2.0"
    again = check(home, [component()], store=store)
    assert again.evidence == result.evidence


@pytest.mark.parametrize(
    ("name", "version", "critical"), [("numexpr", "2.8.4", 1), ("PyYAML", "5.3", 2), ("PyYAML", "6.0", 0)]
)
def test_the_feed_of_the_demo(name: str, version: str, critical: int, tmp_path: Path) -> None:
    snapshot = import_snapshot(DEMO, tmp_path, taken=NOW.date(), label="written for the demo")
    assert snapshot.ecosystems == ("PyPI",)
    result = check(tmp_path, [component(name, version)])
    assert result.measured("critical") == critical
    assert result.status is (Status.FAILED if critical else Status.PASSED)


def test_a_thousand_components_against_the_real_snapshot(real_snapshot: tuple[Path, Snapshot]) -> None:
    components = [component(f"package-{n}") for n in range(1000)] + [
        component("Django", "3.0"),
        component("numexpr", "2.8.4"),
    ]
    result = check(real_snapshot[0], components)
    assert result.status is Status.FAILED
    assert result.measured("critical")
