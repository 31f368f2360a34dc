"""HTTP to one repository of a registry: redirects, status codes, patience, pages; blobs' bodies are left to the caller.

Every answer is bounded in bytes, and all of them together in time. Nothing is unpacked: a Content-Encoding that nobody
asked for would be a way to send a bomb.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urljoin
from urllib.request import getproxies

import httpx

from pratique.errors import CouldNotDecide, InvalidInput
from pratique.intake.image.accounts import account_for, authorities_for
from pratique.intake.image.model import MIB, Credentials
from pratique.intake.image.reference import Reference
from pratique.intake.image.registry_login import Login
from pratique.intake.image.registry_network import LAYOUT, Origin, Watch, certificates

_MAX_REDIRECTS = 3
_MAX_PAGES = 32
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_SECONDS = 300.0
_MAX_ANSWER = 4 * MIB
_BUSY = (429, 502, 503, 504)
_PAUSES = (0.25, 1.0)
"""Seconds before a registry that is busy or does not answer is asked again."""

_MAX_PAUSE = 10
_NEXT_PAGE = re.compile(r'<([^<>\s]{1,2000})>\s*;[^,]*\brel="?next"?')
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "pratique"}


class BrokenOff(CouldNotDecide):
    """A registry did not answer, or its answer broke off in the middle; the rest may come another time."""


@dataclass(frozen=True)
class Answer:
    """A whole answer to something written: status, headers, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RegistryHttp:
    """Requests to the repository of `reference`, all of them within `seconds`.

    On loopback an authority set up for that registry turns plain HTTP into TLS. Without `credentials` the
    account that this user has there is taken; `actions` is what a token is asked for (`pull`, or `pull,push`).
    """

    def __init__(
        self,
        reference: Reference,
        credentials: Credentials | None = None,
        *,
        actions: str = "pull",
        seconds: float = _SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        authorities = authorities_for(reference.host)
        self._reference = reference
        self._base = reference.base_url.replace("http://", "https://", 1) if authorities else reference.base_url
        self._origin = Origin(self._base)
        self._authorities = authorities
        scope = f"repository:{reference.repository}:{actions}"
        self._login = Login(self._origin, credentials or account_for(reference.host), scope)
        self._sleep = sleep
        self._watch = Watch(time.monotonic() + seconds, proxied=not reference.loopback and bool(getproxies()))

    @contextmanager
    def get(self, path: str, *, accept: str, offset: int = 0) -> Iterator[httpx.Response]:
        """The answer (200, 206 or 404) to GET `path` from byte `offset` on, its body unread.

        `path` may be a whole URL of the registry itself. Raises `InvalidInput` (`image/registry-redirect`), `BrokenOff`
        also when the body breaks off, and `CouldNotDecide`.
        """
        headers = {**_HEADERS, "Accept": accept, **({"Range": f"bytes={offset}-"} if offset else {})}
        url = self._own(path, "the registry goes on elsewhere")
        with self._client() as client:
            response = self._answer(client, url, headers)
            try:
                yield response
            finally:
                response.close()

    def read(self, path: str, *, accept: str, limit: int) -> bytes | None:
        """The body of GET `path`, at most `limit` bytes; None for 404. Raises as `get`, and for a longer body."""
        with self.get(path, accept=accept) as response:
            return self._bounded(response, limit) if response.status_code == 200 else None

    def pages(self, path: str, *, accept: str, limit: int) -> Iterator[bytes]:
        """The bodies of GET `path` and of the pages that each names as the next one (RFC 8288); none for 404.

        Raises as `read`, and `CouldNotDecide` for a page that is not there or more than 32 of them.
        """
        for number in range(_MAX_PAGES):
            with self.get(path, accept=accept) as response:
                if response.status_code == 404 and number == 0:
                    return
                if response.status_code != 200:
                    break
                body = self._bounded(response, limit)
                named = _NEXT_PAGE.search(response.headers.get("link", ""))
            yield body
            if named is None:
                return
            path = urljoin(self._own(path, ""), named[1])
        raise CouldNotDecide(
            f"the registry {self._reference.host} does not come to the end of a list",
            cause=f"page {number + 1}",
            next_step=LAYOUT,
        )

    def write(self, method: str, path: str, *, content: bytes, media_type: str = "application/octet-stream") -> Answer:
        """The answer to PUT or POST `path`, which may be a whole URL of the registry itself (an upload's location).

        Raises `InvalidInput` (`image/registry-redirect`) for a location elsewhere, and `CouldNotDecide`.
        """
        url = self._own(path, "the registry sends an upload elsewhere")
        with self._client() as client:
            answer = self._written(client, method, url, content, media_type)
            if answer.status == 401 and self._logs_in(client, answer.headers):
                answer = self._written(client, method, url, content, media_type)
        if answer.status not in (200, 201, 202, 204):
            raise CouldNotDecide(
                f"the registry {self._reference.host} does not take what is pushed to {self._reference.repository}",
                cause=f"HTTP {answer.status}",
                next_step="Log in with an account that may push there (`docker login`), and try again.",
            )
        return answer

    def _own(self, path: str, message: str) -> str:
        url = urljoin(f"{self._base}/", path)
        if not self._origin.owns(url):
            raise self._origin.refusal(message, url)
        return url

    def _written(self, client: httpx.Client, method: str, url: str, content: bytes, media_type: str) -> Answer:
        headers = {**_HEADERS, "Content-Type": media_type, **self._authorization(url)}
        response = self._patiently(client, self._request(client, method, url, headers, content))
        try:
            return Answer(response.status_code, response.headers, self._bounded(response, _MAX_ANSWER))
        finally:
            response.close()

    def _bounded(self, response: httpx.Response, limit: int) -> bytes:
        data = bytearray()
        for chunk in response.iter_raw():
            data += chunk
            if len(data) > limit:
                raise InvalidInput(
                    f"the registry answers with more than the {limit:,} bytes allowed",
                    rule="image/document-too-large",
                    where=self._reference.host,
                    next_step="Ask who runs the registry. " + LAYOUT,
                )
        return bytes(data)

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        """Loopback registries are never behind a proxy; elsewhere the environment's proxy settings hold."""
        proxied, verify = not self._reference.loopback, certificates(self._authorities)
        with httpx.Client(timeout=_TIMEOUT, follow_redirects=False, trust_env=proxied, verify=verify) as client:
            try:
                with self._watch.watching():
                    yield client
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise self._explained(error) from error
            if self._watch.expired:  # a body without a stated length just seems to end
                raise self._slow()

    def _explained(self, error: Exception) -> CouldNotDecide:
        if self._watch.expired:
            return self._slow()
        if _is_unbelieved(error):
            return CouldNotDecide(
                f"nobody whom this machine believes vouches for the certificate of the registry {self._reference.host}",
                cause=str(error)[:300],
                next_step=f"If it has an authority of its own, put that certificate into "
                f"/etc/containers/certs.d/{self._reference.host}/ca.crt; otherwise somebody is in between.",
            )
        return BrokenOff(
            f"the registry {self._reference.host} does not answer properly",
            cause=f"{type(error).__name__}: {error}"[:300],
            next_step="Check the network and the name of the registry; then try again.",
        )

    def _slow(self) -> CouldNotDecide:
        return CouldNotDecide(
            f"{self._reference.host} is too slow",
            cause="the time for this image is over",
            next_step="Try again later, or hand the image in as an OCI layout.",
        )

    def _answer(self, client: httpx.Client, url: str, headers: Mapping[str, str]) -> httpx.Response:
        response = self._send(client, url, headers)
        if response.status_code == 401:
            response.close()
            if self._logs_in(client, response.headers):
                response = self._send(client, url, headers)
        if response.status_code in (200, 206, 404):
            return response
        status = response.status_code
        response.close()
        if status in (401, 403):
            raise CouldNotDecide(
                f"the registry {self._reference.host} does not let us read {self._reference.repository}",
                cause=f"HTTP {status}",
                next_step="Give the node credentials for this registry, or " + LAYOUT[0].lower() + LAYOUT[1:],
            )
        raise CouldNotDecide(
            f"the registry {self._reference.host} answered with HTTP {status}", next_step="Try again later."
        )

    def _logs_in(self, client: httpx.Client, headers: Mapping[str, str]) -> bool:
        """Whether the challenge in `headers` has an answer: the first one, or a new token where the old one ended."""

        def extensions(url: str) -> dict[str, object]:
            return self._watch.extensions(self._origin, url)

        return self._login.answers(client, headers.get("www-authenticate", ""), extensions)

    def _send(self, client: httpx.Client, url: str, headers: Mapping[str, str]) -> httpx.Response:
        """GET with redirects followed by our own rules; the authorization stays with the registry's own origin."""
        for _ in range(_MAX_REDIRECTS + 1):
            request = self._request(client, "GET", url, {**headers, **self._authorization(url)})
            response = self._patiently(client, request)
            if response.status_code not in (301, 302, 303, 307, 308):
                return response
            target = urljoin(url, response.headers.get("location", ""))
            response.close()
            self._origin.require_public(target)
            url = target
        raise self._origin.refusal("the registry redirects in circles", url)

    def _authorization(self, url: str) -> dict[str, str]:
        return {"Authorization": self._login.header} if self._login.header and self._origin.owns(url) else {}

    def _request(
        self, client: httpx.Client, method: str, url: str, headers: Mapping[str, str], content: bytes | None = None
    ) -> httpx.Request:
        extensions = self._watch.extensions(self._origin, url)
        return client.build_request(method, url, headers=headers, content=content, extensions=extensions)

    def _patiently(self, client: httpx.Client, request: httpx.Request) -> httpx.Response:
        """The answer; a registry that is busy, or breaks off before it answers, is asked again, twice."""
        for pause in _PAUSES:
            try:
                response = client.send(request, stream=True)
            except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
                if self._watch.expired or _is_unbelieved(error):
                    raise
                self._sleep(pause)
                continue
            if response.status_code not in _BUSY:
                return response
            wished = response.headers.get("retry-after", "")
            response.close()
            self._sleep(min(int(wished), _MAX_PAUSE) if re.fullmatch(r"[0-9]{1,4}", wished, re.ASCII) else pause)
        return client.send(request, stream=True)


def _is_unbelieved(error: BaseException | None) -> bool:
    """Whether TLS refused the peer's certificate, somewhere down the chain of causes."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
