"""One image with the lies that only its files give away, read as any other: layers, one pass, the check."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from checks.interface import Status
from checks.sbom import check_sbom
from checks.sbom.known_files import ModuleTable
from pratique.intake.image import LayoutImage, open_image, read_inventory
from tests.assets.images import MadeImage, make_tar
from tests.unit.checks.sbom.test_bundled import FOLDER, OPENSSL
from tests.unit.checks.sbom.test_known_copies import package, renamed, table
from tests.unit.checks.sbom.test_system_truth import BOOKWORM, OS, TOOL, UPDATES

__all__ = ["table"]

SUM = hashlib.md5(TOOL).hexdigest().encode()  # noqa: S324  as dpkg does
BASE = {
    "etc/debian_version": b"12.11\n",
    "etc/os-release": OS % (b"debian", b"12"),
    "usr/bin/a": TOOL,
    "var/lib/dpkg/info/a.list": b"/usr/bin/a\n",
    "var/lib/dpkg/info/a.md5sums": SUM + b"  usr/bin/a\n",
    "var/lib/dpkg/status": BOOKWORM + UPDATES,
}


def layer(files: Mapping[str, bytes]) -> bytes:
    return make_tar(list(files.items()))


def test_lies_of_a_later_layer_are_found_out(
    table: ModuleTable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("checks.sbom.known_copies.module_table", lambda: table)
    edited = renamed(package(1), lambda code: b"import sys\r\n" + code.replace(b"\n", b"\r\n"))
    lies = {
        "etc/os-release": OS % (b"debian", b"13"),
        "usr/bin/a": TOOL + b", with something more",
        f"{FOLDER}/libfoo-0123abcd.so.9": OPENSSL,
        **edited,
        "app/net/__init__.py": b"version_info = (9, 9)\n",
    }
    image = MadeImage([layer(BASE), layer(lies)])
    top = image.manifest()
    layout = image.write_layout(tmp_path / "layout", [top])
    (tmp_path / "work").mkdir()
    opened = open_image(LayoutImage(layout), expected=top["digest"], workdir=tmp_path / "work")
    result, bom = check_sbom(read_inventory(opened), opened, None)
    assert result.status is Status.FAILED
    assert {finding.rule_id for finding in result.findings} >= {
        "sbom/known-files",
        "sbom/release-contradicted",
        "sbom/system-file-changed",
    }
    assert {component.purl for component in bom.components} >= {"pkg:generic/openssl@1.1.1k", "pkg:pypi/netlib@1.0"}
    assert {c.ecosystem for c in bom.components if c.name == "base-files"} == {"Debian:12", "Debian:13"}


def test_an_honest_image_of_the_same_kind_passes(tmp_path: Path) -> None:
    image = MadeImage([layer(BASE)])
    top = image.manifest()
    layout = image.write_layout(tmp_path / "layout", [top])
    opened = open_image(LayoutImage(layout), expected=top["digest"], workdir=tmp_path)
    result, _ = check_sbom(read_inventory(opened), opened, None)
    assert result.status is Status.PASSED
    assert {finding.rule_id for finding in result.findings} == {"sbom/none-declared"}
