"""Services that speak OSV's and PyPI's protocols on this machine: the edge of the world, honest or not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Matcher = Callable[[dict[str, Any]], list[dict[str, Any]]]
"""Records that a service has for a question, as OSV's `POST /v1/query` asks it."""
Answer = Callable[["Handler"], None]


@dataclass
class Service:
    """What the service knows and how it behaves; `asked` holds every question."""

    matches: Matcher
    pypi: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    page: int = 1000
    misbehaves: list[Answer] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    url: str = ""

    @property
    def osv(self) -> str:
        """Where OSV's questions go."""
        return f"{self.url}/v1/query"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    service: Service
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 20  # one packet an answer: split ones would wait 40 ms for an acknowledgement

    def do_POST(self) -> None:
        """OSV's query."""
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.service.asked.append(question)
        if self.service.misbehaves:
            self.service.misbehaves.pop(0)(self)
            return
        found, start = self.service.matches(question), int(question.get("page_token", 0))
        answer: dict[str, Any] = {"vulns": found[start : start + self.service.page]} if found else {}
        if start + self.service.page < len(found):
            answer["next_page_token"] = str(start + self.service.page)
        self.reply(200, json.dumps(answer).encode())

    def do_GET(self) -> None:
        """PyPI's JSON of a release."""
        self.service.asked.append(self.path)
        if self.service.misbehaves:
            self.service.misbehaves.pop(0)(self)
            return
        _, _, name, version, _ = self.path.split("/")
        known = self.service.pypi.get((name, version))
        body = {"info": {"name": name, "version": version}, "vulnerabilities": known}
        self.reply(404 if known is None else 200, json.dumps(body).encode())

    def reply(self, code: int, body: bytes, **headers: str) -> None:
        """A whole answer."""
        self.send_response(code)
        for name, value in ({"Content_Type": "application/json", "Content_Length": str(len(body))} | headers).items():
            if value:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def serving(service: Service) -> Iterator[Service]:
    """The service on a port of this machine."""
    handler = type("OfThisService", (Handler,), {"service": service})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
