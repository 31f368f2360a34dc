"""Asking OSV's and PyPI's services: an honest one answers, and one that does anything else decides nothing."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from checks.advisories import Severity, import_snapshot, load
from checks.advisories.online import Service as Asked
from checks.advisories.wire import Asking
from checks.interface import CheckResult, Status
from checks.sbom.model import Component
from checks.vulnerabilities import check_vulnerabilities
from tests.assets.clocks import fixed_clock
from tests.unit.checks.advisory_services import Answer, Handler, Service, serving
from tests.unit.checks.feeds import record, write_zip
from tests.unit.checks.stores import MemoryStore

NOW = datetime(2026, 7, 25, 12, tzinfo=UTC)
QUICK = Asking(max_bytes=200_000, silence=0.5, deadline=1.0)
KNOWN = record("PYSEC-2020-96", "pyyaml")
FLAWED = record("GHSA-aaaa-bbbb-cccc", aliases=["CVE-2024-1000"])


def component(name: str = "widget", version: str = "1.0", ecosystem: str = "PyPI") -> Component:
    return Component(name=name, version=version, purl=f"pkg:x/{name}@{version}", ecosystem=ecosystem)


def knows(question: dict[str, Any]) -> list[dict[str, Any]]:
    """What an honest OSV has: the flaw of widget before 2.0, what everybody knows, and openssl in Debian 12."""
    package = question["package"]
    if package["ecosystem"] == "Debian:12" and package["name"] == "openssl":
        return [record("DEBIAN-CVE-2024-5", "openssl", ecosystem="Debian:12", events=[{"introduced": "0"}])]
    if package["ecosystem"] != "PyPI":
        return []
    if package["name"] == "pyyaml":
        return [KNOWN]
    return [FLAWED] if package["name"] == "widget" and question.get("version", "0") < "2" else []


@pytest.fixture
def service() -> Iterator[Service]:
    """Both protocols on this machine."""
    known = [{"id": "PYSEC-2020-96", "aliases": ["CVE-2020-14343"], "fixed_in": ["5.4"], "withdrawn": None}]
    flaw = {"id": "PYSEC-2024-1", "aliases": ["CVE-2024-1000"], "fixed_in": ["1.5", "2.0"], "summary": "flawed"}
    gone = {**flaw, "id": "PYSEC-2024-2", "aliases": [], "withdrawn": "2024-01-01T00:00:00Z"}
    pypi: dict[tuple[str, str], list[dict[str, Any]]] = {
        ("pyyaml", "5.3"): known,
        ("widget", "1"): [flaw, gone],
        ("widget", "2"): [],
    }
    with serving(Service(knows, pypi)) as running:
        yield running


def check(asked: Asked, components: list[Component], home: Path, **more: Any) -> CheckResult:
    settings = {"max_age": timedelta(days=7), "clock": fixed_clock(NOW), "store": MemoryStore(), **more}
    return check_vulnerabilities(components, home, service=asked, **settings)


def osv(service: Service, how: Asking = QUICK) -> Asked:
    return Asked("osv", service.osv, how)


def pypi(service: Service, how: Asking = QUICK) -> Asked:
    return Asked("pypi", service.url, how)


# --- honest ----------------------------------------------------------------------------------------------------------


def test_osv_finds_what_the_snapshot_would(service: Service, tmp_path: Path) -> None:
    result = check(osv(service), [component(), component("Gadget", "1.0+cpu")], tmp_path)
    assert result.status is Status.FAILED
    assert (result.measured("critical"), result.measured("unchecked")) == (1, 0)
    assert "CVE-2024-1000 (GHSA-aaaa-bbbb-cccc)" in result.findings[0].message
    assert "Install widget 2.0" in result.findings[0].fix
    assert result.measured("snapshot_date") == "2026-07-25"
    assert {"package": {"name": "gadget", "ecosystem": "PyPI"}, "version": "1"} in service.asked


def test_a_service_on_this_machine_is_asked_through_no_proxy(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert check(osv(service), [component(version="9.0")], tmp_path).status is Status.PASSED


def test_a_version_that_is_not_affected_passes(service: Service, tmp_path: Path) -> None:
    assert check(osv(service), [component(version="2.0")], tmp_path).status is Status.PASSED


def test_the_digest_names_what_was_answered(service: Service, tmp_path: Path) -> None:
    one = check(osv(service), [component()], tmp_path).measured("snapshot_digest")
    two = check(osv(service), [component()], tmp_path).measured("snapshot_digest")
    other = check(osv(service), [component(version="2.0")], tmp_path).measured("snapshot_digest")
    assert str(one).startswith("sha256:")
    assert one == two != other


def test_answers_in_pages_are_read_to_the_end(service: Service, tmp_path: Path) -> None:
    many = [record(f"GHSA-{n:04}-aaaa-aaaa") for n in range(7)]
    service.matches = lambda q: [KNOWN] if q["package"]["name"] == "pyyaml" else many
    service.page = 3
    assert check(osv(service), [component()], tmp_path).measured("critical") == 7


def test_a_withdrawn_record_does_not_count(service: Service, tmp_path: Path) -> None:
    gone = {**FLAWED, "withdrawn": "2024-01-01T00:00:00Z"}
    service.matches = lambda q: [KNOWN] if q["package"]["name"] == "pyyaml" else [gone]
    assert check(osv(service), [component()], tmp_path).status is Status.PASSED


def test_other_ecosystems_by_their_release(service: Service, tmp_path: Path) -> None:
    there = check(osv(service), [component("openssl", "3.0.11-1", "Debian:12")], tmp_path)
    assert there.measured("critical") == 1
    made_up = check(osv(service), [component("openssl", "3.0.11-1", "Debian:99")], tmp_path)
    assert made_up.status is Status.INCONCLUSIVE


def test_a_version_that_is_none_is_asked_about_as_a_whole_and_undecided(service: Service, tmp_path: Path) -> None:
    result = check(osv(service), [component(version="weird")], tmp_path)
    assert (result.status, result.measured("undecided")) == (Status.INCONCLUSIVE, 1)


def test_pypi_knows_no_severity_so_that_nothing_it_finds_passes(service: Service, tmp_path: Path) -> None:
    result = check(pypi(service), [component()], tmp_path)
    assert (result.status, result.measured("unknown")) == (Status.INCONCLUSIVE, 1)
    assert "PYSEC-2024-1 (CVE-2024-1000)" in result.findings[0].message
    assert "Install widget 1.5" in result.findings[0].fix
    assert check(pypi(service), [component(version="2.0")], tmp_path).status is Status.PASSED


@pytest.mark.parametrize(("name", "version"), [("private", "1.0"), ("widget", "9.9"), ("widget", "weird")])
def test_what_pypi_does_not_have_was_not_looked_up(name: str, version: str, service: Service, tmp_path: Path) -> None:
    result = check(pypi(service), [component(version="2.0"), component(name, version)], tmp_path)
    assert (result.status, result.measured("unchecked")) == (Status.INCONCLUSIVE, 1)
    assert result.findings[0].rule_id == "vulnerabilities/not-looked-up"


def test_beside_pypi_snapshots_answer_for_the_rest(service: Service, tmp_path: Path) -> None:
    components = [component(version="2.0"), component("lib", "1.0", "Debian:12")]
    assert check(pypi(service), components, tmp_path).status is Status.INCONCLUSIVE
    flaw = record("DSA-1", "lib", ecosystem="Debian:12")
    import_snapshot(write_zip(tmp_path / "Debian" / "all.zip", [flaw]), tmp_path, taken=date(2026, 7, 25))
    result = check(pypi(service), components, tmp_path)
    assert (result.status, result.measured("critical")) == (Status.FAILED, 1)
    with load(tmp_path) as store:
        assert result.inputs["advisories.Debian"] == store.digest


# --- anything else ---------------------------------------------------------------------------------------------------


def says(code: int, body: bytes, **headers: str) -> Answer:
    return lambda handler: handler.reply(code, body, **headers)


def silent(handler: Handler) -> None:
    """Nothing for a long time."""
    threading.Event().wait(1.5)
    handler.close_connection = True


def dripping(handler: Handler) -> None:
    """A byte now and then."""
    handler.send_response(200)
    handler.send_header("Content-Length", "10000")
    handler.end_headers()
    for _ in range(40):
        try:
            handler.wfile.write(b" ")
            handler.wfile.flush()
        except OSError:
            return
        time.sleep(0.1)


def headers_without_an_end(handler: Handler) -> None:
    """A header now and then: no single wait is long."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(25):
        try:
            handler.wfile.write(b"X-%d: x\r\n" % number)
            handler.wfile.flush()
        except OSError:
            return
        time.sleep(0.1)
    handler.wfile.write(b"Content-Length: 2\r\n\r\n{}")


def truncated(handler: Handler) -> None:
    """Half of what was promised."""
    body = json.dumps({"vulns": []}).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body) + 500))
    handler.end_headers()
    handler.wfile.write(body)
    handler.wfile.flush()
    handler.close_connection = True


def hangs_up(handler: Handler) -> None:
    """No answer at all."""
    handler.close_connection = True


def says_json(document: Any) -> Answer:
    return says(200, json.dumps(document).encode())


MISBEHAVING: dict[str, Answer] = {
    "breaks": says(500, b"oops"),
    "is busy": says(503, b""),
    "wants a password": says(401, b"{}"),
    "does not know the place": says(404, b"{}"),
    "redirects": says(302, b"", Location="http://127.0.0.1:1/"),
    "redirects with the answer": says(302, json.dumps({"vulns": []}).encode(), Location="http://127.0.0.1:1/"),
    "answers with a page": says(200, b"<html>please log in</html>"),
    "answers with nothing": says(200, b""),
    "answers that there is no content": says(204, b""),
    "answers with a list": says_json([]),
    "answers with a number": says_json(7),
    "answers with null": says_json(None),
    "answers with something else": says_json({"error": "quota"}),
    "answers with vulns that are no list": says_json({"vulns": {}}),
    "answers with records that are none": says_json({"vulns": [7]}),
    "answers with a record without an id": says_json({"vulns": [{"affected": []}]}),
    "answers with records of a schema to come": says_json({"vulns": [{**FLAWED, "schema_version": "2.0.0"}]}),
    "answers with one key twice": says(200, b'{"vulns": [], "vulns": []}'),
    "answers with pages without end": says_json({"vulns": [], "next_page_token": "0"}),
    "answers in another encoding": says(200, b"\xff\xfe{}"),
    "answers with what is no gzip": says(200, b"{}", Content_Encoding="gzip"),
    "answers with too much": says(200, b'{"vulns": [' + b" " * 300_000 + b"]}"),
    "unpacks to far too much": says(200, gzip.compress(b" " * 20_000_000), Content_Encoding="gzip"),
    "nests too deep": says(200, b'{"vulns": ' + b"[" * 5000 + b"]" * 5000 + b"}"),
    "says nothing": silent,
    "says a byte now and then": dripping,
    "says headers without an end": headers_without_an_end,
    "stops in the middle": truncated,
    "hangs up": hangs_up,
}
KNOWS_ONE = {
    "osv": says_json({"vulns": [KNOWN]}),
    "pypi": says_json(
        {
            "info": {"name": "pyyaml", "version": "5.3"},
            "vulnerabilities": [{"id": "PYSEC-2020-96", "aliases": [], "fixed_in": []}],
        }
    ),
}
QUESTIONS: dict[str, Callable[[Service], Asked]] = {"osv": osv, "pypi": pypi}


@pytest.mark.parametrize("attack", MISBEHAVING)
@pytest.mark.parametrize("which", QUESTIONS)
def test_a_service_that_misbehaves_decides_nothing(which: str, attack: str, service: Service, tmp_path: Path) -> None:
    """It first answers what everybody knows, then misbehaves over the component itself."""
    service.misbehaves = [KNOWS_ONE[which], *[MISBEHAVING[attack]] * 30]
    result = check(QUESTIONS[which](service), [component(version="2.0")], tmp_path)
    assert result.status is Status.INCONCLUSIVE, result
    assert result.findings[0].fix


def test_a_service_that_says_nothing_about_anything_is_no_pass(service: Service, tmp_path: Path) -> None:
    """An answer of "no vulnerabilities" for everything is what a broken or bought service gives."""
    service.matches = lambda _: []
    result = check(osv(service), [component(version="2.0")], tmp_path)
    assert result.status is Status.INCONCLUSIVE
    service.pypi[("pyyaml", "5.3")] = []
    assert check(pypi(service), [component(version="2.0")], tmp_path).status is Status.INCONCLUSIVE


def test_a_password_in_the_address_is_not_shown(service: Service, tmp_path: Path) -> None:
    service.url = service.url.replace("//", "//somebody:secret@")
    store = MemoryStore()
    told = check(osv(service), [component()], tmp_path, store=store)
    assert told.measured("critical") == 1
    service.misbehaves = [says(500, b"oops")]
    broken = check(osv(service), [component()], tmp_path, store=store)
    assert broken.status is Status.INCONCLUSIVE
    assert "secret" not in f"{told}{broken}{list(store.kept.values())}"


def test_an_answer_about_another_package_is_none(service: Service, tmp_path: Path) -> None:
    other = says_json({"info": {"name": "gadget", "version": "2"}, "vulnerabilities": []})
    service.misbehaves = [KNOWS_ONE["pypi"], other]
    assert check(pypi(service), [component(version="2.0")], tmp_path).status is Status.INCONCLUSIVE


@pytest.mark.parametrize("which", QUESTIONS)
def test_a_service_that_is_not_there_decides_nothing(which: str, service: Service, tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:1", "https" + service.url.removeprefix("http"), "https://no.such.host.invalid"):
        asked = Asked("osv" if which == "osv" else "pypi", url, QUICK)
        result = check(asked, [component(version="2.0")], tmp_path)
        assert result.status is Status.INCONCLUSIVE
        assert "did not answer as it should" in result.summary


def test_a_service_is_asked_about_each_package_once(service: Service, tmp_path: Path) -> None:
    check(osv(service), [component(), component(), component(version="1.0.0")], tmp_path)
    assert [q["package"]["name"] for q in service.asked] == ["pyyaml", "widget"]


def test_what_a_service_finds_is_rated_by_its_records(service: Service, tmp_path: Path) -> None:
    result = check(osv(service), [component()], tmp_path, fail_at=Severity.CRITICAL)
    assert result.measured("critical") == 1
