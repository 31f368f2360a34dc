"""HTTP to one repository of a registry: challenges, redirects, status codes; bodies are left to the caller."""

from __future__ import annotations

import base64
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx

from pratique.bounds import strict_json
from pratique.errors import CouldNotDecide, InvalidInput
from pratique.intake.image.accounts import authorities_for
from pratique.intake.image.model import KIB, MIB, Credentials
from pratique.intake.image.reference import Reference

_MAX_REDIRECTS = 3
_MAX_TOKEN = 64 * KIB
_CHALLENGE = re.compile(r'(realm|service|scope)="([^"]{1,2000})"')
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_MAX_ANSWER = 4 * MIB
_BUSY = (429, 502, 503, 504)
_PAUSES = (0.25, 1.0)
"""Seconds before a registry that is busy or does not answer is asked again."""

_MAX_PAUSE = 10
_LAYOUT = "Hand the image in as an OCI layout instead, or ask who runs the registry."


@cache
def _certificates(authorities: tuple[Path, ...]) -> ssl.SSLContext:
    """Reading the trusted certificates takes longer than most requests: once is enough."""
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
class Answer:
    """A whole answer to something written: status, headers, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RegistryHttp:
    """Requests below `reference.base_url`; `actions` is what a token is asked for (`pull`, or `pull,push`)."""

    def __init__(
        self,
        reference: Reference,
        credentials: Credentials | None,
        *,
        actions: str = "pull",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._reference = reference
        self._credentials = credentials
        self._actions = actions
        self._sleep = sleep
        self._authorization = ""

    @contextmanager
    def get(self, path: str, *, accept: str) -> Iterator[httpx.Response]:
        """The answer (200, or 404) to GET `path`, its body unread.

        Raises `InvalidInput` (`image/registry-redirect`) and `CouldNotDecide`; also when the body breaks off.
        """
        url = f"{self._reference.base_url}/{path}"
        with self._client() as client, self._explained():
            response = self._answer(client, url, accept)
            try:
                yield response
            finally:
                response.close()

    def read(self, path: str, *, accept: str, limit: int) -> bytes | None:
        """The body of GET `path`, at most `limit` bytes; None for 404. Raises as `get`, and for a longer body."""
        with self.get(path, accept=accept) as response:
            return self._bounded(response, limit) if response.status_code == 200 else None

    def write(self, method: str, path: str, *, content: bytes, media_type: str = "application/octet-stream") -> Answer:
        """The answer to PUT or POST `path`, which may be a whole URL of the registry itself (an upload's location).

        Raises `InvalidInput` (`image/registry-redirect`) for a location elsewhere, and `CouldNotDecide`.
        """
        url = urljoin(f"{self._reference.base_url}/", path)
        if not self._same_origin(url):
            raise self._refusal("the registry sends an upload elsewhere", url)
        with self._client() as client, self._explained():
            answer = self._written(client, method, url, content, media_type)
            if answer.status == 401 and not self._authorization:
                self._authorization = self._authorize(client, answer.headers.get("www-authenticate", ""))
                answer = self._written(client, method, url, content, media_type)
        if answer.status not in (200, 201, 202, 204):
            raise CouldNotDecide(
                f"the registry {self._reference.host} does not take what is pushed to {self._reference.repository}",
                cause=f"HTTP {answer.status}",
                next_step="Log in with an account that may push there (`docker login`), and try again.",
            )
        return answer

    def _written(self, client: httpx.Client, method: str, url: str, content: bytes, media_type: str) -> Answer:
        headers = {"Content-Type": media_type, "Accept-Encoding": "identity", "User-Agent": "pratique"}
        if self._authorization:
            headers["Authorization"] = self._authorization
        response = client.send(client.build_request(method, url, headers=headers, content=content), stream=True)
        try:
            return Answer(response.status_code, response.headers, self._bounded(response, _MAX_ANSWER))
        finally:
            response.close()

    def _bounded(self, response: httpx.Response, limit: int) -> bytes:
        data = bytearray()
        for chunk in response.iter_raw():  # raw: a Content-Encoding would be a way to send a bomb
            data += chunk
            if len(data) > limit:
                raise InvalidInput(
                    f"the registry answers with more than the {limit:,} bytes allowed",
                    rule="image/document-too-large",
                    where=self._reference.host,
                    next_step="Ask who runs the registry. " + _LAYOUT,
                )
        return bytes(data)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise CouldNotDecide(
                f"the registry {self._reference.host} does not answer properly",
                cause=f"{type(error).__name__}: {error}"[:300],
                next_step="Check the network and the name of the registry; then try again.",
            ) from error

    def _client(self) -> httpx.Client:
        """Loopback registries are never behind a proxy; elsewhere the environment's proxy settings hold."""
        proxied = not self._reference.loopback
        verify = _certificates(authorities_for(self._reference.host))
        return httpx.Client(timeout=_TIMEOUT, follow_redirects=False, trust_env=proxied, verify=verify)

    def _answer(self, client: httpx.Client, url: str, accept: str) -> httpx.Response:
        response = self._send(client, url, accept)
        if response.status_code == 401 and not self._authorization:
            challenge = response.headers.get("www-authenticate", "")
            response.close()
            self._authorization = self._authorize(client, challenge)
            response = self._send(client, url, accept)
        if response.status_code in (200, 404):
            return response
        status = response.status_code
        response.close()
        if status in (401, 403):
            raise CouldNotDecide(
                f"the registry {self._reference.host} does not let us read {self._reference.repository}",
                cause=f"HTTP {status}",
                next_step="Give the node credentials for this registry, or " + _LAYOUT[0].lower() + _LAYOUT[1:],
            )
        raise CouldNotDecide(
            f"the registry {self._reference.host} answered with HTTP {status}", next_step="Try again later."
        )

    def _send(self, client: httpx.Client, url: str, accept: str) -> httpx.Response:
        """GET with redirects followed by our own rules; the authorization stays with the registry's own origin."""
        for _ in range(_MAX_REDIRECTS + 1):
            headers = {"Accept": accept, "Accept-Encoding": "identity", "User-Agent": "pratique"}
            if self._authorization and self._same_origin(url):
                headers["Authorization"] = self._authorization
            response = self._patiently(client, client.build_request("GET", url, headers=headers))
            if response.status_code not in (301, 302, 303, 307, 308):
                return response
            url = urljoin(url, response.headers.get("location", ""))
            response.close()
            self._check_elsewhere(url)
        raise self._refusal("the registry redirects in circles", url)

    def _patiently(self, client: httpx.Client, request: httpx.Request) -> httpx.Response:
        """The answer; a registry that is busy or cannot be reached is asked again, twice."""
        for pause in _PAUSES:
            try:
                response = client.send(request, stream=True)
            except httpx.ConnectError:
                self._sleep(pause)
                continue
            if response.status_code not in _BUSY:
                return response
            wished = response.headers.get("retry-after", "")
            response.close()
            self._sleep(min(int(wished), _MAX_PAUSE) if re.fullmatch(r"[0-9]{1,4}", wished, re.ASCII) else pause)
        return client.send(request, stream=True)

    def _authorize(self, client: httpx.Client, challenge: str) -> str:
        """The Authorization header that answers `challenge`; empty when there is none to give."""
        scheme = challenge.partition(" ")[0].lower()
        if scheme == "basic":
            return self._basic()
        values = dict(_CHALLENGE.findall(challenge))
        if scheme != "bearer" or "realm" not in values:
            return ""
        self._check_elsewhere(values["realm"])
        headers = {"Accept-Encoding": "identity", "User-Agent": "pratique"}
        if self._credentials and self._same_domain(values["realm"]):
            headers["Authorization"] = self._basic()
        parameters = {
            "service": values.get("service", ""),
            "scope": f"repository:{self._reference.repository}:{self._actions}",
        }
        url = httpx.URL(values["realm"]).copy_merge_params(parameters)
        response = client.send(client.build_request("GET", url, headers=headers), stream=True)
        try:
            return f"Bearer {self._token(response)}" if response.status_code == 200 else ""
        finally:
            response.close()

    def _token(self, response: httpx.Response) -> str:
        data = bytearray()
        for chunk in response.iter_raw(_MAX_TOKEN):
            data += chunk
            if len(data) > _MAX_TOKEN:
                break
        value = strict_json(bytes(data), where=self._reference.host, max_bytes=_MAX_TOKEN)
        token = (value.get("token") or value.get("access_token")) if isinstance(value, dict) else None
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise CouldNotDecide(f"the token service of {self._reference.host} gave no token", next_step=_LAYOUT)
        return token

    def _basic(self) -> str:
        if self._credentials is None:
            return ""
        pair = f"{self._credentials.username}:{self._credentials.password}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")

    def _same_origin(self, url: str) -> bool:
        ours, theirs = urlsplit(self._reference.base_url), urlsplit(url)
        return (ours.scheme, ours.netloc.lower()) == (theirs.scheme, theirs.netloc.lower())

    def _same_domain(self, url: str) -> bool:
        """Whether `url` is the registry's own host or lies beside it (`auth.docker.io` for `registry-1.docker.io`)."""
        if self._same_origin(url):
            return True
        ours, theirs = urlsplit(self._reference.base_url).hostname or "", urlsplit(url).hostname or ""
        return ours == theirs or (ours.count(".") >= 2 and theirs.endswith("." + ours.partition(".")[2]))

    def _check_elsewhere(self, url: str) -> None:
        """Refuse a URL that is neither the registry's own origin nor HTTPS to public addresses only."""
        if self._same_origin(url):
            return
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or 443
        except ValueError as error:
            raise self._refusal("the registry redirects to something that is no address", url) from error
        if parts.scheme != "https" or not host or parts.username is not None:
            raise self._refusal("the registry redirects to an address that is not plain HTTPS", url)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise CouldNotDecide(
                f"the registry redirects to {host}, which has no address", cause=str(error), next_step=_LAYOUT
            ) from error
        if not all(ipaddress.ip_address(str(item[4][0]).partition("%")[0]).is_global for item in found):
            raise self._refusal("the registry redirects into a private network", url)

    def _refusal(self, message: str, url: str) -> InvalidInput:
        return InvalidInput(
            message,
            rule="image/registry-redirect",
            where=self._reference.host,
            cause=url[:200],
            next_step="Let the registry serve its blobs itself (`storage.redirect.disable: true`). " + _LAYOUT,
        )
