"""Asking a registry that is busy, pushing to one that plays tricks, and one that knows referrers; on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pratique.digests import Digest, sha256_bytes
from pratique.errors import CouldNotDecide, InvalidInput
from pratique.intake.image import ImageLimits, RegistryImage
from pratique.intake.image.attach import attach
from pratique.intake.image.attached import BUNDLE_TYPE, Paper, attached_to
from pratique.intake.image.reference import parse_reference
from pratique.intake.image.registry_http import RegistryHttp

IMAGE = json.dumps({"mediaType": "application/vnd.oci.image.manifest.v1+json"}).encode()
DIGEST = sha256_bytes(IMAGE)
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"

Reply = tuple[int, dict[str, str], bytes]


class Scripted:
    """A registry that answers each request by a function of method, path and body, and remembers them."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.answer: Callable[[str, str, bytes], Reply] = lambda method, path, body: (404, {}, b"")
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                """Nothing."""

            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                owner.asked.append((self.command, self.path))
                status, headers, data = owner.answer(self.command, self.path, body)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = _any

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    @property
    def source(self) -> RegistryImage:
        return RegistryImage(f"127.0.0.1:{self.server.server_port}/team/tool@{DIGEST}")

    def http(self, pauses: list[float]) -> RegistryHttp:
        return RegistryHttp(parse_reference(self.source.reference), None, sleep=pauses.append)


@pytest.fixture
def registry() -> Iterator[Scripted]:
    made = Scripted()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.mark.parametrize(
    ("headers", "pauses"),
    [({}, [0.25, 1.0]), ({"Retry-After": "3"}, [3.0, 3.0]), ({"Retry-After": "9999"}, [10.0, 10.0])],
    ids=["says nothing", "says when", "says never"],
)
def test_a_busy_registry_is_asked_again(registry: Scripted, headers: dict[str, str], pauses: list[float]) -> None:
    """Twice, after the time that it asks for, within reason."""
    answers = iter([(503, headers, b""), (429, headers, b""), (200, {}, b"here")])
    registry.answer = lambda method, path, body: next(answers)
    waited: list[float] = []
    assert registry.http(waited).read("manifests/x", accept="*/*", limit=10) == b"here"
    assert waited == pauses


def test_a_registry_that_stays_busy(registry: Scripted) -> None:
    """Could not decide, after three attempts."""
    registry.answer = lambda method, path, body: (503, {}, b"")
    with pytest.raises(CouldNotDecide, match="HTTP 503"):
        registry.http([]).read("manifests/x", accept="*/*", limit=10)
    assert len(registry.asked) == 3


def test_an_answer_that_is_too_long(registry: Scripted) -> None:
    """It is cut off, whatever it says of its length."""
    registry.answer = lambda method, path, body: (200, {}, b"x" * 11)
    with pytest.raises(InvalidInput) as caught:
        registry.http([]).read("manifests/x", accept="*/*", limit=10)
    assert caught.value.rule == "image/document-too-large"


def test_a_registry_with_referrers(registry: Scripted) -> None:
    """The tag is not asked for; a referrer of another image is left out."""
    bundle = b'{"a":"bundle"}'
    kinds = {"ours": DIGEST, "theirs": sha256_bytes(b"another image")}
    manifests: dict[str, bytes] = {}
    for name, subject in kinds.items():
        document = {
            "layers": [{"mediaType": f"{BUNDLE_TYPE}.v0.3+json", "digest": sha256_bytes(bundle), "size": len(bundle)}],
            "subject": {"digest": subject},
            "note": name,
        }
        manifests[name] = json.dumps(document).encode()
    listed = [
        {"mediaType": MANIFEST_TYPE, "digest": sha256_bytes(data), "artifactType": f"{BUNDLE_TYPE}.v0.3+json"}
        for data in manifests.values()
    ]
    known = {sha256_bytes(data): data for data in (*manifests.values(), bundle)}

    def answer(method: str, path: str, body: bytes) -> Reply:
        if f"/referrers/{DIGEST}" in path:
            return 200, {}, json.dumps({"manifests": listed}).encode()
        data = known.get(Digest(path.rpartition("/")[2]))
        return (200, {}, data) if data else (404, {}, b"")

    registry.answer = answer
    (found,) = attached_to(registry.source, DIGEST, ImageLimits())
    assert found.data == bundle
    assert not any(path.endswith(f"manifests/sha256-{DIGEST[7:]}") for _, path in registry.asked)


def test_a_referrer_that_is_another_than_listed(registry: Scripted) -> None:
    """A registry that answers with other bytes than those asked for."""
    listed = [{"mediaType": MANIFEST_TYPE, "digest": sha256_bytes(b"promised")}]

    def answer(method: str, path: str, body: bytes) -> Reply:
        return 200, {}, json.dumps({"manifests": listed}).encode() if "referrers" in path else b"{}"

    registry.answer = answer
    with pytest.raises(InvalidInput) as caught:
        attached_to(registry.source, DIGEST, ImageLimits())
    assert caught.value.rule == "image/blob-digest"


def listed_in_pages(count: int, last: Reply | None = None) -> tuple[Callable[[str, str, bytes], Reply], list[bytes]]:
    """A registry that lists one referrer a page; the answer to page `count`, and the bundles in order."""
    bundles = [f'{{"bundle":{number}}}'.encode() for number in range(count)]
    manifests = []
    for bundle in bundles:
        layer = {"mediaType": f"{BUNDLE_TYPE}.v0.3+json", "digest": sha256_bytes(bundle), "size": len(bundle)}
        manifests.append(json.dumps({"layers": [layer], "subject": {"digest": DIGEST}}).encode())
    known = {sha256_bytes(data): data for data in (*manifests, *bundles)}

    def answer(method: str, path: str, body: bytes) -> Reply:
        if "/referrers/" not in path:
            data = known.get(Digest(path.rpartition("/")[2]))
            return (200, {}, data) if data else (404, {}, b"")
        number = int(path.partition("page=")[2] or 0)
        if number >= count:
            return last or (404, {}, b"")
        item = {"mediaType": MANIFEST_TYPE, "digest": sha256_bytes(manifests[number])}
        more = {"Link": f'<{path.partition("?")[0]}?page={number + 1}>; rel="next"'}
        return 200, more if number + 1 < count or last else {}, json.dumps({"manifests": [item]}).encode()

    return answer, bundles


def test_referrers_on_several_pages(registry: Scripted) -> None:
    """All of them are looked at, not the first page only."""
    registry.answer, bundles = listed_in_pages(5)
    assert [one.data for one in attached_to(registry.source, DIGEST, ImageLimits())] == bundles


@pytest.mark.parametrize("last", [(404, {}, b""), (500, {}, b"")], ids=["not there", "broken"])
def test_a_page_that_is_missing(registry: Scripted, last: Reply) -> None:
    """Nothing is taken for all there is that was cut short."""
    registry.answer, _ = listed_in_pages(2, last)
    with pytest.raises(CouldNotDecide):
        attached_to(registry.source, DIGEST, ImageLimits())


def test_pages_without_end(registry: Scripted) -> None:
    """They are given up."""
    page = json.dumps({"manifests": []}).encode()
    registry.answer = lambda method, path, body: (200, {"Link": f'<{path}>; rel="next"'}, page)
    with pytest.raises(CouldNotDecide, match="does not come to the end"):
        attached_to(registry.source, DIGEST, ImageLimits())
    assert len(registry.asked) == 32


@pytest.mark.parametrize("url", ["http://127.0.0.2:1/more", "file:///etc/passwd", "https://example.org/v2/"])
def test_a_next_page_elsewhere(registry: Scripted, url: str) -> None:
    """The account goes with every page, so pages come from the registry itself."""
    registry.answer = lambda method, path, body: (200, {"Link": f'<{url}>; rel="next"'}, b"{}")
    with pytest.raises(InvalidInput) as caught:
        attached_to(registry.source, DIGEST, ImageLimits())
    assert caught.value.rule == "image/registry-redirect"


@pytest.mark.parametrize(
    "tagged", [b"[]", b'{"manifests": 7}', b'{"manifests": [1, null, {}]}'], ids=["list", "number", "no descriptors"]
)
def test_a_fallback_tag_that_is_no_index(registry: Scripted, tagged: bytes) -> None:
    """Somebody put something else there: what we attach is listed all the same."""
    tags = {"now": tagged}

    def answer(method: str, path: str, body: bytes) -> Reply:
        tag = path.endswith(f"sha256-{DIGEST[7:]}")
        if method == "GET":
            return 200, {}, tags["now"] if tag else IMAGE
        if tag:
            tags["now"] = body
        return 202 if method == "POST" else 201, {"Location": "uploads/1"}, b""

    registry.answer = answer
    digest = attach(registry.source, [Paper("text/plain", b"{}")], artifact_type="text/plain")
    assert json.loads(tags["now"])["manifests"][-1]["digest"] == digest


def test_a_fallback_tag_that_others_overwrite(registry: Scripted) -> None:
    """What was pushed and is not to be found is no success."""

    def answer(method: str, path: str, body: bytes) -> Reply:
        if method == "GET":
            return 200, {}, b'{"manifests": []}' if "manifests/sha256-" in path else IMAGE
        return 202 if method == "POST" else 201, {"Location": "uploads/1"}, b""

    registry.answer = answer
    with pytest.raises(CouldNotDecide, match="does not appear"):
        attach(registry.source, [Paper("text/plain", b"{}")], artifact_type="text/plain")


def test_a_registry_that_is_busy_when_something_is_pushed(registry: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked again."""
    monkeypatch.setattr("pratique.intake.image.registry_http._PAUSES", (0, 0))
    busy = iter([True] * 2)

    def answer(method: str, path: str, body: bytes) -> Reply:
        if method != "GET" and next(busy, False):
            return 503, {}, b""
        if method == "GET":
            return 200, {}, IMAGE
        return (202, {"Location": "uploads/1"}, b"") if method == "POST" else (201, {"OCI-Subject": DIGEST}, b"")

    registry.answer = answer
    assert attach(registry.source, [Paper("text/plain", b"{}")], artifact_type="text/plain")


def test_a_registry_that_fails_is_not_one_without_signatures(registry: Scripted) -> None:
    """Nothing is taken for unsigned that was not looked at."""
    registry.answer = lambda method, path, body: (500, {}, b"")
    with pytest.raises(CouldNotDecide):
        attached_to(registry.source, DIGEST, ImageLimits())


def test_an_upload_that_is_sent_elsewhere(registry: Scripted) -> None:
    """What is pushed, and the account with it, goes to the registry that was named."""

    def answer(method: str, path: str, body: bytes) -> Reply:
        if method == "GET":
            return 200, {}, IMAGE
        return 202, {"Location": "http://127.0.0.2:1/steal"}, b""

    registry.answer = answer
    with pytest.raises(InvalidInput) as caught:
        attach(registry.source, [Paper("text/plain", b"{}")], artifact_type="text/plain")
    assert caught.value.rule == "image/registry-redirect"


def test_a_registry_that_knows_subjects_needs_no_tag(registry: Scripted) -> None:
    """It says so by the header OCI-Subject."""

    def answer(method: str, path: str, body: bytes) -> Reply:
        if method == "GET":
            return 200, {}, IMAGE
        return (202, {"Location": "uploads/1"}, b"") if method == "POST" else (201, {"OCI-Subject": DIGEST}, b"")

    registry.answer = answer
    digest = attach(registry.source, [Paper("text/plain", b"{}")], artifact_type="text/plain")
    assert registry.asked[-1] == ("PUT", f"/v2/team/tool/manifests/{digest}")


def test_an_account_that_may_not_push(registry: Scripted) -> None:
    """Could not decide, with what to do."""
    registry.answer = lambda method, path, body: (200, {}, IMAGE) if method == "GET" else (403, {}, b"")
    with pytest.raises(CouldNotDecide, match="does not take what is pushed"):
        attach(registry.source, [Paper("text/plain", b"{}")], artifact_type="text/plain")
