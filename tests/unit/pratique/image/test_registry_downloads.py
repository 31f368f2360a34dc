"""Downloads that break off are taken up again, slow ones end, and accounts and tokens go where they belong."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from pratique.errors import CouldNotDecide, InvalidInput
from pratique.intake.image import Credentials, ImageLimits, read_inventory
from tests.assets.registries import ServerCertificate
from tests.unit.pratique.image.fake_registries import (
    Answer,
    FakeRegistry,
    Handler,
    plain,
    pull,
    redirecting,
    serving,
    two_layers,
)

TOKEN = Credentials(identity_token="r3fresh")
USER = Credentials("node", "s3cret")


pytestmark = pytest.mark.usefixtures("no_pauses")


# --- resuming --------------------------------------------------------------------------------------------------------


def breaking_off(then: Answer, times: int = 1) -> Answer:
    """Send half of what is asked for, `times` times; then answer as `then` does."""
    left = [times]

    def answer(handler: Handler, data: bytes) -> None:
        if not left[0]:
            then(handler, data)
            return
        left[0] -= 1
        start = offset(handler)
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(data) - start))
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.end_headers()
        handler.wfile.write(data[start : start + (len(data) - start) // 2])
        handler.close_connection = True

    return answer


def offset(handler: Handler) -> int:
    found = re.fullmatch(r"bytes=([0-9]+)-", handler.headers.get("Range", "bytes=0-"))
    return int(found[1]) if found else 0


def ranged(change: Callable[[bytes], bytes] = lambda data: data, shift: int = 0) -> Answer:
    """The rest from the byte asked for on, as an honest registry sends it, changed or shifted otherwise."""

    def answer(handler: Handler, data: bytes) -> None:
        start = offset(handler) + shift
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        handler.wfile.write(change(data[start:]))

    return answer


@pytest.mark.parametrize("then", [ranged(), plain], ids=["goes on", "sends it all again"])
@pytest.mark.parametrize("times", [1, 3])
def test_a_download_that_broke_off(tmp_path: Path, then: Answer, times: int) -> None:
    """What is there is not asked for again where the registry lets us go on; the digest is that of the whole."""
    made, digest = two_layers()
    layer = list(made.blobs)[1]
    registry = FakeRegistry(made, {layer: breaking_off(then, times)})
    with serving(registry) as host:
        image = pull(host, digest, tmp_path)
        assert set(read_inventory(image).files) == {"a", "b"}
    asked = [int(one.removeprefix("bytes=").removesuffix("-")) for one in registry.ranges]
    assert len(asked) == times
    assert asked == sorted(set(asked))


@pytest.mark.parametrize(
    ("then", "rule"),
    [
        (ranged(lambda rest: bytes([rest[0] ^ 1]) + rest[1:]), "image/blob-digest"),
        (ranged(shift=-10), "image/blob-range"),
        (ranged(shift=1), "image/blob-range"),
        (lambda handler, data: plain(handler, b"\0" * len(data)), "image/blob-digest"),
        (lambda handler, data: plain(handler, data + b"x"), "image/blob-size"),
        (lambda handler, data: handler.send_error(404), "image/blob-missing"),
    ],
    ids=["other bytes", "from earlier on", "with a gap", "another blob", "a longer blob", "gone"],
)
def test_a_blob_that_changed_while_it_was_downloaded(tmp_path: Path, then: Answer, rule: str) -> None:
    """Half of one and half of another is neither; nothing partial stays behind."""
    made, digest = two_layers()
    layer = list(made.blobs)[1]
    with serving(FakeRegistry(made, {layer: breaking_off(then)})) as host, pytest.raises(InvalidInput) as caught:
        pull(host, digest, tmp_path)
    assert caught.value.rule == rule
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith("partial")]


def test_a_download_that_always_breaks_off(tmp_path: Path) -> None:
    """It is given up after a few times, however much came."""
    made, digest = two_layers()
    layer = list(made.blobs)[1]
    registry = FakeRegistry(made, {layer: breaking_off(plain, times=1000)})
    with serving(registry) as host, pytest.raises(CouldNotDecide, match="does not answer properly"):
        pull(host, digest, tmp_path)
    assert len(registry.ranges) == 3


# --- slowness --------------------------------------------------------------------------------------------------------


def dripping_head(handler: Handler, data: bytes) -> None:
    for byte in b"HTTP/1.0 200 OK\r\n" + b"X: y\r\n" * 100:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.02)


def silent(handler: Handler, data: bytes) -> None:
    time.sleep(3)


def dripping_without_end(handler: Handler, data: bytes) -> None:
    handler.send_response(200)
    handler.end_headers()
    for byte in data:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.02)


@pytest.mark.parametrize("answer", [dripping_head, silent, dripping_without_end])
@pytest.mark.parametrize("what", ["manifest", "layer"])
def test_a_registry_that_drips(tmp_path: Path, answer: Answer, what: str) -> None:
    """One byte now and then passes every time-out of a single read; the time for the whole ends it all the same."""
    made, digest = two_layers()
    target = digest if what == "manifest" else list(made.blobs)[1]
    limits = ImageLimits(download_seconds=0.3)
    begun = time.monotonic()
    with serving(FakeRegistry(made, {target: answer})) as host, pytest.raises(CouldNotDecide, match="too slow"):
        pull(host, digest, tmp_path, limits=limits)
    assert time.monotonic() - begun < 3


# --- tokens ----------------------------------------------------------------------------------------------------------


def token_service(challenge: str) -> Callable[[Handler], bool]:
    """Gives out t1, t2, …, each good for three requests."""
    state = {"issued": 0, "used": 0}

    def first(handler: Handler) -> bool:
        if handler.path.startswith("/token"):
            state["issued"], state["used"] = state["issued"] + 1, 0
            plain(handler, b'{"access_token": "t%d"}' % state["issued"])
            return True
        if handler.headers.get("Authorization") == f"Bearer t{state['issued']}" and state["used"] < 3:
            state["used"] += 1
            return False
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", challenge.replace("HOST", handler.headers["Host"]))
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    return first


@pytest.mark.parametrize("user", [None, USER, TOKEN], ids=["nobody", "name and password", "identity token"])
def test_a_token_that_ends_in_the_middle(tmp_path: Path, user: Credentials | None) -> None:
    """A new one is asked for; an identity token is posted, in no address and no header."""
    made, digest = two_layers()
    registry = FakeRegistry(made, first=token_service('Bearer realm="http://HOST/token",service="r",scope="x"'))
    with serving(registry) as host:
        assert pull(host, digest, tmp_path, user=user).manifest_digest == digest
    asked = [(path, authorization) for path, authorization in registry.requests if path.startswith("/token")]
    assert len(asked) == 2
    assert all(authorization.startswith("Basic ") is (user is USER) for _, authorization in asked)
    assert not any("r3fresh" in part for request in registry.requests for part in request)
    if user is TOKEN:
        form = parse_qs(registry.forms[0].decode())
        assert form["grant_type"] == ["refresh_token"]
        assert form["refresh_token"] == ["r3fresh"]
        assert form["scope"] == ["repository:team/tool:pull"]
    else:
        assert registry.forms == []


def test_a_token_that_is_never_good(tmp_path: Path) -> None:
    """One new token a request, then it is given up."""
    made, digest = two_layers()

    def first(handler: Handler) -> bool:
        if handler.path.startswith("/token"):
            plain(handler, b'{"token": "useless"}')
            return True
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", f'Bearer realm="http://{handler.headers["Host"]}/token"')
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    registry = FakeRegistry(made, first=first)
    with serving(registry) as host, pytest.raises(CouldNotDecide, match="does not let us read"):
        pull(host, digest, tmp_path, user=USER)
    assert len(registry.requests) == 3


@pytest.mark.parametrize(
    "body",
    [b"[]", b"null", b'{"token": 7}', b'{"token": ""}', b'{"token": "a\\r\\nX: y"}', b"{" * 9000, b"x" * (1 << 17)],
    ids=["list", "null", "number", "empty", "another header", "deep", "endless"],
)
def test_answers_that_are_no_token(tmp_path: Path, body: bytes) -> None:
    """Nothing of it reaches a header."""
    made, digest = two_layers()
    served = token_service('Bearer realm="http://HOST/token"')

    def first(handler: Handler) -> bool:
        if handler.path.startswith("/token"):
            plain(handler, body)
            return True
        return served(handler)

    registry = FakeRegistry(made, first=first)
    with serving(registry) as host, pytest.raises((CouldNotDecide, InvalidInput)):
        pull(host, digest, tmp_path)
    assert not any(authorization for _, authorization in registry.requests)


# --- redirects -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ServerCertificate:
    return ServerCertificate.make(tmp_path_factory.mktemp("tls"))


def test_a_redirect_elsewhere_takes_no_account_along(
    tmp_path: Path, certificate: ServerCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blobs may lie at another host; neither password nor token goes there. Here loopback plays the public Internet."""
    monkeypatch.setenv("HOME", str(tmp_path))
    made, digest = two_layers()
    tls = certificate.server_context()
    monkeypatch.setattr("pratique.intake.image.registry_network.is_public", lambda address: True)
    layer = list(made.blobs)[1]
    far = FakeRegistry(made)
    near = FakeRegistry(made, first=token_service('Bearer realm="https://HOST/token",service="r"'))
    with serving(far, tls) as elsewhere, serving(near, tls) as host:
        near.answers[layer] = redirecting(f"https://{elsewhere}/{layer}")
        certificate.believed_for(host, tmp_path)
        (tmp_path / "work").mkdir()
        pull(host, digest, tmp_path / "work", user=USER)
    assert [authorization for _, authorization in far.requests] == [""]
    assert any(authorization.startswith("Bearer") for _, authorization in near.requests)


def test_a_name_with_another_address_the_second_time(
    tmp_path: Path, certificate: ServerCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is connected to is looked at, not only what the name said before: nothing is sent to a private address."""
    monkeypatch.setenv("HOME", str(tmp_path))
    made, digest = two_layers()
    tls = certificate.server_context()
    answers = iter([True, False])  # the look-up, then the connection
    far = FakeRegistry(made)
    with serving(far, tls) as elsewhere:
        near = FakeRegistry(made, {digest: redirecting(f"https://{elsewhere}/{digest}")})
        with serving(near, tls) as host:
            certificate.believed_for(host, tmp_path)
            monkeypatch.setattr("pratique.intake.image.registry_network.is_public", lambda address: next(answers))
            with pytest.raises(InvalidInput) as caught:
                pull(host, digest, tmp_path)
    assert caught.value.rule == "image/registry-redirect"
    assert far.requests == []
