"""Libraries that wheels bundle: known by what they say, else by their names; listed, never taken for looked up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.interface import Status
from checks.sbom import check_sbom
from checks.sbom.bundled import GENERIC, MAX_READ, read_bundled
from checks.sbom.model import Component, Origin
from checks.sbom.record import Lie
from checks.vulnerabilities.lookup import lacking
from tests.unit.checks.inventories import image_of
from tests.unit.checks.sbom.test_hiding import rules
from tests.unit.checks.sbom.test_nested import SITE, asked, detected, inventory

ELF = b"\x7fELF" + bytes(60)
OPENSSL = ELF + b"\0OpenSSL 1.1.1k  25 Mar 2021\0"
ZLIB = ELF + b" deflate 1.2.11 Copyright 1995-2017 Jean-loup Gailly and Mark Adler \0"
FOLDER = f"{SITE}/widget.libs"
LIBRARIES: dict[str, tuple[str, bytes, list[str]]] = {
    "OpenSSL": (f"{FOLDER}/libcrypto-1a2b3c4d.so.1.1", OPENSSL, ["pkg:generic/openssl@1.1.1k"]),
    "OpenSSL under another name": (f"{FOLDER}/libfoo.so", OPENSSL, ["pkg:generic/openssl@1.1.1k"]),
    "OpenSSL inside of curl": (
        f"{FOLDER}/libcurl-12345678.so.4.8.0",
        OPENSSL + b"libcurl/7.88.1\0",
        ["pkg:generic/curl@7.88.1", "pkg:generic/openssl@1.1.1k"],
    ),
    "zlib of a folder inside the package": (
        f"{SITE}/numpy/.libs/libz.so",
        ZLIB,
        ["pkg:generic/zlib@1.2.11"],
    ),
    "zlib by its name": (f"{FOLDER}/libz-eb09ad1d.so.1.2.13", ELF, ["pkg:generic/zlib@1.2.13"]),
    "libpng": (f"{FOLDER}/libpng16-a.so.16.43.0", ELF + b" libpng version 1.6.43\n", ["pkg:generic/libpng@1.6.43"]),
    "expat": (f"{FOLDER}/libexpat-1a2b3c4d.so.1.9.2", ELF + b"\0expat_2.6.2\0", ["pkg:generic/expat@2.6.2"]),
    "OpenBLAS": (
        f"{FOLDER}/libopenblas64_p-r0-0cf96a72.3.23.dev.so",
        ELF,
        ["pkg:generic/openblas@0.3.23"],
    ),
    "libwebp with the flaw that was exploited": (
        f"{FOLDER}/libwebp-8a0843dd.so.7.1.7",
        ELF,
        ["pkg:generic/libwebp@1.3.1"],
    ),
    "HarfBuzz": (f"{FOLDER}/libharfbuzz-1b6a2c0b.so.0.60850.0", ELF, ["pkg:generic/harfbuzz@8.5.0"]),
    "a library of which no version is known": (
        f"{FOLDER}/libgfortran-040039e1.so.5.0.0",
        ELF,
        [f"{FOLDER}/libgfortran-040039e1.so.5.0.0"],
    ),
    "a name with a number that is no release": (
        f"{FOLDER}/libssl-a1b2c3d4.so.1.1",
        ELF,
        [f"{FOLDER}/libssl-a1b2c3d4.so.1.1"],
    ),
    "a text without a version": (f"{FOLDER}/libx.so", ELF + b"OpenSSL \0OpenSSL x OpenSSL 9", [f"{FOLDER}/libx.so"]),
}


@pytest.mark.parametrize("case", LIBRARIES)
def test_a_bundled_library_is_told_with_its_version(case: str) -> None:
    path, data, expected = LIBRARIES[case]
    result, bom = asked({path: data})
    assert sorted(name for name in detected(bom) if "pkg:pypi" not in name) == expected
    assert result.status is Status.PASSED


def test_a_name_that_the_library_contradicts() -> None:
    answer = asked({f"{FOLDER}/libz-eb09ad1d.so.1.3.1": ZLIB})
    assert rules(answer) == {"sbom/library-contradicted"}
    assert detected(answer[1]) == ["pkg:generic/zlib@1.2.11"]


def test_what_was_too_large_to_search_is_no_pass() -> None:
    path = f"{FOLDER}/libcrypto.so"
    made = inventory({path: OPENSSL})
    entry = replace(made.files[path], size=MAX_READ + 1)
    result, _ = check_sbom(replace(made, files={path: entry}), image_of(), None)
    assert result.status is Status.INCONCLUSIVE


def test_very_many_libraries_make_one_finding() -> None:
    made = inventory({f"{FOLDER}/lib{number}.so": ELF for number in range(3000)})
    lies: list[Lie] = []
    found = list(read_bundled(replace(made, contents={}), lies))
    assert len(found) == 3000
    assert [lie.rule for lie in lies] == ["library-unsearched"]


@given(st.binary(max_size=60), st.sampled_from([b"OpenSSL ", b" deflate ", b"expat_", b"OpenBLAS ", b"/openjpeg-"]))
@settings(max_examples=80, deadline=None)
def test_any_bytes_after_a_text_are_a_version_or_none(noise: bytes, text: bytes) -> None:
    lies: list[Lie] = []
    for component in read_bundled(inventory({f"{FOLDER}/libz.so.1.2.13": ELF + text + noise + text}), lies):
        assert len(component.version) < 20


class _Empty:
    """Advisories about nothing at all."""

    snapshots = ()

    def covering(self, ecosystem: str) -> None:
        """No snapshot speaks of it."""


@pytest.mark.parametrize(("origin", "expected"), [(Origin.DETECTED, []), (Origin.DECLARED, [GENERIC])])
def test_a_bundled_library_lacks_no_snapshot_and_a_declared_one_does(origin: Origin, expected: list[str]) -> None:
    """Nobody could import one; but who declares a package as generic hides it."""
    library = Component("zlib", "1.2.11", "pkg:generic/zlib@1.2.11", GENERIC, origin=origin)
    assert lacking(_Empty(), [library], None) == expected  # type: ignore[arg-type]
