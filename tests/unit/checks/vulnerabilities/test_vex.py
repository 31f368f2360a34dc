"""VEX: a statement waives exactly what it names, while a person of the node adopts it; nothing else does."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from checks.advisories import import_snapshot
from checks.interface import CheckResult, Status
from checks.sbom.declared import read_listing
from checks.sbom.model import Component, package_url
from checks.vulnerabilities import check_vulnerabilities
from checks.vulnerabilities.vex import Adoption, read_vex
from checks.vulnerabilities.waivers import Waiver
from policies.load import load_policy
from policies.sections.findings import AdvisorySection
from pratique.digests import Digest, sha256_bytes
from pratique.errors import InvalidInput
from tests.assets.clocks import fixed_clock
from tests.unit.checks.feeds import record, write_zip
from tests.unit.checks.stores import MemoryStore

TODAY = date(2026, 7, 1)
NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
IMAGE = Digest("sha256:" + "a" * 64)
ADOPTED = Adoption("A. Person", date(2026, 12, 31), "tool.vex.json")
WIDGET = Component(
    name="Widget", version="1.0", purl=package_url("pypi", "Widget", "1.0"), ecosystem="PyPI", path="site/widget"
)


def openvex(**statement: Any) -> bytes:
    """An OpenVEX document with one statement."""
    base = {
        "vulnerability": {"name": "CVE-2024-1"},
        "products": [{"@id": "pkg:pypi/widget@1.0"}],
        "status": "not_affected",
        "justification": "vulnerable_code_not_in_execute_path",
    }
    kept = {key: value for key, value in (base | statement).items() if value is not None}
    return json.dumps(
        {"@context": "https://openvex.dev/ns/v0.2.0", "author": "Maker", "version": 1, "statements": [kept]}
    ).encode()


def cyclonedx(*, reference: str = "one", **analysis: Any) -> bytes:
    """A CycloneDX VEX with one vulnerability."""
    base = {"state": "not_affected", "justification": "code_not_reachable"}
    return json.dumps(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "components": [{"type": "library", "name": "widget", "bom-ref": "one", "purl": "pkg:pypi/widget@1.0"}],
            "vulnerabilities": [{"id": "CVE-2024-1", "analysis": base | analysis, "affects": [{"ref": reference}]}],
        }
    ).encode()


def judged(tmp_path: Path, waivers: tuple[Waiver, ...], *, image: Digest | None = IMAGE) -> CheckResult:
    """The check of one vulnerable widget."""
    feed = write_zip(tmp_path / "PyPI" / "all.zip", [record("GHSA-aaaa-bbbb-cccc", aliases=["CVE-2024-1"])])
    import_snapshot(feed, tmp_path / "home", taken=TODAY)
    return check_vulnerabilities(
        [WIDGET],
        tmp_path / "home",
        max_age=timedelta(days=7),
        waivers=waivers,
        clock=fixed_clock(NOW),
        store=MemoryStore(),
        image=image,
    )


IN_IMAGE = [{"@id": f"pkg:oci/tool@{IMAGE}", "subcomponents": [{"@id": "pkg:pypi/widget@1.0"}]}]
WAIVING: dict[str, bytes] = {
    "OpenVEX": openvex(),
    "OpenVEX by an alias": openvex(vulnerability={"name": "X-1", "aliases": ["GHSA-aaaa-bbbb-cccc"]}),
    "OpenVEX of before 0.2": openvex(vulnerability="CVE-2024-1", products=["pkg:pypi/widget@1.0"]),
    "OpenVEX without a version": openvex(products=[{"@id": "pkg:pypi/widget"}]),
    "OpenVEX with an identifier": openvex(products=[{"@id": "x", "identifiers": {"purl": "pkg:pypi/Widget@1.0"}}]),
    "OpenVEX, fixed by a patch": openvex(status="fixed", justification=None),
    "OpenVEX for a part of this image": openvex(products=IN_IMAGE),
    "OpenVEX with an impact statement": openvex(justification=None, impact_statement="never called"),
    "CycloneDX": cyclonedx(),
    "CycloneDX by package URL": cyclonedx(reference="pkg:pypi/widget@1.0"),
    "CycloneDX by BOM-Link": cyclonedx(reference="urn:cdx:f08a6ccd-4dce-4759-bd84-c626675d60a7/1#one"),
    "CycloneDX, resolved": cyclonedx(state="resolved"),
}


@pytest.mark.parametrize("case", WAIVING)
def test_a_statement_that_is_adopted_waives_and_is_shown(case: str, tmp_path: Path) -> None:
    result = judged(tmp_path, read_vex(WAIVING[case], ADOPTED))
    assert result.status is Status.PASSED
    assert (result.measured("waived"), result.measured("critical")) == (1, 0)
    (finding,) = [f for f in result.findings if f.rule_id == "vulnerabilities/waived"]
    assert "A. Person" in finding.message
    assert "tool.vex.json" in finding.message
    assert not [f for f in result.findings if f.rule_id == "vulnerabilities/waivers-unused"]


OTHER = "sha256:" + "b" * 64
IDLE: dict[str, bytes] = {
    "another version": openvex(products=[{"@id": "pkg:pypi/widget@1.1"}]),
    "another package": openvex(products=[{"@id": "pkg:pypi/gadget@1.0"}]),
    "another ecosystem": openvex(products=[{"@id": "pkg:npm/widget@1.0"}]),
    "another namespace": openvex(products=[{"@id": "pkg:pypi/x/widget@1.0"}]),
    "a qualifier that the package does not have": openvex(products=[{"@id": "pkg:pypi/widget@1.0?arch=arm"}]),
    "another vulnerability": openvex(vulnerability={"name": "CVE-2024-2"}),
    "a part of the package": openvex(products=[{"@id": "pkg:pypi/widget@1.0#widget/extras"}]),
    "part of another image": openvex(products=[{**IN_IMAGE[0], "@id": f"pkg:oci/tool@{OTHER}"}]),
    "part of an image without a digest": openvex(products=[{**IN_IMAGE[0], "@id": "pkg:oci/tool@1.0"}]),
    "part of something else": openvex(products=[{**IN_IMAGE[0], "@id": "pkg:pypi/tool@1.0"}]),
    "the image as a whole": openvex(products=[{"@id": f"pkg:oci/tool@{IMAGE}"}]),
    "affected": openvex(status="affected"),
    "under investigation": openvex(status="under_investigation"),
    "not affected, without a reason": openvex(justification=None),
    "a status of its own": openvex(status="fine"),
    "CycloneDX in triage": cyclonedx(state="in_triage"),
    "CycloneDX exploitable": cyclonedx(state="exploitable"),
    "CycloneDX without a reason": cyclonedx(justification=None),
    "CycloneDX of an unknown part": cyclonedx(reference="two"),
}


@pytest.mark.parametrize("case", IDLE)
def test_a_statement_about_something_else_waives_nothing(case: str, tmp_path: Path) -> None:
    result = judged(tmp_path, read_vex(IDLE[case], ADOPTED))
    assert result.status is Status.FAILED
    assert result.measured("waived") == 0


def test_a_statement_about_an_image_needs_that_image(tmp_path: Path) -> None:
    waivers = read_vex(openvex(products=IN_IMAGE), ADOPTED)
    assert judged(tmp_path, waivers, image=None).status is Status.FAILED


def test_an_adoption_that_has_ended_counts_for_nothing_and_is_shown(tmp_path: Path) -> None:
    ended = Adoption("A. Person", date(2026, 6, 30), "tool.vex.json")
    result = judged(tmp_path, read_vex(openvex(), ended))
    assert result.status is Status.FAILED
    assert any("expired on 2026-06-30" in finding.message for finding in result.findings)


def test_statements_that_concern_nothing_are_told(tmp_path: Path) -> None:
    result = judged(tmp_path, read_vex(IDLE["another package"], ADOPTED))
    assert any("1 waivers of the tool.vex.json concern nothing" in finding.message for finding in result.findings)


def said(*statements: dict[str, Any], **document: Any) -> bytes:
    """An OpenVEX document with several statements about the flaw of widget."""
    base = json.loads(openvex())
    base["statements"] = [{**base["statements"][0], **statement} for statement in statements]
    return json.dumps({**base, **document}).encode()


EARLY, LATE = "2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z"
AFFECTED: dict[str, Any] = {"status": "affected", "justification": None}
CLEARED: dict[str, Any] = {"status": "not_affected"}
TAKEN_BACK: dict[str, bytes] = {
    "later": said({**CLEARED, "timestamp": EARLY}, {**AFFECTED, "timestamp": LATE}),
    "later, though written first": said({**AFFECTED, "timestamp": LATE}, {**CLEARED, "timestamp": EARLY}),
    "at the same time": said(CLEARED, AFFECTED, timestamp=EARLY),
    "without any time": said(CLEARED, AFFECTED),
    "for all versions": said(CLEARED, {**AFFECTED, "products": [{"@id": "pkg:pypi/Widget"}]}),
    "as under investigation": said(CLEARED, {"status": "under_investigation"}),
    "with a time that is none": said({**CLEARED, "timestamp": "soon"}, {**AFFECTED, "timestamp": EARLY}),
    "by CycloneDX": json.dumps(
        json.loads(cyclonedx())
        | {
            "vulnerabilities": [
                *json.loads(cyclonedx())["vulnerabilities"],
                *json.loads(cyclonedx(state="exploitable"))["vulnerabilities"],
            ]
        }
    ).encode(),
}


@pytest.mark.parametrize("case", TAKEN_BACK)
def test_what_a_document_takes_back_waives_nothing(case: str, tmp_path: Path) -> None:
    assert judged(tmp_path, read_vex(TAKEN_BACK[case], ADOPTED)).status is Status.FAILED


NOT_TAKEN_BACK: dict[str, bytes] = {
    "earlier": said({**AFFECTED, "timestamp": EARLY}, {**CLEARED, "timestamp": LATE}),
    "of another version": said(CLEARED, {**AFFECTED, "products": [{"@id": "pkg:pypi/widget@2.0"}]}),
    "of another vulnerability": said(CLEARED, {**AFFECTED, "vulnerability": {"name": "CVE-2024-2"}}),
    "of another image": said(
        {**CLEARED, "products": IN_IMAGE}, {**AFFECTED, "products": [{**IN_IMAGE[0], "@id": f"pkg:oci/tool@{OTHER}"}]}
    ),
}


@pytest.mark.parametrize("case", NOT_TAKEN_BACK)
def test_what_is_said_of_something_else_takes_nothing_back(case: str, tmp_path: Path) -> None:
    assert judged(tmp_path, read_vex(NOT_TAKEN_BACK[case], ADOPTED)).status is Status.PASSED


TOMORROW, LONG_AGO = "2026-07-02T00:00:00Z", "0001-01-01T00:00:00+14:00"
NOT_YET: dict[str, bytes] = {
    "OpenVEX": said({**CLEARED, "timestamp": TOMORROW}),
    "OpenVEX, the whole document": said(CLEARED, timestamp=TOMORROW),
    "OpenVEX, updated": said({**CLEARED, "timestamp": EARLY, "last_updated": TOMORROW}),
    "CycloneDX": cyclonedx(lastUpdated=TOMORROW),
    "in another zone": said({**CLEARED, "timestamp": "2026-07-01T23:30:00-01:00"}),
}


@pytest.mark.parametrize("case", NOT_YET)
def test_a_statement_from_the_future_is_not_in_force(case: str, tmp_path: Path) -> None:
    result = judged(tmp_path, read_vex(NOT_YET[case], ADOPTED))
    assert (result.status, result.measured("waived")) == (Status.FAILED, 0)
    assert any("from 2026-07-02 on, which has not come" in finding.message for finding in result.findings)


@pytest.mark.parametrize("at", [LONG_AGO, "2026-07-02T00:30:00+01:00", "2026-07-01T12:00:00Z"])
def test_a_statement_of_today_or_before_is_in_force(at: str, tmp_path: Path) -> None:
    assert judged(tmp_path, read_vex(said({**CLEARED, "timestamp": at}), ADOPTED)).status is Status.PASSED


def test_a_statement_that_is_in_force_counts_beside_one_that_is_not(tmp_path: Path) -> None:
    data = said({**CLEARED, "timestamp": TOMORROW}, {**CLEARED, "timestamp": EARLY})
    assert judged(tmp_path, read_vex(data, ADOPTED)).status is Status.PASSED


def test_what_is_taken_back_from_tomorrow_on_is_taken_back_now(tmp_path: Path) -> None:
    data = said({**CLEARED, "timestamp": EARLY}, {**AFFECTED, "timestamp": TOMORROW})
    assert judged(tmp_path, read_vex(data, ADOPTED)).status is Status.FAILED


def test_thousands_of_statements_for_and_against_are_read_once_each() -> None:
    """Each against each would take minutes."""
    products = [[{"@id": f"pkg:pypi/widget@{number}"}] for number in range(8000)]
    for_ = ({**CLEARED, "products": one, "timestamp": LATE} for one in products)
    against = ({**AFFECTED, "products": one, "timestamp": EARLY} for one in products)
    assert len(read_vex(said(*for_, *against), ADOPTED)) == 8000


def test_a_document_that_names_everything_of_everything_is_refused() -> None:
    names = {"name": "CVE-2024-1", "aliases": [f"X-{number}" for number in range(2000)]}
    products = [{"@id": f"pkg:pypi/widget@{number}"} for number in range(2000)]
    with pytest.raises(InvalidInput, match="more than 200,000"):
        read_vex(openvex(vulnerability=names, products=products), ADOPTED)


def in_versions(*versions: dict[str, str], purl: str = "pkg:pypi/widget") -> bytes:
    """A CycloneDX VEX about some versions of a part."""
    document = json.loads(cyclonedx())
    document["components"][0]["purl"] = purl
    document["vulnerabilities"][0]["affects"] = [{"ref": "one", "versions": list(versions)}]
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (in_versions({"version": "1.0", "status": "unaffected"}), Status.PASSED),
        (in_versions({"version": "1.1"}, {"version": "1.0"}), Status.PASSED),
        (in_versions({"version": "1.1"}), Status.FAILED),
        (in_versions({"range": "vers:pypi/>=0"}), Status.FAILED),
        (in_versions(), Status.FAILED),
        (in_versions({"version": "1.1"}, purl="pkg:pypi/widget@1.0"), Status.FAILED),
    ],
    ids=["its version", "one of two", "another", "a range", "none", "another than the part's"],
)
def test_versions_that_cyclonedx_names_are_the_only_ones(data: bytes, status: Status, tmp_path: Path) -> None:
    assert judged(tmp_path, read_vex(data, ADOPTED)).status is status


@pytest.mark.parametrize("data", [openvex(justification="trust us"), cyclonedx(justification="trust us")])
def test_a_reason_that_the_format_does_not_know_is_none(data: bytes, tmp_path: Path) -> None:
    assert judged(tmp_path, read_vex(data, ADOPTED)).status is Status.FAILED


@pytest.mark.parametrize(
    ("waiver", "status"),
    [
        ({"product": "pkg:pypi/widget@1.0"}, Status.PASSED),
        ({"product": "pkg:pypi/widget"}, Status.PASSED),
        ({"product": "pkg:pypi/widget@1.1"}, Status.FAILED),
        ({"product": "pkg:npm/widget@1.0"}, Status.FAILED),
        ({"image": IMAGE}, Status.PASSED),
        ({"image": OTHER}, Status.FAILED),
        ({"package": "WIDGET"}, Status.PASSED),
        ({"package": "wid_get"}, Status.FAILED),
        ({"product": "pkg:pypi/widget", "image": OTHER}, Status.FAILED),
    ],
)
def test_a_waiver_of_the_policy_holds_only_where_it_says(
    waiver: dict[str, str], status: Status, tmp_path: Path
) -> None:
    section = AdvisorySection.model_validate(
        {"waivers": [{"id": "CVE-2024-1", "until": "2026-12-31", "by": "A. Person", "reason": "x", **waiver}]}
    )
    assert judged(tmp_path, section.accepted()).status is status


@pytest.mark.parametrize("wrong", [{"product": "widget"}, {"image": "sha256:0"}, {"until": "soon"}, {"by": ""}])
def test_a_waiver_that_cannot_be_applied_is_no_policy(wrong: dict[str, str]) -> None:
    whole = {"id": "CVE-2024-1", "until": "2026-12-31", "by": "A. Person", "reason": "x"}
    with pytest.raises(ValidationError):
        AdvisorySection.model_validate({"waivers": [{**whole, **wrong}]})


def test_what_the_provider_says_of_its_own_flaws_silences_nothing(tmp_path: Path) -> None:
    """A declared SBOM with an analysis in it: read for its components, and for nothing else."""
    listing = read_listing(cyclonedx())
    assert [component.purl for component in listing.components] == ["pkg:pypi/widget@1.0"]
    feed = write_zip(tmp_path / "PyPI" / "all.zip", [record("GHSA-aaaa-bbbb-cccc", aliases=["CVE-2024-1"])])
    import_snapshot(feed, tmp_path / "home", taken=TODAY)
    result = check_vulnerabilities(
        listing.components, tmp_path / "home", max_age=timedelta(days=7), clock=fixed_clock(NOW), store=MemoryStore()
    )
    assert (result.status, result.measured("waived")) == (Status.FAILED, 0)


BROKEN: dict[str, bytes] = {
    "not JSON": b"{",
    "a list": b"[]",
    "another format": b'{"document": {"category": "csaf_vex"}}',
    "statements are no list": openvex().replace(b'"statements": [', b'"statements": {"a": [').replace(b"]}", b"]}}"),
    "a statement without a vulnerability": openvex(vulnerability=None),
    "products are no list": openvex(products="pkg:pypi/widget"),
    "one key twice": openvex().replace(b'"author"', b'"version": 2, "author"'),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_document_is_refused_whole(case: str) -> None:
    with pytest.raises(InvalidInput):
        read_vex(BROKEN[case], ADOPTED)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["statements", "vulnerability", "name", "products", "@id", "status", "components", "analysis"]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(st.sampled_from(["statements", "components", "vulnerabilities"]), JSON, max_size=3), st.booleans()
)
@settings(max_examples=150, deadline=None)
def test_any_document_is_read_or_refused(document: dict[str, Any], is_openvex: bool) -> None:
    head = {"@context": "https://openvex.dev/ns"} if is_openvex else {"bomFormat": "CycloneDX"}
    try:
        read_vex(json.dumps(document | head).encode(), ADOPTED)
    except InvalidInput:
        return


POLICY = """
apiVersion: pratique/policy/v1
name: node
advisories:
  vex: [{{file: a.vex.json, sha256: {digest}, until: 2026-12-31, by: A. Person}}]
rules:
  - {{id: a, stage: before-execution, require: checks.image.status == "passed", otherwise: refuse, say: x}}
"""


def test_the_policy_pins_the_document_that_it_adopts(tmp_path: Path) -> None:
    (tmp_path / "a.vex.json").write_bytes(openvex())
    (tmp_path / "policy.yaml").write_text(POLICY.format(digest=sha256_bytes(openvex())))
    loaded = load_policy(tmp_path / "policy.yaml")
    assert [(w.id, w.product, w.origin) for w in loaded.waivers()] == [
        ("CVE-2024-1", "pkg:pypi/widget@1.0", "a.vex.json")
    ]
    (tmp_path / "a.vex.json").write_bytes(openvex(products=[{"@id": "pkg:pypi/gadget"}]))
    with pytest.raises(InvalidInput, match="not the one that the policy pins") as refused:
        loaded.waivers()
    assert refused.value.rule == "policy/vex-digest"
