"""Copies that nobody installed, versions that code contradicts: each way to keep a package out of the SBOM is named."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.interface import Status
from checks.sbom import Bom, check_sbom
from checks.sbom.code_versions import stated_version, version_in
from pratique.intake.image.model import Inventory
from tests.unit.checks.inventories import image_of
from tests.unit.checks.sbom.test_nested import SITE, asked, detected, inventory, tarred, zipped

BOTTLE = b'"""Bottle."""\n__author__ = "x"\n__version__ = "0.12.7"\n'
METADATA = b"Metadata-Version: 2.1\nName: widget\nVersion: 1.0\n"
SHEBANG = b"#!/usr/bin/env python3\n"


def installed(name: str, version: str, code: Mapping[str, bytes]) -> dict[str, bytes]:
    """An installed package whose RECORD agrees with its files."""
    info = f"{name}-{version}.dist-info"
    files = {**code, f"{info}/METADATA": f"Name: {name}\nVersion: {version}\n".encode()}
    rows = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},1"
        for path, data in files.items()
    ]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]).encode()
    return {f"{SITE}/{path}": data for path, data in files.items()}


HIDDEN: dict[str, tuple[dict[str, bytes], list[str]]] = {
    "a copy in _vendor without a list": (
        {f"{SITE}/tool/_vendor/anything/__init__.py": b'__version__ = "3.1"\n'},
        ["pkg:pypi/anything@3.1", "pkg:pypi/tool"],
    ),
    "a copy beside the tool": ({"app/lib/urllib3/__init__.py": b'__version__ = "1.24"\n'}, ["pkg:pypi/urllib3@1.24"]),
    "a copy that is one file": ({"app/bottle.py": BOTTLE}, ["pkg:pypi/bottle@0.12.7"]),
    "a copy under its import name": ({"srv/yaml/__init__.py": b"__version__ = '5.3'\n"}, ["pkg:pypi/pyyaml@5.3"]),
    "a copy whose version is in another file": (
        {"app/requests/__init__.py": b"from .__version__ import __version__\n", "app/requests/__version__.py": BOTTLE},
        ["pkg:pypi/requests@0.12.7"],
    ),
    "a copy with the version of setuptools_scm": (
        {
            "app/numpy/__init__.py": b"from ._version import __version__\n",
            "app/numpy/_version.py": b"__version__ = version = '1.16.0'\n__version_tuple__ = (1, 16, 0)\n",
        },
        ["pkg:pypi/numpy@1.16.0"],
    ),
    "a copy with the version of versioneer": (
        {
            "app/pandas/__init__.py": b"from ._version import __version__\n",
            "app/pandas/_version.py": b"version_json = '''\n{\n \"version\": \"0.25.0\"\n}\n'''\n",
        },
        ["pkg:pypi/pandas@0.25.0"],
    ),
    "a copy whose version is a tuple": (
        {"srv/django/__init__.py": b'from x import get_version\n\nVERSION = (2, 2, 0, "final", 0)\n'},
        ["pkg:pypi/django@2.2.0"],
    ),
    "a copy whose tuple says less than its text": (
        {"srv/yaml/__init__.py": b"__version__ = '6.0.2'\n__version_info__ = (5, 3)\n"},
        ["pkg:pypi/pyyaml@5.3", "pkg:pypi/pyyaml@6.0.2"],
    ),
    "a copy in an archive whose version is a tuple": (
        {"opt/lib.zip": zipped({"django/__init__.py": b"VERSION = (2, 2, 0, 'beta', 1)\n"})},
        ["pkg:pypi/django@2.2.0b1"],
    ),
    "a pex": (
        {"app/tool.pex": SHEBANG + zipped({".deps/w/widget-1.0.dist-info/METADATA": METADATA})},
        ["pkg:pypi/widget@1.0"],
    ),
    "a zipapp under another name": (
        {"usr/local/bin/tool": SHEBANG + zipped({"widget-1.0.dist-info/METADATA": METADATA})},
        ["pkg:pypi/widget@1.0"],
    ),
    "a wheel under another name in a zip": (
        {"opt/all.zip": zipped({"data.bin": zipped({"widget-1.0.dist-info/METADATA": METADATA})})},
        ["pkg:pypi/widget@1.0"],
    ),
    "a tar under another name in a tar": (
        {"opt/all.tar": tarred({"blob": tarred({"widget-1.0/PKG-INFO": METADATA})})},
        ["pkg:pypi/widget@1.0"],
    ),
    "a library for browsers": (
        {"app/static/j.js": b"/*! jQuery v1.12.0 | (c) jQuery Foundation | jquery.org/license */\n"},
        ["pkg:npm/jquery@1.12.0"],
    ),
}


TUPLES = {
    b'VERSION = (2, 2, 0, "final", 0)': "2.2.0",
    b"version_info: tuple[int, ...] = [\n  1,  # major\n  2,\n]": "1.2",
    b"__version_info__ = ('1', '2', 3, 'rc', 4)": "1.2.3rc4",
    b"version_info = VersionInfo(3, 1, 4, 'final', 0)": "3.1.4",
    b"__version__ = version_info = (1, 2, *more)": "1.2",
    b"VERSION = (0x2, 1_0)": "2.10",
    b"VERSION = (1,)": "",
    b"VERSION = (1 << 9, 2)": "",
    b"VERSION = (__import__('os').getpid(), 2)": "",
    b"VERSION = " + b"(" * 60_000: "",
    b"VERSION = (" + b"9," * 30_000 + b")": "",
    b"VERSION = (" + b"9" * 200 + b", 2)": "",
    b"VERSION=" * 8000: "",
}


@pytest.mark.parametrize("code", TUPLES, ids=range(len(TUPLES)))
def test_a_tuple_is_read_as_text(code: bytes) -> None:
    assert version_in(code) == TUPLES[code]


@pytest.mark.parametrize("case", HIDDEN)
def test_a_hidden_package_becomes_a_component(case: str) -> None:
    files, expected = HIDDEN[case]
    _, bom = asked(files)
    assert sorted(detected(bom)) == expected


NOT_A_COPY: dict[str, dict[str, bytes]] = {
    "the tool's own module": {"app/mytool/__init__.py": b'__version__ = "1.0"\n'},
    "a module of the tool called like a package, without a version": {"app/requests/__init__.py": b"import os\n"},
    "an installed package": installed("requests", "2.0", {"requests/__init__.py": b'__version__ = "2.0"\n'}),
    "a copy that brought its metadata": {
        f"{SITE}/tool/_vendor/packaging/__init__.py": b'__version__ = "1.0"\n',
        f"{SITE}/tool/_vendor/packaging-1.0.dist-info/METADATA": b"Name: packaging\nVersion: 1.0\n",
    },
    "modules inside of a copy": {
        f"{SITE}/tool/_vendor/thing/version.py": b'__version__ = "1.0"\n',
        "opt/app/distro/distro.py": b'__version__ = "1.0"\n',
    },
    "test data of a package": {f"{SITE}/tool/tests/vendor/thing/__init__.py": b'__version__ = "1.0"\n'},
}


@pytest.mark.parametrize("case", NOT_A_COPY)
def test_what_is_no_copy_is_none(case: str) -> None:
    assert [name for name in detected(asked(NOT_A_COPY[case])[1]) if not name.endswith("tool")] == []


def test_a_list_of_copies_that_the_code_contradicts_is_told_and_both_are_asked_about() -> None:
    files = {
        f"{SITE}/tool/_vendor/vendor.txt": b"thing==2.0\n",
        f"{SITE}/tool/_vendor/thing/__init__.py": b'__version__ = "1.0"\n',
    }
    result, bom = asked(files)
    assert "sbom/version-in-code" in {finding.rule_id for finding in result.findings}
    assert {"pkg:pypi/thing@1.0", "pkg:pypi/thing@2.0"} <= set(detected(bom))


@pytest.mark.parametrize("place", ["__init__.py", "_version.py", "__version__.py", "version.py", "__about__.py"])
def test_a_version_that_was_edited_everywhere_but_in_one_file(place: str) -> None:
    code = {"widget/__init__.py": b"import os\n", f"widget/{place}": b'__version__ = "1.0"\n'}
    result, bom = asked(installed("widget", "2.0", code))
    assert "sbom/version-in-code" in {finding.rule_id for finding in result.findings}
    assert detected(bom) == ["pkg:pypi/widget@1.0"]


def test_a_version_on_disk_counts_like_one_in_memory(tmp_path: object) -> None:
    """Whoever fills the memory that kept files may take does not get rid of the rest."""
    from pathlib import Path

    made = inventory({"app/bottle.py": BOTTLE})
    place = Path(str(tmp_path)) / "spooled"
    place.write_bytes(BOTTLE)
    spooled = Inventory(
        files=made.files,
        hidden=(),
        classes=made.classes,
        contents={},
        spooled={"app/bottle.py": place},
        not_kept={},
        bytes_=1,
        entries=1,
    )
    _, bom = check_sbom(spooled, image_of(), None)
    assert detected(bom) == ["pkg:pypi/bottle@0.12.7"]


@given(st.binary(max_size=200), st.sampled_from(["__init__.py", "_version.py"]))
@settings(max_examples=100, deadline=None)
def test_any_code_states_a_version_or_none(noise: bytes, place: str) -> None:
    path = f"app/yaml/{place}"
    kept = inventory({path: b"__version__ = " + noise})
    assert len(stated_version(kept, "app/yaml/__init__.py")) <= 64
    result, bom = check_sbom(kept, image_of(), None)
    assert result.status in Status
    assert isinstance(bom, Bom)
