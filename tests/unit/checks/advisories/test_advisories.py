"""Advisories: what is imported, what is refused, and which versions a record concerns."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.advisories import Decision, Severity, Snapshot, import_snapshot, load
from checks.advisories.osv import parse_record
from checks.advisories.severity import base_score, from_score
from checks.advisories.source import stale
from checks.advisories.versions import judge
from pratique.errors import CouldNotDecide, InvalidInput
from tests.unit.checks.feeds import record, write_zip

DAY = date(2026, 7, 23)


def imported(tmp_path: Path, *records: Any, ecosystem: str = "PyPI") -> Path:
    """A home with these records."""
    home = tmp_path / "home"
    import_snapshot(write_zip(tmp_path / ecosystem / "all.zip", records), home, taken=DAY)
    return home


def found(home: Path, name: str, version: str, ecosystem: str = "PyPI") -> dict[str, Decision]:
    """What the store says of a version."""
    with load(home) as store:
        return {match.id: match.decision for match in store.matches(ecosystem, name, version)}


RANGES: dict[str, tuple[list[dict[str, str]], dict[str, Decision]]] = {
    "from zero to a fix": (
        [{"introduced": "0"}, {"fixed": "2.0"}],
        {"1.9": Decision.AFFECTED, "2.0rc1": Decision.AFFECTED, "2.0": Decision.NOT_AFFECTED},
    ),
    "last affected": (
        [{"introduced": "1.0"}, {"last_affected": "2.0"}],
        {"0.9": Decision.NOT_AFFECTED, "2.0": Decision.AFFECTED, "2.0.1": Decision.NOT_AFFECTED},
    ),
    "two spans in one range": (
        [{"introduced": "0"}, {"fixed": "1.2"}, {"introduced": "2.0"}, {"fixed": "2.1"}],
        {
            "1.1": Decision.AFFECTED,
            "1.5": Decision.NOT_AFFECTED,
            "2.0": Decision.AFFECTED,
            "2.1": Decision.NOT_AFFECTED,
        },
    ),
    "events out of order": (
        [{"fixed": "2.0"}, {"introduced": "1.0"}],
        {"1.5": Decision.AFFECTED, "2.0": Decision.NOT_AFFECTED},
    ),
    "fixed and introduced again at once": (
        [{"introduced": "0"}, {"fixed": "2.0.0"}, {"introduced": "2.0.0"}, {"fixed": "2.11.2"}],
        {"2.0.0": Decision.AFFECTED, "2.11.2": Decision.NOT_AFFECTED},
    ),
    "fixed before anything": (
        [{"introduced": "0"}, {"fixed": "0"}],
        {"0": Decision.NOT_AFFECTED, "1.0": Decision.NOT_AFFECTED},
    ),
    "a limit that is none": (
        [{"introduced": "1.0"}, {"limit": "*"}],
        {"0.9": Decision.NOT_AFFECTED, "9": Decision.AFFECTED},
    ),
    "the last event of several at one version": (
        [{"introduced": "0"}, {"last_affected": "1.0"}, {"introduced": "1.0"}, {"fixed": "1.1"}],
        {"1.0": Decision.AFFECTED, "1.1": Decision.NOT_AFFECTED},
    ),
    "no start": ([{"fixed": "1.0"}], {"0.5": Decision.AFFECTED, "1.0": Decision.NOT_AFFECTED}),
    "a limit": ([{"introduced": "0"}, {"limit": "1.0"}], {"0.5": Decision.AFFECTED, "1.0": Decision.NOT_AFFECTED}),
    "several limits": (
        [{"introduced": "0"}, {"limit": "1.0"}, {"limit": "2.0"}],
        {"0.5": Decision.AFFECTED, "1.5": Decision.AFFECTED, "2.0": Decision.NOT_AFFECTED},
    ),
    "a limit beside one that is none": (
        [{"introduced": "0"}, {"limit": "1.0"}, {"limit": "*"}],
        {"1.5": Decision.AFFECTED},
    ),
    "a local version counts as its public one": (
        [{"introduced": "0"}, {"last_affected": "2.6.0"}],
        {"2.6.0+cu124": Decision.AFFECTED, "2.6.1+cpu": Decision.NOT_AFFECTED},
    ),
    "an odd bound decides where its numbers do": (
        [{"introduced": "0"}, {"last_affected": "2.6.0-NA"}],
        {"2.5": Decision.AFFECTED, "2.6.0": Decision.UNDECIDED, "2.13.0": Decision.NOT_AFFECTED},
    ),
    "a bound that is no version": ([{"introduced": "0"}, {"fixed": "!!"}], {"1.0": Decision.UNDECIDED}),
    "an installed version that is none": ([{"introduced": "0"}, {"fixed": "2.0"}], {"weird": Decision.UNDECIDED}),
    "an epoch": ([{"introduced": "0"}, {"fixed": "2.0"}], {"1!0.1": Decision.NOT_AFFECTED}),
}


@pytest.mark.parametrize("case", RANGES, ids=str)
def test_ranges(case: str, tmp_path: Path) -> None:
    events, expected = RANGES[case]
    home = imported(tmp_path, record("GHSA-a", events=events))
    for version, decision in expected.items():
        assert found(home, "widget", version).get("GHSA-a", Decision.NOT_AFFECTED) is decision, version


OTHERS = {
    "Debian:12": [("1:2.3-4+deb12u1", "1:2.3-4", True), ("1:2.3-4+deb12u1", "2.9", True), ("2.0-1", "2.0-1+b1", False)],
    "Alpine:v3.20": [("1.2.3-r2", "1.2.3-r1", True), ("1.2.3-r2", "1.2.3-r2", False)],
    "npm": [("2.0.0", "2.0.0-beta.1", True), ("2.0.0", "2.0.0", False), ("2.0.0", "10.0.0", False)],
}


@pytest.mark.parametrize("ecosystem", OTHERS)
def test_other_ecosystems_by_their_own_order(ecosystem: str, tmp_path: Path) -> None:
    for number, (fixed, version, affected) in enumerate(OTHERS[ecosystem]):
        entry = record("CVE-2024-1000", "lib", events=[{"introduced": "0"}, {"fixed": fixed}], ecosystem=ecosystem)
        home = imported(tmp_path / str(number), entry, ecosystem=ecosystem.partition(":")[0])
        assert bool(found(home, "lib", version, ecosystem)) is affected, (fixed, version)


def test_another_release_of_a_distribution_is_not_concerned(tmp_path: Path) -> None:
    home = imported(tmp_path, record("DSA-1", "lib", ecosystem="Debian:11"), ecosystem="Debian")
    assert not found(home, "lib", "1.0", "Debian:12")
    assert found(home, "lib", "1.0", "Debian:11")


def test_versions_by_name_count_beside_ranges(tmp_path: Path) -> None:
    entry = record("GHSA-a", events=[{"introduced": "5.0"}])
    entry["affected"][0]["versions"] = ["1.0.0", "odd-one"]
    home = imported(tmp_path, entry)
    assert found(home, "widget", "1.0") == {"GHSA-a": Decision.AFFECTED}
    assert found(home, "widget", "2.0") == {}


SPELLINGS = {
    "PyPI": ("1.0.0", {"1.0": True, "v1.0+local": True, "0!1": True, "1.0.1": False}),
    "npm": (
        "1.0.0",
        {"v1.0.0": True, "1.0.0+evil": True, "v1.0.0+a.b": True, "1.0": True, "1.0.0-rc.1": False, "1.0.1": False},
    ),
    "Debian:12": ("1.0-1", {"0:1.0-1": True, "1:1.0-1": False}),
    "AlmaLinux:9": ("1.0-1.el9", {"0:1.0-1.el9": True, "1:1.0-1.el9": False}),
}


@pytest.mark.parametrize("ecosystem", SPELLINGS)
def test_a_listed_version_is_known_by_every_way_of_writing_it(ecosystem: str, tmp_path: Path) -> None:
    """Records of malicious packages list versions; metadata in an image is written by whoever made it."""
    listed, spellings = SPELLINGS[ecosystem]
    entry = record("MAL-2024-1", ecosystem=ecosystem, vector="")
    entry["affected"][0] = {"package": {"ecosystem": ecosystem, "name": "widget"}, "versions": [listed]}
    home = imported(tmp_path, entry, ecosystem=ecosystem.partition(":")[0])
    for version, same in spellings.items():
        assert bool(found(home, "widget", version, ecosystem)) is same, version


@pytest.mark.parametrize("version", ["1.0.0-NA", "1.0.x", "1.0 beta", "none", ""])
def test_a_version_that_is_none_is_undecided_for_a_list_of_versions(version: str, tmp_path: Path) -> None:
    entry = record("MAL-2024-1")
    entry["affected"][0] = {"package": {"ecosystem": "PyPI", "name": "widget"}, "versions": ["1.0.0"]}
    assert found(imported(tmp_path, entry), "widget", version) == {"MAL-2024-1": Decision.UNDECIDED}


def test_a_record_without_versions_is_undecided_and_not_silent(tmp_path: Path) -> None:
    entry = record("GHSA-a")
    entry["affected"][0].pop("ranges")
    assert found(imported(tmp_path, entry), "widget", "1.0") == {"GHSA-a": Decision.UNDECIDED}


def test_commit_ranges_alone_are_undecided(tmp_path: Path) -> None:
    assert found(imported(tmp_path, record("GHSA-a", kind="GIT")), "widget", "1.0") == {"GHSA-a": Decision.UNDECIDED}


def test_names_are_compared_as_the_ecosystem_does(tmp_path: Path) -> None:
    assert found(imported(tmp_path, record("GHSA-a", "My_Widget.X")), "my-widget-x", "1.0")


def test_withdrawn_records_count_but_never_match(tmp_path: Path) -> None:
    home = imported(tmp_path, record("GHSA-a"), record("GHSA-b", withdrawn="2024-01-01T00:00:00Z"))
    assert list(found(home, "widget", "1.0")) == ["GHSA-a"]
    with load(home) as store:
        assert (store.snapshots[0].records, store.snapshots[0].withdrawn) == (2, 1)


@pytest.mark.parametrize("moment", ["2999-01-01T00:00:00Z", "2999-01-01", "soon", "", 7], ids=repr)
def test_what_is_not_withdrawn_yet_still_counts(moment: object, tmp_path: Path) -> None:
    home = imported(tmp_path, record("GHSA-a", withdrawn=moment))
    assert list(found(home, "widget", "1.0")) == ["GHSA-a"]


def test_a_malicious_package_is_critical(tmp_path: Path) -> None:
    home = imported(tmp_path, record("MAL-2024-1", events=[{"introduced": "0"}], vector=""))
    with load(home) as store:
        assert store.matches("PyPI", "widget", "1.0")[0].severity is Severity.CRITICAL


BROKEN: dict[str, Any] = {
    "not JSON": b"{",
    "a list": b"[]",
    "duplicate keys": b'{"id": "GHSA-a", "id": "GHSA-b"}',
    "no id": {"affected": []},
    "an id with a path": {"id": "GHSA-../x"},
    "a number for an id": {"id": 7},
    "affected is a text": {"id": "GHSA-a", "affected": "all"},
    "no package": {"id": "GHSA-a", "affected": [{}]},
    "a schema from the future": {"id": "GHSA-a", "schema_version": "2.0.0"},
    "nested too deep": b'{"id": "GHSA-a", "details": ' + b"[" * 200 + b"]" * 200 + b"}",
    "not UTF-8": b'{"id": "GHSA-\xff"}',
}


@pytest.mark.parametrize("case", BROKEN, ids=str)
def test_a_broken_record_is_refused(case: str) -> None:
    data = BROKEN[case] if isinstance(BROKEN[case], bytes) else json.dumps(BROKEN[case]).encode()
    with pytest.raises(InvalidInput):
        parse_record(data, where="record")


@pytest.mark.parametrize(
    "change",
    [
        {"ranges": "all"},
        {"ranges": [{"type": "ECOSYSTEM", "events": []}]},
        {"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": 0}]}]},
        {"ranges": [{"type": "ECOSYSTEM", "events": [{"mended": "1.0"}]}]},
        {"ranges": [{"type": "NEW", "events": [{"introduced": "0"}]}]},
        {"versions": [1.0]},
    ],
)
def test_broken_ranges_are_undecided_for_their_package(change: dict[str, Any], tmp_path: Path) -> None:
    entry = record("GHSA-a")
    entry["affected"][0].pop("ranges")
    entry["affected"][0].update(change)
    assert found(imported(tmp_path, entry), "widget", "1.0") == {"GHSA-a": Decision.UNDECIDED}


def test_a_few_unreadable_records_are_named(tmp_path: Path) -> None:
    home = imported(tmp_path, record("GHSA-a"), b"{")
    with load(home) as store:
        assert len(store.snapshots[0].unreadable) == 1


@pytest.mark.parametrize("records", [[], [b"{"] * 9, [record("GHSA-a")] + [b"{"] * 9])
def test_an_empty_or_broken_snapshot_is_refused_and_changes_nothing(records: list[Any], tmp_path: Path) -> None:
    home = imported(tmp_path, record("GHSA-a"))
    before = sorted(path.name for path in home.iterdir())
    with pytest.raises(InvalidInput):
        import_snapshot(write_zip(tmp_path / "x" / "PyPI" / "all.zip", records), home, taken=DAY)
    assert sorted(path.name for path in home.iterdir()) == before
    assert found(home, "widget", "1.0")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "all.zip").write_bytes(b"not a zip")
    with pytest.raises(InvalidInput, match="cannot be read"):
        import_snapshot(tmp_path / "all.zip", tmp_path / "home", taken=DAY)


def test_a_zip_cut_short_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "PyPI" / "all.zip", [record(f"GHSA-{n}") for n in range(50)])
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InvalidInput):
        import_snapshot(path, tmp_path / "home", taken=DAY)


def test_an_ecosystem_that_cannot_be_told_must_be_said(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "mixed.zip", [record("GHSA-a"), record("GHSA-b", ecosystem="npm")])
    with pytest.raises(InvalidInput, match="one ecosystem"):
        import_snapshot(path, tmp_path / "home", taken=DAY)
    snapshot = import_snapshot(path, tmp_path / "home", taken=DAY, ecosystem="npm")
    assert snapshot.ecosystems == ("npm",)
    assert not found(tmp_path / "home", "widget", "1.0", "PyPI")


def test_a_directory_of_ecosystems(tmp_path: Path) -> None:
    write_zip(tmp_path / "feed" / "PyPI" / "all.zip", [record("GHSA-a")])
    (tmp_path / "feed" / "npm").mkdir()
    (tmp_path / "feed" / "npm" / "GHSA-b.json").write_text(json.dumps(record("GHSA-b", ecosystem="npm")))
    snapshot = import_snapshot(tmp_path / "feed", tmp_path / "home", taken=DAY, label="two")
    assert snapshot.ecosystems == ("PyPI", "npm")
    with load(tmp_path / "home") as store:
        assert [s.label for s in store.snapshots] == ["two", "two"]


def test_an_import_replaces_its_own_ecosystem_only(tmp_path: Path) -> None:
    home = imported(tmp_path, record("GHSA-a"))
    import_snapshot(write_zip(tmp_path / "npm" / "all.zip", [record("GHSA-n", ecosystem="npm")]), home, taken=DAY)
    import_snapshot(write_zip(tmp_path / "b" / "PyPI" / "all.zip", [record("GHSA-c")]), home, taken=DAY)
    assert list(found(home, "widget", "1.0")) == ["GHSA-c"]
    assert found(home, "widget", "1.0", "npm")
    assert len(list(home.glob("*.sqlite"))) == 2


def test_the_digest_of_a_directory_follows_its_records(tmp_path: Path) -> None:
    feed = tmp_path / "PyPI"
    feed.mkdir()
    (feed / "a.json").write_text(json.dumps(record("GHSA-a")))
    first = import_snapshot(feed, tmp_path / "home", taken=DAY)
    again = import_snapshot(feed, tmp_path / "home2", taken=DAY)
    (feed / "a.json").write_text(json.dumps(record("GHSA-a", "gadget")))
    assert first.digest == again.digest != import_snapshot(feed, tmp_path / "home", taken=DAY).digest


def test_an_altered_database_is_not_used(tmp_path: Path) -> None:
    home = imported(tmp_path, record("GHSA-a"))
    database = next(home.glob("*.sqlite"))
    data = bytearray(database.read_bytes())
    data[-1] ^= 1
    database.write_bytes(data)
    with pytest.raises(CouldNotDecide, match="cannot be read"):
        load(home)


def test_a_database_that_is_altered_after_it_was_used_is_not_used_again(tmp_path: Path) -> None:
    home = imported(tmp_path, record("GHSA-a"))
    assert found(home, "widget", "1.0")
    database = next(home.glob("*.sqlite"))
    data, times = bytearray(database.read_bytes()), database.stat()
    data[-1] ^= 1
    database.write_bytes(data)
    os.utime(database, ns=(times.st_atime_ns, times.st_mtime_ns))  # as somebody would who wants it to pass unnoticed
    with pytest.raises(CouldNotDecide, match="cannot be read"):
        load(home)


@pytest.mark.parametrize("index", [None, "", "[]", '{"format": 1, "snapshots": []}', '{"format": 2, "snapshots": []}'])
def test_no_index_or_an_odd_one_is_not_an_empty_answer(index: str | None, tmp_path: Path) -> None:
    home = imported(tmp_path, record("GHSA-a"))
    if index is None:
        (home / "index.json").unlink()
    else:
        (home / "index.json").write_text(index)
    with pytest.raises(CouldNotDecide):
        load(home)


def test_age_is_counted_from_the_day_of_taking(tmp_path: Path) -> None:
    home = imported(tmp_path, record("GHSA-a", modified="2099-01-01T00:00:00Z"))
    with load(home) as store:
        snapshot = store.snapshots[0]
    noon = datetime(2026, 7, 30, 12, tzinfo=UTC)
    assert not stale(snapshot, noon, timedelta(days=7))
    assert "8 days old" in stale(snapshot, noon + timedelta(days=1), timedelta(days=7))
    assert "future" in stale(snapshot, noon - timedelta(days=30), timedelta(days=7))


@pytest.mark.parametrize(
    ("vector", "severity"),
    [
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", Severity.CRITICAL),
        ("CVSS:4.0/AV:N/AC:L/AT:P/PR:N/UI:N/VC:N/VI:N/VA:H/SC:N/SI:N/SA:L", Severity.HIGH),
        ("AV:N/AC:L/Au:N/C:N/I:P/A:N", Severity.MEDIUM),
    ],
)
def test_cvss(vector: str, severity: Severity) -> None:
    score = base_score(vector)
    assert score is not None
    assert from_score(score) is severity


@pytest.mark.parametrize("vector", ["", "CVSS:3.1/", "CVSS:9/AV:N", "x" * 10_000, "CVSS:3.1/AV:N/AV:N"])
def test_a_broken_vector_rates_nothing(vector: str) -> None:
    assert base_score(vector) is None


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: json.dumps({"id": text}).encode()))
def test_any_bytes_are_a_record_or_refused(data: bytes) -> None:
    try:
        parse_record(data, where="record")
    except InvalidInput as error:
        assert error.rule


_VERSIONS = st.from_regex(r"[0-9]{1,2}(\.[0-9]{1,2}){0,2}(a1|rc2|\.post1|-NA)?", fullmatch=True) | st.text(max_size=12)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["PyPI", "Debian:12", "Alpine:v3.20", "npm", "Red Hat", "unknown"]),
    _VERSIONS,
    st.lists(st.tuples(st.sampled_from(["introduced", "fixed", "last_affected", "limit"]), _VERSIONS), max_size=5),
)
def test_any_versions_get_a_decision(ecosystem: str, version: str, events: list[tuple[str, str]]) -> None:
    assert judge(ecosystem, version, [events], listed=False, decidable=True).decision in Decision
    assert judge(ecosystem, version, [events], listed=True, decidable=True).decision is Decision.AFFECTED


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_a_range_means_what_it_says(version: int, start: int, end: int) -> None:
    judged = judge(
        "PyPI", f"{version}.0", [[("introduced", f"{start}"), ("fixed", f"{end}")]], listed=False, decidable=True
    )
    if start < end:
        assert (judged.decision is Decision.AFFECTED) == (start <= version < end)


def test_the_real_snapshot_is_imported_whole(real_snapshot: tuple[Path, Snapshot]) -> None:
    home, snapshot = real_snapshot
    assert snapshot.digest == "sha256:7543e1c67154753c19ffcbe4021be72970b22a00b7c008ba5c822ff5fda6b468"
    assert (snapshot.records, snapshot.withdrawn, snapshot.unreadable) == (7080, 269, ())
    assert snapshot.ecosystems == ("PyPI",)
    names = {"PYSEC-2021-142", "PYSEC-2020-96"}
    assert set(found(home, "PyYAML", "5.3")) == names
    assert found(home, "PyYAML", "6.0") == {}
    assert found(home, "numexpr", "2.8.4") == {"PYSEC-2023-163": Decision.AFFECTED}
    assert found(home, "torch", "2.13.0") == {}
