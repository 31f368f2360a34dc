"""How a service on the network is spoken to: through `requests`, which pip-audit's services use, with bounds.

No redirect is followed, and an answer may be only so large and take only so long. `requests` has neither bound of its
own: its timeout is for each read, so that a byte (or a header) now and then holds it up for ever. So a clock shuts the
connection when the time is over. A name and password in an address go to the service and are never shown.
"""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError

from checks.advisories.source import LOOPBACK, shown_url
from pratique.errors import CouldNotDecide

_CHUNK = 64 * 1024
_USERINFO = re.compile(r"//[^\s/@]*@")
FAILURES = (requests.RequestException, HTTPError, OSError)
"""What a request may raise that did not go well."""


@dataclass(frozen=True)
class Asking:
    """How a service is asked: the most bytes of an answer, seconds of silence, and seconds in all for one answer."""

    max_bytes: int = 64 * 1024**2
    silence: float = 20.0
    deadline: float = 60.0


class Wire(HTTPAdapter):
    """The connection to one service; `body` is its last answer, `digest` that of all of them.

    With `instead_of`, requests to that address go to `address`: a service whose client has it built in.
    """

    def __init__(self, how: Asking, *, instead_of: str = "", address: str = "") -> None:
        super().__init__()
        self._how = how
        self._instead_of = instead_of
        self._address = address
        self._heard = hashlib.sha256()
        self._connections: list[HTTPConnection] = []
        self._late = False
        self.answers = 0
        self.body = b""

    @property
    def digest(self) -> str:
        """Of every question and answer so far, in order."""
        return self._heard.hexdigest()

    def session(self) -> requests.Session:
        """A session that reaches nothing but through this connection."""
        session = requests.Session()
        session.adapters.clear()
        session.mount("https://", self)
        session.mount("http://", self)
        session.max_redirects = 0
        session.headers["User-Agent"] = "pratique"
        return session

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        """The whole answer; raises one of `FAILURES`."""
        url = request.url or ""
        if self._instead_of and url.startswith(self._instead_of):
            request.url = self._address + url.removeprefix(self._instead_of)
        if urlsplit(request.url or "").hostname in LOOPBACK:
            options["proxies"] = {}
        self.body, self._late = b"", False
        clock = threading.Timer(self._how.deadline, self._end)
        clock.daemon = True
        clock.start()
        try:
            response = super().send(request, *arguments, **(options | {"stream": True, "timeout": self._how.silence}))
            try:
                self.body = self._read(response)
            finally:
                response.close()
        finally:
            clock.cancel()
        response._content = self.body  # where `requests` itself keeps what it has read
        self.answers += 1
        asked = request.body if isinstance(request.body, bytes) else str(request.body or "").encode()
        for part in (url.encode(), asked, self.body):
            self._heard.update(len(part).to_bytes(8, "big") + part)
        return response

    def _read(self, response: requests.Response) -> bytes:
        data = bytearray()
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            data += chunk
            if len(data) > self._how.max_bytes:
                raise requests.exceptions.ContentDecodingError(f"more than {self._how.max_bytes:,} bytes")
        if self._late:  # what was shut from here may look like an end
            raise requests.exceptions.ReadTimeout(f"the answer takes longer than {self._how.deadline:.0f} s")
        return bytes(data)

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        """The pool, which shows every connection that it makes."""
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        if "ConnectionCls" not in vars(pool):
            make = pool.ConnectionCls

            def made(*given: Any, **how: Any) -> Any:
                connection = make(*given, **how)
                self._connections.append(connection)
                return connection

            pool.ConnectionCls = made
        return pool

    def _end(self) -> None:
        self._late = True
        for connection in self._connections:
            with suppress(OSError, AttributeError):  # closed, or not open yet
                connection.sock.shutdown(socket.SHUT_RDWR)


def unreachable(service: str, cause: object) -> CouldNotDecide:
    """A service that does not answer, or not as it should."""
    return CouldNotDecide(
        f"the advisory service {shown_url(service)[:200]} did not answer as it should",
        cause=_USERINFO.sub("//", " ".join(str(cause).split()))[:300],
        next_step="Try again later, or use imported snapshots: pratique advisories update, and `source: local`.",
    )
