"""A provider who wants a vulnerable package past the advisories: what cannot be looked up must never read as safe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.advisories import Severity, import_snapshot, load
from checks.advisories.exploitation import import_feed
from checks.advisories.index import FeedKind
from checks.interface import CheckResult, Status
from checks.sbom.declared import read_listing
from checks.sbom.model import Component
from checks.vulnerabilities import Waiver, check_vulnerabilities
from checks.vulnerabilities.limits import MAX_VERSIONS, Limited, NotAsked, in_fair_order
from policies.model import Outcome, Policy
from policies.verdict import decide
from tests.assets.clocks import fixed_clock
from tests.unit.checks.feeds import LOW, record, write_zip
from tests.unit.checks.stores import MemoryStore

NOW = datetime(2026, 7, 25, 12, tzinfo=UTC)
TODAY = NOW.date()


def component(name: str, version: str, ecosystem: str = "PyPI", **more: Any) -> Component:
    return Component(name=name, version=version, purl="", ecosystem=ecosystem, path="x", **more)


def home_of(tmp_path: Path, *records: Any, ecosystem: str = "PyPI") -> Path:
    feed = write_zip(tmp_path / "feed" / ecosystem / "all.zip", records)
    import_snapshot(feed, tmp_path / "home", taken=TODAY)
    return tmp_path / "home"


def check(home: Path, components: Sequence[Component], **more: Any) -> CheckResult:
    options = {"max_age": timedelta(days=7), "clock": fixed_clock(NOW), "store": MemoryStore(), **more}
    return check_vulnerabilities(components, home, **options)


@pytest.mark.parametrize(("major", "status"), [(1, Status.FAILED), (3, Status.INCONCLUSIVE)])
def test_a_flood_of_versions_hides_no_other_package_and_is_no_pass(major: int, status: Status, tmp_path: Path) -> None:
    """Of too many versions of one package the rest is told as not looked up, after all other packages were."""
    home = home_of(tmp_path, record("GHSA-1", "pillow"), record("GHSA-2", "py-yaml-ext"))
    flood = [component("pillow", f"{major}.{number}") for number in range(MAX_VERSIONS + 50)]
    result = check(home, [*flood, component("py-yaml-ext", f"{major}.0")], fail_at=Severity.LOW)
    assert result.status is status
    assert result.measured("unchecked") == 50
    assert "50 components were not looked up" in result.summary
    found = check(home, [*flood[:3], *flood, component("py-yaml-ext", "1.0")], store=(store := MemoryStore()))
    document = json.loads(store.get(found.evidence[0].digest))
    assert "GHSA-2" in {one["id"] for one in document["vulnerabilities"]}
    assert {one["why"] for one in document["unanswered"]} == {"1,000 other versions of the package are listed too"}


def test_a_package_of_which_there_is_one_is_asked_about_before_a_flood() -> None:
    """Wherever it stands in the list, and whatever it is called."""
    flood = [component("pillow", f"1.{number}") for number in range(3)]
    lone = [component(name, "1.0") for name in ("a", "z")]
    asked = [one.name for one in in_fair_order([*flood, *lone])]
    assert asked == ["a", "z", *["pillow"] * 3]


def test_a_flood_of_vulnerabilities_ends_the_questions(tmp_path: Path) -> None:
    """After very many findings nothing more is asked, and that is said."""
    home = home_of(tmp_path, record("GHSA-1", "pillow"), record("GHSA-2", "py-yaml-ext"))
    with load(home) as store:
        limited = Limited(store, matches=2)
        assert [len(limited.matches("PyPI", "pillow", f"1.{number}")) for number in range(2)] == [1, 1]
        with pytest.raises(NotAsked, match="too many vulnerabilities"):
            limited.matches("PyPI", "py-yaml-ext", "1.0")


DISGUISES: dict[str, tuple[str, str, str]] = {
    "capitals": ("Pillow", "1.0", "PyPI"),
    "underscores and dots": ("py_yaml.ext", "1.0", "PyPI"),
    "a local version": ("pillow", "1.0+patched.99", "PyPI"),
    "spaces around the version": ("pillow", " 1.0 ", "PyPI"),
    "a v before the version": ("pillow", "v1.0", "PyPI"),
    "zeros at the end": ("pillow", "1.0.0.0.0", "PyPI"),
    "a post release of a flawed one": ("pillow", "1.0.post99", "PyPI"),
    "a release candidate of the mended one": ("pillow", "2.0rc1", "PyPI"),
    "capitals in npm": ("Lodash", "1.0.0", "npm"),
    "build metadata in npm": ("lodash", "1.9.9+mended.2.0.0", "npm"),
    "a pre-release of the mended one in npm": ("lodash", "2.0.0-rc.9", "npm"),
    "a Debian revision before the mended one": ("openssl", "2.0-1~deb12u1", "Debian:12"),
    "a Debian release with a point": ("openssl", "1.0-1", "Debian:12.9"),
    "no release at all": ("openssl", "1.0-1", "Debian"),
    "a git snapshot in Alpine": ("musl", "1.2.4_git20230717-r4", "Alpine:v3.20"),
    "an Alpine release with a patch level": ("musl", "1.2.4-r1", "Alpine:v3.20.3"),
}
RECORDS = {
    "PyPI": [record("GHSA-1", "pillow"), record("GHSA-2", "py-yaml-ext")],
    "npm": [record("GHSA-3", "lodash", ecosystem="npm", events=[{"introduced": "0"}, {"fixed": "2.0.0"}])],
    "Debian": [record("DSA-1", "openssl", ecosystem="Debian:12", events=[{"introduced": "0"}, {"fixed": "2.0-1"}])],
    "Alpine": [record("A-1", "musl", ecosystem="Alpine:v3.20", events=[{"introduced": "0"}, {"fixed": "1.2.5-r0"}])],
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_disguise_does_not_hide_a_flawed_package(disguise: str, tmp_path: Path) -> None:
    name, version, ecosystem = DISGUISES[disguise]
    base = ecosystem.partition(":")[0]
    result = check(home_of(tmp_path, *RECORDS[base], ecosystem=base), [component(name, version, ecosystem)])
    assert (result.status, result.measured("critical")) == (Status.FAILED, 1)


OBSCURE: dict[str, Component] = {
    "no version": component("pillow", ""),
    "a version that is none": component("pillow", "latest"),
    "a version in other digits": component("pillow", "２.0"),
    "a version of a thousand characters": component("pillow", "2." + "0" * 1000),
    "an invisible character in the name": component("pil\u200blow", "1.0"),
    "a letter of another alphabet": component("рillow", "1.0"),
    "wide letters": component("ｐillow", "1.0"),
    "a space in the name": component("pillow ", "1.0"),
    "a path for a name": component("../pillow", "1.0"),
    "no name": component("", "1.0"),
    "a name of a million characters": component("p" * 1_000_000, "1.0"),
    "a release that nobody wrote an advisory about": component("openssl", "1.0-1", "Debian:99"),
    "a release that is no number": component("openssl", "1.0-1", "Debian:rolling"),
    "an ecosystem that nobody knows": component("pillow", "1.0", "conda"),
    "an ecosystem spelt in another way": component("pillow", "1.0", "pypi"),
    "an ecosystem that is a look-alike": component("pillow", "1.0", "PуPI"),
}


@pytest.mark.parametrize("case", OBSCURE)
def test_what_cannot_be_looked_up_never_passes(case: str, tmp_path: Path) -> None:
    home = home_of(tmp_path, *RECORDS["PyPI"])
    home_of(tmp_path, *RECORDS["Debian"], ecosystem="Debian")
    result = check(home, [component("requests", "2.0"), OBSCURE[case]])
    assert result.status is Status.INCONCLUSIVE
    assert result.measured("unchecked") or result.measured("undecided")
    assert all(len(finding.message) < 2000 for finding in result.findings)
    # a policy that leaves ecosystems out still hears of it
    left_out = check(home, [component("requests", "2.0"), OBSCURE[case]], ecosystems=["PyPI"])
    assert left_out.measured("unchecked") or left_out.measured("undecided")


def test_one_unanswerable_component_does_not_soften_what_was_found(tmp_path: Path) -> None:
    """Else a provider would turn a refusal into a question by adding one odd package."""
    home = home_of(tmp_path, *RECORDS["PyPI"])
    result = check(home, [component("pillow", "1.0"), *OBSCURE.values()])
    assert (result.status, result.measured("critical")) == (Status.FAILED, 1)


def test_a_thousand_odd_components_do_not_flood_the_report(tmp_path: Path) -> None:
    home = home_of(tmp_path, *RECORDS["PyPI"])
    result = check(home, [component(f"odd {number}", "1.0") for number in range(1000)])
    assert (result.status, result.measured("unchecked")) == (Status.INCONCLUSIVE, 1000)
    assert len(result.findings) < 20


def purl_of(url: str) -> list[Component]:
    document = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": [{"type": "library", "purl": url}]}
    return list(read_listing(json.dumps(document).encode()).components)


PURLS = {
    "plain": ("pkg:pypi/pillow@1.0", Status.FAILED),
    "capitals in the type": ("pkg:PyPI/Pillow@1.0", Status.FAILED),
    "slashes after the scheme": ("pkg://pypi/pillow@1.0", Status.FAILED),
    "the name in percent": ("pkg:pypi/%70illow@1.0", Status.FAILED),
    "a local version": ("pkg:pypi/pillow@1.0%2Bmended", Status.FAILED),
    "a subpath and qualifiers": ("pkg:pypi/pillow@1.0?repository_url=https://x#a/b", Status.FAILED),
    "no version": ("pkg:pypi/pillow", Status.INCONCLUSIVE),
    "another type": ("pkg:generic/pillow@1.0", Status.INCONCLUSIVE),
    "a type of conda": ("pkg:conda/pillow@1.0", Status.INCONCLUSIVE),
    "a release that is not": ("pkg:deb/debian/openssl@1.0-1?distro=debian-99", Status.INCONCLUSIVE),
}


@pytest.mark.parametrize("case", PURLS)
def test_tricks_with_package_urls(case: str, tmp_path: Path) -> None:
    url, status = PURLS[case]
    home = home_of(tmp_path, *RECORDS["PyPI"])
    home_of(tmp_path, *RECORDS["Debian"], ecosystem="Debian")
    assert check(home, purl_of(url)).status is status


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=30), st.text(max_size=20))
def test_any_name_and_version_get_an_answer(tmp_path_factory: pytest.TempPathFactory, name: str, version: str) -> None:
    base = tmp_path_factory.getbasetemp() / "any-name"
    home = base / "home" if (base / "home" / "index.json").is_file() else home_of(base, *RECORDS["PyPI"])
    result = check(home, [component(name, version)])
    assert result.status in (Status.PASSED, Status.FAILED, Status.INCONCLUSIVE)


# --- RPM -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", ["openssl", "openssl-libs"], ids=["by the source", "by the binary"])
def test_rpm_packages_by_source_and_binary_name(named: str, tmp_path: Path) -> None:
    events = [{"introduced": "0"}, {"fixed": "1:3.0.7-27.el9"}]
    flaw = record("RLSA-1", named, ecosystem="Rocky Linux:9", events=events)
    home = home_of(tmp_path, flaw, ecosystem="Rocky Linux")
    libs = component(
        "openssl-libs", "1:3.0.7-24.el9", "Rocky Linux:9", advisory_name="openssl", advisory_version="1:3.0.7-24.el9"
    )
    assert check(home, [libs]).measured("critical") == 1
    mended = component("openssl-libs", "1:3.0.7-27.el9", "Rocky Linux:9", advisory_name="openssl")
    assert check(home, [mended]).status is Status.PASSED


# --- records that cannot be read -------------------------------------------------------------------------------------


def test_a_record_that_cannot_be_read_is_undecided_for_the_packages_that_it_names(tmp_path: Path) -> None:
    broken = {**record("GHSA-b", "gadget"), "schema_version": "9.9.9"}
    home = home_of(tmp_path, record("GHSA-a", "other"), broken)
    assert check(home, [component("gadget", "1.0")]).measured("undecided") == 1
    assert check(home, [component("gadget", "1.0")]).status is Status.INCONCLUSIVE
    unrelated = check(home, [component("third", "1.0")])
    assert (unrelated.status, unrelated.measured("unreadable_records")) == (Status.PASSED, 1)
    assert unrelated.findings[0].rule_id == "vulnerabilities/unreadable-records"


@pytest.mark.parametrize(
    "broken",
    [b"{", b"[]", json.dumps({"id": "GHSA-x", "affected": [{}]}).encode(), b'{"id": "GHSA-\xff"}'],
    ids=["no JSON", "a list", "an entry without a package", "no text"],
)
def test_a_record_of_which_nothing_can_be_told_may_concern_any_package(broken: bytes, tmp_path: Path) -> None:
    home = home_of(tmp_path, record("GHSA-a", "other"), broken)
    assert check(home, [component("third", "1.0")]).status is Status.INCONCLUSIVE


def test_a_record_is_withdrawn_only_at_a_point_in_time(tmp_path: Path) -> None:
    for number, withdrawn in enumerate(["", "no", False, 0, {}]):
        home = home_of(tmp_path / str(number), {**record("GHSA-a", "widget"), "withdrawn": withdrawn})
        assert check(home, [component("widget", "1.0")]).status is Status.FAILED, withdrawn


def test_two_records_of_one_id_both_count(tmp_path: Path) -> None:
    harmless = record("GHSA-a", "widget", events=[{"introduced": "9.0"}])
    home = home_of(tmp_path, harmless, record("GHSA-a", "widget"))
    assert check(home, [component("widget", "1.0")]).measured("critical") == 1


@pytest.mark.parametrize(
    ("words", "severity"),
    [
        ({"ecosystem_specific": {"urgency": "high"}}, Severity.HIGH),
        ({"ecosystem_specific": {"urgency": "medium**"}}, Severity.MEDIUM),
        ({"ecosystem_specific": {"urgency": "unimportant"}}, Severity.LOW),
        ({"ecosystem_specific": {"urgency": "not yet assigned"}}, Severity.UNKNOWN),
        ({"ecosystem_specific": {"urgency": "end-of-life"}}, Severity.UNKNOWN),
        ({"database_specific": {"severity": "IMPORTANT"}}, Severity.HIGH),
        ({"severity": [{"type": "Ubuntu", "score": "negligible"}]}, Severity.LOW),
    ],
)
def test_severities_in_words(words: dict[str, Any], severity: Severity, tmp_path: Path) -> None:
    flaw = record("DEBIAN-CVE-2024-1", "lib", ecosystem="Debian:12", vector="")
    flaw["affected"][0].update(words)
    home = home_of(tmp_path, flaw, ecosystem="Debian")
    assert check(home, [component("lib", "1.0", "Debian:12")]).measured(severity.value) == 1


# --- what attackers use ----------------------------------------------------------------------------------------------


def with_lists(tmp_path: Path, home: Path, taken: date = TODAY, stated: date | None = None) -> Path:
    """CISA's and FIRST's lists with CVE-2024-1000 on them."""
    kev = {"catalogVersion": "1", "vulnerabilities": [{"cveID": "CVE-2024-1000", "dateAdded": "2026-07-01"}]}
    kev |= {"dateReleased": f"{stated}T15:00:00.0Z"} if stated else {}
    head = f"#model_version:v1,score_date:{stated}T12:00:00Z\n" if stated else ""
    (tmp_path / "kev.json").write_text(json.dumps(kev))
    (tmp_path / "epss.csv").write_text(f"{head}cve,epss,percentile\nCVE-2024-1000,0.94,0.99\n")
    import_feed(tmp_path / "kev.json", home, FeedKind.KEV, taken=taken)
    import_feed(tmp_path / "epss.csv", home, FeedKind.EPSS, taken=taken)
    return home


def test_what_attackers_use_is_shown_and_measured(tmp_path: Path) -> None:
    home = with_lists(tmp_path, home_of(tmp_path, record("GHSA-a", "widget", aliases=["CVE-2024-1000"], vector=LOW)))
    result = check(home, [component("widget", "1.0")])
    assert (result.measured("known_exploited"), result.measured("epss_max")) == (1, 0.94)
    assert (result.measured("kev_date"), result.measured("epss_date")) == ("2026-07-25", "2026-07-25")
    assert str(result.measured("kev_digest")).startswith("sha256:")
    assert "known to be exploited since 2026-07-01" in result.findings[0].message
    assert "94.0% likely" in result.findings[0].message
    assert set(result.inputs) == {"advisories.PyPI", "advisories.kev", "advisories.epss"}
    clean = check(home, [component("widget", "2.0")])
    assert (clean.measured("known_exploited"), clean.measured("epss_max")) == (0, 0.0)


def test_an_erratum_is_exploited_where_one_of_its_cves_is(tmp_path: Path) -> None:
    erratum = record("RLSA-2024:1", "widget", ecosystem="Rocky Linux:9", vector=LOW, upstream=["CVE-2024-1000"])
    home = with_lists(tmp_path, home_of(tmp_path, erratum, ecosystem="Rocky Linux"))
    assert check(home, [component("widget", "1.0-1", "Rocky Linux:9")]).measured("known_exploited") == 1


def test_nothing_is_claimed_of_a_list_that_is_absent_or_old(tmp_path: Path) -> None:
    home = home_of(tmp_path, record("GHSA-a", "widget", aliases=["CVE-2024-1000"], vector=LOW))
    absent = check(home, [component("widget", "1.0")])
    assert absent.measured("known_exploited") is None
    old = check(with_lists(tmp_path, home, date(2026, 7, 1)), [component("widget", "1.0")])
    assert old.measured("known_exploited") is None
    assert any("known to be exploited" in f.message for f in old.findings), "what is on an old list is still true"
    assert {f.rule_id for f in old.findings} == {"vulnerabilities/low", "vulnerabilities/old-list"}


@pytest.mark.parametrize(
    ("days", "absent"), [(0, []), (8, []), (9, ["epss_max"]), (21, ["epss_max"]), (22, ["known_exploited", "epss_max"])]
)
def test_a_list_that_says_that_it_is_old_is_old_whatever_day_it_was_imported_with(
    days: int, absent: list[str], tmp_path: Path
) -> None:
    """Scores come out every day, CISA's list when something is added to it."""
    home = home_of(tmp_path, record("GHSA-a", "widget", vector=LOW))
    result = check(with_lists(tmp_path, home, stated=TODAY - timedelta(days=days)), [component("widget", "1.0")])
    assert [name for name in ("known_exploited", "epss_max") if result.measured(name) is None] == absent
    told = "\n".join(f.message for f in result.findings if f.rule_id == "vulnerabilities/old-list")
    assert all(f"rests on {name} cannot be decided" in told for name in absent)


def test_a_waived_vulnerability_is_not_counted_as_exploited(tmp_path: Path) -> None:
    home = with_lists(tmp_path, home_of(tmp_path, record("GHSA-a", "widget", aliases=["CVE-2024-1000"])))
    waiver = Waiver("CVE-2024-1000", date(2026, 12, 31), "A. Person", "not called")
    assert check(home, [component("widget", "1.0")], waivers=[waiver]).measured("known_exploited") == 0


RULE = {
    "id": "nothing-that-attackers-use",
    "stage": "before-execution",
    "require": "checks.vulnerabilities.measurements.known_exploited == 0 "
    "&& checks.vulnerabilities.measurements.epss_max < 0.5",
    "otherwise": "refuse",
    "say": "Attackers use a flaw of it.",
}


def test_a_policy_may_rest_on_what_attackers_use(tmp_path: Path) -> None:
    policy = Policy.model_validate({"apiVersion": "pratique/policy/v1", "name": "test", "rules": [RULE]})
    home = home_of(tmp_path, record("GHSA-a", "widget", aliases=["CVE-2024-1000"], vector=LOW))

    def outcome(version: str) -> Outcome:
        return decide(policy, {"vulnerabilities": check(home, [component("widget", version)])}, facts={}).outcome

    assert outcome("2.0") is not Outcome.ADMIT, "without the lists nothing is known"
    with_lists(tmp_path, home)
    assert (outcome("2.0"), outcome("1.0")) == (Outcome.ADMIT, Outcome.REFUSE)
