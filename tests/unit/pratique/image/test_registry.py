"""A registry that a submission names may be hostile: each bad answer ends in a refusal, quickly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pratique.digests import Digest
from pratique.errors import CouldNotDecide, InvalidInput, PratiqueError
from pratique.intake.image import Credentials, ImageLimits, RegistryImage, open_image, read_inventory
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

pytestmark = pytest.mark.usefixtures("no_pauses")


def test_an_image_is_pulled_by_digest(tmp_path: Path) -> None:
    """Manifest from the manifests endpoint, config and layers as blobs; nothing is asked for twice."""
    made, digest = two_layers()
    registry = FakeRegistry(made)
    with serving(registry) as host:
        image = pull(host, digest, tmp_path)
    assert image.manifest_digest == digest
    assert set(read_inventory(image).files) == {"a", "b"}
    paths = [path for path, _ in registry.requests]
    assert len(paths) == len(set(paths)) == 4
    assert paths[0] == f"/v2/team/tool/manifests/{digest}"


def _endless(handler: Handler, _: bytes) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _chunk in range(2000):
        handler.wfile.write(bytes(1 << 16))


def _longer(handler: Handler, data: bytes) -> None:
    plain(handler, data + b"x")


def _shorter(handler: Handler, data: bytes) -> None:
    plain(handler, data[:-1])


def _other(handler: Handler, data: bytes) -> None:
    plain(handler, data[:-1] + bytes([data[-1] ^ 1]))


def _broken_off(handler: Handler, data: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])
    handler.close_connection = True


def _header(name: str, value: str) -> Answer:
    """The right bytes under one header too many."""

    def answer(handler: Handler, data: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def _length(more: int) -> Answer:
    """The right bytes under a wrong length."""

    def answer(handler: Handler, data: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data) + more))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def _endless_header(handler: Handler, _: bytes) -> None:
    handler.send_response(200)
    for number in range(5000):
        handler.send_header(f"X-{number}", "x" * 200)
    handler.end_headers()


def _status(code: int) -> Answer:
    return lambda handler, _: handler.send_error(code)


def _drop_in_circles(handler: Handler, _: bytes) -> None:
    redirecting(handler.path)(handler, b"")


HOSTILE: dict[str, tuple[Answer, type[PratiqueError], str]] = {
    "other bytes": (_other, InvalidInput, "image/blob-digest"),
    "endless body": (_endless, InvalidInput, "image/blob-size"),
    "one byte more": (_longer, InvalidInput, "image/blob-size"),
    "one byte less": (_shorter, InvalidInput, "image/truncated"),
    "not there": (_status(404), InvalidInput, "image/blob-missing"),
    "connection broken off": (_broken_off, CouldNotDecide, ""),
    "a shorter length than there is": (_length(-1), InvalidInput, "image/truncated"),
    "two lengths": (_header("Content-Length", "7"), CouldNotDecide, ""),
    "a negative length": (_header("Content-Length", "-1"), CouldNotDecide, ""),
    "chunks that are none": (_header("Transfer-Encoding", "chunked"), CouldNotDecide, ""),
    "a megabyte of headers": (_endless_header, CouldNotDecide, ""),
    "server error": (_status(500), CouldNotDecide, ""),
    "too many requests": (_status(429), CouldNotDecide, ""),
    "forbidden": (_status(403), CouldNotDecide, ""),
    "redirect to another port of this machine": (
        redirecting("http://127.0.0.1:9/x"),
        InvalidInput,
        "image/registry-redirect",
    ),
    "redirect to a private network": (
        redirecting("https://192.168.0.1/x"),
        InvalidInput,
        "image/registry-redirect",
    ),
    "redirect to cloud metadata": (
        redirecting("http://169.254.169.254/latest/meta-data"),
        InvalidInput,
        "image/registry-redirect",
    ),
    "redirect to IPv6 loopback": (redirecting("https://[::1]/x"), InvalidInput, "image/registry-redirect"),
    "redirect to a mapped address": (
        redirecting("https://[::ffff:127.0.0.1]/x"),
        InvalidInput,
        "image/registry-redirect",
    ),
    "redirect with a password": (
        redirecting("https://a:b@example.org/x"),
        InvalidInput,
        "image/registry-redirect",
    ),
    "redirect to a file": (redirecting("file:///etc/passwd"), InvalidInput, "image/registry-redirect"),
    "redirect to nonsense": (redirecting("http://[::/x"), CouldNotDecide, ""),
    "redirect in circles": (_drop_in_circles, InvalidInput, "image/registry-redirect"),
}


@pytest.mark.parametrize("what", ["manifest", "config", "layer"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers_are_refused(tmp_path: Path, name: str, what: str) -> None:
    """For the manifest, the config and a layer alike; no partial file stays behind."""
    answer, error, rule = HOSTILE[name]
    made, digest = two_layers()
    config, layer, *_ = made.blobs
    target = {"manifest": digest, "config": config, "layer": layer}[what]
    with serving(FakeRegistry(made, {target: answer})) as host, pytest.raises(error) as caught:
        pull(host, digest, tmp_path, limits=ImageLimits(manifest_bytes=100_000))
    assert caught.value.next_step
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith("partial")]
    if isinstance(caught.value, InvalidInput) and what == "layer":
        assert caught.value.rule == rule


def test_a_redirect_within_the_registry_is_followed(tmp_path: Path) -> None:
    """Some registries serve blobs from another path of their own."""
    made, digest = two_layers()
    layer = list(made.blobs)[1]
    seen: list[str] = []

    def elsewhere(handler: Handler, data: bytes) -> None:
        if handler.path.startswith("/storage"):
            plain(handler, data)
        else:
            seen.append(handler.path)
            redirecting(f"/storage/{layer}")(handler, b"")

    with serving(FakeRegistry(made, {layer: elsewhere})) as host:
        assert pull(host, digest, tmp_path).manifest_digest == digest
    assert len(seen) == 1


def test_compressed_transfer_is_not_unpacked(tmp_path: Path) -> None:
    """A Content-Encoding that nobody asked for is a way to send a bomb: the bytes are taken as they come."""
    made, digest = two_layers()

    def encoded(handler: Handler, _: bytes) -> None:
        import gzip

        data = gzip.compress(bytes(1 << 20))
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    with serving(FakeRegistry(made, {digest: encoded})) as host, pytest.raises(InvalidInput) as caught:
        pull(host, digest, tmp_path)
    assert caught.value.rule == "image/blob-digest"


def test_a_slow_registry_does_not_hold_the_node_up(tmp_path: Path) -> None:
    """The whole download has a deadline, however steadily single bytes arrive."""
    made, digest = two_layers()

    def dripping(handler: Handler, data: bytes) -> None:
        import time

        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        for byte in data:
            handler.wfile.write(bytes([byte]))
            time.sleep(0.05)

    with (
        serving(FakeRegistry(made, {next(iter(made.blobs)): dripping})) as host,
        pytest.raises(CouldNotDecide, match="slow"),
    ):
        pull(host, digest, tmp_path, limits=ImageLimits(download_seconds=0.4))


def test_nobody_listening_is_could_not_decide(tmp_path: Path) -> None:
    """An unreachable registry says nothing about the image."""
    _, digest = two_layers()
    with pytest.raises(CouldNotDecide, match="does not answer"):
        pull("127.0.0.1:1", digest, tmp_path)


def test_the_reference_must_name_the_digest_that_is_expected(tmp_path: Path) -> None:
    """A submission cannot pin one image and point to another."""
    _, digest = two_layers()
    source = RegistryImage(f"127.0.0.1:1/team/tool@{digest}")
    with pytest.raises(InvalidInput) as caught:
        open_image(source, expected=Digest("sha256:" + "0" * 64), workdir=tmp_path)
    assert caught.value.rule == "image/digest-mismatch"


# --- credentials -----------------------------------------------------------------------------------------------------

USER = Credentials("node", "s3cret")


def _challenging(challenge: str, accepted: str) -> Callable[[Handler], bool]:
    """Ask for authorization until `accepted` comes; serve a token at /token."""

    def first(handler: Handler) -> bool:
        if handler.path.startswith("/token"):
            plain(handler, b'{"token": "t0ken"}')
            return True
        if handler.headers.get("Authorization") == accepted:
            return False
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", challenge.replace("HOST", handler.headers["Host"]))
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    return first


BASIC = "Basic bm9kZTpzM2NyZXQ="


@pytest.mark.parametrize(
    ("challenge", "accepted"),
    [('Basic realm="x"', BASIC), ('Bearer realm="http://HOST/token",service="r",scope="x"', "Bearer t0ken")],
)
def test_challenges_are_answered_once_for_the_whole_image(tmp_path: Path, challenge: str, accepted: str) -> None:
    """Basic, and a token from the registry's own token service."""
    made, digest = two_layers()
    registry = FakeRegistry(made, first=_challenging(challenge, accepted))
    with serving(registry) as host:
        assert pull(host, digest, tmp_path, user=USER).manifest_digest == digest
    assert len(registry.requests) <= 6
    tokens = [path for path, _ in registry.requests if path.startswith("/token")]
    assert all("scope=repository%3Ateam%2Ftool%3Apull" in path for path in tokens)


@pytest.mark.parametrize(
    ("challenge", "error"),
    [
        ('Bearer realm="http://127.0.0.1:9/token"', InvalidInput),
        ('Bearer realm="https://10.1.2.3/token"', InvalidInput),
        ('Bearer realm="gopher://example.org/"', InvalidInput),
        ("Bearer", CouldNotDecide),
        ("Negotiate", CouldNotDecide),
        ("", CouldNotDecide),
    ],
)
def test_token_services_elsewhere_are_not_visited(tmp_path: Path, challenge: str, error: type[PratiqueError]) -> None:
    """A challenge cannot send the node, and its password, into the private network."""
    made, digest = two_layers()
    registry = FakeRegistry(made, first=_challenging(challenge, "never"))
    with serving(registry) as host, pytest.raises(error):
        pull(host, digest, tmp_path, user=USER)
    assert all(not authorization for _, authorization in registry.requests)


def test_credentials_do_not_show(tmp_path: Path) -> None:
    """Neither in the object's representation nor in errors."""
    assert "s3cret" not in repr(RegistryImage("x", USER))
    made, digest = two_layers()
    registry = FakeRegistry(made, first=_challenging('Basic realm="x"', "never"))
    with serving(registry) as host, pytest.raises(CouldNotDecide) as caught:
        pull(host, digest, tmp_path, user=USER)
    assert "s3cret" not in f"{caught.value} {caught.value.next_step}"
    assert registry.requests[-1][1] == BASIC
