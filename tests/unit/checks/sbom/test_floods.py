"""A malicious provider floods the reader of packages, or leads it past them by links: no pass, no flood of memory."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import struct
import tarfile
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from checks.interface import CheckResult, Status
from checks.sbom import Bom, check_sbom
from checks.sbom.capabilities import MAX_EDGES, Offers
from checks.sbom.cyclonedx import write_document
from checks.sbom.declared import read_listing
from checks.sbom.model import Component
from pratique.digests import Digest, sha256_bytes
from pratique.errors import CouldNotDecide
from pratique.intake.image import open_image, read_inventory
from pratique.intake.image.model import LayoutImage
from tests.assets.images import Item, entry, made
from tests.unit.checks.sbom.test_nested import SITE, asked, zipped

T = TypeVar("T")
MIB = 1 << 20
APK = "lib/apk/db/installed"
STATUS = "var/lib/dpkg/status"
ELF = b"\x7fELF" + bytes(60)
DEBIAN = {
    "etc/os-release": b"ID=debian\nVERSION_ID=12\n",
    STATUS: b"Package: base-files\nVersion: 12.4+deb12u9\nStatus: install ok installed\n",
}


def rules(result: CheckResult) -> set[str]:
    """What was found, but that no SBOM was declared."""
    return {finding.rule_id for finding in result.findings} - {"sbom/none-declared"}


def checked(tmp_path: Path, items: Sequence[Item]) -> tuple[CheckResult, Bom]:
    """The check of an image of one layer with `items`."""
    image = made(*items)
    top = image.manifest()
    layout = image.write_layout(tmp_path / "layout", [top])
    opened = open_image(LayoutImage(layout), expected=Digest(top["digest"]), workdir=tmp_path)
    return check_sbom(read_inventory(opened), opened, None)


def link(path: str, target: str) -> tarfile.TarInfo:
    return entry(path, tarfile.SYMTYPE, linkname=target)


def long_list() -> bytes:
    """A zip whose list of members is long: 190,000 of one name each."""
    member = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    start, listed = b"PK\3\4" + bytes(26), member * 190_000
    end = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 190_000, 190_000, len(listed), len(start))
    place = struct.pack("<4sIQI", b"PK\6\7", 0, len(start) + len(listed), 1)
    return (
        start + listed + end + place + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    )


def long_name(kind: bytes) -> bytes:
    """A packed tar whose first extended header has two MiB."""
    info = tarfile.TarInfo("long")
    info.type, info.size = kind, 2 * MIB
    return gzip.compress(
        info.tobuf(tarfile.GNU_FORMAT) + bytes(2 * MIB) + tarfile.TarInfo("x").tobuf() + bytes(1024), 1
    )


FLOODS: dict[str, tuple[dict[str, bytes], str]] = {
    "a RECORD of more bytes than any has": (
        {
            f"{SITE}/x-1.dist-info/METADATA": b"Name: x\nVersion: 1\n",
            f"{SITE}/x-1.dist-info/RECORD": b"a,b\n" * 5 * MIB,
        },
        "sbom/could-not-decide",
    ),
    "a status of empty lines": ({**DEBIAN, STATUS: DEBIAN[STATUS] + b"\n" * 33 * MIB}, "sbom/could-not-decide"),
    "a folder of apk as long as a book": (
        {APK: b"P:a\nF:" + b"a" * MIB + b"\n" + b"R:a\n" * 9},
        "sbom/could-not-decide",
    ),
    "a hundred thousand packages of apk": ({APK: b"P:a\n\n" * 100_002}, "sbom/could-not-decide"),
    "a zip with a list of members that is too long": ({"opt/x.zip": long_list()}, "sbom/archive-unreadable"),
    "a tar with a name that is too long": ({"opt/x.tgz": long_name(b"L")}, "sbom/archive-unreadable"),
    "a tar with records that are too long": ({"opt/x.tgz": long_name(b"x")}, "sbom/archive-unreadable"),
    "a Python package whose name is no name": (
        {f"{SITE}/x-1.dist-info/METADATA": b"Name: /\nVersion: 1\n"},
        "sbom/could-not-decide",
    ),
    "a package of apk whose name is no name": ({APK: b"P:/\nV:1\n\n"}, "sbom/could-not-decide"),
    "a list of system packages without their files": ({**DEBIAN, "bin/bash": ELF}, "sbom/file-unchecked"),
}


@pytest.mark.parametrize("case", FLOODS)
def test_what_goes_beyond_the_bounds_is_no_pass(case: str) -> None:
    files, rule = FLOODS[case]
    result, _ = asked(files)
    assert (result.status, rules(result)) == (Status.INCONCLUSIVE, {rule})


MANY = b"".join(b"p%d==1\n" % number for number in range(60))
LISTS: dict[str, tuple[dict[str, bytes], str]] = {
    "in one archive": ({"opt/a.zip": zipped({"vendor.txt": MANY})}, "sbom/archive-unreadable"),
    "in many archives": (
        {f"opt/{n}.zip": zipped({"vendor.txt": MANY[:250] + b"\nq%d==1\n" % n}) for n in range(3)},
        "sbom/archive-unreadable",
    ),
    "in the image": ({f"opt/{n}/vendor.txt": MANY for n in range(2)}, "sbom/could-not-decide"),
}
"""Each names more packages than the fifty that are allowed in the test."""


@pytest.mark.parametrize("case", LISTS)
def test_lists_of_copies_without_end_are_no_pass(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list has a few bytes for each of two thousand packages, and packs to nothing."""
    monkeypatch.setattr("checks.sbom.nested.MAX_MEMBERS", 50)
    monkeypatch.setattr("checks.sbom.copies.MAX_PINNED", 50)
    files, rule = LISTS[case]
    result, bom = asked(files)
    assert (result.status, rules(result)) == (Status.INCONCLUSIVE, {rule})
    assert len(bom.components) <= 50 + len(files)


def test_broken_zips_have_their_lists_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long list is made first and found broken at its last member: a second of work, and not one member counted."""
    listed = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, *(0,) * 15) * 500 + bytes(46)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 501, 501, len(listed), 30, 0)
    broken = b"PK\3\4" + bytes(26) + listed + end
    monkeypatch.setattr("checks.sbom.nested.MAX_LISTS", 2 * len(listed) + 1000)
    result, _ = asked({f"opt/{n}.zip": broken for n in range(4)})
    assert (result.status, rules(result)) == (Status.INCONCLUSIVE, {"sbom/archive-unreadable"})
    assert sum("bytes of lists of members" in finding.message for finding in result.findings) == 2


def test_a_document_is_written_in_little_more_memory_than_its_own() -> None:
    components = [
        Component(name=f"p{n}", version="1", purl=f"pkg:pypi/p{n}@1", ecosystem="PyPI", path=f"opt/p{n}")
        for n in range(2000)
    ]
    document, peak = peak_of(lambda: write_document(components, image_name="tool", image_digest=sha256_bytes(b"")))
    assert len(json.loads(document)["components"]) == 2000
    assert peak < 4 * len(document)


def test_a_declaration_is_read_line_by_line() -> None:
    """One letter that needs four bytes makes all of a text take four times as many."""
    comments = b"PackageComment: " + b"y" * 4000 + b"\n"
    document = b"SPDXVersion: SPDX-2.3\nPackageName: a\n" + 1000 * comments + "PackageComment: \U0001f600\n".encode()
    listing, peak = peak_of(lambda: read_listing(document))
    assert listing.unidentified == 1
    assert peak < len(document)


def peak_of(action: Callable[[], T]) -> tuple[T, int]:
    """What `action` gives, and the bytes that it took at most."""
    action()  # what is loaded once does not count
    tracemalloc.start()
    try:
        return action(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_packages_that_all_offer_and_need_one_name_make_no_square_of_edges() -> None:
    status = b"".join(b"Package: p%d\nVersion: 1\nProvides: x\nDepends: x\n\n" % number for number in range(400))
    _, bom = asked({STATUS: status})
    edges = [edge.get("dependsOn", []) for edge in json.loads(bom.document)["dependencies"][1:]]
    assert len(edges) == 400
    assert 0 < max(map(len, edges)) <= 100


def test_more_edges_than_any_image_has_are_refused() -> None:
    offers = Offers()
    for number in range(100):
        offers.add(f"p{number}", ["x"])
    with pytest.raises(CouldNotDecide):
        for number in range(MAX_EDGES // 100 + 1):
            offers.needed(f"q{number}", [["x"]])


def test_programs_without_any_database_belong_to_no_package() -> None:
    """Whoever deletes os-release with the database leaves the distribution's programs behind."""
    result, _ = asked({"bin/bash": ELF, "lib/x86_64-linux-gnu/libc.so.6": ELF})
    assert rules(result) == {"sbom/system-file-unowned"}
    finding = next(f for f in result.findings if f.rule_id == "sbom/system-file-unowned")
    assert "vulnerabilities" in finding.message, "why it matters"
    assert "/var/lib/dpkg" in finding.fix, "what was left out of the image"


def test_lists_of_an_image_without_a_shell_own_its_programs() -> None:
    sums = hashlib.md5(ELF, usedforsecurity=False).hexdigest().encode() + b"  bin/bash\n"
    folder = "var/lib/dpkg/status.d"
    result, _ = asked(
        {f"{folder}/bash": b"Package: bash\nVersion: 5\n", f"{folder}/bash.md5sums": sums, "bin/bash": ELF}
    )
    assert "sbom/system-file-unowned" not in rules(result)


def test_a_link_to_other_content_is_not_the_file_that_record_names(tmp_path: Path) -> None:
    good = base64.urlsafe_b64encode(hashlib.sha256(b"good").digest()).decode().rstrip("=")
    record = f"certifi/__init__.py,sha256={good},4\ncertifi/cacert.pem,sha256={good},4\n".encode()
    items: list[Item] = [
        (f"{SITE}/certifi-2024.1.1.dist-info/METADATA", b"Name: certifi\nVersion: 2024.1.1\n"),
        (f"{SITE}/certifi-2024.1.1.dist-info/RECORD", record),
        (f"{SITE}/certifi/__init__.py", b"good"),
        link(f"{SITE}/certifi/cacert.pem", "/opt/other.pem"),
    ]
    result, _ = checked(tmp_path / "other", [*items, ("opt/other.pem", b"other")])
    assert (result.status, rules(result)) == (Status.FAILED, {"sbom/record-hash"})
    result, _ = checked(tmp_path / "same", [*items, ("opt/other.pem", b"good")])
    assert (result.status, rules(result)) == (Status.PASSED, set())


LODASH = (("opt/lib/lodash/package.json", b'{"name": "lodash", "version": "4.17.4"}'), ("opt/lib/lodash/a.js", b"1"))
NAMELESS = (("opt/lib/lodash/package.json", b"{}"), ("opt/lib/lodash/a.js", b"1"))


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("app/node_modules", "/opt/lib"),
        ("app/node_modules/lodash", "../../opt/lib/lodash"),
        ("usr/lib/node_modules", "../../opt/lib"),
    ],
)
def test_npm_packages_behind_a_link_are_listed(tmp_path: Path, path: str, target: str) -> None:
    _, bom = checked(tmp_path / "named", [link(path, target), *LODASH])
    assert [c.purl for c in bom.components] == ["pkg:npm/lodash@4.17.4"]
    result, bom = checked(tmp_path / "nameless", [link(path, target), *NAMELESS])
    assert [c.purl for c in bom.components] == ["pkg:npm/lodash"]
    assert rules(result) == {"sbom/unowned-module"}


@pytest.mark.parametrize(("path", "target"), [(SITE, "/opt/hidden"), ("usr/lib/python3.11", "/opt/hidden")])
def test_modules_in_a_site_directory_behind_a_link_are_named(tmp_path: Path, path: str, target: str) -> None:
    code = ("opt/hidden/flask_cors/__init__.py", b'__version__ = "1.0"\n')
    result, bom = checked(tmp_path, [link(path, target), code])
    assert [c.purl for c in bom.components] == ["pkg:pypi/flask-cors@1.0"]
    assert rules(result) == {"sbom/unowned-module"}


@pytest.mark.parametrize(
    ("path", "target", "there"),
    [
        ("var/lib/dpkg", "/opt/dpkg", "opt/dpkg/status"),
        (STATUS, "/opt/status", "opt/status"),
        ("var/lib/dpkg/status.d", "/opt/status", "opt/status/base"),
        ("lib/apk/db", "../../opt/db", "opt/db/installed"),
        ("var/lib/rpm/rpmdb.sqlite", "/opt/rpm", "opt/rpm"),
    ],
)
def test_a_package_database_behind_a_link_is_no_pass(tmp_path: Path, path: str, target: str, there: str) -> None:
    folder = entry("var/lib/apk", tarfile.DIRTYPE)
    result, _ = checked(tmp_path, [folder, link(path, target), (there, DEBIAN[STATUS])])
    assert (result.status, rules(result)) == (Status.INCONCLUSIVE, {"sbom/database-not-read"})
