"""A registry on loopback that answers as a test wants it to."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pratique.digests import Digest
from pratique.intake.image import Credentials, Image, ImageLimits, RegistryImage, open_image
from tests.assets.images import MadeImage, make_tar

Handler = BaseHTTPRequestHandler
Answer = Callable[[Handler, bytes], None]


def plain(handler: Handler, data: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


@dataclass
class FakeRegistry:
    """Serves the blobs of one image under any path that ends in their digest; `answers` override by digest."""

    image: MadeImage
    answers: dict[str, Answer] = field(default_factory=dict)
    first: Callable[[Handler], bool] = lambda handler: False
    requests: list[tuple[str, str]] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    forms: list[bytes] = field(default_factory=list)

    def handle(self, handler: Handler) -> None:
        """Answer one request and note its path and Authorization, its range, and what was posted."""
        self.requests.append((handler.path, handler.headers.get("Authorization", "")))
        if "Range" in handler.headers:
            self.ranges.append(handler.headers["Range"])
        if handler.command == "POST":
            self.forms.append(handler.rfile.read(int(handler.headers.get("Content-Length", 0))))
        digest = Digest(handler.path.rpartition("/")[2])
        if self.first(handler):
            return
        if digest in self.answers:
            self.answers[digest](handler, self.image.blobs.get(digest, b""))
        elif digest in self.image.blobs:
            plain(handler, self.image.blobs[digest])
        else:
            handler.send_error(404)


@contextlib.contextmanager
def serving(registry: FakeRegistry, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Run the registry on loopback, with TLS where that is given; yields host:port."""

    class _Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(ConnectionError):
                registry.handle(self)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def two_layers() -> tuple[MadeImage, Digest]:
    image = MadeImage([make_tar([("a", b"one" * 5000)]), make_tar([("b", b"two")])])
    return image, Digest(image.manifest()["digest"])


def pull(
    host: str, digest: Digest, tmp_path: Path, *, limits: ImageLimits | None = None, user: Credentials | None = None
) -> Image:
    source = RegistryImage(f"{host}/team/tool@{digest}", user)
    return open_image(source, expected=digest, limits=limits or ImageLimits(), workdir=tmp_path)


def redirecting(target: str) -> Answer:
    def answer(handler: Handler, _: bytes) -> None:
        handler.send_response(307)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer
