"""What an import must withstand: hostile archives, wrong days, a full disk, a sudden end, others at the same time."""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from checks.advisories import Snapshot, import_snapshot, load
from checks.advisories.database import build
from checks.advisories.index import Index, existing_index, read_index
from console.terminal.app import app
from pratique.errors import CouldNotDecide, InvalidInput
from tests.unit.checks.feeds import record, write_zip

DAY = date(2026, 7, 23)
TODAY = datetime.now(UTC).date()
GOOD = json.dumps(record("GHSA-aaaa-bbbb-cccc")).encode()


def packed(*entries: tuple[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> Callable[[Path], None]:
    """Writes an archive of these entries."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", how) as archive:
            for name, data in entries:
                archive.writestr(name, data)

    return write


def altered(change: Callable[[bytearray], None], how: int = zipfile.ZIP_DEFLATED) -> Callable[[Path], None]:
    """Writes an archive of one good record, with bytes of it changed."""

    def write(path: Path) -> None:
        packed(("a.json", GOOD), how=how)(path)
        data = bytearray(path.read_bytes())
        change(data)
        path.write_bytes(data)

    return write


def cut(data: bytearray) -> None:
    del data[len(data) // 2 :]


def encrypted(data: bytearray) -> None:
    data[6] |= 1
    data[data.find(b"PK\x01\x02") + 8] |= 1


def of_an_unknown_method(data: bytearray) -> None:
    data[8] = data[data.find(b"PK\x01\x02") + 10] = 99


def with_another_checksum(data: bytearray) -> None:
    data[50:54] = bytes(4)


def with_a_name_that_is_no_text(data: bytearray) -> None:
    start = data.find(b"PK\x01\x02")
    data[start + 9] |= 0x08
    data[start + 46] = 0xFF


def with_a_huge_directory(data: bytearray) -> None:
    end = data.find(b"PK\x05\x06")
    data[end + 12 : end + 16] = (2**31).to_bytes(4, "little")


def with_a_directory_that_looks_small(path: Path) -> None:
    """The end of the archive holds its own mark a second time, where the directory's place should be."""
    size = 300 << 20
    with path.open("wb") as stream:
        stream.truncate(size)
        stream.seek(size)
        stream.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 9, 9, size, int.from_bytes(b"PK\5\6", "little"), 0))


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut in the middle": (altered(cut), "unreadable"),
    "changed in the middle": (altered(with_another_checksum), "unreadable"),
    "encrypted": (altered(encrypted), "unreadable"),
    "a name that is no text": (altered(with_a_name_that_is_no_text), "unreadable"),
    "packed in an unknown way": (altered(of_an_unknown_method), "unreadable"),
    "packed by LZMA, which may ask for any memory": (packed(("a.json", GOOD), how=zipfile.ZIP_LZMA), "unreadable"),
    "a directory of gigabytes": (altered(with_a_huge_directory), "too-many"),
    "a directory of 300 MiB that looks small": (with_a_directory_that_looks_small, "too-many"),
    "a bomb": (packed(*((f"{n}.json", bytes(8 << 20)) for n in range(9))), "too-large"),
    "nothing in it": (packed(), "empty"),
    "no records in it": (packed(("a.txt", GOOD)), "empty"),
    "an archive in an archive": (packed(("all.zip", GOOD)), "empty"),
    "no record that can be read": (packed(("a.json", b"{}"), ("b.json", b"\xff\xfe")), "broken"),
    "records of another schema": (
        packed(("a.json", GOOD.replace(b'"id"', b'"schema_version": "2.0", "id"'))),
        "broken",
    ),
}


def imported(home: Path) -> Path:
    """A home with one good record."""
    import_snapshot(write_zip(home.parent / "PyPI" / "all.zip", [record("GHSA-aaaa-bbbb-cccc")]), home, taken=DAY)
    return home


def usable(home: Path) -> bool:
    with load(home) as store:
        return bool(store.matches("PyPI", "widget", "1.0"))


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_hostile_archive_is_refused_and_the_snapshot_in_use_stays(attack: str, tmp_path: Path) -> None:
    home = imported(tmp_path / "home")
    write, rule = HOSTILE[attack]
    write(tmp_path / "all.zip")
    with pytest.raises(InvalidInput) as refused:
        import_snapshot(tmp_path / "all.zip", home, taken=DAY, ecosystem="PyPI")
    assert refused.value.rule == f"advisories/{rule}"
    assert usable(home)
    assert not list(home.glob("building-*"))


ODD: dict[str, Callable[[Path], None]] = {
    "names that lead elsewhere": packed(("../../etc/a.json", GOOD), ("/b.json", GOOD)),
    "one name twice": packed(("a.json", GOOD), ("b.json", GOOD)),
    "a directory called like a record": packed(("a.json", GOOD), ("b.json/", b"")),
    "a record of more than the allowed size": packed(("a.json", GOOD), ("b.json", b'{"id": "' + b"a" * (9 << 20))),
    "half a character for a package": packed(
        ("a.json", GOOD),
        ("b.json", b'{"id": "GHSA-1", "affected": [{"package": {"ecosystem": "PyPI", "name": "\\ud800"}}]}'),
    ),
    "half a character for an ecosystem": packed(
        ("a.json", GOOD),
        ("b.json", b'{"id": "GHSA-1", "affected": [{"package": {"ecosystem": "\\udfff", "name": "a"}}]}'),
    ),
    "control characters in a name": packed(("\x1b[2J.json", GOOD), ("b\n.json", b"{")),
}


@pytest.mark.parametrize("case", ODD)
def test_an_odd_archive_is_read_and_leads_nowhere(case: str, tmp_path: Path) -> None:
    home = tmp_path / "deep" / "home"
    ODD[case](tmp_path / "all.zip")
    import_snapshot(tmp_path / "all.zip", home, taken=DAY, ecosystem="PyPI")
    assert usable(home)
    assert sorted(path.suffix for path in home.iterdir()) == ["", ".json", ".sqlite"]


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_an_archive_with_any_bytes_changed_is_imported_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    directory = tmp_path_factory.mktemp("changed")

    def change(data: bytearray) -> None:
        for place, value in changes:
            data[place % len(data)] = value

    altered(change)(directory / "all.zip")
    try:
        import_snapshot(directory / "all.zip", directory / "home", taken=DAY, ecosystem="PyPI")
    except InvalidInput:
        return
    with load(directory / "home") as store:
        assert store.snapshots[0].records == 1


def test_a_million_bad_records_are_not_read_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checks.advisories.database._MAX_BROKEN", 20)
    write_zip(tmp_path / "all.zip", [b"{}"] * 200)
    with pytest.raises(InvalidInput, match="21 records cannot be read"):
        import_snapshot(tmp_path / "all.zip", tmp_path / "home", taken=DAY, ecosystem="PyPI")


# --- as people call it -----------------------------------------------------------------------------------------------


def advisories(home: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["advisories", *map(str, arguments), "--home", str(home)])


@pytest.mark.parametrize("place", ["pipe", "/dev/zero", "/dev/null", "empty"])
def test_what_is_no_file_is_refused_without_waiting(place: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").mkdir()
    done = advisories(tmp_path / "home", "import", tmp_path / place, "--date", str(TODAY))
    assert done.exit_code == 1
    assert "there is no such file" not in done.stderr


def test_a_huge_file_that_is_no_archive_is_refused_without_reading_it(tmp_path: Path) -> None:
    huge = tmp_path / "all.zip"
    with huge.open("wb") as stream:
        stream.truncate(3 << 30)
    home = tmp_path / "home"
    with pytest.raises(InvalidInput, match="or it was cut off when it was copied"):
        import_snapshot(huge, home, taken=DAY, ecosystem="PyPI")
    before = bytes_read()
    with pytest.raises(InvalidInput) as caught:
        import_snapshot(huge, home, taken=DAY, ecosystem="PyPI")
    assert caught.value.rule == "advisories/unreadable"
    assert bytes_read() - before < 1 << 20


def bytes_read() -> int:
    """Bytes that this process has read so far."""
    counters = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counters["rchar"])


@pytest.mark.parametrize("place", ["all.zip", "a.json"])
def test_what_is_digested_is_what_is_imported(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stick may serve other bytes when it is read for the second time."""
    stick = tmp_path / "PyPI"
    for name, identifier in (("one", "GHSA-aaaa-bbbb-cccc"), ("two", "GHSA-0000-0000-0001")):
        data = json.dumps(record(identifier)).encode()
        packed(("a.json", data))(tmp_path / name) if place == "all.zip" else (tmp_path / name).write_bytes(data)
    stick.mkdir()
    digests = {}
    for name in ("two", "one"):
        (stick / place).write_bytes((tmp_path / name).read_bytes())
        digests[import_snapshot(stick, tmp_path / name[::-1], taken=DAY, ecosystem="PyPI").digest] = name

    def later(*arguments: Any, **options: Any) -> Any:
        (stick / place).write_bytes((tmp_path / "two").read_bytes())
        return build(*arguments, **options)

    monkeypatch.setattr("checks.advisories.snapshot.build", later)
    imported = import_snapshot(stick, tmp_path / "home", taken=DAY, ecosystem="PyPI")
    with load(tmp_path / "home") as store:
        (match,) = store.matches("PyPI", "widget", "1.0")
    assert (match.id == "GHSA-aaaa-bbbb-cccc") == (digests[imported.digest] == "one")


def test_a_day_that_has_not_come_is_wrong_usage(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "PyPI" / "all.zip", [record("GHSA-aaaa-bbbb-cccc")])
    later = str(TODAY + timedelta(days=3))
    assert advisories(tmp_path / "home", "import", archive, "--date", later).exit_code == 2
    assert advisories(tmp_path / "home", "update", "--from", "https://127.0.0.1:1", "--date", later).exit_code == 2
    assert advisories(tmp_path / "home", "import", archive, "--date", str(TODAY)).exit_code == 0


def test_an_older_copy_replaces_a_newer_one_only_on_a_persons_word(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "PyPI" / "all.zip", [record("GHSA-aaaa-bbbb-cccc")])
    (tmp_path / "kev.json").write_text(
        json.dumps({"catalogVersion": "1", "vulnerabilities": [{"cveID": "CVE-2024-1000", "dateAdded": "2024-02-03"}]})
    )
    home, older = tmp_path / "home", str(TODAY - timedelta(days=2))
    for file in (archive, tmp_path / "kev.json"):
        assert advisories(home, "import", file, "--date", str(TODAY)).exit_code == 0
        refused = advisories(home, "import", file, "--date", older)
        assert (refused.exit_code, "advisories/older" in refused.stderr) == (1, True)
        assert f"taken {TODAY}" in advisories(home, "status").stdout
        assert advisories(home, "import", file, "--date", older, "--replace-newer").exit_code == 0


def test_a_hollow_copy_does_not_replace_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checks.advisories.snapshot._MANY", 4)
    home = tmp_path / "home"
    import_snapshot(many(tmp_path / "PyPI" / "all.zip", 5), home, taken=DAY)
    hollow = write_zip(tmp_path / "PyPI" / "all.zip", [record("GHSA-aaaa-bbbb-cccc")])
    with pytest.raises(InvalidInput, match="has 1 records of PyPI, what is in use has 5"):
        import_snapshot(hollow, home, taken=DAY)
    with load(home) as store:
        assert store.snapshots[0].records == 5
    assert import_snapshot(hollow, home, taken=DAY, replace_newer=True).records == 1


@pytest.mark.parametrize("label", ["x" * 201, "two\nlines", "\x1b[31m"])
def test_a_label_that_cannot_be_shown_is_wrong_usage(label: str, tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "PyPI" / "all.zip", [record("GHSA-aaaa-bbbb-cccc")])
    assert advisories(tmp_path, "import", archive, "--date", str(TODAY), "--label", label).exit_code == 2


def test_records_that_cannot_be_read_are_counted_where_they_are_imported(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "PyPI" / "all.zip", [record("GHSA-aaaa-bbbb-cccc"), b"{"])
    done = advisories(tmp_path, "import", archive, "--date", str(TODAY))
    assert "1 records of PyPI (1 unreadable)" in done.stdout
    assert "1 records (1 unreadable)" in advisories(tmp_path, "status").stdout


def test_a_home_that_cannot_be_written_is_told_as_that(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "PyPI" / "all.zip", [record("GHSA-aaaa-bbbb-cccc")])
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "advisories").write_text("a file")
    done = advisories(tmp_path / "home", "import", archive, "--date", str(TODAY))
    assert done.exit_code == 3
    assert "could not be stored" in done.stderr


# --- the end of the disk, of the process, and others -----------------------------------------------------------------


def importing(archive: Path, home: Path, preexec_fn: Callable[[], None] | None = None) -> subprocess.Popen[bytes]:
    """An import as a process of its own."""
    command = ["-c", "from console.terminal.app import main; main()", "advisories", "import", str(archive)]
    return subprocess.Popen(
        [sys.executable, *command, "--date", str(TODAY), "--ecosystem", "PyPI", "--home", str(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=preexec_fn,
    )


def many(path: Path, count: int) -> Path:
    """An export whose import takes a while."""
    return write_zip(path, [record(f"GHSA-aaaa-bbbb-{n:04d}", f"package{n}", details="x" * 900) for n in range(count)])


def test_a_disk_that_is_full_decides_nothing_and_leaves_the_snapshot(tmp_path: Path) -> None:
    home = imported(tmp_path / "advisories")

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    process = importing(many(tmp_path / "all.zip", 400), tmp_path, preexec_fn=small_disk)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 3, told
    assert b"could not be stored" in told
    assert b"Traceback" not in told
    assert usable(home)
    assert not list(home.glob("building-*"))


def test_an_import_that_is_killed_leaves_the_snapshot_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    home = imported(tmp_path / "advisories")
    archive = many(tmp_path / "all.zip", 3000)
    process = importing(archive, tmp_path)
    while process.poll() is None and not list(home.glob("building-*")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert usable(home)
    imported(home)
    assert not list(home.glob("building-*"))
    assert usable(home)


def test_an_export_of_another_ecosystem_is_not_taken_for_one_of_this(tmp_path: Path) -> None:
    """npm's export has records that name a package of PyPI in passing; all that it lacks would pass unseen."""
    entries = [record(f"GHSA-aaaa-bbbb-{n:04d}", ecosystem="npm", kind="SEMVER") for n in range(9)]
    entries[0]["affected"].append({"package": {"ecosystem": "PyPI", "name": "widget"}, "versions": ["1.0"]})
    archive = write_zip(tmp_path / "PyPI" / "all.zip", entries)
    with pytest.raises(InvalidInput, match="only 1 records speak of 'PyPI'") as error:
        import_snapshot(archive, tmp_path / "home", taken=DAY)
    assert error.value.rule == "advisories/ecosystem"
    assert read_index_of(tmp_path / "home") == []


def test_records_of_others_are_not_counted(tmp_path: Path) -> None:
    entries = [record(f"GHSA-aaaa-bbbb-{n:04d}") for n in range(3)]
    other = record("GHSA-cccc-bbbb-0001", ecosystem="npm", kind="SEMVER")
    gone = record("GHSA-cccc-bbbb-0002", ecosystem="npm", kind="SEMVER", withdrawn="2024-01-01T00:00:00Z")
    archive = write_zip(tmp_path / "PyPI" / "all.zip", [*entries, other, gone])
    snapshot = import_snapshot(archive, tmp_path / "home", taken=DAY)
    assert (snapshot.records, snapshot.withdrawn) == (3, 0)


def test_an_export_in_which_nearly_all_is_withdrawn_is_hollow(tmp_path: Path) -> None:
    home = tmp_path / "home"
    whole = [record(f"GHSA-aaaa-bbbb-{n:04d}") for n in range(1100)]
    hollow = [whole[0], *(entry | {"withdrawn": "2024-01-01T00:00:00Z"} for entry in whole[1:])]
    import_snapshot(write_zip(tmp_path / "1" / "PyPI" / "all.zip", whole), home, taken=DAY)
    with pytest.raises(InvalidInput, match="it has 1 records of PyPI") as error:
        import_snapshot(write_zip(tmp_path / "2" / "PyPI" / "all.zip", hollow), home, taken=DAY)
    assert error.value.rule == "advisories/shrunk"


def dated(*changed: str) -> list[dict[str, object]]:
    return [record(f"GHSA-aaaa-bbbb-{n:04d}") | {"modified": moment} for n, moment in enumerate(changed)]


def test_an_old_export_under_a_new_day_replaces_nothing(tmp_path: Path) -> None:
    """A mirror that was put back, or a stick with a wrong day: the records say themselves when they were changed."""
    home = tmp_path / "home"
    new = write_zip(tmp_path / "new" / "PyPI" / "all.zip", dated("2026-01-01T00:00:00Z", "2026-07-20T00:00:00Z"))
    old = write_zip(tmp_path / "old" / "PyPI" / "all.zip", dated("2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z"))
    kept = import_snapshot(new, home, taken=DAY)
    with pytest.raises(InvalidInput, match="older copy under a later day") as error:
        import_snapshot(old, home, taken=DAY + timedelta(days=9))
    assert error.value.rule == "advisories/older"
    assert read_index_of(home) == [kept]
    assert import_snapshot(new, home, taken=DAY + timedelta(days=9)).taken == DAY + timedelta(days=9)
    assert import_snapshot(old, home, taken=DAY + timedelta(days=9), replace_newer=True).digest != kept.digest


def test_a_record_from_the_future_makes_no_later_export_old(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = write_zip(tmp_path / "1" / "PyPI" / "all.zip", dated("2026-07-01T00:00:00Z", "2099-01-01T00:00:00Z"))
    second = write_zip(tmp_path / "2" / "PyPI" / "all.zip", dated("2026-07-02T00:00:00Z"))
    import_snapshot(first, home, taken=DAY)
    assert import_snapshot(second, home, taken=DAY + timedelta(days=1)).newest == datetime(2026, 7, 2, tzinfo=UTC)


@pytest.mark.parametrize("moment", ["", "soon", 7, None, "0001-01-01T00:00:00+23:59", "2026-07-01"], ids=repr)
def test_any_time_of_change_is_imported(moment: object, tmp_path: Path) -> None:
    entry = record("GHSA-aaaa-bbbb-0001") | {"modified": moment}
    archive = write_zip(tmp_path / "PyPI" / "all.zip", [entry])
    for _ in range(2):
        assert import_snapshot(archive, tmp_path / "home", taken=DAY).records == 1


def read_index_of(home: Path) -> list[Snapshot]:
    """The snapshots in the index of `home`; none where there is no index."""
    return [entry.snapshot for entry in existing_index(home).snapshots]


def test_imports_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    names = ["PyPI", "npm", "Debian:12", "Alpine:v3.20"]
    archives = [
        write_zip(tmp_path / str(n) / "all.zip", [record("GHSA-aaaa-bbbb-cccc", ecosystem=name)])
        for n, name in enumerate(names)
    ]

    def one(archive: Path, name: str) -> None:
        import_snapshot(archive, tmp_path / "home", taken=DAY, ecosystem=name.partition(":")[0])

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(one, archives, names))
    with load(tmp_path / "home") as store:
        assert all(store.matches(name, "widget", "1.0") for name in names)


def importing_after_the_index_is_read(monkeypatch: pytest.MonkeyPatch, home: Path, feeds: list[Path]) -> None:
    """Has somebody import the next of `feeds` whenever the index has been read, before the files are opened."""
    waiting = iter(feeds)

    def read_then_import(of: Path) -> Index:
        index = read_index(of)
        feed = next(waiting, None)
        if feed is not None:
            import_snapshot(feed, home, taken=DAY)
        return index

    monkeypatch.setattr("checks.advisories.opened.read_index", read_then_import)


def renewed(tmp_path: Path, count: int) -> list[Path]:
    """That many snapshots of PyPI, each with a record of its own."""
    return [write_zip(tmp_path / f"{n}" / "PyPI" / "all.zip", [record(f"GHSA-{n}")]) for n in range(count)]


def test_an_import_while_the_snapshot_is_opened_is_no_missing_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index names a file that the import removes: what the new index names is opened."""
    first, second = renewed(tmp_path, 2)
    import_snapshot(first, tmp_path / "home", taken=DAY)
    importing_after_the_index_is_read(monkeypatch, tmp_path / "home", [second])
    with load(tmp_path / "home") as store:
        assert [match.id for match in store.matches("PyPI", "widget", "1.0")] == ["GHSA-1"]


def test_a_snapshot_that_is_replaced_without_end_decides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = renewed(tmp_path, 8)
    import_snapshot(first, tmp_path / "home", taken=DAY)
    importing_after_the_index_is_read(monkeypatch, tmp_path / "home", others)
    with pytest.raises(CouldNotDecide, match="cannot be read"):
        load(tmp_path / "home")


def test_a_file_that_is_gone_for_good_decides_nothing(tmp_path: Path) -> None:
    import_snapshot(renewed(tmp_path, 1)[0], tmp_path / "home", taken=DAY)
    next((tmp_path / "home").glob("*.sqlite")).unlink()
    with pytest.raises(CouldNotDecide, match="cannot be read"):
        load(tmp_path / "home")
