"""Every form in which a provider may declare: the same document reads the same, hostile ones get a clear verdict."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.interface import Status
from checks.sbom import check_sbom, make_bom
from checks.sbom.declared import read_declared, read_listing
from pratique.errors import InvalidInput
from tests.unit.checks.inventories import image_of, inventory_of
from tests.unit.checks.sbom.rpm_databases import in_sqlite, package

Writer = Callable[[Sequence[str]], bytes]
SPACE = "http://cyclonedx.org/schema/bom/1.6"


def cyclonedx_json(purls: Sequence[str]) -> bytes:
    listed = [{"type": "library", "name": "x", "purl": p, "licenses": [{"license": {"id": "MIT"}}]} for p in purls]
    return json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": listed}).encode()


def cyclonedx_xml(purls: Sequence[str]) -> bytes:
    listed = "".join(
        f'<component type="library"><name>x</name><licenses><license><id>MIT</id></license></licenses>'
        f"<purl>{p.replace('&', '&amp;')}</purl></component>"
        for p in purls
    )
    return f'<?xml version="1.0"?><bom xmlns="{SPACE}" version="1"><components>{listed}</components></bom>'.encode()


def spdx_json(purls: Sequence[str]) -> bytes:
    packages = [
        {"name": "x", "licenseDeclared": "MIT", "externalRefs": [{"referenceType": "purl", "referenceLocator": p}]}
        for p in purls
    ]
    return json.dumps({"spdxVersion": "SPDX-2.3", "packages": packages}).encode()


def spdx_tag_value(purls: Sequence[str]) -> bytes:
    packages = "".join(
        f"\nPackageName: x\nPackageComment: <text>\nPackageName: not a package\n</text>\n"
        f"ExternalRef: PACKAGE-MANAGER purl {p}\nPackageLicenseDeclared: MIT\n"
        for p in purls
    )
    return f"SPDXVersion: SPDX-2.3\nDataLicense: CC0-1.0\n{packages}".encode()


FORMS: dict[str, Writer] = {
    "CycloneDX JSON": cyclonedx_json,
    "CycloneDX XML": cyclonedx_xml,
    "SPDX JSON": spdx_json,
    "SPDX tag-value": spdx_tag_value,
}
each_form = pytest.mark.parametrize("form", FORMS)


@each_form
def test_each_form_says_the_same(form: str) -> None:
    purls = ["pkg:pypi/widget@1.0", "pkg:deb/debian/libc6@2.36?arch=amd64&distro=debian-12", "pkg:npm/%40a/b@1"]
    found = read_declared(FORMS[form](purls))
    assert [c.purl for c in found] == purls
    assert [c.ecosystem for c in found] == ["PyPI", "Debian:12", "npm"]
    assert {c.licences for c in found} == {("MIT",)}


@each_form
def test_fifty_thousand_components_are_read(form: str) -> None:
    assert len(read_declared(FORMS[form]([f"pkg:pypi/p{number}@1" for number in range(50_000)]))) == 50_000


@each_form
def test_more_components_than_are_read_are_refused(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("declared", "cyclonedx_xml", "spdx_tag_value"):
        monkeypatch.setattr(f"checks.sbom.{module}.MAX_COMPONENTS", 10)
    assert refused(FORMS[form](["pkg:pypi/a@1"] * 11)) == "sbom/too-many"


@each_form
def test_a_name_of_a_million_letters_is_refused(form: str) -> None:
    assert refused(FORMS[form](["pkg:pypi/" + "a" * 1_000_000 + "@1"])) == "sbom/component"


@each_form
def test_a_document_cut_short_is_refused_or_lists_no_more_than_it_has(form: str) -> None:
    whole = FORMS[form](["pkg:pypi/a@1", "pkg:pypi/b@1"])
    for cut in range(0, len(whole), 7):
        try:
            assert len(read_declared(whole[:cut])) <= 2
        except InvalidInput as error:
            assert error.next_step


def refused(data: bytes) -> str:
    """The rule by which the document is refused."""
    result, _ = check_sbom(inventory_of({}), image_of(), data)
    assert result.status is Status.FAILED
    assert [f.rule_id for f in result.findings] == ["sbom/declared-unreadable"]
    assert result.findings[0].fix
    with pytest.raises(InvalidInput) as caught:
        read_declared(data)
    return caught.value.rule


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
LONG = "<!ENTITY a '" + "a" * 50_000 + "'>"
EXTERNAL = '<!ENTITY a SYSTEM "file:///etc/passwd">'
HOSTILE: dict[str, tuple[bytes, str]] = {
    "one package of SPDX with more URLs than components are read": (
        b'{"spdxVersion": "SPDX-2.3", "packages": [{"externalRefs": ['
        + b", ".join([b'{"referenceType": "purl", "referenceLocator": "pkg:a/b"}'] * 100_001)
        + b"]}]}",
        "sbom/too-many",
    ),
    "one package of tag-value with more URLs than components are read": (
        b"SPDXVersion: SPDX-2.3\nPackageName: a\n" + b"ExternalRef: PACKAGE-MANAGER purl pkg:a/b\n" * 100_001,
        "sbom/too-many",
    ),
    "bytes that are no text far down": (
        b"SPDXVersion: SPDX-2.3\nPackageName: a\n" + b"\n" * 99 + b"\xff",
        "sbom/encoding",
    ),
    "more values than fit into memory": (
        b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "x": [' + b"1," * 4_000_001 + b"1]}",
        "sbom/too-many",
    ),
    "more lines than any document has": (b"SPDXVersion: SPDX-2.3\n" + b"\n" * 4_000_001, "sbom/too-many"),
    "a tag with attributes without end": (
        b'<bom xmlns="http://cyclonedx.org/schema/bom/1.6" '
        + b" ".join(b'a%x="1"' % number for number in range(150_000))
        + b"></bom>",
        "sbom/component",
    ),
    "XML that laughs a billion times": (
        f'<!DOCTYPE bom [<!ENTITY l0 "ha">{LAUGHS}]><bom xmlns="{SPACE}">&l11;</bom>'.encode(),
        "sbom/xml",
    ),
    "XML that repeats a long entity": (
        f'<!DOCTYPE bom [{LONG}]><bom xmlns="{SPACE}">{"&a;" * 50_000}</bom>'.encode(),
        "sbom/xml",
    ),
    "XML that reads a file": (f'<!DOCTYPE bom [{EXTERNAL}]><bom xmlns="{SPACE}">&a;</bom>'.encode(), "sbom/xml"),
    "XML with a DTD from the network": (b'<!DOCTYPE bom SYSTEM "http://127.0.0.1:9/x.dtd"><bom/>', "sbom/xml"),
    "XML with an entity that nobody declared": (f'<bom xmlns="{SPACE}">&a;</bom>'.encode(), "sbom/xml"),
    "XML in an encoding that is none": (b'<?xml version="1.0" encoding="klingon"?><bom/>', "sbom/xml"),
    "XML nested without end": (f'<bom xmlns="{SPACE}">'.encode() + b"<a>" * 5000, "sbom/too-deep"),
    "XML of another kind": (b"<html><body/></html>", "sbom/format"),
    "XML of another name space": (b'<bom xmlns="http://example.org/bom/1.6"/>', "sbom/format"),
    "XML with two package URLs in one component": (
        cyclonedx_xml(["pkg:pypi/a@1</purl><purl>pkg:pypi/b@1"]),
        "sbom/component",
    ),
    "XML with a text of a million letters": (
        cyclonedx_xml(["pkg:pypi/a@1"]).replace(b"<name>x", b"<name>" + b"x" * 1_000_000),
        "sbom/component",
    ),
    "RDF": (b'<?xml version="1.0"?><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>', "sbom/format"),
    "SPDX 3": (b'{"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": []}', "sbom/format"),
    "SPDX 1": (b"SPDXVersion: SPDX-1.2\n", "sbom/format"),
    "tag-value with a text that never ends": (b"SPDXVersion: SPDX-2.3\nPackageComment: <text>\n", "sbom/format"),
    "tag-value that is no text": (b"SPDXVersion: SPDX-2.3\nPackageName: \xff\n", "sbom/encoding"),
    "broken JSON": (b'{"bomFormat": "CycloneDX",', "json/syntax"),
    "JSON with a key twice": (b'{"bomFormat": "CycloneDX", "bomFormat": "x"}', "json/duplicate-key"),
    "JSON nested without end": (b'{"a":' * 100_000, "json/too-deep"),
    "JSON of a list": (b"[]", "sbom/format"),
    "YAML": (b"bomFormat: CycloneDX\n", "json/syntax"),
    "nothing": (b"", "json/syntax"),
    "more bytes than are read": (b" " * (64 * 1024**2 + 1), "sbom/too-large"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_document_is_refused(case: str) -> None:
    data, rule = HOSTILE[case]
    assert refused(data) == rule


def test_components_that_depend_on_each_other_are_read() -> None:
    edges = "".join(f'<dependency ref="{a}"><dependency ref="{b}"/></dependency>' for a, b in ("ab", "ba"))
    document = cyclonedx_xml(["pkg:pypi/a@1", "pkg:pypi/b@1"]).replace(
        b"</bom>", f"<dependencies>{edges}</dependencies></bom>".encode()
    )
    assert len(read_declared(document)) == 2


def test_tools_that_wrote_the_document_are_no_components() -> None:
    tools = "<metadata><tools><components><component><name>t</name><purl>pkg:pypi/t@1</purl></component></components>"
    subject = f"</tools><component><name>i</name><version>sha256:{'0' * 64}</version></component></metadata>"
    document = cyclonedx_xml(["pkg:pypi/a@1"]).replace(b"<components>", f"{tools}{subject}<components>".encode(), 1)
    listing = read_listing(document)
    assert [c.name for c in listing.components] == ["a"]
    assert listing.subject == f"sha256:{'0' * 64}"


def test_what_advisories_are_asked_about_survives_writing_and_reading() -> None:
    files = {
        "etc/os-release": b'ID=rocky\nVERSION_ID="9.4"\n',
        "var/lib/rpm/rpmdb.sqlite": in_sqlite([package("bash-doc", "5.1", "2", epoch=3, source="bash-5.1-2.src.rpm")]),
    }
    bom, _, _ = make_bom(inventory_of(files), image_of())
    (again,) = read_declared(bom.document)
    assert (again.asked, again.ecosystem) == (bom.components[0].asked, bom.components[0].ecosystem)
    assert again.asked == ("bash", "3:5.1-2")


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(FORMS)), st.integers(0, 400), st.binary(min_size=1, max_size=4))
def test_any_damage_is_read_or_refused(form: str, place: int, noise: bytes) -> None:
    whole = FORMS[form](["pkg:pypi/a@1"])
    damaged = whole[: place % len(whole)] + noise + whole[place % len(whole) :]
    try:
        assert len(read_declared(damaged)) <= 2
    except InvalidInput as error:
        assert error.rule
