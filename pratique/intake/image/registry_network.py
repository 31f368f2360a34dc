"""The way to a registry: whom TLS believes, where a registry may send us, and an end to every wait."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from pratique.errors import CouldNotDecide, InvalidInput

LAYOUT = "Hand the image in as an OCI layout instead, or ask who runs the registry."


@cache
def certificates(authorities: tuple[Path, ...]) -> ssl.SSLContext:
    """TLS that believes the system's authorities and these; raises `CouldNotDecide` where one cannot be used.

    Reading the trusted certificates takes longer than most requests: once is enough.
    """
    context = httpx.create_ssl_context()
    for path in authorities:
        try:
            context.load_verify_locations(cafile=str(path))
        except OSError as error:
            raise CouldNotDecide(
                f"the authority in {path} cannot be used",
                cause=str(error),
                next_step="Put a PEM certificate there, or remove the file.",
            ) from error
    return context


@dataclass(frozen=True)
class Origin:
    """Where a registry is: what lies at its own origin, beside it, or elsewhere."""

    base_url: str

    @property
    def host(self) -> str:
        """Host and port, as messages name it."""
        return urlsplit(self.base_url).netloc

    def owns(self, url: str) -> bool:
        """Whether `url` has the registry's own scheme, host and port."""
        ours, theirs = urlsplit(self.base_url), urlsplit(url)
        return (ours.scheme, ours.netloc.lower()) == (theirs.scheme, theirs.netloc.lower())

    def neighbours(self, url: str) -> bool:
        """Whether `url` is the registry's own host or lies beside it (`auth.docker.io` for `registry-1.docker.io`)."""
        if self.owns(url):
            return True
        ours, theirs = urlsplit(self.base_url).hostname or "", urlsplit(url).hostname or ""
        return ours == theirs or (ours.count(".") >= 2 and theirs.endswith("." + ours.partition(".")[2]))

    def require_public(self, url: str) -> None:
        """Raise unless `url` is the registry's own or HTTPS to public addresses only (`image/registry-redirect`)."""
        if self.owns(url):
            return
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or 443
        except ValueError as error:
            raise self.refusal("the registry redirects to something that is no address", url) from error
        if parts.scheme != "https" or not host or parts.username is not None:
            raise self.refusal("the registry redirects to an address that is not plain HTTPS", url)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise CouldNotDecide(
                f"the registry redirects to {host}, which has no address", cause=str(error), next_step=LAYOUT
            ) from error
        if not all(is_public(str(item[4][0])) for item in found):
            raise self.refusal("the registry redirects into a private network", url)

    def refusal(self, message: str, url: str) -> InvalidInput:
        """That the registry leads to `url`, where nobody follows it."""
        return InvalidInput(
            message,
            rule="image/registry-redirect",
            where=self.host,
            cause=url[:200],
            next_step="Let the registry serve its blobs itself (`storage.redirect.disable: true`). " + LAYOUT,
        )


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public Internet."""
    return ipaddress.ip_address(address.partition("%")[0]).is_global


class Watch:
    """Looks after the connections of a client: when the time is over they are shut, whatever is being waited for.

    A time-out of a single read does not do that: one byte now and then keeps a node busy for ever. Also looks whom a
    redirect really led to, since a name can have another address the second time it is looked up.
    """

    def __init__(self, deadline: float, *, proxied: bool) -> None:
        self.expired = False
        self._proxied = proxied
        self._deadline = deadline
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within this the deadline (of `time.monotonic`) holds."""
        timer = threading.Timer(max(self._deadline - time.monotonic(), 0), self._end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def extensions(self, origin: Origin, url: str) -> dict[str, Any]:
        """What a request to `url` tells httpx, so that its connection is looked after."""
        must_be_public = not origin.owns(url) and not self._proxied  # the peer would be the proxy

        def trace(event: str, info: Mapping[str, Any]) -> None:
            if not event.endswith(("connect_tcp.complete", "start_tls.complete")):
                return
            stream = info["return_value"]
            if must_be_public and not is_public(str(stream.get_extra_info("server_addr")[0])):
                stream.close()
                raise origin.refusal("the registry redirects into a private network", url)
            self._take(stream.get_extra_info("socket"))

        return {"trace": trace}

    def _take(self, connection: socket.socket) -> None:
        with self._lock:
            self._sockets.append(connection)
            expired = self.expired
        if expired:
            self._end()

    def _end(self) -> None:
        with self._lock:
            self.expired = True
            for connection in self._sockets:
                with suppress(OSError):  # TLS has taken it over, or it is closed
                    connection.shutdown(socket.SHUT_RDWR)
