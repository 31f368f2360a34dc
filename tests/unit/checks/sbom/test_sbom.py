"""SBOM: components of every ecosystem, packages that lie about themselves, declared against found."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.interface import CheckResult, Level, Status
from checks.sbom import Bom, Origin, check_sbom, make_bom
from checks.sbom.declared import read_declared
from pratique.errors import InvalidInput
from pratique.intake.image.model import FileEntry, Kind
from tests.assets.clocks import fixed_clock
from tests.unit.checks.inventories import image_of, inventory_of
from tests.unit.checks.stores import MemoryStore

SITE = "usr/lib/python3.11/site-packages"
RELEASE = b'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12"\n'


def package(
    name: str = "widget",
    version: str = "1.0",
    files: Mapping[str, bytes] | None = None,
    *,
    directory: str = "",
    extra: bytes = b"",
) -> dict[str, bytes]:
    """The files of an installed Python package with a true RECORD."""
    code = dict(files if files is not None else {f"{name}/__init__.py": b"answer = 42\n"})
    info = directory or f"{name}-{version}.dist-info"
    code[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode() + extra + b"\ntext\n"
    )
    rows = [f"{path},sha256={_b64(data)},{len(data)}" for path, data in code.items()]
    code[f"{info}/RECORD"] = ("\n".join([*rows, f"{info}/RECORD,,"]) + "\n").encode()
    return {f"{SITE}/{path}": data for path, data in code.items()}


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def check(files: Mapping[str, bytes], declared: bytes | None = None) -> tuple[CheckResult, Bom]:
    """The check's answer."""
    return check_sbom(inventory_of(files), image_of(), declared, MemoryStore())


def rules(result: CheckResult) -> dict[str, Level]:
    """Rules that spoke, without the note that nothing was declared."""
    return {f.rule_id: f.level for f in result.findings if f.rule_id != "sbom/none-declared"}


def test_an_honest_package_passes() -> None:
    result, bom = check(package(extra=b"License-Expression: MIT\nRequires-Dist: gadget>=1; extra == 'x'\n"))
    assert result.status is Status.PASSED
    assert rules(result) == {}
    (component,) = bom.components
    assert (component.purl, component.licences, component.requires) == ("pkg:pypi/widget@1.0", ("MIT",), ())


DPKG = b"""Package: libc6
Status: install ok installed
Architecture: amd64
Source: glibc
Version: 2.36-9+deb12u4
Depends: libgcc-s1, libcrypt1 (>= 1:4.4.10-10~)
Description: GNU C Library
 continued

Package: libgcc-s1
Status: install ok installed
Architecture: amd64
Source: gcc-12 (12.2.0-14)
Version: 1:12.2.0-14

Package: removed
Status: deinstall ok config-files
Version: 1
"""


def test_debian_packages_keep_epoch_source_and_release() -> None:
    result, bom = check({"var/lib/dpkg/status": DPKG, "etc/os-release": RELEASE})
    libc, gcc = bom.components
    assert libc.purl == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12&upstream=glibc"
    assert libc.ecosystem == "Debian:12"
    assert libc.asked == ("glibc", "2.36-9+deb12u4")
    assert gcc.version == "1:12.2.0-14"
    assert gcc.asked == ("gcc-12", "12.2.0-14")
    edges = {edge["ref"]: edge.get("dependsOn", []) for edge in json.loads(bom.document)["dependencies"]}
    assert edges[libc.purl] == [gcc.purl]
    assert result.status is Status.PASSED


def test_alpine_packages() -> None:
    database = b"P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nF:lib\nR:libc.so\n\nP:busybox\nV:1.36.1-r29\n\n"
    _, bom = check({"lib/apk/db/installed": database, "etc/os-release": b"ID=alpine\nVERSION_ID=3.20.3\n"})
    assert [c.ecosystem for c in bom.components] == ["Alpine:v3.20", "Alpine:v3.20"]
    assert bom.components[1].purl == "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.20.3"


def test_node_packages_with_scopes() -> None:
    files = {
        "app/node_modules/@scope/thing/package.json": b'{"name": "@scope/thing", "version": "1.2.3", "license": "MIT"}',
        "app/node_modules/other/package.json": b'{"name": "liar", "version": "9"}',
        "app/node_modules/odd/package.json": b"{",
        "app/package.json": b'{"name": "app", "version": "1"}',
    }
    result, bom = check(files)
    assert [c.purl for c in bom.components] == ["pkg:npm/%40scope/thing@1.2.3", "pkg:npm/liar@9"]
    assert rules(result) == {"sbom/name-contradicted": Level.ERROR, "sbom/metadata-unreadable": Level.WARNING}


def tampered() -> dict[str, bytes]:
    files = package()
    files[f"{SITE}/widget/__init__.py"] = b"answer = 43\n"
    return files


def without(name: str) -> dict[str, bytes]:
    files = package()
    del files[f"{SITE}/{name}"]
    return files


LIES: dict[str, tuple[dict[str, bytes], str, Level]] = {
    "a file was changed": (tampered(), "record-hash", Level.ERROR),
    "the name is another": (package("gadget", directory="widget-1.0.dist-info"), "name-contradicted", Level.ERROR),
    "the version is another": (
        package("widget", "6.0", directory="widget-1.0.dist-info"),
        "version-contradicted",
        Level.ERROR,
    ),
    "a file is missing": (without("widget/__init__.py"), "record-missing", Level.NOTE),
    "the metadata were deleted": ({f"{SITE}/widget/__init__.py": b""}, "unowned-module", Level.WARNING),
    "the RECORD was deleted": (without("widget-1.0.dist-info/RECORD"), "record-absent", Level.NOTE),
    "a file was added": ({**package(), f"{SITE}/widget/evil.py": b""}, "unowned-file", Level.WARNING),
    "a startup file": ({**package(), f"{SITE}/evil.pth": b"import os"}, "startup-file", Level.WARNING),
    "a module of bytecode": ({f"{SITE}/evil.pyc": b""}, "unowned-module", Level.WARNING),
    "a hash of another kind": (
        {p: d.replace(b"sha256=", b"md5=") if p.endswith("RECORD") else d for p, d in package().items()},
        "record-hash",
        Level.ERROR,
    ),
    "no hash for code": (
        {
            p: d.replace(b"sha256=" + _b64(b"answer = 42\n").encode(), b"") if p.endswith("RECORD") else d
            for p, d in package().items()
        },
        "record-unhashed",
        Level.WARNING,
    ),
    "metadata without a name": (
        {f"{SITE}/widget-1.0.dist-info/METADATA": b"Version: 1\n"},
        "metadata-unreadable",
        Level.WARNING,
    ),
}


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_a_lie_is_found(lie: str) -> None:
    files, rule, level = LIES[lie]
    result, _ = check(files)
    assert rules(result).get(f"sbom/{rule}") is level, rules(result)
    assert all(f.fix for f in result.findings)


def test_a_known_module_without_metadata_becomes_a_component() -> None:
    _, bom = check({f"{SITE}/yaml/__init__.py": b"__version__ = '5.3'"})
    (component,) = bom.components
    assert (component.name, component.origin) == ("PyYAML", Origin.DETECTED)


def test_bytecode_of_owned_sources_is_owned() -> None:
    files = package()
    files[f"{SITE}/widget/__pycache__/__init__.cpython-311.pyc"] = b""
    assert rules(check(files)[0]) == {}


def test_what_the_system_owns_has_an_owner() -> None:
    folder = "usr/lib/python3/dist-packages"
    files = {
        f"{folder}/apt.py": b"",
        "var/lib/dpkg/status": b"Package: python3-apt\nStatus: install ok installed\nVersion: 2.6\n",
        "var/lib/dpkg/info/python3-apt.list": f"/.\n/{folder}\n/{folder}/apt.py\n".encode(),
    }
    assert rules(check(files)[0]) == {}


@pytest.mark.parametrize(
    ("files", "rule"),
    [
        ({"etc/os-release": RELEASE}, "database-missing"),
        ({"etc/os-release": b"ID=fedora"}, "database-missing"),
        ({"var/lib/rpm/rpmdb.sqlite": b"x", "etc/os-release": b"ID=fedora"}, "database-not-read"),
    ],
)
def test_packages_that_nobody_can_know_are_inconclusive(files: dict[str, bytes], rule: str) -> None:
    result, _ = check(files)
    assert result.status is Status.INCONCLUSIVE
    assert f"sbom/{rule}" in rules(result)


def test_a_record_that_leaves_the_image_is_ignored() -> None:
    files = package()
    files[f"{SITE}/widget-1.0.dist-info/RECORD"] += b"../../../../../../../etc/passwd,sha256=AAAA,1\n"
    assert rules(check(files)[0]) == {}


def test_metadata_too_large_to_keep_are_inconclusive() -> None:
    inventory = inventory_of(package(), not_kept={f"{SITE}/widget-1.0.dist-info/METADATA": "too large"})
    result, bom = check_sbom(inventory, image_of(), None, MemoryStore())
    assert result.status is Status.INCONCLUSIVE
    assert bom.components == ()


EVERYTHING = {
    **package(extra=b"Requires-Dist: gadget\nClassifier: License :: OSI Approved :: MIT License\n"),
    **package("gadget"),
    "opt/other/site-packages/widget-1.0.dist-info/METADATA": b"Name: widget\nVersion: 1.0\n",
    "var/lib/dpkg/status": DPKG,
    "etc/os-release": RELEASE,
    "app/node_modules/a/package.json": b'{"name": "a", "version": "1.0.0"}',
    "app/model.pkl": b"\x80\x04N.",
    f"{SITE}/yaml/__init__.py": b"",
}


def test_the_document_is_valid_and_the_same_each_time() -> None:
    first, _, _ = make_bom(inventory_of(EVERYTHING), image_of())
    again, _, _ = make_bom(inventory_of(dict(reversed(EVERYTHING.items()))), image_of())
    assert first.document == again.document
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(first.document.decode()) is None
    clock = fixed_clock(datetime(2026, 1, 1, tzinfo=UTC))
    timed, _, _ = make_bom(inventory_of(EVERYTHING), image_of(), clock=clock)
    assert validator.validate_str(timed.document.decode()) is None
    assert json.loads(timed.document)["metadata"]["timestamp"] == "2026-01-01T00:00:00Z"
    kinds = {entry["type"] for entry in json.loads(first.document)["components"]}
    assert kinds == {"library", "machine-learning-model"}


def cyclonedx(*purls: str) -> bytes:
    components = [{"type": "library", "name": "x", "purl": purl} for purl in purls]
    return json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": components}).encode()


def spdx(*purls: str) -> bytes:
    packages = [{"externalRefs": [{"referenceType": "purl", "referenceLocator": purl}]} for purl in purls]
    return json.dumps({"spdxVersion": "SPDX-2.3", "packages": packages}).encode()


@pytest.mark.parametrize("write", [cyclonedx, spdx])
def test_declared_against_found(write: object) -> None:
    assert callable(write)
    files = {**package("widget"), **package("gadget", "2.0")}
    agreed, _ = check(files, write("pkg:pypi/widget@1.0", "pkg:pypi/gadget@2.0"))
    assert rules(agreed) == {}
    differing, _ = check(files, write("pkg:pypi/widget@1.1", "pkg:pypi/gone@3"))
    assert rules(differing) == {
        "sbom/version-differs": Level.ERROR,
        "sbom/undeclared": Level.WARNING,
        "sbom/not-found": Level.WARNING,
    }


def test_our_own_document_agrees_with_itself() -> None:
    _, bom = check(EVERYTHING)
    result, _ = check(EVERYTHING, bom.document)
    assert not [rule for rule in rules(result) if rule.split("/")[1] in ("undeclared", "not-found", "version-differs")]


UNREADABLE: dict[str, bytes] = {
    "not JSON": b"<bom/>",
    "an entity bomb": b'<!DOCTYPE x [<!ENTITY a "b">]><bom>&a;</bom>',
    "another document": b'{"hello": 1}',
    "a component that is a text": b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": ["x"]}',
    "a purl that is none": cyclonedx("not a purl"),
    "a name of a million letters": cyclonedx("pkg:pypi/" + "a" * 1_000_000),
    "too many components": cyclonedx(*["pkg:pypi/a@1"] * 100_001),
    "nested too deep": b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "components": '
    + b'[{"components": ' * 200
    + b"[]"
    + b"}]" * 200
    + b"}",
}


@pytest.mark.parametrize("case", UNREADABLE, ids=str)
def test_a_declared_sbom_that_cannot_be_read_fails(case: str) -> None:
    result, _ = check(package(), UNREADABLE[case])
    assert result.status is Status.FAILED
    assert "sbom/declared-unreadable" in rules(result)


def test_a_declared_sbom_with_a_cycle_is_read() -> None:
    document = json.loads(cyclonedx("pkg:pypi/widget@1.0"))
    document["dependencies"] = [{"ref": "a", "dependsOn": ["b"]}, {"ref": "b", "dependsOn": ["a"]}]
    assert len(read_declared(json.dumps(document).encode())) == 1


def test_fifty_thousand_components_are_compared() -> None:
    assert len(read_declared(cyclonedx(*(f"pkg:pypi/p{n}@1" for n in range(50_000))))) == 50_000


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_declared_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        read_declared(data)
    except InvalidInput as error:
        assert error.rule


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(
        (
            "var/lib/dpkg/status",
            "lib/apk/db/installed",
            "etc/os-release",
            f"{SITE}/a-1.dist-info/METADATA",
            f"{SITE}/a-1.dist-info/RECORD",
            "x/node_modules/a/package.json",
        )
    ),
    st.binary(max_size=300) | st.text(alphabet='Package: Version:1.0\n,="{}Nameid/PVFR', max_size=200).map(str.encode),
)
def test_any_metadata_get_an_answer(path: str, data: bytes) -> None:
    result, bom = check({**package("a", "1"), path: data})
    assert result.status in Status
    assert bom.document


def test_more_metadata_than_are_read_are_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checks.sbom.python.MAX_LISTED", 100)
    assert check(package())[0].status is Status.INCONCLUSIVE


def test_a_file_behind_a_linked_directory_is_owned_and_compared() -> None:
    made = inventory_of({**package(files={"../../../bin64/tool": b"x"}), "usr/bin/tool": b"y"})
    folders = {path: FileEntry(path, Kind.DIRECTORY, 0, 0o755, 0, 0, 0) for path in ("usr", "usr/bin")}
    link = FileEntry("usr/bin64", Kind.SYMLINK, 0, 0o777, 0, 0, 0, linkname="bin")
    files = {p: e for p, e in made.files.items() if not p.startswith(f"{SITE}/..")}
    linked = replace(made, files={**files, **folders, "usr/bin64": link})
    result, _ = check_sbom(linked, image_of(), None)
    assert "sbom/record-hash" in rules(result)
