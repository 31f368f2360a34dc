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
from pratique.intake.image.attached import BUNDLE_TYPE, attached_to
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
        attach(registry.source, b"{}", media_type="text/plain", artifact_type="text/plain")
    assert caught.value.rule == "image/registry-redirect"


def test_a_registry_that_knows_subjects_needs_no_tag(registry: Scripted) -> None:
    """It says so by the header OCI-Subject."""

    def answer(method: str, path: str, body: bytes) -> Reply:
        if method == "GET":
            return 200, {}, IMAGE
        return (202, {"Location": "uploads/1"}, b"") if method == "POST" else (201, {"OCI-Subject": DIGEST}, b"")

    registry.answer = answer
    digest = attach(registry.source, b"{}", media_type="text/plain", artifact_type="text/plain")
    assert registry.asked[-1] == ("PUT", f"/v2/team/tool/manifests/{digest}")


def test_an_account_that_may_not_push(registry: Scripted) -> None:
    """Could not decide, with what to do."""
    registry.answer = lambda method, path, body: (200, {}, IMAGE) if method == "GET" else (403, {}, b"")
    with pytest.raises(CouldNotDecide, match="does not take what is pushed"):
        attach(registry.source, b"{}", media_type="text/plain", artifact_type="text/plain")
