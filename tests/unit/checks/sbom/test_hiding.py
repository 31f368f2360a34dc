"""A malicious provider hides a vulnerable package from the SBOM: each way thought of, and what gives it away."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from checks.interface import CheckResult, Status
from checks.sbom import Bom, check_sbom
from pratique.intake.image.classify import HEAD, classify
from pratique.intake.image.model import FileClass, FileEntry, Kind
from tests.unit.checks.inventories import image_of
from tests.unit.checks.sbom.test_copies import installed
from tests.unit.checks.sbom.test_nested import SITE, asked, inventory, tarred, zipped

OLD = b'__version__ = "1.24.0"\n'
STATUS = b"Package: openssl\nStatus: install ok %s\nVersion: 1.1.1\n"
PACKAGE = b'{"name": "lodash", "version": "4.17.4"}'


def lock(version: str) -> bytes:
    """npm's own notes of an installation."""
    return json.dumps({"packages": {"": {}, "node_modules/lodash": {"version": version}}}).encode()


HIDING: dict[str, tuple[dict[str, bytes], str, str]] = {
    "the distribution is called otherwise": (
        installed("harmless", "1.0", {"urllib3/__init__.py": OLD}),
        "pkg:pypi/urllib3@1.24.0",
        "module-of-another",
    ),
    "the distribution is called nearly so": (
        installed("my-urllib3", "99.0", {"urllib3/__init__.py": OLD}),
        "pkg:pypi/urllib3@1.24.0",
        "module-of-another",
    ),
    "the distribution is called so in other letters": (
        installed("urllib\u0437", "1.24.0", {"urllib3/__init__.py": OLD}),
        "pkg:pypi/urllib3@1.24.0",
        "module-of-another",
    ),
    "old-style metadata of another package claim the module": (
        {
            f"{SITE}/harmless.egg-info/PKG-INFO": b"Name: harmless\nVersion: 1.0\n",
            f"{SITE}/harmless.egg-info/top_level.txt": b"urllib3\n",
            f"{SITE}/urllib3/__init__.py": OLD,
        },
        "pkg:pypi/urllib3@1.24.0",
        "module-of-another",
    ),
    "the metadata begin with an empty line": (
        {f"{SITE}/urllib3-9.dist-info/METADATA": b"\nName: urllib3\nVersion: 9\n", f"{SITE}/urllib3/__init__.py": OLD},
        "pkg:pypi/urllib3@1.24.0",
        "metadata-unreadable",
    ),
    "the module lies beside the standard library": (
        {"usr/local/lib/python3.11/urllib3/__init__.py": OLD},
        "pkg:pypi/urllib3@1.24.0",
        "unowned-module",
    ),
    "dpkg is said to own the module": (
        {
            "usr/lib/python3/dist-packages/urllib3/__init__.py": OLD,
            "var/lib/dpkg/status": b"Package: harmless\nStatus: install ok installed\nVersion: 1\n",
            "var/lib/dpkg/info/harmless.list": b"/usr/lib/python3/dist-packages/urllib3/__init__.py\n",
        },
        "pkg:pypi/urllib3@1.24.0",
        "",
    ),
    "the code lies in an archive on the path": (
        {"opt/lib.zip": zipped({"urllib3/__init__.py": OLD})},
        "pkg:pypi/urllib3@1.24.0",
        "",
    ),
    "the code lies in a tar that is called otherwise": (
        {"opt/lib.bin": tarred({"deep/urllib3/_version.py": OLD})},
        "pkg:pypi/urllib3@1.24.0",
        "",
    ),
    "a package of dpkg is half configured for ever": (
        {"var/lib/dpkg/status": STATUS % b"half-configured"},
        "pkg:deb/debian/openssl@1.1.1",
        "",
    ),
    "a package of dpkg is unpacked for ever": (
        {"var/lib/dpkg/status": STATUS % b"unpacked"},
        "pkg:deb/debian/openssl@1.1.1",
        "",
    ),
    "a package of dpkg has no version": (
        {"var/lib/dpkg/status": b"Package: openssl\nStatus: install ok installed\n \nVersion: 1.1.1\n"},
        "pkg:deb/debian/openssl",
        "",
    ),
    "a package of dpkg is deleted from the status alone": (
        {"var/lib/dpkg/status": STATUS % b"installed", "var/lib/dpkg/info/curl.list": b"/usr/bin/curl\n"},
        "pkg:deb/debian/openssl@1.1.1",
        "status-contradicted",
    ),
    "a package of apk has no version": ({"lib/apk/db/installed": b"P:openssl\n\n"}, "pkg:apk/alpine/openssl", ""),
    "an npm package without a name": (
        {"app/node_modules/lodash/package.json": b'{"main": "i.js"}', "app/node_modules/lodash/i.js": b"x"},
        "pkg:npm/lodash",
        "unowned-module",
    ),
    "an npm package without metadata": ({"node_modules/@a/b/index.js": b"x"}, "pkg:npm/%40a/b", "unowned-module"),
    "an npm package whose version was edited": (
        {"app/node_modules/lodash/package.json": PACKAGE, "app/node_modules/.package-lock.json": lock("4.17.21")},
        "pkg:npm/lodash@4.17.4",
        "version-contradicted",
    ),
    "package.json that looks like a model": (
        {"app/node_modules/lodash/package.json": b'  {"TFL3": 1, "name": "lodash", "version": "4.17.4"}'},
        "pkg:npm/lodash@4.17.4",
        "",
    ),
    "code that looks like a model": (
        {"app/urllib3/__init__.py": b"cos\nsystem\n" + OLD},
        "pkg:pypi/urllib3@1.24.0",
        "",
    ),
}


@pytest.mark.parametrize("way", HIDING)
def test_a_way_to_hide_a_package_gives_it_away(way: str) -> None:
    files, purl, rule = HIDING[way]
    result, bom = asked(files)
    assert purl in {component.purl.partition("?")[0] for component in bom.components}
    assert not rule or f"sbom/{rule}" in {finding.rule_id for finding in result.findings}


def test_a_module_behind_a_link_is_named() -> None:
    """The package lies outside every site directory; a link leads Python to it."""
    made = inventory({"opt/hidden/__init__.py": OLD})
    folders = {
        path: FileEntry(path, Kind.DIRECTORY, 0, 0o755, 0, 0, 0)
        for path in ("opt", "opt/hidden", "usr", "usr/lib", "usr/lib/python3.11", SITE)
    }
    link = FileEntry(f"{SITE}/urllib3", Kind.SYMLINK, 0, 0o777, 0, 0, 0, linkname="/opt/hidden")
    result, bom = check_sbom(replace(made, files={**made.files, **folders, link.path: link}), image_of(), None)
    assert "pkg:pypi/urllib3@1.24.0" in {component.purl for component in bom.components}
    assert "sbom/unowned-module" in {finding.rule_id for finding in result.findings}


def test_bytecode_that_runs_without_its_source_needs_a_hash() -> None:
    files = installed("widget", "1.0", {"widget/__init__.py": b""})
    files[f"{SITE}/widget/evil.pyc"] = b"x"
    files[f"{SITE}/widget-1.0.dist-info/RECORD"] += b"\nwidget/evil.pyc,,\n"
    assert rules(asked(files)) == {"sbom/record-unhashed"}


def test_an_archive_that_was_too_large_to_keep_is_no_pass() -> None:
    made = inventory({"opt/all.zip": zipped({"a.txt": b""})})
    result, _ = check_sbom(replace(made, contents={}, not_kept={"opt/all.zip": "too large"}), image_of(), None)
    assert result.status is Status.INCONCLUSIVE


@pytest.mark.parametrize("start", [b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07\x00", b"hsqs", b"!<arch>\ndebian-binary"])
def test_archives_that_are_not_read_are_named(start: bytes) -> None:
    assert "sbom/archive-unsearched" in rules(asked({"opt/x.bin": start + bytes(60)}))


def test_an_encrypted_archive_is_no_pass() -> None:
    locked = bytearray(zipped({"secret.bin": b"x" * 100}))
    locked[6] |= 1
    locked[locked.rindex(b"PK\x01\x02") + 8] |= 1
    assert asked({"opt/a.zip": bytes(locked)})[0].status is Status.INCONCLUSIVE


HONEST: dict[str, Mapping[str, bytes]] = {
    "another build of a package": installed("opencv-python-headless", "4.10", {"cv2/__init__.py": b""}),
    "a package with two modules": installed("PyYAML", "6.0", {"yaml/__init__.py": b"", "_yaml/__init__.py": b""}),
    "the standard library": {
        "usr/local/lib/python3.13/_colorize.py": b"",
        "usr/local/lib/python3.11/__hello__.py": b"",
        "usr/lib/python3.11/json/__init__.py": b"__version__ = '2.0.9'",
    },
    "folders of ES modules": {
        "node_modules/a/package.json": b'{"name": "a", "version": "1"}',
        "node_modules/a/dist/package.json": b'{"type": "module"}',
        "node_modules/a/dist/i.js": b"",
        "node_modules/.bin/a.js": b"",
    },
}


@pytest.mark.parametrize("case", HONEST)
def test_honest_packages_are_not_suspected(case: str) -> None:
    assert rules(asked(HONEST[case])) == set()


@pytest.mark.parametrize("name", ["package.json", "package-lock.json"])
def test_metadata_of_node_are_told_from_models_by_their_beginning(name: str) -> None:
    assert classify(f"a/{name}", b'{"name": 1}'[:HEAD], 11) is FileClass.NODE_METADATA
    assert classify(f"a/{name}", b"\x80\x04N."[:HEAD], 4) is FileClass.MODEL


def rules(answer: tuple[CheckResult, Bom]) -> set[str]:
    """Rules that spoke, without the note that nothing was declared."""
    return {finding.rule_id for finding in answer[0].findings} - {"sbom/none-declared"}


def test_what_debian_rebuilt_is_a_warning_where_dpkg_owns_it_and_a_failure_elsewhere() -> None:
    for site, status in (("usr/lib/python3/dist-packages", Status.PASSED), ("opt/site-packages", Status.FAILED)):
        made = installed("widget", "1.0", {"widget/_c.so": b"as built for PyPI"})
        files = {path.replace(SITE, site): data for path, data in made.items()}
        files[f"{site}/widget/_c.so"] = b"as Debian built it"
        files["var/lib/dpkg/status"] = b"Package: python3-widget\nStatus: install ok installed\nVersion: 1\n"
        files["var/lib/dpkg/info/python3-widget.list"] = "".join(f"/{path}\n" for path in files).encode()
        assert asked(files)[0].status is status


def test_one_version_in_two_spellings_is_one() -> None:
    folder = f"{SITE}/tool/_vendor"
    files = {
        f"{folder}/vendor.txt": b"certifi==2022.12.7\n",
        f"{folder}/certifi/__init__.py": b'__version__ = "2022.12.07"\n',
    }
    assert "sbom/version-in-code" not in rules(asked(files))
