"""HTTP to one repository of a registry: challenges, redirects, status codes; bodies are left to the caller."""

from __future__ import annotations

import base64
import ipaddress
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from urllib.parse import urljoin, urlsplit

import httpx

from pratique.bounds import strict_json
from pratique.errors import CouldNotDecide, InvalidInput
from pratique.intake.image.model import KIB, Credentials
from pratique.intake.image.reference import Reference

_MAX_REDIRECTS = 3
_MAX_TOKEN = 64 * KIB
_CHALLENGE = re.compile(r'(realm|service|scope)="([^"]{1,2000})"')
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_LAYOUT = "Hand the image in as an OCI layout instead, or ask who runs the registry."


@cache
def _certificates() -> ssl.SSLContext:
    """Reading the trusted certificates takes longer than most requests: once is enough."""
    return httpx.create_ssl_context()


class RegistryHttp:
    """GET requests below `reference.base_url`."""

    def __init__(self, reference: Reference, credentials: Credentials | None) -> None:
        self._reference = reference
        self._credentials = credentials
        self._authorization = ""

    @contextmanager
    def get(self, path: str, *, accept: str) -> Iterator[httpx.Response]:
        """The answer (200, or 404) to GET `path`, its body unread.

        Raises `InvalidInput` (`image/registry-redirect`) and `CouldNotDecide`; also when the body breaks off.
        """
        url = f"{self._reference.base_url}/{path}"
        with self._client() as client:
            try:
                response = self._answer(client, url, accept)
                try:
                    yield response
                finally:
                    response.close()
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise CouldNotDecide(
                    f"the registry {self._reference.host} does not answer properly",
                    cause=f"{type(error).__name__}: {error}"[:300],
                    next_step="Check the network and the name of the registry; then try again.",
                ) from error

    def _client(self) -> httpx.Client:
        """Loopback registries are never behind a proxy; elsewhere the environment's proxy settings hold."""
        proxied = not self._reference.loopback
        return httpx.Client(timeout=_TIMEOUT, follow_redirects=False, trust_env=proxied, verify=_certificates())

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
            response = client.send(client.build_request("GET", url, headers=headers), stream=True)
            if response.status_code not in (301, 302, 303, 307, 308):
                return response
            url = urljoin(url, response.headers.get("location", ""))
            response.close()
            self._check_elsewhere(url)
        raise self._refusal("the registry redirects in circles", url)

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
        parameters = {"service": values.get("service", ""), "scope": f"repository:{self._reference.repository}:pull"}
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
