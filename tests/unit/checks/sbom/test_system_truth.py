"""What the system's packages say of themselves against their files, and `os-release` against what they show."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.interface import CheckResult, Status
from checks.sbom import Bom, Origin, check_sbom
from pratique.intake.image.notes import Notes
from tests.unit.checks.inventories import image_of
from tests.unit.checks.sbom.test_hiding import rules
from tests.unit.checks.sbom.test_nested import inventory


def hashed(files: Mapping[str, bytes], *, without: str = "") -> tuple[CheckResult, Bom]:
    """The check of files of which the digests were noted, but of the one called `without`."""
    made = inventory(files)
    noted = {
        path: Notes(hashlib.md5(data).hexdigest(), hashlib.sha1(data).hexdigest())  # noqa: S324  as dpkg and apk do
        for path, data in files.items()
        if path != without
    }
    entries = {path: replace(entry, notes=noted.get(path, Notes())) for path, entry in made.files.items()}
    return check_sbom(replace(made, files=entries), image_of(), None)


TOOL = b"\x7fELF as it was built"
SUM = hashlib.md5(TOOL).hexdigest().encode()  # noqa: S324
STATUS = b"Package: curl\nStatus: install ok installed\nVersion: 7.88\n"
LIST = b"/usr/bin/curl\n/etc/curlrc\n"
SHA1 = b"Q1" + base64.b64encode(hashlib.sha1(TOOL).digest())  # noqa: S324
APK = b"P:curl\nV:8.9.1-r0\nF:usr/bin\nR:curl\na:0:0:755\nZ:%s\n\n"


def debian(tool: bytes, sums: bytes = SUM + b"  usr/bin/curl\n", folder: str = "info") -> dict[str, bytes]:
    """One package of dpkg with its list of digests."""
    return {
        "usr/bin/curl": tool,
        "var/lib/dpkg/status": STATUS,
        "var/lib/dpkg/info/curl.list": LIST,
        f"var/lib/dpkg/{folder}/curl.md5sums": sums,
    }


TAKEN_OVER = {
    **debian(b"new"),
    "var/lib/dpkg/info/curl2.md5sums": hashlib.md5(b"new").hexdigest().encode() + b"  usr/bin/curl\n",  # noqa: S324
}
CHANGED: dict[str, tuple[dict[str, bytes], set[str]]] = {
    "dpkg's own file": (debian(TOOL), set()),
    "a changed file of dpkg": (debian(b"\x7fELF changed"), {"sbom/system-file-changed"}),
    "a changed file of an image without a shell": (debian(b"x", folder="status.d"), {"sbom/system-file-changed"}),
    "a changed setting": (debian(TOOL, SUM + b"  etc/curlrc\n") | {"etc/curlrc": b"mine"}, set()),
    "a file that is gone": (debian(TOOL, SUM + b"  usr/share/doc/curl/x\n"), set()),
    "a file that another package took over": (TAKEN_OVER, set()),
    "lines that are none": (debian(TOOL, b"\xff\x00  x\n" + SUM + b"\n\n" + SUM + b" usr/bin/curl"), set()),
    "apk's own file": ({"usr/bin/curl": TOOL, "lib/apk/db/installed": APK % SHA1}, set()),
    "a changed file of apk": (
        {"usr/bin/curl": b"changed", "lib/apk/db/installed": APK % SHA1},
        {"sbom/system-file-changed"},
    ),
    "a changed file of apk by SHA-256": (
        {"usr/bin/curl": b"changed", "lib/apk/db/installed": APK % (b"Q2" + base64.b64encode(bytes(32)))},
        {"sbom/system-file-changed"},
    ),
    "a digest of apk that is none": ({"usr/bin/curl": TOOL, "lib/apk/db/installed": APK % b"Q1!!"}, set()),
}


@pytest.mark.parametrize("case", CHANGED)
def test_files_of_packages_are_held_against_their_lists(case: str) -> None:
    files, expected = CHANGED[case]
    assert rules(hashed(files)) == expected


def test_files_that_could_not_be_compared_are_no_pass() -> None:
    """An image that hid its package manager until its files had gone by."""
    result, _ = hashed(debian(TOOL), without="usr/bin/curl")
    assert result.status is Status.INCONCLUSIVE
    assert rules((result, _)) == {"sbom/file-unchecked"}


def test_what_a_package_puts_where_none_should_is_noted() -> None:
    files = debian(TOOL, SUM + b"  opt/vendor/lib.so\n") | {"opt/vendor/lib.so": b"x"}
    result, _ = hashed(files, without="opt/vendor/lib.so")
    assert (result.status, rules((result, _))) == (Status.PASSED, {"sbom/file-elsewhere"})


@given(st.binary(max_size=300))
@settings(max_examples=50, deadline=None)
def test_any_list_is_read_or_passed_over(noise: bytes) -> None:
    for files in (debian(TOOL, noise), {"lib/apk/db/installed": APK % noise, "usr/bin/curl": TOOL}):
        assert hashed(files)[0].status in Status


OS = b'ID=%s\nVERSION_ID="%s"\n'
DEB = b"Package: %s\nStatus: install ok installed\nVersion: %s\n\n"
BOOKWORM = DEB % (b"base-files", b"12.4+deb12u9")
UPDATES = b"".join(DEB % (name, b"1.0-1+deb12u2") for name in (b"a", b"b", b"c"))
JAMMY = b"".join(DEB % (name, b"1.0-1ubuntu0.22.04.1") for name in (b"a", b"b", b"c"))
ALPINE = b"P:alpine-release\nV:3.18.4-r0\n\n"
RELEASES: dict[str, tuple[dict[str, bytes], str]] = {
    "a newer Debian than base-files": (
        {"etc/os-release": OS % (b"debian", b"13"), "var/lib/dpkg/status": BOOKWORM},
        "Debian:12",
    ),
    "a newer Debian than its updates, base-files edited too": (
        {
            "etc/os-release": OS % (b"debian", b"13"),
            "var/lib/dpkg/status": DEB % (b"base-files", b"13.1") + UPDATES,
        },
        "Debian:12",
    ),
    "a Debian that nobody made": (
        {"etc/os-release": OS % (b"debian", b"99"), "var/lib/dpkg/status": BOOKWORM},
        "Debian:12",
    ),
    "Debian as Ubuntu": (
        {"etc/os-release": OS % (b"ubuntu", b"24.04"), "var/lib/dpkg/status": BOOKWORM},
        "Debian:12",
    ),
    "a newer Ubuntu": (
        {
            "etc/os-release": OS % (b"ubuntu", b"24.04"),
            "var/lib/dpkg/status": DEB % (b"base-files", b"12ubuntu4.6") + JAMMY,
        },
        "Ubuntu:22.04",
    ),
    "Debian as an enterprise distribution": (
        {"etc/os-release": OS % (b"rhel", b"9"), "var/lib/dpkg/status": DEB % (b"a", b"1")},
        "Debian",
    ),
    "a newer Alpine than its packages": (
        {"etc/os-release": OS % (b"alpine", b"3.20.1"), "lib/apk/db/installed": ALPINE},
        "Alpine:v3.18",
    ),
    "Alpine as Wolfi": (
        {"etc/os-release": OS % (b"wolfi", b"20230201"), "lib/apk/db/installed": ALPINE},
        "Alpine:v3.18",
    ),
}


@pytest.mark.parametrize("lie", RELEASES)
def test_a_false_release_is_told_and_takes_no_advisory_away(lie: str) -> None:
    files, ecosystem = RELEASES[lie]
    result, bom = hashed(files)
    packages = {(component.name, component.ecosystem) for component in bom.components}
    assert result.status is Status.FAILED
    assert rules((result, bom)) == {"sbom/release-contradicted"}
    assert {(name, ecosystem) for name, _ in packages} <= packages


HONEST: dict[str, dict[str, bytes]] = {
    "Debian": {
        "etc/os-release": OS % (b"debian", b"12"),
        "etc/debian_version": b"12.11\n",
        "var/lib/dpkg/status": BOOKWORM + UPDATES,
    },
    "single packages of an older release": {
        "etc/os-release": OS % (b"debian", b"12"),
        "var/lib/dpkg/status": BOOKWORM + UPDATES + DEB % (b"libssl1.1", b"1.1.1w-0+deb11u1"),
    },
    "as many updates of an older release as of its own": {
        "etc/os-release": OS % (b"debian", b"12"),
        "var/lib/dpkg/status": UPDATES.replace(b"deb12", b"deb11").replace(b"Package: ", b"Package: old-") + UPDATES,
    },
    "what is to be the next Debian": {
        "etc/os-release": b"ID=debian\n",
        "etc/debian_version": b"forky/sid\n",
        "var/lib/dpkg/status": DEB % (b"base-files", b"14"),
    },
    "a distribution made of Debian": {
        "etc/os-release": OS % (b"raspbian", b"11"),
        "var/lib/dpkg/status": BOOKWORM,
    },
    "no os-release": {"var/lib/dpkg/status": BOOKWORM + UPDATES},
    "Alpine with a second repository": {
        "etc/os-release": OS % (b"alpine", b"3.18.4"),
        "etc/apk/repositories": b"https://a/v3.18/main\nhttps://a/v3.16/community\n",
        "lib/apk/db/installed": ALPINE,
    },
}


@pytest.mark.parametrize("case", HONEST)
def test_an_honest_release_is_believed(case: str) -> None:
    result, bom = hashed(HONEST[case])
    assert rules((result, bom)) == set()
    assert not [component for component in bom.components if component.origin is Origin.DETECTED]
