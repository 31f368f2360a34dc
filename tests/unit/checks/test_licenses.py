"""Licences: what may not be run is told, what nobody can read is never taken for permitted."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.interface import Status
from checks.licenses import LicenseLists, check_licenses
from checks.sbom import make_bom
from checks.sbom.model import Component, package_url
from checks.sbom.spdx import joined, parse
from tests.unit.checks.inventories import image_of, inventory_of

NODE = LicenseLists(denied=("AGPL-3.0-*", "SSPL-1.0", "CC-BY-NC-*"))


def component(*licences: str, name: str = "widget") -> Component:
    """A Python package that states these licences."""
    return Component(
        name=name, version="1.0", purl=package_url("pypi", name, "1.0"), ecosystem="PyPI", licences=licences
    )


@pytest.mark.parametrize(
    "licence",
    [
        "AGPL-3.0-only",
        "AGPL-3.0",  # what SPDX called it before
        "agpl-3.0-or-later",
        "GNU Affero General Public License v3",
        "MIT AND AGPL-3.0-only",
        "(MIT OR Apache-2.0) AND SSPL-1.0",
        "SSPL-1.0 OR AGPL-3.0-only",
        "AGPL-3.0-only WITH GCC-exception-3.1",
        "CC-BY-NC-4.0",
    ],
)
def test_a_licence_that_is_denied_fails(licence: str) -> None:
    result = check_licenses([component(licence)], NODE)
    assert result.status is Status.FAILED
    assert result.findings[0].rule_id == "licenses/not-permitted"
    assert result.measured("not_permitted") == 1


@pytest.mark.parametrize(
    "licence", ["MIT", "MIT OR AGPL-3.0-only", "GPL-2.0-or-later WITH GCC-exception-2.0", "BSD License", "GPL-2+"]
)
def test_a_licence_that_is_not_denied_passes(licence: str) -> None:
    assert check_licenses([component(licence)], NODE).status is Status.PASSED


def test_of_several_stated_licences_all_count() -> None:
    assert check_licenses([component("MIT License", "CC-BY-NC-4.0")], NODE).status is Status.FAILED


def test_a_list_of_what_is_allowed_denies_all_else() -> None:
    lists = LicenseLists(allowed=("MIT", "BSD-*", "GPL-3.0-only WITH GCC-exception-3.1"))
    assert check_licenses([component("MIT"), component("BSD License")], lists).status is Status.PASSED
    assert check_licenses([component("GPL-3.0-only WITH GCC-exception-3.1")], lists).status is Status.PASSED
    assert check_licenses([component("GPL-3.0-only")], lists).status is Status.FAILED
    assert check_licenses([component("MIT AND ISC")], lists).status is Status.FAILED


ALLOWING = LicenseLists(
    allowed=("MIT", "Apache-2.0", "GPL-2.0-only WITH Classpath-exception-2.0", "LicenseRef-Acme-*", "*"),
    denied=("GPL-3.0-only", "Apache-2.0 WITH LLVM-exception", "LicenseRef-Evil"),
)
UNDER_BOTH_LISTS: dict[str, Status] = {
    "MIT OR GPL-3.0-only": Status.PASSED,
    "MIT AND GPL-3.0-only": Status.FAILED,
    "MIT OR (Apache-2.0 AND GPL-3.0-only)": Status.PASSED,
    "GPL-2.0-only with classpath-exception-2.0": Status.PASSED,
    "GPL-2.0-with-classpath-exception": Status.PASSED,  # as SPDX wrote it before
    "Apache-2.0 WITH LLVM-exception": Status.FAILED,
    "MIT WITH Acme-exception": Status.INCONCLUSIVE,
    "GPL-3.0-only WITH Acme-exception": Status.FAILED,
    "GPL-3.0-only+": Status.FAILED,
    "Apache-2.0+": Status.PASSED,
    "LicenseRef-Acme-1": Status.PASSED,
    "DocumentRef-x:LicenseRef-Other": Status.INCONCLUSIVE,
    "LicenseRef-scancode-proprietary-license": Status.INCONCLUSIVE,
    "LicenseRef-Evil": Status.FAILED,
    "MIT OR LicenseRef-Other": Status.PASSED,
    "MIT AND LicenseRef-Other": Status.INCONCLUSIVE,
    "GPL-3.0-only OR LicenseRef-Other": Status.INCONCLUSIVE,
    "GPL-3.0-only AND LicenseRef-Other": Status.FAILED,
    "GPL-3.0-only AND whatever": Status.FAILED,
    "MIT or later": Status.INCONCLUSIVE,
    "MIT OR NOASSERTION": Status.INCONCLUSIVE,
    "NOASSERTION": Status.INCONCLUSIVE,
    "NONE": Status.INCONCLUSIVE,
    "MIT\x1b[31m": Status.INCONCLUSIVE,
}


@pytest.mark.parametrize("licence", UNDER_BOTH_LISTS)
def test_an_or_needs_one_side_and_an_and_all(licence: str) -> None:
    assert check_licenses([component(licence)], ALLOWING).status is UNDER_BOTH_LISTS[licence]


BEFORE = {
    "eCos-2.0": "GPL-2.0-or-later",
    "wxWindows": "LGPL-2.0-or-later",
    "GPL-3.0-with-GCC-exception": "GPL-3.0-only",
    "MIT AND GPL-2.0-with-font-exception": "GPL-2.0-only",
    "Nunit": "zlib-acknowledgement",
    "LGPL-2.1+": "LGPL-2.1-or-later",
}


@pytest.mark.parametrize("licence", BEFORE)
def test_an_identifier_that_spdx_gave_up_is_its_successor(licence: str) -> None:
    assert check_licenses([component(licence)], LicenseLists(denied=(BEFORE[licence],))).status is Status.FAILED


IDLE = (
    *("AGPLv3", "GPL-3.0", "AGPL3*", "Apache-2.0 WITH no-exception", "*-only"),
    *("wxWindows", "GPL-2.0-with-*", "Apache-1.1+", "GPL-3.0-only+ WITH GCC-exception-3.1"),
)


@pytest.mark.parametrize("name", IDLE)
def test_a_denied_name_that_denies_nothing_is_told(name: str) -> None:
    result = check_licenses([component("MIT")], LicenseLists(denied=(name,)))
    assert (result.status, [f.rule_id for f in result.findings]) == (Status.INCONCLUSIVE, ["licenses/denied-name"])


def nested(depth: int) -> str:
    text = "MIT"
    for number in range(depth):
        text = f"({text} {'OR' if number % 2 else 'AND'} 0BSD)"
    return text


@pytest.mark.parametrize("licence", [nested(30), "(" * 30 + "MIT" + ")" * 30])
def test_brackets_are_read(licence: str) -> None:
    assert check_licenses([component(licence)], NODE).status is Status.PASSED


HOSTILE = [
    nested(300),
    "(MIT OR " * 400 + "MIT" + ")" * 400,
    "(" * 4000,
    ")" * 4000,
    "MIT " * 900,
    "AND " * 900,
    "MIT WITH " * 400,
    ", and " * 600,
    "GPL-2" + "+" * 3000,
    "A" * 10**6,
    "MIT\u202eOR X",
]


@pytest.mark.parametrize("licence", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_expression_is_unknown(licence: str) -> None:
    result = check_licenses([component(licence)], NODE)
    assert (result.status, len(result.findings)) == (Status.INCONCLUSIVE, 1)


@pytest.mark.parametrize(
    "licence", ["", "see LICENSE", "LicenseRef-own", "MIT OR", "((MIT)", "()", "( and MIT", "UNLICENSED", "x" * 900]
)
def test_what_nobody_can_read_is_no_pass_unless_the_node_accepts_it(licence: str) -> None:
    parts = [component("MIT", name="known"), component(*filter(None, [licence]))]
    result = check_licenses(parts, NODE)
    assert result.status is Status.INCONCLUSIVE
    assert [f.rule_id for f in result.findings] == ["licenses/unknown"]
    accepting = LicenseLists(denied=NODE.denied, accept_unknown=True)
    assert check_licenses(parts, accepting).status is Status.PASSED
    assert check_licenses([component("AGPL-3.0-only"), *parts], accepting).status is Status.FAILED


def test_many_unknown_packages_are_one_finding() -> None:
    parts = [component(name=f"p{number}") for number in range(400)]
    result = check_licenses(parts, NODE)
    assert len(result.findings) == 1
    assert "and 392 more" in result.findings[0].message
    assert result.measured("unknown") == 400


def test_files_have_no_licence_of_their_own() -> None:
    model = Component(name="m.onnx", version="", purl="", kind="machine-learning-model")
    assert check_licenses([model], NODE).status is Status.NOT_APPLICABLE


@given(st.text(max_size=60) | st.text("(MIT ANDORWITH+-.)0123456789GPLA", max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_text_is_an_expression_or_unknown(text: str) -> None:
    assert joined((text,)) is None or parse(str(parse(text))) is not None
    assert check_licenses([component(text)], NODE).status in (Status.PASSED, Status.FAILED, Status.INCONCLUSIVE)


FOLDED = b"""Metadata-Version: 2.1
Name: widget
Version: 1.0
License: Copyright (c) 2005 Somebody.
        All rights reserved.
        \t
        Redistribution and use are permitted
Classifier: License :: OSI Approved
Classifier: License :: OSI Approved :: BSD License
Requires-Dist: gadget

Description follows here.
License: AGPL-3.0-only
"""


def test_a_licence_text_folded_over_blank_lines_does_not_hide_what_follows() -> None:
    files = {
        "usr/lib/python3/site-packages/widget-1.0.dist-info/METADATA": FOLDED,
        "usr/lib/python3/site-packages/widget-1.0.dist-info/RECORD": b"widget-1.0.dist-info/RECORD,,\n",
    }
    bom, _, _ = make_bom(inventory_of(files), image_of())
    assert (bom.components[0].licences, bom.components[0].requires) == (("BSD License",), ("gadget",))
    written = json.loads(bom.document)["components"][0]["licenses"]
    assert written == [{"expression": "BSD-2-Clause AND BSD-3-Clause"}]


STATED: dict[str, tuple[str, tuple[str, ...]]] = {
    "an expression and a classifier that agrees": (
        "License-Expression: BSD-3-Clause\nClassifier: License :: OSI Approved :: BSD License\n",
        ("BSD-3-Clause",),
    ),
    "an expression and a classifier that contradicts it": (
        "License-Expression: MIT\nClassifier: License :: OSI Approved :: GNU Affero General Public License v3\n",
        ("MIT", "GNU Affero General Public License v3"),
    ),
    "a classifier and a licence that contradicts it": (
        "License: AGPL-3.0-only\nClassifier: License :: OSI Approved :: MIT License\n",
        ("MIT License", "AGPL-3.0-only"),
    ),
    "choices that the classifiers repeat": (
        (
            "License: MIT OR Apache-2.0\nClassifier: License :: OSI Approved :: MIT License\n"
            "Classifier: License :: OSI Approved :: Apache Software License\n"
        ),
        ("MIT OR Apache-2.0",),
    ),
    "a classifier that says less than the expression": (
        "License-Expression: MIT\nClassifier: License :: Other/Proprietary License\n",
        ("MIT",),
    ),
}


@pytest.mark.parametrize("case", STATED)
def test_metadata_that_contradict_themselves_state_both_licences(case: str) -> None:
    stated, licences = STATED[case]
    info = "usr/lib/python3/site-packages/widget-1.0.dist-info"
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.4\nName: widget\nVersion: 1.0\n{stated}".encode(),
        f"{info}/RECORD": b"widget-1.0.dist-info/RECORD,,\n",
    }
    bom, _, _ = make_bom(inventory_of(files), image_of())
    assert bom.components[0].licences == licences


@pytest.mark.parametrize(
    ("stated", "meant"),
    [
        ("GPLv2+ and MIT", "GPL-2.0-or-later AND MIT"),
        ("(LGPLv2+ or ASL 2.0) and BSD", "(LGPL-2.0-or-later OR Apache-2.0) AND (BSD-2-Clause AND BSD-3-Clause)"),
        ("GPL-1+ or Artistic", "GPL-1.0-or-later OR Artistic-1.0-Perl"),
        ("GPL-2+ or Artistic, and Expat", "(GPL-2.0-or-later OR Artistic-1.0-Perl) AND MIT"),
        ("LGPL-2.1+", "LGPL-2.1-or-later"),
        ("GFDL-NIV-1.3+ and CC0", "GFDL-1.3-no-invariants-or-later AND CC0-1.0"),
    ],
)
def test_what_distributions_write_is_understood(stated: str, meant: str) -> None:
    assert str(parse(stated)) == meant


@pytest.mark.parametrize(
    "stated", ["public-domain", "GPL-2+ with OpenSSL exception", "(A, or B) and C", "GPL v2 or later"]
)
def test_what_distributions_write_without_a_name_is_unknown(stated: str) -> None:
    assert parse(stated) is None


def test_a_licence_that_nobody_knows_does_not_hide_a_denied_one_beside_it() -> None:
    result = check_licenses([component("AGPL-3.0-only", "my-own-1.0")], NODE)
    assert result.status is Status.FAILED
    assert {f.rule_id for f in result.findings} == {"licenses/not-permitted", "licenses/unknown"}


DEP5 = b"""Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: widget
License: Expat

Files: *
Copyright: 2001 Somebody
License: GPL-2+
 On Debian systems the text is in /usr/share/common-licenses/GPL-2.

Files: debian/*
License: AGPL-3

License: GPL-2+
 the text
"""
STATUS = b"Package: widget\nStatus: install ok installed\nVersion: 1\n"


def test_debian_copyright_files_give_the_licences_of_all_files() -> None:
    files = {"var/lib/dpkg/status": STATUS, "usr/share/doc/widget/copyright": DEP5}
    bom, _, _ = make_bom(inventory_of(files), image_of())
    assert bom.components[0].licences == ("Expat", "GPL-2+", "AGPL-3")
    assert check_licenses(bom.components, NODE).status is Status.FAILED


def test_free_text_copyright_files_are_one_finding() -> None:
    status = b"".join(b"Package: p%d\nStatus: install ok installed\nVersion: 1\n\n" % n for n in range(30))
    free = {f"usr/share/doc/p{n}/copyright": b"This package was debianized by somebody." for n in range(30)}
    bom, _, _ = make_bom(inventory_of({"var/lib/dpkg/status": status, **free}), image_of())
    assert [f.rule_id for f in check_licenses(bom.components, NODE).findings] == ["licenses/unknown"]


@pytest.mark.parametrize(
    ("document", "licences"),
    [
        ({"license": "MIT"}, ("MIT",)),
        ({"license": {"type": "ISC", "url": "x"}}, ("ISC",)),
        ({"licenses": [{"type": "MIT"}, {"type": "AGPL-3.0-only"}]}, ("(MIT) OR (AGPL-3.0-only)",)),
        ({"license": "SEE LICENSE IN LICENSE.md"}, ("SEE LICENSE IN LICENSE.md",)),
        ({"license": 7}, ()),
        ({}, ()),
    ],
)
def test_npm_states_licences_in_old_and_new_forms(document: dict[str, object], licences: tuple[str, ...]) -> None:
    data = json.dumps({"name": "a", "version": "1.0.0", **document}).encode()
    bom, _, _ = make_bom(inventory_of({"node_modules/a/package.json": data}), image_of())
    assert bom.components[0].licences == licences
