"""The truth under the metadata: copies, archives in archives and bundled objects are found, bombs are stopped."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.interface import CheckResult, Status
from checks.sbom import Bom, Origin, check_sbom
from pratique.intake.image.classify import HEAD, classify
from pratique.intake.image.model import Inventory
from tests.unit.checks.inventories import image_of, inventory_of
from tests.unit.checks.stores import MemoryStore

SITE = "usr/lib/python3.11/site-packages"
METADATA = b"Metadata-Version: 2.1\nName: widget\nVersion: 1.0\n\nText\nName: other\n"


def zipped(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(members: Mapping[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def inventory(files: Mapping[str, bytes]) -> Inventory:
    """The inventory as intake would classify it."""
    made = inventory_of(files)
    classes = {path: kind for path, data in files.items() if (kind := classify(path, data[:HEAD], len(data)))}
    return Inventory(
        files=made.files,
        hidden=(),
        classes=classes,
        contents={path: files[path] for path in classes},
        spooled={},
        not_kept={},
        bytes_=made.bytes_,
        entries=made.entries,
    )


def asked(files: Mapping[str, bytes]) -> tuple[CheckResult, Bom]:
    return check_sbom(inventory(files), image_of(), None, MemoryStore())


def detected(bom: Bom) -> list[str]:
    return [c.purl or c.path for c in bom.components if c.origin is Origin.DETECTED]


WHEEL = zipped({"widget/__init__.py": b"", "widget-1.0.dist-info/METADATA": METADATA})
NODE = b'{"name": "@scope/left-pad", "version": "1.3.0", "dependencies": {"name": "x"}}'
WIDGET = "pkg:pypi/widget@1.0"
HIDDEN: dict[str, tuple[dict[str, bytes], list[str]]] = {
    "wheel": ({"opt/widget-1.0-py3-none-any.whl": WHEEL}, [WIDGET]),
    "wheel under another name": ({"opt/data.bin": WHEEL}, [WIDGET]),
    "source distribution": ({"opt/widget-1.0.tar.gz": tarred({"widget-1.0/PKG-INFO": METADATA}, "w:gz")}, [WIDGET]),
    "source distribution packed otherwise": (
        {"opt/a.tar.xz": tarred({"widget-1.0/PKG-INFO": METADATA}, "w:xz")},
        [WIDGET],
    ),
    "egg": ({"opt/widget.egg": zipped({"EGG-INFO/PKG-INFO": METADATA})}, [WIDGET]),
    "npm package": (
        {"opt/left-pad.tgz": tarred({"package/package.json": NODE}, "w:gz")},
        ["pkg:npm/%40scope/left-pad@1.3.0"],
    ),
    "wheel in a zip": ({"opt/all.zip": zipped({"deep/widget.whl": WHEEL})}, [WIDGET]),
    "wheel in a tar in a zip": ({"opt/all.zip": zipped({"a.tar": tarred({"widget.whl": WHEEL})})}, [WIDGET]),
    "tar of an installed tree": (
        {"opt/site.tar": tarred({"lib/site-packages/widget-1.0.dist-info/METADATA": METADATA})},
        [WIDGET],
    ),
    "vendored copies": (
        {
            f"{SITE}/tool/_vendor/vendor.txt": b"# copies\nwidget==1.0  # why\ngadget[x]==2.1\nnot pinned\n",
            f"{SITE}/tool/_vendor/widget/__init__.py": b"",
        },
        ["pkg:pypi/gadget@2.1", WIDGET],
    ),
    "vendored copies in a wheel": (
        {"opt/tool.whl": zipped({"tool/_vendor/vendor.txt": b"widget==1.0\n"})},
        [WIDGET],
    ),
    "bundled shared object": (
        {f"{SITE}/widget.libs/libssl-1a2b3c4d.so.1.1": b"\x7fELF"},
        [f"{SITE}/widget.libs/libssl-1a2b3c4d.so.1.1"],
    ),
}


@pytest.mark.parametrize("case", HIDDEN)
def test_what_lies_inside_others_is_a_component(case: str) -> None:
    files, expected = HIDDEN[case]
    result, bom = asked(files)
    assert [name for name in detected(bom) if not name.endswith("tool")] == expected
    assert result.status is Status.PASSED


def honest(version: str = "1.0", code: bytes = b"__version__ = '1.0'\n", *, path: str = "widget") -> dict[str, bytes]:
    """An installed package whose RECORD agrees with its files."""
    metadata = f"Name: widget\nVersion: {version}\n".encode()
    info = f"widget-{version}.dist-info"
    files = {f"{path}/__init__.py": code, f"{info}/METADATA": metadata}
    rows = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},1"
        for name, data in files.items()
    ]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,"]).encode()
    return {f"{SITE}/{name}": data for name, data in files.items()}


def test_metadata_and_record_forged_together_are_contradicted_by_the_code() -> None:
    result, bom = asked(honest("2.0"))
    assert "sbom/version-in-code" in {finding.rule_id for finding in result.findings}
    assert detected(bom) == [WIDGET]


@pytest.mark.parametrize("code", [b"__version__ = '1.0.0'", b"__version__ = '1.0+local'", b"__version__ = get()", b""])
def test_code_that_states_the_same_version_or_none_contradicts_nothing(code: bytes) -> None:
    result, bom = asked(honest("1.0", code))
    assert detected(bom) == []
    assert not [f for f in result.findings if f.rule_id == "sbom/version-in-code"]


BOMB = zipped({"widget-1.0.dist-info/METADATA": b"Name: widget\nVersion: 1.0\n" + b"x" * 5_000_000})
UNSEARCHED: dict[str, dict[str, bytes]] = {
    "zip cut short": {"opt/a.whl": WHEEL[:-30]},
    "tar cut short": {"opt/a.tar.gz": gzip.compress(tarred({"a/PKG-INFO": METADATA * 100})[:2000])},
    "archives without end": {"opt/a.zip": zipped({"b.zip": zipped({"c.zip": zipped({"d.zip": WHEEL})})})},
    "bomb in a zip": {"opt/a.zip": zipped({"b.zip": bytes(2_000_000)})},
    "broken archive in an archive": {"opt/a.zip": zipped({"b.whl": WHEEL[:-30]})},
}


@pytest.mark.parametrize("case", UNSEARCHED)
def test_an_archive_that_cannot_be_searched_is_no_pass(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checks.sbom.nested.MAX_UNPACKED", 1_000_000)
    result, _ = asked(UNSEARCHED[case])
    assert result.status is Status.INCONCLUSIVE
    assert "sbom/archive-unreadable" in {finding.rule_id for finding in result.findings}


def test_metadata_are_read_to_their_bound_only() -> None:
    assert detected(asked({"opt/a.whl": BOMB})[1]) == [WIDGET]


def test_compressed_data_that_is_no_archive_is_passed_over() -> None:
    assert asked({"opt/table.npy.gz": gzip.compress(b"\x93NUMPY" + bytes(100))})[0].status is Status.PASSED


@given(
    st.binary(max_size=600),
    st.sampled_from(["opt/a.whl", "opt/a.tgz", "opt/vendor.txt"]),
    st.sampled_from([b"", b"PK\x03\x04", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\x00"]),
)
@settings(max_examples=100, deadline=None)
def test_any_bytes_get_an_answer(data: bytes, path: str, start: bytes) -> None:
    assert asked({path: start + data})[0].status in Status


@given(st.integers(0, len(WHEEL) - 1), st.integers(0, 255))
@settings(max_examples=100, deadline=None)
def test_a_changed_byte_never_makes_an_exception(place: int, value: int) -> None:
    changed = bytearray(WHEEL)
    changed[place] = value
    assert asked({"opt/a.whl": bytes(changed)})[0].status in Status
