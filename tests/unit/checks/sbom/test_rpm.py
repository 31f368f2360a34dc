"""RPM packages: read from every form of the database, hostile ones refused, nothing unknown taken for nothing."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.interface import CheckResult, Status
from checks.sbom import Bom, check_sbom
from checks.sbom.rpm import Unreadable, read_header
from checks.sbom.syft import find_syft
from pratique.digests import sha256_bytes
from tests.unit.checks.inventories import image_of, inventory_of
from tests.unit.checks.sbom.rpm_databases import (
    files,
    header,
    in_berkeley_db,
    in_ndb,
    in_sqlite,
    in_write_ahead_log,
    package,
)

SQLITE = "var/lib/rpm/rpmdb.sqlite"
ALMA = b'ID="almalinux"\nVERSION_ID="9.4"\n'
MANY = [f"capability-{number}" for number in range(400)]  # syft passes over headers that BerkeleyDB keeps in a page
BASH = package("bash", "5.1.8", "9.el9", epoch=0, provides=["bash", "/bin/sh", *MANY], requires=["libc.so.6()(64bit)"])
GLIBC = package("glibc", "2.34", "100.el9", epoch=2, provides=["libc.so.6()(64bit)", *MANY], licence="LGPLv2+ and MIT")

needs_syft = pytest.mark.skipif(find_syft() is None, reason="the extra `syft` is not installed")


def check(contents: Mapping[str, bytes]) -> tuple[CheckResult, Bom]:
    """The check's answer for an image with these files."""
    return check_sbom(inventory_of({"etc/os-release": ALMA, **contents}), image_of(), None)


def rules(result: CheckResult) -> set[str]:
    """Rules that spoke, without the note that nothing was declared."""
    return {finding.rule_id for finding in result.findings} - {"sbom/none-declared"}


def test_packages_with_epoch_architecture_release_source_and_edges() -> None:
    result, bom = check({SQLITE: in_sqlite([BASH, GLIBC])})
    bash, glibc = bom.components
    assert bash.purl == (
        "pkg:rpm/almalinux/bash@5.1.8-9.el9?arch=x86_64&distro=almalinux-9.4&upstream=bash-5.1.8-9.el9.src.rpm"
    )
    assert (glibc.version, "epoch=2" in glibc.purl) == ("2:2.34-100.el9", True)
    assert (bash.ecosystem, glibc.asked) == ("AlmaLinux:9", ("glibc", "2:2.34-100.el9"))
    assert (bash.requires, glibc.requires) == (("glibc",), ())
    written = {entry["name"]: entry for entry in json.loads(bom.document)["components"]}
    assert written["glibc"]["licenses"] == [{"expression": "LGPL-2.0-or-later AND MIT"}]
    assert (result.status, rules(result)) == (Status.PASSED, set())


def test_what_the_write_ahead_log_adds_is_read() -> None:
    database, log = in_write_ahead_log([BASH], [GLIBC])
    _, bom = check({SQLITE: database, f"{SQLITE}-wal": log})
    assert [component.name for component in bom.components] == ["bash", "glibc"]


def test_files_that_are_not_those_of_the_package_are_told() -> None:
    honest = sha256_bytes(b"\x7fELF honest").removeprefix("sha256:")
    owner = package("openssl", **files({"usr/bin/openssl": honest, "usr/share/doc/gone": honest}))
    assert not rules(check({SQLITE: in_sqlite([owner]), "usr/bin/openssl": b"\x7fELF honest"})[0])
    changed, _ = check({SQLITE: in_sqlite([owner]), "usr/bin/openssl": b"\x7fELF another"})
    assert rules(changed) == {"sbom/system-file-changed"}
    settings_file = package("openssl", **files({"usr/bin/openssl": honest}, flags=1))
    assert not rules(check({SQLITE: in_sqlite([settings_file]), "usr/bin/openssl": b"\x7fELF another"})[0])


def test_programs_of_a_package_that_was_deleted_from_the_database_stay_unowned() -> None:
    owner = package("bash", **files({"usr/bin/bash": ""}))
    result, _ = check({SQLITE: in_sqlite([owner]), "usr/bin/bash": b"\x7fELF", "usr/bin/curl": b"\x7fELF"})
    (finding,) = [f for f in result.findings if f.rule_id == "sbom/system-file-unowned"]
    assert "usr/bin/curl" in finding.message
    assert "usr/bin/bash" not in finding.message


def twice(blob: bytes) -> bytes:
    """A package's header with its last tag once more."""
    entries, length = struct.unpack_from(">II", blob)
    index, store = blob[8 : 8 + 16 * entries], blob[8 + 16 * entries :]
    return struct.pack(">II", entries + 1, length) + index + index[-16:] + store


ENDLESS = (
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS hnum, CAST(x AS BLOB) AS blob FROM n"
)
HOSTILE: dict[str, bytes] = {
    "no database": b"x",
    "cut short": in_sqlite([BASH, GLIBC])[:5000],
    "without packages": in_sqlite([], script="DROP TABLE Packages"),
    "a view that never ends": in_sqlite([], script=f"DROP TABLE Packages; CREATE VIEW Packages AS {ENDLESS}"),
    "a view of another table": in_sqlite(
        [BASH], script="ALTER TABLE Packages RENAME TO p; CREATE VIEW Packages AS SELECT hnum, blob FROM p"
    ),
    "a header that is a text": in_sqlite([], script="INSERT INTO Packages (blob) VALUES ('x')"),
    "a header beyond all bounds": in_sqlite([], script="INSERT INTO Packages (blob) VALUES (zeroblob(40000000))"),
    "counts that do not fit": in_sqlite([b"\xff" * 64]),
    "a text without an end": in_sqlite([package("bash")[:-1]]),
    "no name": in_sqlite([header(version="1")]),
    "files that do not fit together": in_sqlite([package("a", folders=[9], bases=["x"], directories=["/"])]),
    "a directory as long as a book that each file repeats": in_sqlite(
        [package("a", bases=["x"] * 200, folders=[0] * 200, directories=["d" * 1024**2])]
    ),
    "one tag again and again": in_sqlite([twice(package("a", requires=["x"]))]),
    "numbers that are texts": in_sqlite(
        [
            package(
                "a", bases=["x"], folders=[0], directories=["/"], digests=["x"], algorithm=8, verify=[1], flags="text"
            )
        ]
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_database_that_cannot_be_read_is_no_pass(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checks.sbom.syft.find_syft", lambda: None)
    result, bom = check({SQLITE: HOSTILE[case]})
    assert (result.status, rules(result)) == (Status.INCONCLUSIVE, {"sbom/database-not-read"})
    assert bom.components == ()


def test_an_unfinished_transaction_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checks.sbom.syft.find_syft", lambda: None)
    assert check({SQLITE: in_sqlite([BASH]), f"{SQLITE}-journal": b"x"})[0].status is Status.INCONCLUSIVE


def test_without_syft_the_other_forms_are_inconclusive_and_say_how_to_read_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("checks.sbom.syft.find_syft", lambda: None)
    result, _ = check({"usr/lib/sysimage/rpm/Packages.db": in_ndb([BASH])})
    (finding,) = [f for f in result.findings if f.rule_id == "sbom/database-not-read"]
    assert result.status is Status.INCONCLUSIVE
    assert "pratique[syft]" in finding.fix


@needs_syft
def test_syft_reads_ndb() -> None:
    assert_both_known({"usr/lib/sysimage/rpm/Packages.db": in_ndb([BASH, GLIBC])})


@needs_syft
def test_syft_reads_berkeley_db() -> None:
    loader = shutil.which("db5.3_load")
    if loader is None:
        pytest.skip("db5.3_load (Debian's db5.3-util) is not installed")
    assert_both_known({"var/lib/rpm/Packages": in_berkeley_db([BASH, GLIBC], loader)})


def assert_both_known(contents: Mapping[str, bytes]) -> None:
    """The same components as our own reading of the same packages gives, but for the files they own."""
    result, bom = check(contents)
    _, own = check({SQLITE: in_sqlite([BASH, GLIBC])})
    assert result.status is Status.PASSED
    assert [(c.purl, c.requires, c.licences) for c in bom.components] == [
        (c.purl, c.requires, c.licences) for c in own.components
    ]


@pytest.mark.parametrize("program", ["#!/bin/sh\nexit 3\n", "#!/bin/sh\nsleep 60\n", "#!/bin/sh\n: > packages.json\n"])
def test_a_syft_that_fails_hangs_or_says_nothing_is_no_pass(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "syft"
    script.write_text(program)
    script.chmod(0o755)
    monkeypatch.setattr("checks.sbom.syft.find_syft", lambda: script)
    monkeypatch.setattr("checks.sbom.syft._SECONDS", 0.5)
    assert check({"var/lib/rpm/Packages": b"x"})[0].status is Status.INCONCLUSIVE


SPEC = """Name: tiny
Epoch: 2
Version: 1.0
Release: 3
Summary: x
License: MIT and GPLv2+
BuildArch: noarch
Requires: other
%description
x
%install
mkdir -p %{buildroot}/usr/share/tiny
echo hi > %{buildroot}/usr/share/tiny/a
%files
/usr/share/tiny/a
"""


def test_a_database_that_rpm_itself_wrote(tmp_path: Path) -> None:
    if not all(shutil.which(program) for program in ("rpm", "rpmbuild")):
        pytest.skip("rpm and rpmbuild (Debian's rpm) are not installed")
    (tmp_path / "tiny.spec").write_text(SPEC)

    def run(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)

    run("rpmbuild", "-bb", "--define", f"_topdir {tmp_path}/build", "tiny.spec")
    (built,) = tmp_path.glob("build/RPMS/*/*.rpm")
    root = ("--root", str(tmp_path / "root"), "--dbpath", "/db", "--define", "_db_backend sqlite")
    run("rpm", *root, "--initdb")
    run("rpm", *root, "-i", "--justdb", "--nodeps", "--ignorearch", str(built))
    database = tmp_path / "root/db/rpmdb.sqlite"
    log = database.with_name("rpmdb.sqlite-wal")
    contents = {SQLITE: database.read_bytes(), f"{SQLITE}-wal": log.read_bytes() if log.exists() else b""}
    result, bom = check({**contents, "usr/share/tiny/a": b"hi\n"})
    (tiny,) = bom.components
    assert (tiny.name, tiny.version) == ("tiny", "2:1.0-3")
    assert result.status is Status.PASSED
    assert rules(check({**contents, "usr/share/tiny/a": b"ho\n"})[0]) == {"sbom/system-file-changed"}


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(BASH) - 1), st.integers(0, 255), st.integers(0, 40))
def test_any_header_is_read_or_refused(place: int, value: int, cut: int) -> None:
    damaged = bytearray(package("bash", provides=["a", "b"], **files({"usr/bin/bash": "00"})))
    damaged[place % len(damaged)] = value
    try:
        assert read_header(bytes(damaged[: len(damaged) - cut])).name
    except Unreadable as error:
        assert str(error)
